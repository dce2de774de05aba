//! What the operator is told, with the status, of what has happened here: so many texts and no more.
//!
//! A relay that has lost its disk makes thousands of subscriptions again, and one that runs for years sees
//! many topologies. All that is said of either fits into one answer.

use std::collections::BTreeMap;

use super::Relay;
use crate::id::{GroupNumber, SubscriptionName};
use crate::wire::body::Refusal;

/// Texts that are kept: the first half for good, and the last ones.
const WARNINGS_MAX: usize = 100;

/// What is known of warnings beside their texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Warned {
    /// How many had to make room.
    dropped: u64,
    /// Of subscriptions that were lost with a disk, by group, and by whether they are lost for good: how
    /// many there are, and the first one.
    lost: BTreeMap<(GroupNumber, bool), (u64, SubscriptionName)>,
}

/// How a text of so many subscriptions begins.
fn lost(group: &str, is_for_good: bool, (count, first): (u64, &SubscriptionName)) -> String {
    let (what, verb) = match count {
        1 => (format!("subscription {first} of group {group}"), ["was", "is"]),
        _ => (format!("{count} subscriptions of group {group}"), ["were", "are"]),
    };
    if is_for_good {
        format!("{what} {} lost with a disk", verb[1])
    } else {
        format!("this relay has lost a disk: {what} {} made again", verb[0])
    }
}

impl Relay {
    /// What the operator should know; once.
    pub fn warn(&mut self, warning: String) {
        let warnings = &mut self.options.warnings;
        if warnings.contains(&warning) {
            return;
        }
        // The first ones tell of the start, and the last ones of now.
        while warnings.len() >= WARNINGS_MAX {
            warnings.remove(WARNINGS_MAX / 2);
            self.warned.dropped += 1;
        }
        warnings.push(warning);
    }

    /// What of it the status says.
    pub(super) fn kept_warnings(&self) -> Vec<String> {
        let all = &self.options.warnings;
        let mut told: Vec<String> = all.iter().take(WARNINGS_MAX).cloned().collect();
        let more = self.warned.dropped + (all.len() - told.len()) as u64;
        if more > 0 {
            told.push(format!("{more} more warnings were given since the start, and are not kept"));
        }
        told
    }

    /// A subscription that was lost with a disk was made again, or cannot be: one text for each group.
    pub(super) fn warn_of_lost(
        &mut self,
        number: GroupNumber,
        name: &SubscriptionName,
        refusal: Option<&Refusal>,
    ) {
        let group = self.groups.get(number).map(|group| group.name.to_string()).unwrap_or_default();
        let is_for_good = refusal.is_some();
        let found = self.warned.lost.entry((number, is_for_good)).or_insert_with(|| (0, name.clone()));
        let before = lost(&group, is_for_good, (found.0, &found.1));
        found.0 += 1;
        let text = lost(&group, is_for_good, (found.0, &found.1));
        let text = match refusal {
            None => text + " from what others know, without the messages that only the lost disk had",
            Some(refusal) => format!("{text}: {refusal}"),
        };
        match self.options.warnings.iter_mut().find(|known| known.starts_with(&before)) {
            Some(known) => *known = text,
            None => self.warn(text),
        }
    }
}
