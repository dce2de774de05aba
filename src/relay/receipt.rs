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
//! Receipts are state: they are said soon after something became durable, and again every second
//! until the released mark covers them. So nothing has to be remembered on the way, and a receipt
//! that is lost with a link costs a second. An origin that starts again has forgotten them, and
//! perhaps what it had released: everybody says them once more, until it answers.

use std::collections::BTreeMap;

use super::facts::CHUNK;
use super::input::Now;
use super::stream::Stream;
use super::timer::Timer;
use super::{Relay, trees};
use crate::id::{GroupNumber, LinkId, RelayId, Sequence, StorageId};
use crate::wire::link::{LinkMessage, Receipt, Released};

/// Milliseconds for which receipts are gathered.
const GATHER_MS: u64 = 20;

impl Relay {
    /// Something of another origin has become durable here, or, if it `repeats`, has been for a
    /// second: it is said in a moment.
    pub(super) fn owe_receipt(&mut self, now: Now, number: GroupNumber, repeats: bool) {
        *self.receipts_due.entry(number).or_default() |= repeats;
        self.timers.set_by(Timer::Receipts, now.time.after_ms(GATHER_MS));
    }

    pub(super) fn on_receipts_time(&mut self, _now: Now) {
        let mut by_link: BTreeMap<LinkId, Vec<Receipt>> = BTreeMap::new();
        for (number, repeats) in std::mem::take(&mut self.receipts_due) {
            for receipt in self.receipts_of(number, repeats) {
                if let Some(link) = self.links.toward.get(&receipt.origin) {
                    by_link.entry(*link).or_default().push(receipt);
                }
            }
        }
        self.say_receipts(by_link);
    }

    fn say_receipts(&mut self, by_link: BTreeMap<LinkId, Vec<Receipt>>) {
        for (link, receipts) in by_link {
            for receipts in receipts.chunks(CHUNK) {
                self.say(link, LinkMessage::Receipts(receipts.to_vec()));
            }
        }
    }

    /// What this relay has to say of the streams of a group that are not released yet.
    fn receipts_of(&self, number: GroupNumber, repeats: bool) -> Vec<Receipt> {
        let me = &self.options.relay;
        let Some(group) = self.groups.get(number) else { return Vec::new() };
        let counts = |s: &Stream| repeats || s.marks.contains_key(me);
        let is_new = |s: &Stream| s.durable > s.released || (s.doubted && repeats);
        let is_owed = |s: &&Stream| s.origin != *me && is_new(s) && counts(s);
        let receipt = |s: &Stream| Receipt {
            group: group.id(),
            origin: s.origin.clone(),
            epoch: s.epoch,
            member: me.clone(),
            storage: self.options.epoch.storage,
            durable: s.durable,
        };
        group.streams.iter().filter(is_owed).map(receipt).collect()
    }

    /// Receipts of others: for this relay's own streams, or to be passed on towards their origins.
    pub(super) fn on_receipts(&mut self, now: Now, receipts: Vec<Receipt>) {
        let mut by_link: BTreeMap<LinkId, Vec<Receipt>> = BTreeMap::new();
        for receipt in receipts {
            if receipt.origin == self.options.relay {
                self.take_receipt(now, &receipt);
            } else if let Some(link) = self.links.toward.get(&receipt.origin) {
                by_link.entry(*link).or_default().push(receipt);
            }
        }
        self.say_receipts(by_link);
    }

    fn take_receipt(&mut self, now: Now, receipt: &Receipt) {
        let Some(number) = self.group_of(now, &receipt.group) else { return };
        let Some(group) = self.groups.get_mut(number) else { return };
        let (member, storage) = (&receipt.member, receipt.storage);
        let known = group.spread().parts.members.get(member).copied();
        let found = group.streams.iter_mut().find(|s| s.epoch == receipt.epoch && s.origin == receipt.origin);
        let Some(stream) = found else { return };
        if receipt.durable <= stream.released {
            let released = stream.released;
            return self.answer_receipt(receipt, released);
        }
        // Of a disk that the membership is not about it says nothing.
        if known.is_none_or(|(version, _)| version.storage != storage) {
            return;
        }
        let entry: &mut (StorageId, Sequence) =
            stream.receipts.entry(member.clone()).or_insert((storage, Sequence(0)));
        let before = if entry.0 == storage { entry.1 } else { Sequence(0) };
        *entry = (storage, before.max(receipt.durable));
        self.settle_released(number);
    }

