//! Who has what on disk, and what may be let go.
//!
//! A member says of every stream how far it has it on its disk; the receipt goes hop by hop to
//! the origin, which keeps the newest **per member**. Never a minimum over several members on the
//! way: a relay that moves between two parents would fall between two minima. When everybody who
//! is owed a record has it, the origin calls it released, and says so along the tree.
//!
//! A relay that holds something and is no member says a receipt too, when it has not heard for a
//! second what is released; nobody counts it, but the answer tells.
//!
//! Receipts are state: they are said soon after something became durable, and again after a second
//! and pauses that double up to a minute, until the released mark covers them. So nothing has
//! to be remembered on the way; and a receipt that is lost with a link costs a second, since the map
//! changes with it, and then the pauses begin anew. An origin that starts again has forgotten them, and
//! perhaps what it had released: everybody says them once more, until it answers. Who has all of
//! a sealed epoch goes on saying so until it has heard that it is finished ([`super::finished`]).
//!
//! Who looks after a stream in the place of its origin asks the members of which it has no receipt, in
//! the same pauses: what they have they may have said to somebody else before, and hold for released.

use std::collections::BTreeMap;

use super::Relay;
use super::facts::CHUNK;
use super::group::Group;
use super::input::Now;
use super::stream::{Held, Stream};
use super::timer::Timer;
use crate::id::{Epoch, GroupNumber, LinkId, RelayId, Sequence, StorageId};
use crate::limits;
use crate::log::Urgency;
use crate::wire::link::{FullVersion, LinkMessage, Receipt, Released, Version};

/// Milliseconds for which receipts are gathered.
const GATHER_MS: u64 = 20;

/// The same while puts wait for them.
pub(super) const GATHER_WANTED_MS: u64 = 1;

impl Group {
    /// A relay goes by this disk from now on: what it has said of another one tells nothing of this. Else what
    /// this disk lacks would be let go as soon as all others have it.
    pub(super) fn drop_receipts_of_others(&mut self, relay: &RelayId, storage: StorageId) {
        for stream in &mut self.streams {
            if stream.receipts.get(relay).is_some_and(|held| held.storage != storage) {
                stream.receipts.remove(relay);
            }
        }
    }
}

impl Stream {
    /// What this relay once said, or its origin, of how far it is released, and is forgotten here, if a receipt
    /// tells. What is news is to be said along the tree. Of an own stream of a boot before this one: if somebody has
    /// more of it than this disk, it was put back since, and nothing is believed. Of a disk that is lost, or of
    /// a relay that is gone, nothing may be here: whoever has all of it may owe it to nobody, and a member that
    /// joined later is never sent it.
    fn remember_released(&mut self, receipt: &Receipt, boot: &Epoch) -> Vec<Released> {
        let is_lost = self.epoch.storage != boot.storage;
        let is_earlier = !is_lost && self.epoch.counter < boot.counter && receipt.durable <= self.durable;
        let most = if is_lost { receipt.durable } else { self.durable };
        let told = receipt.released.filter(|_| is_lost || is_earlier);
        match told {
            Some(released) if self.release(released.min(most)) => {
                vec![Released { wanted: Sequence(0), ..self.released_in(&receipt.group) }]
            }
            _ => Vec::new(),
        }
    }
}

impl Relay {
    /// Something of another origin has become durable here, or, if it `repeats`, has been for a
    /// second: it is said in a moment.
    pub(super) fn owe_receipt(&mut self, now: Now, number: GroupNumber, repeats: bool) {
        if self.groups.get(number).is_some_and(|group| group.remnant.is_some()) {
            // Nobody is owed what is in it but its subscription.
            return;
        }
        *self.receipts_due.entry(number).or_default() |= repeats;
        if !repeats {
            self.hasten_repeats(now, number);
        }
        let group = self.groups.get(number);
        let is_wanted = group.is_some_and(|group| group.streams.iter().any(Stream::is_wanted));
        let wait = if is_wanted { GATHER_WANTED_MS } else { GATHER_MS };
        self.timers.set_by(Timer::Receipts, now.time.after_ms(wait));
    }

    pub(super) fn on_receipts_time(&mut self, _now: Now) {
        let mut by_link: BTreeMap<LinkId, Vec<Receipt>> = BTreeMap::new();
        for (number, repeats) in std::mem::take(&mut self.receipts_due) {
            for receipt in self.take_receipts(number, repeats) {
                let receiver = self.receiver_of(number, &receipt.origin);
                if let Some(link) = receiver.and_then(|receiver| self.links.toward.get(&receiver)) {
                    by_link.entry(*link).or_default().push(receipt);
                }
            }
        }
        self.say_receipts(by_link);
    }

