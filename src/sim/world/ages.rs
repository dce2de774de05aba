//! How old each message is at each relay (R14), reckoned from what has crossed the wires.
//!
//! A relay counts the time for which it has had a message to the age with which that has come. What a
//! message spends on a wire counts for nobody. A relay may have had it more than once, since a crash
//! takes what was not synced and a run may cross a link twice: each time is an age that it may have.

use std::collections::BTreeMap;

use super::World;
use crate::id::Time;
use crate::wire::link::LinkMessage;
use crate::wire::run::{Records, Run, RunKind};

/// A message has come, at this time, with this age in milliseconds.
type Came = (Time, u64);

/// When each message has come to each relay.
#[derive(Clone, Debug, Default)]
pub(super) struct Ages {
    came: BTreeMap<(usize, String), Vec<Came>>,
    wrong: Option<String>,
}

impl Ages {
    /// A message is put at a relay.
    pub(super) fn born(&mut self, node: usize, payload: &str, at: Time) {
        self.came.entry((node, payload.to_owned())).or_default().push((at, 0));
    }

    /// How old a message may be at a relay at the least, in milliseconds.
    pub(super) fn least(&self, node: usize, payload: &str, at: Time) -> Option<u64> {
        self.all(node, payload, at).min()
    }

    fn all(&self, node: usize, payload: &str, at: Time) -> impl Iterator<Item = u64> {
        let came = self.came.get(&(node, payload.to_owned())).into_iter().flatten();
        came.map(move |(since, age)| age + at.0.saturating_sub(since.0) / 1_000_000)
    }
}

/// The messages of a run. Dead letters are others than the messages that they were.
fn messages(run: &Run) -> Vec<String> {
    if run.header.kind != RunKind::Data {
        return Vec::new();
    }
    let records = Records::new(&run.body).map_while(Result::ok).filter(|record| record.headers.is_empty());
    records.map(|record| String::from_utf8_lossy(record.payload).into_owned()).collect()
}

impl World {
    /// A message arrives at a relay.
    pub(super) fn note_age(&mut self, node: usize, message: &LinkMessage) {
        let (Some(ages), LinkMessage::Run { age_ms, run, .. }) = (&mut self.ages, message) else { return };
        for payload in messages(run) {
            ages.came.entry((node, payload)).or_default().push((self.now.time, u64::from(*age_ms)));
        }
    }

    /// A relay says how old a message is.
    pub(super) fn hear_age(&mut self, node: usize, message: &LinkMessage) {
        let (Some(ages), LinkMessage::Run { age_ms, run, .. }) = (&mut self.ages, message) else { return };
        for payload in messages(run) {
            let right: Vec<u64> = ages.all(node, &payload, self.now.time).collect();
            if !right.contains(&u64::from(*age_ms)) {
                let name = &self.nodes[node].name;
                let what = format!("R14: {name} says that {payload} is {age_ms} ms old, and it is {right:?}");
                ages.wrong.get_or_insert(what);
            }
        }
    }

    /// Every age that was said so far was right.
    pub(super) fn check_ages(&self) -> Result<(), String> {
        self.ages.as_ref().and_then(|ages| ages.wrong.clone()).map_or(Ok(()), Err)
    }
}
