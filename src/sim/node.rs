//! One relay of the simulation: the real core over a log in a vector.

mod application;
mod disk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::id::{
    Epoch, GroupName, GroupNumber, Index, LinkId, ProducerSequence, RelayId, Sequence, SessionId, StorageId,
    StreamNumber, SubscriptionName, Time, WallTime,
};
use crate::log::{Entry, EntryNumber, MissingCause, Piece, Replayed, RunEntry, Snapshot};
use crate::relay::{Effect, Input, LinkOptions, Neighbour, Now, Relay, RelayOptions, Restore};
use crate::wire::applied::TopologyEntry;
use crate::wire::body::{Answer, Notice, Refusal, Reply, Request};
use crate::wire::frame::{DeliverHead, PutDone};
use crate::wire::link::{LinkMessage, Receipt};
use crate::wire::run::{Records, Run, RunKind};

/// The one session of every node.
pub(super) const SESSION: SessionId = SessionId(1);

/// The session of those who take all that there is of a subscription: what is said of others'
/// acks is not for them.
const TAKER: SessionId = SessionId(2);

/// Bytes that a dead letter may have more than the message that it was.
const DEAD_LETTER_MORE: u64 = 512;

/// A message as a subscription got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The subscription's handle.
    pub handle: u32,
    /// Its insertion index.
    pub index: u64,
    /// What was put.
    pub payload: String,
    /// The number of this delivery, as it was told.
    pub attempt: u32,
    /// When it was handed out.
    pub at: Time,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

/// A message on a disk.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Where it stands in its group.
    pub index: Index,
    /// When it came.
    pub arrived: WallTime,
    /// Over the link to which neighbour; `None`: it was put here.
    pub from: Option<RelayId>,
    /// Whether it is synced.
    pub is_durable: bool,
    /// Whether it was not let go.
    pub is_held: bool,
    /// The messages that stand before it in the group.
    pub before: Vec<String>,
}

/// A backup of a disk.
#[derive(Clone, Debug)]
pub struct Image {
    log: Vec<Entry>,
    recycled: BTreeSet<(GroupNumber, Index)>,
    snapshot: Snapshot,
    boot: u64,
}

/// A relay, what it has on its disk, and what has come out of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: RelayId,
    /// The topology file that it is started with.
    pub(super) file: Option<String>,
    links: Vec<LinkOptions>,
    storage: StorageId,
    quiet_ms: u64,
    boot: u64,
    /// How often it was started, whatever its disk knows of that.
    starts: u64,
    relay: Option<Relay>,
    log: Vec<Entry>,
    /// Where in the log the run stands that ends a group at an index.
    places: BTreeMap<(GroupNumber, Index), usize>,
    /// Runs that are not on its disk any more, likewise: other entries have that room.
    recycled: BTreeSet<(GroupNumber, Index)>,
    /// What was let go when the snapshot that is being made was begun.
    noted: BTreeMap<GroupNumber, Index>,
    /// From which neighbour each run has come, by its place in the log.
    came: BTreeMap<usize, RelayId>,
    durable: usize,
    /// Entries of the log of which the last one is waited for, or was.
    urgent: usize,
    /// When the others are synced at the latest, if there are some.
    sync_by: Option<crate::id::Time>,
    /// Entries that damage has taken: places in the log.
    lost: BTreeSet<usize>,
    has_room: bool,
    /// Bytes that its log takes at once, from the next start on.
    pub run_bytes_max: u64,
    /// How far its wall clock is from the right one, in microseconds.
    skew: i64,
    snapshot: Snapshot,
    shards: Vec<(EntryNumber, Bytes)>,
    /// Whether its application keeps what it has opened, and puts while more waits for the disk.
    pub(super) is_hasty: bool,
    /// What that has opened since the start.
    opened: BTreeMap<GroupName, u32>,
    request: u64,
    /// What it wants to say over its links, in order.
    pub outbox: VecDeque<(LinkId, LinkMessage)>,
    /// Bytes said over each link since it came up.
    said: BTreeMap<LinkId, u64>,
    /// Runs sent over each link, for the count of copies.
    pub runs_sent: u64,
    /// A message, and how often it was sent over links since this was set.
    pub counted: Option<(String, u64)>,
    /// Pulls sent over all links.
    pub pulls_sent: u64,
    /// Messages that were delivered.
    pub got: Vec<Got>,
    /// Messages that were delivered to those who take all.
    drained: Vec<Got>,
    /// Whether he who takes all was told that he is detached.
    is_sent_away: bool,
    /// Bytes that were delivered.
    pub got_bytes: u64,
    /// Whether its application reads what is delivered.
    pub reads: bool,
    /// Receivers that were told that they are detached, by their handles.
    pub detached: Vec<(u32, Refusal)>,
    /// Gaps that subscriptions were told of.
    pub gaps: u64,
    /// What receivers were told of the order of producers.
    pub unordered: Vec<Notice>,
    /// What puts say to be the lowest sequence of their producer without an answer.
    pub lowest_unanswered: ProducerSequence,
    /// Puts that were answered, by their number.
    pub done: Vec<PutDone>,
    /// Puts that were refused, by their number.
    pub refused: Vec<u64>,
    /// Why the last of them was.
    pub refusal: Option<Refusal>,
    answers: BTreeMap<u64, Answer>,
    /// Which request was answered with each handle last.
    holders: BTreeMap<u32, u64>,
    /// Handles that the application has, and those that were taken from it before it knew them.
    known: BTreeSet<u32>,
    early: BTreeSet<u32>,
    released: BTreeMap<GroupNumber, Index>,
    /// What was let go since it was looked at: a group, and from where to where.
    pub let_go: Vec<(GroupNumber, Index, Index)>,
    /// Its links have changed, and the wires have not.
    pub is_rewired: bool,
}

