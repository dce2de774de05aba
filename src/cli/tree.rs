//! `treecast group tree`: which links the messages of a group take.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::client::Client;
use crate::id::{GroupName, RelayId};
use crate::topology::settings::TreeKind;
use crate::wire::body::{EdgeState, GroupTree, Lag, TreeNode};

use super::exit::Failure;
use super::out::{Context, Out};
use super::{Output, ask, human};

/// Arguments of `group tree`.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// The group or queue
    pub group: GroupName,
    /// Whose tree, where each origin has one (`tree = "source"`) [default: the asked relay's own]
    #[arg(long, value_name = "RELAY")]
    pub origin: Option<RelayId>,
}

/// Draws it.
///
/// # Errors
/// When there is no such group, or the relay is not there.
pub(super) async fn run(client: &Client, args: TreeArgs, context: &mut Context) -> Result<(), Failure> {
    let tree = ask::group_tree(client, &args.group, args.origin.as_ref()).await?;
    if args.origin.is_some() && tree.kind == TreeKind::Shared {
        let group = args.group.as_str();
        let text = format!("group {group:?} has one tree for all origins, so --origin says nothing");
        return Err(Failure::Usage(text));
    }
    match context.global.output {
        Output::Text => draw(&tree, context),
        Output::Json => Ok(context.out.json(&to_json(&tree))?),
        Output::Dot => Ok(context.out.line(dot(&tree))?),
    }
}

fn draw(tree: &GroupTree, context: &mut Context) -> Result<(), Failure> {
    let whose = match (&tree.origin, tree.kind) {
        (Some(origin), _) => format!("what {origin} puts"),
        (None, TreeKind::Shared) => "one tree for all origins".to_owned(),
        (None, TreeKind::Source) => "a tree for each origin".to_owned(),
    };
    let name = context.out.heading(tree.group.as_str());
    if tree.nodes.is_empty() {
        context.out.line(format_args!("{name}: {whose}; nobody puts into it or has a subscription"))?;
        return Ok(());
    }
    context.out.line(format_args!("{name}: {whose}, cost {}", human::count(tree.cost)))?;
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); tree.nodes.len()];
    let mut tops = Vec::new();
    for (at, node) in tree.nodes.iter().enumerate() {
        match node.up.and_then(|up| below.get_mut(up as usize)) {
            Some(below) => below.push(at),
            None => tops.push(at),
        }
    }
    let mut lines = Vec::new();
    for top in tops {
        branch(tree, &below, top, &context.out, &mut lines);
    }
    // What is known of each stands below one another.
    let width = lines.iter().map(|(drawn, _)| drawn.chars().count()).max().unwrap_or(0);
    for (drawn, known) in lines {
        let fill = " ".repeat(width - drawn.chars().count());
        context.out.line(format!("{drawn}{fill}  {known}").trim_end())?;
    }
    if tree.held.messages > 0 {
        let held = amount(&tree.held);
        context
            .out
            .line(format_args!("{} keeps {held} old, that not all members have confirmed", tree.here))?;
    }
    notes(tree, context);
    Ok(())
}

/// A relay and everything below it, without recursion: a tree may be one long line.
fn branch(tree: &GroupTree, below: &[Vec<usize>], top: usize, out: &Out, lines: &mut Vec<(String, String)>) {
    let mut open = vec![(top, String::new(), String::new())];
    while let Some((at, stem, bend)) = open.pop() {
        let Some(node) = tree.nodes.get(at) else { continue };
        lines.push((format!("{stem}{bend}{}", node.relay), known(tree, node, out)));
        let stem = match bend.chars().next() {
            None => stem,
            Some('├') => stem + "│  ",
            Some(_) => stem + "   ",
        };
        let children = below.get(at).map_or(&[][..], Vec::as_slice);
        for (place, child) in children.iter().enumerate().rev() {
            let is_down = tree.nodes.get(*child).is_some_and(|node| node.state == EdgeState::Down);
            let bend = match (place + 1 == children.len(), is_down) {
                (true, false) => "└─ ",
                (true, true) => "└╌ ",
                (false, false) => "├─ ",
                (false, true) => "├╌ ",
            };
            open.push((*child, stem.clone(), bend.to_owned()));
        }
    }
}

/// What a relay is, and what is known of the link above it.
fn known(tree: &GroupTree, node: &TreeNode, out: &Out) -> String {
    let mut facts = vec![role(node).to_owned()];
    if node.relay == tree.here {
        facts.insert(0, "this relay".to_owned());
    }
    match (node.state, node.up.and_then(|up| tree.nodes.get(up as usize))) {
        (EdgeState::Down, Some(keeps)) => {
            facts.push(out.bad(&format!("cut off, {} keeps for it", keeps.relay)))
        }
        (EdgeState::Down, None) if node.relay != tree.here => {
            facts.push(out.bad("cut off, only the origins keep for it"));
        }
        (EdgeState::Comparing, _) => facts.push("comparing".to_owned()),
        (EdgeState::Up | EdgeState::Down, _) => {}
    }
    facts.extend(node.cost.map(|cost| format!("cost {cost}")));
    if let Some(most) = node.max_children {
        let children = children(tree, node);
        facts.push(out.bad(&format!("{children} children, and max_children is {most}")));
    }
    if let Some(behind) = &node.lag {
        // Seen from this relay the neighbour stands above or below.
        let above = node.up.and_then(|up| tree.nodes.get(up as usize)).filter(|_| node.relay == tree.here);
        let of = above.map_or_else(|| "lag".to_owned(), |above| format!("lag of {}", above.relay));
        facts.push(format!("{of} {}", amount(behind)));
    }
    facts.extend(
        node.unconfirmed
            .filter(|open| *open > 0)
            .map(|open| format!("{} not confirmed", human::of(open, "record"))),
    );
    facts.join(", ")
}

