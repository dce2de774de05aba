//! From the disk back to a running relay, and the snapshots that make it short.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::books::Retired;
use super::circuit::Circuits;
use super::confirm::Confirmations;
use super::forget::Forgot;
use super::group::{Group, GroupBooks};
use super::input::Now;
use super::journal::Journal;
use super::link::Links;
use super::loss::{self, TailCut};
use super::order::Arrival;
use super::pull::Pulls;
use super::rejected::Rejected;
use super::repair::Repairs;
use super::salvage::Salvage;
use super::saved::{Counters, SavedGroup, Shard};
use super::state::{Operation, RestoreError, State, shard_of};
use super::stream::Stream;
use super::subscription::{Removal, Subscription, SubscriptionKey, subscription_from};
use super::table::Groups;
use super::timer::{Timer, Timers};
use super::topology::Topologies;
use super::traces::Traces;
use super::trees::Trees;
use super::whereabouts::Questions;
use super::{Effect, Relay, RelayOptions, SHARDS, keeping};
use crate::id::{
    Epoch, GroupName, GroupNumber, Index, LinkId, RelayId, Sequence, StreamNumber, Time, WallTime,
};
use crate::log::{Cut, EntryNumber, Replayed, Snapshot};
use crate::wire::link::{NameEntry, Version};
use crate::wire::run::{RUN_HEADER_BYTES, Run, RunHeader, RunKind};

/// How far each part of the snapshot reaches; only needed during a replay.
#[derive(Debug)]
pub struct Restore {
    relay: Relay,
    through: Vec<EntryNumber>,
    salvage: Option<Salvage>,
    cut: Option<Cut>,
}

impl Restore {
    /// Begins with a snapshot, empty for a new relay. `last` is the last entry of the log.
    ///
    /// # Errors
    /// When the snapshot is not one that this code wrote.
    pub fn new(options: RelayOptions, last: EntryNumber, snapshot: &Snapshot) -> Result<Self, RestoreError> {
        let links = Links::new(&options.links);
        let mut relay = Relay {
            options,
            groups: Groups::default(),
            names: HashMap::default(),
            names_known: 0,
            removed: BTreeMap::new(),
            counters: Counters::default(),
            forgotten: BTreeMap::new(),
            cuts: Vec::new(),
            renewed: None,
            has_renewed: false,
            has_holes: false,
            warned: super::warnings::Warned::default(),
            sessions: BTreeMap::new(),
            links,
            topologies: Topologies::default(),
            trees: Trees::default(),
            confirmations: Confirmations::default(),
            circuits: Circuits::default(),
            questions: Questions::default(),
            traces: Traces::default(),
            behind: super::behind::Behind::default(),
            ready_links: BTreeSet::new(),
            receipts_due: BTreeMap::new(),
            quotas_due: BTreeSet::new(),
            wants_due: BTreeSet::new(),
            journal: Journal::after(last),
            effects: VecDeque::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            dead: VecDeque::new(),
            rejected: Rejected::default(),
            dirty: Vec::new(),
            dirty_since: None,
            touched: BTreeSet::new(),
            hearing: None,
            books: GroupBooks::default(),
            retired: Retired::default(),
            room: true,
            pulls: Pulls::default(),
            repairs: Repairs::default(),
            losses: super::lost::Losses::default(),
            moves: BTreeSet::new(),
            copies: BTreeSet::new(),
            remnants: BTreeMap::new(),
            starved: BTreeSet::new(),
            stopping: false,
            draining: false,
        };
        let mut through = vec![EntryNumber(0); SHARDS as usize];
        if !snapshot.shards.is_empty() && snapshot.shards.len() != SHARDS as usize {
            let found = snapshot.shards.len();
            return Err(RestoreError::Format(format!("a snapshot of {found} parts, not {SHARDS}")));
        }
        for ((number, bytes), place) in snapshot.shards.iter().zip(&mut through) {
            *place = *number;
            relay.load_shard(bytes)?;
        }
        relay.count_traces();
        Ok(Self { relay, through, salvage: None, cut: None })
    }

    /// The log has lost `entries` that were durable: what the rest of it says
    /// about them is believed, instead of being a contradiction. Call it before
    /// the replay. Without it, an entry that does not fit is an error.
    pub fn tolerate_loss(&mut self, entries: u64) {
        if entries > 0 {
            self.salvage = Some(Salvage::new(entries, &self.relay));
        }
    }

