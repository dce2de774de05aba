//! Where relays stand on a drawing: where they are on earth if the file says so,
//! else so that links have lengths like their costs. Always the same for the same
//! network.
//!
//! A network that goes round more than half of the earth would have links across
//! the whole map wherever that is cut: it is laid out by costs and then turned so
//! that it lies like the map.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::apart::{Gaps, spread};
pub use super::plane::Point;
use super::stress;
use crate::topology::Site;

/// What a link of middling cost is long, before relays are moved apart.
const LINK: f64 = 150.0;
/// How near relays may stand to each other.
const GAP: f64 = 62.0;
/// How near a link may pass by a relay that is not at its ends.
const LINK_GAP: f64 = 26.0;
/// How large a map may be, in links of middling length for each relay in a row of all.
const WALL: f64 = 2.2;
/// Between parts of the network that have no link.
const PART_GAP: f64 = 140.0;

/// A network to be laid out. Relays are numbers from 0.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Where each relay is on earth.
    pub sites: Vec<Option<Site>>,
    /// The relays at the ends of each link, and its cost.
    pub links: Vec<([usize; 2], u32)>,
}

/// A point for each relay, in the units of the drawing. `scale` above 1 leaves
/// more room between them.
#[must_use]
pub fn place(outline: &Outline, scale: f64) -> Vec<Point> {
    let pairs: Vec<[usize; 2]> = outline.links.iter().map(|link| link.0).collect();
    let mut points = match on_earth(outline) {
        Some(map) if map.is_flat => map.points,
        Some(map) if Ways::new(outline).parts().len() == 1 => turned(by_costs(outline), &map.points),
        Some(_) | None => by_costs(outline),
    };
    points.iter_mut().for_each(|point| *point = point.times(scale));
    spread(&mut points, &pairs, Gaps { points: GAP * scale.min(1.5), links: LINK_GAP });
    points
}

/// Where relays are on a map.
struct Chart {
    points: Vec<Point>,
    /// Whether they are on one half of the earth.
    is_flat: bool,
}

/// Degrees from west to east that a flat map can show.
const FLAT_DEGREES: f64 = 190.0;

/// An equirectangular map around the middle of the network, cut where that makes
/// links shortest, when most relays say where they are. Who does not stands between
/// its neighbours.
fn on_earth(outline: &Outline) -> Option<Chart> {
    let known: Vec<Site> = outline.sites.iter().flatten().copied().collect();
    if known.len() < 2 || known.len() * 4 < outline.sites.len() * 3 {
        return None;
    }
    let latitudes = known.iter().map(|site| site.latitude());
    let (south, north) = latitudes.fold((90.0_f64, -90.0_f64), |(s, n), at| (s.min(at), n.max(at)));
    let narrow = ((south + north) / 2.0).to_radians().cos().max(0.3);
    let cut = best_cut(outline, &known);
    let east = |site: &Site| (site.longitude() - cut).rem_euclid(360.0);
    let is_flat = known.iter().map(east).fold(0.0, f64::max) <= FLAT_DEGREES;
    let project = |site: Site| Point { x: east(&site) * narrow, y: -site.latitude() };
    let mut points: Vec<Option<Point>> = outline.sites.iter().map(|site| site.map(project)).collect();
    fill_in(outline, &mut points);
    let points: Vec<Point> = points.into_iter().map(Option::unwrap_or_default).collect();
    let length = |ends: &[usize; 2]| points[ends[0]].minus(points[ends[1]]).length();
    let mut lengths: Vec<f64> = outline.links.iter().map(|(ends, _)| length(ends)).collect();
    lengths.sort_by(f64::total_cmp);
    let middling = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
    // Where most are close together and a few far away, all must still fit on a wall.
    let (from, to) = bounds(&points);
    let least = to.minus(from).length() / (WALL * (points.len() as f64).sqrt());
    let unit = middling.max(least).max(1e-9);
    Some(Chart { points: points.iter().map(|point| point.times(LINK / unit)).collect(), is_flat })
}

/// The same points, turned and perhaps mirrored so that they lie like others.
fn turned(points: Vec<Point>, like: &[Point]) -> Vec<Point> {
    let middle = |points: &[Point]| {
        let sum = points.iter().fold(Point::default(), |sum, point| sum.plus(*point));
        sum.times(1.0 / points.len().max(1) as f64)
    };
    let (from, to) = (middle(&points), middle(like));
    let turn = |mirror: f64| {
        let pairs = points.iter().zip(like).map(|(one, other)| (one.minus(from), other.minus(to)));
        pairs.fold((0.0, 0.0), |(along, across), (one, other)| {
            let x = one.x * mirror;
            (along + x * other.x + one.y * other.y, across + x * other.y - one.y * other.x)
        })
    };
    let strength = |(along, across): (f64, f64)| along.hypot(across);
    let mirror = if strength(turn(-1.0)) > strength(turn(1.0)) { -1.0 } else { 1.0 };
    let (along, across) = turn(mirror);
    let angle = across.atan2(along);
    let (sin, cos) = (angle.sin(), angle.cos());
    let rotated = points.iter().map(|point| {
        let (x, y) = ((point.x - from.x) * mirror, point.y - from.y);
        Point { x: x * cos - y * sin, y: x * sin + y * cos }
    });
    rotated.collect()
}

