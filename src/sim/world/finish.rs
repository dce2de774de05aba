//! How a run ends: everything is healed, and every promise is held against what is there.

use std::collections::BTreeSet;

use super::{World, name_of};
use crate::id::GroupName;
use crate::wire::body::{Reply, Request};

impl World {
    /// Starts every relay, heals every link, and lets everything arrive.
    pub fn heal(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
            self.set_room(node, true);
        }
        // Who has missed a change learns at each turn of one more relay who its neighbours are.
        for _ in 0..=self.nodes.len() {
            self.heal_links();
            self.settle();
        }
        self.pass_ms(5_000);
        self.settle();
        self.check_tables();
    }

    /// Starts every relay but `dead`, heals every link between the others, and checks that no
    /// message is on the disk of one of them and missing in a subscription at another that it can
    /// reach. Subscriptions that were made later than the messages are not for this.
    ///
    /// # Errors
    /// The first message that did not come.
    pub fn finish_without(&mut self, dead: usize) -> Result<(), String> {
        self.crash(dead);
        let others: Vec<usize> = (0..self.nodes.len()).filter(|node| *node != dead).collect();
        for node in &others {
            self.start(*node);
            self.set_room(*node, true);
        }
        self.heal_links();
        self.settle();
        let held: Vec<(usize, GroupName, Vec<String>)> = others
            .iter()
            .flat_map(|node| self.groups.iter().map(|group| (*node, group.clone())))
            .map(|(node, group)| (node, group.clone(), self.nodes[node].held(&group)))
            .collect();
        // What is lacking is pulled when it has not come for a while.
        (0..3).for_each(|_| self.rest());
        for place in 0..self.subscriptions.len() {
            let (home, group, name) = self.subscriptions[place].clone();
            if home == dead {
                continue;
            }
            self.take(place);
            let got: BTreeSet<&String> = self.known[place].taken.iter().collect();
            let near = held.iter().filter(|(node, of, _)| *of == group && self.can_reach(*node, home));
            for (node, _, payloads) in near {
                if let Some(missing) = payloads.iter().find(|payload| !got.contains(payload)) {
                    let places: Vec<String> = self.nodes.iter().map(|node| node.explain(missing)).collect();
                    let holder = name_of(*node);
                    let home = name_of(home);
                    let places = places.join("\n");
                    return Err(format!(
                        "{home}, {group}/{name}: {missing} is at {holder} and did not come\n{places}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether links that are up join two relays.
    pub(super) fn can_reach(&self, from: usize, to: usize) -> bool {
        let mut reached = BTreeSet::from([from]);
        loop {
            let up = self.wires.iter().filter(|wire| wire.is_up);
            let more = up.filter(|wire| wire.ends.iter().any(|end| reached.contains(end)));
            let more: Vec<usize> = more.flat_map(|wire| wire.ends).collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                return reached.contains(&to);
            }
        }
    }

    /// Heals the network and checks every subscription.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn finish(&mut self) -> Result<(), String> {
        self.heal();
        self.count_moved();
        self.wrong.take().map_or(Ok(()), Err)?;
        self.take_from_all()?;
        self.check_topology()?;
        self.check_books()?;
        self.check_released()?;
        self.check_forgotten()?;
        self.watched()
    }

    /// A subscription takes what is there, and has all that it is owed.
    fn take_and_check(&mut self, place: usize) -> Result<(), String> {
        let (node, group, name) = self.subscriptions[place].clone();
        self.take(place);
        // One that moves lives at no relay that is forgotten.
        let (relay, home) = (name_of(node), if self.homes_move { String::new() } else { name_of(node) });
        self.wrong.take().map_or(Ok(()), Err)?;
        self.oracle.check_at(&home, group.as_str(), &self.known[place].taken).map_err(|wrong| {
            let places: Vec<String> = self.nodes.iter().map(|node| node.explain(&wrong.payload)).collect();
            format!("{relay}, {group}/{name}: {wrong}\n{}", places.join("\n"))
        })
    }

    /// The books of all relays balance (P11).
    fn check_books(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            if self.gone.contains(&node) {
                continue;
            }
            match self.ask(node, Request::Books { group: None }) {
                Ok(Reply::Books(books)) if books.balanced => {}
                answer => return Err(format!("{}: {answer:?}", self.nodes[node].name)),
            }
        }
        Ok(())
    }

    /// Nobody was told that something is missing (I9).
    ///
    /// # Errors
    /// Who was.
    pub fn check_gaps(&self) -> Result<(), String> {
        match self.nodes.iter().find(|node| node.gaps > 0) {
            Some(node) => Err(format!("{} has told of {} gaps, and nothing is lost", node.name, node.gaps)),
            None => Ok(()),
        }
    }

    /// When all is let go, no relay remembers an epoch that has ended.
    pub(super) fn check_forgotten(&self) -> Result<(), String> {
        match self.nodes.iter().find(|node| node.streams()[1] > 0) {
            Some(node) => Err(format!(
                "{}: {:?} streams, sealed, names\n{}",
                node.name,
                node.streams(),
                node.explain("?")
            )),
            None => Ok(()),
        }
    }

    /// Lets so long pass that origins without anything new are none any more.
    pub fn rest_for_long(&mut self) {
        for _ in 0..2 {
            self.pass_ms(crate::limits::ORIGIN_QUIET_MS);
            self.settle();
        }
        self.rest();
    }

    /// What was seen on all disks and wires so far.
    ///
    /// # Errors
    /// The first invariant that was broken.
    pub fn watched(&self) -> Result<(), String> {
        self.watch.broken()
    }

    /// Lets ten seconds pass in which nothing new happens.
    ///
    /// # Panics
    /// When the relays never come to rest.
    pub fn rest(&mut self) {
        for _ in 0..5 {
            self.pass_ms(2_000);
            self.settle();
        }
    }

    /// Every subscription takes what is there.
    pub fn take_all(&mut self) {
        (0..self.subscriptions.len()).for_each(|place| self.take(place));
    }

    /// A subscription takes what is there and acks it, and the acks are on disk.
    pub(in crate::sim) fn take(&mut self, place: usize) {
        let (_, group, name) = self.subscriptions[place].clone();
        if let Some(node) = self.home_now(place) {
            if let Some(roamer) = &mut self.roamers[place] {
                roamer.is_taken_over = true;
            }
            let got = self.nodes[node].drain(self.now, &group, &name);
            self.check_handed((place, node), &got);
            let mut unique = std::collections::BTreeSet::new();
            let twice = got
                .iter()
                .find(|payload| !unique.insert(*payload))
                .map(|twice| format!("{twice} came twice"));
            let received = self.received(place, &got).err().or(twice);
            if let Some(wrong) = received {
                self.wrong.get_or_insert(format!("{}, {group}/{name}: {wrong}", self.nodes[node].name));
            }
            self.known[place].settle(got);
            self.collect(node);
        }
    }

    /// Every subscription that is not at a relay that is gone takes what is there.
    fn take_from_all(&mut self) -> Result<(), String> {
        for place in 0..self.subscriptions.len() {
            if self.homes_move || !self.gone.contains(&self.subscriptions[place].0) {
                self.take_and_check(place)?;
            }
        }
        Ok(())
    }

    /// When everybody has acked everything, nothing is left on any disk.
    pub(super) fn check_released(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            self.rest();
            if self.nodes.iter().all(|node| !node.is_up() || node.held_runs() == 0) {
                break;
            }
            // What is pulled comes some seconds late. If it is owed to nobody, as what a relay that was forgotten
            // once was owed before, it stands in the backlog of a subscription that was asked before.
            self.take_from_all()?;
        }
        match self.nodes.iter().find(|node| node.is_up() && node.held_runs() > 0) {
            Some(node) => {
                let (held, name) = (node.held_runs(), &node.name);
                let all: Vec<String> = self.nodes.iter().map(|node| node.explain("?")).collect();
                Err(format!("{name} still holds {held} runs that nobody is owed\n{}", all.join("\n")))
            }
            None => Ok(()),
        }
    }
}
