//! Moves points apart that stand too near to each other or to a link that is not
//! theirs, and as little as that takes.

use super::plane::Point;
use super::stress::jitter;

/// Rounds at the most; fewer for large networks, so that the work stays bounded.
const ROUNDS_MAX: usize = 400;
/// Pairs that are looked at in all rounds together.
const PAIRS_MAX: usize = 200_000_000;

/// In a network with more pairs of relays and links than this there is no way around
/// all links, and trying only drives relays apart.
const CROWD: usize = 10_000;

/// How far things are to be from each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gaps {
    /// Between two points.
    pub(super) points: f64,
    /// Between a point and a link of others.
    pub(super) links: f64,
}

/// Moves `points` apart; `links` are pairs of them.
pub(super) fn spread(points: &mut [Point], links: &[[usize; 2]], gaps: Gaps) {
    let work = points.len() * (points.len() + links.len()).max(1);
    let rounds = (PAIRS_MAX / work.max(1)).clamp(10, ROUNDS_MAX);
    for round in 0..rounds {
        let mut moves = vec![Point::default(); points.len()];
        let mut is_free = push_points(points, gaps.points, &mut moves);
        // In the last rounds only points count: those must not touch.
        if round < rounds * 4 / 5 && points.len() * links.len() <= CROWD {
            is_free &= push_links(points, links, gaps.links, &mut moves);
        }
        if is_free {
            return;
        }
        let most = gaps.points / 4.0;
        for (point, step) in points.iter_mut().zip(moves) {
            let length = step.length();
            let step = if length > most { step.times(most / length) } else { step };
            *point = point.plus(step);
        }
    }
}

fn push_points(points: &[Point], gap: f64, moves: &mut [Point]) -> bool {
    let mut is_free = true;
    for one in 0..points.len() {
        for other in one + 1..points.len() {
            let off = points[one].minus(points[other]);
            let length = off.length();
            if length >= gap * 0.999 {
                continue;
            }
            is_free = false;
            let way = if length > 1e-6 { off.times(1.0 / length) } else { jitter(one + other, 1.0) };
            let step = way.times((gap - length) * 0.5);
            moves[one] = moves[one].plus(step);
            moves[other] = moves[other].minus(step);
        }
    }
    is_free
}

fn push_links(points: &[Point], links: &[[usize; 2]], gap: f64, moves: &mut [Point]) -> bool {
    let mut is_free = true;
    for (at, &point) in points.iter().enumerate() {
        for &[from, to] in links.iter().filter(|link| !link.contains(&at)) {
            let (nearest, share) = point.nearest_on(points[from], points[to]);
            let off = point.minus(nearest);
            let length = off.length();
            if length >= gap * 0.98 || share <= 0.0 || share >= 1.0 {
                continue;
            }
            is_free = false;
            let way = if length > 1e-6 { off.times(1.0 / length) } else { jitter(at, 1.0) };
            let step = way.times((gap - length) * 0.3);
            moves[at] = moves[at].plus(step);
            moves[from] = moves[from].minus(step.times(0.5 * (1.0 - share)));
            moves[to] = moves[to].minus(step.times(0.5 * share));
        }
    }
    is_free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_each_other_come_apart() {
        let mut points = vec![Point::default(); 12];
        spread(&mut points, &[], Gaps { points: 10.0, links: 5.0 });
        for one in 0..points.len() {
            for other in 0..one {
                assert!(points[one].minus(points[other]).length() > 9.0);
            }
        }
    }

    #[test]
    fn a_point_leaves_a_link_that_is_not_its_own() {
        let at = |x, y| Point { x, y };
        let mut points = vec![at(0.0, 0.0), at(100.0, 0.0), at(50.0, 1.0)];
        spread(&mut points, &[[0, 1]], Gaps { points: 10.0, links: 8.0 });
        let (nearest, _) = points[2].nearest_on(points[0], points[1]);
        assert!(points[2].minus(nearest).length() > 7.0, "{points:?}");
    }
}
