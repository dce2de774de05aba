//! One relay of the simulation: the real core over a log in a vector.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::id::{
    Epoch, GroupName, GroupNumber, Index, LinkId, ProducerId, ProducerSequence, RelayId, SessionId,
    StorageId, SubscriptionName,
};
use crate::log::{Entry, EntryNumber, Piece, Replayed, Snapshot};
use crate::relay::{Effect, Input, LinkOptions, Now, Relay, RelayOptions, Restore};
use crate::topology::settings::{GroupSettings, TreeKind};
use crate::wire::body::{Answer, Notice, Refusal, Reply, Request, Start, SubscribeLevel, SubscriptionSpec};
use crate::wire::frame::{AckLevel, Credit, DeliverHead, PutDone, PutHead};
use crate::wire::link::LinkMessage;
use crate::wire::run::{BodySummary, Record, Records, RunKind};

/// The one session of every node.
const SESSION: SessionId = SessionId(1);

/// A message as a subscription got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The subscription's handle.
    pub handle: u32,
    /// Its insertion index.
    pub index: u64,
    /// What was put.
    pub payload: String,
}

/// A relay, what it has on its disk, and what has come out of it.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: RelayId,
    links: Vec<LinkOptions>,
    storage: StorageId,
    quiet_ms: u64,
    boot: u64,
    relay: Option<Relay>,
    log: Vec<Entry>,
    durable: usize,
    has_room: bool,
    snapshot: Snapshot,
    shards: Vec<(EntryNumber, Bytes)>,
    request: u64,
    /// What it wants to say over its links, in order.
    pub outbox: VecDeque<(LinkId, LinkMessage)>,
    /// Bytes said over each link since it came up.
    said: BTreeMap<LinkId, u64>,
    /// Runs sent over each link, for the count of copies.
    pub runs_sent: u64,
    /// Messages that were delivered.
    pub got: Vec<Got>,
    /// Bytes that were delivered.
    pub got_bytes: u64,
    /// Whether its application reads what is delivered.
    pub reads: bool,
    /// Receivers that were told that they are detached, by their handles.
    pub detached: Vec<(u32, Refusal)>,
    /// Gaps that subscriptions were told of.
    pub gaps: u64,
    /// Puts that were answered, by their number.
    pub done: Vec<PutDone>,
    /// Puts that were refused, by their number.
    pub refused: Vec<u64>,
    answers: BTreeMap<u64, Answer>,
    /// Which request was answered with each handle last.
    holders: BTreeMap<u32, u64>,
    released: BTreeMap<GroupNumber, Index>,
}

