//! Random schedules against an oracle that knows every put and every ack.
//!
//! One seed decides everything: what is put, retried, acked, nacked, when the
//! disk syncs, when the relay crashes and how much of what was not synced had
//! reached the disk all the same.

use std::collections::{BTreeMap, BTreeSet};

use super::harness::{Got, Harness, body, group, sub};
use crate::log::{Entry, Snapshot};
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::{AckKind, AckLevel};
use crate::wire::run::{Records, RunKind};

const GROUPS: [&str; 2] = ["g", "h"];
const SUBSCRIPTIONS: [&str; 3] = ["a", "b", "c"];

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        crate::dice::next_number(&mut self.0)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What the oracle knows of a subscription.
#[derive(Default)]
struct Reader {
    handle: Option<u32>,
    /// The place of its creation in the log, and how many puts were sent before.
    made: (usize, u64),
    /// Messages it has to get: answered puts that were sent after it was made.
    owed: BTreeSet<String>,
    /// Given to it since it was attached, and neither acked nor nacked.
    hand: BTreeSet<String>,
    acked: BTreeSet<String>,
    /// Acked at some time, though the ack may have been lost in a crash.
    done: BTreeSet<String>,
    /// Acked before a sync was answered: must never come again.
    settled: BTreeSet<String>,
}

impl Reader {
    /// It is attached no more: what it has in hand is not its own any longer.
    fn lose(&mut self) {
        self.handle = None;
        self.hand.clear();
    }
}

struct OpenPut {
    /// The number of this try.
    number: u64,
    group: &'static str,
    /// The producer sequence of its first message.
    first: u64,
    /// How many puts were sent before its first try.
    at: u64,
    payloads: Vec<String>,
}