/// The meridian at which the map is cut: of those next to a relay the one with
/// which links are shortest.
fn best_cut(outline: &Outline, known: &[Site]) -> f64 {
    let mut edges: Vec<f64> = known.iter().map(|site| site.longitude()).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let across = |cut: f64| {
        let x = |at: usize| outline.sites[at].map(|site| (site.longitude() - cut).rem_euclid(360.0));
        let lengths =
            outline.links.iter().filter_map(|([one, other], _)| Some((x(*one)? - x(*other)?).abs()));
        lengths.sum::<f64>()
    };
    let cuts = edges.iter().map(|&cut| (across(cut), cut));
    cuts.min_by(|one, other| one.0.total_cmp(&other.0)).map_or(-180.0, |(_, cut)| cut)
}

/// Relays without a place stand in the middle of their neighbours, or in a row below.
fn fill_in(outline: &Outline, points: &mut [Option<Point>]) {
    for _ in 0..points.len() {
        let mut is_done = true;
        for at in 0..points.len() {
            if points[at].is_some() {
                continue;
            }
            let ends = outline.links.iter().filter(|(ends, _)| ends.contains(&at));
            let others = ends.filter_map(|([one, other], _)| points[if *one == at { *other } else { *one }]);
            let (sum, count) =
                others.fold((Point::default(), 0.0), |(sum, count), at| (sum.plus(at), count + 1.0));
            if count > 0.0 {
                points[at] = Some(sum.times(1.0 / count).plus(stress::jitter(at, 0.5)));
                is_done = false;
            }
        }
        if is_done {
            break;
        }
    }
    let lowest = points.iter().flatten().map(|point| point.y).fold(f64::NEG_INFINITY, f64::max);
    let lost = points.iter_mut().filter(|point| point.is_none()).enumerate();
    lost.for_each(|(number, point)| *point = Some(Point { x: number as f64, y: lowest + 1.0 }));
}

/// Stress majorisation of each part of the network; the parts side by side.
fn by_costs(outline: &Outline) -> Vec<Point> {
    let ways = Ways::new(outline);
    let mut points = vec![Point::default(); outline.sites.len()];
    let mut pen = Point::default();
    let mut row_height = 0.0_f64;
    let parts = ways.parts();
    let row_width = LINK * 1.6 * (outline.sites.len() as f64).sqrt();
    for part in parts {
        let distances: Vec<Vec<f64>> = part
            .iter()
            .map(|&from| {
                let row = ways.from(from);
                part.iter().map(|&to| row[to]).collect()
            })
            .collect();
        let found = upright(stress::place(&distances));
        let (from, to) = bounds(&found);
        if pen.x > 0.0 && pen.x + to.x - from.x > row_width {
            pen = Point { x: 0.0, y: pen.y + row_height + PART_GAP };
            row_height = 0.0;
        }
        for (&at, point) in part.iter().zip(found) {
            points[at] = point.minus(from).plus(pen);
        }
        pen.x += to.x - from.x + PART_GAP;
        row_height = row_height.max(to.y - from.y);
    }
    points
}

/// Turned so that it is wider than high: that is how screens and labels are.
fn upright(mut points: Vec<Point>) -> Vec<Point> {
    let (from, to) = bounds(&points);
    if to.y - from.y > to.x - from.x {
        points.iter_mut().for_each(|point| *point = Point { x: point.y, y: point.x });
    }
    points
}

/// The corners of the box around all points.
pub(super) fn bounds(points: &[Point]) -> (Point, Point) {
    let mut points = points.iter().copied();
    let first = points.next().unwrap_or_default();
    points.fold((first, first), |(from, to), at| {
        (Point { x: from.x.min(at.x), y: from.y.min(at.y) }, Point { x: to.x.max(at.x), y: to.y.max(at.y) })
    })
}

/// Links with the lengths that they should have, in thousandths.
struct Ways {
    ends: Vec<Vec<(usize, u64)>>,
}

impl Ways {
    /// A link is long like its cost, but none is so short that there is no room
    /// for names, and none so long that it is all one sees.
    fn new(outline: &Outline) -> Self {
        let count = outline.links.len().max(1);
        let mean = outline.links.iter().map(|(_, cost)| f64::from(*cost)).sum::<f64>() / count as f64;
        let mut ends = vec![Vec::new(); outline.sites.len()];
        for &([one, other], cost) in &outline.links {
            let length = LINK * (0.6 + 0.4 * f64::from(cost) / mean.max(1e-9)).min(2.2);
            let length = (length * 1000.0) as u64;
            ends[one].push((other, length));
            ends[other].push((one, length));
        }
        Self { ends }
    }

    /// The relays that reach each other, the largest part first.
    fn parts(&self) -> Vec<Vec<usize>> {
        let mut is_known = vec![false; self.ends.len()];
        let mut parts = Vec::new();
        for start in 0..self.ends.len() {
            if !is_known[start] {
                let row = self.from(start);
                let part: Vec<usize> = (0..row.len()).filter(|&at| row[at].is_finite()).collect();
                part.iter().for_each(|&at| is_known[at] = true);
                parts.push(part);
            }
        }
        parts.sort_by_key(|part| (Reverse(part.len()), part[0]));
        parts
    }

    /// The way from one relay to all (Dijkstra 1959); infinite where there is none.
    fn from(&self, start: usize) -> Vec<f64> {
        let mut row = vec![u64::MAX; self.ends.len()];
        row[start] = 0;
        let mut open = BinaryHeap::from([Reverse((0_u64, start))]);
        while let Some(Reverse((distance, at))) = open.pop() {
            if distance > row[at] {
                continue;
            }
            for &(next, length) in &self.ends[at] {
                let way = distance + length;
                if way < row[next] {
                    row[next] = way;
                    open.push(Reverse((way, next)));
                }
            }
        }
        let far = |length: u64| if length == u64::MAX { f64::INFINITY } else { length as f64 / 1000.0 };
        row.into_iter().map(far).collect()
    }
}
