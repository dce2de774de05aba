//! By what names the streams and subscriptions go that notes are about: they may be forgotten otherwise.

use serde::{Deserialize, Serialize};

use super::{CHUNK_COST, Memory};
use crate::id::{Index, RelayId, StreamNumber, SubscriptionName};
use crate::limits;
use crate::relay::stream::Stream;
use crate::relay::subscription::{Subscription, SubscriptionNumber};
use crate::wire::body::MessageName;

/// A stream that notes are about, by the name that messages have: it may be forgotten otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamName {
    #[serde(rename = "n")]
    stream: StreamNumber,
    #[serde(rename = "o")]
    origin: RelayId,
    #[serde(rename = "c")]
    boot: u64,
    #[serde(rename = "r")]
    nonce: u64,
    /// The chunk that was the newest when it was noted last, counted from the first one ever.
    #[serde(rename = "l")]
    pub(super) last: u64,
}

impl StreamName {
    pub(super) fn cost(&self) -> usize {
        CHUNK_COST + self.origin.as_str().len()
    }
}

/// A subscription that was removed, and which messages of the group it might have got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::relay) struct Gone {
    #[serde(rename = "n")]
    pub(in crate::relay) number: SubscriptionNumber,
    #[serde(rename = "s")]
    pub(in crate::relay) name: SubscriptionName,
    /// It began here.
    #[serde(rename = "f")]
    pub(in crate::relay) start: Index,
    /// When it was removed nothing stood here yet.
    #[serde(rename = "t")]
    pub(in crate::relay) end: Index,
    /// As of a stream.
    #[serde(rename = "l")]
    pub(super) last: u64,
}

impl Gone {
    pub(super) fn cost(&self) -> usize {
        CHUNK_COST + self.name.as_str().len()
    }
}

impl Memory {
    /// Notes by what name messages of a stream go.
    pub(in crate::relay) fn note_stream(&mut self, stream: &Stream) {
        let last = self.gone + self.chunks.len() as u64 - 1;
        if let Some(named) = self.streams.iter_mut().rev().find(|named| named.stream == stream.number) {
            named.last = last;
            return;
        }
        let (origin, epoch) = (stream.origin.clone(), stream.epoch);
        let named =
            StreamName { stream: stream.number, origin, boot: epoch.counter, nonce: epoch.nonce, last };
        self.bytes += named.cost();
        self.streams.push(named);
    }

    /// The number of a stream, by what messages are named by.
    pub(in crate::relay) fn stream_of(&self, message: &MessageName) -> Option<StreamNumber> {
        let is_it = |s: &&StreamName| {
            s.nonce == message.nonce && s.boot == message.boot && s.origin == message.origin
        };
        self.streams.iter().find(is_it).map(|s| s.stream)
    }

    /// Notes that a subscription is removed, and that what it might have got ends before an index.
    pub(in crate::relay) fn note_gone(&mut self, removed: &Subscription, end: Index) {
        if self.chunks.is_empty() {
            // No message is remembered that it could be asked of.
            return;
        }
        if self.gone_subscriptions.len() >= limits::GONE_SUBSCRIPTIONS_MAX {
            self.bytes -= self.gone_subscriptions.remove(0).cost();
        }
        let last = self.gone + self.chunks.len() as u64 - 1;
        let gone =
            Gone { number: removed.number, name: removed.name.clone(), start: removed.start, end, last };
        self.bytes += gone.cost();
        self.gone_subscriptions.push(gone);
    }

    /// Subscriptions that were removed and might have got what stands at an index.
    pub(in crate::relay) fn gone_at(&self, index: Index) -> impl Iterator<Item = &Gone> {
        self.gone_subscriptions.iter().filter(move |gone| gone.start <= index && index < gone.end)
    }
}
