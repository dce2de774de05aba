//! A disk that was put back to an earlier image of itself (R4).
//!
//! Everything that a relay says of itself is on its disk before it is said, or said again above it
//! after a crash. So nobody can know more of a relay than it does, unless its disk is an older one
//! than the one that said so: a backup that was put back, or a copy. What shows it:
//!
//! - a link state of its own of a later boot, or of this boot and not said by it;
//! - a record in a stream of this disk that is not here;
//! - a released mark behind what is here of a stream that is owed to this relay: it must have said
//!   that it has all of that.
//!
//! Then the relay takes a new storage id, in its log before anything else that it says: receipts of
//! the old one count for nothing any more, its streams go on as those of a lost disk, and the next
//! message begins a new one. What neighbours still have comes again; what they have let go is lost,
//! perhaps with messages that were put here, and every group with a part here is told so by a LOSS.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Relay;
use super::effect::Effect;
use super::group::Group;
use super::input::Now;
use super::state::Operation;
use super::stream::Stream;
use crate::id::{Epoch, GroupNumber, RelayId, Sequence, SessionId, StorageId, StreamNumber};
use crate::log::{Entry, Urgency};
use crate::wire::link::{LinkState, StreamSeen};

impl Stream {
    /// Whether a member with this much of it was owed what it lacks, and must have had it: it was
    /// released.
    fn has_lost(&self, me: &RelayId, member_since: u64, released: Sequence) -> bool {
        let is_owed = self.marks.get(me).is_some_and(|(from, version)| {
            // Of a mark of every version it is known that its disk was lost.
            *version >= member_since && *version < u64::MAX && *from <= released
        });
        is_owed && released > self.last && released > self.forgiven
    }
}

impl Relay {
    /// Whether others know a link state of this disk that it has never said.
    pub(super) fn is_from_the_future(&self, state: &LinkState) -> bool {
        let said = self.links.states.get(&self.options.relay);
        let boot = self.options.epoch.counter;
        let told = self.boot_of(state);
        let is_unsaid = said.is_none_or(|said| state.version > said.version);
        state.version.storage == self.options.epoch.storage && (told > boot || (told == boot && is_unsaid))
    }

    /// A neighbour tells how far it knows streams: also those that this disk has written.
    pub(super) fn check_seen(&mut self, now: Now, number: GroupNumber, streams: &[StreamSeen]) {
        for told in streams {
            self.check_own(now, number, (&told.origin, told.epoch), told.seen);
            let found = self.groups.get(number).and_then(|group| group.stream_of(&told.origin, told.epoch));
            if let Some(stream) = found.map(|stream| stream.number) {
                self.check_released(now, (number, stream), told.released);
            }
        }
    }

    /// Somebody has this much of a stream.
    pub(super) fn check_own(
        &mut self,
        now: Now,
        number: GroupNumber,
        (origin, epoch): (&RelayId, Epoch),
        seen: Sequence,
    ) {
        let is_mine = *origin == self.options.relay && epoch.storage == self.options.epoch.storage;
        let Some(group) = self.groups.get(number).filter(|_| is_mine) else { return };
        let last = group.stream_of(origin, epoch).map_or(Sequence(0), |stream| stream.last);
        if seen > last && !group.is_finished(origin, epoch) {
            let why = format!("others have {seen} records that it put into {}, it has {last}", group.name);
            self.renew_storage(now, &why);
        }
    }

    /// Everybody who is owed a stream has it up to here: then this relay has had it too.
    pub(super) fn check_released(
        &mut self,
        now: Now,
        (number, stream): (GroupNumber, StreamNumber),
        released: Sequence,
    ) {
        let forgotten = self.least_version().counter;
        let (me, Some(group)) = (&self.options.relay, self.groups.get_mut(number)) else { return };
        // Of what it was owed before it was forgotten it was told that it is lost.
        let since = group.member_since.max(forgotten);
        let is_member = !group.subscriptions.is_empty();
        let known = group.stream(stream).filter(|known| is_member && known.origin != *me);
        let Some(known) = known.filter(|known| known.has_lost(me, since, released)) else { return };
        let (last, origin) = (known.last, known.origin.clone());
        known.forgiven = released;
        let name = group.name.clone();
        let forgiven = Operation::StreamForgiven { group: number, stream, to: released };
        self.journal.append(&mut self.effects, Entry::State(forgiven.encode()), Urgency::Ride);
        let why = format!("it has said that it has {released} records of {origin} in {name}, it has {last}");
        self.renew_storage(now, &why);
    }

