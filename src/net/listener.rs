//! Accepts connections and survives everything that can go wrong with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::metrics;
use crate::net::socket::{self, SocketOptions};

/// The first pause after an error of this machine; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: SocketOptions,
    pause: Duration,
}

impl Listener {
    /// Begins to listen. Must be called inside a runtime; does not block.
    ///
    /// # Errors
    /// What the operating system says, mostly that the address is in use.
    pub fn bind(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = TcpListener::from_std(socket::listen(address, &options)?)?;
        Ok(Self { socket, options, pause: PAUSE_MIN })
    }

    /// The address it listens at, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection, with its options set. Errors are counted, and waited
    /// out when they are this machine's (no file descriptors left).
    ///
    /// # Cancel safety
    /// Nothing is lost: a connection is either returned or still in the backlog.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, remote)) => {
                    self.pause = PAUSE_MIN;
                    match socket::tune(&stream, &self.options) {
                        Ok(()) => return (stream, remote),
                        Err(_) => metrics::accept_failed("gone"),
                    }
                }
                Err(error) if is_one_connection(&error) => metrics::accept_failed("gone"),
                Err(error) => {
                    metrics::accept_failed("machine");
                    tracing::warn!(%error, pause = ?self.pause, "cannot accept connections");
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

/// Whether the error is about the connection that was to be accepted, so that the next one may be fine.
fn is_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
