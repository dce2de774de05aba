//! What was probably meant by a word that is unknown.

use std::collections::BTreeMap;

use crate::units::shorten;

/// Advice naming the candidate nearest to `word`, if one is near enough for a
/// slip of the hand: a third of its letters, at least one.
pub(super) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(word, candidates).map(|likely| format!("did you mean {likely:?}?"))
}

/// Advice naming the likely one, else the first few that there are.
pub(crate) fn likely_or_known<'c>(
    word: &str,
    known: impl Iterator<Item = &'c str> + Clone,
) -> Option<String> {
    const SHOWN_MAX: usize = 8;
    if let Some(likely) = nearest(word, known.clone()) {
        return Some(format!("did you mean {likely:?}?"));
    }
    let mut shown: Vec<String> =
        known.clone().take(SHOWN_MAX).map(|name| format!("{:?}", shorten(name))).collect();
    if known.clone().nth(SHOWN_MAX).is_some() {
        shown.push("…".to_owned());
    }
    (!shown.is_empty()).then(|| format!("there are {}", shown.join(", ")))
}

/// The candidate nearest to `word`; of equally near ones the first.
fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(WORD_CHARS_MAX + 1).flat_map(char::to_lowercase).collect();
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    let mut by_distance = BTreeMap::new();
    for candidate in candidates.into_iter().take(CANDIDATES_MAX) {
        let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        if letters.len().abs_diff(word.len()) <= allowed {
            let distance = distance(&word, &letters);
            if distance <= allowed && distance < word.len().max(letters.len()) {
                by_distance.entry(distance).or_insert(candidate);
            }
        }
    }
    by_distance.into_values().next()
}

/// How many letters must be added, dropped, changed or swapped with their
/// neighbour to turn `from` into `to` (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, &letter) in from.iter().enumerate() {
        let mut next = Vec::with_capacity(to.len() + 1);
        next.push(row + 1);
        for (column, &other) in to.iter().enumerate() {
            let changed = last[column] + usize::from(letter != other);
            let mut least = changed.min(last[column + 1] + 1).min(next[column] + 1);
            let swapped = row > 0 && column > 0 && letter == to[column - 1] && from[row - 1] == other;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[to.len()]
}

/// A longer word is not compared: no slip of the hand is that long, and the
/// work grows with the square.
const WORD_CHARS_MAX: usize = 64;
/// Further candidates are not compared, so that a file with very many names
/// and very many faults is still checked at once.
const CANDIDATES_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_recognised() {
        let keys = ["address", "data", "transit", "max_children", "key"];
        let cases = [
            ("adress", Some("address")),
            ("adrdess", Some("address")),
            ("Transit", Some("transit")),
            ("max_childern", Some("max_children")),
            ("date", Some("data")),
            ("port", None),
            ("", None),
            ("x", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }

    #[test]
    fn the_nearest_wins_and_long_words_are_left_alone() {
        assert_eq!(nearest("nort", ["north-2", "norte", "north"]), Some("norte"));
        let long = "a".repeat(WORD_CHARS_MAX + 1);
        assert_eq!(nearest(&long, [long.as_str()]), None);
        assert_eq!(did_you_mean("nrth", ["north"]), Some("did you mean \"north\"?".to_owned()));
    }

    #[test]
    fn distance_counts_single_slips() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        let cases = [("ab", "ab", 0), ("ab", "ba", 1), ("ab", "", 2), ("", "ab", 2), ("cost", "host", 1)];
        for (from, to, expected) in cases {
            assert_eq!(distance(&letters(from), &letters(to)), expected, "{from} {to}");
        }
    }
}