    /// An origin has started, or this relay has and does not know what it missed: how far the
    pub(super) fn doubt_released(&mut self, now: Now, origin: &RelayId) {
        let mut doubted = Vec::new();
        for group in self.groups.iter_mut() {
            for stream in group.streams.iter_mut().filter(|s| s.origin == *origin && s.durable > Sequence(0))
            {
                stream.doubted = true;
                doubted.push(group.number);
            }
        }
        for number in doubted {
            self.owe_receipt(now, number, true);
            self.touched.insert(number);
        }
    }

    /// Tells one relay, which did not know, how far a stream is released.
    fn answer_receipt(&mut self, receipt: &Receipt, released: Sequence) {
        let Receipt { group, origin, epoch, member, .. } = receipt.clone();
        if let Some(link) = self.links.toward.get(&member).copied() {
            let told = Released { group, origin, epoch, released, to: Some(member) };
            self.say(link, LinkMessage::Released(vec![told]));
        }
    }

    /// Releases what of the own streams everybody has who is owed it, and says so.
    pub(super) fn settle_released(&mut self, number: GroupNumber) {
        let me = self.options.relay.clone();
        let Some(group) = self.groups.get_mut(number) else { return };
        let Some(spread) = group.spread.as_deref() else { return };
        let members = &spread.parts.members;
        let is_member = |relay: &RelayId| members.get(relay).is_none_or(|(_, member)| *member);
        let mut news = Vec::new();
        for stream in group.streams.iter_mut().filter(|s| s.origin == me) {
            let covered = stream.covered(&me, is_member);
            if stream.release(covered) {
                news.push((stream.epoch, covered));
            }
        }
        let Some(group) = self.groups.get(number) else { return };
        let id = group.id();
        let released: Vec<Released> = news
            .into_iter()
            .map(|(epoch, released)| Released {
                group: id.clone(),
                origin: me.clone(),
                epoch,
                released,
                to: None,
            })
            .collect();
        if !released.is_empty() {
            self.tell_released(number, None, &released);
        }
    }

    /// An origin has released something: it is passed on along the tree.
    pub(super) fn on_released(&mut self, now: Now, link: LinkId, released: Vec<Released>) {
        for told in released {
            self.take_released(now, link, &told);
            let on_its_way = told.to.as_ref().filter(|to| **to != self.options.relay);
            if let Some(way) = on_its_way.and_then(|to| self.links.toward.get(to)).copied() {
                self.say(way, LinkMessage::Released(vec![told]));
            }
        }
    }

    fn take_released(&mut self, now: Now, link: LinkId, told: &Released) {
        let Some(number) = self.group_of(now, &told.group) else { return };
        let Some(group) = self.groups.get_mut(number) else { return };
        let found = group.streams.iter_mut().find(|s| s.epoch == told.epoch && s.origin == told.origin);
        let Some(stream) = found.filter(|stream| stream.origin != self.options.relay) else { return };
        let is_answer = told.to.as_ref() == Some(&self.options.relay);
        stream.doubted &= !is_answer || told.released < stream.durable;
        if stream.release(told.released) {
            self.tell_released(number, Some(link), &[Released { to: None, ..told.clone() }]);
        }
    }

    fn tell_released(&mut self, number: GroupNumber, except: Option<LinkId>, released: &[Released]) {
        self.touched.insert(number);
        let Some(spread) = self.groups.get(number).and_then(|group| group.spread.as_deref()) else { return };
        let links: Vec<LinkId> = spread.tree().iter().copied().filter(|link| Some(*link) != except).collect();
        for link in links {
            self.say(link, LinkMessage::Released(released.to_vec()));
        }
    }

    /// Says again what has not been heard, and releases what it can: once a second.
    pub(super) fn repeat_receipts(&mut self, now: Now, number: GroupNumber) {
        self.settle_released(number);
        if !self.receipts_of(number, true).is_empty() {
            self.owe_receipt(now, number, true);
            // Also when nothing is kept here any more.
            self.touched.insert(number);
        }
    }

    /// Which link leads towards each relay: the map has changed.
    pub(super) fn find_ways(&mut self) {
        let ways = trees::first_steps(&self.links.states, &self.options.relay);
        self.links.toward =
            ways.into_iter().filter_map(|(relay, step)| Some((relay, self.links.to(&step)?))).collect();
    }
}
