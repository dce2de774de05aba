//! Knows every put and every start, and says which promise is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One put.
#[derive(Clone, Debug)]
struct Put {
    relay: String,
    group: String,
    payloads: Vec<String>,
    answered: bool,
}

/// A promise that is broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    /// What is wrong.
    pub what: String,
    /// The message that shows it.
    pub payload: String,
}

fn wrong(payload: &str, what: String) -> Result<(), Wrong> {
    Err(Wrong { what, payload: payload.to_owned() })
}

/// Every put of a run, by its number.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    puts: BTreeMap<u64, Put>,
    next: u64,
    /// Groups whose order is judged elsewhere.
    left: BTreeSet<String>,
    /// Relays that were forgotten; whether they come back.
    forgotten: BTreeMap<String, bool>,
    /// Puts that were made at a relay that was forgotten and had not heard of it, by their numbers.
    out_of_touch: Vec<(String, Range<u64>)>,
}

impl Oracle {
    /// A put is about to be made at a relay: its number and its messages.
    pub fn put(&mut self, relay: &str, group: &str, messages: u64) -> (u64, Vec<String>) {
        self.next += 1;
        let payloads: Vec<String> =
            (0..messages).map(|i| format!("{relay}/{:06}/{i:02}", self.next)).collect();
        let put = Put {
            relay: relay.to_owned(),
            group: group.to_owned(),
            payloads: payloads.clone(),
            answered: false,
        };
        self.puts.insert(self.next, put);
        (self.next, payloads)
    }

    /// A number for a put that is tried once more.
    pub fn another_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Somebody else judges the order in this group.
    pub fn leave_order_of(&mut self, group: &str) {
        self.left.insert(group.to_owned());
    }

    /// A put was answered: nothing of it may be lost from now on.
    pub fn answered(&mut self, number: u64) {
        if let Some(put) = self.puts.get_mut(&number) {
            put.answered = true;
        }
    }

    /// The first message of a put.
    #[must_use]
    pub fn first_payload(&self, number: u64) -> Option<&str> {
        self.puts.get(&number)?.payloads.first().map(String::as_str)
    }

    /// A relay is forgotten now. What it has answered is not owed to others if it never comes back;
    /// what anybody has answered so far is not owed to it, nor what is answered before it is back.
    pub fn forget(&mut self, relay: &str, comes_back: bool) {
        self.forgotten.insert(relay.to_owned(), comes_back);
    }

    /// What is put at a relay from now on, until it [hears](Oracle::hears) that it was forgotten, is owed to
    /// nobody who comes to it with a move that did not wait for it.
    pub fn loses_touch(&mut self, relay: &str) {
        self.out_of_touch.push((relay.to_owned(), self.next..u64::MAX));
    }

    /// A relay has heard what has changed.
    pub fn hears(&mut self, relay: &str) {
        let last = self.next;
        let open = self.out_of_touch.iter_mut().filter(|(of, puts)| of == relay && puts.end == u64::MAX);
        open.for_each(|(_, puts)| puts.end = last);
    }

    fn was_out_of_touch(&self, number: u64, put: &Put) -> bool {
        self.out_of_touch.iter().any(|(relay, puts)| *relay == put.relay && puts.contains(&(number - 1)))
    }

    /// Whether a relay was forgotten, and perhaps came back.
    #[must_use]
    pub fn was_forgotten(&self, relay: &str) -> bool {
        self.forgotten.contains_key(relay)
    }

    /// As [`Oracle::check`], of a subscription at this relay.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn check_at(&self, relay: &str, group: &str, got: &[String]) -> Result<(), Wrong> {
        let is_back = self.forgotten.contains_key(relay);
        let is_owed = |number: u64, put: &Put| {
            let is_lost = self.forgotten.get(&put.relay).is_some_and(|comes_back| !comes_back);
            put.answered && !is_lost && !is_back && !self.was_out_of_touch(number, put)
        };
        self.check_owed(group, got, &is_owed)
    }

    /// Puts that were made so far.
    #[must_use]
    pub fn puts(&self) -> u64 {
        self.next
    }

    /// The group of a put.
    #[must_use]
    pub fn group_of(&self, put: u64) -> Option<&str> {
        self.puts.get(&put).map(|put| put.group.as_str())
    }

    /// The group of a message.
    #[must_use]
    pub fn group_of_payload(&self, payload: &str) -> Option<&str> {
        self.group_of(payload.split('/').nth(1)?.parse().ok()?)
    }

    /// The messages of a put.
    #[must_use]
    pub fn payloads_of(&self, put: u64) -> Vec<String> {
        self.puts.get(&put).map(|put| put.payloads.clone()).unwrap_or_default()
    }

    /// The messages of all puts behind the first `puts`.
    #[must_use]
    pub fn payloads_since(&self, puts: u64) -> Vec<String> {
        self.puts.range(puts + 1..).flat_map(|(_, put)| put.payloads.clone()).collect()
    }

    /// Whether a put was answered.
    #[must_use]
    pub fn is_answered(&self, put: u64) -> bool {
        self.puts.get(&put).is_some_and(|put| put.answered)
    }

    /// Puts that were answered.
    #[must_use]
    pub fn count_answered(&self) -> usize {
        self.puts.values().filter(|put| put.answered).count()
    }

    /// What a subscription got that was there before every put, against what it is owed: everything
    /// answered, once, in the order of each relay; of puts without an answer all or nothing, once.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn check(&self, group: &str, got: &[String]) -> Result<(), Wrong> {
        self.check_owed(group, got, &|_, put| put.answered)
    }

    fn check_owed(
        &self,
        group: &str,
        got: &[String],
        is_owed: &dyn Fn(u64, &Put) -> bool,
    ) -> Result<(), Wrong> {
        let mut unique: BTreeSet<&String> = BTreeSet::new();
        if let Some(twice) = got.iter().find(|payload| !unique.insert(*payload)) {
            return wrong(twice, format!("{twice} came twice"));
        }
        let puts = || self.puts.iter().filter(|(_, put)| put.group == group);
        for (number, put) in puts() {
            let there = put.payloads.iter().filter(|payload| unique.contains(payload)).count();
            let is_whole = there == put.payloads.len() || (there == 0 && !is_owed(*number, put));
            if !is_whole {
                let answered = if is_owed(*number, put) { "an answered put" } else { "a put" };
                let what = format!("{there} of {answered} came: {:?}", put.payloads);
                return wrong(&put.payloads[0], what);
            }
        }
        let known: BTreeSet<&String> = puts().flat_map(|(_, put)| &put.payloads).collect();
        if let Some(strange) = got.iter().find(|payload| !known.contains(payload)) {
            return wrong(strange, format!("{strange} was never put into {group}"));
        }
        if self.left.contains(group) {
            return Ok(());
        }
        // What a relay that comes back had not passed on comes after what others had of it.
        let is_in_order = |payload: &&String| {
            let relay = payload.split('/').next().unwrap_or_default();
            !self.forgotten.contains_key(relay)
        };
        check_order(got.iter().filter(is_in_order))
    }
}

/// Each relay's messages in the order in which they were put there.
fn check_order<'a>(got: impl Iterator<Item = &'a String>) -> Result<(), Wrong> {
    let mut last: BTreeMap<&str, &String> = BTreeMap::new();
    for payload in got {
        let relay = payload.split('/').next().unwrap_or_default();
        if let Some(before) = last.insert(relay, payload)
            && before > payload
        {
            return wrong(payload, format!("{payload} came after {before}"));
        }
    }
    Ok(())
}
