//! Single puts and gets: publishers and subscribers that a client keeps for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::delivery::Delivery;
use super::error::ClientError;
use super::message::{Message, PutReceipt};
use super::options::{PublisherOptions, SubscriberOptions};
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use super::{Client, lock};
use crate::id::{GroupName, SubscriptionName};
use crate::limits;

type Source = (GroupName, Option<SubscriptionName>);

/// The last used ones, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Kept {
    publishers: Mutex<Vec<(GroupName, Arc<Publisher>)>>,
    subscribers: Mutex<Vec<(Source, Arc<KeptSubscriber>)>>,
}

/// A subscriber that calls use in turn. The place is there before it is attached, so that of
/// calls that come at once one attaches it and the others wait for that.
#[derive(Debug, Default)]
struct KeptSubscriber {
    /// `None` until it is attached, and when it has failed.
    place: tokio::sync::Mutex<Option<Subscriber>>,
    /// Whether the call that has the turn waits for a message, for which it may do so for ever.
    is_idle: watch::Sender<bool>,
}

/// The call that has the turn waits for a message, until this is dropped.
struct Idle<'a>(&'a KeptSubscriber);

impl KeptSubscriber {
    fn idle(&self) -> Idle<'_> {
        self.is_idle.send_replace(true);
        Idle(self)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.is_idle.send_replace(false);
    }
}

impl Kept {
    pub(super) fn clear(&self) {
        lock(&self.publishers).clear();
        lock(&self.subscribers).clear();
    }
}

/// Takes the value with a key and puts it at the end.
fn find<K: PartialEq, V: Clone>(table: &Mutex<Vec<(K, V)>>, key: &K) -> Option<V> {
    let mut table = lock(table);
    let place = table.iter().position(|(known, _)| known == key)?;
    let entry = table.remove(place);
    let value = entry.1.clone();
    table.push(entry);
    Some(value)
}

/// Keeps a value; gives it, or the one that another task has kept meanwhile.
fn keep<K: PartialEq, V: Clone>(table: &Mutex<Vec<(K, V)>>, key: K, value: V) -> V {
    if let Some(known) = find(table, &key) {
        return known;
    }
    let mut table = lock(table);
    let oldest = (table.len() >= limits::CLIENT_KEPT_MAX).then(|| table.remove(0));
    table.push((key, value.clone()));
    drop(table);
    drop(oldest);
    value
}

fn forget<K: PartialEq, V>(table: &Mutex<Vec<(K, V)>>, key: &K) {
    lock(table).retain(|(known, _)| known != key);
}

impl Client {
    /// Puts one message and waits until it is on the relay's disk. For many
    /// messages a [`Publisher`] is faster.
    ///
    /// # Errors
    /// When the relay refuses, or cannot be reached for good.
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the message may have been put.
    pub async fn put(
        &self,
        group: &GroupName,
        message: impl Into<Message>,
    ) -> Result<PutReceipt, ClientError> {
        let table = &self.kept.publishers;
        let publisher = match find(table, group) {
            Some(publisher) => publisher,
            None => {
                let publisher = self.publisher(group.clone(), PublisherOptions::default()).await?;
                keep(table, group.clone(), Arc::new(publisher))
            }
        };
        let outcome = async { publisher.put(message).await?.await }.await;
        if outcome.is_err() {
            forget(table, group);
        }
        outcome
    }

    /// Takes one message; waits for it, at most so long if a time is given.
    /// `None` for the name: from a queue. A subscription that does not exist is
    /// made, and begins with the next message. What is given must be acked by
    /// the caller; the client stays attached to the subscription until it is
    /// closed, or the last of [`crate::limits::CLIENT_KEPT_MAX`] others was used.
    ///
    /// # Errors
    /// When the relay refuses or does not answer in time.
    ///
    /// # Cancel safety
    /// Nothing is lost: what comes later is given by the next call.
    pub async fn get(
        &self,
        group: &GroupName,
        name: Option<&SubscriptionName>,
        wait: Option<Duration>,
    ) -> Result<Option<Delivery>, ClientError> {
        let kept = self.kept_subscriber(group, name);
        let begun = Instant::now();
        // Another call may wait for ever.
        let mut place = match wait {
            None => kept.place.lock().await,
            Some(wait) => match timeout(wait, kept.place.lock()).await {
                Ok(place) => place,
                Err(_) => return Ok(None),
            },
        };
        let left = wait.map(|wait| wait.saturating_sub(begun.elapsed()));
        let outcome = async {
            let mut getting = std::pin::pin!(self.attached(&mut place, group, name).await?.get(left));
            match timeout(IDLE, &mut getting).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let _idle = kept.idle();
                    getting.await
                }
            }
        }
        .await;
        keep_if_ok(&mut place, outcome)
    }

    /// Takes one message if one is there. While [`Client::get`] waits for the next
    /// message of the same subscription there is none. Otherwise as [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`].
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub async fn poll(
        &self,
        group: &GroupName,
        name: Option<&SubscriptionName>,
    ) -> Result<Option<Delivery>, ClientError> {
        let kept = self.kept_subscriber(group, name);
        let mut is_idle = kept.is_idle.subscribe();
        let mut place = tokio::select! {
            biased;
            place = kept.place.lock() => place,
            _ = is_idle.wait_for(|is_idle| *is_idle) => return Ok(None),
        };
        let outcome = async {
            let subscriber = self.attached(&mut place, group, name).await?;
            match subscriber.try_next() {
                Some(next) => next.map(Some),
                None => {
                    subscriber.poll(1).await?;
                    subscriber.try_next().transpose()
                }
            }
        }
        .await;
        keep_if_ok(&mut place, outcome)
    }

    fn kept_subscriber(&self, group: &GroupName, name: Option<&SubscriptionName>) -> Arc<KeptSubscriber> {
        let key = (group.clone(), name.cloned());
        let known = find(&self.kept.subscribers, &key);
        known.unwrap_or_else(|| keep(&self.kept.subscribers, key, Arc::default()))
    }

    /// The subscriber at its place: attached now if there is none.
    async fn attached<'a>(
        &self,
        place: &'a mut Option<Subscriber>,
        group: &GroupName,
        name: Option<&SubscriptionName>,
    ) -> Result<&'a mut Subscriber, ClientError> {
        if place.is_none() {
            let options = SubscriberOptions { window: 0, ..SubscriberOptions::default() };
            *place = Some(self.subscriber(group.clone(), name.cloned(), options).await?);
        }
        Ok(place.as_mut().expect("it was attached just now"))
    }
}

/// How long a call waits for a message until others are told that there is none: longer than it
/// takes to come from the relay if it is there.
const IDLE: Duration = Duration::from_millis(limits::CLIENT_IDLE_MS);

/// One that has failed is not used again.
fn keep_if_ok<T>(place: &mut Option<Subscriber>, outcome: Result<T, ClientError>) -> Result<T, ClientError> {
    if outcome.is_err() {
        *place = None;
    }
    outcome
}
