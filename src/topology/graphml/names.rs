//! Valid names of relays from whatever labels nodes have.

use std::collections::BTreeSet;

use super::super::faults::{Code, Fault, Faults};
use super::super::name::check_name;
use super::{Node, Renamed};
use crate::units::shorten;

/// Longer names are cut, which leaves room for a number.
const NAME_CHARS_MAX: usize = 60;

/// A name for each node, no two the same. A name that is not simply its label in
/// lower case with `-` between words is reported.
pub(super) fn name_all(nodes: &[Node], faults: &mut Faults) -> (Vec<String>, Vec<Renamed>) {
    let mut taken = BTreeSet::new();
    let mut renamed = Vec::new();
    let mut names = Vec::new();
    for node in nodes {
        // NetworkX has no labels: there the ids are what people call nodes.
        let id = node.label.is_none().then_some(node.id.as_str());
        let id = id.filter(|id| id.contains(char::is_alphabetic));
        let label = node.label.as_deref().or(id).filter(|label| says_something(label));
        let plain = label.map(slug).filter(|name| check_name(name).is_ok());
        let wanted = plain.clone().unwrap_or_else(|| format!("node-{}", slug(&node.id)));
        let wanted = wanted.trim_end_matches('-').to_owned();
        let name = free(&wanted, &mut taken);
        if plain.as_ref() != Some(&name) {
            let why = match (label, &plain) {
                (None, _) => "it has no label".to_owned(),
                (Some(label), None) => format!("its label {:?} has no letter or digit", shorten(label)),
                (Some(label), Some(_)) => format!("another node is called {:?}, too", shorten(label)),
            };
            let message = format!("node {:?} becomes relay {name:?}: {why}", shorten(&node.id));
            faults.push(Fault::new(Code::Renamed, message).at(node.at));
            renamed.push(Renamed { id: node.id.clone(), label: node.label.clone(), name: name.clone() });
        }
        names.push(name);
    }
    (names, renamed)
}

/// The Zoo writes these where a label is not known.
fn says_something(label: &str) -> bool {
    !matches!(label.trim(), "" | "?" | "None" | "none")
}

/// Letters and digits in lower case, `-` for everything between them. Marks on letters that are
/// characters of their own are left out: they are no gaps between words.
pub(super) fn slug(label: &str) -> String {
    let mut slug = String::new();
    for c in label.to_lowercase().chars() {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !matches!(c, '\u{300}'..='\u{36f}') && !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let cut: String = slug.chars().take(NAME_CHARS_MAX).collect();
    cut.trim_end_matches('-').to_owned()
}

fn free(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2_u64;
    while !taken.insert(name.clone()) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[Option<&str>]) -> Vec<String> {
        let node = |(at, label): (usize, &Option<&str>)| Node {
            id: at.to_string(),
            label: label.map(str::to_owned),
            site: None,
            at: (0..0).into(),
        };
        let nodes: Vec<Node> = labels.iter().enumerate().map(node).collect();
        name_all(&nodes, &mut Faults::new("a", "")).0
    }

    #[test]
    fn labels_become_names() {
        let labels = ["New York", "St. Louis (MO)", "Zürich", "$sys/+#", "A\tB\u{85}C", "  x  "];
        let expected = ["new-york", "st-louis-mo", "zürich", "sys", "a-b-c", "x"];
        assert_eq!(labels.map(slug), expected);
        assert!(slug(&"é".repeat(10_000)).len() <= 2 * NAME_CHARS_MAX);
    }

    /// Letters and their accents may be characters of their own.
    #[test]
    fn a_mark_on_a_letter_is_no_gap_between_words() {
        assert_eq!(slug("İstanbul"), "istanbul");
        assert_eq!(slug("Zu\u{308}rich West"), "zurich-west");
    }

    #[test]
    fn no_two_nodes_have_one_name() {
        let labels = [Some("Paris"), Some("paris"), Some("Paris 2"), Some("?"), None, Some("***")];
        assert_eq!(names(&labels), ["paris", "paris-2", "paris-2-2", "node-3", "node-4", "node-5"]);
    }
}
