//! Where the texts of a drawing stand, so that none covers another or a relay, and
//! few are crossed by links.
//!
//! Each text has a few places to choose from. They choose one after the other, and
//! then again, each knowing where the others are, until nobody moves.

use super::plane::{Area, Point};

/// How often all choose again at the most.
const ROUNDS_MAX: usize = 12;
/// What covering something weighs against everything else.
const COVERED: f64 = 10_000.0;
/// What standing next to another relay weighs…
const MISTAKEN: f64 = 120.0;
/// …and how near that is.
const NEAR: f64 = 13.0;
/// Room left around a text.
const AIR: f64 = 4.0;
/// The height of a text of size 1.
const LINE: f64 = 1.25;

/// What a text belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Belongs {
    /// The relay with this number.
    Relay(usize),
    /// The link with this number.
    Link(usize),
}

/// A text that wants a place.
#[derive(Clone, Debug)]
pub struct Label {
    /// What it belongs to.
    pub of: Belongs,
    /// How wide it is.
    pub width: f64,
    /// How high it is.
    pub height: f64,
}

impl Label {
    /// A text in letters of `size`.
    #[must_use]
    pub fn new(of: Belongs, text: &str, size: f64) -> Self {
        Self { of, width: width(text) * size, height: size * LINE }
    }
}

/// What is there already.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'s> {
    /// Where relays are.
    pub points: &'s [Point],
    /// How large each is drawn.
    pub radii: &'s [f64],
    /// The relays at the ends of links, and how bad it is to cross each.
    pub links: &'s [([usize; 2], f64)],
}

/// Where texts stand.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// The box of each text.
    pub areas: Vec<Area>,
    /// How many pairs of texts, or texts and relays, cover each other, and how many names may be taken for another
    /// relay's.
    pub covered: usize,
}

/// The width of a text of size 1 in a wide sans-serif font: letters that are
/// narrower leave room, none is wider.
#[must_use]
pub fn width(text: &str) -> f64 {
    let letter = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'I' => 0.34,
        'f' | 't' | 'r' | '-' | '(' | ')' | '/' | ' ' => 0.42,
        'm' | 'M' | 'W' | '@' | '%' => 1.0,
        'w' => 0.83,
        'A'..='Z' => 0.75,
        ' '..='~' => 0.64,
        _ if u32::from(c) < 0x0250 => 0.72,
        _ => 1.1,
    };
    text.chars().map(letter).sum()
}

/// Finds a place for each of `labels`.
#[must_use]
pub fn place(scene: Scene<'_>, labels: &[Label]) -> Placed {
    let choices: Vec<Vec<(Area, f64)>> = labels.iter().map(|label| choices(scene, label)).collect();
    let relays: Vec<Area> = scene
        .points
        .iter()
        .zip(scene.radii)
        .map(|(&point, radius)| Area::around(point, radius * 2.0, radius * 2.0))
        .collect();
    // What does not depend on other labels is weighed once.
    let fixed: Vec<Vec<f64>> = labels
        .iter()
        .zip(&choices)
        .map(|(label, choices)| {
            choices.iter().map(|(area, dislike)| dislike + crossed(scene, &relays, label.of, area)).collect()
        })
        .collect();
    let mut chosen: Vec<Option<usize>> = vec![None; labels.len()];
    for _ in 0..ROUNDS_MAX {
        let mut is_settled = true;
        for at in 0..labels.len() {
            let best = choose(at, &choices, &fixed, &chosen);
            is_settled &= chosen[at] == Some(best);
            chosen[at] = Some(best);
        }
        if is_settled {
            break;
        }
    }
    let areas: Vec<Area> =
        choices.iter().zip(&chosen).map(|(choices, chosen)| choices[chosen.unwrap_or(0)].0).collect();
    // A larger picture has room for those that are next to another relay, or far from their own.
    let names = labels
        .iter()
        .zip(&fixed)
        .zip(&chosen)
        .filter(|((label, _), _)| matches!(label.of, Belongs::Relay(_)));
    let mistaken = names.filter(|((_, fixed), chosen)| fixed[chosen.unwrap_or(0)] >= MISTAKEN).count();
    let covered = count_covered(&areas, &relays) + mistaken;
    Placed { areas, covered }
}

