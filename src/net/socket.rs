//! Every socket option, in one place.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::limits;

/// Connections that the system may hold ready for the listener.
const BACKLOG: i32 = 4096;

/// Seconds of silence after which the system asks whether the other side is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Seconds between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Questions without an answer until the connection is given up.
const KEEPALIVE_RETRIES: u32 = 3;

/// How sockets are set up. The default is right for a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes of the system's receive buffer; `None`, the default: the system adapts it.
    pub receive_bytes: Option<usize>,
    /// Bytes of the system's send buffer; `None`, the default: the system adapts it.
    pub send_bytes: Option<usize>,
    /// How long bytes may stay unconfirmed by the other side, a side that does
    /// not read included, until the connection is given up; 60 s by default.
    pub user_timeout: Duration,
    /// Bytes not sent yet above which a socket takes no more: what waits
    /// there cannot be overtaken by control frames. 512 KiB by default.
    pub unsent_bytes: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            receive_bytes: None,
            send_bytes: None,
            user_timeout: Duration::from_secs(60),
            unsent_bytes: 512 * 1024,
        }
    }
}

/// Makes a listening socket. Does not block.
///
/// # Errors
/// What the operating system says, mostly that the address is in use.
pub fn listen(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Otherwise whether IPv4 is served too depends on a setting of the system.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Sizes are inherited by accepted sockets, and must be known before the first packet.
    if let Some(bytes) = options.receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets the options of a connection, accepted or dialled.
///
/// # Errors
/// What the operating system says, mostly that the connection is gone already.
pub fn tune(stream: &TcpStream, options: &SocketOptions) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_user_timeout(Some(options.user_timeout))?;
        socket.set_tcp_notsent_lowat(options.unsent_bytes)?;
    }
    Ok(())
}

/// Sets what differs for a connection to a neighbour, once it is one: what waits in the system
/// holds up what is live, so it is little.
///
/// # Errors
/// What the operating system says, mostly that the connection is gone already.
pub fn tune_link(stream: &TcpStream, options: &SocketOptions) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let unsent = options.unsent_bytes.min(limits::LINK_UNSENT_BYTES_MAX);
        SockRef::from(stream).set_tcp_notsent_lowat(unsent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A remote that is gone without a word is noticed by nobody else.
    #[tokio::test]
    async fn f39_a_connection_is_given_up_when_nothing_is_heard_or_nothing_is_taken() {
        let options = SocketOptions::default();
        let listener = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream, &options).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let asks = KEEPALIVE_INTERVAL * socket.tcp_keepalive_retries().unwrap();
            let silence = socket.tcp_keepalive_time().unwrap() + asks;
            assert!(silence <= Duration::from_secs(30), "given up after {silence:?} only");
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(options.user_timeout));
        }
    }
}
