//! The sessions as the driver sees them: their queues, and what a turn has for each.
//!
//! A link is a session with a neighbour: one at a time. A new connection of the same relay takes
//! the place of the one before, which it has given up; one of another data directory under the
//! same name is refused while the first is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::id::{Epoch, LinkId, SessionId};
use crate::net::outgoing::{OutQueue, Outgoing, Progress, Staged};
use crate::wire::body::Answer;
use crate::wire::frame::PutDone;
use crate::wire::link::LinkMessage;

struct Slot {
    queue: Arc<OutQueue>,
    staged: Staged,
    is_listed: bool,
    known_written: u64,
    /// The link that it is, if it is one.
    link: Option<LinkId>,
}

/// Whose writer has got further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Session(SessionId, u64),
    /// A link, and how many bytes were saved by packing.
    Link(LinkId, u64, u64),
}

/// All open sessions.
#[derive(Default)]
pub(super) struct Table {
    slots: HashMap<SessionId, Slot, foldhash::fast::RandomState>,
    /// Links that are up, with the boot of the neighbour.
    links: BTreeMap<LinkId, (SessionId, Epoch)>,
    /// Sessions for which the turn has something.
    touched: Vec<SessionId>,
    /// The same of links.
    touched_links: Vec<SessionId>,
    /// Sessions that have written.
    changed: Vec<SessionId>,
}

impl Table {
    pub(super) fn insert(&mut self, queue: Arc<OutQueue>) {
        self.put(queue, None);
    }

    fn put(&mut self, queue: Arc<OutQueue>, link: Option<LinkId>) {
        let slot = Slot { staged: Staged::default(), is_listed: false, known_written: 0, link, queue };
        self.slots.insert(slot.queue.session(), slot);
    }

    /// Takes a connection to a neighbour as the link. Gives the session that was the link before
    /// and is to be removed; `None` when another relay is there, and this one is refused. Whoever has
    /// been started again has another boot, a later one; one that is not later is of a copy.
    pub(super) fn insert_link(
        &mut self,
        link: LinkId,
        boot: Epoch,
        queue: Arc<OutQueue>,
    ) -> Option<Option<SessionId>> {
        let before = self.links.get(&link).copied();
        let is_later = |known: Epoch| boot.storage == known.storage && boot.counter > known.counter;
        if before.is_some_and(|(_, known)| known != boot && !is_later(known)) {
            return None;
        }
        self.links.insert(link, (queue.session(), boot));
        self.put(queue, Some(link));
        Some(before.map(|(session, _)| session))
    }

    /// The link that a session is; `None` when it is none, or is not any more.
    pub(super) fn link_of(&self, session: SessionId) -> Option<LinkId> {
        let link = self.slots.get(&session)?.link?;
        self.links.get(&link).is_some_and(|(current, _)| *current == session).then_some(link)
    }

    /// Says something to a neighbour, if the link is up.
    pub(super) fn say(&mut self, link: LinkId, message: LinkMessage) {
        if let Some((session, _)) = self.links.get(&link).copied() {
            self.stage(session, Outgoing::Link(Box::new(message)));
        }
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.slots.contains_key(&session)
    }

    /// Forgets a session; false when it was not there. What was staged is handed on first.
    pub(super) fn remove(&mut self, session: SessionId) -> bool {
        if let Some(link) = self.link_of(session) {
            self.links.remove(&link);
        }
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
            match slot.link {
                Some(_) => self.touched_links.push(session),
                None => self.touched.push(session),
            }
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

    /// Hands everything to the queues, with one wake-up for each: first those of links, since others
    /// wait behind the neighbours. True if there was something.
    pub(super) fn flush(&mut self) -> bool {
        let has_some = !(self.touched_links.is_empty() && self.touched.is_empty());
        for session in self.touched_links.drain(..).chain(self.touched.drain(..)) {
            if let Some(slot) = self.slots.get_mut(&session) {
                slot.is_listed = false;
                slot.queue.push(&mut slot.staged, slot.known_written);
            }
        }
        has_some
    }

    /// Takes the names of those that have written from the board.
    pub(super) fn take_written(&mut self, progress: &Progress) {
        progress.take(&mut self.changed);
    }

    /// Whose writer has got further, and how far in all.
    pub(super) fn next_written(&mut self) -> Option<Written> {
        while let Some(session) = self.changed.pop() {
            if let Some(slot) = self.slots.get_mut(&session) {
                slot.known_written = slot.queue.take_written();
                let total = slot.known_written;
                return Some(match slot.link {
                    Some(link) => Written::Link(link, total, slot.queue.saved()),
                    None => Written::Session(session, total),
                });
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

#[cfg(test)]
mod tests {
    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::net::outgoing::{OutBatch, OutReceiver};

    /// Says its name when there is something to write.
    fn write_as(name: &'static str, mut queue: OutReceiver, said: mpsc::UnboundedSender<&'static str>) {
        tokio::spawn(async move {
            queue.receive(&mut OutBatch::default()).await;
            let _ = said.send(name);
        });
    }

    #[tokio::test(flavor = "current_thread")]
    async fn links_are_written_to_before_sessions_and_before_the_driver_goes_on() {
        let progress = Arc::new(Progress::new(Arc::new(Notify::new())));
        let (session, session_end) = OutQueue::new(SessionId(1), Arc::clone(&progress));
        let (link, link_end) = OutQueue::for_link(SessionId(2), progress);
        let (said, mut heard) = mpsc::unbounded_channel();
        write_as("session", session_end, said.clone());
        write_as("link", link_end, said);
        tokio::task::yield_now().await;

        let mut table = Table::default();
        table.insert(session);
        let boot = Epoch::default();
        assert_eq!(table.insert_link(LinkId(1), boot, link), Some(None));
        assert!(!table.flush(), "nobody is told anything");
        table.answer(SessionId(1), 1, Box::new(Ok(crate::wire::body::Reply::Done)));
        table.say(LinkId(1), LinkMessage::FactsEnd);
        assert!(table.flush());
        super::super::after_those_ready().await;
        assert_eq!((heard.try_recv(), heard.try_recv()), (Ok("link"), Ok("session")));
    }
}