/// The storage of a relay by its number: the same byte everywhere, and what it has above 255.
fn storage_of(number: u16) -> StorageId {
    let [high, low] = number.to_be_bytes();
    let mut bytes = [low; 16];
    bytes[2] = bytes[2].wrapping_add(high);
    StorageId(bytes)
}

impl Node {
    /// Whether a change of the map waits to be planned.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_planning)
    }

    /// How often it has planned a change of the map since its start.
    #[must_use]
    pub fn plans(&self) -> u64 {
        self.relay.as_ref().map_or(0, Relay::plans)
    }

    /// Whether something waits until a link with a rate may be given more.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_held_back)
    }

    /// A relay with an empty disk, running.
    #[must_use]
    pub fn new(name: &str, storage: u16, links: Vec<LinkOptions>, now: Now) -> Self {
        let mut node = Self {
            name: RelayId::new(name).expect("names of simulated relays are names"),
            file: None,
            links,
            storage: storage_of(storage),
            quiet_ms: crate::limits::ORIGIN_QUIET_MS,
            boot: 0,
            starts: 0,
            relay: None,
            log: Vec::new(),
            places: BTreeMap::new(),
            recycled: BTreeSet::new(),
            noted: BTreeMap::new(),
            came: BTreeMap::new(),
            durable: 0,
            urgent: 0,
            sync_by: None,
            lost: BTreeSet::new(),
            has_room: true,
            run_bytes_max: 1 << 20,
            skew: 0,
            snapshot: Snapshot::default(),
            shards: Vec::new(),
            is_hasty: false,
            opened: BTreeMap::new(),
            request: 0,
            outbox: VecDeque::new(),
            said: BTreeMap::new(),
            runs_sent: 0,
            counted: None,
            pulls_sent: 0,
            got: Vec::new(),
            drained: Vec::new(),
            is_sent_away: false,
            unordered: Vec::new(),
            lowest_unanswered: ProducerSequence(0),
            got_bytes: 0,
            reads: true,
            detached: Vec::new(),
            gaps: 0,
            done: Vec::new(),
            refused: Vec::new(),
            refusal: None,
            answers: BTreeMap::new(),
            holders: BTreeMap::new(),
            known: BTreeSet::new(),
            early: BTreeSet::new(),
            released: BTreeMap::new(),
            let_go: Vec::new(),
            is_rewired: false,
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

    /// How often its disk was started from.
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

    /// Entries that it appended and that are not on its disk.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.log.len() - self.durable
    }

    /// Its log, and how many entries of it are on its disk.
    #[must_use]
    pub fn log(&self) -> (&[Entry], usize) {
        (&self.log, self.durable)
    }

    /// Whether an entry of the log is damaged.
    #[must_use]
    pub fn is_damaged(&self, place: usize) -> bool {
        self.lost.contains(&place)
    }

    /// From now on it runs a newer program.
    pub fn upgrade(&mut self, now: Now) {
        if let Some(relay) = &mut self.relay {
            relay.upgrade(now);
        }
        self.settle(now);
    }

    /// The way in which it computes trees, and the trees.
    #[must_use]
    pub fn trees_told(&self) -> String {
        self.relay.as_ref().map(Relay::trees_told).unwrap_or_default()
    }

    /// Forgets what is only counted for people.
    pub fn forget_counts(&mut self) {
        (self.runs_sent, self.gaps) = (0, 0);
        if let Some(relay) = &mut self.relay {
            relay.forget_counts();
        }
    }

    /// The name of a group, while it runs.
    #[must_use]
    pub fn group_name(&self, number: GroupNumber) -> Option<GroupName> {
        self.relay.as_ref()?.name_of_group(number)
    }

    /// How often a group of this name was removed before the one that is here, while it runs.
    #[must_use]
    pub fn life_of(&self, group: &GroupName) -> Option<u32> {
        self.relay.as_ref()?.life_of(group)
    }

    /// Whether it runs and has heard of a relay.
    #[must_use]
    pub fn knows(&self, other: &RelayId) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.knows(other))
    }

    /// The stream that a receipt is about here, and how far it is known to be released.
    #[must_use]
    pub fn stream_of(&self, receipt: &Receipt) -> Option<(StreamNumber, Sequence)> {
        self.relay.as_ref()?.stream_of(receipt)
    }

    /// Whether a run of its own is released, as far as it knows.
    #[must_use]
    pub fn is_released(&self, run: &RunEntry) -> bool {
        let released = self.relay.as_ref().and_then(|relay| relay.released_of(run.group, run.stream));
        released.is_none_or(|released| run.run.header.end().0 - 1 <= released.0)
    }

    /// Whether another relay is owed a run of its own, as far as it knows.
    #[must_use]
    pub fn owes(&self, run: &RunEntry, to: &RelayId) -> bool {
        let owed = (to, run.run.header.first);
        self.relay.as_ref().is_some_and(|relay| relay.owes(run.group, run.stream, owed))
    }

    /// The data directory that it says it writes under, while it runs.
    #[must_use]
    pub fn storage_told(&self) -> Option<StorageId> {
        self.relay.as_ref().map(Relay::storage)
    }

    /// Whether another relay can be reached from it, as far as it knows.
    #[must_use]
    pub fn reaches(&self, relay: &RelayId) -> bool {
        self.relay.as_ref().is_some_and(|known| known.reaches().any(|other| other == relay))
    }

    /// The groups of which it knows that another relay is a member with this disk.
    #[must_use]
    pub fn memberships_on(&self, relay: &RelayId, storage: StorageId) -> Vec<GroupNumber> {
        self.relay.as_ref().map(|known| known.memberships_on(relay, storage)).unwrap_or_default()
    }

    /// Starts from what is on the disk.
    ///
    /// # Panics
    /// When the core does not understand what it wrote: that is what the simulation is there to find.
    pub fn start(&mut self, now: Now) {
        self.boot += 1;
        self.starts += 1;
        self.has_room = true;
        let restore = self.restored(&self.name);
        restore.check_name().expect("it is its own disk");
        self.recycle(&restore.released().into_iter().collect());
        let relay = restore.start(self.clock(now));
        if let Some(neighbours) = relay.neighbours() {
            self.links = neighbours.iter().map(Neighbour::options).collect();
        }
        self.relay = Some(relay);
        for session in [SESSION, TAKER] {
            self.input(now, Input::SessionOpened { session });
        }
    }

    /// Why another relay is not started from its disk, if it is not.
    #[must_use]
    pub fn refuses(&self, name: &RelayId) -> Option<String> {
        self.restored(name).check_name().err().map(|refusal| refusal.to_string())
    }

    /// What is read from its disk, for a relay of this name.
    fn restored(&self, name: &RelayId) -> Restore {
        let epoch = Epoch { counter: self.boot, storage: self.storage, nonce: self.starts };
        let options = RelayOptions {
            relay: name.clone(),
            epoch,
            version: "sim".to_owned(),
            warnings: Vec::new(),
            run_bytes_max: self.run_bytes_max,
            links: self.links.clone(),
            transit: true,
            max_children: None,
            trace_retention_ms: crate::limits::TRACE_RETENTION_MS,
            origin_quiet_ms: self.quiet_ms,
        };
        let last = EntryNumber(self.log.len() as u64);
        let mut restore = Restore::new(options, last, &self.snapshot).expect("a snapshot of its own");
        let begin = self.snapshot.shards.iter().map(|(n, _)| n.0).min().unwrap_or(0) as usize;
        restore.tolerate_loss(self.lost.len() as u64);
        self.file.iter().for_each(|text| restore.set_topology(text.clone()));
        let whole = self.log.iter().enumerate().skip(begin).filter(|(i, _)| !self.lost.contains(i));
        for (i, entry) in whole {
            restore.replay(EntryNumber(i as u64 + 1), Replayed::of(entry)).expect("entries of its own");
        }
        restore
    }

    /// Stops at once. Of what was not synced the first `kept` entries are on the disk all the same.
    pub fn crash(&mut self, kept: usize) {
        self.relay = None;
        self.durable = self.durable.saturating_add(kept).min(self.log.len());
        self.log.truncate(self.durable);
        (self.urgent, self.sync_by) = (0, None);
        let durable = self.durable;
        self.places.retain(|_, place| *place < durable);
        self.came.retain(|place, _| *place < durable);
        let reached = EntryNumber(self.durable as u64);
        debug_assert!(self.snapshot.shards.iter().all(|(through, _)| *through <= reached));
        self.shards.clear();
        self.noted.clear();
        self.opened.clear();
        self.outbox.clear();
        self.said.clear();
        self.got.clear();
        self.drained.clear();
        self.detached.clear();
        self.answers.clear();
        self.holders.clear();
        self.known.clear();
        self.early.clear();
        self.released.clear();
        self.let_go.clear();
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

    /// The disk gives other bytes than were written for every run that has one of these messages.
    /// Says how many runs that are.
    pub fn damage(&mut self, payloads: &[&str]) -> usize {
        let hit = self.log[..self.durable].iter().enumerate().filter_map(|(at, entry)| match entry {
            Entry::Run(run) => payloads.iter().any(|payload| has(run, payload)).then_some(at),
            Entry::State(_) => None,
        });
        let hit: Vec<usize> = hit.collect();
        self.lost.extend(&hit);
        hit.len()
    }

    /// Damages on its disk the last record of a kind that it has put itself. False: there is none.
    pub fn damage_last(&mut self, kind: RunKind) -> bool {
        let is_it = |entry: &Entry| matches!(entry, Entry::Run(run) if run.link == LinkId(0) && run.run.header.kind == kind);
        let hit = self.log[..self.durable].iter().rposition(is_it);
        self.lost.extend(hit);
        hit.is_some()
    }

    /// The messages of a group that are on its disk, whole, and not let go.
    #[must_use]
    pub fn held(&self, group: &GroupName) -> Vec<String> {
        self.held_since(group).into_iter().map(|(payload, _)| payload).collect()
    }

    /// The same, and when each of them came.
    #[must_use]
    pub fn held_since(&self, group: &GroupName) -> Vec<(String, WallTime)> {
        self.inserted(group, |run| {
            self.released.get(&run.group).is_none_or(|below| run.first_index >= *below)
                && !self.recycled.contains(&(run.group, run.stored().end_index()))
        })
    }

    /// The messages of a group that have ever come to its disk, in such runs and whole, and when each came.
    pub fn inserted(&self, group: &GroupName, is_it: impl Fn(&RunEntry) -> bool) -> Vec<(String, WallTime)> {
        let number = self.relay.as_ref().and_then(|relay| relay.number_of(group));
        let whole = self.log[..self.durable].iter().enumerate().filter(|(at, _)| !self.lost.contains(at));
        let runs = whole.filter_map(|(_, entry)| match entry {
            Entry::Run(run) if Some(run.group) == number && run.run.header.kind == RunKind::Data => Some(run),
            Entry::Run(_) | Entry::State(_) => None,
        });
        let records = runs.filter(|run| is_it(run)).flat_map(|run| {
            Records::new(&run.run.body).map(|record| (record.expect("it was encoded here"), run.arrived))
        });
        records.map(|(r, at)| (String::from_utf8_lossy(r.payload).into_owned(), at)).collect()
    }

    /// While it is down: the last entries on its disk are gone, though they were called synced. How
    /// often it was started it knows.
    pub fn lose_tail(&mut self, entries: usize) {
        self.durable = self.durable.saturating_sub(entries);
        self.crash(0);
    }

    /// All that is on its disk now.
    #[must_use]
    pub fn image(&self) -> Image {
        let log = self.log[..self.durable].to_vec();
        Image { log, recycled: self.recycled.clone(), snapshot: self.snapshot.clone(), boot: self.boot }
    }

    /// Its disk is as it was when an image of it was taken.
    pub fn put_back(&mut self, image: &Image) {
        self.log = image.log.clone();
        self.durable = self.log.len();
        let durable = self.durable;
        self.recycled = image.recycled.clone();
        let runs = self.log.iter().enumerate().filter_map(|(place, entry)| match entry {
            Entry::Run(run) => Some(((run.group, run.stored().end_index()), place)),
            Entry::State(_) => None,
        });
        self.places = runs.filter(|(end, _)| !image.recycled.contains(end)).collect();
        self.came.retain(|place, _| *place < durable);
        self.snapshot = image.snapshot.clone();
        self.boot = image.boot;
        self.lost.clear();
    }

    /// Its disk is empty, and is another one from now on.
    pub fn wipe(&mut self, storage: StorageId) {
        self.log.clear();
        self.places.clear();
        self.recycled.clear();
        self.came.clear();
        self.lost.clear();
        self.durable = 0;
        self.snapshot = Snapshot::default();
        self.boot = 0;
        self.storage = storage;
    }

    /// Something happens to it. Its effects are carried out, but for syncs and links.
    pub fn input(&mut self, now: Now, input: Input) {
        if let Input::Request { session: SESSION, body, .. } = &input
            && let Request::Detach { handle } = **body
        {
            self.known.remove(&handle);
        }
        let own = self.clock(now);
        let Some(relay) = &mut self.relay else { return };
        relay.handle(own, input);
        self.settle(now);
    }

    fn settle(&mut self, now: Now) {
        while let Some(effect) = self.relay.as_mut().and_then(Relay::next_effect) {
            self.carry_out(now, effect);
        }
    }

    fn hear_answer(&mut self, (session, request): (SessionId, u64), answer: Answer) {
        if let Ok(Reply::SubscriptionHandle { handle, .. }) = &answer
            && session == SESSION
        {
            // What came under this number before was for one that is gone.
            self.holders.insert(*handle, request);
            self.got.retain(|got| got.handle != *handle);
            // It may have been taken away before it was told.
            if !self.early.remove(handle) {
                self.detached.retain(|(of, _)| of != handle);
                self.known.insert(*handle);
            }
        }
        self.answers.insert(request, answer);
    }

    fn hear_notice(&mut self, session: SessionId, notice: Notice) {
        match notice {
            Notice::PutRefused { put, refusal } => {
                self.refused.push(put);
                self.refusal = Some(refusal);
            }
            Notice::Gap { handle, .. } => {
                let is_known = session != SESSION || self.known.contains(&handle);
                assert!(is_known, "{} is told of a gap before it knows handle {handle}", self.name);
                self.gaps += 1;
            }
            Notice::Unordered { .. } => self.unordered.push(notice),
            Notice::Detached { handle, refusal } if session == SESSION => {
                if !self.known.remove(&handle) {
                    self.early.insert(handle);
                }
                self.detached.push((handle, refusal));
            }
            Notice::Detached { .. } => self.is_sent_away |= session == TAKER,
            Notice::Stream { .. } => {}
        }
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Append { entry, urgency } => {
                if let Entry::Run(run) = &entry {
                    let is_message = run.run.header.kind == RunKind::Data;
                    assert!(self.has_room || !is_message, "{} appends a message to a full disk", self.name);
                    let fits = run.run.body.len() as u64 <= self.run_bytes_max + DEAD_LETTER_MORE;
                    assert!(fits, "{} appends what its log takes for too long", self.name);
                    self.places.insert((run.group, run.stored().end_index()), self.log.len());
                    if let Some(neighbour) = self.neighbour_at(run.link).cloned() {
                        self.came.insert(self.log.len(), neighbour);
                    }
                }
                self.log.push(entry);
                self.note_urgency(now, urgency);
            }
            Effect::Hurry => self.urgent = self.log.len(),
            Effect::Answer { session, request, answer } => self.hear_answer((session, request), *answer),
            Effect::PutDone { done, .. } if done.has_more => {}
            Effect::PutDone { done, .. } => self.done.push(done),
            Effect::Notice { session, notice } => self.hear_notice(session, notice),
            Effect::Release { group, below } => {
                let before = self.released.insert(group, below);
                assert!(before.is_none_or(|before| before <= below), "a release went back");
                self.let_go.push((group, before.unwrap_or_default(), below));
            }
            Effect::Close { .. } => self.opened.clear(),
            Effect::Deliver { session, handle, head, records } => {
                self.take_delivery((session, handle), &head, (now.time, &records));
                self.got_bytes += Effect::deliver_bytes(&records);
                if self.reads {
                    self.again(now, Input::Written { session, total: u64::MAX });
                }
            }
            Effect::Fetch { group, from, .. } => {
                let pieces = self.read(group, from);
                self.again(now, Input::Fetched { group, from, pieces });
            }
            Effect::Neighbours { neighbours, .. } => self.set_neighbours(&neighbours),
            Effect::Shard { through, bytes, .. } => self.shards.push((through, bytes)),
            Effect::Link { link, message } => {
                if let LinkMessage::Run { run, .. } = &message {
                    self.runs_sent += 1;
                    let counted = self.counted.iter_mut().filter(|(payload, _)| holds(run, payload));
                    counted.for_each(|(_, count)| *count += 1);
                }
                self.pulls_sent += u64::from(matches!(message, LinkMessage::Pull(_)));
                self.outbox.push_back((link, message));
            }
        }
    }

    /// Its links are these from now on.
    fn set_neighbours(&mut self, neighbours: &[Neighbour]) {
        self.links = neighbours.iter().map(Neighbour::options).collect();
        self.is_rewired = true;
    }

    /// The relay at the other end of a link.
    #[must_use]
    pub fn neighbour_at(&self, link: LinkId) -> Option<&RelayId> {
        self.links.iter().find(|known| known.link == link).map(|known| &known.neighbour)
    }

    /// The topology in force, as far as it knows while it runs.
    #[must_use]
    pub fn topology(&self) -> Option<TopologyEntry> {
        self.relay.as_ref()?.topology().map(|entry| (**entry).clone())
    }

    /// Another relay, which is no neighbour, asks for the topology in force.
    pub fn join(&mut self, now: Now, relay: &RelayId, storage: StorageId) -> Option<TopologyEntry> {
        let answer = self.ask(now, Request::TopologyJoin { relay: relay.clone(), storage });
        let Ok(Reply::Topology(info)) = answer else { return None };
        info.entry
    }

    /// Its data directory.
    #[must_use]
    pub fn storage(&self) -> StorageId {
        self.storage
    }

    /// Its links, by the neighbours' names and with their costs.
    #[must_use]
    pub fn links(&self) -> Vec<(RelayId, u32)> {
        self.links.iter().map(|link| (link.neighbour.clone(), link.cost)).collect()
    }

    /// The numbers of its links.
    #[must_use]
    pub fn link_numbers(&self) -> Vec<LinkId> {
        self.links.iter().map(|link| link.link).collect()
    }

    /// Its link to another relay, if it has one.
    #[must_use]
    pub fn link_to(&self, neighbour: &RelayId) -> Option<LinkId> {
        self.links.iter().find(|link| link.neighbour == *neighbour).map(|link| link.link)
    }

    fn again(&mut self, now: Now, input: Input) {
        let own = self.clock(now);
        if let Some(relay) = &mut self.relay {
            relay.handle(own, input);
        }
    }

    /// The time as this relay's clocks say it: the wall clock may be wrong.
    fn clock(&self, now: Now) -> Now {
        Now { time: now.time, wall: WallTime(now.wall.0.saturating_add_signed(self.skew)) }
    }

    /// Its wall clock jumps by so many seconds, forward or back.
    pub fn jump_clock(&mut self, seconds: i64) {
        self.skew += seconds * 1_000_000;
    }

    fn take_delivery(
        &mut self,
        (session, handle): (SessionId, u32),
        head: &DeliverHead,
        (at, records): (Time, &[u8]),
    ) {
        for (i, record) in Records::new(records).enumerate() {
            let record = record.expect("what is delivered can be read");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (index, payload) = (head.first_index.0 + i as u64, text(record.payload));
            let headers = record.headers().map(|(key, value)| (key.to_owned(), text(value))).collect();
            let got = if session == TAKER { &mut self.drained } else { &mut self.got };
            got.push(Got { handle, index, payload, attempt: head.attempt, at, headers });
        }
    }

    fn read(&self, group: GroupNumber, from: Index) -> Vec<Piece> {
        let low = self.released.get(&group).copied().unwrap_or(Index(0));
        let from = from.max(low);
        let gone = self.recycled.range((group, Index(from.0 + 1))..=(group, Index(u64::MAX))).next();
        assert!(
            gone.is_none(),
            "{} reads {group} from {from} on, but has let it go up to {gone:?}",
            self.name
        );
        let places = self.places.range((group, Index(from.0 + 1))..=(group, Index(u64::MAX)));
        let durable = places
            .map(|(_, place)| *place)
            .filter(|place| *place < self.durable && !self.lost.contains(place));
        let runs = durable.filter_map(|place| match &self.log[place] {
            Entry::Run(run) => Some(run.stored()),
            Entry::State(_) => None,
        });
        let (mut pieces, mut reached) = (Vec::new(), from);
        for run in runs.take(4) {
            // As a log behind a segment that is gone: whether it was recycled, or is lost, it cannot tell.
            if run.first_index > reached {
                let cause = MissingCause::Damaged;
                pieces.push(Piece::Missing { from: reached, to: run.first_index, cause });
            }
            reached = run.end_index();
            pieces.push(Piece::Run(run));
        }
        pieces
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
        self.input(now, if is_up { Input::LinkUp { link, losses: true } } else { Input::LinkDown { link } });
    }

    /// How many facts it knows.
    #[must_use]
    pub fn facts(&self) -> u64 {
        self.relay.as_ref().map_or(0, |relay| relay.fact_count() as u64)
    }

    /// All facts that it knows, while it runs.
    #[must_use]
    pub fn known(&self) -> Option<BTreeMap<(usize, u64), String>> {
        self.relay.as_ref().map(Relay::known_facts)
    }

    /// How often it found a neighbour to know something else without news on its way.
    #[must_use]
    pub fn differed(&self) -> u64 {
        self.relay.as_ref().map_or(0, Relay::differed)
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
            if self.is_synced() {
                self.sync_by = None;
            }
            self.input(now, Input::Durable { through: EntryNumber(through as u64) });
            self.end_snapshot();
        }
    }

    /// Asks for some more parts of a snapshot: the parts are of different moments, and what they include
    /// may wait for the disk.
    pub fn go_on_with_snapshot(&mut self, now: Now, parts: usize) {
        if self.shards.is_empty() {
            self.noted = self.released.clone();
        }
        for _ in 0..parts {
            let shard = self.shards.len() as u32;
            if self.is_up() && shard < crate::relay::SHARDS {
                self.input(now, Input::Snapshot { shard });
            }
        }
        self.end_snapshot();
    }

    /// Whether some of its parts are there.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        !self.shards.is_empty()
    }

    /// It is there when all that its parts include is on the disk.
    fn end_snapshot(&mut self) {
        let reached = EntryNumber(self.durable as u64);
        let is_whole = self.shards.len() == crate::relay::SHARDS as usize;
        if is_whole && self.shards.iter().all(|(through, _)| *through <= reached) {
            self.replace_snapshot();
        }
    }

    /// A snapshot is on its disk, and with it what was let go when it was begun: that can be overwritten.
    fn replace_snapshot(&mut self) {
        self.snapshot = Snapshot { shards: std::mem::take(&mut self.shards) };
        let known = std::mem::take(&mut self.noted);
        self.recycle(&known);
    }

    /// Runs that were let go up to these places, and that no start reads again, are not on its disk any
    /// more. A disk does that by whole segments, and later.
    fn recycle(&mut self, known: &BTreeMap<GroupNumber, Index>) {
        let covered = self.snapshot.shards.iter().map(|(through, _)| through.0).min().unwrap_or(0);
        let is_gone = |(group, end): &(GroupNumber, Index), place: &mut usize| {
            (*place as u64) < covered && known.get(group).is_some_and(|below| end <= below)
        };
        self.recycled.extend(self.places.extract_if(.., is_gone).map(|(end, _)| end));
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
        self.noted = self.released.clone();
        for shard in 0..crate::relay::SHARDS {
            self.input(now, Input::Snapshot { shard });
        }
        if self.is_synced() {
            self.replace_snapshot();
        }
    }

    /// Where a message is on its disk, or was before it was let go.
    #[must_use]
    pub fn truth(&self, payload: &str) -> Option<Truth> {
        let texts = |run: &crate::log::RunEntry| -> Vec<String> {
            if run.run.header.kind != RunKind::Data {
                return Vec::new();
            }
            let records = Records::new(&run.run.body).map_while(Result::ok);
            records.map(|record| String::from_utf8_lossy(record.payload).into_owned()).collect()
        };
        let mut before: Vec<(GroupNumber, String)> = Vec::new();
        for (place, entry) in self.log.iter().enumerate() {
            let Entry::Run(run) = entry else { continue };
            for (number, text) in texts(run).into_iter().enumerate() {
                if text != payload {
                    before.push((run.group, text));
                    continue;
                }
                let index = run.first_index.after(number as u64);
                return Some(Truth {
                    index,
                    arrived: run.arrived,
                    from: self.came.get(&place).cloned(),
                    is_durable: place < self.durable,
                    is_held: self.released.get(&run.group).is_none_or(|below| index >= *below)
                        && !self.recycled.contains(&(run.group, run.stored().end_index())),
                    before: before
                        .into_iter()
                        .filter(|(of, _)| *of == run.group)
                        .map(|(_, text)| text)
                        .collect(),
                });
            }
        }
        None
    }

    /// Whether it runs and serves a subscription.
    #[must_use]
    pub fn serves(&self, group: &GroupName, name: &SubscriptionName) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.serves(group, name))
    }

    /// Whether it runs and a subscription is on its way to or from it.
    #[must_use]
    pub fn has_moves(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::has_moves)
    }

    /// Whether it runs and remembers anything of a move.
    #[must_use]
    pub fn remembers_moves(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::remembers_moves)
    }
}