/// How many relays a message goes on to from this one, away from the root.
fn children(tree: &GroupTree, node: &TreeNode) -> u64 {
    let Some(at) = tree.nodes.iter().position(|other| other.relay == node.relay) else { return 0 };
    let is_child = |other: &&TreeNode| other.up == Some(at as u32) && other.state != EdgeState::Down;
    tree.nodes.iter().filter(is_child).count() as u64
}

fn role(node: &TreeNode) -> &'static str {
    match (node.member, node.origin) {
        (true, true) => "member and origin",
        (true, false) => "member",
        (false, true) => "origin",
        (false, false) => "only passes on",
    }
}

/// So much that was not sent yet, and how old it is.
fn amount(lag: &Lag) -> String {
    if lag.messages == 0 {
        return "0".to_owned();
    }
    let (messages, bytes) = (human::of(lag.messages, "message"), human::bytes(lag.bytes));
    format!("{messages}, {bytes}, {}", human::millis(lag.ms))
}

/// What a person may miss in the drawing.
fn notes(tree: &GroupTree, context: &Context) {
    let links = tree.nodes.iter().filter(|node| node.up.is_some() && node.state != EdgeState::Down);
    let (mut all, mut own) = (0, 0);
    for node in links {
        all += 1;
        own += usize::from(node.lag.is_some() || node.state == EdgeState::Comparing);
    }
    if own < all {
        context.notes.note("The lag on a link is known at its two ends: ask these relays with --relay.");
    }
    if tree.kind == TreeKind::Source && tree.trees > 1 {
        let origins =
            tree.nodes.iter().filter(|node| node.origin && Some(&node.relay) != tree.origin.as_ref());
        let names: Vec<&str> = origins.map(|node| node.relay.as_str()).take(8).collect();
        context.notes.note(format_args!(
            "The group has {} trees, one for each origin; --origin draws another one: {}",
            tree.trees,
            names.join(", ")
        ));
    }
}

fn state(state: EdgeState) -> &'static str {
    match state {
        EdgeState::Up => "up",
        EdgeState::Comparing => "comparing",
        EdgeState::Down => "down",
    }
}

fn lag_json(lag: &Lag) -> Value {
    json!({ "messages": lag.messages, "bytes": lag.bytes, "ms": lag.ms })
}

fn to_json(tree: &GroupTree) -> Value {
    let name = |at: Option<u32>| at.and_then(|at| tree.nodes.get(at as usize)).map(|node| &node.relay);
    let node = |node: &TreeNode| {
        let is_down = node.state == EdgeState::Down;
        let above = name(node.up);
        json!({
            "relay": node.relay,
            "parent": above.filter(|_| !is_down),
            "custodian": above.filter(|_| is_down),
            "cut_off": is_down,
            "state": above.map(|_| state(node.state)),
            "cost": node.cost,
            "member": node.member,
            "origin": node.origin,
            "lag": node.lag.as_ref().map(lag_json),
            "unconfirmed": node.unconfirmed,
            "children": children(tree, node),
            "over_max_children": node.max_children,
        })
    };
    json!({
        "group": tree.group,
        "relay": tree.here,
        "tree": match tree.kind { TreeKind::Shared => "shared", TreeKind::Source => "source" },
        "origin": tree.origin,
        "trees": tree.trees,
        "cost": tree.cost,
        "held": lag_json(&tree.held),
        "relays": tree.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

/// The tree as the programs of Graphviz read it.
fn dot(tree: &GroupTree) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("graph {} {{\n  node [shape=box];\n", quoted(tree.group.as_str()));
    for node in &tree.nodes {
        let mut style = Vec::new();
        if !node.member && !node.origin {
            style.push("dashed");
        }
        if node.relay == tree.here {
            style.push("bold");
        }
        let label =
            format!("{}\\n{}", node.relay.as_str().replace('\\', "\\\\").replace('"', "\\\""), role(node));
        let style = if style.is_empty() { String::new() } else { format!(", style=\"{}\"", style.join(",")) };
        let _ = writeln!(text, "  {} [label=\"{label}\"{style}];", quoted(node.relay.as_str()));
    }
    for node in &tree.nodes {
        let Some(above) = node.up.and_then(|up| tree.nodes.get(up as usize)) else { continue };
        let label = match (node.state, node.cost, &node.lag) {
            (EdgeState::Down, _, _) => "label=\"cut off\", style=dotted".to_owned(),
            (_, Some(cost), Some(behind)) if behind.messages > 0 => {
                format!("label=\"{cost}, lag {}\"", amount(behind))
            }
            (_, Some(cost), _) => format!("label=\"{cost}\""),
            (_, None, _) => String::new(),
        };
        let (above, below) = (quoted(above.relay.as_str()), quoted(node.relay.as_str()));
        let _ = writeln!(text, "  {above} -- {below} [{label}];");
    }
    text + "}"
}

#[cfg(test)]
mod tests;
