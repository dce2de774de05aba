//! What is released, and who is told ([`super::receipt`] says how that comes about).
//!
//! An origin, or who looks after a stream in its place, says along the tree how far its stream is released.
//! Whoever learns that more is released than it knew, from whom and in whatever way, passes it on there:
//! two ends of a link in a tree know the same of it, or it is on its way.

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::facts::CHUNK;
use super::forget::Orphans;
use super::input::Now;
use crate::id::Sequence;
use crate::id::{GroupNumber, LinkId, RelayId, StreamNumber};
use crate::wire::link::{LinkMessage, Released};

impl Relay {
    /// Releases what of the own streams everybody has who is owed it, and says so.
    pub(super) fn settle_released(&mut self, number: GroupNumber) {
        let me = self.options.relay.clone();
        self.release_unowed(number);
        let orphans = Orphans { forgotten: &self.forgotten, states: &self.links.states };
        let Some(group) = self.groups.get_mut(number) else { return };
        let (id, is_trustee) = (group.id(), group.trustee() == Some(&me));
        let Some(spread) = group.spread.as_deref() else { return };
        let parts = &spread.parts;
        let is_member = |relay: &RelayId| parts.may_be_member(relay);
        let storage = self.options.epoch.storage;
        let mut news = Vec::new();
        for stream in group.streams.iter_mut().filter(|s| orphans.falls_to(s, (&me, is_trustee))) {
            let covered = if stream.is_written_by(&me, storage) {
                stream.covered(&me, is_member)
            } else {
                stream.covered_by_all(
                    parts.active_members().into_iter(),
                    (&me, !group.subscriptions.is_empty()),
                )
            };
            if stream.release(covered) {
                news.push(Released { wanted: Sequence(0), ..stream.released_in(&id) });
            }
        }
        if !news.is_empty() {
            self.tell_released(number, None, &news);
        }
        self.settle_finished(number);
        self.settle_levels(number);
    }

    /// An origin has released something: it is passed on along the tree.
    pub(super) fn on_released(&mut self, now: Now, link: LinkId, released: Vec<Released>) {
        for told in released {
            self.take_released(now, link, &told);
            let on_its_way = told.to.as_ref().filter(|to| **to != self.options.relay);
            if let Some((way, hops)) = on_its_way.and_then(|to| self.way_on(to, link, told.hops)) {
                self.say(way, LinkMessage::Released(vec![Released { hops, ..told }]));
            }
        }
    }

    fn take_released(&mut self, now: Now, link: LinkId, told: &Released) {
        let Some(number) = self.group_of(now, &told.group) else { return };
        self.note_full_heard(number, told);
        let Some(group) = self.groups.get_mut(number) else { return };
        let found = group.streams.iter_mut().find(|s| s.epoch == told.epoch && s.origin == told.origin);
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let Some(stream) = found.filter(|stream| !stream.is_written_by(me, storage)) else { return };
        let is_answer = told.to.as_ref() == Some(me);
        stream.doubted &= !is_answer || told.released < stream.durable;
        if is_answer && told.released < stream.released {
            stream.doubted = true;
            return self.answer_asked(now, number);
        }
        let is_wanted_more = told.wanted > stream.wanted;
        stream.wanted = stream.wanted.max(told.wanted);
        let is_released = stream.release(told.released);
        let lacking = stream.lacks.take_if(|_| is_released);
        if is_released || is_wanted_more {
            self.tell_released(
                number,
                Some(link),
                &[Released { to: None, hops: 0, heard: None, ..told.clone() }],
            );
        }
        if is_released {
            self.settle_levels(number);
        }
        if let Some(lacking) = lacking {
            self.ask_again(number, lacking);
        }
        if is_wanted_more {
            self.journal.hurry();
            self.owe_receipt(now, number, false);
        }
    }

    /// More is released, or wanted, of streams of others than was known here, as a neighbour says in
    /// passing: those behind this relay in the tree may not know it either, and nobody else may ever
    /// tell them.
    pub(super) fn pass_released(
        &mut self,
        number: GroupNumber,
        except: Option<LinkId>,
        streams: &[StreamNumber],
    ) {
        let Some(group) = self.groups.get(number).filter(|_| !streams.is_empty()) else { return };
        let (id, news) = (group.id(), group.streams.iter().filter(|s| streams.contains(&s.number)));
        let told: Vec<Released> = news.map(|stream| stream.released_in(&id)).collect();
        self.tell_released(number, except, &told);
        self.settle_levels(number);
    }

    /// Members that have not said, as far as is known here, that they have all of the streams which this
    /// relay looks after in the place of a relay that is gone, or of a disk that it has lost itself; and of
    /// the streams that it writes, those that have said nothing: what they are asked.
    ///
    /// An origin that has started again may have forgotten what it had released. Who was there says its
    /// receipts again; who had no disk then has learned from others what is released, and owes no receipt.
    pub(super) fn unheard_of(&self, number: GroupNumber) -> Vec<Released> {
        let (me, storage, orphans) = (&self.options.relay, self.options.epoch.storage, self.orphans());
        let Some(group) = self.groups.get(number) else { return Vec::new() };
        let Some(spread) = group.spread.as_deref() else { return Vec::new() };
        let parts = &spread.parts;
        let mut asked = Vec::new();
        for stream in group.streams.iter().filter(|s| s.released < s.furthest()) {
            let has = |member: &RelayId| stream.receipts.get(member).map(|held| held.durable);
            let ask = |member: &RelayId| Released {
                to: Some(member.clone()),
                hops: self.trees.hops(),
                wanted: Sequence(0),
                ..stream.released_in(&group.id())
            };
            if stream.is_written_by(me, storage) {
                if stream.released >= stream.durable {
                    continue;
                }
                let owed = stream.marks.keys().filter(|member| *member != me && parts.may_be_member(member));
                asked.extend(owed.filter(|member| has(member).is_none()).map(ask));
            } else if orphans.is_one(stream) && orphans.falls_to(stream, (me, group.trustee() == Some(me))) {
                let furthest = stream.furthest();
                let lacks = |member: &&RelayId| has(member).is_none_or(|has| has < furthest);
                let members = parts.active_members().into_iter().filter(lacks);
                // Where nothing is here of it, those who have it may hold it for released.
                let holders = stream.receipts.keys().filter(|_| stream.durable < furthest);
                let all: BTreeSet<&RelayId> = members.chain(holders).filter(|member| *member != me).collect();
                asked.extend(all.into_iter().map(ask));
            }
        }
        asked
    }

    /// Asks members how far they have streams: who knows more than it is told says so.
    pub(super) fn ask_members(&mut self, asked: Vec<Released>) {
        let mut by_link: BTreeMap<LinkId, Vec<Released>> = BTreeMap::new();
        for asked in asked {
            let link = asked.to.as_ref().and_then(|to| self.links.toward.get(to));
            if let Some(link) = link {
                by_link.entry(*link).or_default().push(asked);
            }
        }
        for (link, asked) in by_link {
            for asked in asked.chunks(CHUNK) {
                self.say(link, LinkMessage::Released(asked.to_vec()));
            }
        }
    }

    pub(super) fn tell_released(
        &mut self,
        number: GroupNumber,
        except: Option<LinkId>,
        released: &[Released],
    ) {
        self.touched.insert(number);
        let Some(spread) = self.groups.get(number).and_then(|group| group.spread.as_deref()) else { return };
        let links: Vec<LinkId> = spread.tree().iter().copied().filter(|link| Some(*link) != except).collect();
        for link in links {
            self.say(link, LinkMessage::Released(released.to_vec()));
        }
    }
}