/// Whether a message is in a run.
fn has(run: &RunEntry, payload: &str) -> bool {
    holds(&run.run, payload)
}

fn holds(run: &Run, payload: &str) -> bool {
    run.body.windows(payload.len()).any(|part| part == payload.as_bytes())
}

impl Node {
    /// All messages that were ever inserted, in order.
    pub fn messages(&self) -> impl Iterator<Item = String> + '_ {
        let runs = self.log.iter().filter_map(|entry| match entry {
            Entry::Run(run) if run.run.header.kind == RunKind::Data => Some(&run.run.body),
            Entry::Run(_) | Entry::State(_) => None,
        });
        let records = runs.flat_map(|body| crate::wire::run::Records::new(body).map_while(Result::ok));
        records.map(|record| String::from_utf8_lossy(record.payload).into_owned())
    }

    /// How many records LOSS it has.
    #[must_use]
    pub fn losses(&self) -> usize {
        let is_loss =
            |entry: &&Entry| matches!(entry, Entry::Run(run) if run.run.header.kind == RunKind::Loss);
        self.log.iter().filter(is_loss).count()
    }

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
                has(run, payload).then(|| format!("has it at {} from link {}", run.first_index, run.link))
            }
            Entry::State(_) => None,
        };
        let found = self.log.iter().find_map(place);
        let relay = self.relay.as_ref().map(Relay::explain).unwrap_or_default();
        format!("{} {}{relay}", self.name, found.unwrap_or_else(|| "does not have it".to_owned()))
    }
}