    /// The log has cut a last block that may have been durable: the relay will say so, in its log,
    /// to its subscribers and in its status.
    pub fn note_cut(&mut self, cut: &Cut) {
        self.cut = Some(cut.clone());
    }

    /// The text of the topology file that the relay is started with: what it goes by until one is
    /// applied. Its links are in the options.
    pub fn set_topology(&mut self, text: String) {
        self.relay.set_topology_file(text);
    }

    /// Takes in an entry of the log, in order. What the snapshot includes already is passed over.
    ///
    /// # Errors
    /// When the entry contradicts what came before it, and nothing was lost.
    pub fn replay(&mut self, number: EntryNumber, replayed: Replayed) -> Result<(), RestoreError> {
        let through = &self.through;
        let known = |group: GroupNumber| through.get(shard_of(group) as usize).is_some_and(|t| number <= *t);
        match replayed {
            Replayed::Run { group, stream, first_index, arrived, link, header, body } => {
                if known(group) {
                    return Ok(());
                }
                if let Some(salvage) = &mut self.salvage {
                    salvage.make_room(&mut self.relay, (group, stream), first_index, &header);
                }
                self.relay.replay_run((group, stream), first_index, (arrived, link), &Run { header, body })
            }
            Replayed::State(bytes) => match State::decode(bytes)? {
                State::Operation(operation) => {
                    // It is about the groups of all parts.
                    if let Operation::TailCut { groups, .. } = &*operation {
                        self.relay.suspect(groups.as_deref(), &|group| !known(group));
                    }
                    if let Operation::RelayForgotten { relay, version, .. } = &*operation {
                        self.relay.replay_forgotten(relay, *version, &|group| !known(group));
                    }
                    if let Operation::GroupRemoved { brought: Some(brought), .. } = &*operation
                        && !known(brought.group)
                    {
                        self.relay.take_accounts(brought);
                    }
                    if matches!(*operation, Operation::StorageRenewed { .. }) {
                        let parts = self.relay.parts();
                        self.relay.suspect(None, &|group| parts.contains(&group) && !known(group));
                    }
                    if known(operation.group()) {
                        return Ok(());
                    }
                    if let Some(salvage) = &mut self.salvage {
                        salvage.before(&mut self.relay, &operation);
                    }
                    self.relay.apply(*operation, true)
                }
                State::Passed(at, mut list) => {
                    list.retain(|passed| !known(passed.group));
                    self.relay.take_passed(at, &list);
                    Ok(())
                }
                State::Cursors(cursors) => {
                    for cursor in cursors.into_iter().filter(|c| !known(c.group)) {
                        let key = SubscriptionKey { group: cursor.group, number: cursor.subscription };
                        let counters = &mut self.relay.counters;
                        counters.subscriptions = counters.subscriptions.max(key.number.0);
                        if let Some(subscription) = self.relay.groups.subscription(key) {
                            cursor.apply(subscription);
                        }
                    }
                    Ok(())
                }
            },
        }
    }

    /// Whether the disk is that of the relay that is to be started from it.
    ///
    /// # Errors
    /// Names the relay whose disk it is.
    pub fn check_name(&self) -> Result<(), RestoreError> {
        let now = &self.relay.options.relay;
        self.relay.name_on_disk().map_or(Ok(()), |was| Err(RestoreError::Name { was, now: now.clone() }))
    }

    /// When the last message arrived that the log knows of, by the relay's own wall clock; 0 when
    /// there is none.
    #[must_use]
    pub fn last_arrival(&self) -> WallTime {
        self.relay.groups.iter().map(|group| group.meter.last_arrived()).max().unwrap_or_default()
    }

    /// What is let go of all groups, as every start from this disk will know it whatever is appended: what the
    /// snapshot says. What [`Restore::start`] lets go may be more, if nobody is known to be owed it: another
    /// start may know somebody.
    #[must_use]
    pub fn released(&self) -> Vec<(GroupNumber, Index)> {
        let low = self.relay.groups.iter().map(|group| (group.number, group.low));
        let low = low.filter(|(_, below)| *below > Index(1));
        let gone = self.relay.numbers_gone();
        low.chain(gone.into_iter().map(|number| (number, Index(u64::MAX)))).collect()
    }

