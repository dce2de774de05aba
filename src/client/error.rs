//! What can go wrong for an application.

use std::io;
use std::sync::Arc;

use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::frame::AckLevel;

/// Why something was not done. Cheap to clone: one lost connection may be the
/// answer to many.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No relay can be reached at the address. Nothing was done.
    #[error("relay {address} cannot be reached: {source}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
    /// The relay says no, and why. Nothing was done.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The session ended, by the relay, by the network or by this side. What
    /// was asked and has no answer may have been done.
    #[error("the session is over: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// The message is safe at the relay, as `reached` says, but the level that was asked for
    /// cannot be reached, since too few relays carry the group; or it will not be known when it is,
    /// since another relay took it before, or since the relay has forgotten the producer while it waited
    /// and the connection was lost then.
    #[error(
        "the message is {reached}, and no more can be told: fewer relays carry the group than were to have it, \
         another relay took it before and of that it is not known here, or its producer was forgotten meanwhile"
    )]
    Unreached {
        /// How far it has come.
        reached: AckLevel,
    },
    /// Some of what was acked since the last time is not confirmed and will not be: the home of the
    /// subscription was started again before those messages were on its disk. They come again. Everything else
    /// is confirmed.
    #[error(
        "some of what was acked comes again: the home of the subscription was started again before that was on \
         its disk"
    )]
    AcksLost,
    /// There was no answer in time. What was asked may still be done.
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
    /// The other side does not keep to the protocol; the connection is given up.
    #[error("protocol error: {0}")]
    Protocol(String),
}

impl ClientError {
    pub(super) fn unreachable(address: &str, source: io::Error) -> Self {
        Self::Unreachable { address: address.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn closed(reason: impl Into<String>) -> Self {
        Self::Closed { reason: reason.into() }
    }

    /// What this is for somebody else on the same session, which it has ended.
    pub(super) fn to_closed(&self) -> Self {
        if matches!(self, Self::Closed { .. }) { self.clone() } else { Self::closed(self.to_string()) }
    }

    pub(super) fn protocol(what: impl std::fmt::Display) -> Self {
        Self::Protocol(what.to_string())
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(RefusalCode::Invalid, what))
    }

    /// Whether a new connection may bring another answer: the client itself
    /// tries again then, where a publisher or a subscriber is concerned.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Closed { .. } | Self::Deadline | Self::Protocol(_) => true,
            Self::Refused(refusal) => is_passing(refusal.code),
            Self::Version { .. } | Self::Unreached { .. } | Self::AcksLost => false,
        }
    }
}

/// Whether a relay says so only for the moment, of itself and not of the request.
pub(super) fn is_passing(code: RefusalCode) -> bool {
    match code {
        RefusalCode::NotReady | RefusalCode::Stopping => true,
        RefusalCode::NotFound
        | RefusalCode::Exists
        | RefusalCode::Invalid
        | RefusalCode::TooLarge
        | RefusalCode::Quota
        | RefusalCode::NoRoom
        | RefusalCode::Limit
        | RefusalCode::ProducerForgotten
        | RefusalCode::Removed
        | RefusalCode::Deadline
        | RefusalCode::NotPermitted => false,
    }
}
