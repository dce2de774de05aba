//! What is here of streams, at a home that is left or one to which a subscription comes.

use std::collections::BTreeMap;

use super::super::arriving::join;
use super::super::group::Group;
use super::super::stream::Stream;
use super::super::subscription::Subscription;
use crate::id::{Epoch, RelayId, Sequence, StorageId};
use crate::wire::moving::{Done, StreamAt};

impl Group {
    /// Whether everything is here that the old home is to deliver, as far as `owed` tells.
    pub(super) fn has_owed(&self, me: &RelayId, owed: &BTreeMap<(RelayId, Epoch), (Sequence, bool)>) -> bool {
        owed.iter().all(|((origin, epoch), (last, will_come))| {
            let has = match self.stream_of(origin, *epoch) {
                Some(stream) if stream.last >= *last => true,
                // Of one that is not owed here nothing more may ever come.
                Some(stream) => !will_come && !stream.marks.contains_key(me) && stream.origin != *me,
                None => !will_come,
            };
            has || self.is_finished(origin, *epoch)
        })
    }

    /// What a subscription is done with when everything that is here now is done with.
    pub(super) fn done_here(&self, subscription: &Subscription) -> Done {
        let mut streams: BTreeMap<(RelayId, Epoch), Sequence> =
            self.streams.iter().map(|s| ((s.origin.clone(), s.epoch), s.last)).collect();
        let mut finished: BTreeMap<(RelayId, StorageId), u64> =
            self.finished().map(|(origin, storage, through)| ((origin.clone(), storage), through)).collect();
        let mut producers = self.traffic.as_ref().map(|t| t.producers.done()).unwrap_or_default();
        // It may have come here from elsewhere, and what was done there need not have come behind it.
        let before = subscription.arrived.as_deref().and_then(|arrived| arrived.done.as_ref());
        if let Some(before) = before {
            for at in &before.streams {
                let last = streams.entry((at.origin.clone(), at.epoch)).or_default();
                *last = at.last.max(*last);
            }
            for (origin, storage, through) in &before.finished {
                let known = finished.entry((origin.clone(), *storage)).or_default();
                *known = (*through).max(*known);
            }
            join(&mut producers, &before.producers);
        }
        Done {
            streams: streams
                .into_iter()
                .map(|((origin, epoch), last)| StreamAt { origin, epoch, last })
                .collect(),
            finished: finished
                .into_iter()
                .map(|((origin, storage), through)| (origin, storage, through))
                .collect(),
            producers,
            parts: before.map(|before| before.parts.clone()).unwrap_or_default(),
            owed: Vec::new(),
        }
    }

    /// Streams of which somebody may still need something, and how far they are here.
    pub(in crate::relay) fn unreleased(&self, is_meant: impl Fn(&Stream) -> bool) -> Vec<StreamAt> {
        let open = self.streams.iter().filter(|s| s.last > s.released && is_meant(s));
        open.map(|s| StreamAt { origin: s.origin.clone(), epoch: s.epoch, last: s.last }).collect()
    }
}