    pub(super) fn say_receipts(&mut self, by_link: BTreeMap<LinkId, Vec<Receipt>>) {
        for (link, mut receipts) in by_link {
            self.keep_behind_facts(link, &mut receipts);
            for receipts in receipts.chunks(CHUNK) {
                self.say(link, LinkMessage::Receipts(receipts.to_vec()));
            }
        }
    }

    /// What is to be said now: it counts as told.
    fn take_receipts(&mut self, number: GroupNumber, repeats: bool) -> Vec<Receipt> {
        let receipts = self.receipts_of(number, repeats);
        if let Some(group) = self.groups.get_mut(number) {
            // Who has nothing to be done with says nothing of it, ever.
            let says_consumed = !group.subscriptions.is_empty() || group.has_brought();
            for stream in group.streams.iter_mut().filter(|stream| stream.is_wanted()) {
                let said = receipts.iter().find(|r| r.epoch == stream.epoch && r.origin == stream.origin);
                if let Some(said) = said {
                    let done = if says_consumed { said.consumed } else { said.durable };
                    stream.told = (said.durable, done);
                }
            }
        }
        self.note_full_said(number, &receipts);
        receipts
    }

    /// The map has changed: what puts wait for may have got lost on the way, and is said again.
    pub(super) fn say_wanted_again(&mut self, now: Now) {
        let mut due = Vec::new();
        for group in self.groups.iter_mut().filter(|group| group.spread.is_some()) {
            for stream in group.streams.iter_mut().filter(|s| s.wanted > Sequence(0)) {
                stream.told = (Sequence(0), Sequence(0));
                due.push((group.number, stream.origin == self.options.relay));
            }
        }
        let unheard = self.groups.iter_mut().filter_map(Group::doubt_full_said);
        due.extend(unheard.map(|number| (number, false)));
        for (number, is_own) in due {
            if is_own {
                self.wants_due.insert(number);
            } else {
                self.owe_receipt(now, number, false);
            }
        }
    }

    /// What this relay has to say of the streams of a group that are not released yet, or of which
    /// somebody wants to hear.
    fn receipts_of(&self, number: GroupNumber, repeats: bool) -> Vec<Receipt> {
        let me = &self.options.relay;
        let Some(group) = self.groups.get(number) else { return Vec::new() };
        let counts = |s: &Stream| repeats || s.marks.contains_key(me);
        // Of a disk that its origin has lost nobody will ever say that an epoch is finished.
        let is_unfinished = |s: &Stream| repeats && s.sealed && self.is_of_known_disk(&s.origin, s.epoch);
        let is_new = |s: &Stream| s.durable > s.released || (s.doubted && repeats) || is_unfinished(s);
        let is_consumer = !group.subscriptions.is_empty();
        let floor = group.floor_on_disk();
        let has_brought = group.has_brought();
        // Who has no subscription is no member, and is not asked any more as soon as that is heard. Until then it
        // says nothing: what it had may be elsewhere.
        let done = |s: &Stream| match (has_brought, is_consumer) {
            (true, _) => Sequence(0),
            (false, true) => s.last_below(floor),
            (false, false) => s.durable,
        };
        let consumed = |s: &Stream| if is_consumer { done(s) } else { Sequence(0) };
        let is_wanted = group.streams.iter().any(Stream::is_wanted);
        let brought = if is_wanted || repeats { group.done_with_brought(me) } else { None };
        let is_news = |s: &Stream| s.is_wanted() && s.told != (s.durable, done(s));
        let is_open = |s: &Stream| s.origin != *me && !group.is_finished(&s.origin, s.epoch);
        let is_owed = |s: &&Stream| is_open(s) && ((is_new(s) && counts(s)) || is_news(s));
        let receipt = |s: &Stream| Receipt {
            group: group.id(),
            origin: s.origin.clone(),
            epoch: s.epoch,
            member: me.clone(),
            storage: self.options.epoch.storage,
            durable: s.durable,
            consumed: consumed(s),
            hops: self.trees.hops(),
            full: None,
            began: (s.began > Sequence(0)).then_some(s.began),
            released: (s.doubted && repeats && s.released > Sequence(0)).then_some(s.released),
            brought,
        };
        let mut receipts: Vec<Receipt> = group.streams.iter().filter(is_owed).map(receipt).collect();
        for (stream, full) in self.full_for_origins(group, repeats) {
            let is_of = |r: &&mut Receipt| r.epoch == stream.epoch && r.origin == stream.origin;
            match receipts.iter_mut().find(is_of) {
                Some(receipt) => receipt.full = Some(full),
                None => receipts.push(Receipt { full: Some(full), ..receipt(stream) }),
            }
        }
        receipts.extend(self.full_for_silent(group, repeats));
        receipts
    }

