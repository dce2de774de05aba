//! What applications and operators ask: groups, queues, subscriptions, receivers.

use super::confirm::Wish;
use super::filter::Filter;
use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::pages::{group_bytes, page};
use super::state::Operation;
use super::subscription::{Removal, Subscription, SubscriptionKey, SubscriptionNumber};
use super::traces::{How, Passed, pass, pass_open};
use super::{Effect, Relay};
use crate::id::{GroupName, GroupNumber, Index, SessionId, SubscriptionName, WallTime};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::topology::settings::{Fifo, GroupSettings};
use crate::wire::body::{Answer, Refusal, RefusalCode, Reply, Request, Start, SubscriptionSpec};
use crate::wire::link::{Fact, Version};

/// The one subscription of a queue.
pub(super) const QUEUE_SUBSCRIPTION: &str = "queue";

/// When a request's answer may be sent.
pub(super) enum When {
    /// At once: it changed nothing.
    Now,
    /// When what it changed is durable.
    Durable,
    /// When that is so, and other relays know of it.
    Known(Wish),
    /// The answer comes by itself.
    Later,
}

pub(super) type Outcome = Result<(Reply, When), Refusal>;

impl Relay {
    pub(super) fn handle_request(&mut self, now: Now, (session, request): (SessionId, u64), body: Request) {
        let elsewhere = self.ask_elsewhere(now, (session, request), &body);
        let outcome = elsewhere.unwrap_or_else(|| self.dispatch_request(now, (session, request), body));
        let (answer, when): (Answer, When) = match outcome {
            Ok((reply, when)) => (Ok(reply), when),
            Err(refusal) => (Err(refusal), When::Now),
        };
        let answer = Box::new(answer);
        match when {
            When::Now => self.effects.push_back(Effect::Answer { session, request, answer }),
            When::Durable => {
                self.journal.wait(Waiting::Answer { session, request, answer });
                self.settle_durable(now);
            }
            When::Known(wish) => self.confirm(now, (session, request), answer, wish),
            When::Later => {}
        }
    }

    fn dispatch_request(&mut self, now: Now, (session, request): (SessionId, u64), body: Request) -> Outcome {
        self.check_taking(&body)?;
        match body {
            Request::GroupOpen { group } => self.open_group(now, session, &group),
            Request::GroupCreate { group, settings, queue } => self.create_group(now, group, settings, queue),
            Request::GroupSet { group, settings } => self.set_group(now, &group, settings),
            Request::GroupList { prefix, after, limit } => {
                Ok(self.list_groups(&prefix, after.as_ref(), limit))
            }
            Request::GroupShow { group } => {
                let number = self.known_group(&group)?;
                Ok((Reply::Group(Box::new(self.whole_group_info(number))), When::Now))
            }
            Request::GroupRemove { group } => self.remove_group(&group),
            Request::SubscriptionCreate { group, name, spec } => {
                self.create_subscription(now, &group, name, &spec)
            }
            Request::SubscriptionList { group, after, limit } => {
                let number = self.known_group(&group)?;
                Ok((Reply::Subscriptions(self.subscription_infos(number, after.as_ref(), limit)), When::Now))
            }
            Request::SubscriptionShow { group, name } => {
                let key = self.known_subscription(&group, &name)?;
                self.subscription_info(key)
                    .map(|info| (Reply::Subscription(info), When::Now))
                    .ok_or_else(|| no_subscription(&group, &name))
            }
            Request::SubscriptionSeek { group, name, start } => self.seek(now, &group, &name, &start),
            Request::SubscriptionRemove { group, name } => self.remove_by_name(now, &group, &name),
            Request::SubscriptionMove { group, name, to } => self.move_request(now, (&group, &name), to),
            Request::Attach { group, name, create } => self.attach(now, session, &group, name, create),
            Request::Detach { handle } => self.detach_request(now, session, handle),
            Request::Poll { handle, messages } => self.poll((session, request), handle, messages),
            Request::Sync => self.sync(now, (session, request)),
            Request::Locate { group, prefix, after } => {
                Ok((Reply::Located(self.locate(&group, prefix, after.as_deref())?), When::Now))
            }
            Request::Unknown { why } => {
                let message = format!("the request cannot be understood: {why}");
                Err(Refusal::new(RefusalCode::Invalid, message))
            }
            Request::Status => Ok((Reply::Status(Box::new(self.status(now))), When::Now)),
            Request::LinkList { after, limit } => {
                Ok((Reply::Links(self.link_infos(now, after.as_ref(), limit)), When::Now))
            }
            Request::RelayList { after, limit } => {
                Ok((Reply::Relays(self.relay_infos(after.as_ref(), limit)?), When::Now))
            }
            Request::GroupTree { group, origin, from, limit } => {
                let tree = self.group_tree(now, &group, origin, (from, limit))?;
                Ok((Reply::GroupTree(Box::new(tree)), When::Now))
            }
            Request::RelayDrain { abandon } => self.drain_request(now, session, abandon),
            Request::RelayDrainNamed { relay, abandon } => {
                self.drain_named(now, (session, request), relay, abandon)
            }
            Request::RelayForget { relay, confirmed } => self.forget_request(now, relay, confirmed),
            Request::TopologyShow { version, hash } => self.show_topology(version, hash),
            Request::TopologyApply { text, base, restores } => self.apply_topology(now, text, base, restores),
            Request::TopologyJoin { relay, storage } => self.join(&relay, storage),
            Request::TopologyTell { entry } => {
                self.handle_topology(now, *entry);
                Ok((Reply::Done, When::Durable))
            }
            Request::Books { group } => Ok((Reply::Books(Box::new(self.books_of(group)?)), When::Now)),
            Request::Where { message, local, within_ms } => {
                self.begin_where(now, (session, request), message, (local, within_ms))
            }
        }
    }