    /// The replay is over: gives the running relay, with effects that tell the log what may go.
    #[must_use]
    pub fn start(self, now: Now) -> Relay {
        let mut relay = self.relay;
        relay.restore_topology(now);
        relay.find_returned();
        if let Some(salvage) = self.salvage {
            salvage.finish(&mut relay);
            relay.has_holes = true;
            relay.forget_all_traces(now);
        }
        let spread: Vec<GroupNumber> =
            relay.groups.iter().filter(|group| group.spread.is_some()).map(|group| group.number).collect();
        spread.into_iter().for_each(|number| relay.plan(number));
        let names = relay.groups.iter().filter_map(|group| group.spread.as_deref());
        relay.names_known = names.map(|spread| spread.names.subscriptions.len()).sum();
        // What is let go below depends on it: finished streams of a name with two homes are kept.
        relay.watch_twins();
        relay.recall_brought();
        let mut releases = Vec::new();
        for group in relay.groups.iter_mut() {
            (group.durable, group.begun) = (group.next, group.next);
            group.streams.iter_mut().for_each(|stream| stream.durable = stream.last);
            group.settled = group.owed_here();
            for subscription in &mut group.subscriptions {
                subscription.ackable = group.next;
            }
            if let Some(order) = &mut group.order {
                order.start(now, group.settings.producer_hold_ms());
                if let Some(at) = order.deadline() {
                    relay.timers.set(Timer::Order(group.number), at);
                }
            }
            let release = group.owed().min(group.history(now.wall)).max(group.low);
            keeping::let_go(group, release);
            releases.push((group.number, release));
        }
        for (group, below) in releases {
            if below > Index(1) {
                relay.effects.push_back(Effect::Release { group, below });
            }
            relay.touched.insert(group);
        }
        let all: Vec<GroupNumber> = relay.groups.iter().map(|group| group.number).collect();
        for number in all {
            relay.release_annexes(number);
            relay.note_quota(now, number);
        }
        for group in relay.numbers_gone() {
            relay.effects.push_back(Effect::Release { group, below: Index(u64::MAX) });
        }
        relay.timers.set(Timer::Housekeeping, keeping::first_housekeeping(now.time));
        if let Some(cut) = &self.cut {
            relay.note_cut(now, cut);
        }
        relay.watch_origins(now);
        relay.tell_uncertain(now);
        relay.find_remnants();
        relay.watch_all_moves(now);
        relay.take_file(now);
        relay.begin_hearing(now);
        relay
    }
}

impl Relay {
    /// Numbers of groups and annexes that are no more.
    fn numbers_gone(&self) -> Vec<GroupNumber> {
        let all = (1..=self.counters.groups).map(GroupNumber);
        let is_gone = |number: &GroupNumber| {
            self.groups.get(*number).is_none() && !self.repairs.annexes.contains_key(number)
        };
        all.filter(is_gone).collect()
    }

    fn load_shard(&mut self, bytes: &Bytes) -> Result<(), RestoreError> {
        let shard = Shard::decode(bytes)?;
        self.counters = self.counters.max(shard.counters);
        self.links.has_table |= shard.has_table;
        if let Some(storage) = shard.renewed {
            self.take_storage(storage);
        }
        self.links.table_on_disk |= shard.has_table;
        shard.topologies.into_iter().for_each(|entry| self.topologies.keep(entry));
        self.cuts.extend(shard.cuts);
        self.forgotten.extend(shard.forgotten);
        self.traces.links.extend(shard.links);
        self.traces.forgotten_before = self.traces.forgotten_before.max(shard.forgotten_before);
        for (name, number, incarnation) in shard.removed {
            self.note_over(name, number, incarnation);
        }
        for saved in shard.groups {
            let mut group = saved.restore()?;
            if !shard.tells_starts {
                group.forget_starts();
            }
            if group.remnant.is_some() {
                self.add_remnant(group);
                continue;
            }
            for subscription in group.subscriptions.iter().filter(|s| !s.is_arriving()) {
                self.names.insert((group.number, subscription.name.clone()), subscription.number);
            }
            for annex in &group.annexes {
                self.repairs.annexes.insert(annex.number, group.number);
            }
            self.groups.insert(group);
        }
        Ok(())
    }

