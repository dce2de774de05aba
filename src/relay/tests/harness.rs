//! A relay with a log in memory that syncs when the test says so.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::super::*;
use crate::id::{Epoch, GroupName, Index, ProducerId, ProducerSequence, SessionId, StorageId, WallTime};
use crate::log::{Cut, Entry, EntryNumber, Piece, Replayed, Snapshot, Urgency};
use crate::topology::settings::GroupSettings;
use crate::wire::body::{
    Answer, Books, GapCause, Notice, Reply, Request, Start, SubscriptionInfo, SubscriptionSpec,
};
use crate::wire::frame::{Ack, AckKind, AckLevel, Credit, DeliverHead, PutDone, PutHead};
use crate::wire::link::{Fact, LinkMessage};
use crate::wire::run::{BodySummary, Record, Records};

pub(super) const SESSION: SessionId = SessionId(1);
pub(super) const LINK: LinkId = LinkId(1);

/// The link to the second neighbour of a relay that has one.
pub(super) const OTHER_LINK: LinkId = LinkId(2);

/// A message as a receiver got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) handle: u32,
    pub(super) index: u64,
    pub(super) attempt: u32,
    pub(super) payload: String,
}

pub(super) struct Harness {
    pub(super) relay: Relay,
    pub(super) now: Now,
    pub(super) log: Vec<Entry>,
    pub(super) durable: usize,
    /// Entries that damage took away: places in `log`.
    pub(super) lost: BTreeSet<usize>,
    pub(super) auto_sync: bool,
    /// Whether what is delivered counts as written at once.
    pub(super) auto_write: bool,
    pub(super) runs_per_read: usize,
    /// What puts say to be the lowest sequence without an answer.
    pub(super) lowest_unanswered: u64,
    /// Reads are asked for and not answered.
    pub(super) hold_fetches: bool,
    held: Vec<(GroupNumber, Index, usize)>,
    pub(super) got: Vec<Got>,
    pub(super) heads: Vec<DeliverHead>,
    pub(super) done: Vec<PutDone>,
    /// Puts that are durable here and wait for more.
    pub(super) reached: Vec<PutDone>,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) notices: Vec<Notice>,
    pub(super) released: BTreeMap<u32, u64>,
    /// What the last start found to be the time of the last arrival.
    pub(super) last_arrival: WallTime,
    /// What it has said to its neighbour.
    pub(super) said: Vec<LinkMessage>,
    /// How often it has closed a session.
    pub(super) closes: usize,
    /// How often somebody has hurried the disk.
    pub(super) hurries: usize,
    /// Of the last entry.
    pub(super) urgency: Urgency,
    links: Vec<LinkOptions>,
    shards: Vec<(EntryNumber, Bytes)>,
    request: u64,
    put: u64,
    boot: u64,
}

fn options(boot: u64, links: &[LinkOptions]) -> RelayOptions {
    RelayOptions {
        relay: RelayId::new("r").unwrap(),
        epoch: Epoch { counter: boot, storage: StorageId([1; 16]), nonce: boot },
        version: "test".to_owned(),
        warnings: Vec::new(),
        run_bytes_max: 1 << 20,
        links: links.to_vec(),
        transit: true,
        max_children: None,
        trace_retention_ms: crate::limits::TRACE_RETENTION_MS,
        origin_quiet_ms: crate::limits::ORIGIN_QUIET_MS,
    }
}

pub(super) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(super) fn sub(name: &str) -> SubscriptionName {
    SubscriptionName::new(name).unwrap()
}

