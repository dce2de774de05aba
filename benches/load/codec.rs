//! What a system must offer to be measured: connections, and a codec for what
//! travels on them.

use std::io;
use std::net::TcpStream;

use super::Workload;

/// What a codec found in the bytes it was given.
pub(crate) trait Events {
    /// The next `puts` puts of this connection, in order, are acked.
    fn acked(&mut self, puts: u64);
    /// A message reached a subscription, counted from 0.
    fn delivered(&mut self, subscription: usize, payload: &[u8]);
}

/// One connection's protocol, without its socket.
pub(crate) trait Codec: Send {
    /// Appends one put to `out`.
    fn put(&mut self, payload: &[u8], out: &mut Vec<u8>);

    /// Takes whole frames from the front of `input`, tells what they say and
    /// appends what must be answered to `out`. Returns the bytes taken; the
    /// rest comes again with more behind it.
    ///
    /// # Errors
    /// When the bytes break the protocol or the system refused something.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, events: &mut dyn Events) -> io::Result<usize>;
}

/// One open connection, past its handshake.
pub(crate) struct Link {
    /// The socket, in blocking mode.
    pub(crate) stream: TcpStream,
    /// Its protocol.
    pub(crate) codec: Box<dyn Codec>,
    /// What was read during the handshake and belongs behind it.
    pub(crate) unread: Vec<u8>,
}

/// One system under load.
pub(crate) trait Target {
    /// Makes what must exist before the clock starts: the stream and its
    /// durable subscriptions, none of them connected.
    ///
    /// # Errors
    /// When the system refuses or cannot be reached.
    fn prepare(&mut self, workload: &Workload) -> io::Result<()>;

    /// Opens a publisher's connection.
    ///
    /// # Errors
    /// When the system refuses or cannot be reached.
    fn publisher(&self) -> io::Result<Link>;

    /// Connects all durable subscriptions.
    ///
    /// # Errors
    /// When the system refuses or cannot be reached.
    fn subscribers(&self) -> io::Result<Vec<Link>>;

    /// The servers' processes, for their use of processor and memory.
    fn pids(&self) -> Vec<u32>;
}

/// The bytes of a connection that are not yet a whole frame.
#[derive(Default)]
pub(crate) struct Inbox {
    carry: Vec<u8>,
}

impl Inbox {
    /// An inbox that starts with what the handshake left over.
    pub(crate) fn starting_with(unread: Vec<u8>) -> Self {
        Self { carry: unread }
    }

    /// Reads once with `read` behind what is carried and decodes all of it.
    /// `scratch` can be shared between connections: nothing stays in it.
    ///
    /// # Errors
    /// Those of `read` and of the codec, and an end of the stream.
    pub(crate) fn pull(
        &mut self,
        scratch: &mut Vec<u8>,
        link: (&mut dyn Codec, &mut Vec<u8>),
        events: &mut dyn Events,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let carried = self.carry.len();
        if scratch.len() < 2 * carried {
            scratch.resize(4 * carried, 0);
        }
        let got = read(&mut scratch[carried..])?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        scratch[..carried].copy_from_slice(&self.carry);
        let filled = &scratch[..carried + got];
        let taken = link.0.decode(filled, link.1, events)?;
        self.carry.clear();
        self.carry.extend_from_slice(&filled[taken..]);
        Ok(())
    }

    /// Decodes what the handshake left over, if anything.
    ///
    /// # Errors
    /// Those of the codec.
    pub(crate) fn decode_carried(
        &mut self,
        codec: &mut dyn Codec,
        out: &mut Vec<u8>,
        events: &mut dyn Events,
    ) -> io::Result<()> {
        let taken = codec.decode(&self.carry, out, events)?;
        self.carry.drain(..taken);
        Ok(())
    }
}

/// Bytes that a shared read buffer starts with.
pub(crate) const SCRATCH_BYTES: usize = 256 * 1024;
