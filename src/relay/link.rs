//! Links to neighbours: which are up, what is on its way, and what comes in.
//!
//! A link is symmetrical: both ends flood facts ([`super::facts`]) and both send what the other
//! lacks of the groups whose tree it is part of ([`super::forward`]). When it comes up the ends
//! compare what they know ([`super::digest`]); from then on they say only news.

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::behind_facts::BehindFacts;
use super::bucket::{Bucket, Rate};
use super::digest::Digest;
use super::effect::Effect;
use super::input::Now;
use super::turns::Turns;
use crate::id::{GroupNumber, LinkId, RelayId, StreamNumber, Time};
use crate::limits;
use crate::routing::Algorithm;
use crate::wire::body::LinkCounts;
use crate::wire::link::{LinkMessage, LinkState, Version};

/// A link as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// Its number: never 0.
    pub link: LinkId,
    /// The relay at the other end.
    pub neighbour: RelayId,
    /// What it costs to use it, at least 1.
    pub cost: u32,
    /// The most that this relay sends over it; `None`: as much as it takes.
    pub rate: Option<Rate>,
}

/// One link.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) neighbour: RelayId,
    pub(super) cost: u32,
    pub(super) is_up: bool,
    /// Whether the neighbour takes a LOSS that stands in place of several records.
    pub(super) losses: bool,
    /// Since when it is up, or down; 0 is the start of the relay.
    pub(super) since: Time,
    /// How often it went down.
    pub(super) downs: u64,
    /// What it has carried since the start of the relay.
    pub(super) counts: LinkCounts,
    /// The hash over all facts that was said last.
    pub(super) digest: u64,
    /// Whether the neighbour has said its own since the link came up.
    pub(super) has_compared: bool,
    /// What is not to be said before the neighbour knows all facts that are known here.
    pub(super) behind_facts: BehindFacts,
    /// The last hashes that it has said while too much waited for it: what differs from them is told
    /// when there is room.
    pub(super) asked: Option<Vec<u64>>,
    /// Bytes given to its writer since it came up.
    sent: u64,
    /// Bytes among those sent that did not go, since they were packed.
    saved: u64,
    /// The same, in all.
    pub(super) packed: u64,
    /// Bytes that its writer has handed to the socket.
    written: u64,
    /// Streams whose names the neighbour has been told.
    named: BTreeSet<StreamNumber>,
    /// What the neighbour's numbers stand for here.
    pub(super) theirs: BTreeMap<StreamNumber, (GroupNumber, StreamNumber)>,
    /// What may be sent by now, if it has a rate.
    pub(super) bucket: Option<Bucket>,
    /// Groups that wait for their turn.
    pub(super) turns: Turns,
}

impl Link {
    /// A link that is not up yet.
    pub(super) fn new(options: &LinkOptions) -> Self {
        Self {
            neighbour: options.neighbour.clone(),
            cost: options.cost.max(1),
            is_up: false,
            losses: false,
            since: Time(0),
            downs: 0,
            counts: LinkCounts::default(),
            digest: 0,
            has_compared: false,
            behind_facts: BehindFacts::default(),
            asked: None,
            sent: 0,
            saved: 0,
            packed: 0,
            written: 0,
            named: BTreeSet::new(),
            theirs: BTreeMap::new(),
            bucket: options.rate.map(Bucket::new),
            turns: Turns::default(),
        }
    }

    /// Whether more may be put on its way.
    pub(super) fn is_writable(&self) -> bool {
        self.is_up && self.waiting_bytes() < limits::LINK_OUT_BYTES_MAX
    }

