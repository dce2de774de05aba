//! Looks at every disk and every wire after every step, and says which invariant is broken.
//!
//! A record is known by the hash of its run's header: that covers its body, its sequence and, by
//! the chain, its stream and everything before it. So the invariants can be said without asking a
//! relay what it believes:
//!
//! - I1: what is on its way, or at another relay, was on the disk of its origin first;
//! - I2: after the same prefix of a stream no two different records follow;
//! - I3, I4: no log has a record twice, or goes back in a stream;
//! - I6: a put is answered when its records are on the disk;
//! - I7: a receipt says of its sender what the sender's disk has;
//! - I8: an origin lets nothing go that the disk of a member lacks which was a member before; of a member
//!   that has lost its disk, nothing that was not released when the origin heard of the new one.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;
use crate::id::{GroupName, GroupNumber, Index, LinkId, RelayId, Sequence, StorageId, StreamNumber};
use crate::log::{Entry, RunEntry};
use crate::wire::link::{LinkMessage, Receipt};
use crate::wire::run::{Records, Run, RunHeader, RunKind};

/// What is known of the disk of one relay.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// Entries that were looked at.
    looked: usize,
    /// Entries that were looked at when they were durable.
    durable: usize,
    /// Every record that was appended, by groups of the log: what a subscription brings along is in one of
    /// its own.
    has: BTreeSet<(GroupNumber, u64)>,
    /// Every record that is durable.
    keeps: BTreeSet<u64>,
    /// How far the log goes in each stream; what was fetched again of it is in a group of its own.
    ends: BTreeMap<(GroupNumber, StreamNumber), Sequence>,
    /// The same of what is durable.
    synced: BTreeMap<StreamNumber, Sequence>,
}

/// A relay that has been a member of a group since this put, and is owed what came after it.
#[derive(Clone, Debug)]
struct Owed {
    node: usize,
    group: GroupName,
    since: u64,
}

/// A member has a new disk, and what others still keep is owed to that.
#[derive(Clone, Debug)]
struct NewDisk {
    node: usize,
    relay: RelayId,
    storage: StorageId,
    /// Origins that have heard of it, in which groups.
    heard: BTreeSet<(usize, GroupNumber)>,
    /// What was not released at an origin when it heard of it.
    owed: BTreeSet<(usize, u64)>,
}

/// Everything that was ever seen on disks and wires.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    disks: Vec<Disk>,
    /// Records that were on the disk of their origin.
    born: BTreeSet<u64>,
    /// What follows in a stream on a prefix with this hash, from this sequence on.
    follows: BTreeMap<(u64, u64), u64>,
    owed: Vec<Owed>,
    new_disks: Vec<NewDisk>,
    /// Records that an origin has let everybody know to be released, and may have forgotten since.
    released: BTreeSet<u64>,
    broken: Option<String>,
}

impl Watch {
    pub(super) fn new(nodes: usize) -> Self {
        Self { disks: vec![Disk::default(); nodes], ..Self::default() }
    }

