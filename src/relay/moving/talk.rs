//! What relays say to one another of moves: on its way, and handed on to who it is for.

use super::super::Relay;
use super::super::input::Now;
use super::super::journal::Waiting;
use super::super::subscription::SubscriptionKey;
use super::Heard;
use crate::id::{GroupNumber, LinkId, RelayId};
use crate::wire::link::LinkMessage;
use crate::wire::moving::{MoveFrame, MoveSays};

impl Relay {
    /// Says something of a subscription's move.
    pub(in crate::relay) fn say_of_move(&mut self, key: SubscriptionKey, to: &RelayId, says: MoveSays) {
        if let Some(frame) = self.move_frame(key, to, says) {
            self.send_move(frame);
        }
    }

    pub(in crate::relay) fn move_frame(
        &mut self,
        key: SubscriptionKey,
        to: &RelayId,
        says: MoveSays,
    ) -> Option<MoveFrame> {
        let (from, hops) = (self.options.relay.clone(), self.trees.hops());
        let group = self.groups.get(key.group)?.id();
        let subscription = self.groups.subscription(key)?;
        let leaving = subscription.moving.as_ref().map(|moving| moving.token);
        let merging = subscription.merging.as_ref().map(|merging| merging.token);
        let coming = merging.or_else(|| subscription.arrived.as_ref().map(|arrived| arrived.token));
        let token = match says {
            MoveSays::Prepared { .. } | MoveSays::Taken | MoveSays::Copied { .. } => coming,
            MoveSays::Prepare { .. }
            | MoveSays::Refused(_)
            | MoveSays::Ask { .. }
            | MoveSays::Held { .. }
            | MoveSays::Handover { .. }
            | MoveSays::Copy { .. }
            | MoveSays::Void => leaving,
        };
        let name = subscription.name.clone();
        Some(MoveFrame { from, to: to.clone(), hops, group, name, token: token?, says })
    }

    /// Sends something off that is said here. What cannot leave is lost, and said again.
    pub(in crate::relay) fn send_move(&mut self, frame: MoveFrame) {
        if let Some(link) = self.links.toward.get(&frame.to).copied() {
            self.say(link, LinkMessage::Move(Box::new(frame)));
        }
    }

    /// Answers something that was said of a move.
    pub(in crate::relay) fn answer_move(&mut self, frame: &MoveFrame, says: MoveSays) {
        let (from, to, hops) = (self.options.relay.clone(), frame.from.clone(), self.trees.hops());
        let (group, name, token) = (frame.group.clone(), frame.name.clone(), frame.token);
        self.send_move(MoveFrame { from, to, hops, group, name, token, says });
    }

    /// Answers it when everything that was appended is durable.
    pub(in crate::relay) fn answer_move_durably(&mut self, now: Now, frame: &MoveFrame, says: MoveSays) {
        let (from, to, hops) = (self.options.relay.clone(), frame.from.clone(), self.trees.hops());
        let (group, name, token) = (frame.group.clone(), frame.name.clone(), frame.token);
        let answer = MoveFrame { from, to, hops, group, name, token, says };
        self.journal.wait(Waiting::MoveSaid(Box::new(answer)));
        self.settle_durable(now);
    }

    /// A neighbour passes on what is said of a move.
    pub(in crate::relay) fn on_move(&mut self, now: Now, from: LinkId, mut frame: MoveFrame) {
        if frame.to != self.options.relay {
            if let Some((link, hops)) = self.way_on(&frame.to, from, frame.hops) {
                frame.hops = hops;
                self.say(link, LinkMessage::Move(Box::new(frame)));
            }
            return;
        }
        let says = std::mem::replace(&mut frame.says, MoveSays::Void);
        match says {
            MoveSays::Prepare { spec, queue, merge: true, .. } => {
                self.on_merge_asked(now, &frame, &(spec, queue));
            }
            MoveSays::Prepare { spec, queue, void, .. } => self.on_prepare(now, &frame, (spec, queue), void),
            MoveSays::Handover { keeper, version, done, left } => {
                if let Some(key) = self.merging_of(&frame) {
                    let said = (keeper, version);
                    return self.on_merge_handover(now, (key, &frame), said, (&done, &left));
                }
                self.on_handover(now, &frame, (keeper, version), (*done, &left));
            }
            MoveSays::Ask { member, version } => self.on_move_ask(now, &frame, &member, version),
            MoveSays::Prepared { keeper, version, streams, own } => {
                self.note_own(&frame, own);
                self.on_prepared(now, &frame, (keeper, version), streams);
            }
            MoveSays::Held { storage, version, links, streams } => {
                self.on_held(&frame, (storage, version), links, streams);
            }
            MoveSays::Refused(refusal) => {
                let key = self.moving_of(&frame);
                key.iter().for_each(|key| self.serve_again(*key, &frame.from));
                let moving = key.and_then(|key| self.moving_at(key));
                if let Some(moving) = moving.filter(|m| m.to == frame.from && m.cut.is_none()) {
                    // It may have lost what it had made.
                    let said_at = moving.heard.said_at;
                    moving.heard = Heard { refusal: Some(refusal), said_at, ..Heard::default() };
                }
            }
            MoveSays::Taken => self.on_taken(now, &frame),
            MoveSays::Void => self.on_void(now, &frame),
            MoveSays::Copy { part, from } => self.on_copy_asked(now, &frame, (part, from)),
            MoveSays::Copied { part, through } => self.on_copied(now, &frame, (part, through)),
        }
    }

    /// The number of the group that is meant, if it is there in that life.
    pub(in crate::relay) fn group_in(&self, frame: &MoveFrame) -> Option<GroupNumber> {
        let number = self.groups.number(&frame.group.name)?;
        (self.groups.get(number)?.incarnation == frame.group.incarnation).then_some(number)
    }
}