    /// Bytes that are not with the socket yet.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.sent - self.written
    }

    /// It is configured with this rate from now on. What was sent beyond the one before is paid for.
    pub(super) fn set_rate(&mut self, now: Time, rate: Option<Rate>) {
        match (&mut self.bucket, rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(now, rate),
            (bucket, rate) => *bucket = rate.map(Bucket::new),
        }
    }

    /// Whether the neighbour is told of this stream for the first time.
    pub(super) fn meets_stream(&mut self, stream: StreamNumber) -> bool {
        self.named.insert(stream)
    }

    /// Streams are forgotten: so are their names, those of the neighbour too.
    pub(super) fn forget_streams(&mut self, forgotten: &BTreeSet<StreamNumber>) {
        self.named.retain(|stream| !forgotten.contains(stream));
        self.theirs.retain(|_, (_, stream)| !forgotten.contains(stream));
    }

    /// Names of streams that are known, for simulations.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn count_names(&self) -> usize {
        self.named.len() + self.theirs.len()
    }

    fn reset(&mut self, is_up: bool, now: Time) {
        self.downs += u64::from(self.is_up && !is_up);
        (self.is_up, self.since) = (is_up, now);
        (self.has_compared, self.asked) = (false, None);
        self.behind_facts = BehindFacts::default();
        (self.sent, self.written, self.saved) = (0, 0, 0);
        self.named.clear();
        self.theirs.clear();
        self.turns.clear();
    }
}

/// All links of a relay, and what it knows of the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    pub(super) table: BTreeMap<LinkId, Link>,
    /// What links had carried that a topology took away, and how often they went down: one that gets its
    /// number again goes on from there.
    pub(super) gone: BTreeMap<LinkId, (LinkCounts, u64)>,
    /// The newest link state of every relay, this one's own among them.
    pub(super) states: BTreeMap<RelayId, LinkState>,
    /// The link that leads towards each relay that can be reached.
    pub(super) toward: BTreeMap<RelayId, LinkId>,
    /// Groups of which a disk that this relay has lost was a member, until all names are told.
    pub(super) disowned: BTreeSet<GroupNumber>,
    /// Streams that were forgotten, until their names are.
    pub(super) forgotten: Vec<StreamNumber>,
    /// Groups whose messages a disk that this relay has lost may have had, until that is told and
    /// durable; with what the lost one had said of itself.
    pub(super) mourned: BTreeMap<GroupNumber, Version>,
    /// Whether this storage has a table of memberships: its own to begin with, or a neighbour's.
    pub(super) has_table: bool,
    /// The time of the input that is being handled.
    pub(super) now: Time,
    /// What is known, as hashes, unless it has changed since.
    pub(super) known: Option<Digest>,
    /// When something was told or heard for the last time.
    pub(super) news_at: Time,
    /// How often a neighbour knew something else although there was no news.
    pub(super) differed: u64,
    /// The newest way to compute trees that this relay speaks.
    pub(super) speaks: Algorithm,
    /// Whether the disk says so.
    pub(super) table_on_disk: bool,
    /// Whether a neighbour has told all that it knows since this relay was started.
    pub(super) has_heard: bool,
}

impl Links {
    pub(super) fn new(options: &[LinkOptions]) -> Self {
        Self {
            table: options.iter().map(|options| (options.link, Link::new(options))).collect(),
            gone: BTreeMap::new(),
            states: BTreeMap::new(),
            toward: BTreeMap::new(),
            disowned: BTreeSet::new(),
            forgotten: Vec::new(),
            mourned: BTreeMap::new(),
            has_table: options.is_empty(),
            now: Time(0),
            known: None,
            news_at: Time(0),
            differed: 0,
            speaks: Algorithm::One,
            table_on_disk: false,
            has_heard: false,
        }
    }

    /// The disk says that this storage has a table of memberships.
    pub(super) fn learn_table(&mut self) {
        (self.has_table, self.table_on_disk) = (true, true);
    }

    /// Whether what it knows of the network may be relied on not to miss what others know: somebody
    /// has told it since it was started, or there is nobody, whatever a topology brings later.
    pub(super) fn has_heard(&self) -> bool {
        self.has_heard || self.table.is_empty()
    }

    /// The links that are up, in order.
    pub(super) fn up(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.table.iter().filter(|(_, link)| link.is_up).map(|(id, _)| *id)
    }

    /// The link to a neighbour, if it is up.
    pub(super) fn to(&self, neighbour: &RelayId) -> Option<LinkId> {
        self.table.iter().find(|(_, link)| link.is_up && link.neighbour == *neighbour).map(|(id, _)| *id)
    }
}

