//! A relay that is being drained sends applications away.

use super::shared::Shared;
use crate::wire::body::Refusal;

impl Shared {
    /// Waits until a refusal says so.
    pub(super) async fn sent_away(&self) -> Refusal {
        loop {
            if let Some(refusal) = self.held_up().filter(|refusal| refusal.leaving) {
                return refusal;
            }
            self.wait(|shared| shared.held_up().is_some_and(|refusal| refusal.leaving)).await;
        }
    }

    /// Why a subscriber is not attached has changed.
    pub(super) fn on_held_up(&self) {
        self.changed.notify_waiters();
    }
}