    /// Whether a stream is of the disk that its origin has now, as far as is known.
    pub(super) fn is_of_known_disk(&self, origin: &RelayId, epoch: Epoch) -> bool {
        self.links.states.get(origin).is_some_and(|state| state.version.storage == epoch.storage)
    }

    /// Receipts of others: for this relay's own streams, or to be passed on towards their origins.
    pub(super) fn on_receipts(&mut self, now: Now, from: LinkId, receipts: Vec<Receipt>) {
        let mut by_link: BTreeMap<LinkId, Vec<Receipt>> = BTreeMap::new();
        for receipt in receipts {
            let number = self.groups.number(&receipt.group.name);
            let receiver =
                number.map_or(Some(receipt.origin.clone()), |n| self.receiver_of(n, &receipt.origin));
            let Some(receiver) = receiver else { continue };
            if receiver == self.options.relay {
                self.take_receipt(now, &receipt);
            } else if let Some((link, hops)) = self.way_on(&receiver, from, receipt.hops) {
                by_link.entry(link).or_default().push(Receipt { hops, ..receipt });
            }
        }
        self.say_receipts(by_link);
    }

    /// The link by which something goes on that came over `from`, and the links it may take
    /// behind that. What would go back or has gone too far is dropped: the maps differ, and it is
    /// said again in a second.
    pub(super) fn way_on(&self, to: &RelayId, from: LinkId, hops: u16) -> Option<(LinkId, u16)> {
        let link = self.links.toward.get(to).copied().filter(|link| *link != from)?;
        Some((link, hops.checked_sub(1)?))
    }

    /// The same of a question to several, which `None` has begun here: whom each link leads to, and the
    /// links it may take behind that.
    pub(super) fn ways_on(
        &self,
        to: Vec<RelayId>,
        from: Option<LinkId>,
        hops: u16,
    ) -> (BTreeMap<LinkId, Vec<RelayId>>, u16) {
        let mut by_link: BTreeMap<LinkId, Vec<RelayId>> = BTreeMap::new();
        for relay in to {
            // No link has the number of this relay's own sessions.
            if let Some((link, _)) = self.way_on(&relay, from.unwrap_or(LinkId(0)), hops) {
                by_link.entry(link).or_default().push(relay);
            }
        }
        (by_link, hops.saturating_sub(1))
    }

    fn take_receipt(&mut self, now: Now, receipt: &Receipt) {
        let Some(number) = self.group_of(now, &receipt.group) else { return };
        self.adopt_stream(number, receipt);
        let is_of_lost_disk = receipt.epoch.storage != self.options.epoch.storage;
        let heard = self.take_full(number, receipt);
        self.take_brought(number, receipt);
        let Some(group) = self.groups.get_mut(number) else { return };
        let (member, storage) = (&receipt.member, receipt.storage);
        let known = group.spread().parts.members.get(member).copied();
        let is_finished = group.is_finished(&receipt.origin, receipt.epoch);
        let found = group.streams.iter_mut().find(|s| s.epoch == receipt.epoch && s.origin == receipt.origin);
        let Some(stream) = found.filter(|_| !is_finished) else {
            if is_finished {
                self.answer_finished(receipt);
            }
            if heard.is_some() {
                self.answer_receipt(receipt, (Sequence(0), heard));
            }
            return;
        };
        let news = stream.remember_released(receipt, &self.options.epoch);
        let released = stream.released;
        // Of a disk that the membership is not about it says nothing. Who is no member counts only
        // for copies.
        if known.is_none_or(|(version, member)| !member || version.storage == storage) {
            let held: &mut Held = stream.receipts.entry(member.clone()).or_default();
            if held.storage != storage {
                *held = Held { storage, ..Held::default() };
            }
            held.durable = held.durable.max(receipt.durable);
            held.began = held.began.max(receipt.began.unwrap_or_default());
            held.consumed = held.consumed.max(receipt.consumed);
        }
        if !news.is_empty() {
            self.tell_released(number, None, &news);
            self.settle_finished(number);
        }
        if receipt.durable <= released {
            self.answer_receipt(receipt, (released, heard));
            self.settle_levels(number);
        } else {
            self.settle_released(number);
            if heard.is_some() {
                self.answer_receipt(receipt, (released, heard));
            }
        }
        if is_of_lost_disk {
            self.announce_origin(now, number, Version::default());
        }
    }