impl Relay {
    /// Says something to a neighbour, if the link is up.
    pub(super) fn say(&mut self, link: LinkId, message: LinkMessage) {
        let Some(state) = self.links.table.get_mut(&link).filter(|state| state.is_up) else { return };
        let bytes = message.bytes();
        if let Some(bucket) = &mut state.bucket {
            bucket.fill(self.links.now);
            if matches!(message, LinkMessage::Run { .. } | LinkMessage::Copy { .. }) {
                bucket.take(bytes);
            } else {
                bucket.take_control(bytes);
            }
        }
        state.sent += bytes;
        state.counts.sent.bytes += bytes;
        self.effects.push_back(Effect::Link { link, message });
    }

    pub(super) fn handle_link_up(&mut self, now: Now, (link, losses): (LinkId, bool)) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.losses = losses;
        state.reset(true, now.time);
        self.note_link(now, link);
        self.rebuild_groups();
        self.rebuild_members();
        self.rebuild_origins(now);
        self.rebuild_names(now);
        self.say_digest(now, link);
        self.announce_links(now);
        self.pull_again(now);
    }

    pub(super) fn handle_link_down(&mut self, now: Now, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.reset(false, now.time);
        self.leave_trees(link);
        self.leave_pulls(now, link);
        self.announce_links(now);
    }

    pub(super) fn handle_link_cost(&mut self, now: Now, link: LinkId, cost: u32) {
        let mut neighbours = self.neighbours().into_iter().flatten();
        if neighbours.any(|neighbour| neighbour.link == link && neighbour.cost.is_some()) {
            // It was measured before the topology came that has set one.
            return;
        }
        let Some(state) = self.links.table.get_mut(&link) else { return };
        if std::mem::replace(&mut state.cost, cost.max(1)) != cost.max(1) {
            self.announce_links(now);
        }
    }

    pub(super) fn handle_link_written(&mut self, link: LinkId, total: u64) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.written = state.written.max(total).min(state.sent);
        self.ready_links.insert(link);
    }

    /// What was packed has taken less of the rate than was counted.
    pub(super) fn handle_link_saved(&mut self, link: LinkId, total: u64) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        let more = total.min(state.sent).saturating_sub(state.saved);
        (state.saved, state.packed) = (state.saved + more, state.packed + more);
        if let Some(bucket) = &mut state.bucket {
            bucket.give(more);
            self.ready_links.insert(link);
        }
    }

    /// What a neighbour says over a link that is down is late, and means nothing.
    pub(super) fn handle_link(&mut self, now: Now, link: LinkId, message: LinkMessage) {
        let Some(state) = self.links.table.get_mut(&link).filter(|state| state.is_up) else { return };
        state.counts.received.bytes += message.bytes();
        match message {
            LinkMessage::Pull(pull) => self.on_pull(now, link, pull),
            LinkMessage::Pulled(pulled) => self.on_pulled(now, link, &pulled),
            LinkMessage::Holds(holds) => self.on_holds(now, link, holds),
            LinkMessage::Digest(theirs) => self.on_digest(now, link, theirs),
            LinkMessage::Buckets(theirs) => self.on_buckets(link, theirs),
            LinkMessage::Facts(facts) => self.learn(now, link, facts),
            LinkMessage::FactsEnd => self.on_facts_end(now),
            LinkMessage::Seen { group, streams, why } => self.on_seen(now, link, &group, &streams, why),
            LinkMessage::Stream(named) => self.on_stream_named(now, link, named),
            LinkMessage::Receipts(receipts) => self.on_receipts(now, link, receipts),
            LinkMessage::Released(released) => self.on_released(now, link, released),
            LinkMessage::Ask(ask) => self.on_ask(now, link, ask),
            LinkMessage::Confirmed(confirmed) => self.on_confirmed(now, link, confirmed),
            LinkMessage::Finished(finished) => self.on_finished(now, link, finished),
            LinkMessage::AskWhere(ask) => self.on_ask_where(now, link, ask),
            LinkMessage::ToldWhere(told) => self.on_told_where(link, told),
            LinkMessage::Run { stream, age_ms, run } => self.on_run(now, link, (stream, age_ms), run),
            LinkMessage::Circuit(frame) => self.on_carried(now, link, *frame),
            LinkMessage::Deliver { head, deliver, records } => {
                self.on_carried_deliver(now, link, head, (deliver, records));
            }
            LinkMessage::Move(frame) => self.on_move(now, link, *frame),
            LinkMessage::Copy { head, run } => self.on_copy(now, link, *head, run),
        }
    }
}
