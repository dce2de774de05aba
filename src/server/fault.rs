//! What ends a server against its will.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::log::LogError;

/// Why a running server has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A write or a sync failed, or the log did not stop well.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// A task or thread panicked: an invariant does not hold.
    #[error("the {0} panicked; the relay has stopped so that nothing wrong is written")]
    Panicked(&'static str),
}

/// Keeps the first fault and tells everybody.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    first: OnceLock<ServerError>,
    happened: CancellationToken,
}

impl Faults {
    /// Something ends the server.
    pub(crate) fn report(&self, error: ServerError) {
        // A second fault is a consequence of the first.
        let _ = self.first.set(error);
        self.happened.cancel();
    }

    /// Cancelled when something went wrong.
    pub(crate) fn happened(&self) -> &CancellationToken {
        &self.happened
    }

    /// The first fault.
    pub(crate) fn first(&self) -> Option<&ServerError> {
        self.first.get()
    }

    /// Held by a task or thread: reports when it panics.
    pub(crate) fn guard(self: &Arc<Self>, name: &'static str) -> Guard {
        Guard { faults: Arc::clone(self), name }
    }
}

/// Reports the panic of the task or thread that holds it.
#[derive(Debug)]
pub(crate) struct Guard {
    faults: Arc<Faults>,
    name: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.faults.report(ServerError::Panicked(self.name));
        }
    }
}
