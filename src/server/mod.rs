//! A relay manager: one running [`Server`] around one relay.
//!
//! | work | where | how many |
//! |---|---|---|
//! | listener | task, [`crate::net::listener`] | one |
//! | session | task, `native` | one per connection, reading |
//! | link | task, `links` | one per neighbour that this relay connects to |
//! | link writer | task, [`crate::net::link_writer`] | one per connection |
//! | driver | task, `driver` | one, owns the core |
//! | log | threads of the log, `readers` and `scrub` | one writes, a few read, one reads slowly |
//!
//! Bytes go session → driver → log → driver → link writer. Along the flow
//! sends may wait; what runs against it (`signals`) is a latest value and a
//! notification. Front doors hold [`handle::Sessions`] and nothing else.
//!
//! For a batch of puts there are three wake-ups: the session (bytes have come),
//! the driver (inputs wait), and after the sync the driver again, which wakes
//! the writers. On one runtime thread none of them is a system call, except
//! that the log's thread wakes the driver.

mod clock;
mod driver;
mod fault;
pub mod handle;
mod links;
mod native;
mod places;
mod process;
mod readers;
mod scrub;
mod signals;
mod start;
mod tasks;
mod told;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::fault::ServerError;
pub use self::start::{ServerOptions, StartError};
pub use crate::relay::{Neighbour, Used};

use self::fault::Faults;
use self::handle::Sessions;
use self::links::Links;
use self::native::Native;
use self::places::Places;
use self::signals::Signals;
use self::start::Started;
use self::tasks::Tasks;
use crate::limits;
use crate::metrics;
use crate::net::link_writer;
use crate::net::listener::Listener;

/// A running relay.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    sessions: Sessions,
    tasks: Tasks,
    faults: Arc<Faults>,
    signals: Arc<Signals>,
    stop_listener: CancellationToken,
    stop_sessions: CancellationToken,
    /// Cancelled when the driver has ended and the log is closed.
    ended: CancellationToken,
}

impl Server {
    /// Opens the log, restores the relay from it, binds, and begins to serve.
    /// Must be called inside a runtime; files are read on a thread of its own.
    ///
    /// # Errors
    /// When the data directory cannot be used, its content contradicts itself,
    /// or the address cannot be bound. Nothing runs then.
    pub async fn start(options: ServerOptions) -> Result<Self, StartError> {
        let Started { driver, listener, address, sessions, links, signals, faults } =
            start::start(options).await?;
        let tasks = Tasks::new(Arc::clone(&faults));
        let server = Self {
            address,
            sessions,
            tasks,
            faults,
            signals,
            stop_listener: CancellationToken::new(),
            stop_sessions: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        server.spawn_driver(driver);
        let native = server.native(links);
        native.connect_to_neighbours();
        server.spawn_listener(listener, native);
        Ok(server)
    }

    /// The address it listens at, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For front doors: opens sessions without a socket.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Waits until the server has ended, by [`Server::stop`] or by itself.
    ///
    /// # Errors
    /// When it ended by itself: the log has failed or something panicked.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait(&self) -> Result<(), ServerError> {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = self.faults.happened().cancelled() => {}
        }
        self.faults.first().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Stops in the order of the flow: listener, sessions, driver with its last
    /// appends, writers, log. Takes some seconds at the most. Calling it again is harmless.
    ///
    /// # Errors
    /// When the log could not be closed well; the next start recovers as after a crash.
    ///
    /// # Cancel safety
    /// The stop goes on, unobserved.
    pub async fn stop(&self) -> Result<(), ServerError> {
        self.stop_listener.cancel();
        self.stop_sessions.cancel();
        self.signals.stop();
        let ended = self.wait().await;
        // The log is closed; what is left are writers with a slow remote.
        let rest = Duration::from_millis(3 * limits::CLOSE_MS_MAX);
        if timeout(rest, self.tasks.ended()).await.is_err() {
            tracing::warn!("some sessions did not end in time and were left");
        }
        if ended.is_ok() {
            tracing::info!("the relay has stopped");
        }
        ended
    }

    fn spawn_driver(&self, driver: driver::Driver) {
        let (faults, ended) = (Arc::clone(&self.faults), self.ended.clone());
        let stops = [self.stop_listener.clone(), self.stop_sessions.clone()];
        self.tasks.spawn("driver", async move {
            let _guard = stops.map(CancellationToken::drop_guard);
            let ran = tokio::select! {
                // What panicked may have broken what the driver is about to write.
                () = faults.happened().cancelled() => Ok(()),
                ran = driver.run() => ran,
            };
            if let Err(error) = ran {
                tracing::error!(%error, "the relay stops");
                faults.report(error);
            }
            ended.cancel();
        });
    }

    fn native(&self, links: Links) -> Native {
        Native {
            sessions: self.sessions.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop_sessions.clone(),
            partial_bytes: Arc::new(Semaphore::new(limits::PARTIAL_BYTES_MAX)),
            link_partial_bytes: Arc::new(Semaphore::new(limits::LINK_PARTIAL_BYTES_MAX)),
            links,
        }
    }

    fn spawn_listener(&self, mut listener: Listener, native: Native) {
        let stop = self.stop_listener.clone();
        let places = Places::new();
        self.tasks.spawn("listener", async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (mut stream, _) = accepted;
                let place = match places.take(stream.as_fd()) {
                    Ok(place) => place,
                    Err(reason) => {
                        metrics::session_refused("limit");
                        // It has room for one small frame, or it does without its reason.
                        let _ = timeout(Duration::ZERO, link_writer::write_close(&mut stream, reason)).await;
                        continue;
                    }
                };
                let native = native.clone();
                native.tasks.clone().spawn("session", async move {
                    native.serve(stream, place).await;
                });
            }
        });
    }
}

impl Drop for Server {
    /// Like a crash, but tidy: tasks are told to end, and the log stops without being closed.
    fn drop(&mut self) {
        self.stop_listener.cancel();
        self.stop_sessions.cancel();
        self.signals.stop();
    }
}