    /// A stream of a disk that this relay has lost and others have: it looks after it (R9).
    fn adopt_stream(&mut self, number: GroupNumber, receipt: &Receipt) {
        let Receipt { origin, epoch, .. } = receipt;
        let is_lost = epoch.storage != self.options.epoch.storage;
        let is_known = |s: &Stream| s.epoch == *epoch && s.origin == *origin;
        let is_new = |group: &Group| {
            group.streams.len() < limits::STREAMS_PER_GROUP_MAX && !group.streams.iter().any(is_known)
        };
        let is_finished = self.groups.get(number).is_some_and(|group| group.is_finished(origin, *epoch));
        if !is_lost || is_finished || !self.groups.get(number).is_some_and(is_new) {
            return;
        }
        self.open_stream(number, (origin, *epoch), Urgency::Ride);
    }

    /// An origin has started, or this relay has and does not know what it missed: it is told again
    /// how far this relay is.
    pub(super) fn doubt_released(&mut self, now: Now, origin: &RelayId) {
        self.doubt_full(origin);
        let mut doubted = Vec::new();
        for group in self.groups.iter_mut().filter(|group| group.remnant.is_none()) {
            for stream in group.streams.iter_mut().filter(|s| s.origin == *origin && s.durable > Sequence(0))
            {
                stream.doubted = true;
                doubted.push(group.number);
            }
        }
        for number in doubted {
            self.hasten_repeats(now, number);
            self.owe_receipt(now, number, true);
            self.touched.insert(number);
            self.announce_origin(now, number, Version::default());
        }
    }

    /// Tells one relay, which did not know, how far a stream is released, and what was heard of its quotas.
    fn answer_receipt(&mut self, receipt: &Receipt, (released, heard): (Sequence, Option<FullVersion>)) {
        let Receipt { group, origin, epoch, member, .. } = receipt.clone();
        if let Some(link) = self.links.toward.get(&member).copied() {
            let hops = self.trees.hops();
            let wanted = Sequence(0);
            let told = Released { group, origin, epoch, released, wanted, to: Some(member), hops, heard };
            self.say(link, LinkMessage::Released(vec![told]));
        }
    }

    /// Who asks knows less than this relay: what it lacks is said to it again.
    pub(super) fn answer_asked(&mut self, now: Now, number: GroupNumber) {
        self.hasten_repeats(now, number);
        self.owe_receipt(now, number, true);
        self.touched.insert(number);
    }

    /// Something is new: what is said of it is said again in a second, if nobody answers.
    fn hasten_repeats(&mut self, now: Now, number: GroupNumber) {
        if let Some(spread) = self.groups.get_mut(number).and_then(|group| group.spread.as_deref_mut()) {
            spread.repeat_at = spread.repeat_at.min(now.time.after_ms(limits::REPEAT_MS_MIN));
            spread.repeat_pause_ms = limits::REPEAT_MS_MIN;
        }
    }

    /// The map has changed, and with it perhaps got lost what was on its way.
    pub(super) fn hasten_all_repeats(&mut self, now: Now) {
        let spread = self.groups.iter().filter(|group| group.spread.is_some());
        for number in spread.map(|group| group.number).collect::<Vec<_>>() {
            self.hasten_repeats(now, number);
        }
    }

    /// Whether it is time to say again what has not been heard.
    fn is_repeat_due(&mut self, now: Now, number: GroupNumber) -> bool {
        let spread = self.groups.get_mut(number).and_then(|group| group.spread.as_deref_mut());
        let Some(spread) = spread.filter(|spread| spread.repeat_at <= now.time) else { return false };
        let pause_ms = spread.repeat_pause_ms.max(limits::REPEAT_MS_MIN);
        spread.repeat_at = now.time.after_ms(pause_ms);
        spread.repeat_pause_ms = (pause_ms * 2).min(limits::REPEAT_MS_MAX);
        true
    }

    /// Says again what has not been heard, and releases what it can.
    pub(super) fn repeat_receipts(&mut self, now: Now, number: GroupNumber) {
        self.settle_released(number);
        let asked = self.unheard_of(number);
        if !asked.is_empty() || !self.receipts_of(number, true).is_empty() {
            if self.is_repeat_due(now, number) {
                self.owe_receipt(now, number, true);
                self.ask_members(asked);
            }
            // Also when nothing is kept here any more.
            self.touched.insert(number);
        }
    }
}
