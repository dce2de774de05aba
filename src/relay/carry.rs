//! What is said over circuits, on its way: to its end here, or on to the next relay.
//!
//! A relay between the ends keeps nothing of a circuit. It passes on what it can, over the link
//! that leads to where it is for; what it cannot is dropped, and the end that misses it finds the
//! hole.

use bytes::Bytes;

use super::Relay;
use super::input::Now;
use crate::id::LinkId;
use crate::limits;
use crate::wire::circuit::{CircuitFrame, CircuitHead, CircuitSays};
use crate::wire::frame::DeliverHead;
use crate::wire::link::LinkMessage;

impl Relay {
    /// Whether something may be put behind what waits for a link; an application could otherwise say
    /// without end what leaves more slowly.
    pub(super) fn takes_circuits(&self, link: LinkId) -> bool {
        let link = self.links.table.get(&link);
        link.is_some_and(|link| link.waiting_bytes() < limits::CIRCUITS_LINK_BYTES_MAX)
    }

    /// Sends something off that is said here.
    pub(super) fn carry(&mut self, head: CircuitHead, says: CircuitSays) {
        let link = self.links.toward.get(head.to()).copied();
        if let Some(link) = link.filter(|link| self.takes_circuits(*link)) {
            self.say(link, LinkMessage::Circuit(Box::new(CircuitFrame { head, says })));
        }
    }

    /// A neighbour passes something on.
    pub(super) fn on_carried(&mut self, now: Now, from: LinkId, frame: CircuitFrame) {
        let CircuitFrame { head, says } = frame;
        if *head.to() != self.options.relay {
            if let Some((link, hops)) = self.way_on(head.to(), from, head.hops)
                && self.takes_circuits(link)
            {
                let head = CircuitHead { hops, ..head };
                self.say(link, LinkMessage::Circuit(Box::new(CircuitFrame { head, says })));
            }
        } else if head.is_back {
            self.on_circuit_back(now, &head, says);
        } else {
            self.on_circuit(now, &head, says);
        }
    }

    /// A neighbour passes messages on.
    pub(super) fn on_carried_deliver(
        &mut self,
        now: Now,
        from: LinkId,
        mut head: Box<CircuitHead>,
        (deliver, records): (DeliverHead, Bytes),
    ) {
        if *head.to() == self.options.relay {
            return self.on_circuit_deliver(now, &head, (deliver, records));
        }
        let Some((link, hops)) = self.way_on(head.to(), from, head.hops) else { return };
        head.hops = hops;
        if self.takes_circuits(link) {
            self.say(link, LinkMessage::Deliver { head, deliver, records });
        }
    }

    /// Something has come for a circuit that is not there: its home is to know.
    pub(super) fn disown(&mut self, head: &CircuitHead, says: &CircuitSays) {
        if !matches!(says, CircuitSays::End(_)) {
            let head = CircuitHead { is_back: false, sequence: 0, hops: self.trees.hops(), ..head.clone() };
            self.carry(head, CircuitSays::End(None));
        }
    }
}
