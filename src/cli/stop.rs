//! Ctrl-C, or a service manager that says stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;

/// Hears what asks this process to stop.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the process does not end by itself when it is asked to.
    ///
    /// # Errors
    /// When the system does not let it listen.
    pub fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::Machine { what: "wait for signals", source });
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits until it is asked.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
