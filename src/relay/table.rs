//! The table of groups: by number for the hot path, by name for people.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::group::Group;
use super::subscription::{Subscription, SubscriptionKey};
use crate::id::{GroupName, GroupNumber};

/// Groups in one answer at the most: it then fits into a frame.
const LIST_MAX: u32 = 500;

/// All groups of a relay.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    by_number: Vec<Option<Box<Group>>>,
    by_name: BTreeMap<GroupName, GroupNumber>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn number(&self, name: &GroupName) -> Option<GroupNumber> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, number: GroupNumber) -> Option<&Group> {
        self.by_number.get(number.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, number: GroupNumber) -> Option<&mut Group> {
        self.by_number.get_mut(number.0 as usize)?.as_deref_mut()
    }

    pub(super) fn subscription(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        let group = self.get_mut(key.group)?;
        let place = group.find(key.number)?;
        group.subscriptions.get_mut(place).map(|s| &mut **s)
    }

    pub(super) fn insert(&mut self, group: Group) {
        let place = group.number.0 as usize;
        if self.by_number.len() <= place {
            self.by_number.resize_with(place + 1, || None);
        }
        if group.remnant.is_none() {
            // The log may tell of an earlier life while a part of the snapshot has a later one already.
            let known = self.by_name.entry(group.name.clone()).or_insert(group.number);
            *known = (*known).max(group.number);
        }
        self.by_number[place] = Some(Box::new(group));
    }

    pub(super) fn remove(&mut self, number: GroupNumber) -> Option<Box<Group>> {
        let group = self.by_number.get_mut(number.0 as usize)?.take()?;
        if self.by_name.get(&group.name) == Some(&number) {
            self.by_name.remove(&group.name);
        }
        Some(group)
    }

    /// All groups, in order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.by_number.iter().filter_map(|g| g.as_deref())
    }

    /// All groups that have a name.
    pub(super) fn named(&self) -> impl Iterator<Item = &Group> {
        self.iter().filter(|group| group.remnant.is_none())
    }

    /// All groups, in order of their numbers, to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.by_number.iter_mut().filter_map(|g| g.as_deref_mut())
    }

    /// Groups whose name begins with `prefix` and comes behind `after`, in order of their names.
    pub(super) fn list(&self, prefix: &str, after: Option<&GroupName>, limit: u32) -> Vec<GroupNumber> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.beginning_with(prefix, from).take(limit.min(LIST_MAX) as usize).collect()
    }

    /// All groups from a name on whose name begins with `prefix`, in order of their names.
    pub(super) fn beginning_with<'t>(
        &'t self,
        prefix: &'t str,
        from: Bound<&'t GroupName>,
    ) -> impl Iterator<Item = GroupNumber> + 't {
        // Names are ordered as their texts are, so those with the prefix stand side by side.
        let all = self.by_name.range::<GroupName, _>((from, Bound::Unbounded));
        let is_before = move |name: &GroupName| name.as_str() < prefix;
        all.skip_while(move |(name, _)| is_before(name))
            .take_while(move |(name, _)| name.as_str().starts_with(prefix))
            .map(|(_, number)| *number)
    }
}
