//! The groups and queues of a file beside those that a network has already.

use super::{Group, GroupSettings, Queue, Topology};

impl Topology {
    /// What holds of groups and queues once this file follows on `old`: those that it leaves out stay as
    /// they are, with their settings and homes.
    #[must_use]
    pub(crate) fn with_groups_of(&self, old: &Self) -> Self {
        let mut all = self.clone();
        let is_left_out = |name: &str| self.settings(name).is_none();
        all.groups.extend(old.groups.iter().filter(|group| is_left_out(&group.name)).cloned());
        all.queues.extend(old.queues.iter().filter(|queue| is_left_out(&queue.name)).cloned());
        all.sort_groups();
        all
    }

    /// Takes out a group or queue, and puts in its place what the network has of that name: its settings,
    /// and the home of a queue.
    pub(crate) fn replace_group(&mut self, name: &str, standing: Option<(GroupSettings, Option<String>)>) {
        self.groups.retain(|group| group.name != name);
        self.queues.retain(|queue| queue.name != name);
        let name = name.to_owned();
        match standing {
            None => {}
            Some((settings, None)) => self.groups.push(Group { name, settings }),
            Some((settings, Some(home))) => self.queues.push(Queue { name, home, settings }),
        }
        self.sort_groups();
    }

    pub(super) fn sort_groups(&mut self) {
        self.groups.sort_by(|one, other| one.name.cmp(&other.name));
        self.queues.sort_by(|one, other| one.name.cmp(&other.name));
    }
}
