//! Up to where each group is released: as of now, and as a restart would know it.
//!
//! What is released stands in snapshots of the relay's state and in no entry. So what may be taken off
//! the disk is what was released when the newest snapshot on it was *begun*: all of its parts are younger
//! than that. If more went, a relay that crashes would come back believing that it holds what it does not.
//!
//! Nothing is copied when a snapshot begins, for there may be millions of groups: each remembers what it
//! was at the beginning of the last one before its last change.

use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashMapExt};

use super::sync::{Mutex, MutexGuard, PoisonError};
use crate::id::{GroupNumber, Index};

/// A snapshot has been begun: which one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotBegun(u64);

/// One group.
#[derive(Clone, Copy, Default)]
struct Group {
    now: Index,
    /// The snapshot that was begun last when `now` was set.
    era: u64,
    /// What it was when that one was begun.
    noted: Index,
    /// What it was when the newest one on disk was begun, of those before `era`.
    before: Index,
}

impl Group {
    /// What it was when `snapshot` was begun: the last one of all, or the newest one on disk.
    fn at(&self, snapshot: u64) -> Index {
        match self.era.cmp(&snapshot) {
            std::cmp::Ordering::Less => self.now,
            std::cmp::Ordering::Equal => self.noted,
            std::cmp::Ordering::Greater => self.before,
        }
    }
}

struct State {
    groups: HashMap<GroupNumber, Group>,
    /// How many snapshots were begun.
    begun: u64,
    /// Which of them is the newest one on disk.
    on_disk: u64,
    /// The last one that was begun has not come to an end.
    is_running: bool,
    /// It was given up.
    has_failed: bool,
}

/// Up to where each group was released.
pub(crate) struct Released {
    state: Mutex<State>,
    count: AtomicU64,
}

impl Default for Released {
    fn default() -> Self {
        // Whatever is released before the first snapshot is known from none.
        let state =
            State { groups: HashMap::new(), begun: 1, on_disk: 1, is_running: false, has_failed: false };
        Self { state: Mutex::new(state), count: AtomicU64::new(0) }
    }
}

impl Released {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was released, or became known on disk.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// What nobody needs of a group.
    pub(crate) fn below(&self, group: GroupNumber) -> Index {
        self.lock().groups.get(&group).map_or(Index(0), |known| known.now)
    }

    /// What nobody needs of a group, as a restart would know it.
    pub(crate) fn on_disk(&self, group: GroupNumber) -> Index {
        let state = self.lock();
        state.groups.get(&group).map_or(Index(0), |known| known.at(state.on_disk))
    }

    /// The same as a restart would know it, and as of now.
    pub(crate) fn both(&self, group: GroupNumber) -> [Index; 2] {
        let state = self.lock();
        let known = state.groups.get(&group);
        known.map_or([Index(0); 2], |known| [known.at(state.on_disk), known.now])
    }

    /// True if that is news.
    pub(crate) fn raise(&self, group: GroupNumber, below: Index) -> bool {
        let mut state = self.lock();
        let (begun, on_disk) = (state.begun, state.on_disk);
        let known = state.groups.entry(group).or_default();
        if below <= known.now {
            return false;
        }
        if known.era < begun {
            let before = known.at(on_disk);
            *known = Group { era: begun, noted: known.now, before, ..*known };
        }
        known.now = below;
        self.count.fetch_add(1, Ordering::Release);
        true
    }

    /// A snapshot is begun: it will know of all that was released until now.
    pub(crate) fn begin(&self) -> SnapshotBegun {
        let mut state = self.lock();
        state.begun += 1;
        state.is_running = true;
        SnapshotBegun(state.begun)
    }

    /// That one is on disk, or given up. One that another was begun after says nothing here.
    pub(crate) fn end(&self, snapshot: SnapshotBegun, is_on_disk: bool) {
        let mut state = self.lock();
        if snapshot.0 != state.begun {
            return;
        }
        (state.is_running, state.has_failed) = (false, !is_on_disk);
        if is_on_disk {
            state.on_disk = state.begun;
            self.count.fetch_add(1, Ordering::Release);
        }
    }

    /// All that was released until now is known from what is on disk.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        state.begun += 1;
        state.on_disk = state.begun;
        state.is_running = false;
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Which snapshot is the newest one on disk.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().on_disk
    }

    /// Whether the last snapshot was given up.
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().has_failed
    }

    /// How many snapshots were begun; none while one is being made.
    pub(crate) fn resting(&self) -> Option<u64> {
        let state = self.lock();
        (!state.is_running).then_some(state.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupNumber = GroupNumber(1);

    fn known(released: &Released) -> (u64, u64) {
        (released.below(GROUP).0, released.on_disk(GROUP).0)
    }

    #[test]
    fn what_was_released_when_the_newest_snapshot_was_begun_is_known_on_disk() {
        let released = Released::default();
        assert!(released.raise(GROUP, Index(3)) && !released.raise(GROUP, Index(2)));
        assert_eq!(known(&released), (3, 0));
        let first = released.begin();
        released.raise(GROUP, Index(5));
        released.raise(GROUP, Index(6));
        assert_eq!((known(&released), released.resting()), ((6, 0), None), "it is not on disk yet");
        released.end(first, true);
        assert_eq!(known(&released), (6, 3), "as it was when that one was begun");
        let second = released.begin();
        assert_eq!(known(&released), (6, 3));
        released.end(second, true);
        assert_eq!(known(&released), (6, 6));
    }

    #[test]
    fn one_that_is_given_up_makes_nothing_known() {
        let released = Released::default();
        released.raise(GROUP, Index(2));
        let begun = released.begin();
        released.end(begun, true);
        for below in 3..8 {
            released.raise(GROUP, Index(below));
            let begun = released.begin();
            released.raise(GROUP, Index(below * 10));
            released.end(begun, false);
            assert_eq!(known(&released), (below * 10, 2));
        }
    }

    #[test]
    fn an_older_one_that_comes_late_says_nothing() {
        let released = Released::default();
        let old = released.begin();
        released.raise(GROUP, Index(4));
        let new = released.begin();
        released.raise(GROUP, Index(7));
        released.end(old, true);
        assert_eq!(known(&released), (7, 0));
        released.end(new, true);
        assert_eq!(known(&released), (7, 4));
    }

    #[test]
    fn what_follows_from_the_disk_at_a_start_is_known_at_once() {
        let released = Released::default();
        released.raise(GROUP, Index(4));
        released.settle();
        released.raise(GROUP, Index(9));
        assert_eq!(known(&released), (9, 4));
    }

    /// Against maps that are copied as a whole.
    #[test]
    fn it_is_as_if_all_had_been_noted() {
        let mut dice = crate::dice::Dice::new(17);
        for _ in 0..200 {
            let released = Released::default();
            let (mut now, mut noted, mut on_disk) = ([0; 4], [0; 4], [0; 4]);
            let mut begun = None;
            for _ in 0..60 {
                let group = dice.below(4);
                match dice.below(10) {
                    0 => (begun, noted) = (Some(released.begin()), now),
                    1 => {
                        if let Some(begun) = begun.take() {
                            let is_written = dice.chance(60);
                            released.end(begun, is_written);
                            on_disk = if is_written { noted } else { on_disk };
                        }
                    }
                    _ => {
                        now[group as usize] += dice.below(3);
                        released.raise(GroupNumber(group as u32), Index(now[group as usize]));
                    }
                }
                for group in 0..4 {
                    let number = GroupNumber(group as u32);
                    assert_eq!(
                        (released.below(number).0, released.on_disk(number).0),
                        (now[group], on_disk[group])
                    );
                }
            }
        }
    }
}