    /// Gives a part of the state to the shell.
    pub(super) fn save_shard(&mut self, shard: u32) {
        let is_first = shard == shard_of(GroupNumber(0));
        let saved = Shard {
            counters: self.counters,
            has_table: self.links.has_table && !self.is_alone(),
            tells_starts: true,
            groups: self.groups.iter().filter(|g| shard_of(g.number) == shard).map(SavedGroup::of).collect(),
            removed: self
                .removed
                .iter()
                .filter(|(_, (number, _))| shard_of(*number) == shard)
                .map(|(name, (number, incarnation))| (name.clone(), *number, *incarnation))
                .collect(),
            cuts: if is_first { self.cuts.clone() } else { Vec::new() },
            forgotten: if is_first { self.forgotten_list() } else { Vec::new() },
            links: if is_first { self.traces.links.clone() } else { Vec::new() },
            forgotten_before: self.traces.forgotten_before.filter(|_| is_first),
            renewed: self.renewed.filter(|_| is_first),
            topologies: if is_first { self.topologies.kept() } else { Vec::new() },
        };
        let (through, bytes) = (self.journal.last(), saved.encode());
        self.effects.push_back(Effect::Shard { shard, through, bytes });
    }

    fn replay_run(
        &mut self,
        (number, stream): (GroupNumber, crate::id::StreamNumber),
        first_index: Index,
        (arrived, link): (WallTime, LinkId),
        run: &Run,
    ) -> Result<(), RestoreError> {
        let header = &run.header;
        let me = self.options.relay.clone();
        let contradiction = |what: String| Err(RestoreError::Contradiction(what));
        let Some(group) = self.groups.get_mut(number) else { return Ok(()) };
        if group.remnant.is_some() {
            group.go_to(first_index);
        }
        if first_index != group.next {
            let message =
                format!("group `{}` ends at {}, a run begins at {first_index}", group.name, group.next);
            return contradiction(message);
        }
        let name = group.name.clone();
        let end = first_index.after(u64::from(header.count));
        group.next = end;
        if header.kind != RunKind::Data && super::lost::in_place(run).is_none() {
            group.mark(first_index, header.count);
        }
        let bytes = RUN_HEADER_BYTES as u64 + u64::from(header.body_bytes);
        group.meter.insert(first_index, end, bytes, arrived);
        replay_producer(group, first_index, (arrived, link), header);
        let since = group.member_for();
        let is_remnant = group.remnant.is_some();
        let Some(stream) = group.stream(stream) else {
            return contradiction(format!("a run of stream {stream}, which group `{name}` does not have"));
        };
        if !is_remnant && (header.first != stream.last.next() || header.chain != stream.chain) {
            let message = format!(
                "stream {} of group `{name}` ends at {}, a run begins at {}",
                stream.number, stream.last, header.first
            );
            return contradiction(message);
        }
        stream.note(run);
        let tells_loss = stream.origin == me && loss::is_uncertain(run);
        stream.note_membership((&me, since), run);
        stream.note_place(header.first, first_index);
        stream.end = end;
        let number = stream.number;
        if tells_loss && let Some(traffic) = &mut group.traffic {
            traffic.uncertain = None;
        }
        self.traces.note_run(group, (number, link), (first_index, arrived), header);
        Ok(())
    }

