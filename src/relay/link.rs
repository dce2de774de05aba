//! Links to neighbours: which are up, what is on its way, and what comes in.
//!
//! A link is symmetrical: both ends flood facts ([`super::facts`]) and both send what the other
//! lacks of the groups whose tree it is part of ([`super::forward`]). When it comes up each end
//! says all facts that it knows; from then on only news.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effect::Effect;
use super::input::Now;
use super::{Relay, facts};
use crate::id::{GroupNumber, LinkId, RelayId, StreamNumber, Time};
use crate::limits;
use crate::wire::body::LinkCounts;
use crate::wire::link::{LinkMessage, LinkState};

/// A link as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// Its number: never 0.
    pub link: LinkId,
    /// The relay at the other end.
    pub neighbour: RelayId,
    /// What it costs to use it, at least 1.
    pub cost: u32,
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) neighbour: RelayId,
    pub(super) cost: u32,
    pub(super) is_up: bool,
    /// Since when it is up, or down; 0 is the start of the relay.
    pub(super) since: Time,
    /// How often it went down.
    pub(super) downs: u64,
    /// What it has carried since the start of the relay.
    pub(super) counts: LinkCounts,
    /// Bytes given to its writer since it came up.
    sent: u64,
    /// Bytes that its writer has handed to the socket.
    written: u64,
    /// Streams whose names the neighbour has been told.
    named: BTreeSet<StreamNumber>,
    /// What the neighbour's numbers stand for here.
    pub(super) theirs: BTreeMap<StreamNumber, (GroupNumber, StreamNumber)>,
    /// Groups that wait until more was written.
    blocked: VecDeque<GroupNumber>,
}

impl Link {
    /// Whether more may be put on its way.
    pub(super) fn is_writable(&self) -> bool {
        self.is_up && self.waiting_bytes() < limits::LINK_OUT_BYTES_MAX
    }

    /// Bytes that are not with the socket yet.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.sent - self.written
    }

    /// The group goes on when more was written.
    pub(super) fn block(&mut self, group: GroupNumber) {
        if !self.blocked.contains(&group) {
            self.blocked.push_back(group);
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
        (self.sent, self.written) = (0, 0);
        self.named.clear();
        self.theirs.clear();
        self.blocked.clear();
    }
}

/// All links of a relay, and what it knows of the others.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) table: BTreeMap<LinkId, Link>,
    /// The newest link state of every relay, this one's own among them.
    pub(super) states: BTreeMap<RelayId, LinkState>,
    /// The link that leads towards each relay that can be reached.
    pub(super) toward: BTreeMap<RelayId, LinkId>,
    /// Groups of which a disk that this relay has lost was a member, until all names are told.
    pub(super) disowned: BTreeSet<GroupNumber>,
    /// Streams that were forgotten, until their names are.
    pub(super) forgotten: Vec<StreamNumber>,
    /// Whether this storage has a table of memberships: its own to begin with, or a neighbour's.
    pub(super) has_table: bool,
    /// Whether a neighbour has told all that it knows since this relay was started, if it has any.
    pub(super) has_heard: bool,
}

impl Links {
    pub(super) fn new(options: &[LinkOptions]) -> Self {
        let link = |o: &LinkOptions| {
            let link = Link {
                neighbour: o.neighbour.clone(),
                cost: o.cost.max(1),
                is_up: false,
                since: Time(0),
                downs: 0,
                counts: LinkCounts::default(),
                sent: 0,
                written: 0,
                named: BTreeSet::new(),
                theirs: BTreeMap::new(),
                blocked: VecDeque::new(),
            };
            (o.link, link)
        };
        Self {
            table: options.iter().map(link).collect(),
            states: BTreeMap::new(),
            toward: BTreeMap::new(),
            disowned: BTreeSet::new(),
            forgotten: Vec::new(),
            has_table: options.is_empty(),
            has_heard: options.is_empty(),
        }
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
        state.sent += bytes;
        state.counts.sent.bytes += bytes;
        self.effects.push_back(Effect::Link { link, message });
    }

    pub(super) fn handle_link_up(&mut self, now: Now, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.reset(true, now.time);
        self.rebuild_origins(now);
        self.rebuild_names();
        let known = self.all_facts();
        for facts in known.chunks(facts::CHUNK) {
            self.say(link, LinkMessage::Facts(facts.to_vec()));
        }
        self.say(link, LinkMessage::FactsEnd);
        self.announce_links(now);
    }

    pub(super) fn handle_link_down(&mut self, now: Now, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.reset(false, now.time);
        self.leave_trees(link);
        self.announce_links(now);
    }

    pub(super) fn handle_link_cost(&mut self, now: Now, link: LinkId, cost: u32) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        if std::mem::replace(&mut state.cost, cost.max(1)) != cost.max(1) {
            self.announce_links(now);
        }
    }

    pub(super) fn handle_link_written(&mut self, link: LinkId, total: u64) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.written = state.written.max(total).min(state.sent);
        if state.is_writable() {
            for group in std::mem::take(&mut state.blocked) {
                self.enqueue_reader(group, link);
            }
        }
    }

    /// What a neighbour says over a link that is down is late, and means nothing.
    pub(super) fn handle_link(&mut self, now: Now, link: LinkId, message: LinkMessage) {
        let Some(state) = self.links.table.get_mut(&link).filter(|state| state.is_up) else { return };
        state.counts.received.bytes += message.bytes();
        match message {
            LinkMessage::Facts(facts) => self.learn(now, link, facts),
            LinkMessage::FactsEnd => self.on_facts_end(now),
            LinkMessage::Seen { group, streams, why } => self.on_seen(now, link, &group, &streams, why),
            LinkMessage::Stream(named) => self.on_stream_named(now, link, named),
            LinkMessage::Receipts(receipts) => self.on_receipts(now, link, receipts),
            LinkMessage::Released(released) => self.on_released(now, link, released),
            LinkMessage::Ask(ask) => self.on_ask(now, link, ask),
            LinkMessage::Confirmed(confirmed) => self.on_confirmed(now, link, confirmed),
            LinkMessage::Finished(finished) => self.on_finished(now, link, finished),
            LinkMessage::Run { stream, age_ms, run } => self.on_run(now, link, (stream, age_ms), run),
            LinkMessage::Circuit(frame) => self.on_carried(now, link, *frame),
            LinkMessage::Deliver { head, deliver, records } => {
                self.on_carried_deliver(now, link, head, (deliver, records));
            }
        }
    }
}
