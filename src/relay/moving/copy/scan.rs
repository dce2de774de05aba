//! What is noticed as the log is read for a copy: what is missing, and what was acked.

use super::super::super::Relay;
use super::super::super::subscription::SubscriptionKey;
use super::Part;
use crate::id::Index;
use crate::log::MissingCause;
use crate::wire::body::GapCause;
use crate::wire::run::StoredRun;

impl Relay {
    /// The log does not have what stands there: nothing in a remnant, if it was not lost before.
    pub(super) fn pass_missing(&self, part: &mut Part, to: Index, cause: MissingCause) {
        let remnant = self.groups.get(part.key.group).and_then(|group| group.remnant.as_deref());
        let (to, cause) = match (remnant, cause) {
            (Some(remnant), MissingCause::Released) => {
                let (lost, behind) = remnant.hole(part.next);
                (to.min(behind), lost.map(|gap| gap.cause))
            }
            (None, MissingCause::Released) => (to, Some(GapCause::Retention)),
            (_, MissingCause::Damaged | MissingCause::Unreadable) => (to, Some(GapCause::Damaged)),
        };
        if let Some(cause) = cause {
            part.lost.push((part.next, to, cause));
            part.scan.miss();
        }
        part.next = to;
    }

    /// Whether a subscription is made one with another of its name.
    pub(super) fn is_merging(&self, key: SubscriptionKey) -> bool {
        let moving = self.part_at(key).and_then(|(_, subscription)| subscription.moving.as_deref());
        moving.is_some_and(|moving| moving.merge)
    }

    /// Notes what of a run was acked, of a home that is made one with another.
    pub(super) fn scan_copied(&self, key: SubscriptionKey, part: &mut Part, run: &StoredRun) {
        let Some((group, subscription)) = self.part_at(part.key).filter(|_| self.is_merging(key)) else {
            return;
        };
        if let Some(stream) = group.streams.iter().find(|stream| stream.number == run.stream) {
            part.scan.read(subscription, stream, (run, part.to));
        }
    }
}