fn choose(at: usize, choices: &[Vec<(Area, f64)>], fixed: &[Vec<f64>], chosen: &[Option<usize>]) -> usize {
    let others: Vec<Area> = (0..choices.len())
        .filter(|&other| other != at)
        .filter_map(|other| Some(choices[other][chosen[other]?].0))
        .collect();
    let weigh = |choice: usize| {
        let area = choices[at][choice].0.grown(AIR);
        let overlaps = others.iter().map(|other| area.overlap(other)).filter(|overlap| *overlap > 0.0);
        fixed[at][choice] + overlaps.map(|overlap| COVERED + overlap * 10.0).sum::<f64>()
    };
    let weights = (0..choices[at].len()).map(|choice| (weigh(choice), choice));
    weights.min_by(|one, other| one.0.total_cmp(&other.0)).map_or(0, |(_, choice)| choice)
}

/// What a text would cover if it stood there.
fn crossed(scene: Scene<'_>, relays: &[Area], of: Belongs, area: &Area) -> f64 {
    let own = |at: usize| of == Belongs::Relay(at);
    let covered = relays.iter().enumerate().filter(|(at, relay)| !own(*at) && area.overlap(relay) > 0.0);
    let crossed = scene.links.iter().enumerate().filter(|(at, _)| of != Belongs::Link(*at));
    let lengths = crossed.map(|(_, ([one, other], weight))| {
        area.length_inside(scene.points[*one], scene.points[*other]) * weight
    });
    // A name next to another relay would be taken for that one's.
    let mistaken = |(at, relay): &(usize, &Area)| {
        let is_name = matches!(of, Belongs::Relay(_));
        is_name && !own(*at) && area.overlap(&relay.grown(NEAR)) > 0.0
    };
    let mistaken = relays.iter().enumerate().filter(mistaken).count();
    covered.count() as f64 * COVERED + mistaken as f64 * MISTAKEN + lengths.sum::<f64>()
}

/// The places that a text may take, each with how much it is disliked.
fn choices(scene: Scene<'_>, label: &Label) -> Vec<(Area, f64)> {
    let at = |x: f64, y: f64| Area::around(Point { x, y }, label.width, label.height);
    match label.of {
        Belongs::Relay(relay) => {
            let Point { x, y } = scene.points[relay];
            let radius = scene.radii[relay];
            let mut places = Vec::new();
            // Farther out it is soon nearer to another relay's name: then rather next to another relay.
            for (far, dislike) in [(0.0, 0.0), (9.0, 30.0), (20.0, 150.0)] {
                let (side, above) = (label.width / 2.0 + 4.0, label.height / 2.0 + 2.0);
                // Aslant a text may stand lower than above, since it stands beside.
                let (out, beside, aslant) = (radius + far, radius - 3.0 + far, radius * 0.6 + far);
                let round = [
                    (out + side, 0.0),
                    (-out - side, 0.0),
                    (0.0, -out - above),
                    (0.0, out + above),
                    (beside + side, -aslant - above),
                    (beside + side, aslant + above),
                    (-beside - side, -aslant - above),
                    (-beside - side, aslant + above),
                ];
                for (turn, (right, down)) in round.into_iter().enumerate() {
                    places.push((at(x + right, y + down), dislike + turn as f64 * 0.8));
                }
            }
            places
        }
        Belongs::Link(link) => {
            let ends = scene.links[link].0.map(|end| scene.points[end]);
            let shares = [0.5, 0.42, 0.58, 0.35, 0.65, 0.28, 0.72, 0.22, 0.78, 0.16, 0.84];
            let place = |(turn, share): (usize, f64)| {
                let point = ends[0].towards(ends[1], share);
                (at(point.x, point.y), turn as f64 * 4.0)
            };
            shares.into_iter().enumerate().map(place).collect()
        }
    }
}

fn count_covered(areas: &[Area], relays: &[Area]) -> usize {
    let pairs = areas.iter().enumerate().map(|(at, area)| {
        let texts = areas[at + 1..].iter().filter(|other| area.overlap(other) > 0.0).count();
        texts + relays.iter().filter(|relay| area.overlap(relay) > 0.0).count()
    });
    pairs.sum()
}
