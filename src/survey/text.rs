//! A drawing in letters: for a terminal.

use std::fmt::Write as _;

use super::picture::Picture;

/// The tree as an outline with the cost of each link, then the links that it does
/// not use. Without a tree: every relay with its links.
#[must_use]
pub fn write(picture: &Picture) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", picture.title);
    picture.caption().iter().for_each(|line| out.extend([line.as_str(), "\n"]));
    out.push('\n');
    if picture.tree.is_none() {
        write_links_of_all(&mut out, picture);
        return out;
    }
    write_trees(&mut out, picture);
    let alone: Vec<&str> = picture
        .relays
        .iter()
        .filter(|relay| relay.is_cut_off && !relay.is_on_tree)
        .map(|relay| relay.name.as_str())
        .collect();
    if !alone.is_empty() {
        let _ = writeln!(out, "\ncut off: {}", alone.join(", "));
    }
    let unused: Vec<String> = picture
        .links
        .iter()
        .filter(|line| !line.is_in_tree)
        .map(|line| {
            let [one, other] = line.between.map(|end| picture.relays[end].name.as_str());
            format!("  {one} ── {} ── {other}\n", line.cost)
        })
        .collect();
    if !unused.is_empty() {
        let _ = write!(out, "\nlinks that it does not use:\n{}", unused.concat());
    }
    let has = |is: fn(&super::picture::Mark) -> bool| picture.relays.iter().any(is);
    if has(|relay| relay.is_on_tree && !relay.is_member) {
        out.push_str("\n● member   ○ passes on\n");
    }
    out
}

fn write_trees(out: &mut String, picture: &Picture) {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); picture.relays.len()];
    for (at, relay) in picture.relays.iter().enumerate() {
        if let Some(parent) = relay.parent {
            children[parent].push(at);
        }
    }
    let roots = picture.relays.iter().enumerate().filter(|(_, relay)| relay.is_root);
    for (root, relay) in roots {
        let _ = writeln!(out, "{} {}", sign(relay.is_member), relay.name);
        // A relay, and what stands before the line of each of its children. No
        // recursion: a tree may be a chain of all relays.
        let mut open: Vec<(usize, String, bool)> = Vec::new();
        push_children(&mut open, &children[root], "");
        while let Some((at, before, is_last)) = open.pop() {
            let relay = &picture.relays[at];
            let cost = cost_of(picture, at);
            let branch = if is_last { "└──" } else { "├──" };
            let _ = writeln!(out, "{before}{branch} {cost} ── {} {}", sign(relay.is_member), relay.name);
            let before = format!("{before}{}", if is_last { "    " } else { "│   " });
            push_children(&mut open, &children[at], &before);
        }
    }
}

fn push_children(open: &mut Vec<(usize, String, bool)>, children: &[usize], before: &str) {
    for (number, &child) in children.iter().enumerate().rev() {
        open.push((child, before.to_owned(), number + 1 == children.len()));
    }
}

fn sign(is_member: bool) -> char {
    if is_member { '●' } else { '○' }
}

/// The cost of the link from a relay towards the root.
fn cost_of(picture: &Picture, at: usize) -> &str {
    let between = picture.relays[at].parent.map(|parent| [at.min(parent), at.max(parent)]);
    let found =
        between.and_then(|between| picture.links.binary_search_by(|line| line.between.cmp(&between)).ok());
    found.map_or("?", |found| &picture.links[found].cost)
}

fn write_links_of_all(out: &mut String, picture: &Picture) {
    for (at, relay) in picture.relays.iter().enumerate() {
        let _ = writeln!(out, "{}", relay.name);
        let links: Vec<_> = picture.links.iter().filter(|line| line.between.contains(&at)).collect();
        for (number, line) in links.iter().enumerate() {
            let other = if line.between[0] == at { line.between[1] } else { line.between[0] };
            let branch = if number + 1 == links.len() { "└──" } else { "├──" };
            let _ = writeln!(out, "{branch} {} ── {}", line.cost, picture.relays[other].name);
        }
    }
}
