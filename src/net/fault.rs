//! Why sessions end, and what remotes can do wrong.

use std::time::Duration;

use crate::limits;
use crate::wire::body::{BodyError, PROTOCOL_MAGIC, PROTOCOL_VERSION};
use crate::wire::frame::{FrameError, FrameKind, LinkRunError};
use crate::wire::run::RunError;

/// What a remote did wrong. Its session is closed with this reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFault {
    /// Bytes that are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A control body that is not understood.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Records that are not whole.
    #[error("the records of a put are not whole: {0}")]
    Records(#[from] RunError),
    /// Records that are not what their hash says.
    #[error("the hash of the records is {found:#x}, not {expected:#x} as the put says")]
    Hash {
        /// The hash in the put.
        expected: u64,
        /// The hash of the records.
        found: u64,
    },
    /// A run from a neighbour that is not whole.
    #[error("a run from a neighbour is not right: {0}")]
    LinkRun(#[from] LinkRunError),
    /// A relay that is no neighbour, or takes this one for another.
    #[error("{0}")]
    Stranger(String),
    /// A neighbour that was not heard of any more.
    #[error("nothing was heard from the neighbour for {after:?}")]
    Unheard {
        /// How long it was waited for.
        after: Duration,
    },
    /// A neighbour that does not take what it is told.
    #[error("{waiting} bytes of what the neighbour was told waited for it, and it took too few of them")]
    Untaken {
        /// Bytes that waited.
        waiting: u64,
    },
    /// A frame of a kind that is not sent to a relay, or not now.
    #[error("a {0:?} frame is not expected here")]
    Unexpected(FrameKind),
    /// A handle that cannot be one.
    #[error("{0} is not a handle: handles have 32 bits")]
    Handle(u64),
    /// Too many requests without an answer.
    #[error("{found} requests wait for an answer; at most {max} may")]
    Requests {
        /// Requests without an answer.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A frame that came too slowly, or not at all any more.
    #[error("a frame of {expected} bytes was not whole, and too little of it came for {after:?}")]
    Stalled {
        /// Bytes of the frame, as far as known.
        expected: usize,
        /// How long it was waited for.
        after: Duration,
    },
    /// A hello that is not for this protocol.
    #[error("the hello says {found:?}, not {PROTOCOL_MAGIC:?}")]
    Magic {
        /// What it says.
        found: String,
    },
    /// A version that this code does not speak.
    #[error("protocol version {found} is not spoken here; this relay speaks 1 to {PROTOCOL_VERSION}")]
    Version {
        /// The highest version that the remote speaks.
        found: u32,
    },
    /// No hello in time.
    #[error("no hello within {} ms", limits::HELLO_MS_MAX)]
    Silent,
    /// A hello longer than one from a stranger may be.
    #[error("a hello of {found} bytes; at most {} are allowed", limits::HELLO_BYTES_MAX)]
    HelloTooLong {
        /// Bytes announced.
        found: usize,
    },
}

impl SessionFault {
    /// The reason, in one word for the metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Frame(FrameError::Checksum { .. }) => "checksum",
            Self::Frame(FrameError::Kind(_)) => "kind",
            Self::Frame(FrameError::TooLong { .. }) => "length",
            Self::Frame(_) => "frame",
            Self::Body(_) => "body",
            Self::Records(_) => "records",
            Self::Hash { .. } => "hash",
            Self::LinkRun(_) => "link-run",
            Self::Stranger(_) => "stranger",
            Self::Unheard { .. } => "unheard",
            Self::Untaken { .. } => "untaken",
            Self::Unexpected(_) => "unexpected",
            Self::Handle(_) => "handle",
            Self::Requests { .. } => "requests",
            Self::Stalled { .. } => "stalled",
            Self::Magic { .. } => "magic",
            Self::Version { .. } => "version",
            Self::Silent => "silent",
            Self::HelloTooLong { .. } => "hello-length",
        }
    }
}

/// Why a session ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The remote closed it, with a reason if it gave one.
    Left(Option<String>),
    /// The connection broke.
    Broken(std::io::Error),
    /// The remote did something wrong.
    Fault(SessionFault),
    /// The relay closed it; the reason has been sent.
    Closed,
    /// A neighbour has let this relay know that it is there; this relay connects to it.
    Knocked,
    /// The link is configured no more, or in another way.
    Unlinked,
    /// There is no place for one more application.
    Full(String),
    /// The relay is stopping.
    Stopping,
}

impl SessionEnd {
    /// The reason, in one word for the metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Left(_) => "left",
            Self::Broken(_) => "broken",
            Self::Fault(_) => "fault",
            Self::Closed => "closed",
            Self::Knocked => "knocked",
            Self::Unlinked => "unlinked",
            Self::Full(_) => "limit",
            Self::Stopping => "stopping",
        }
    }
}

impl<T: Into<SessionFault>> From<T> for SessionEnd {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
    }
}
