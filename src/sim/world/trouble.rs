//! Troubles of a storm that are more than one crash or one link.

use super::World;
use crate::id::StorageId;
use crate::wire::link::LinkMessage;

/// Seconds by which a wall clock jumps at the most.
const JUMP_SECONDS: u64 = 3_600;

impl World {
    /// The id of the disk that a relay gets in place of the one that it has lost: greater, or not. Which of
    /// two versions with one counter counts is decided by it.
    pub(super) fn another_storage(&mut self, node: usize) -> StorageId {
        let before = self.nodes[node].storage();
        loop {
            let [high, low] = [self.disks.next_number(), self.disks.next_number()];
            let mut bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
            bytes[0] = if self.disks.chance(50) {
                before.0[0].saturating_sub(1)
            } else {
                before.0[0].saturating_add(1)
            };
            if bytes != [0; 16] && bytes != before.0 {
                return StorageId(bytes);
            }
        }
    }

    /// The wall clock of a relay jumps by up to an hour, forward or back.
    pub(super) fn jump(&mut self, node: usize) {
        let seconds = self.dice.below(2 * JUMP_SECONDS) as i64 - JUMP_SECONDS as i64;
        self.jump_clock(node, seconds);
    }

    /// All links break between some relays and the others, or all that can come up do.
    pub(super) fn part(&mut self) {
        if self.dice.chance(50) {
            return self.heal_links();
        }
        let side: Vec<bool> = self.nodes.iter().map(|_| self.dice.chance(50)).collect();
        for wire in 0..self.wires.len() {
            let ends = self.wires[wire].ends;
            if side[ends[0]] != side[ends[1]] {
                self.set_link(wire, false);
            }
        }
    }

    /// A run that is on its way over a link goes over it once more, behind everything else there.
    pub(super) fn repeat(&mut self) {
        let wire = self.dice.below(self.wires.len() as u64) as usize;
        let to = self.dice.below(2) as usize;
        let waiting = &mut self.wires[wire].to[to];
        let runs = waiting.iter().filter(|message| matches!(message, LinkMessage::Run { .. }));
        let runs: Vec<LinkMessage> = runs.cloned().collect();
        if !runs.is_empty() {
            let run = runs[self.dice.below(runs.len() as u64) as usize].clone();
            waiting.push_back(run);
        }
    }
}