/// A body of plain messages.
pub(super) fn body(payloads: &[&str]) -> Bytes {
    let mut body = BytesMut::new();
    for payload in payloads {
        Record { payload: payload.as_bytes(), ..Record::default() }.encode(&mut body);
    }
    body.freeze()
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with_links(&[])
    }

    /// A relay with one neighbour, `o`, on the other end of [`LINK`].
    pub(super) fn linked() -> Self {
        Self::linked_at(None)
    }

    /// As [`Self::linked`]; the link has a rate.
    pub(super) fn linked_at(rate: Option<Rate>) -> Self {
        let neighbour = RelayId::new("o").unwrap();
        let mut harness = Self::with_links(&[LinkOptions { link: LINK, neighbour, cost: 1, rate }]);
        harness.meet(Vec::new());
        harness
    }

    /// The same, before the neighbour has come for the first time.
    pub(super) fn apart() -> Self {
        let neighbour = RelayId::new("o").unwrap();
        Self::with_links(&[LinkOptions { link: LINK, neighbour, cost: 1, rate: None }])
    }

    /// A relay between `o`, on the other end of [`LINK`], and `x`, on that of [`OTHER_LINK`].
    pub(super) fn between() -> Self {
        let link = |link, name| {
            let neighbour = RelayId::new(name).unwrap();
            LinkOptions { link, neighbour, cost: 1, rate: None }
        };
        let mut harness = Self::with_links(&[link(LINK, "o"), link(OTHER_LINK, "x")]);
        harness.meet(Vec::new());
        harness.input(Input::LinkUp { link: OTHER_LINK, losses: true });
        harness
    }

    /// The neighbour comes, and says all that it knows.
    pub(super) fn meet(&mut self, facts: Vec<Fact>) {
        self.input(Input::LinkUp { link: LINK, losses: true });
        self.hear(LinkMessage::Facts(facts));
        self.hear(LinkMessage::FactsEnd);
    }

    pub(super) fn with_links(links: &[LinkOptions]) -> Self {
        let now = Now { time: Time(0), wall: WallTime(1_000_000_000) };
        let restore = Restore::new(options(1, links), EntryNumber(0), &Snapshot::default()).unwrap();
        let mut harness = Self {
            relay: restore.start(now),
            now,
            log: Vec::new(),
            durable: 0,
            lost: BTreeSet::new(),
            auto_sync: true,
            auto_write: true,
            runs_per_read: 2,
            lowest_unanswered: 0,
            hold_fetches: false,
            held: Vec::new(),
            got: Vec::new(),
            heads: Vec::new(),
            done: Vec::new(),
            reached: Vec::new(),
            answers: BTreeMap::new(),
            notices: Vec::new(),
            released: BTreeMap::new(),
            last_arrival: WallTime(0),
            said: Vec::new(),
            closes: 0,
            hurries: 0,
            urgency: Urgency::Ride,
            links: links.to_vec(),
            shards: Vec::new(),
            request: 0,
            put: 0,
            boot: 1,
        };
        harness.input(Input::SessionOpened { session: SESSION });
        harness
    }

    pub(super) fn input(&mut self, input: Input) {
        self.relay.handle(self.now, input);
        self.settle();
    }

    /// Runs effects until there are none and, with `auto_sync`, nothing waits for the disk.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(effect) = self.relay.next_effect() {
                self.effect(effect);
            }
            if !self.auto_sync || self.durable == self.log.len() {
                return;
            }
            self.durable = self.log.len();
            let through = EntryNumber(self.durable as u64);
            self.relay.handle(self.now, Input::Durable { through });
        }
    }

    /// From the next start on a file gives it a neighbour, at the other end of [`LINK`].
    pub(super) fn link(&mut self, name: &str) {
        let neighbour = RelayId::new(name).unwrap();
        self.links = vec![LinkOptions { link: LINK, neighbour, cost: 1, rate: None }];
    }

    /// From the next start on it has no links.
    pub(super) fn unlink(&mut self) {
        self.links.clear();
    }

    /// From the next start on another neighbour is at the other end of [`LINK`].
    pub(super) fn relink(&mut self, name: &str) {
        self.links[0].neighbour = RelayId::new(name).unwrap();
    }

    /// The neighbour says something.
    pub(super) fn hear(&mut self, message: LinkMessage) {
        self.input(Input::Link { link: LINK, message });
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.log.len();
        let through = EntryNumber(self.durable as u64);
        self.input(Input::Durable { through });
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Append { entry, urgency } => {
                self.urgency = urgency;
                self.log.push(entry);
            }
            Effect::Hurry => self.hurries += 1,
            Effect::Answer { request, answer, .. } => {
                self.answers.insert(request, *answer);
            }
            Effect::PutDone { done, .. } if done.has_more => self.reached.push(done),
            Effect::PutDone { done, .. } => self.done.push(done),
            Effect::Notice { notice, .. } => self.notices.push(notice),
            Effect::Deliver { session, handle, head, records } => {
                self.take_delivery(handle, head, &records);
                if self.auto_write {
                    let total = u64::MAX;
                    self.relay.handle(self.now, Input::Written { session, total });
                }
            }
            Effect::Fetch { group, from, bytes_max } if self.hold_fetches => {
                self.held.push((group, from, bytes_max));
            }
            Effect::Fetch { group, from, bytes_max } => {
                let pieces = self.read(group, from, bytes_max);
                self.relay.handle(self.now, Input::Fetched { group, from, pieces });
            }
            Effect::Release { group, below } => {
                let before = self.released.insert(group.0, below.0);
                assert!(before.is_none_or(|b| b <= below.0), "a release went back");
            }
            Effect::Shard { through, bytes, .. } => self.shards.push((through, bytes)),
            Effect::Link { message, .. } => self.said.push(message),
            Effect::Close { .. } => self.closes += 1,
            Effect::Neighbours { .. } => {}
        }
    }

    /// The disk works again, on what it was asked for first.
    pub(super) fn let_fetches_go(&mut self) {
        self.hold_fetches = false;
        for (group, from, bytes_max) in std::mem::take(&mut self.held) {
            let pieces = self.read(group, from, bytes_max);
            self.input(Input::Fetched { group, from, pieces });
        }
    }

    fn take_delivery(&mut self, handle: u32, head: DeliverHead, records: &[u8]) {
        assert_eq!(head.records_hash, xxhash_rust::xxh3::xxh3_64(records));
        let before = self.got.len();
        for (i, record) in Records::new(records).enumerate() {
            let payload = String::from_utf8(record.unwrap().payload.to_vec()).unwrap();
            let index = head.first_index.0 + i as u64;
            self.got.push(Got { handle, index, attempt: head.attempt, payload });
        }
        assert_eq!(self.got.len() - before, head.count as usize);
        self.heads.push(head);
    }

    fn read(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Vec<Piece> {
        let whole = (0..self.durable).filter(|place| !self.lost.contains(place));
        let runs = whole.filter_map(|place| match &self.log[place] {
            Entry::Run(run) if run.group == group && run.stored().end_index() > from => Some(run.stored()),
            Entry::Run(_) | Entry::State(_) => None,
        });
        let mut bytes = 0;
        let fits = runs.take_while(|run| {
            let is_first = bytes == 0;
            bytes += run.run.body.len();
            is_first || bytes <= bytes_max
        });
        // Of a hole it knows nothing, as the log when it has lost a segment.
        fits.take(self.runs_per_read).map(Piece::Run).collect()
    }

    pub(super) fn request(&mut self, body: Request) -> Answer {
        let request = self.ask(body);
        self.answers.remove(&request).expect("an answer")
    }

    /// Asks without an answer yet: it may have to wait for the disk.
    pub(super) fn ask(&mut self, body: Request) -> u64 {
        self.request += 1;
        let request = self.request;
        self.input(Input::Request { session: SESSION, request, body: Box::new(body) });
        request
    }

    pub(super) fn open(&mut self, name: &str) -> u32 {
        match self.request(Request::GroupOpen { group: group(name) }) {
            Ok(Reply::GroupHandle { handle, .. }) => handle,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn set(&mut self, name: &str, settings: GroupSettings) {
        self.open(name);
        assert_eq!(self.request(Request::GroupSet { group: group(name), settings }), Ok(Reply::Done));
    }

    pub(super) fn put(&mut self, handle: u32, payloads: &[&str]) {
        self.put_with(handle, body(payloads), None, AckLevel::Accepted);
    }

    pub(super) fn put_with(
        &mut self,
        handle: u32,
        records: Bytes,
        producer: Option<(u128, u64)>,
        level: AckLevel,
    ) -> u64 {
        self.put += 1;
        let producer = producer.map(|(id, first)| (ProducerId(id), ProducerSequence(first)));
        let head = PutHead {
            put: self.put,
            producer,
            lowest_unanswered: ProducerSequence(self.lowest_unanswered),
            body_hash: xxhash_rust::xxh3::xxh3_64(&records),
            level,
            copies: 0,
            transient: false,
            age_seconds: 0,
        };
        let summary = BodySummary::of(&records).unwrap();
        self.input(Input::Put { session: SESSION, handle, head, summary, records });
        self.put
    }

    pub(super) fn subscribe(&mut self, name: &str, subscription: &str, spec: SubscriptionSpec) {
        let request = Request::SubscriptionCreate { group: group(name), name: sub(subscription), spec };
        assert_eq!(self.request(request), Ok(Reply::Done));
    }

    pub(super) fn attach(&mut self, name: &str, subscription: &str) -> u32 {
        let create = Some(SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() });
        let request = Request::Attach { group: group(name), name: Some(sub(subscription)), create };
        match self.request(request) {
            Ok(Reply::SubscriptionHandle { handle, .. }) => handle,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn credit(&mut self, handle: u32, total: u64) {
        self.input(Input::Credit { session: SESSION, credits: vec![Credit { handle, total }] });
    }

    pub(super) fn say(&mut self, handle: u32, kind: AckKind, from: u64, to: u64, delay_ms: u64) {
        let ack = Ack { handle, kind, from: Index(from), to: Index(to), delay_ms };
        self.input(Input::Ack { session: SESSION, acks: vec![ack] });
    }

    pub(super) fn ack(&mut self, handle: u32, from: u64, to: u64) {
        self.say(handle, AckKind::Ack, from, to, 0);
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.time.after_ms(ms);
        while let Some(at) = self.relay.next_deadline().filter(|at| *at <= end) {
            self.now.wall.0 += (at.0.saturating_sub(self.now.time.0)) / 1000;
            self.now.time = self.now.time.max(at);
            self.input(Input::Tick);
        }
        self.now.wall.0 += (end.0 - self.now.time.0) / 1000;
        self.now.time = end;
        self.input(Input::Tick);
    }

    pub(super) fn payloads(&mut self) -> Vec<String> {
        std::mem::take(&mut self.got).into_iter().map(|g| g.payload).collect()
    }

    /// The gaps that were told.
    pub(super) fn gaps(&self) -> Vec<(Index, Index, GapCause)> {
        let gap = |notice: &Notice| match notice {
            Notice::Gap { from, to, cause, .. } => Some((*from, *to, *cause)),
            Notice::Stream { .. }
            | Notice::PutRefused { .. }
            | Notice::Detached { .. }
            | Notice::Unordered { .. } => None,
        };
        self.notices.iter().filter_map(gap).collect()
    }

    pub(super) fn info(&mut self, name: &str, subscription: &str) -> SubscriptionInfo {
        let request = Request::SubscriptionShow { group: group(name), name: sub(subscription) };
        match self.request(request) {
            Ok(Reply::Subscription(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn books(&mut self) -> Books {
        match self.request(Request::Books { group: None }) {
            Ok(Reply::Books(books)) => *books,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.shards.clear();
        for shard in 0..SHARDS {
            self.input(Input::Snapshot { shard });
        }
        Snapshot { shards: std::mem::take(&mut self.shards) }
    }

    /// A snapshot of which one part is of now, and all others are as old as can be.
    pub(super) fn snapshot_of(&mut self, part: u32) -> Snapshot {
        let mut snapshot = self.snapshot();
        for (_, shard) in (0..).zip(&mut snapshot.shards).filter(|(at, _)| *at != part) {
            *shard = (EntryNumber(0), saved::Shard::default().encode());
        }
        snapshot
    }

    /// A crash: what was not synced is gone; the relay starts from `snapshot` and the rest of the log.
    pub(super) fn crash(&mut self, snapshot: &Snapshot) {
        self.crash_with(snapshot, None);
    }

    /// A crash after which the log's last block, `entries` entries, is found damaged and is cut.
    pub(super) fn crash_cutting(
        &mut self,
        snapshot: &Snapshot,
        entries: usize,
        messages: Option<Vec<(GroupNumber, u64)>>,
    ) {
        self.durable -= entries;
        let from = EntryNumber(self.durable as u64 + 1);
        let cut = Cut { from, entries: Some(entries as u64), messages };
        self.crash_with(snapshot, Some(&cut));
    }

    fn crash_with(&mut self, snapshot: &Snapshot, cut: Option<&Cut>) {
        self.log.truncate(self.durable);
        self.boot += 1;
        let last = EntryNumber(self.durable as u64);
        let mut restore = Restore::new(options(self.boot, &self.links), last, snapshot).unwrap();
        restore.tolerate_loss(self.lost.len() as u64);
        let begin = snapshot.shards.iter().map(|(n, _)| n.0).min().unwrap_or(0);
        for (i, entry) in self.log.iter().enumerate().skip(begin as usize) {
            if !self.lost.contains(&i) {
                restore.replay(EntryNumber(i as u64 + 1), Replayed::of(entry)).unwrap();
            }
        }
        if let Some(cut) = cut {
            restore.note_cut(cut);
        }
        self.now.time = Time(0);
        self.last_arrival = restore.last_arrival();
        self.relay = restore.start(self.now);
        self.released.clear();
        self.got.clear();
        self.notices.clear();
        self.answers.clear();
        self.input(Input::SessionOpened { session: SESSION });
    }
}
