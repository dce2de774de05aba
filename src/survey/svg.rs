//! A drawing as SVG: for a wall.

use std::fmt::Write as _;

use super::labels::{Belongs, Label, Placed, Scene, place, width};
use super::layout::{self, Point};
use super::picture::{Line, Mark, Picture};
use super::plane::Area;

/// How large relays are drawn.
const RADIUS: f64 = 9.0;
/// The size of the letters of names…
const NAME: f64 = 15.0;
/// …and of costs.
const COST: f64 = 11.5;
/// Around everything.
const MARGIN: f64 = 36.0;
/// With more relays and links than this, costs are not written.
const COSTS_MAX: usize = 1_200;
/// How often the drawing is made larger when texts cover each other.
const TRIES: i32 = 12;
/// The first try, before it gets larger.
const SCALE: f64 = 0.75;
/// How much larger each try is.
const STEP: f64 = 1.15;

const TREE: &str = "#0b61a4";
const OTHER: &str = "#aab2bd";
const INK: &str = "#1d2530";
const LOST: &str = "#c0271a";

/// A finished drawing, before it is written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drawing {
    /// Where relays are.
    pub points: Vec<Point>,
    /// What each text belongs to, and its box.
    pub texts: Vec<(Belongs, Area)>,
    /// How many texts cover another one or a relay.
    pub covered: usize,
}

/// Lays out a picture. It is made larger until no text covers another one.
#[must_use]
pub fn draw(picture: &Picture) -> Drawing {
    let outline = picture.outline();
    let labels = labels(picture);
    let links: Vec<([usize; 2], f64)> =
        picture.links.iter().map(|line| (line.between, if line.is_in_tree { 3.0 } else { 1.2 })).collect();
    let radius = |relay: &Mark| if relay.is_root { RADIUS + 6.0 } else { RADIUS + 2.0 };
    let radii: Vec<f64> = picture.relays.iter().map(radius).collect();
    let tries = if labels.len() > COSTS_MAX { 2 } else { TRIES };
    let mut best: Option<Drawing> = None;
    for attempt in 0..tries {
        let points = layout::place(&outline, SCALE * STEP.powi(attempt));
        let Placed { areas, covered } =
            place(Scene { points: &points, radii: &radii, links: &links }, &labels);
        let texts = labels.iter().map(|label| label.of).zip(areas).collect();
        if best.as_ref().is_none_or(|best| covered < best.covered) {
            best = Some(Drawing { points, texts, covered });
        }
        if covered == 0 {
            break;
        }
    }
    best.unwrap_or_else(|| Drawing { points: Vec::new(), texts: Vec::new(), covered: 0 })
}

fn labels(picture: &Picture) -> Vec<Label> {
    let names = picture.relays.iter().enumerate();
    let mut labels: Vec<Label> =
        names.map(|(at, relay)| Label::new(Belongs::Relay(at), &relay.name, NAME)).collect();
    if picture.relays.len() + picture.links.len() <= COSTS_MAX {
        let costs = picture.links.iter().enumerate();
        labels.extend(costs.map(|(at, line)| Label::new(Belongs::Link(at), &line.cost, COST)));
    }
    labels
}

/// The picture as an SVG document.
#[must_use]
pub fn write(picture: &Picture) -> String {
    let drawing = draw(picture);
    let caption = picture.caption();
    let legend = legend(picture);
    let (mut from, mut to) = layout::bounds(&drawing.points);
    for (_, area) in &drawing.texts {
        from = Point { x: from.x.min(area.from.x), y: from.y.min(area.from.y) };
        to = Point { x: to.x.max(area.to.x), y: to.y.max(area.to.y) };
    }
    let head = 34.0 + 22.0 * caption.len() as f64 + 16.0;
    let texts = caption.iter().map(|line| width(line) * 15.0);
    let least = texts.fold(width(&picture.title) * 26.0, f64::max);
    let wide = (to.x - from.x + 2.0 * RADIUS).max(least).max(340.0) + 2.0 * MARGIN;
    let (keys, keys_height) = keys(&legend, wide - 2.0 * MARGIN);
    let high = head + to.y - from.y + 2.0 * RADIUS + 3.0 * MARGIN + keys_height;
    let left = (wide - (to.x - from.x)) / 2.0 - from.x;
    let down = MARGIN + head + RADIUS - from.y;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" \
         viewBox=\"0 0 {wide:.0} {high:.0}\" font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', \
         sans-serif\" fill=\"{INK}\">"
    );
    let _ = writeln!(out, "<title>{}</title>", escaped(&picture.title));
    let _ = writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    write_head(&mut out, &picture.title, &caption);
    let _ = writeln!(out, "<g transform=\"translate({left:.1} {down:.1})\">");
    write_links(&mut out, picture, &drawing);
    write_costs(&mut out, picture, &drawing);
    write_relays(&mut out, picture, &drawing);
    out.push_str("</g>\n");
    let base = high - MARGIN - keys_height + 12.0;
    let _ = writeln!(out, "<g transform=\"translate({MARGIN:.1} {base:.1})\" font-size=\"13\">\n{keys}</g>");
    out.push_str("</svg>\n");
    out
}

