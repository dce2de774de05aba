//! Frames by hand, right and wrong ones, over a plain socket.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use treecast::id::{Epoch, GroupName, Index, ProducerSequence, RelayId, SubscriptionName};
use treecast::limits;
use treecast::wire::body::{
    self, ClientHello, Close, PROTOCOL_MAGIC, PROTOCOL_VERSION, Request, SubscriptionSpec,
};
use treecast::wire::frame::{
    Ack, AckKind, AckLevel, Credit, FrameKind, PUT_HEAD_BYTES, PutHead, append_frame, take_frame,
};
use treecast::wire::link::{LINK_MAGIC, LINK_VERSION, LinkHello};
use treecast::wire::run::Record;

/// The handle of the first group that a session opens, and of the first subscription.
const FIRST: u32 = 0;

/// What a relay said to the bytes that it was sent.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The kinds of its frames.
    pub(crate) kinds: Vec<FrameKind>,
    /// The reason of its close, if it gave one.
    pub(crate) reason: Option<String>,
}

/// Sends `bytes`, says that nothing follows, and hears the relay out. It must end the
/// session in time.
#[track_caller]
pub(crate) fn converse(address: &str, bytes: &[u8]) -> impl Future<Output = Said> {
    let (address, bytes) = (address.to_owned(), bytes.to_vec());
    async move {
        let mut stream = TcpStream::connect(&address).await.expect("the relay accepts");
        // The relay may have closed already: its reason is what counts.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        hear(&mut stream, Duration::from_secs(20)).await
    }
}

/// Hears the relay out until it ends the session.
pub(crate) async fn hear(stream: &mut TcpStream, patience: Duration) -> Said {
    let mut said = Said::default();
    let mut buffer = BytesMut::new();
    loop {
        let read = timeout(patience, stream.read_buf(&mut buffer)).await;
        let ended = !matches!(read.expect("the relay ends the session in time"), Ok(1..));
        while let Some(frame) = take_frame(&mut buffer).expect("what the relay sends are frames") {
            said.kinds.push(frame.kind);
            if frame.kind == FrameKind::Close {
                said.reason = Some(body::decode::<Close>(&frame.body).expect("a close").reason);
            }
        }
        if ended {
            return said;
        }
    }
}

fn frame(kind: FrameKind, tag: u64, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    append_frame(&mut bytes, kind, tag, body);
    bytes.freeze()
}

/// A header with any length and kind, and right checksums for a body of zeros.
pub(crate) fn header(length: u32, kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32_le(length);
    bytes.put_u8(kind);
    bytes.put_bytes(0, 3);
    bytes.put_u64_le(1);
    let covered = usize::try_from(length).expect("it fits").min(PUT_HEAD_BYTES);
    bytes.put_u32_le(crc32fast::hash(&vec![0; covered]));
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes
}

pub(crate) fn hello() -> Bytes {
    let hello = ClientHello {
        magic: PROTOCOL_MAGIC.to_owned(),
        version: PROTOCOL_VERSION,
        name: "by hand".to_owned(),
    };
    frame(FrameKind::Hello, 0, &body::encode(&hello))
}

/// Of a relay that takes the one that it connects to for another.
pub(crate) fn link_hello() -> Bytes {
    let hello = LinkHello {
        magic: LINK_MAGIC.to_owned(),
        version: LINK_VERSION,
        relay: RelayId::new("stranger").expect("a name"),
        epoch: Epoch::default(),
        to: RelayId::new("nobody").expect("a name"),
        hello_ms: 1_000,
        takes: Vec::new(),
    };
    frame(FrameKind::LinkHello, 0, &body::encode(&hello))
}

fn put() -> Bytes {
    let mut records = BytesMut::new();
    for payload in [&b"one"[..], b"two"] {
        Record { payload, subject: Some("a/b"), ..Record::default() }.encode(&mut records);
    }
    let head = PutHead {
        put: 1,
        producer: None,
        lowest_unanswered: ProducerSequence(0),
        body_hash: xxhash_rust::xxh3::xxh3_64(&records),
        level: AckLevel::Accepted,
        copies: 0,
        transient: false,
        age_seconds: 0,
    };
    let mut body = BytesMut::with_capacity(PUT_HEAD_BYTES + records.len());
    head.encode(&mut body);
    body.extend_from_slice(&records);
    frame(FrameKind::Put, u64::from(FIRST), &body)
}

/// What a receiver says that asks for all messages of the group.
pub(crate) fn asks_for_all(group: &str) -> Vec<u8> {
    let group = GroupName::new(group).expect("a name");
    let name = Some(SubscriptionName::new("deaf").expect("a name"));
    let spec = SubscriptionSpec { window: Some(limits::WINDOW_MAX), ..SubscriptionSpec::default() };
    let attach = Request::Attach { group, name, create: Some(spec) };
    let mut credit = BytesMut::new();
    Credit { handle: FIRST, total: u64::from(limits::WINDOW_MAX) }.encode(&mut credit);
    let frames =
        [hello(), frame(FrameKind::Request, 1, &body::encode(&attach)), frame(FrameKind::Credit, 0, &credit)];
    frames.concat()
}

/// A session's worth of right frames of every kind that a client sends, in a group of its own.
pub(crate) fn whole_session() -> Vec<Bytes> {
    let group = GroupName::new("by-hand").expect("a name");
    let name = Some(SubscriptionName::new("s").expect("a name"));
    let attach = Request::Attach { group: group.clone(), name, create: Some(Default::default()) };
    let (mut credit, mut ack) = (BytesMut::new(), BytesMut::new());
    Credit { handle: FIRST, total: 100 }.encode(&mut credit);
    Ack { handle: FIRST, kind: AckKind::Ack, from: Index(1), to: Index(2), delay_ms: 0 }.encode(&mut ack);
    vec![
        hello(),
        frame(FrameKind::Request, 1, &body::encode(&Request::GroupOpen { group })),
        frame(FrameKind::Request, 2, &body::encode(&attach)),
        frame(FrameKind::Credit, 0, &credit),
        put(),
        frame(FrameKind::Ack, 0, &ack),
        frame(FrameKind::Ping, 7, &[]),
        frame(FrameKind::Request, 3, &body::encode(&Request::Status)),
    ]
}
