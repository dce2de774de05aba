//! What a subscriber and the connection share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;

use super::attached::Attached;
use super::delivery::{Gap, Unordered};
use super::error::ClientError;
use super::inbox::{DeliveredRun, Inbox, Urgency};
use super::lock;
use super::options::SubscriberOptions;
use super::shared::Shared;
use crate::id::{GroupName, Index, SubscriptionName};
use crate::limits;
use crate::wire::body::{Refusal, RefusalCode, Request, SubscriptionSpec};
use crate::wire::frame::AckKind;

/// One subscriber, for the connection.
#[derive(Debug)]
pub(super) struct SubscriberShared {
    /// Its place in the client's table.
    pub(super) member: u64,
    pub(super) group: GroupName,
    name: Option<SubscriptionName>,
    create: Option<SubscriptionSpec>,
    inbox: Mutex<Inbox>,
    /// The inbox's, to be looked at for every message.
    generation: AtomicU64,
    /// Notified when it is attached, or has failed.
    changed: Notify,
    /// Why it was not attached the last time, for the moment, and how often in a row.
    refused: Mutex<Option<Refusal>>,
    refusals: AtomicU32,
    shared: Arc<Shared>,
}

impl SubscriberShared {
    pub(super) fn new(
        shared: Arc<Shared>,
        (group, name): (GroupName, Option<SubscriptionName>),
        options: &SubscriberOptions,
    ) -> Self {
        let member = shared.next_member();
        let inbox = Mutex::new(Inbox::new(u64::from(options.window), options.total));
        let (generation, changed) = (AtomicU64::new(0), Notify::new());
        let create = options.create.clone();
        let (refused, refusals) = (Mutex::default(), AtomicU32::new(0));
        Self { member, group, name, create, inbox, generation, changed, refused, refusals, shared }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Asks for a handle: the subscription is made the first time at most.
    pub(super) fn attach_request(&self) -> Request {
        let inbox = self.lock();
        // Who names no subscription means a queue, and that is never made.
        let is_made = inbox.name().is_none() && self.name.is_some();
        let name = inbox.name().cloned().or_else(|| self.name.clone());
        Request::Attach { group: self.group.clone(), name, create: self.create.clone().filter(|_| is_made) }
    }

    /// It cannot be attached for the moment, or not any more: when is it to be tried again?
    pub(super) fn on_refused(&self, refusal: Refusal) -> Duration {
        self.on_lost();
        *lock(&self.refused) = Some(refusal);
        let before = self.refusals.fetch_add(1, Ordering::Relaxed).min(16);
        let pause = limits::CLIENT_BACKOFF_MS_MIN << before;
        Duration::from_millis(pause.min(limits::CLIENT_ATTACH_MS_MAX))
    }

    /// Why it is not attached, if the relay has said so in this session.
    pub(super) fn refused(&self) -> Option<Refusal> {
        lock(&self.refused).clone()
    }

    /// Whether nobody wants it any more.
    pub(super) fn is_over(&self) -> bool {
        let inbox = self.lock();
        inbox.is_closed() || inbox.error().is_some()
    }

    /// False when the subscriber was dropped meanwhile.
    pub(super) fn on_attached(self: &Arc<Self>, attached: Attached) -> bool {
        *lock(&self.refused) = None;
        self.refusals.store(0, Ordering::Relaxed);
        let is_wanted = self.change(|inbox| {
            inbox.on_attached(attached);
            self.generation.store(inbox.generation(), Ordering::Release);
            (!inbox.is_closed(), true)
        });
        self.changed.notify_waiters();
        is_wanted
    }

    pub(super) fn on_lost(&self) {
        *lock(&self.refused) = None;
        let mut inbox = self.lock();
        inbox.on_lost();
        self.generation.store(inbox.generation(), Ordering::Release);
    }

    pub(super) fn fail(&self, error: &ClientError) {
        let mut inbox = self.lock();
        inbox.fail(error);
        let waker = inbox.take_waker();
        drop(inbox);
        self.changed.notify_waiters();
        waker.into_iter().for_each(std::task::Waker::wake);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// False when the relay delivers more than it was asked for.
    pub(super) fn on_deliver(self: &Arc<Self>, run: DeliveredRun) -> bool {
        self.receive(|inbox| inbox.on_deliver(run))
    }

    pub(super) fn on_gap(self: &Arc<Self>, gap: Gap) {
        self.receive(|inbox| inbox.on_gap(gap));
    }

    pub(super) fn on_unordered(self: &Arc<Self>, unordered: Unordered) {
        self.receive(|inbox| inbox.on_unordered(unordered));
    }

    fn receive<T>(self: &Arc<Self>, take: impl FnOnce(&mut Inbox) -> T) -> T {
        let (result, waker) = self.change(|inbox| {
            let result = take(inbox);
            ((result, inbox.take_waker()), false)
        });
        waker.into_iter().for_each(std::task::Waker::wake);
        result
    }

    pub(super) fn say(
        self: &Arc<Self>,
        kind: AckKind,
        range: (Index, Index),
        delay_ms: u64,
        generation: u64,
    ) {
        self.change(|inbox| (inbox.say(kind, range, delay_ms, generation), false));
    }

    /// Changes the inbox and tells the writer if it has to look. The change
    /// says whether somebody waits for what the relay does then.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Inbox) -> (T, bool)) -> T {
        let mut inbox = self.lock();
        let (result, is_waiting) = change(&mut inbox);
        let urgency = inbox.call(is_waiting);
        drop(inbox);
        match urgency {
            Urgency::None => {}
            Urgency::Soon => self.shared.soon_subscriber(Arc::clone(self)),
            Urgency::Now => self.shared.ready_subscriber(Arc::clone(self)),
        }
        result
    }

    pub(super) fn count_taken(&self, messages: u64) {
        self.lock().count_taken(messages);
    }

    pub(super) fn drain(&self, acks: &mut BytesMut, credits: &mut BytesMut) {
        self.lock().drain(acks, credits);
    }

    pub(super) fn is_attached(&self) -> bool {
        self.lock().handle().is_some()
    }

    /// Waits until all statements so far are durable at the relay.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), ClientError> {
        let mut refusals = 0;
        loop {
            let Some(said) = self.lock().unconfirmed() else { break };
            self.attached().await?;
            let generation = self.generation();
            self.shared.ready_subscriber(Arc::clone(self));
            match self.shared.ask(Request::Sync).await {
                // An answer of another session does not speak of what was said in a lost one.
                Ok(_) if generation == self.generation() => self.lock().confirm(said),
                Ok(_) | Err(ClientError::Closed { .. }) => {}
                // Acks may be lost on the way to another relay: those of this subscription are said
                // again once it is attached again; the session is told once of each loss.
                Err(ClientError::Refused(refusal))
                    if refusal.code == RefusalCode::NotReady
                        && refusals < limits::CLIENT_SYNCS_REFUSED_MAX =>
                {
                    refusals += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if self.lock().take_lost() { Err(ClientError::AcksLost) } else { Ok(()) }
    }

    /// Why it is not attached in time, or has no answer.
    pub(super) fn late(&self) -> ClientError {
        self.refused().map_or_else(|| self.shared.late(), ClientError::Refused)
    }

    /// A poll has its answer: the relay has given what it had, or refused.
    pub(super) fn on_polled(self: &Arc<Self>, is_done: bool) {
        self.change(|inbox| (inbox.on_polled(is_done), true));
        self.changed.notify_waiters();
    }

    /// Waits until it is attached.
    pub(super) async fn attached(&self) -> Result<u32, ClientError> {
        self.attached_and(|_| true).await
    }

    /// Waits until it is attached and no poll waits for its answer: the relay takes one at a time.
    pub(super) async fn ready_to_poll(&self) -> Result<u32, ClientError> {
        self.attached_and(|inbox| !inbox.is_polling()).await
    }

    /// Waits until it is attached anew, after this generation; whether it is, within this time.
    pub(super) async fn is_attached_after(&self, generation: u64, most: Duration) -> bool {
        let anew = self.attached_and(|inbox| inbox.generation() != generation);
        matches!(tokio::time::timeout(most, anew).await, Ok(Ok(_)))
    }

    async fn attached_and(&self, is_so: impl Fn(&Inbox) -> bool) -> Result<u32, ClientError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let inbox = self.lock();
                if let Some(error) = inbox.error() {
                    return Err(error.clone());
                }
                if let Some(handle) = inbox.handle().filter(|_| is_so(&inbox)) {
                    return Ok(handle);
                }
            }
            changed.await;
        }
    }
}