    /// The first invariant that was broken.
    pub(super) fn broken(&self) -> Result<(), String> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn wrong(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A relay is a member, everybody knows, and the puts so far are not for it.
    pub(super) fn member(&mut self, node: usize, group: &GroupName, puts: u64) {
        if !self.owed.iter().any(|owed| owed.node == node && owed.group == *group) {
            self.owed.push(Owed { node, group: group.clone(), since: puts });
        }
    }

    /// A relay is forgotten, or leaves for good: nothing is owed to it.
    pub(super) fn forget(&mut self, node: usize) {
        self.owed.retain(|owed| owed.node != node);
        self.new_disks.retain(|disk| disk.node != node);
    }

    /// A relay has lost its disk: what it had is not owed to it, but for what is still kept when the new
    /// one is heard of.
    pub(super) fn wiped(&mut self, relay: &Node, node: usize, puts: u64) {
        self.crashed(node, &[]);
        self.new_disks.retain(|disk| disk.node != node);
        let (name, storage) = (relay.name.clone(), relay.storage());
        let (heard, owed) = (BTreeSet::new(), BTreeSet::new());
        self.new_disks.push(NewDisk { node, relay: name, storage, heard, owed });
        for owed in self.owed.iter_mut().filter(|owed| owed.node == node) {
            owed.since = puts;
        }
    }

    /// A relay is about to crash: what was released it will not know when it is back.
    pub(super) fn crashes(&mut self, node: &Node) {
        let is_over = |run: &&RunEntry| run.link == LinkId(0) && node.is_released(run);
        let over = node.log().0.iter().filter_map(run_of).filter(is_over);
        self.released.extend(over.map(|run| run.run.header.hash()));
    }

    /// A relay has crashed: its log ends here now.
    pub(super) fn crashed(&mut self, node: usize, log: &[Entry]) {
        self.disks[node] = Disk::default();
        for disk in &mut self.new_disks {
            disk.heard.retain(|(origin, _)| *origin != node);
            disk.owed.retain(|(origin, _)| *origin != node);
        }
        self.look(node, "", log, log.len());
    }

    /// Entries may have been appended to a log, and synced up to `durable`.
    pub(super) fn look(&mut self, node: usize, name: &str, log: &[Entry], durable: usize) {
        for entry in log.get(self.disks[node].looked..).unwrap_or_default() {
            self.disks[node].looked += 1;
            if let Entry::Run(run) = entry {
                self.look_at_append(node, name, run);
            }
        }
        for entry in log.get(self.disks[node].durable..durable).unwrap_or_default() {
            self.disks[node].durable += 1;
            let Entry::Run(run) = entry else { continue };
            let hash = run.run.header.hash();
            self.disks[node].keeps.insert(hash);
            let synced = self.disks[node].synced.entry(run.stream).or_default();
            *synced = last_of(&run.run.header).max(*synced);
            if run.link == LinkId(0) {
                self.born.insert(hash);
                self.follow(name, &run.run.header);
            }
        }
    }

    fn look_at_append(&mut self, node: usize, name: &str, run: &RunEntry) {
        let header = &run.run.header;
        let before = self.disks[node].ends.insert((run.group, run.stream), last_of(header));
        if before.is_some_and(|before| header.first <= before) {
            self.wrong(format!("I3: {name} appends {} of {} again", header.first, run.stream));
        }
        if !self.disks[node].has.insert((run.group, header.hash())) {
            self.wrong(format!("I4: {name} inserts {} of {} twice", header.first, run.stream));
        }
    }

    fn follow(&mut self, name: &str, header: &RunHeader) {
        let place = (header.chain, header.first.0);
        let hash = header.hash();
        if *self.follows.entry(place).or_insert(hash) != hash {
            self.wrong(format!("I2: {name} has another record {} of the same stream", header.first));
        }
    }

    /// A relay says something over a link.
    pub(super) fn says(&mut self, node: &Node, place: usize, message: &LinkMessage) {
        // What stands in place of records is made for who lacks them, and counts for what it lacks.
        let is_first_hand = |run: &Run| !crate::relay::stands_in_place(run);
        if let LinkMessage::Run { run, .. } = message
            && is_first_hand(run)
        {
            if !self.born.contains(&run.header.hash()) {
                let first = run.header.first;
                self.wrong(format!("I1: {} sends {first} before its origin's disk has it", node.name));
            }
            self.follow(node.name.as_str(), &run.header);
        }
        if let LinkMessage::Receipts(receipts) = message {
            for receipt in receipts.iter().filter(|receipt| receipt.member == node.name) {
                self.check_receipt(node, place, receipt);
            }
        }
    }

    fn check_receipt(&mut self, node: &Node, place: usize, receipt: &Receipt) {
        let Some((stream, released)) = node.stream_of(receipt) else { return };
        let synced = self.disks[place].synced.get(&stream).copied().unwrap_or_default();
        if receipt.durable > synced.max(released) {
            let (name, durable) = (&node.name, receipt.durable);
            self.wrong(format!("I7: {name} has {synced} of {} and says {durable}", receipt.origin));
        }
    }

    /// A put is answered: its first message is this.
    pub(super) fn answered(&mut self, node: &Node, place: usize, payload: &str) {
        // A dead letter has the payload too, and stands behind it.
        let is_it = |run: &&RunEntry| first_of(run).is_some_and(|first| first == payload);
        let mut all = node.log().0.iter().rev().filter_map(run_of).filter(is_it);
        if !all.any(|run| self.disks[place].keeps.contains(&run.run.header.hash())) {
            self.wrong(format!("I6: {} answers {payload} before its disk has it", node.name));
        }
    }

    /// A relay may have heard that a member has a new disk.
    pub(super) fn hears_of_disks(&mut self, place: usize, node: &Node) {
        for disk in &mut self.new_disks {
            for group in node.memberships_on(&disk.relay, disk.storage) {
                if !disk.heard.insert((place, group)) {
                    continue;
                }
                let is_kept = |run: &&RunEntry| {
                    let is_own = run.group == group && run.link == LinkId(0);
                    let is_data = is_own && run.run.header.kind == RunKind::Data;
                    is_data && !node.is_released(run) && node.owes(run, &disk.relay)
                };
                let kept = node.log().0.iter().filter_map(run_of).filter(is_kept);
                let kept = kept.map(|run| run.run.header.hash()).filter(|hash| !self.released.contains(hash));
                disk.owed.extend(kept.map(|hash| (place, hash)));
            }
        }
    }

    /// A member with a new disk that an origin knows, and that lacks what is owed to it.
    fn lacks_on_new_disk(&self, place: usize, node: &Node, run: &RunEntry) -> Option<usize> {
        let hash = run.run.header.hash();
        let is_lacking = |disk: &&NewDisk| {
            disk.owed.contains(&(place, hash))
                && !self.disks[disk.node].keeps.contains(&hash)
                && node.memberships_on(&disk.relay, disk.storage).contains(&run.group)
                // It may have left since, and joined anew.
                && node.owes(run, &disk.relay)
        };
        self.new_disks.iter().find(is_lacking).map(|disk| disk.node)
    }

    /// A relay lets go what stands below an index of a group.
    pub(super) fn lets_go(
        &mut self,
        place: usize,
        node: &Node,
        (group, from, below): (GroupNumber, Index, Index),
    ) {
        let mut lacks = None;
        let is_own = |run: &&RunEntry| {
            let is_going = run.first_index >= from && run.first_index < below;
            run.group == group && run.link == LinkId(0) && run.run.header.kind == RunKind::Data && is_going
        };
        // What is damaged is told as lost to who lacks it.
        let whole = node.log().0.iter().enumerate().filter(|(at, _)| !node.is_damaged(*at));
        for run in whole.filter_map(|(_, entry)| run_of(entry)).filter(is_own) {
            let Some(payload) = first_of(run) else { continue };
            let Some((name, put)) = group_and_put(node, group, &payload) else { continue };
            let hash = run.run.header.hash();
            let is_lacking =
                |o: &&Owed| o.group == name && o.since < put && !self.disks[o.node].keeps.contains(&hash);
            let owed = self.owed.iter().find(is_lacking).map(|owed| owed.node);
            if let Some(member) = owed.or_else(|| self.lacks_on_new_disk(place, node, run)) {
                lacks = Some(format!("I8: {} lets {payload} go, and member {member} lacks it", node.name));
            }
        }
        lacks.into_iter().for_each(|what| self.wrong(what));
    }
}

/// The name of a group, and the number of the put that a message is of.
fn group_and_put(node: &Node, group: GroupNumber, payload: &str) -> Option<(GroupName, u64)> {
    let put = payload.split('/').nth(1)?.parse().ok()?;
    Some((node.group_name(group)?, put))
}

fn run_of(entry: &Entry) -> Option<&RunEntry> {
    match entry {
        Entry::Run(run) => Some(run),
        Entry::State(_) => None,
    }
}

fn last_of(header: &RunHeader) -> Sequence {
    Sequence(header.end().0 - 1)
}

/// The first message of a run.
fn first_of(run: &RunEntry) -> Option<String> {
    let record = Records::new(&run.run.body).next()?.ok()?;
    Some(String::from_utf8_lossy(record.payload).into_owned())
}
