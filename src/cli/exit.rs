//! Exit codes, and the one table from reasons to codes.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::client::ClientError;
use crate::log::LogError;
use crate::server::{ServerError, StartError};
use crate::topology::Faults;
use crate::wire::body::{Refusal, RefusalCode};

use super::{human, input};

/// What the process ends with. The numbers are those of `sysexits.h` where it
/// has one, and of `timeout` for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Not done; standard error says why.
    Failed = 1,
    /// The command line, or the request, makes no sense.
    Usage = 2,
    /// No such thing, or no message.
    NothingThere = 3,
    /// A file or a message is not acceptable.
    BadFile = 65,
    /// No relay at the address, or it went away.
    Unreachable = 69,
    /// Not now.
    TryAgain = 75,
    /// Not permitted.
    NotPermitted = 77,
    /// The deadline has passed.
    Deadline = 124,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The relay or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What listens at the address does not speak as a relay does.
    #[error("{address} is not a treecast relay (or speaks another protocol): {why}")]
    NoRelay {
        /// Where a relay was looked for.
        address: String,
        /// What was not as a relay would say it.
        why: String,
    },
    /// The relay does not take a line of the input.
    #[error("line {line}: {source}")]
    Line {
        /// Which one, counted from 1.
        line: u64,
        /// Why not.
        source: ClientError,
    },
    /// No message was there. Says nothing: the exit code is the answer.
    #[error("nothing there")]
    Nothing,
    /// The thing asked for does not exist, though the relay answered.
    #[error("{0}")]
    Missing(String),
    /// What was written on the command line contradicts itself or the relay.
    #[error("{0}")]
    Usage(String),
    /// The time given on the command line is over.
    #[error("the deadline passed: {0}")]
    Deadline(&'static str),
    /// What the operator wrote cannot be used.
    #[error("what was written cannot be used: {}", human::of(faults.error_count() as u64, "fault"))]
    Config {
        /// All that is wrong.
        faults: Faults,
        /// Whether there was a file; else it was on the command line alone.
        in_file: bool,
    },
    /// A relay did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A relay ended by itself.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A relay that `up` has started ended by itself.
    #[error("relay {name} ended by itself: {how}")]
    Ended {
        /// Which one.
        name: String,
        /// With what.
        how: String,
        /// Its own exit code, if it says that another attempt, or another user, may have more luck.
        exit: Exit,
    },
    /// A file that the command line names cannot be read or written.
    #[error("cannot {what} {}: {source}", input::name(path))]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The log in a data directory cannot be read.
    #[error("cannot read the log in {}: {source}", path.display())]
    Log {
        /// The data directory.
        path: PathBuf,
        /// Why not.
        source: LogError,
    },
    /// Input that no relay would take.
    #[error("{0}")]
    Input(String),
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Standard output cannot be written; a closed pipe is quiet and fine.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// A check found something wrong. What it is has been told already.
    #[error("{0}")]
    Check(String),
}

impl Failure {
    /// The exit code. This and the tables for its sources below are the only ones.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.is_denied() {
            return Exit::NotPermitted;
        }
        match self {
            Self::Client(source) | Self::Line { source, .. } => exit_of_client(source),
            Self::NoRelay { .. } => Exit::Unreachable,
            Self::Deadline(_) => Exit::Deadline,
            // Whoever holds the data directory may end.
            Self::Start(StartError::Log { source: LogError::Locked { .. }, .. }) => Exit::TryAgain,
            Self::Start(StartError::Join { source, .. }) => exit_of_client(source),
            Self::Ended { exit, .. } => *exit,
            Self::Start(_) | Self::Server(_) | Self::Machine { .. } | Self::Check(_) => Exit::Failed,
            Self::Nothing | Self::Missing(_) => Exit::NothingThere,
            Self::Usage(_) | Self::Config { in_file: false, .. } => Exit::Usage,
            Self::File { .. } | Self::Log { .. } | Self::Input(_) | Self::Config { in_file: true, .. } => {
                Exit::BadFile
            }
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// Whether the operating system does not let this user do it.
    fn is_denied(&self) -> bool {
        let denied = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
        if let Self::File { source, .. }
        | Self::Start(StartError::Data { source, .. } | StartError::Bind { source, .. }) = self
        {
            denied(source)
        } else if let Self::Log { source: LogError::File { source, .. }, .. }
        | Self::Start(StartError::Log { source: LogError::File { source, .. }, .. }) = self
        {
            denied(source)
        } else {
            false
        }
    }

    /// Whether a line on standard error helps: not for an empty `poll`, whose
    /// exit code says it, and not when the reader of our output has left.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        !matches!(self, Self::Nothing) && self.exit() != Exit::Done
    }

    /// What the user can do about it, if that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Client(source) | Self::Line { source, .. } => advice_on_client(source),
            Self::NoRelay { .. }
            | Self::Config { .. }
            | Self::Start(_)
            | Self::Server(_)
            | Self::Ended { .. }
            | Self::Nothing
            | Self::Missing(_)
            | Self::Usage(_)
            | Self::Deadline(_)
            | Self::File { .. }
            | Self::Log { .. }
            | Self::Input(_)
            | Self::Machine { .. }
            | Self::Output(_)
            | Self::Check(_) => None,
        }
    }
}

