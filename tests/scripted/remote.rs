//! A remote that sends what it is told to, and a server for it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use treecast::id::{ProducerSequence, RelayId};
use treecast::log::LogOptions;
use treecast::server::{Server, ServerOptions};
use treecast::wire::body::{self, Answer, ClientHello, Close, PROTOCOL_MAGIC, RelayHello, Request};
use treecast::wire::frame::{
    AckLevel, Credit, Frame, FrameKind, PutDone, PutHead, append_frame, append_frame_with, take_frame,
};
use treecast::wire::run::Record;

/// Longer than anything takes, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(20);

/// A whole server on loopback.
pub(crate) struct TestServer {
    server: Server,
    directory: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { server: start(directory.path().join("data")).await, directory }
    }

    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// Stops, lets something happen to the data directory, and starts again.
    pub(crate) async fn restart_after(self, happen: impl FnOnce(&Path)) -> Self {
        let Self { server, directory } = self;
        server.stop().await.unwrap();
        drop(server);
        happen(&directory.path().join("data"));
        Self { server: start(directory.path().join("data")).await, directory }
    }

    /// Goes on from a copy of the files as they are now, as after a kill, and
    /// after something happened to the copy.
    pub(crate) async fn crash_then(self, happen: impl FnOnce(&Path)) -> Self {
        let Self { server, directory } = self;
        let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            let copied = std::fs::copy(&path, copy.join(path.file_name().unwrap()));
            // A spare segment gets its final name while this goes on: then it is as if there was none yet.
            let was_renamed = copied.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
            assert!(
                copied.is_ok() || (was_renamed && path.extension().is_some_and(|e| e == "tmp")),
                "{copied:?}"
            );
        }
        server.stop().await.unwrap();
        drop(server);
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&copy, &data).unwrap();
        happen(&data);
        Self { server: start(data).await, directory }
    }

    pub(crate) async fn connect_raw(&self) -> Remote {
        Remote::connect(self.server.address()).await
    }

    pub(crate) async fn connect(&self) -> Remote {
        let mut remote = self.connect_raw().await;
        let hello = ClientHello { magic: PROTOCOL_MAGIC.to_owned(), version: 1, name: "script".to_owned() };
        remote.send_control(FrameKind::Hello, 0, &body::encode(&hello)).await;
        remote.expect_hello().await;
        remote
    }

    pub(crate) async fn stop(self) {
        timeout(PATIENCE, self.server.stop()).await.expect("the server stops").unwrap();
        drop(self.directory);
    }
}

async fn start(data: PathBuf) -> Server {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = ServerOptions::new(RelayId::new("r1").unwrap(), data, listen);
    options.log = LogOptions { segment_bytes: 4 << 20, reserve_bytes: 8 << 20, ..LogOptions::default() };
    options.snapshot_bytes = 1 << 20;
    Server::start(options).await.unwrap()
}

/// A connection.
pub(crate) struct Remote {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: BytesMut,
    requests: u64,
    /// Frames that came while another was waited for.
    skipped: Vec<Frame>,
}