    /// Others know more of this relay than it does: it is another one from now on. Once per boot:
    /// what else shows it then was said by the same disk.
    pub(super) fn renew_storage(&mut self, now: Now, why: &str) {
        if std::mem::replace(&mut self.has_renewed, true) {
            return;
        }
        let Epoch { storage, nonce, .. } = self.options.epoch;
        // As random as the nonce of this boot.
        let bytes = [&storage.0[..], &nonce.to_le_bytes()].concat();
        let renewed = StorageId(xxh3_128(&bytes).to_le_bytes());
        let operation = Operation::StorageRenewed { storage: renewed };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.take_storage(renewed);
        self.warn(format!(
            "the data directory is an older image of itself ({why}): it goes on under another storage id, \
             {renewed}; what it had after that image and others have not is lost"
        ));
        let parts = self.parts();
        for group in self.groups.iter_mut() {
            group.own = None;
        }
        // They name what they put by what they were told when they came.
        let reason = "the relay goes on under another storage id: connect again";
        let open = self.sessions.iter().filter(|(_, state)| state.has_something_open());
        let close =
            |(session, _): (&SessionId, _)| Effect::Close { session: *session, reason: reason.to_owned() };
        self.effects.extend(open.map(close));
        for number in &parts {
            let Some(group) = self.groups.get_mut(*number) else { continue };
            if !group.subscriptions.is_empty() {
                // Said again above what others know; since when it is a member does not change.
                let known = group.spread().parts.members.get(&self.options.relay).copied();
                let known = known.map_or(0, |(version, _)| version.counter);
                group.membership = group.membership.max(known) + 1;
                self.announce_membership(*number, true);
            }
        }
        self.say_groups_again(storage);
        self.announce_links(now);
        self.suspect(None, &|number| parts.contains(&number));
        self.tell_uncertain(now);
    }

    /// Whether what it has said under this storage id may be gone from its disk: then it is not what a crash
    /// took back, since that is said only when it is durable.
    pub(super) fn may_have_lost(&self, storage: StorageId) -> bool {
        self.has_holes || storage != self.options.epoch.storage
    }

    /// Groups in which this relay takes part: by what it lost with a disk they may have lost something.
    pub(super) fn parts(&self) -> Vec<GroupNumber> {
        let is_part = |group: &&Group| {
            !group.subscriptions.is_empty() || group.streams.iter().any(|s| s.origin == self.options.relay)
        };
        self.groups.named().filter(is_part).map(|group| group.number).collect()
    }

    /// What was lost of a stream was told.
    pub(super) fn forgive(&mut self, (group, stream): (GroupNumber, StreamNumber), to: Sequence) {
        if let Some(stream) = self.groups.get_mut(group).and_then(|group| group.stream(stream)) {
            stream.forgiven = stream.forgiven.max(to);
        }
    }

    /// The storage id is this one, decided now or before.
    /// Another name under which this disk has taken part in a network, and not under the one that it is
    /// started with. Members are owed messages by their names, and marks and streams speak of them: under
    /// another one a backlog would be nobody's, and be passed over.
    pub(super) fn name_on_disk(&self) -> Option<RelayId> {
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let spread = self.groups.iter().filter_map(|group| group.spread.as_deref());
        let mut said: Vec<&RelayId> = spread
            .flat_map(|spread| {
                let parts = spread.parts.members.iter().chain(&spread.parts.origins);
                let parts = parts.map(|(relay, (version, is_on))| (relay, *version, *is_on));
                let names = spread.names.subscriptions.iter();
                parts.chain(names.map(|((_, home), named)| (home, named.version, named.spec.is_some())))
            })
            .filter(|(_, version, is_on)| *is_on && version.storage == storage)
            .map(|(relay, ..)| relay)
            .collect();
        said.sort_unstable();
        // Of a copy of this disk that somebody else was started from others may have told.
        if said.binary_search(&me).is_ok() { None } else { said.first().map(|relay| (*relay).clone()) }
    }

    /// The epoch of streams that are opened now, in a group in one of its lives. One that began before the
    /// storage id was another, or in a group of that name that was removed, may have messages of the same
    /// boot and sequence: the nonce by which they are named is another one, too.
    pub(super) fn stream_epoch(&self, incarnation: u32) -> Epoch {
        let epoch = self.options.epoch;
        if !self.has_renewed && incarnation == 0 {
            return epoch;
        }
        let mut bytes = [&epoch.storage.0[..], &epoch.nonce.to_le_bytes()].concat();
        if incarnation > 0 {
            bytes.extend_from_slice(&incarnation.to_le_bytes());
        }
        Epoch { nonce: xxh3_64(&bytes), ..epoch }
    }

    pub(super) fn take_storage(&mut self, storage: StorageId) {
        self.options.epoch.storage = storage;
        self.renewed = Some(storage);
    }
}
