//! F52: the two sides of a session agree on a version, or say which ones they speak.

#![expect(clippy::unwrap_used, reason = "in a test a step that fails is a failed test")]

use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use treecast::client::{Client, ClientError};
use treecast::id::{Epoch, RelayId, WallTime};
use treecast::server::{Server, ServerOptions};
use treecast::wire::body::{self, ClientHello, Close, PROTOCOL_MAGIC, PROTOCOL_VERSION, RelayHello};
use treecast::wire::frame::{Frame, FrameKind, append_frame, take_frame};

async fn read_frame(stream: &mut TcpStream) -> Frame {
    let mut buffer = BytesMut::new();
    loop {
        if let Some(frame) = take_frame(&mut buffer).unwrap() {
            return frame;
        }
        assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0, "a frame comes before the end");
    }
}

async fn write_hello(stream: &mut TcpStream, body: &[u8]) {
    let mut bytes = BytesMut::new();
    append_frame(&mut bytes, FrameKind::Hello, 0, body);
    stream.write_all(&bytes).await.unwrap();
}

/// Something that answers every hello with this version.
async fn relay_of_version(version: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let hello: ClientHello = body::decode(&read_frame(&mut stream).await.body).unwrap();
        assert_eq!(hello.version, PROTOCOL_VERSION, "a client says the highest version it speaks");
        let hello = RelayHello {
            magic: PROTOCOL_MAGIC.to_owned(),
            version,
            relay: RelayId::new("other").unwrap(),
            epoch: Epoch::default(),
            put_bytes_max: 1,
            now: WallTime(0),
        };
        write_hello(&mut stream, &body::encode(&hello)).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    });
    address
}

#[tokio::test]
async fn f52_a_client_refuses_a_relay_that_wants_another_version() {
    for version in [0, PROTOCOL_VERSION + 1] {
        let address = relay_of_version(version).await;
        let error = Client::connect(&address.to_string()).await.unwrap_err();
        let is_named = matches!(error, ClientError::Version { found, known }
            if found == version && known == PROTOCOL_VERSION);
        assert!(is_named, "{error:?}");
    }
}

#[tokio::test]
async fn f52_a_relay_refuses_a_client_that_speaks_no_version_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = RelayId::new("r").unwrap();
    let server = Server::start(ServerOptions::new(relay, directory.path().to_owned(), listen)).await.unwrap();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let hello = ClientHello { magic: PROTOCOL_MAGIC.to_owned(), version: 0, name: String::new() };
    write_hello(&mut stream, &body::encode(&hello)).await;
    let frame = read_frame(&mut stream).await;
    assert_eq!(frame.kind, FrameKind::Close);
    let close: Close = body::decode(&frame.body).unwrap();
    let words = format!("protocol version 0 is not spoken here; this relay speaks 1 to {PROTOCOL_VERSION}");
    assert_eq!(close.reason, words);
    server.stop().await.unwrap();
}