impl Remote {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader, writer, buffer: BytesMut::new(), requests: 0, skipped: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A relay that has closed already does not read on; its reason is what counts.
        let _ = self.writer.write_all(bytes).await;
    }

    /// Sends as much of `bytes` as is taken, until for so long nothing is; true when all was.
    pub(crate) async fn send_within(&mut self, bytes: &mut BytesMut, patience: Duration) -> bool {
        while !bytes.is_empty() {
            if !matches!(timeout(patience, self.writer.write_buf(bytes)).await, Ok(Ok(1..))) {
                return false;
            }
        }
        true
    }

    pub(crate) async fn send_frame(&mut self, kind: FrameKind, tag: u64, body: &[u8]) {
        let mut bytes = BytesMut::new();
        append_frame(&mut bytes, kind, tag, body);
        self.send(&bytes).await;
    }

    pub(crate) async fn send_control(&mut self, kind: FrameKind, tag: u64, body: &Bytes) {
        self.send_frame(kind, tag, body).await;
    }

    pub(crate) async fn send_credit(&mut self, credit: Credit) {
        let mut bytes = BytesMut::new();
        credit.encode(&mut bytes);
        self.send_frame(FrameKind::Credit, 0, &bytes).await;
    }

    pub(crate) async fn shutdown(&mut self) {
        self.writer.shutdown().await.unwrap();
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let read = timeout(PATIENCE, self.reader.read_buf(&mut self.buffer)).await;
            if !matches!(read.expect("the relay says something"), Ok(1..)) {
                return None;
            }
        }
    }

    /// The next frame of a kind; others are kept for later.
    pub(crate) async fn expect(&mut self, kind: FrameKind) -> Frame {
        if let Some(place) = self.skipped.iter().position(|frame| frame.kind == kind) {
            return self.skipped.remove(place);
        }
        loop {
            let Some(frame) = self.next().await else {
                panic!("the session ended where a {kind:?} was expected")
            };
            if frame.kind == kind {
                return frame;
            }
            if frame.kind == FrameKind::Close {
                let close: Close = body::decode(&frame.body).unwrap();
                panic!("closed where a {kind:?} was expected: {}", close.reason);
            }
            self.skipped.push(frame);
        }
    }

    pub(crate) async fn expect_hello(&mut self) -> RelayHello {
        body::decode(&self.expect(FrameKind::Hello).await.body).unwrap()
    }

    /// The reason of the close, which is the last frame.
    pub(crate) async fn expect_close(&mut self) -> String {
        let frame = self.expect(FrameKind::Close).await;
        assert_eq!(self.next().await, None, "nothing comes after a close");
        body::decode::<Close>(&frame.body).unwrap().reason
    }

    /// The stream ends, whatever comes before.
    pub(crate) async fn expect_end(&mut self) {
        while self.next().await.is_some() {}
    }

    pub(crate) async fn read_to_end(&mut self) {
        self.expect_end().await;
    }

    pub(crate) async fn expect_puts_done(&mut self, count: usize) {
        let mut found = 0;
        while found < count {
            let frame = self.expect(FrameKind::PutAnswer).await;
            found += PutDone::decode_list(frame.body).unwrap().len();
        }
        assert_eq!(found, count);
    }

    pub(crate) async fn expect_puts_done_at_least(&mut self, count: usize) {
        let mut found = 0;
        while found < count {
            let frame = self.expect(FrameKind::PutAnswer).await;
            found += PutDone::decode_list(frame.body).unwrap().len();
        }
    }

    pub(crate) async fn ping(&mut self, tag: u64) {
        self.send_frame(FrameKind::Ping, tag, b"").await;
        assert_eq!(self.expect(FrameKind::Pong).await.tag, tag);
    }

    pub(crate) async fn request(&mut self, request: Request) -> Answer {
        self.requests += 1;
        self.send_control(FrameKind::Request, self.requests, &body::encode(&request)).await;
        let frame = self.expect(FrameKind::Answer).await;
        assert_eq!(frame.tag, self.requests);
        body::decode(&frame.body).unwrap()
    }
}

/// Payloads, encoded as records.
pub(crate) fn records(payloads: &[&[u8]]) -> Bytes {
    let mut bytes = BytesMut::new();
    for payload in payloads {
        Record { payload, ..Record::default() }.encode(&mut bytes);
    }
    bytes.freeze()
}

/// A put without a producer.
pub(crate) fn put_frame(handle: u32, put: u64, records: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    let head = PutHead {
        put,
        producer: None,
        lowest_unanswered: ProducerSequence(0),
        body_hash: xxhash_rust::xxh3::xxh3_64(records),
        level: AckLevel::Accepted,
        copies: 0,
        transient: false,
        age_seconds: 0,
    };
    append_frame_with(&mut bytes, FrameKind::Put, u64::from(handle), records.len(), |out| head.encode(out));
    bytes.extend_from_slice(records);
    bytes
}