impl Node {
    /// Whether a change of the map waits to be planned.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_planning)
    }

    /// A relay with an empty disk, running.
    #[must_use]
    pub fn new(name: &str, storage: u8, links: Vec<LinkOptions>, now: Now) -> Self {
        let mut node = Self {
            name: RelayId::new(name).expect("names of simulated relays are names"),
            links,
            storage: StorageId([storage; 16]),
            quiet_ms: crate::limits::ORIGIN_QUIET_MS,
            boot: 0,
            relay: None,
            log: Vec::new(),
            durable: 0,
            has_room: true,
            snapshot: Snapshot::default(),
            shards: Vec::new(),
            request: 0,
            outbox: VecDeque::new(),
            said: BTreeMap::new(),
            runs_sent: 0,
            got: Vec::new(),
            got_bytes: 0,
            reads: true,
            detached: Vec::new(),
            gaps: 0,
            done: Vec::new(),
            refused: Vec::new(),
            answers: BTreeMap::new(),
            holders: BTreeMap::new(),
            released: BTreeMap::new(),
        };
        node.start(now);
        node
    }

    /// After how many milliseconds without a message it is no origin any more.
    pub fn set_quiet_ms(&mut self, ms: u64) {
        self.quiet_ms = ms;
        self.relay.iter_mut().for_each(|relay| relay.set_origin_quiet_ms(ms));
    }

    /// Whether a handle is still the one that a request was answered with.
    #[must_use]
    pub fn holds(&self, handle: u32, request: u64) -> bool {
        self.holders.get(&handle) == Some(&request)
    }

    /// How often it was started.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.relay.is_some()
    }

    /// Whether everything that it appended is on its disk.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.durable == self.log.len()
    }

    /// Starts from what is on the disk.
    ///
    /// # Panics
    /// When the core does not understand what it wrote: that is what the simulation is there to find.
    pub fn start(&mut self, now: Now) {
        self.boot += 1;
        self.has_room = true;
        let epoch = Epoch { counter: self.boot, storage: self.storage, nonce: self.boot };
        let options = RelayOptions {
            relay: self.name.clone(),
            epoch,
            version: "sim".to_owned(),
            warnings: Vec::new(),
            run_bytes_max: 1 << 20,
            links: self.links.clone(),
            transit: true,
            max_children: None,
            origin_quiet_ms: self.quiet_ms,
        };
        let last = EntryNumber(self.log.len() as u64);
        let mut restore = Restore::new(options, last, &self.snapshot).expect("a snapshot of its own");
        let begin = self.snapshot.shards.iter().map(|(n, _)| n.0).min().unwrap_or(0) as usize;
        for (i, entry) in self.log.iter().enumerate().skip(begin) {
            restore.replay(EntryNumber(i as u64 + 1), Replayed::of(entry)).expect("entries of its own");
        }
        self.relay = Some(restore.start(now));
        self.input(now, Input::SessionOpened { session: SESSION });
    }

    /// Stops at once. Of what was not synced the first `kept` entries are on the disk all the same.
    pub fn crash(&mut self, kept: usize) {
        self.relay = None;
        self.durable = self.durable.saturating_add(kept).min(self.log.len());
        self.log.truncate(self.durable);
        let reached = EntryNumber(self.durable as u64);
        debug_assert!(self.snapshot.shards.iter().all(|(through, _)| *through <= reached));
        self.outbox.clear();
        self.said.clear();
        self.got.clear();
        self.detached.clear();
        self.answers.clear();
        self.holders.clear();
        self.released.clear();
    }

    /// Runs that are on the disk and not let go.
    #[must_use]
    pub fn held_runs(&self) -> usize {
        let is_held = |entry: &&Entry| match entry {
            Entry::Run(run) => {
                self.released.get(&run.group).is_none_or(|below| run.stored().end_index() > *below)
            }
            Entry::State(_) => false,
        };
        self.log.iter().filter(is_held).count()
    }

    /// Its disk is empty, and is another one from now on.
    pub fn wipe(&mut self) {
        self.log.clear();
        self.durable = 0;
        self.snapshot = Snapshot::default();
        self.boot = 0;
        self.storage.0[1] += 1;
    }

    /// Something happens to it. Its effects are carried out, but for syncs and links.
    pub fn input(&mut self, now: Now, input: Input) {
        let Some(relay) = &mut self.relay else { return };
        relay.handle(now, input);
        self.settle(now);
    }

    fn settle(&mut self, now: Now) {
        while let Some(effect) = self.relay.as_mut().and_then(Relay::next_effect) {
            self.carry_out(now, effect);
        }
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Append { entry, .. } => {
                if let Entry::Run(run) = &entry {
                    let is_message = run.run.header.kind == RunKind::Data;
                    assert!(self.has_room || !is_message, "{} appends a message to a full disk", self.name);
                }
                self.log.push(entry);
            }
            Effect::Answer { request, answer, .. } => {
                if let Ok(Reply::SubscriptionHandle { handle, .. }) = &*answer {
                    // What came under this number before was for one that is gone.
                    self.holders.insert(*handle, request);
                    self.got.retain(|got| got.handle != *handle);
                    self.detached.retain(|(of, _)| of != handle);
                }
                self.answers.insert(request, *answer);
            }
            Effect::PutDone { done, .. } if done.has_more => {}
            Effect::PutDone { done, .. } => self.done.push(done),
            Effect::Notice { notice: Notice::PutRefused { put, .. }, .. } => self.refused.push(put),
            Effect::Release { group, below } => {
                let before = self.released.insert(group, below);
                assert!(before.is_none_or(|before| before <= below), "a release went back");
            }
            Effect::Notice { notice: Notice::Gap { .. }, .. } => self.gaps += 1,
            Effect::Notice { notice: Notice::Detached { handle, refusal }, .. } => {
                self.detached.push((handle, refusal));
            }
            Effect::Notice { notice: Notice::Stream { .. }, .. } | Effect::Close { .. } => {}
            Effect::Deliver { session, handle, head, records } => {
                self.take_delivery(handle, &head, &records);
                self.got_bytes += Effect::deliver_bytes(&records);
                if self.reads {
                    self.again(now, Input::Written { session, total: u64::MAX });
                }
            }
            Effect::Fetch { group, from, .. } => {
                let pieces = self.read(group, from);
                self.again(now, Input::Fetched { group, from, pieces });
            }
            Effect::Shard { through, bytes, .. } => self.shards.push((through, bytes)),
            Effect::Link { link, message } => {
                self.runs_sent += u64::from(matches!(message, LinkMessage::Run { .. }));
                self.outbox.push_back((link, message));
            }
        }
    }

    fn again(&mut self, now: Now, input: Input) {
        if let Some(relay) = &mut self.relay {
            relay.handle(now, input);
        }
    }

    fn take_delivery(&mut self, handle: u32, head: &DeliverHead, records: &[u8]) {
        for (i, record) in Records::new(records).enumerate() {
            let record = record.expect("what is delivered can be read");
            let payload = String::from_utf8_lossy(record.payload).into_owned();
            self.got.push(Got { handle, index: head.first_index.0 + i as u64, payload });
        }
    }

    fn read(&self, group: GroupNumber, from: Index) -> Vec<Piece> {
        let low = self.released.get(&group).copied().unwrap_or(Index(0));
        let from = from.max(low);
        let runs = self.log[..self.durable].iter().filter_map(|entry| match entry {
            Entry::Run(run) if run.group == group && run.stored().end_index() > from => Some(run.stored()),
            Entry::Run(_) | Entry::State(_) => None,
        });
        runs.take(4).map(Piece::Run).collect()
    }

    /// A message that it said has left: its link has room for more.
    pub fn on_written(&mut self, now: Now, link: LinkId, bytes: u64) {
        let said = self.said.entry(link).or_default();
        *said += bytes;
        let total = *said;
        self.input(now, Input::LinkWritten { link, total });
    }

    /// A link has come up or gone down.
    pub fn on_link(&mut self, now: Now, link: LinkId, is_up: bool) {
        self.said.remove(&link);
        self.outbox.retain(|(other, _)| *other != link);
        self.input(now, if is_up { Input::LinkUp { link } } else { Input::LinkDown { link } });
    }

    /// What it tells its operator.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.relay.as_ref().map_or(&[], Relay::warnings)
    }

    /// The disk is full, or has room again.
    pub fn set_room(&mut self, now: Now, free: bool) {
        self.has_room = free;
        self.input(now, Input::Room { free });
    }

    /// Whether the disk has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.has_room
    }

    /// The disk has synced `entries` of what waits, or everything.
    pub fn sync(&mut self, now: Now, entries: usize) {
        let through = self.durable.saturating_add(entries).min(self.log.len());
        if self.is_up() && through > self.durable {
            self.durable = through;
            self.input(now, Input::Durable { through: EntryNumber(through as u64) });
        }
    }

    /// The next moment at which it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<crate::id::Time> {
        self.relay.as_ref()?.next_deadline()
    }

    /// Saves all parts of its state as of now, and makes them the snapshot that it starts from.
    pub fn take_snapshot(&mut self, now: Now) {
        if !self.is_up() || !self.is_synced() {
            return;
        }
        self.shards.clear();
        for shard in 0..crate::relay::SHARDS {
            self.input(now, Input::Snapshot { shard });
        }
        if self.is_synced() {
            self.snapshot = Snapshot { shards: std::mem::take(&mut self.shards) };
        }
    }

    /// Asks something, and syncs until it is answered.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&mut self, now: Now, body: Request) -> Answer {
        self.request += 1;
        let request = self.request;
        self.input(now, Input::Request { session: SESSION, request, body: Box::new(body) });
        self.sync(now, usize::MAX);
        self.answers.remove(&request).expect("an answer once everything is synced")
    }

    /// Asks something; its answer is taken by [`Node::take_answer`].
    pub fn begin(&mut self, now: Now, body: Request) -> u64 {
        self.request += 1;
        self.input(now, Input::Request { session: SESSION, request: self.request, body: Box::new(body) });
        self.request
    }

    /// Makes a group with a tree of its own for each origin.
    ///
    /// # Panics
    /// When it is refused.
    pub fn create_source_group(&mut self, now: Now, group: &GroupName) {
        let settings = GroupSettings { tree: TreeKind::Source, ..GroupSettings::default() };
        let answer = self.ask(now, Request::GroupCreate { group: group.clone(), settings, queue: false });
        assert_eq!(answer, Ok(Reply::Done));
    }

    /// Makes a subscription that begins now.
    ///
    /// # Panics
    /// When it is refused.
    pub fn subscribe(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) {
        let spec = SubscriptionSpec { level: SubscribeLevel::Local, ..SubscriptionSpec::default() };
        let (group, name) = (group.clone(), name.clone());
        let answer = self.ask(now, Request::SubscriptionCreate { group, name, spec });
        assert_eq!(answer, Ok(Reply::Done));
    }

    /// Asks for a subscription that begins now and that others are to know of; its answer is taken
    /// by [`Node::take_answer`].
    pub fn begin_subscribe(
        &mut self,
        now: Now,
        group: &GroupName,
        name: &SubscriptionName,
        level: SubscribeLevel,
    ) -> u64 {
        let spec = SubscriptionSpec { level, ..SubscriptionSpec::default() };
        self.begin(now, Request::SubscriptionCreate { group: group.clone(), name: name.clone(), spec })
    }

    /// The answer to a request, if it has come.
    pub fn take_answer(&mut self, request: u64) -> Option<Answer> {
        self.answers.remove(&request)
    }

    /// Begins to receive from a subscription: its messages come into [`Node::got`] as they are
    /// delivered, whether the disk has synced or not.
    ///
    /// # Panics
    /// When the subscription is not there.
    pub fn attach(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) -> u32 {
        let attach = Request::Attach { group: group.clone(), name: Some(name.clone()), create: None };
        let Ok(Reply::SubscriptionHandle { handle, .. }) = self.ask(now, attach) else {
            panic!("{} has no subscription {name} of {group}", self.name)
        };
        handle
    }

    /// Takes as much as comes.
    pub fn credit(&mut self, now: Now, handle: u32) {
        let credits = vec![Credit { handle, total: u64::MAX }];
        self.input(now, Input::Credit { session: SESSION, credits });
    }

    /// The application reads all that was delivered to it.
    pub fn read_all(&mut self, now: Now) {
        self.input(now, Input::Written { session: SESSION, total: u64::MAX });
    }

    /// Acks what stands between two places.
    pub fn ack(&mut self, now: Now, handle: u32, (from, to): (Index, Index)) {
        let kind = crate::wire::frame::AckKind::Ack;
        let acks = vec![crate::wire::frame::Ack { handle, kind, from, to, delay_ms: 0 }];
        self.input(now, Input::Ack { session: SESSION, acks });
    }

    /// Receives everything that a subscription is owed.
    ///
    /// # Panics
    /// When the subscription is not there.
    pub fn drain(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) -> Vec<String> {
        let start = Some(SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() });
        let attach = Request::Attach { group: group.clone(), name: Some(name.clone()), create: start };
        let Ok(Reply::SubscriptionHandle { handle, created, .. }) = self.ask(now, attach) else {
            panic!("{} has no subscription {name} of {group}", self.name)
        };
        assert!(!created, "{} has forgotten subscription {name} of {group}", self.name);
        let mut taken = Vec::new();
        loop {
            let credits = vec![Credit { handle, total: u64::MAX }];
            self.input(now, Input::Credit { session: SESSION, credits });
            self.sync(now, usize::MAX);
            let (got, rest): (Vec<Got>, Vec<Got>) =
                std::mem::take(&mut self.got).into_iter().partition(|got| got.handle == handle);
            self.got = rest;
            let Some(last) = got.last().map(|got| got.index) else { break };
            taken.extend(got.into_iter().map(|got| got.payload));
            let (kind, from, to) = (crate::wire::frame::AckKind::Ack, Index(0), Index(last + 1));
            let acks = vec![crate::wire::frame::Ack { handle, kind, from, to, delay_ms: 0 }];
            self.input(now, Input::Ack { session: SESSION, acks });
        }
        // Once its acks are on disk nothing of it may come again.
        self.ask(now, Request::Sync).expect("a sync is never refused");
        self.ask(now, Request::Detach { handle }).expect("the handle was just used");
        taken
    }

    /// Opens a group for puts.
    ///
    /// # Panics
    /// When it is refused.
    pub fn open(&mut self, now: Now, group: &GroupName) -> u32 {
        match self.ask(now, Request::GroupOpen { group: group.clone() }) {
            Ok(Reply::GroupHandle { handle, .. }) => handle,
            other => panic!("{} does not open {group}: {other:?}", self.name),
        }
    }

    /// Puts messages under a number.
    ///
    /// # Panics
    /// Never: the records are made here.
    pub fn put(&mut self, now: Now, handle: u32, put: u64, payloads: &[String]) {
        self.put_at_level(now, (handle, put), payloads, (AckLevel::Accepted, 0));
    }

    /// Puts messages under a number; done when they have come as far as this.
    ///
    /// # Panics
    /// Never: the records are made here.
    pub fn put_at_level(
        &mut self,
        now: Now,
        (handle, put): (u32, u64),
        payloads: &[String],
        (level, copies): (AckLevel, u16),
    ) {
        self.put_as(now, (handle, put), payloads, (level, copies), None);
    }

    /// Puts messages of a producer, whose first one has this number there.
    ///
    /// # Panics
    /// Never: the records are made here.
    pub fn put_as(
        &mut self,
        now: Now,
        (handle, put): (u32, u64),
        payloads: &[String],
        (level, copies): (AckLevel, u16),
        producer: Option<(ProducerId, ProducerSequence)>,
    ) {
        let mut records = bytes::BytesMut::new();
        for payload in payloads {
            Record { payload: payload.as_bytes(), ..Record::default() }.encode(&mut records);
        }
        let records = records.freeze();
        let head = PutHead {
            put,
            producer,
            lowest_unanswered: ProducerSequence(0),
            body_hash: xxhash_rust::xxh3::xxh3_64(&records),
            level,
            copies,
            transient: false,
            age_seconds: 0,
        };
        let summary = BodySummary::of(&records).expect("records that were just encoded");
        self.input(now, Input::Put { session: SESSION, handle, head, summary, records });
    }
}

impl Node {
    /// How many streams it knows, how many of them are sealed, and how many names of streams its
    /// links know.
    #[must_use]
    pub fn streams(&self) -> [usize; 3] {
        self.relay.as_ref().map(Relay::count_streams).unwrap_or_default()
    }

    /// Where a message is here, and the groups with their trees and streams: for people.
    #[must_use]
    pub fn explain(&self, payload: &str) -> String {
        let place = |entry: &Entry| match entry {
            Entry::Run(run) => {
                let found = run.run.body.windows(payload.len()).any(|part| part == payload.as_bytes());
                found.then(|| format!("has it at {} from link {}", run.first_index, run.link))
            }
            Entry::State(_) => None,
        };
        let found = self.log.iter().find_map(place);
        let relay = self.relay.as_ref().map(Relay::explain).unwrap_or_default();
        format!("{} {}{relay}", self.name, found.unwrap_or_else(|| "does not have it".to_owned()))
    }
}
