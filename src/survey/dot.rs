//! A drawing in the language of Graphviz: for those who want another layout.

use std::fmt::Write as _;

use super::picture::{Mark, Picture};

/// The picture as an undirected graph. Relays that say where they are stand
/// there when `neato -n` draws it.
#[must_use]
pub fn write(picture: &Picture) -> String {
    let mut out = String::new();
    let caption =
        std::iter::once(picture.title.clone()).chain(picture.caption()).collect::<Vec<_>>().join("\n");
    let _ = writeln!(out, "graph {} {{", quoted(&picture.title));
    let _ = writeln!(out, "  graph [label={}, labelloc=t, overlap=false, splines=true];", quoted(&caption));
    out.push_str("  node [shape=ellipse, fontname=\"Helvetica\", color=\"#7d8793\"];\n");
    out.push_str("  edge [fontname=\"Helvetica\", fontsize=11, color=\"#aab2bd\"];\n");
    for relay in &picture.relays {
        let _ = writeln!(out, "  {} [{}];", quoted(&relay.name), looks(relay).join(", "));
    }
    for line in &picture.links {
        let [one, other] = line.between.map(|end| quoted(&picture.relays[end].name));
        let mut looks = vec![format!("label={}, len={}", quoted(&line.cost), length(line.weight))];
        if line.is_in_tree {
            looks.push("color=\"#0b61a4\", penwidth=4, class=\"tree\"".to_owned());
        }
        if line.cost == "rtt" {
            looks.push("style=dashed".to_owned());
        }
        let _ = writeln!(out, "  {one} -- {other} [{}];", looks.join(", "));
    }
    out.push_str("}\n");
    out
}

fn looks(relay: &Mark) -> Vec<String> {
    let mut looks = vec![format!("label={}", quoted(&relay.name))];
    if !relay.transit {
        looks.push("shape=box".to_owned());
    }
    if relay.is_cut_off {
        looks.push("style=filled, fillcolor=\"#f3c6c2\", color=\"#c0271a\"".to_owned());
    } else if relay.is_member {
        looks.push("style=filled, fillcolor=\"#cfe3f4\", color=\"#0b61a4\"".to_owned());
    } else if relay.is_on_tree {
        looks.push("color=\"#0b61a4\"".to_owned());
    }
    if relay.is_root {
        looks.push("peripheries=2".to_owned());
    }
    if let Some(site) = relay.site {
        looks.push(format!("pos=\"{:.1},{:.1}\"", site.longitude() * 30.0, site.latitude() * 40.0));
    }
    looks
}

/// Long like its cost, within what can be looked at.
fn length(cost: u32) -> String {
    format!("{:.2}", (1.0 + f64::from(cost).ln_1p() * 0.4).min(5.0))
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}
