//! When the disk of a relay of the simulation syncs by itself: as the log does.

use super::Node;
use crate::limits;
use crate::log::Urgency;
use crate::relay::Now;

/// Milliseconds for which what nobody waits for rides along at the most.
const RIDE_MS: u64 = 200;

impl Node {
    /// The last entry of the log is as urgent as this.
    pub(super) fn note_urgency(&mut self, now: Now, urgency: Urgency) {
        let wait = match urgency {
            Urgency::Sync => return self.urgent = self.log.len(),
            Urgency::Soon => limits::SOON_MS,
            Urgency::Ride => RIDE_MS,
        };
        let by = now.time.after_ms(wait);
        self.sync_by = Some(self.sync_by.map_or(by, |before| before.min(by)));
    }

    /// Whether somebody waits for all that was appended: a disk that is syncing goes on with it by itself.
    #[must_use]
    pub fn is_all_urgent(&self) -> bool {
        self.urgent == self.log.len()
    }

    /// Whether its disk syncs now: somebody waits for something, or it has waited long enough.
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        let is_late = self.sync_by.is_some_and(|by| by <= now.time);
        !self.is_synced() && (self.urgent > self.durable || is_late)
    }
}
