//! One tree of the table, what it was made for, and the groups that use it: one of them nearly always.

use std::collections::BTreeSet;

use crate::id::GroupNumber;
use crate::routing::map::Place;
use crate::routing::order::Spread;
use crate::routing::tree::{Shape, Tree};

/// A tree, and what it was made for.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) shape: Shape,
    pub(crate) spread: Spread,
    /// Sorted.
    pub(crate) relays: Box<[Place]>,
    /// Without any the slot is free.
    pub(crate) users: Users,
    pub(crate) tree: Tree,
    /// How many relays of the tree are known to stand; [`WHOLE`] when nothing is to be computed.
    pub(crate) kept: u16,
}

pub(crate) const WHOLE: u16 = u16::MAX;

/// Some groups.
#[derive(Clone, Debug)]
pub(crate) enum Users {
    One(GroupNumber),
    /// Any number of them.
    Some(BTreeSet<GroupNumber>),
}

impl Users {
    pub(crate) fn add(&mut self, group: GroupNumber) {
        match self {
            Self::One(one) if *one == group => {}
            Self::One(one) => *self = Self::Some(BTreeSet::from([*one, group])),
            Self::Some(groups) => {
                groups.insert(group);
            }
        }
    }

    pub(crate) fn remove(&mut self, group: GroupNumber) {
        match self {
            Self::One(one) if *one == group => *self = Self::Some(BTreeSet::new()),
            Self::One(_) => {}
            Self::Some(groups) => {
                groups.remove(&group);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Some(groups) if groups.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = GroupNumber> {
        let (one, groups) = match self {
            Self::One(one) => (Some(*one), None),
            Self::Some(groups) => (None, Some(groups)),
        };
        one.into_iter().chain(groups.into_iter().flatten().copied())
    }
}
