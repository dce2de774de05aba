//! What applications and operators do at a relay of the simulation.

use super::{Node, SESSION, TAKER};
use crate::id::{GroupName, Index, ProducerId, ProducerSequence, SessionId, SubscriptionName};
use crate::relay::{Input, Now};
use crate::topology::settings::{GroupSettings, TreeKind};
use crate::wire::body::{Answer, RefusalCode, Reply, Request, Start, SubscribeLevel, SubscriptionSpec};
use crate::wire::frame::{AckKind, AckLevel, Credit, PutHead};
use crate::wire::run::{BodySummary, Record};

impl Node {
    /// Asks something, and syncs until it is answered.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&mut self, now: Now, body: Request) -> Answer {
        self.ask_as(now, SESSION, body)
    }

    pub(super) fn ask_as(&mut self, now: Now, session: SessionId, body: Request) -> Answer {
        self.request += 1;
        let request = self.request;
        self.input(now, Input::Request { session, request, body: Box::new(body) });
        self.sync(now, usize::MAX);
        self.answers.remove(&request).expect("an answer once everything is synced")
    }

    /// Asks something; the answer is taken by [`Node::take_answer`].
    pub fn begin(&mut self, now: Now, body: Request) -> u64 {
        self.request += 1;
        self.input(now, Input::Request { session: SESSION, request: self.request, body: Box::new(body) });
        self.request
    }

    /// Makes a group with a tree of its own for each origin.
    ///
    /// # Panics
    /// When it is refused.
    pub fn create_source_group(&mut self, now: Now, group: &GroupName) {
        let settings = GroupSettings { tree: TreeKind::Source, ..GroupSettings::default() };
        self.create_group(now, group, settings);
    }

    /// Makes a group.
    ///
    /// # Panics
    /// When it is refused.
    pub fn create_group(&mut self, now: Now, group: &GroupName, settings: GroupSettings) {
        let answer = self.ask(now, Request::GroupCreate { group: group.clone(), settings, queue: false });
        assert_eq!(answer, Ok(Reply::Done));
    }

    /// Makes a subscription that begins now.
    ///
    /// # Panics
    /// When it is refused.
    pub fn subscribe(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) {
        let spec = SubscriptionSpec { level: SubscribeLevel::Local, ..SubscriptionSpec::default() };
        let (group, name) = (group.clone(), name.clone());
        let answer = self.ask(now, Request::SubscriptionCreate { group, name, spec });
        assert_eq!(answer, Ok(Reply::Done));
    }

    /// Asks for a subscription that begins now and that others are to know of; its answer is taken
    /// by [`Node::take_answer`].
    pub fn begin_subscribe(
        &mut self,
        now: Now,
        group: &GroupName,
        name: &SubscriptionName,
        level: SubscribeLevel,
    ) -> u64 {
        let spec = SubscriptionSpec { level, ..SubscriptionSpec::default() };
        self.begin(now, Request::SubscriptionCreate { group: group.clone(), name: name.clone(), spec })
    }

    /// The answer to a request, if it has come.
    pub fn take_answer(&mut self, request: u64) -> Option<Answer> {
        self.answers.remove(&request)
    }

    /// Begins to receive from a subscription: its messages come into [`Node::got`] as they are
    /// delivered, whether the disk has synced or not.
    ///
    /// # Panics
    /// When the subscription is not there.
    pub fn attach(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) -> u32 {
        let attach = Request::Attach { group: group.clone(), name: Some(name.clone()), create: None };
        let Ok(Reply::SubscriptionHandle { handle, .. }) = self.ask(now, attach) else {
            panic!("{} has no subscription {name} of {group}", self.name)
        };
        handle
    }

    /// Takes so many in all.
    pub fn credit_up_to(&mut self, now: Now, handle: u32, total: u64) {
        self.input(now, Input::Credit { session: SESSION, credits: vec![Credit { handle, total }] });
    }

    /// Takes as much as comes.
    pub fn credit(&mut self, now: Now, handle: u32) {
        let credits = vec![Credit { handle, total: u64::MAX }];
        self.input(now, Input::Credit { session: SESSION, credits });
    }

    /// The application reads all that was delivered to it.
    pub fn read_all(&mut self, now: Now) {
        self.input(now, Input::Written { session: SESSION, total: u64::MAX });
    }

    /// Acks what stands between two places.
    pub fn ack(&mut self, now: Now, handle: u32, range: (Index, Index)) {
        self.settle_as(now, handle, range, AckKind::Ack);
    }

    /// Says of what stands between two places what became of it.
    pub fn settle_as(&mut self, now: Now, handle: u32, range: (Index, Index), kind: AckKind) {
        self.settle_after(now, handle, range, (kind, 0));
    }

    /// The same; what is to come again is to do so after so many milliseconds.
    pub fn settle_after(
        &mut self,
        now: Now,
        handle: u32,
        (from, to): (Index, Index),
        (kind, delay_ms): (AckKind, u64),
    ) {
        let acks = vec![crate::wire::frame::Ack { handle, kind, from, to, delay_ms }];
        self.input(now, Input::Ack { session: SESSION, acks });
    }

    /// Receives everything that a subscription is owed.
    ///
    /// # Panics
    /// When the subscription is not there.
    pub fn drain(&mut self, now: Now, group: &GroupName, name: &SubscriptionName) -> Vec<String> {
        let mut taken = Vec::new();
        // Who has taken what was brought along from elsewhere is to come again for the rest.
        while self.drain_part(now, (group, name), &mut taken) {}
        taken
    }

    /// The same as long as it is attached; whether it was told to come again.
    fn drain_part(
        &mut self,
        now: Now,
        (group, name): (&GroupName, &SubscriptionName),
        taken: &mut Vec<String>,
    ) -> bool {
        let start = Some(SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() });
        let attach = Request::Attach { group: group.clone(), name: Some(name.clone()), create: start };
        self.is_sent_away = false;
        let answer = self.ask_as(now, TAKER, attach);
        if answer.as_ref().is_err_and(|refusal| refusal.code == RefusalCode::NotReady) {
            // What it had here was taken, and it goes on elsewhere.
            return false;
        }
        let Ok(Reply::SubscriptionHandle { handle, created, .. }) = answer else {
            panic!("{} has no subscription {name} of {group}: {answer:?}", self.name)
        };
        assert!(!created, "{} has forgotten subscription {name} of {group}", self.name);
        loop {
            let credits = vec![Credit { handle, total: u64::MAX }];
            self.input(now, Input::Credit { session: TAKER, credits });
            self.sync(now, usize::MAX);
            let got = std::mem::take(&mut self.drained);
            // What had to wait for an earlier one comes behind it, and may stand before it.
            let Some(last) = got.iter().map(|got| got.index).max() else { break };
            taken.extend(got.into_iter().map(|got| got.payload));
            let (kind, from, to) = (crate::wire::frame::AckKind::Ack, Index(0), Index(last + 1));
            let acks = vec![crate::wire::frame::Ack { handle, kind, from, to, delay_ms: 0 }];
            self.input(now, Input::Ack { session: TAKER, acks });
        }
        // Once its acks are on disk nothing of it may come again.
        self.ask_as(now, TAKER, Request::Sync).expect("a sync is never refused");
        if !self.is_sent_away {
            self.ask_as(now, TAKER, Request::Detach { handle }).expect("the handle was just used");
        }
        self.is_sent_away
    }

    /// Opens a group for puts.
    ///
    /// # Panics
    /// When it is refused.
    pub fn open(&mut self, now: Now, group: &GroupName) -> u32 {
        if let Some(handle) = self.opened.get(group).filter(|_| self.is_hasty) {
            return *handle;
        }
        let handle = match self.ask(now, Request::GroupOpen { group: group.clone() }) {
            Ok(Reply::GroupHandle { handle, .. }) => handle,
            other => panic!("{} does not open {group}: {other:?}", self.name),
        };
        self.opened.insert(group.clone(), handle);
        handle
    }

    /// Puts messages under a number.
    ///
    /// # Panics
    /// Never: the records are made here.
    pub fn put(&mut self, now: Now, handle: u32, put: u64, payloads: &[String]) {
        self.put_at_level(now, (handle, put), payloads, (AckLevel::Accepted, 0));
    }

    /// Puts messages under a number; done when they have come as far as this.
    ///
    /// # Panics
    /// Never: the records are made here.
    pub fn put_at_level(
        &mut self,
        now: Now,
        (handle, put): (u32, u64),
        payloads: &[String],
        (level, copies): (AckLevel, u16),
    ) {
        self.put_as(now, (handle, put), payloads, (level, copies), None);
    }

    /// Puts messages of a producer, whose first one has this number there.
    ///
    /// # Panics
    /// Never: the records are made here.
    pub fn put_as(
        &mut self,
        now: Now,
        (handle, put): (u32, u64),
        payloads: &[String],
        (level, copies): (AckLevel, u16),
        producer: Option<(ProducerId, ProducerSequence)>,
    ) {
        let records: Vec<Record<'_>> =
            payloads.iter().map(|p| Record { payload: p.as_bytes(), ..Record::default() }).collect();
        self.put_records(now, (handle, put), &records, (level, copies), producer);
    }

    /// Puts messages as they are.
    ///
    /// # Panics
    /// When one of them is longer than a message may be.
    pub fn put_records(
        &mut self,
        now: Now,
        (handle, put): (u32, u64),
        messages: &[Record<'_>],
        (level, copies): (AckLevel, u16),
        producer: Option<(ProducerId, ProducerSequence)>,
    ) {
        let mut records = bytes::BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut records));
        let records = records.freeze();
        let head = PutHead {
            put,
            producer,
            lowest_unanswered: self.lowest_unanswered,
            body_hash: xxhash_rust::xxh3::xxh3_64(&records),
            level,
            copies,
            transient: false,
            age_seconds: 0,
        };
        let summary = BodySummary::of(&records).expect("records that were just encoded");
        self.input(now, Input::Put { session: SESSION, handle, head, summary, records });
    }
}
