//! What the handles of a client and its connection task share.
//!
//! Handles leave work here and wake the writer; the connection task takes all
//! of it at once. Whatever must outlive a connection (who publishes, who
//! subscribes) stands in tables here; everything else belongs to the session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use super::error::ClientError;
use super::lock;
use super::options::ClientOptions;
use super::publishing::PublisherShared;
use super::subscribing::SubscriberShared;
use crate::wire::body::{Refusal, RelayHello, Reply, Request};

pub(super) type AnswerSender = oneshot::Sender<Result<Reply, ClientError>>;

/// What a request's answer is for.
#[derive(Debug)]
pub(super) enum Pending {
    /// For whoever asked.
    Reply(AnswerSender),
    /// A handle for a publisher.
    Open(Arc<PublisherShared>),
    /// A handle for a subscriber.
    Attach(Arc<SubscriberShared>),
    /// For a subscriber, whose credit is used up then, and for whoever asked.
    Poll(Arc<SubscriberShared>, AnswerSender),
    /// The handle is free again.
    Detach(u32, Option<AnswerSender>),
}

/// How the connection is.
#[derive(Clone, Debug)]
enum Phase {
    Up,
    /// Another one is being made; why the last one, or the last attempt, failed.
    Down(ClientError),
    /// There will be none any more.
    Over(ClientError),
}

/// What the writer is to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Publishers with something to send.
    pub(super) publishers: VecDeque<Arc<PublisherShared>>,
    /// Subscribers with statements or credit to send now.
    pub(super) subscribers: Vec<Arc<SubscriberShared>>,
    /// Subscribers with statements that may wait a little for others.
    pub(super) soon: Vec<Arc<SubscriberShared>>,
    pub(super) requests: VecDeque<(Request, Pending)>,
    /// Why the session must end.
    pub(super) fault: Option<ClientError>,
    pub(super) is_stopping: bool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    hello: RelayHello,
    next_member: u64,
    publishers: BTreeMap<u64, Arc<PublisherShared>>,
    subscribers: BTreeMap<u64, Arc<SubscriberShared>>,
    work: Work,
    /// Why the relay takes nothing for the moment; nothing when it has taken something since.
    held_up: Option<Refusal>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ClientOptions,
    state: Mutex<State>,
    /// Wakes the writer.
    pub(super) wake: Notify,
    /// Notified when the phase changes, and when all is to stop.
    pub(super) changed: Notify,
}

impl Shared {
    pub(super) fn new(options: ClientOptions, hello: RelayHello) -> Self {
        let state = State {
            phase: Phase::Up,
            hello,
            next_member: 1,
            publishers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            work: Work::default(),
            held_up: None,
        };
        Self { options, state: Mutex::new(state), wake: Notify::new(), changed: Notify::new() }
    }

    pub(super) fn hello(&self) -> RelayHello {
        lock(&self.state).hello.clone()
    }

    /// Why there is no connection now.
    pub(super) fn trouble(&self) -> Option<ClientError> {
        match &lock(&self.state).phase {
            Phase::Up => None,
            Phase::Down(error) | Phase::Over(error) => Some(error.clone()),
        }
    }

    /// Why the relay takes nothing for the moment, as it said last.
    pub(super) fn held_up(&self) -> Option<Refusal> {
        let state = lock(&self.state);
        let of_subscribers = || state.subscribers.values().find_map(|subscriber| subscriber.refused());
        state.held_up.clone().or_else(of_subscribers)
    }

    /// The relay has taken something.
    pub(super) fn on_taken(&self) {
        lock(&self.state).held_up = None;
    }

    /// Why somebody has waited for nothing.
    pub(super) fn late(&self) -> ClientError {
        let held_up = self.held_up().map(ClientError::Refused);
        held_up.or_else(|| self.trouble()).unwrap_or(ClientError::Deadline)
    }

    /// A number for a publisher or subscriber.
    pub(super) fn next_member(&self) -> u64 {
        let mut state = lock(&self.state);
        state.next_member += 1;
        state.next_member - 1
    }

