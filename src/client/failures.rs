//! Refusals of messages that nobody holds a ticket for.

use std::collections::VecDeque;

use super::error::ClientError;
use crate::id::ProducerSequence;
use crate::limits;

/// Messages that were put without a ticket and were refused.
#[derive(Clone, Debug)]
pub struct PutFailure {
    /// Producer sequence of the first of them.
    pub first: ProducerSequence,
    /// How many there are.
    pub count: u32,
    /// Why.
    pub error: ClientError,
}

/// What a publisher keeps of its failures: the first ones, and the number of all.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: VecDeque<PutFailure>,
    messages: u64,
}

impl Failures {
    pub(super) fn add(&mut self, failure: PutFailure) {
        self.messages += u64::from(failure.count);
        if self.first.len() < limits::CLIENT_FAILURES_MAX {
            self.first.push_back(failure);
        }
    }

    /// How many messages there were since the last [`Self::take`].
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Oldest first.
    pub(super) fn take(&mut self) -> Vec<PutFailure> {
        self.messages = 0;
        self.first.drain(..).collect()
    }

    /// The oldest one, if it is of messages up to and including `through`.
    pub(super) fn oldest_through(&self, through: ProducerSequence) -> Option<&ClientError> {
        self.first.front().filter(|failure| failure.first <= through).map(|failure| &failure.error)
    }
}