    /// Applies an operation: one that was just decided, or one that is read again.
    pub(super) fn apply(&mut self, operation: Operation, replay: bool) -> Result<(), RestoreError> {
        match operation {
            Operation::GroupCreated { group, name, incarnation, queue, settings, at } => {
                self.counters.groups = self.counters.groups.max(group.0);
                let mut made = Group::new(group, name, incarnation, at);
                made.queue = queue;
                made.settings = settings;
                made.heed_fifo();
                self.groups.insert(made);
            }
            Operation::GroupSet { group, settings, planned } => self.with_group(group, |group| {
                group.replay_settings(settings);
                group.planned = planned.or(group.planned);
            }),
            Operation::GroupRemoved { group, .. } => self.forget_group(group),
            Operation::MemberSet { group, relay, version, member } => {
                self.replay_member(group, &relay, (version, member));
            }
            Operation::OriginSet { group, relay, version, active } => {
                self.replay_origin(group, &relay, (version, active));
            }
            Operation::GroupEntrySet { group, version, settings, home } => {
                self.replay_entry(group, version, *settings, home);
            }
            Operation::NameSet { group, name, home, version, spec } => {
                self.with_group(group, |group| {
                    group.set_name(&NameEntry { group: group.id(), name, home, version, spec });
                });
            }
            Operation::NameRemoved { name, incarnation } => self.note_removed(name, incarnation),
            Operation::StreamMoved { group, stream, last, chain, owed } => {
                self.shift_stream((group, stream), (last, chain), owed);
            }
            Operation::GroupRemade { group } => self.with_group(group, Group::replay_remade),
            Operation::EpochsFinished { group, origin, storage, through } => {
                self.with_group(group, |group| _ = group.finish(&origin, storage, through));
            }
            Operation::RelayForgotten { relay, version, by, at, is_back } => {
                self.forgotten.insert(relay, Forgot { version, by, at, is_back });
            }
            Operation::LinkNamed { link, neighbour, at } => self.traces.name_link(at, link, neighbour),
            Operation::AnnexBegun { group, annex } => self.add_annex(group, annex),
            Operation::StorageRenewed { storage } => self.take_storage(storage),
            Operation::StreamForgiven { group, stream, to } => self.forgive((group, stream), to),
            Operation::TableLearned => self.links.learn_table(),
            Operation::TopologySet { entry } => self.topologies.keep(*entry),
            Operation::TailCut { boot, at, entries, groups } => {
                self.add_cut(TailCut { boot, at, entries, messages: loss::total(groups.as_deref()) });
            }
            Operation::StreamOpened { group, stream, origin, epoch } => {
                self.add_stream((group, stream), origin, epoch);
            }
            Operation::SubscriptionCreated { .. } => self.replay_subscription(operation, replay)?,
            Operation::SubscriptionArriving { .. } => self.replay_arriving(operation, replay)?,
            Operation::SubscriptionArrived { group, subscription, done, at, again } => {
                self.replay_arrived(SubscriptionKey { group, number: subscription }, (*done, at), again);
            }
            Operation::RemnantBegun { .. }
            | Operation::RemnantPasses { .. }
            | Operation::RemnantOpened { .. } => self.replay_of_remnant(operation, replay)?,
            Operation::QueueHome { group, here } => self.with_group(group, |group| group.queue = here),
            Operation::SubscriptionMoving { .. }
            | Operation::SubscriptionMerging { .. }
            | Operation::SubscriptionMerged { .. } => self.replay_moving(operation, replay),
            Operation::SubscriptionRemoved { group, subscription, evicted, elsewhere } => {
                self.take_subscription(SubscriptionKey { group, number: subscription }, (evicted, elsewhere));
            }
        }
        Ok(())
    }

    fn replay_subscription(&mut self, operation: Operation, replay: bool) -> Result<(), RestoreError> {
        let Operation::SubscriptionCreated {
            group,
            subscription,
            name,
            shared,
            filter,
            window,
            start,
            not_before,
            remade,
            replays,
        } = operation
        else {
            return Ok(());
        };
        let how = (shared, filter.as_deref(), window);
        let mut made = subscription_from((subscription, name), how, (start, not_before))?;
        (made.remade, made.replays) = (remade, replays);
        self.add_subscription(group, made, replay);
        Ok(())
    }

    fn with_group(&mut self, group: GroupNumber, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.get_mut(group) {
            change(group);
        }
    }

