//! Waiting for the answer to one message, at the cost of one allocation per run.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::error::ClientError;
use super::lock;
use super::message::{MessageId, MessageStream, PutReceipt};
use crate::id::Sequence;
use crate::wire::frame::AckLevel;

/// What the relay said of a run.
#[derive(Clone, Debug)]
pub(super) struct RunAnswer {
    pub(super) stream: Arc<MessageStream>,
    /// Sequence of the first message that was new.
    pub(super) first: Sequence,
    pub(super) count: u32,
    pub(super) repeats: u32,
}

impl RunAnswer {
    fn receipt(&self, place: u32) -> PutReceipt {
        debug_assert!(place < self.count, "a ticket is for a message of its run");
        let is_new = self.repeats == 0 && self.first.0 > 0;
        let sequence = Sequence(self.first.0.saturating_add(u64::from(place)));
        let id = is_new.then(|| MessageId::of(Arc::clone(&self.stream), sequence));
        PutReceipt { id, repeat: !is_new }
    }
}

/// Where the answer to a run will be; shared by the tickets of its messages.
#[derive(Debug, Default)]
pub(super) struct RunCell(Mutex<CellState>);

#[derive(Debug, Default)]
struct CellState {
    answer: Option<Result<RunAnswer, ClientError>>,
    /// What is reached meanwhile, and where the messages stand.
    reached: Option<(AckLevel, RunAnswer)>,
    wakers: Vec<Waker>,
}

impl RunCell {
    /// The relay has said how far the run has come, and will say more.
    pub(super) fn note(&self, reached: AckLevel, answer: RunAnswer) {
        lock(&self.0).reached = Some((reached, answer));
    }

    /// Puts the answer in and wakes all who wait for it.
    pub(super) fn fill(&self, answer: Result<RunAnswer, ClientError>) {
        let mut state = lock(&self.0);
        state.answer.get_or_insert(answer);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The answer to one put, once it is there: a future. Dropping it loses the
/// answer and nothing else: the message is put all the same.
#[derive(Debug)]
#[must_use = "a put may be refused: await the ticket, or put without one"]
pub struct PutTicket {
    cell: Arc<RunCell>,
    place: u32,
    /// Where this ticket's waker stands, once it was polled.
    slot: Option<usize>,
}

impl PutTicket {
    pub(super) fn new(cell: Arc<RunCell>, place: u32) -> Self {
        Self { cell, place, slot: None }
    }

    /// The level that is reached while the one that was asked for is waited for: `None` until the
    /// relay has the message on its disk. Whoever does not want to wait any longer learns from it
    /// whether the message is safe; the ticket goes on to wait for the late answer.
    #[must_use]
    pub fn reached(&self) -> Option<AckLevel> {
        lock(&self.cell.0).reached.as_ref().map(|(reached, _)| *reached)
    }

    /// What the relay has said of the message when [`PutTicket::reached`] is some: its id is known
    /// then, though the level that was asked for may never be reached.
    #[must_use]
    pub fn taken(&self) -> Option<PutReceipt> {
        lock(&self.cell.0).reached.as_ref().map(|(_, answer)| answer.receipt(self.place))
    }
}

impl Future for PutTicket {
    type Output = Result<PutReceipt, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cell, place, slot } = &mut *self;
        let mut state = lock(&cell.0);
        if let Some(answer) = &state.answer {
            return Poll::Ready(match answer {
                Ok(answer) => Ok(answer.receipt(*place)),
                Err(error) => Err(error.clone()),
            });
        }
        match slot.and_then(|slot| state.wakers.get_mut(slot)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                *slot = Some(state.wakers.len());
                state.wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}
