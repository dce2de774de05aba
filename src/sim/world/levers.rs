//! What tests of single cases do by hand: one message, one clock, one end of a link.

use super::super::node::Node;
use super::{World, name_of};
use crate::id::{GroupName, LinkId, ProducerId, ProducerSequence};
use crate::log::Entry;
use crate::relay::Input;
use crate::wire::frame::AckLevel;
use crate::wire::link::LinkMessage;

impl World {
    /// Whether a relay does not start, whatever the weather.
    #[must_use]
    pub fn is_gone(&self, node: usize) -> bool {
        self.gone.contains(&node)
    }

    /// Whether there is any subscription.
    #[must_use]
    pub fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Whether a relay has any.
    #[must_use]
    pub fn has_subscription_at(&self, node: usize) -> bool {
        self.subscriptions.iter().any(|(at, ..)| *at == node)
    }

    /// Nobody receives any more from what a relay has.
    pub fn leave_subscriptions(&mut self, node: usize) {
        let leaves: Vec<bool> = self.subscriptions.iter().map(|(at, ..)| *at == node).collect();
        let mut of = leaves.iter();
        self.subscriptions.retain(|_| of.next() == Some(&false));
        let mut of = leaves.iter();
        self.known.retain(|_| of.next() == Some(&false));
        let mut of = leaves.iter();
        self.roamers.retain(|_| of.next() == Some(&false));
    }

    /// A relay crashes, and of what its disk had called synced the last `entries` are not there.
    pub fn crash_forgetting(&mut self, node: usize, entries: usize) {
        self.crash_keeping(node, 0);
        self.nodes[node].lose_tail(entries);
        self.watch.crashed(node, self.nodes[node].log().0);
    }

    /// A publisher puts its first message at a relay, once more or for the first time, as the put of this number.
    /// What comes of it is not collected yet.
    pub fn put_first(&mut self, node: usize, group: &str, number: u64, level: (AckLevel, u16)) {
        let now = self.now;
        let handle = self.nodes[node].open(now, &group.parse().expect("a name"));
        let producer = Some((ProducerId(7), ProducerSequence(1)));
        self.nodes[node].put_as(now, (handle, number), &["once".to_owned()], level, producer);
    }

    /// Lets the next message of a wire arrive at this end of it. False: there is none.
    pub fn arrive_at(&mut self, wire: usize, end: usize) -> bool {
        self.arrive(wire, end)
    }

    /// Changes what is on its way.
    pub fn forget_on_the_way(&mut self, change: &dyn Fn(&mut LinkMessage)) {
        self.wires.iter_mut().flat_map(|wire| &mut wire.to).flatten().for_each(change);
    }

    /// How many messages are on their way to this end of a wire.
    #[must_use]
    pub fn waiting(&self, wire: usize, end: usize) -> usize {
        self.wires[wire].to[end].len()
    }

    /// Lets time pass, and nothing arrive.
    pub fn wait_ms(&mut self, ms: u64) {
        self.pass_ms(ms);
    }

    /// The topology file with which a relay is started from now on.
    pub fn set_file(&mut self, node: usize, text: &str) {
        self.nodes[node].file = Some(text.to_owned());
    }

    /// One end of a link has measured that it costs this much now; the other has not.
    pub fn set_cost_at(&mut self, node: usize, wire: usize, cost: u32) {
        self.nodes[node].input(self.now, Input::LinkCost { link: LinkId(wire as u32 + 1), cost });
        self.collect(node);
    }

    /// A relay stops and starts again as a newer program, which computes trees in other ways too.
    pub fn upgrade(&mut self, node: usize) {
        self.crash(node);
        self.start(node);
        self.nodes[node].upgrade(self.now);
        self.collect(node);
        self.heal_links();
    }

    /// From now on what relays flood is kept back.
    pub fn keep_facts_back(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Links whose ends know other facts.
    #[must_use]
    pub fn differing(&self) -> Vec<[usize; 2]> {
        let known: Vec<_> = self.nodes.iter().map(Node::known).collect();
        let ends = self.wires.iter().filter(|wire| wire.is_up).map(|wire| wire.ends);
        ends.filter(|[a, b]| known[*a] != known[*b]).collect()
    }

    /// Nothing is on its way: all who are linked know the same, and none had to be told twice.
    pub(super) fn check_tables(&self) {
        if let Some([a, b]) = self.differing().first() {
            let [a, b] = [(a, b), (b, a)].map(|(one, other)| {
                let other = self.nodes[*other].known().unwrap_or_default();
                let own = self.nodes[*one].known().unwrap_or_default().into_iter();
                own.filter(|(hash, fact)| other.get(hash) != Some(fact))
                    .map(|(_, fact)| fact)
                    .collect::<Vec<_>>()
            });
            panic!("one end knows {a:#?}, the other one {b:#?}");
        }
        let differed = self.nodes.iter().position(|node| node.differed() > 0);
        assert_eq!(differed.map(name_of), None, "it has found others to know something else");
    }

    /// What was kept back: the wire, the end to which it goes, the message. Nothing more is kept.
    pub fn take_facts(&mut self) -> Vec<(usize, usize, LinkMessage)> {
        self.held.take().unwrap_or_default()
    }

    /// Keeps back what is to be; gives back what goes on its way.
    pub(super) fn keep_back(&mut self, wire: usize, to: usize, message: LinkMessage) -> Option<LinkMessage> {
        match &mut self.held {
            Some(held) if matches!(message, LinkMessage::Facts(_)) => {
                held.push((wire, to, message));
                None
            }
            _ => Some(message),
        }
    }

    /// The wall clock of a relay jumps by so many seconds, forward or back.
    pub fn jump_clock(&mut self, node: usize, seconds: i64) {
        self.nodes[node].jump_clock(seconds);
    }

    /// Messages of a group on the disk of a relay, whether it runs or not.
    #[must_use]
    pub fn on_disk(&self, node: usize, group: &str) -> usize {
        let group: GroupName = group.parse().expect("names of simulated groups are names");
        let node: &Node = &self.nodes[node];
        let (log, durable) = node.log();
        let is_message = |entry: &&Entry| match entry {
            Entry::Run(run) => {
                run.run.header.kind == crate::wire::run::RunKind::Data
                    && node.group_name(run.group).is_some_and(|name| name == group)
            }
            Entry::State(_) => false,
        };
        log[..durable].iter().filter(is_message).count()
    }
}
