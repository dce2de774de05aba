//! What happened, in order, and whether it may have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A message: who put it, and its number there: 1, 2, 3, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) producer: u32,
    pub(crate) number: u32,
}

/// Something that a publisher or the subscriber saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message is about to be put.
    Put(Id),
    /// The relay has answered that it is durable.
    Answered(Id),
    /// The relay has refused it.
    Refused(Id),
    /// The subscriber was given it.
    Delivered(Id),
    /// The relay has confirmed that the acks of everything delivered on this
    /// connection are durable.
    Synced,
    /// The subscriber's connection broke: acks that are not confirmed may be lost.
    Broke,
}

/// A record of what happened, to be shared by those to whom it happens.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    events: Vec<Event>,
    books: Books,
}

impl History {
    /// What the publishers of another history saw, and nothing of its subscriber.
    pub(crate) fn of_publishers(other: &Self) -> Self {
        let fresh = Self::default();
        let is_theirs =
            |event: &Event| matches!(event, Event::Put(_) | Event::Answered(_) | Event::Refused(_));
        other.lock().events.iter().copied().filter(is_theirs).for_each(|event| fresh.note(event));
        fresh
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, event: Event) {
        let mut record = self.lock();
        record.events.push(event);
        record.books.enter(event);
    }

    /// Messages answered as durable so far.
    pub(crate) fn answered(&self) -> usize {
        self.lock().books.answered.len()
    }

    /// Messages refused so far.
    pub(crate) fn refused(&self) -> usize {
        self.lock().books.refused.len()
    }

    /// Whether everything answered so far was delivered.
    pub(crate) fn is_delivered(&self) -> bool {
        self.lock().books.missing.is_empty()
    }

    /// What was answered and not delivered so far.
    pub(crate) fn missing(&self) -> BTreeSet<Id> {
        self.lock().books.missing.clone()
    }

    /// Whether any of these was answered and not delivered.
    pub(crate) fn misses_any(&self, ids: &BTreeSet<Id>) -> bool {
        let record = self.lock();
        ids.iter().any(|id| record.books.missing.contains(id))
    }

    /// Fails the test when something happened that must not.
    #[track_caller]
    pub(crate) fn check(&self) {
        let record = self.lock();
        let faults = record.books.faults();
        let shown: Vec<&String> = faults.iter().take(20).collect();
        assert!(faults.is_empty(), "{} faults in {} events: {shown:#?}", faults.len(), record.events.len());
    }
}

/// What the events so far amount to.
#[derive(Default)]
struct Books {
    put: BTreeSet<Id>,
    answered: BTreeSet<Id>,
    refused: BTreeSet<Id>,
    /// Answered and not delivered.
    missing: BTreeSet<Id>,
    /// At which break it was delivered last.
    delivered: BTreeMap<Id, u32>,
    /// Delivered on this connection, and not known to be acked durably.
    unsynced: Vec<Id>,
    /// Delivered, and the ack is known to be durable.
    synced: BTreeSet<Id>,
    breaks: u32,
    /// The highest number that each producer's messages were delivered up to.
    reached: BTreeMap<u32, u32>,
    wrong: Vec<String>,
}

impl Books {
    fn enter(&mut self, event: Event) {
        match event {
            Event::Put(id) => {
                self.put.insert(id);
            }
            Event::Answered(id) => {
                self.answered.insert(id);
                if !self.delivered.contains_key(&id) {
                    self.missing.insert(id);
                }
            }
            Event::Refused(id) => {
                self.refused.insert(id);
            }
            Event::Delivered(id) => self.deliver(id),
            Event::Synced => self.synced.extend(self.unsynced.drain(..)),
            Event::Broke => {
                self.breaks += 1;
                self.unsynced.clear();
            }
        }
    }

    fn deliver(&mut self, id: Id) {
        let mut wrong = |what: &str| self.wrong.push(format!("{id:?} {what}"));
        if !self.put.contains(&id) {
            wrong("was delivered and never put");
        }
        if self.refused.contains(&id) {
            wrong("was delivered after it was refused");
        }
        if self.synced.contains(&id) {
            wrong("was delivered again after its ack was durable");
        }
        match self.delivered.insert(id, self.breaks) {
            Some(at) if at == self.breaks => wrong("was delivered twice, and nothing broke in between"),
            Some(_) => {}
            None => {
                let reached = self.reached.entry(id.producer).or_default();
                if id.number <= *reached {
                    wrong("was delivered after a later one");
                }
                *reached = (*reached).max(id.number);
            }
        }
        self.missing.remove(&id);
        self.unsynced.push(id);
    }

    /// Everything in the history that must not be: an answered message that was not
    /// delivered, one out of its producer's order, one delivered that was not put,
    /// one delivered again without a reason.
    fn faults(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|id| format!("{id:?} was answered and not delivered"));
        missing.chain(self.wrong.iter().cloned()).collect()
    }
}

mod tests {
    use super::{Books, Event, Id};

    fn id(number: u32) -> Id {
        Id { producer: 1, number }
    }

    /// Two messages, put, answered, delivered, acked; a break; a third, delivered twice.
    fn good() -> Vec<Event> {
        use Event::{Answered, Broke, Delivered, Put, Synced};
        vec![
            Put(id(1)),
            Put(id(2)),
            Answered(id(1)),
            Delivered(id(1)),
            Delivered(id(2)),
            Answered(id(2)),
            Synced,
            Put(id(3)),
            Answered(id(3)),
            Delivered(id(3)),
            Broke,
            Delivered(id(3)),
            Synced,
        ]
    }

    fn faults(events: &[Event]) -> Vec<String> {
        let mut books = Books::default();
        events.iter().for_each(|event| books.enter(*event));
        books.faults()
    }

    fn only_fault(events: &[Event]) -> String {
        let found = faults(events);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn the_oracle_takes_what_is_right() {
        assert_eq!(faults(&good()), Vec::<String>::new());
    }

    #[test]
    fn the_oracle_misses_no_loss() {
        for number in [1, 2] {
            let kept: Vec<Event> =
                good().into_iter().filter(|e| *e != Event::Delivered(id(number))).collect();
            assert!(only_fault(&kept).contains("answered and not delivered"));
        }
    }

    #[test]
    fn the_oracle_misses_no_repeat() {
        let mut events = good();
        events.insert(7, Event::Delivered(id(2)));
        let found = faults(&events);
        assert!(found.iter().any(|fault| fault.contains("after its ack was durable")), "{found:?}");
        let mut events = good();
        events.insert(10, Event::Delivered(id(3)));
        assert!(only_fault(&events).contains("nothing broke in between"));
    }

    #[test]
    fn the_oracle_misses_no_repeat_after_a_durable_ack_and_a_break() {
        let mut events = good();
        events.push(Event::Broke);
        events.push(Event::Delivered(id(1)));
        assert!(only_fault(&events).contains("after its ack was durable"));
    }

    #[test]
    fn the_oracle_misses_no_disorder() {
        let mut events = good();
        events.swap(3, 4);
        assert!(only_fault(&events).contains("after a later one"));
    }

    #[test]
    fn the_oracle_misses_nothing_that_was_never_put_or_was_refused() {
        let mut events = good();
        events.push(Event::Delivered(id(4)));
        assert!(only_fault(&events).contains("never put"));
        let mut events = good();
        events.insert(2, Event::Refused(id(1)));
        assert!(only_fault(&events).contains("after it was refused"));
    }
}