fn write_head(out: &mut String, title: &str, caption: &[String]) {
    let x = MARGIN;
    let _ = writeln!(
        out,
        "<text x=\"{x:.0}\" y=\"{:.0}\" font-size=\"26\" font-weight=\"bold\">{}</text>",
        MARGIN + 20.0,
        escaped(title)
    );
    for (number, line) in caption.iter().enumerate() {
        let y = MARGIN + 46.0 + 22.0 * number as f64;
        let text = escaped(line);
        let _ =
            writeln!(out, "<text x=\"{x:.0}\" y=\"{y:.0}\" font-size=\"15\" fill=\"#4a5562\">{text}</text>");
    }
}

/// Links of the tree are written last, so that they lie above the others.
fn write_links(out: &mut String, picture: &Picture, drawing: &Drawing) {
    for is_tree in [false, true] {
        let (colour, thick) = if is_tree { (TREE, 5.0) } else { (OTHER, 1.8) };
        for line in picture.links.iter().filter(|line| line.is_in_tree == is_tree) {
            let [one, other] = line.between.map(|end| drawing.points[end]);
            let dashes = if line.cost == "rtt" { " stroke-dasharray=\"9 6\"" } else { "" };
            let _ = writeln!(
                out,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
                 stroke-width=\"{thick}\" stroke-linecap=\"round\"{dashes}/>",
                one.x, one.y, other.x, other.y
            );
        }
    }
}

fn write_costs(out: &mut String, picture: &Picture, drawing: &Drawing) {
    for (of, area) in &drawing.texts {
        let Belongs::Link(at) = *of else { continue };
        let line: &Line = &picture.links[at];
        let (colour, weight) =
            if line.is_in_tree { (TREE, " font-weight=\"bold\"") } else { ("#5b6672", "") };
        let middle = area.middle();
        write_ground(out, area);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{COST}\" text-anchor=\"middle\" fill=\"{colour}\"{weight}>{}</text>",
            middle.x,
            middle.y + COST * 0.35,
            escaped(&line.cost)
        );
    }
}

/// White behind a text, so that a link that it stands on does not strike it through.
fn write_ground(out: &mut String, area: &Area) {
    let (from, to) = (area.from, area.to);
    let _ = writeln!(
        out,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\" fill=\"#ffffff\" fill-opacity=\"0.86\"/>",
        from.x - 1.0,
        from.y,
        to.x - from.x + 2.0,
        to.y - from.y
    );
}

fn write_relays(out: &mut String, picture: &Picture, drawing: &Drawing) {
    let texts = || drawing.texts.iter().filter_map(|(of, area)| Some((relay_of(*of)?, area)));
    texts().for_each(|(_, area)| write_ground(out, area));
    for (relay, point) in picture.relays.iter().zip(&drawing.points) {
        write_mark(out, relay, *point);
    }
    for (at, area) in texts() {
        let relay = &picture.relays[at];
        let point = drawing.points[at];
        // The text is flush with the side that is next to its relay.
        let (x, anchor) = if area.from.x > point.x {
            (area.from.x, "start")
        } else if area.to.x < point.x {
            (area.to.x, "end")
        } else {
            (area.middle().x, "middle")
        };
        let weight = if relay.is_member { " font-weight=\"bold\"" } else { "" };
        let colour = if relay.is_cut_off { LOST } else { INK };
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{NAME}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{weight}>{}</text>",
            area.middle().y + NAME * 0.35,
            escaped(&relay.name)
        );
    }
}

