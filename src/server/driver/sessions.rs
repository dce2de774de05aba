//! The sessions as the driver sees them: their queues, and what a turn has for each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::SessionId;
use crate::net::outgoing::{OutQueue, Outgoing, Progress, Staged};
use crate::wire::body::Answer;
use crate::wire::frame::PutDone;

struct Slot {
    queue: Arc<OutQueue>,
    staged: Staged,
    is_listed: bool,
    known_written: u64,
}

/// All open sessions.
#[derive(Default)]
pub(super) struct Table {
    slots: HashMap<SessionId, Slot, foldhash::fast::RandomState>,
    /// Sessions for which the turn has something.
    touched: Vec<SessionId>,
    /// Sessions that have written.
    changed: Vec<SessionId>,
}

impl Table {
    pub(super) fn insert(&mut self, queue: Arc<OutQueue>) {
        let slot = Slot { staged: Staged::default(), is_listed: false, known_written: 0, queue };
        self.slots.insert(slot.queue.session(), slot);
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.slots.contains_key(&session)
    }

    /// Forgets a session; false when it was not there. What was staged is handed on first.
    pub(super) fn remove(&mut self, session: SessionId) -> bool {
        let Some(mut slot) = self.slots.remove(&session) else { return false };
        if !slot.staged.is_empty() {
            slot.queue.push(&mut slot.staged, slot.known_written);
        }
        true
    }

    fn touch(&mut self, session: SessionId) -> Option<&mut Staged> {
        let slot = self.slots.get_mut(&session)?;
        if !slot.is_listed {
            slot.is_listed = true;
            self.touched.push(session);
        }
        Some(&mut slot.staged)
    }

    pub(super) fn done(&mut self, session: SessionId, done: PutDone) {
        if let Some(staged) = self.touch(session) {
            staged.dones.push(done);
        }
    }

    pub(super) fn stage(&mut self, session: SessionId, item: Outgoing) {
        if let Some(staged) = self.touch(session) {
            staged.items.push(item);
        }
    }

    pub(super) fn answer(&mut self, session: SessionId, request: u64, answer: Box<Answer>) {
        self.stage(session, Outgoing::Answer { request, answer });
    }

    pub(super) fn close(&mut self, session: SessionId, reason: String) {
        if let Some(staged) = self.touch(session) {
            staged.close.get_or_insert(reason);
        }
    }

    /// Hands everything to the queues: one wake-up per session.
    pub(super) fn flush(&mut self) {
        for session in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(&session) {
                slot.is_listed = false;
                slot.queue.push(&mut slot.staged, slot.known_written);
            }
        }
    }

    /// Takes the names of those that have written from the board.
    pub(super) fn take_written(&mut self, progress: &Progress) {
        progress.take(&mut self.changed);
    }

    /// The next session that has written, and how much in all.
    pub(super) fn next_written(&mut self) -> Option<(SessionId, u64)> {
        while let Some(session) = self.changed.pop() {
            if let Some(slot) = self.slots.get_mut(&session) {
                slot.known_written = slot.queue.take_written();
                return Some((session, slot.known_written));
            }
        }
        None
    }

    /// Ends every session after what waits for it.
    pub(super) fn close_all(&mut self, reason: &str) {
        for slot in self.slots.values() {
            slot.queue.close(reason.to_owned());
        }
    }
}

impl Drop for Table {
    /// The driver is gone, however it went: nobody else would tell the sessions.
    fn drop(&mut self) {
        self.close_all("the relay has stopped");
    }
}