    fn replay_member(&mut self, group: GroupNumber, relay: &RelayId, (version, member): (Version, bool)) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if *relay == self.options.relay {
            let before = group.spread().parts.members.get(relay).copied();
            // A membership that goes on was only said again, above what others knew of it, or by another
            // storage id: what it is owed since before that it still is.
            let begins_anew = std::mem::take(&mut group.begins_anew);
            let goes_on = !begins_anew && before.is_some_and(|(_, was)| was && member);
            if goes_on {
                group.membership = group.membership.max(version.counter);
            } else {
                group.raise_membership(version.counter);
            }
        }
        group.spread().parts.set_member(relay, version, member);
        if !member && *relay != self.options.relay {
            group.drop_marks(&self.options.relay, relay);
        }
    }

    /// Adds an empty stream to its group.
    pub(super) fn add_stream(
        &mut self,
        (group, stream): (GroupNumber, StreamNumber),
        origin: RelayId,
        epoch: Epoch,
    ) {
        self.counters.streams = self.counters.streams.max(stream.0);
        let Some(group) = self.groups.get_mut(group) else { return };
        let id = (&group.name, group.incarnation);
        let mut made = Stream::new(stream, id, origin, epoch, group.next);
        // Nobody writes on in one that was copied.
        made.sealed = group.remnant.is_some();
        group.streams.push(made);
    }

    /// A stream goes on behind what was released before it came here; if that is owed to this
    /// relay whatever is lost, it is noted.
    pub(super) fn shift_stream(
        &mut self,
        (group, stream): (GroupNumber, StreamNumber),
        (last, chain): (Sequence, u64),
        owed: bool,
    ) {
        let Some(stream) = self.groups.get_mut(group).and_then(|group| group.stream(stream)) else { return };
        stream.move_to(last, chain);
        if owed {
            stream.owe(&self.options.relay);
        }
    }

    pub(super) fn add_subscription(&mut self, group: GroupNumber, mut made: Subscription, replay: bool) {
        self.counters.subscriptions = self.counters.subscriptions.max(made.number.0);
        let Some(group) = self.groups.get_mut(group) else { return };
        made.replays |= group.queue || made.start < group.next || made.not_before > WallTime(0);
        if replay && group.subscriptions.is_empty() {
            group.membership += 1;
            (group.member_since, group.begins_anew) = (group.membership, true);
        }
        made.gaps.extend(group.take_evicted(&made.name, made.start));
        made.before = group.before(made.start);
        if !made.is_arriving() {
            self.names.insert((group.number, made.name.clone()), made.number);
        }
        group.subscriptions.push(Box::new(made));
    }

    fn take_subscription(&mut self, key: SubscriptionKey, (evicted, elsewhere): (Option<Index>, bool)) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let removed = group.subscriptions.remove(place);
        let removal = match (evicted, elsewhere) {
            (Some(_), _) => Removal::Evicted,
            (None, true) => Removal::Elsewhere,
            (None, false) => Removal::Wanted,
        };
        self.traces.note_gone(group, &removed, removal);
        if !removed.is_arriving() {
            self.names.remove(&(group.number, removed.name.clone()));
        }
        if let Some(from) = evicted {
            group.note_evicted(removed.name, from);
        }
        group.end_membership();
    }

    /// A life of a name is over: the highest one counts, in whatever order they are read. It is kept in the part
    /// of the snapshot to which the operation belongs that says so: that of the group, or of none.
    pub(super) fn note_over(&mut self, name: GroupName, number: GroupNumber, incarnation: u32) {
        let known = self.removed.entry(name).or_insert((number, incarnation));
        if known.1 <= incarnation {
            *known = (number, incarnation);
        }
    }

    /// Takes a group out of all tables; its incarnation is kept, so that a new one is told apart.
    pub(super) fn forget_group(&mut self, number: GroupNumber) {
        let Some(group) = self.groups.remove(number) else { return };
        let names = group.spread.as_deref().map_or(0, |spread| spread.names.subscriptions.len());
        // Nothing while the log is read: they are counted at its end.
        self.names_known = self.names_known.saturating_sub(names);
        self.traces.leave(&group);
        self.trees.forget(number);
        self.confirmations.forget(number);
        self.pulls.forget(number);
        self.losses.forget(number);
        for annex in group.annexes {
            self.drop_annex(annex.number);
        }
        for subscription in group.subscriptions {
            self.names.remove(&(number, subscription.name));
        }
        match group.remnant {
            Some(remnant) => self.forget_remnant(number, remnant.key()),
            None => {
                self.note_over(group.name, number, group.incarnation);
            }
        }
    }
}

/// Remembers of a run that is read again what its producer has put.
fn replay_producer(
    group: &mut Group,
    first_index: Index,
    (arrived, link): (WallTime, LinkId),
    header: &RunHeader,
) {
    // What is put here comes over no link; streams of a disk that this relay has lost do.
    let is_own = link == LinkId(0);
    if let Some((id, _)) = header.producer {
        let idle_max_ms = group.settings.producer_idle_max_ms();
        group.traffic().producers.forget_if_idle(id, arrived, idle_max_ms);
    }
    let arrival = Arrival { wall: arrived, until: Time(u64::MAX) };
    if let Some(order) = &mut group.order {
        order.expire_at(arrived, group.settings.producer_hold_ms());
    }
    match header.producer {
        // Repeats never come into an own stream.
        Some((id, first)) if is_own && group.remnant.is_none() => {
            let put = (header.accepted, false);
            group.traffic().producers.put((id, first), first_index, header.count, put);
            group.note_order(first_index, (id, first), header.count, arrival);
        }
        Some((id, first)) if group.remnant.is_some() => {
            group.note_order(first_index, (id, first), header.count, arrival);
        }
        Some(_) => group.note_producer(first_index, header, arrival),
        None => {}
    }
}