fn relay_of(of: Belongs) -> Option<usize> {
    match of {
        Belongs::Relay(at) => Some(at),
        Belongs::Link(_) => None,
    }
}

/// Round, square where nothing is passed on; filled for members; ringed for the root.
fn write_mark(out: &mut String, relay: &Mark, Point { x, y }: Point) {
    let edge = if relay.is_cut_off {
        LOST
    } else if relay.is_on_tree {
        TREE
    } else {
        "#7d8793"
    };
    let fill = if relay.is_member { edge } else { "#ffffff" };
    if relay.is_root {
        let radius = RADIUS + 4.5;
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"#ffffff\" stroke=\"{edge}\" stroke-width=\"2.5\"/>"
        );
    }
    let style = format!("fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"2.5\"");
    if relay.transit {
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" {style}/>", RADIUS - 1.0);
    } else {
        let side = RADIUS * 2.0 - 3.0;
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{side}\" height=\"{side}\" {style}/>",
            x - side / 2.0,
            y - side / 2.0
        );
    }
}

/// What signs mean: how each is drawn around (14, 0), and its words. Only what is on
/// the picture.
fn legend(picture: &Picture) -> Vec<(String, &'static str)> {
    let has = |is: fn(&Mark) -> bool| picture.relays.iter().any(is);
    let sign = |mark: Mark| {
        let mut out = String::new();
        write_mark(&mut out, &mark, Point { x: 14.0, y: 0.0 });
        out
    };
    let plain = Mark {
        name: String::new(),
        site: None,
        transit: true,
        is_member: false,
        is_cut_off: false,
        is_on_tree: false,
        is_root: false,
        parent: None,
    };
    let line = |colour: &str, thick: f64, dashes: &str| {
        format!(
            "<line x1=\"0\" y1=\"0\" x2=\"28\" y2=\"0\" stroke=\"{colour}\" stroke-width=\"{thick}\"{dashes}/>\n"
        )
    };
    let on_tree = Mark { is_on_tree: true, ..plain.clone() };
    let member = Mark { is_member: true, ..on_tree.clone() };
    let passing = has(|relay| relay.is_on_tree && !relay.is_member);
    let signs = [
        (picture.tree.is_some(), line(TREE, 5.0, ""), "link of the tree, with its cost"),
        (picture.links.iter().any(|line| !line.is_in_tree), line(OTHER, 1.8, ""), "other link"),
        (
            picture.links.iter().any(|line| line.cost == "rtt"),
            line("#7d8793", 2.0, " stroke-dasharray=\"9 6\""),
            "cost is measured",
        ),
        (has(|relay| relay.is_member && !relay.is_cut_off), sign(member.clone()), "member"),
        (has(|relay| relay.is_root), sign(Mark { is_root: true, ..member.clone() }), "root of the tree"),
        (passing, sign(on_tree), "passes on"),
        (has(|relay| !relay.is_on_tree && !relay.is_member), sign(plain.clone()), "not on a tree"),
        (has(|relay| relay.is_cut_off), sign(Mark { is_cut_off: true, ..member }), "member that is cut off"),
        (has(|relay| !relay.transit), sign(Mark { transit: false, ..plain }), "square: never passes on"),
    ];
    signs.into_iter().filter(|(is_there, ..)| *is_there).map(|(_, sign, words)| (sign, words)).collect()
}

/// The legend in rows of at most `wide`, and how high they are together.
fn keys(legend: &[(String, &'static str)], wide: f64) -> (String, f64) {
    let mut out = String::new();
    let (mut x, mut y) = (0.0, 0.0);
    for (sign, words) in legend {
        let needs = 38.0 + width(words) * 13.0 + 26.0;
        if x > 0.0 && x + needs > wide {
            (x, y) = (0.0, y + 28.0);
        }
        let _ = writeln!(
            out,
            "<g transform=\"translate({x:.1} {y:.1})\">\n{sign}<text x=\"38\" y=\"4.5\">{words}</text></g>"
        );
        x += needs;
    }
    (out, y + 24.0)
}

/// Text as XML takes it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Not even an escape may stand for these in XML.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