    fn remove_by_name(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) -> Outcome {
        let key = self.known_subscription(group, name)?;
        if self.groups.get(key.group).is_some_and(|g| g.queue) {
            let message =
                format!("`{group}` is a queue, and `{name}` is its backlog: remove the queue instead");
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        self.check_settled(key)?;
        let message = format!("subscription `{name}` of group `{group}` was removed");
        self.remove_subscription(now, key, Refusal::new(RefusalCode::Removed, message), Removal::Wanted);
        Ok((Reply::Done, When::Durable))
    }

    pub(super) fn known_group(&self, name: &GroupName) -> Result<GroupNumber, Refusal> {
        self.groups.number(name).ok_or_else(|| no_group(name))
    }

    pub(super) fn known_subscription(
        &self,
        group: &GroupName,
        name: &SubscriptionName,
    ) -> Result<SubscriptionKey, Refusal> {
        let number = self.known_group(group)?;
        let found = self.names.get(&(number, name.clone()));
        found
            .map(|n| SubscriptionKey { group: number, number: *n })
            .ok_or_else(|| no_subscription(group, name))
    }

    fn open_group(&mut self, now: Now, session: SessionId, name: &GroupName) -> Outcome {
        let known = self.groups.number(name);
        if !self.sessions.get(&session).is_some_and(|s| s.has_group_room(known)) {
            return Err(too_many_handles());
        }
        if known.is_none() {
            self.check_group_room()?;
        }
        let number = self.group_or_make(now, name);
        let message_bytes_max =
            self.groups.get(number).map_or(limits::MESSAGE_BYTES_DEFAULT, |g| g.settings.message_bytes_max());
        let message_bytes_max =
            message_bytes_max.min(self.options.run_bytes_max.saturating_sub(limits::RUN_OTHER_BYTES));
        let handle = self.sessions.get_mut(&session).and_then(|s| s.open_group(number));
        let handle = handle.ok_or_else(too_many_handles)?;
        let when = if known.is_some() { When::Now } else { When::Durable };
        let life = self.groups.get(number).map_or(0, |group| group.incarnation);
        let nonce = Some(self.stream_epoch(life).nonce).filter(|nonce| *nonce != self.options.epoch.nonce);
        Ok((Reply::GroupHandle { handle, message_bytes_max, nonce }, when))
    }

    pub(super) fn check_group_room(&self) -> Result<(), Refusal> {
        if self.groups.len() >= limits::GROUPS_MAX {
            let message = format!("the relay has {} groups, which is its bound", limits::GROUPS_MAX);
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        Ok(())
    }

    /// The group of this name; it is made when there is none.
    pub(super) fn group_or_make(&mut self, now: Now, name: &GroupName) -> GroupNumber {
        match self.groups.number(name) {
            Some(number) => number,
            None => self.make_group(now, name.clone(), GroupSettings::default(), false),
        }
    }

    fn make_group(&mut self, now: Now, name: GroupName, settings: GroupSettings, queue: bool) -> GroupNumber {
        let incarnation = self.removed.get(&name).map_or(0, |(_, incarnation)| incarnation.saturating_add(1));
        self.make_life(now, name, incarnation, settings, queue)
    }

    /// Makes a group in one of its lives.
    pub(super) fn make_life(
        &mut self,
        now: Now,
        name: GroupName,
        incarnation: u32,
        settings: GroupSettings,
        queue: bool,
    ) -> GroupNumber {
        self.note_news();
        self.counters.groups += 1;
        let number = GroupNumber(self.counters.groups);
        let settings = Box::new(settings);
        let operation = Operation::GroupCreated {
            group: number,
            name: name.clone(),
            incarnation,
            queue,
            settings: settings.clone(),
            at: now.wall,
        };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        let mut group = Group::new(number, name, incarnation, now.wall);
        group.queue = queue;
        group.settings = settings;
        group.heed_fifo();
        self.groups.insert(group);
        if queue {
            self.make_backlog(now, number).expect("a new queue has room for its subscription");
        }
        number
    }

    /// Makes the one subscription of a queue, which has everything from its beginning.
    pub(super) fn make_backlog(&mut self, now: Now, number: GroupNumber) -> Result<SubscriptionKey, Refusal> {
        let spec = SubscriptionSpec { start: Start::Beginning, shared: true, ..SubscriptionSpec::default() };
        let name = SubscriptionName::new(QUEUE_SUBSCRIPTION).expect("a constant that is a name");
        self.make_subscription(now, number, name, &spec)
    }

    pub(super) fn create_group(
        &mut self,
        now: Now,
        name: GroupName,
        settings: GroupSettings,
        queue: bool,
    ) -> Outcome {
        check_settings(&name, &settings)?;
        self.check_dead_letters(&name, &settings)?;
        self.check_dead_letter_order(&name, &settings, &|_| false)?;
        if let Some(number) = self.groups.number(&name) {
            let group = self.groups.get(number);
            let is_queue = group.is_some_and(|g| g.queue || g.home_elsewhere().is_some());
            let same = is_queue == queue && group.is_some_and(|g| *g.settings == settings);
            let what = if is_queue { "a queue" } else { "a group" };
            return if same {
                Ok((Reply::Done, When::Durable))
            } else {
                let message = format!("`{name}` exists already, as {what} with other settings");
                Err(Refusal::new(RefusalCode::Exists, message))
            };
        }
        self.check_group_room()?;
        let number = self.make_group(now, name, settings, queue);
        self.announce_group(number);
        Ok((Reply::Done, When::Durable))
    }

    pub(super) fn set_group(&mut self, now: Now, name: &GroupName, settings: GroupSettings) -> Outcome {
        check_settings(name, &settings)?;
        self.check_dead_letters(name, &settings)?;
        self.check_dead_letter_order(name, &settings, &|_| false)?;
        let number = self.known_group(name)?;
        let settings = Box::new(settings);
        let operation = Operation::GroupSet { group: number, settings: settings.clone(), planned: None };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        if let Some(group) = self.groups.get_mut(number) {
            group.settings = settings;
            if group.spread.is_some() {
                self.plan(number);
            }
        }
        self.on_fifo_set(number);
        self.announce_group(number);
        self.enforce(now, number);
        self.mark_dirty_group(number);
        Ok((Reply::Done, When::Durable))
    }

    /// Dead letters that come back to their group would go round for ever, and grow on the way.
    fn check_dead_letters(&self, name: &GroupName, settings: &GroupSettings) -> Result<(), Refusal> {
        let mut through = vec![name.to_string()];
        let mut next = settings.dead_letter.clone();
        while let Some(target) = next {
            if through.contains(&target) {
                let message =
                    format!("dead letters of `{name}` would come back through {}", through.join(", "));
                return Err(Refusal::new(RefusalCode::Invalid, message));
            }
            let group = GroupName::new(&target).ok().and_then(|name| self.groups.number(&name));
            next = group.and_then(|number| self.groups.get(number)?.settings.dead_letter.clone());
            through.push(target);
        }
        Ok(())
    }

    /// Messages die in any order, and the number of a dead letter is its message's place: in a group
    /// that keeps the order of producers nearly each would wait for what never comes. Groups that are
    /// to be `replaced` are not looked at.
    pub(super) fn check_dead_letter_order(
        &self,
        name: &GroupName,
        settings: &GroupSettings,
        replaced: &dyn Fn(&GroupName) -> bool,
    ) -> Result<(), Refusal> {
        const WHY: &str = "dead letters have no order of producers, and each would wait for others";
        let known = |name: &str| self.groups.get(self.groups.number(&GroupName::new(name).ok()?)?);
        let target = settings.dead_letter.as_deref().and_then(known);
        let target = target.filter(|target| !replaced(&target.name));
        if let Some(target) = target.filter(|target| target.settings.fifo == Fifo::Producer) {
            let target = &target.name;
            let message = format!(
                "`{target}` cannot take the dead letters of `{name}`, since it has fifo = producer: {WHY}; \
                 set it to origin there, or name another group"
            );
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let is_source = |group: &&Group| {
            group.settings.dead_letter.as_deref() == Some(name.as_str()) && !replaced(&group.name)
        };
        match self.groups.iter().find(is_source).filter(|_| settings.fifo == Fifo::Producer) {
            Some(source) => {
                let source = &source.name;
                let message = format!(
                    "`{name}` takes the dead letters of `{source}`, so it cannot have fifo = producer: {WHY}; \
                     leave it at origin, or let those of `{source}` go to another group"
                );
                Err(Refusal::new(RefusalCode::Invalid, message))
            }
            None => Ok(()),
        }
    }

    fn list_groups(&self, prefix: &str, after: Option<&GroupName>, limit: u32) -> (Reply, When) {
        let numbers = self.groups.list(prefix, after, limit);
        let infos = numbers.into_iter().map(|number| self.group_info(number));
        (Reply::Groups(page(infos, group_bytes)), When::Now)
    }

    fn remove_group(&mut self, name: &GroupName) -> Outcome {
        let number = self.known_group(name)?;
        let life = self.groups.get(number).map(Group::id);
        self.end_group(number);
        if let Some(life) = life {
            self.flood(None, &[Fact::Removed(life)]);
        }
        Ok((Reply::Done, When::Durable))
    }

    /// Removes a group with its backlogs and subscriptions.
    pub(super) fn end_group(&mut self, number: GroupNumber) {
        let name = self.groups.get(number).map(|group| group.name.to_string()).unwrap_or_default();
        let refusal = Refusal::new(RefusalCode::Removed, format!("group `{name}` was removed"));
        self.end_group_with(number, &refusal);
    }

    /// The same; its receivers are told this.
    pub(super) fn end_group_with(&mut self, number: GroupNumber, refusal: &Refusal) {
        let keys: Vec<SubscriptionKey> = self.groups.get(number).map_or_else(Vec::new, |g| {
            g.subscriptions.iter().map(|s| SubscriptionKey { group: number, number: s.number }).collect()
        });
        for key in &keys {
            self.dismiss_receivers(*key, refusal);
            self.end_remnants(*key);
        }
        // Not when the removal is read again: the accounts of what is gone begin with the process.
        let brought = self.groups.get(number).and_then(|part| self.accounts_of(part));
        if let Some(brought) = &brought {
            self.take_accounts(brought);
        } else if let Some(group) = self.groups.get(number) {
            let subscriptions = group.subscriptions.iter();
            subscriptions.for_each(|s| self.retired.add(group, s, Removal::Wanted));
        }
        let traffic = self.groups.get_mut(number).and_then(|group| group.traffic.take());
        self.books.add(&traffic.as_ref().map(|traffic| traffic.books.clone()).unwrap_or_default());
        for awaited in traffic.map(|traffic| traffic.awaited).unwrap_or_default() {
            self.refuse_removed(awaited.session, awaited.done);
        }
        self.forget_group(number);
        let operation = Operation::GroupRemoved { group: number, brought: brought.map(Box::new) };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.journal.wait(Waiting::Floor {
            group: number,
            consumed: Index(u64::MAX),
            release: Index(u64::MAX),
        });
    }

    fn create_subscription(
        &mut self,
        now: Now,
        group: &GroupName,
        name: SubscriptionName,
        spec: &SubscriptionSpec,
    ) -> Outcome {
        let known =
            self.groups.number(group).and_then(|g| self.names.get(&(g, name.clone())).map(|n| (g, *n)));
        if let Some((group_number, number)) = known {
            let key = SubscriptionKey { group: group_number, number };
            let same = self.groups.subscription(key).is_some_and(|s| is_same(s, spec));
            return if same {
                Ok((Reply::Done, self.when_known(group_number, spec)))
            } else {
                let message = format!(
                    "subscription `{name}` of group `{group}` exists already, with another mode, filter or window"
                );
                Err(Refusal::new(RefusalCode::Exists, message))
            };
        }
        check_spec(spec)?;
        if self.groups.number(group).is_none() {
            self.check_group_room()?;
        }
        let number = self.group_or_make(now, group);
        self.make_subscription(now, number, name, spec)?;
        Ok((Reply::Done, self.when_known(number, spec)))
    }

    pub(super) fn make_subscription(
        &mut self,
        now: Now,
        number: GroupNumber,
        name: SubscriptionName,
        spec: &SubscriptionSpec,
    ) -> Result<SubscriptionKey, Refusal> {
        self.make_or_remake(now, number, name, (spec, None))
    }

    /// The same, also from what others know of one that is lost.
    pub(super) fn make_or_remake(
        &mut self,
        now: Now,
        number: GroupNumber,
        name: SubscriptionName,
        (spec, remade): (&SubscriptionSpec, Option<Version>),
    ) -> Result<SubscriptionKey, Refusal> {
        check_spec(spec)?;
        self.check_home(number)?;
        if self.names.len() >= limits::SUBSCRIPTIONS_MAX {
            let message =
                format!("the relay has {} subscriptions, which is its bound", limits::SUBSCRIPTIONS_MAX);
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let has_links = !self.is_alone();
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        if group.queue && !group.subscriptions.is_empty() {
            return Err(one_for_all(&group.name));
        }
        self.counters.subscriptions += 1;
        let key = SubscriptionKey { group: number, number: SubscriptionNumber(self.counters.subscriptions) };
        let (start, not_before) = place(group, &spec.start);
        // What begins before the end of what is here has begun with what there was; where nothing is here yet
        // there may be something elsewhere.
        let is_elsewhere = has_links && remade.is_none() && !group.queue && start >= group.next;
        let replays = is_elsewhere && spec.start != Start::Now;
        let first = group.subscriptions.is_empty();
        let window = spec.window.unwrap_or(limits::WINDOW_DEFAULT);
        let operation = Operation::SubscriptionCreated {
            group: number,
            subscription: key.number,
            name: name.clone(),
            shared: spec.shared,
            filter: spec.filter.clone(),
            window,
            start,
            not_before,
            remade,
            replays,
        };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.apply(operation, false).expect("an operation that was checked applies");
        if first {
            self.begin_membership(now, number);
        }
        self.announce_name(number, &name, Some(spec.clone()));
        Ok(key)
    }

    fn seek(&mut self, now: Now, group: &GroupName, name: &SubscriptionName, start: &Start) -> Outcome {
        let key = self.known_subscription(group, name)?;
        self.check_seek(key)?;
        let group = self.groups.get_mut(key.group).expect("a known subscription has a group");
        let (to, not_before) = place(group, start);
        let at = group.find(key.number).expect("a known subscription is in its group");
        let subscription = &mut group.subscriptions[at];
        let (floor, end) = (subscription.cursor.floor(), subscription.cursor.end());
        let passed = &mut self.traces.passed;
        pass_open(passed, &subscription.cursor, key, (floor, to), How::Skipped);
        let owed_again = (to, end.max(to));
        pass(passed, Passed::of(key, owed_again, How::Again));
        subscription.seek(to, not_before, &group.marks);
        self.dirty.push(key);
        self.write_cursors(now, Urgency::Sync);
        if to < floor {
            self.replay_done(key);
        }
        self.enqueue(key);
        Ok((Reply::Done, When::Durable))
    }
}

/// Where a subscription begins that is made or moved now.
fn place(group: &Group, start: &Start) -> (Index, WallTime) {
    match start {
        Start::Now => (group.next, WallTime(0)),
        Start::Beginning => (group.low, WallTime(0)),
        Start::Time(time) => (group.meter.index_at(*time).max(group.low).min(group.next), *time),
        Start::Index(index) => ((*index).max(group.low).min(group.next), WallTime(0)),
    }
}

fn is_same(subscription: &Subscription, spec: &SubscriptionSpec) -> bool {
    subscription.shared == spec.shared
        && subscription.filter.as_ref().map(Filter::as_str) == spec.filter.as_deref()
        && spec.window.is_none_or(|w| w == subscription.window)
}

pub(super) fn check_spec(spec: &SubscriptionSpec) -> Result<(), Refusal> {
    let invalid = |message| Refusal::new(RefusalCode::Invalid, message);
    if let Some(filter) = &spec.filter {
        Filter::new(filter).map_err(invalid)?;
    }
    if let Some(window) = spec.window
        && !(1..=limits::WINDOW_MAX).contains(&window)
    {
        return Err(invalid(format!("a window of {window}; 1 to {} are possible", limits::WINDOW_MAX)));
    }
    Ok(())
}

fn check_settings(name: &GroupName, settings: &GroupSettings) -> Result<(), Refusal> {
    let invalid = |message| Err(Refusal::new(RefusalCode::Invalid, message));
    if let Some(fault) = settings.check(name.as_str()).first() {
        return invalid(fault.to_string());
    }
    if let Some(dead_letter) = &settings.dead_letter
        && let Err(error) = GroupName::new(dead_letter)
    {
        return invalid(format!("dead_letter: {error}"));
    }
    Ok(())
}

fn no_group(name: &GroupName) -> Refusal {
    Refusal::new(RefusalCode::NotFound, format!("there is no group or queue `{name}`"))
}

/// Nobody makes a subscription of a queue.
pub(super) fn one_for_all(queue: &GroupName) -> Refusal {
    let message = format!("`{queue}` is a queue: it has one subscription, shared by all");
    Refusal::new(RefusalCode::Invalid, message)
}

pub(super) fn no_subscription(group: &GroupName, name: &SubscriptionName) -> Refusal {
    Refusal::new(RefusalCode::NotFound, format!("group `{group}` has no subscription `{name}`"))
}

pub(super) fn no_handle(handle: u32) -> Refusal {
    Refusal::new(RefusalCode::NotFound, format!("the session has no subscription with handle {handle}"))
}

pub(super) fn too_many_handles() -> Refusal {
    let message = format!("a session may have {} groups and subscriptions open", limits::SESSION_HANDLES_MAX);
    Refusal::new(RefusalCode::Limit, message)
}