struct World {
    h: Harness,
    dice: Dice,
    handles: BTreeMap<&'static str, u32>,
    readers: BTreeMap<(&'static str, &'static str), Reader>,
    /// Puts without an answer.
    open: Vec<OpenPut>,
    next_sequence: BTreeMap<&'static str, u64>,
    /// The one place of every message.
    places: BTreeMap<(String, String), u64>,
    /// How many puts were sent before the one that brought a message; without
    /// those that damage took away, since a retry puts them at the end.
    sent: BTreeMap<String, u64>,
    puts: u64,
    snapshot: Snapshot,
    base: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            h: Harness::new(),
            dice: Dice(seed),
            handles: BTreeMap::new(),
            readers: BTreeMap::new(),
            open: Vec::new(),
            next_sequence: BTreeMap::new(),
            places: BTreeMap::new(),
            sent: BTreeMap::new(),
            puts: 0,
            snapshot: Snapshot::default(),
            base: 0,
        };
        for name in GROUPS {
            world.h.set(name, GroupSettings { backoff_ms: vec![50], ..GroupSettings::default() });
        }
        world.open_handles();
        world.h.auto_sync = false;
        world
    }

    fn open_handles(&mut self) {
        self.h.auto_sync = true;
        for name in GROUPS {
            let handle = self.h.open(name);
            self.handles.insert(name, handle);
        }
        self.h.auto_sync = false;
    }

    fn pick_group(&mut self) -> &'static str {
        GROUPS[self.dice.below(2) as usize]
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..30 => self.put(),
            30..45 => self.sync(),
            45..55 => self.attach(),
            55..75 => self.ack(),
            75..80 => self.nack(),
            80..85 => self.detach(),
            85..90 => self.h.pass_ms(20 + self.base as u64 % 100),
            90..93 => self.retry(),
            93..95 => self.settle(),
            95..97 => self.take_snapshot(),
            _ => self.crash(),
        }
        self.watch();
    }

    fn put(&mut self) {
        let name = self.pick_group();
        let count = 1 + self.dice.below(4);
        let payloads: Vec<String> = (0..count).map(|i| format!("{name}{}.{i}", self.puts)).collect();
        let first = *self.next_sequence.entry(name).or_insert(1);
        self.next_sequence.insert(name, first + count);
        self.sent.extend(payloads.iter().map(|payload| (payload.clone(), self.puts)));
        self.send(OpenPut { number: 0, group: name, first, at: self.puts, payloads });
        self.puts += 1;
    }

    fn send(&mut self, put: OpenPut) {
        let texts: Vec<&str> = put.payloads.iter().map(String::as_str).collect();
        let producer = Some((1 + u128::from(put.group == "h"), put.first));
        let number = self.h.put_with(self.handles[put.group], body(&texts), producer, AckLevel::Accepted);
        self.open.push(OpenPut { number, ..put });
    }

    /// Sends again what has no answer, as a producer does that lost its connection.
    fn retry(&mut self) {
        for put in std::mem::take(&mut self.open) {
            self.send(put);
        }
    }

    fn sync(&mut self) {
        self.h.sync();
        let done: BTreeSet<u64> = std::mem::take(&mut self.h.done).into_iter().map(|d| d.put).collect();
        let (answered, open) =
            std::mem::take(&mut self.open).into_iter().partition(|put| done.contains(&put.number));
        self.open = open;
        let answered: Vec<OpenPut> = answered;
        for put in answered {
            for ((group, _), reader) in &mut self.readers {
                if *group == put.group && reader.made.1 <= put.at {
                    reader.owed.extend(put.payloads.iter().cloned());
                }
            }
        }
    }

    fn attach(&mut self) {
        let name = self.pick_group();
        let subscription = SUBSCRIPTIONS[self.dice.below(3) as usize];
        let made = (self.h.log.len(), self.puts);
        let known = self.readers.contains_key(&(name, subscription));
        if !known {
            let shared = subscription == "c";
            let spec = SubscriptionSpec {
                start: Start::Now,
                shared,
                window: Some(5),
                ..SubscriptionSpec::default()
            };
            // It begins here, whatever before it is not synced yet.
            self.h.ask(Request::SubscriptionCreate { group: group(name), name: sub(subscription), spec });
        }
        let reader = self.readers.entry((name, subscription)).or_default();
        if !known {
            reader.made = made;
            if self.dice.below(2) == 0 {
                // Nobody receives from it yet, and a crash may take it back.
                return;
            }
        }
        self.take_deliveries();
        // A receiver is answered when the subscription is durable, whoever made it.
        self.h.sync();
        self.take_deliveries();
        let handle = self.h.attach(name, subscription);
        let reader = self.readers.entry((name, subscription)).or_default();
        let old = reader.handle.take();
        reader.lose();
        reader.handle = Some(handle);
        if let Some(old) = old.filter(|_| subscription == "c") {
            // The new receiver has no credit yet, so nothing moves over before it is known.
            self.h.request(Request::Detach { handle: old }).unwrap();
        }
        let credit = 1 + self.dice.below(30);
        self.h.credit(handle, credit);
    }

    fn pick_reader(&mut self) -> Option<((&'static str, &'static str), u32)> {
        let attached: Vec<_> = self.readers.iter().filter_map(|(k, r)| Some((*k, r.handle?))).collect();
        if attached.is_empty() {
            return None;
        }
        let pick = self.dice.below(attached.len() as u64) as usize;
        Some(attached[pick])
    }

    fn delivered(&mut self, key: (&'static str, &'static str)) -> Option<(String, u64)> {
        let reader = &self.readers[&key];
        if reader.hand.is_empty() {
            return None;
        }
        let pick = self.dice.below(reader.hand.len() as u64) as usize;
        let payload = reader.hand.iter().nth(pick).unwrap().clone();
        let place = self.places[&(key.0.to_owned(), payload.clone())];
        Some((payload, place))
    }

    fn ack(&mut self) {
        let Some((key, handle)) = self.pick_reader() else { return };
        for _ in 0..1 + self.dice.below(4) {
            let Some((payload, place)) = self.delivered(key) else { break };
            self.h.ack(handle, place, place + 1);
            self.note_acked(key, payload);
        }
        let credit = 1000 + self.puts;
        self.h.credit(handle, credit);
    }

    fn note_acked(&mut self, key: (&'static str, &'static str), payload: String) {
        let reader = self.readers.get_mut(&key).unwrap();
        reader.hand.remove(&payload);
        reader.done.insert(payload.clone());
        reader.acked.insert(payload);
    }

    fn nack(&mut self) {
        let Some((key, handle)) = self.pick_reader() else { return };
        if let Some((payload, place)) = self.delivered(key) {
            let delay = self.dice.below(2) * 30;
            self.take_deliveries();
            self.readers.get_mut(&key).unwrap().hand.remove(&payload);
            self.h.say(handle, AckKind::Nack, place, place + 1, delay);
        }
    }

    fn detach(&mut self) {
        let Some((key, handle)) = self.pick_reader() else { return };
        self.take_deliveries();
        self.h.request(Request::Detach { handle }).unwrap();
        self.take_deliveries();
        self.readers.get_mut(&key).unwrap().lose();
    }

    /// A sync of the session: what was acked before is settled for ever.
    fn settle(&mut self) {
        self.sync();
        self.h.auto_sync = true;
        assert_eq!(self.h.request(Request::Sync), Ok(Reply::Done));
        self.h.auto_sync = false;
        for reader in self.readers.values_mut() {
            reader.settled = reader.acked.clone();
        }
    }

    fn take_snapshot(&mut self) {
        self.sync();
        self.snapshot = self.h.snapshot();
    }

    fn crash(&mut self) {
        let unsynced = (self.h.log.len() - self.h.durable) as u64;
        self.h.durable += self.dice.below(unsynced + 1) as usize;
        self.take_deliveries();
        if self.dice.below(4) == 0 {
            self.damage();
        }
        let snapshot = self.snapshot.clone();
        self.h.crash(&snapshot);
        let durable = self.h.durable;
        self.readers.retain(|_, reader| reader.made.0 < durable);
        for reader in self.readers.values_mut() {
            reader.lose();
            // An ack that was not written is a redelivery.
            reader.acked = reader.settled.clone();
        }
        self.h.done.clear();
        self.open_handles();
        self.h.sync();
        self.h.done.clear();
        self.retry();
    }

    /// A durable run is lost. Nobody is owed its messages any more; a retry may bring them again.
    fn damage(&mut self) {
        let place = self.dice.below(self.h.durable.max(1) as u64) as usize;
        let Some(Entry::Run(run)) = self.h.log.get(place) else { return };
        if run.run.header.kind != RunKind::Data || !self.h.lost.insert(place) {
            return;
        }
        let records = Records::new(&run.run.body);
        let gone: Vec<_> = records.map(|r| String::from_utf8(r.unwrap().payload.to_vec()).unwrap()).collect();
        for payload in gone {
            self.places.retain(|(_, known), _| *known != payload);
            self.sent.remove(&payload);
            for reader in self.readers.values_mut() {
                reader.owed.remove(&payload);
                reader.settled.remove(&payload);
            }
        }
    }

    fn take_deliveries(&mut self) {
        for Got { handle, index, payload, .. } in std::mem::take(&mut self.h.got) {
            let reader = self.readers.iter_mut().find(|(_, r)| r.handle == Some(handle));
            let ((name, subscription), reader) = reader.expect("deliveries go to attached readers");
            let place = self.places.entry(((*name).to_owned(), payload.clone())).or_insert(index);
            assert_eq!(*place, index, "{payload} of {name} stands in two places");
            assert!(
                !reader.settled.contains(&payload),
                "{payload} came to {subscription} after a durable ack"
            );
            let is_before = self.sent.get(&payload).is_some_and(|at| *at < reader.made.1);
            assert!(!is_before, "{payload} came to {subscription}, which was made behind it");
            if !reader.acked.contains(&payload) {
                reader.hand.insert(payload);
            }
        }
    }

    fn watch(&mut self) {
        self.base += 1;
        self.take_deliveries();
        let books = self.h.books();
        assert!(books.balanced, "{books:?}");
    }

    /// In the end everything owed has come.
    fn finish(mut self) {
        self.retry();
        self.sync();
        for _ in 0..200 {
            for name in GROUPS {
                for subscription in SUBSCRIPTIONS {
                    if self.readers.contains_key(&(name, subscription)) {
                        self.drain(name, subscription);
                    }
                }
            }
            self.h.pass_ms(1000);
            self.watch();
            if self.readers.values().all(|r| r.owed.is_subset(&r.done)) {
                break;
            }
        }
        for (key, reader) in &self.readers {
            let missing: Vec<_> = reader.owed.difference(&reader.done).collect();
            assert!(missing.is_empty(), "{key:?} never got {missing:?}");
        }
        self.h.auto_sync = true;
        self.h.pass_ms(5000);
        for (name, subscription) in self.readers.keys() {
            let request = Request::SubscriptionShow { group: group(name), name: sub(subscription) };
            let Ok(Reply::Subscription(info)) = self.h.request(request) else { panic!() };
            assert_eq!((info.backlog, info.in_flight, info.parked), (0, 0, 0), "{name} {subscription}");
        }
    }

    fn drain(&mut self, name: &'static str, subscription: &'static str) {
        self.sync();
        if self.readers[&(name, subscription)].handle.is_none() {
            self.h.auto_sync = true;
            let handle = self.h.attach(name, subscription);
            self.h.auto_sync = false;
            self.readers.get_mut(&(name, subscription)).unwrap().handle = Some(handle);
        }
        let handle = self.readers[&(name, subscription)].handle.unwrap();
        self.h.credit(handle, u64::from(u32::MAX));
        self.watch();
        while let Some((payload, place)) = self.delivered((name, subscription)) {
            self.h.ack(handle, place, place + 1);
            self.note_acked((name, subscription), payload);
            self.watch();
        }
    }
}

fn run(seed: u64, steps: usize) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.finish();
}

#[test]
fn arbitrary_schedules_lose_nothing_and_double_nothing() {
    for seed in 0..300 {
        let result = std::panic::catch_unwind(|| run(seed, 200));
        assert!(result.is_ok(), "seed {seed} failed");
    }
}
