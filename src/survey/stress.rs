//! Stress majorisation (Gansner, Koren and North 2004): points whose distances in
//! the plane come near to given ones, from a fixed start.
//!
//! The start is classical scaling (Torgerson 1952): the two strongest directions
//! of the given distances, found by power iteration from fixed vectors. So one
//! network always gives one drawing.

use super::plane::Point;

/// Steps of the power iteration.
const POWER_STEPS: usize = 60;
/// Rounds at the most; fewer for large networks, so that the work stays bounded.
const ROUNDS_MAX: usize = 300;
/// Pairs that are looked at in all rounds together.
const PAIRS_MAX: usize = 300_000_000;
/// Below this change of the stress, relative, it is done.
const ENOUGH: f64 = 1e-5;

/// Points for `distances`, a full square of finite positive numbers (zero for a
/// point and itself).
pub(super) fn place(distances: &[Vec<f64>]) -> Vec<Point> {
    let count = distances.len();
    if count < 2 {
        return vec![Point::default(); count];
    }
    let mut points = start(distances);
    let rounds = (PAIRS_MAX / (count * count)).clamp(5, ROUNDS_MAX);
    let mut before = f64::INFINITY;
    for _ in 0..rounds {
        let stress = round(distances, &mut points);
        if before - stress < ENOUGH * stress {
            break;
        }
        before = stress;
    }
    points
}

/// One step for each point in turn, to where all others want it; the stress before.
fn round(distances: &[Vec<f64>], points: &mut [Point]) -> f64 {
    let mut stress = 0.0;
    for at in 0..points.len() {
        let (mut sum, mut weights) = (Point::default(), 0.0);
        for (other, &wanted) in distances[at].iter().enumerate() {
            if other == at {
                continue;
            }
            let weight = 1.0 / (wanted * wanted);
            let off = points[at].minus(points[other]);
            let length = off.length();
            stress += weight * (length - wanted) * (length - wanted);
            let pull = if length > 1e-9 { off.times(wanted / length) } else { jitter(at, wanted) };
            sum = sum.plus(points[other].plus(pull).times(weight));
            weights += weight;
        }
        points[at] = sum.times(1.0 / weights);
    }
    stress
}

/// A direction for points that lie on each other: another one for each.
pub(super) fn jitter(at: usize, length: f64) -> Point {
    let angle = at as f64 * 2.399_963; // The golden angle: no two are near each other.
    Point { x: angle.cos() * length, y: angle.sin() * length }
}

fn start(distances: &[Vec<f64>]) -> Vec<Point> {
    let count = distances.len();
    let square = |one: usize, other: usize| distances[one][other] * distances[one][other];
    let means: Vec<f64> =
        (0..count).map(|at| (0..count).map(|other| square(at, other)).sum::<f64>() / count as f64).collect();
    let mean = means.iter().sum::<f64>() / count as f64;
    let centred = |one: usize, other: usize| -0.5 * (square(one, other) - means[one] - means[other] + mean);
    let first = strongest(count, &centred, None);
    let second = strongest(count, &centred, Some(&first.1));
    let scale = |strength: f64| strength.max(0.0).sqrt();
    let (wide, high) = (scale(first.0), scale(second.0));
    (0..count)
        .map(|at| Point { x: first.1[at] * wide, y: second.1[at] * high }.plus(jitter(at, 1e-3)))
        .collect()
}

/// The strongest direction of a symmetric matrix, at right angles to `but`.
fn strongest(count: usize, entry: &impl Fn(usize, usize) -> f64, but: Option<&Vec<f64>>) -> (f64, Vec<f64>) {
    let mut vector: Vec<f64> = (0..count).map(|at| (at as f64 + 1.0).sin() + 0.01).collect();
    let mut strength = 0.0;
    for _ in 0..POWER_STEPS {
        if let Some(but) = but {
            let along: f64 = vector.iter().zip(but).map(|(one, other)| one * other).sum();
            vector.iter_mut().zip(but).for_each(|(one, other)| *one -= along * other);
        }
        let next: Vec<f64> = (0..count)
            .map(|at| vector.iter().enumerate().map(|(other, part)| entry(at, other) * part).sum())
            .collect();
        strength = next.iter().map(|part| part * part).sum::<f64>().sqrt();
        if strength < 1e-12 {
            break;
        }
        vector = next.into_iter().map(|part| part / strength).collect();
    }
    (strength, vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_that_fit_a_plane_are_kept() {
        let wanted = [(0.0, 0.0), (3.0, 0.0), (3.0, 4.0), (0.0, 4.0), (1.5, 2.0)];
        let far = |one: (f64, f64), other: (f64, f64)| (one.0 - other.0).hypot(one.1 - other.1);
        let distances: Vec<Vec<f64>> =
            wanted.iter().map(|&one| wanted.iter().map(|&other| far(one, other)).collect()).collect();
        let points = place(&distances);
        for (one, row) in distances.iter().enumerate() {
            for (other, wanted) in row.iter().enumerate() {
                let found = points[one].minus(points[other]).length();
                assert!((found - wanted).abs() < 0.05, "{one} {other}: {found} for {wanted}");
            }
        }
    }

    #[test]
    fn few_points_and_equal_distances_have_places() {
        assert_eq!(place(&[]).len(), 0);
        assert_eq!(place(&[vec![0.0]]).len(), 1);
        let all = vec![vec![1.0; 30]; 30];
        assert!(place(&all).iter().all(|point| point.x.is_finite() && point.y.is_finite()));
    }
}
