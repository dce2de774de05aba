//! What can go wrong for an application.

use std::io;
use std::sync::Arc;

use crate::wire::body::Refusal;

/// Why something was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The relay cannot be reached: nothing listens there, or the connection broke
    /// and could not be made again in time.
    #[error("relay {address} cannot be reached: {source}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The relay said no, and why.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The session is over: the relay ended it, or this side did.
    #[error("the session is over: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// It took longer than the deadline allows. What was asked may still happen.
    #[error("the deadline passed")]
    Deadline,
    /// The relay wants to speak a version that this library does not speak.
    #[error("the relay speaks protocol version {found}; this library speaks 1 to {known}")]
    Version {
        /// The version in the relay's hello.
        found: u32,
        /// The highest version that this library speaks, which is what it had said.
        known: u32,
    },
    /// The other side does not speak this protocol, or broke it.
    #[error("protocol error: {0}")]
    Protocol(String),
}

impl ClientError {
    pub(super) fn unreachable(address: &str, source: io::Error) -> Self {
        Self::Unreachable { address: address.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn closed(reason: &str) -> Self {
        Self::Closed { reason: reason.to_owned() }
    }

    /// Whether the same may succeed on a new connection.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Closed { .. })
    }
}