fn exit_of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Refused(refusal) => exit_of_refusal(refusal.code),
        ClientError::Unreachable { .. } | ClientError::Closed { .. } => Exit::Unreachable,
        ClientError::Deadline => Exit::Deadline,
        ClientError::Unreached { .. } | ClientError::AcksLost => Exit::TryAgain,
        ClientError::Protocol(_) | ClientError::Version { .. } => Exit::Failed,
    }
}

fn advice_on_client(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { .. } => {
            Some("is a relay running? `treecast relay` starts one; `--relay` or TREECAST_RELAY name another")
        }
        ClientError::Refused(Refusal { code, .. }) => advice_on_refusal(*code),
        ClientError::Unreached { .. } => Some(
            "`treecast group tree GROUP` shows the relays that carry it; a subscription at one more makes \
             that relay carry it too",
        ),
        ClientError::Closed { .. }
        | ClientError::AcksLost
        | ClientError::Deadline
        | ClientError::Protocol(_)
        | ClientError::Version { .. } => None,
    }
}

/// The exit code for what a relay refused.
#[must_use]
pub fn exit_of_refusal(code: RefusalCode) -> Exit {
    match code {
        RefusalCode::NotFound | RefusalCode::Removed => Exit::NothingThere,
        RefusalCode::Invalid => Exit::Usage,
        RefusalCode::TooLarge => Exit::BadFile,
        RefusalCode::Quota
        | RefusalCode::NoRoom
        | RefusalCode::NotReady
        | RefusalCode::Limit
        | RefusalCode::Stopping => Exit::TryAgain,
        RefusalCode::Deadline => Exit::Deadline,
        RefusalCode::NotPermitted => Exit::NotPermitted,
        RefusalCode::Exists | RefusalCode::ProducerForgotten => Exit::Failed,
    }
}

fn advice_on_refusal(code: RefusalCode) -> Option<&'static str> {
    match code {
        RefusalCode::Quota => Some(
            "it passes when subscriptions ack or are removed; see `treecast group show` and `treecast subscription list`",
        ),
        RefusalCode::NoRoom => Some("get and ack still work; see `treecast status`"),
        RefusalCode::NotFound
        | RefusalCode::Exists
        | RefusalCode::Invalid
        | RefusalCode::TooLarge
        | RefusalCode::NotReady
        | RefusalCode::Limit
        | RefusalCode::ProducerForgotten
        | RefusalCode::Removed
        | RefusalCode::NotPermitted
        | RefusalCode::Deadline
        | RefusalCode::Stopping => None,
    }
}

/// A refusal's reason as one word, for JSON.
#[must_use]
pub fn refusal_word(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotFound => "not-found",
        RefusalCode::Exists => "exists",
        RefusalCode::Invalid => "invalid",
        RefusalCode::TooLarge => "too-large",
        RefusalCode::Quota => "quota",
        RefusalCode::NoRoom => "no-room",
        RefusalCode::NotReady => "not-ready",
        RefusalCode::Deadline => "deadline",
        RefusalCode::Limit => "limit",
        RefusalCode::ProducerForgotten => "producer-forgotten",
        RefusalCode::Removed => "removed",
        RefusalCode::NotPermitted => "not-permitted",
        RefusalCode::Stopping => "stopping",
    }
}