    pub(super) fn add_publisher(&self, publisher: &Arc<PublisherShared>) -> Result<(), ClientError> {
        let mut state = lock(&self.state);
        if let Phase::Over(error) = &state.phase {
            return Err(error.clone());
        }
        state.publishers.insert(publisher.member, Arc::clone(publisher));
        if matches!(state.phase, Phase::Up) {
            state.work.requests.push_back(open(publisher));
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(super) fn add_subscriber(&self, subscriber: &Arc<SubscriberShared>) -> Result<(), ClientError> {
        let mut state = lock(&self.state);
        if let Phase::Over(error) = &state.phase {
            return Err(error.clone());
        }
        state.subscribers.insert(subscriber.member, Arc::clone(subscriber));
        if matches!(state.phase, Phase::Up) {
            state.work.requests.push_back(attach(subscriber));
            self.wake.notify_one();
        }
        Ok(())
    }

    /// The subscriber is attached again, if somebody still wants it.
    pub(super) fn attach_again(&self, subscriber: &Arc<SubscriberShared>) {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Up) && state.subscribers.contains_key(&subscriber.member) {
            state.work.requests.push_back(attach(subscriber));
            self.wake.notify_one();
        }
    }

    pub(super) fn remove_publisher(&self, member: u64) {
        lock(&self.state).publishers.remove(&member);
    }

    pub(super) fn remove_subscriber(&self, member: u64) {
        lock(&self.state).subscribers.remove(&member);
    }

    /// The publisher has something to send.
    pub(super) fn ready_publisher(&self, publisher: Arc<PublisherShared>) {
        lock(&self.state).work.publishers.push_back(publisher);
        self.wake.notify_one();
    }

    /// The subscriber has something to send.
    pub(super) fn ready_subscriber(&self, subscriber: Arc<SubscriberShared>) {
        lock(&self.state).work.subscribers.push(subscriber);
        self.wake.notify_one();
    }

    /// The subscriber has something to send that may wait a little.
    pub(super) fn soon_subscriber(&self, subscriber: Arc<SubscriberShared>) {
        lock(&self.state).work.soon.push(subscriber);
        self.wake.notify_one();
    }

    /// Queues a request. What was made ready before is sent before it.
    pub(super) fn queue(&self, request: Request, pending: Pending) -> Result<(), ClientError> {
        let mut state = lock(&self.state);
        if let Phase::Over(error) = &state.phase {
            return Err(error.clone());
        }
        state.work.requests.push_back((request, pending));
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Asks and waits for the answer, over a new connection if it must be.
    pub(super) async fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        self.ask_as(request, Pending::Reply).await
    }

    /// The same; the answer is for somebody else besides.
    pub(super) async fn ask_as(
        &self,
        request: Request,
        pending: impl FnOnce(AnswerSender) -> Pending,
    ) -> Result<Reply, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.queue(request, pending(sender))?;
        match tokio::time::timeout(self.options.request_deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.trouble().unwrap_or_else(|| ClientError::closed("the client was closed"))),
            Err(_) => Err(self.late()),
        }
    }

    /// Ends the session because of what somebody found in it.
    pub(super) fn break_session(&self, fault: ClientError) {
        lock(&self.state).work.fault.get_or_insert(fault);
        self.wake.notify_one();
    }

    /// Moves everything that is to be done over to `work`, behind what is there.
    pub(super) fn take_work(&self, work: &mut Work) {
        let mut state = lock(&self.state);
        let new = &mut state.work;
        work.publishers.append(&mut new.publishers);
        work.subscribers.append(&mut new.subscribers);
        work.soon.append(&mut new.soon);
        work.requests.append(&mut new.requests);
        work.fault = work.fault.take().or(new.fault.take());
        work.is_stopping = new.is_stopping;
    }

    /// A session has begun: everybody is to be attached to it.
    pub(super) fn on_up(&self, hello: RelayHello) {
        let mut state = lock(&self.state);
        let State { phase, publishers, subscribers, work, .. } = &mut *state;
        *phase = Phase::Up;
        work.fault = None;
        work.publishers.clear();
        work.subscribers.clear();
        work.soon.clear();
        work.requests.extend(publishers.values().map(open));
        work.requests.extend(subscribers.values().map(attach));
        state.hello = hello;
        drop(state);
        self.changed.notify_waiters();
        self.wake.notify_one();
    }

    /// The session is over, or an attempt to begin one has failed.
    pub(super) fn on_down(&self, error: &ClientError, unsent: Work) {
        let mut state = lock(&self.state);
        state.phase = Phase::Down(error.clone());
        state.held_up = if let ClientError::Refused(refusal) = error { Some(refusal.clone()) } else { None };
        let queued = std::mem::take(&mut state.work.requests);
        let asked = unsent.requests.into_iter().chain(queued);
        // Handles are asked for anew in the next session; a handle of this one needs no detaching,
        // and means something else there.
        let (again, over): (VecDeque<_>, VecDeque<_>) =
            asked.partition(|(_, pending)| matches!(pending, Pending::Reply(_)));
        state.work.requests = again;
        let publishers: Vec<_> = state.publishers.values().cloned().collect();
        let subscribers: Vec<_> = state.subscribers.values().cloned().collect();
        drop(state);
        for (_, pending) in over {
            if let Pending::Poll(_, sender) = pending {
                sender.send(Err(error.to_closed())).ok();
            }
        }
        publishers.iter().for_each(|publisher| publisher.on_lost());
        subscribers.iter().for_each(|subscriber| subscriber.on_lost());
        self.changed.notify_waiters();
    }

    /// Nothing will come any more: everybody who waits is told why.
    pub(super) fn on_over(&self, error: &ClientError) {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Over(_)) {
            return;
        }
        state.phase = Phase::Over(error.clone());
        let publishers = std::mem::take(&mut state.publishers);
        let subscribers = std::mem::take(&mut state.subscribers);
        let work = std::mem::take(&mut state.work);
        drop(state);
        publishers.values().for_each(|publisher| publisher.fail(error));
        subscribers.values().for_each(|subscriber| subscriber.fail(error));
        drop(work);
        self.changed.notify_waiters();
    }

    /// Ends the connection after what is ready to be sent.
    pub(super) fn stop(&self) {
        lock(&self.state).work.is_stopping = true;
        self.wake.notify_one();
        self.changed.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.state).work.is_stopping
    }

    fn is_over(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Over(_))
    }

    /// Waits until all is to stop.
    pub(super) async fn stopping(&self) {
        self.wait(Self::is_stopping).await;
    }

    /// Waits until the connection task has ended.
    pub(super) async fn over(&self) {
        self.wait(Self::is_over).await;
    }

    /// Waits until there is no connection, and says why.
    pub(super) async fn lost(&self) -> ClientError {
        loop {
            self.wait(|shared| shared.trouble().is_some()).await;
            // It may be there again meanwhile.
            if let Some(trouble) = self.trouble() {
                return trouble;
            }
        }
    }

    /// Waits until there is a connection, or will be none any more.
    pub(super) async fn connected(&self) -> Result<(), ClientError> {
        loop {
            match &lock(&self.state).phase {
                Phase::Up => return Ok(()),
                Phase::Over(error) => return Err(error.clone()),
                Phase::Down(_) => {}
            }
            self.wait(|shared| !matches!(lock(&shared.state).phase, Phase::Down(_))).await;
        }
    }

    pub(super) async fn wait(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if is_so(self) {
                return;
            }
            changed.await;
        }
    }
}

fn open(publisher: &Arc<PublisherShared>) -> (Request, Pending) {
    (Request::GroupOpen { group: publisher.group.clone() }, Pending::Open(Arc::clone(publisher)))
}

fn attach(subscriber: &Arc<SubscriberShared>) -> (Request, Pending) {
    (subscriber.attach_request(), Pending::Attach(Arc::clone(subscriber)))
}

/// Keeps the connection alive: when the last handle of a client is gone, the connection ends.
#[derive(Debug)]
pub(super) struct Lifeline(Arc<Shared>);

impl Lifeline {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.stop();
    }
}
