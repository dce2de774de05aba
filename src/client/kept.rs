//! Single puts and gets: publishers and subscribers that a client keeps for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    subscribers: Mutex<Vec<(Source, Arc<tokio::sync::Mutex<Subscriber>>)>>,
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
        let subscriber = self.kept_subscriber(group, name).await?;
        let outcome = subscriber.lock().await.get(wait).await;
        self.keep_if_ok(group, name, outcome)
    }

    /// Takes one message if one is there. Otherwise as [`Client::get`].
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
        let subscriber = self.kept_subscriber(group, name).await?;
        let mut subscriber = subscriber.lock().await;
        let outcome = match subscriber.try_next() {
            Some(next) => next.map(Some),
            None => match subscriber.poll(1).await {
                Ok(_) => subscriber.try_next().transpose(),
                Err(error) => Err(error),
            },
        };
        drop(subscriber);
        self.keep_if_ok(group, name, outcome)
    }

    async fn kept_subscriber(
        &self,
        group: &GroupName,
        name: Option<&SubscriptionName>,
    ) -> Result<Arc<tokio::sync::Mutex<Subscriber>>, ClientError> {
        let key = (group.clone(), name.cloned());
        if let Some(known) = find(&self.kept.subscribers, &key) {
            return Ok(known);
        }
        let options = SubscriberOptions { window: 0, ..SubscriberOptions::default() };
        let subscriber = self.subscriber(group.clone(), name.cloned(), options).await?;
        Ok(keep(&self.kept.subscribers, key, Arc::new(tokio::sync::Mutex::new(subscriber))))
    }

    /// One that has failed is not used again.
    fn keep_if_ok<T>(
        &self,
        group: &GroupName,
        name: Option<&SubscriptionName>,
        outcome: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if outcome.is_err() {
            forget(&self.kept.subscribers, &(group.clone(), name.cloned()));
        }
        outcome
    }
}
