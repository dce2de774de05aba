//! The groups that use one tree: one of them nearly always.

use std::collections::BTreeSet;

use crate::id::GroupNumber;

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
