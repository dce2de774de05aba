//! A connection during its handshake: one question, one answer, blocking.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::load::codec::{Codec, Link};

/// A server that does not answer a question of the handshake for so long
/// will not.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection that is not under load yet.
pub(crate) struct Dialogue {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Dialogue {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)
            .map_err(|error| io::Error::new(error.kind(), format!("connecting to {address}: {error}")))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// This side's port, which no other open connection to the server has.
    ///
    /// # Errors
    /// When the socket is gone.
    pub(crate) fn local_port(&self) -> io::Result<u16> {
        Ok(self.stream.local_addr()?.port())
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads until `parse` finds an answer at the front, and takes the bytes
    /// that it says the answer has.
    ///
    /// # Errors
    /// When the connection ends or goes silent, and those of `parse`.
    pub(crate) fn answer<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> io::Result<Option<(T, usize)>>,
    ) -> io::Result<T> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((answer, taken)) = parse(&self.unread)? {
                self.unread.drain(..taken);
                return Ok(answer);
            }
            let got = self.stream.read(&mut chunk)?;
            if got == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake"));
            }
            self.unread.extend_from_slice(&chunk[..got]);
        }
    }

    /// An answer may take so long from now on; then [`Dialogue::answer`] gives up.
    ///
    /// # Errors
    /// When the socket is gone.
    pub(crate) fn is_silent_after(&self, time: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(time))
    }

    /// Hands the connection over to the load.
    ///
    /// # Errors
    /// When the socket is gone.
    pub(crate) fn into_link(self, codec: impl Codec + 'static) -> io::Result<Link> {
        self.stream.set_read_timeout(None)?;
        Ok(Link { stream: self.stream, codec: Box::new(codec), unread: self.unread })
    }
}

/// An error for bytes that break a protocol, or a refusal spelled in them.
pub(crate) fn broken(what: &str, bytes: &[u8]) -> io::Error {
    let shown = &bytes[..bytes.len().min(200)];
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {}", String::from_utf8_lossy(shown)))
}
