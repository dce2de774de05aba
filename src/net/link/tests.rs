use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::*;
use crate::id::{ProducerId, ProducerSequence, Sequence, WallTime};
use crate::limits;
use crate::net::link_writer::Encoder;
use crate::net::outgoing::{OutBatch, Outgoing};
use crate::net::packer::Packer;
use crate::wire::frame::{FrameError, append_frame};
use crate::wire::run::{Record, RunHeader};

fn run(payload_bytes: usize) -> LinkMessage {
    let mut records = BytesMut::new();
    Record { payload: &vec![7; payload_bytes], ..Record::default() }.encode(&mut records);
    let body = records.freeze();
    let header = RunHeader {
        kind: RunKind::Data,
        has_ttl: false,
        has_subject: false,
        count: 1,
        body_bytes: u32::try_from(body.len()).unwrap(),
        first: Sequence(5),
        body_hash: xxh3_64(&body),
        chain: 9,
        accepted: WallTime(1),
        producer: Some((ProducerId(3), ProducerSequence(1))),
    };
    LinkMessage::Run { stream: StreamNumber(4), age_ms: 12, run: Run { header, body } }
}

/// What the writer of one end makes of it.
async fn encoded(items: Vec<LinkMessage>) -> Vec<u8> {
    encoded_by(Encoder::default(), items).await
}

/// What it makes of it for a link with a rate, whose other end takes packed runs.
async fn packed(items: Vec<LinkMessage>) -> Vec<u8> {
    encoded_by(Encoder::packing(Some(Packer::new(Arc::new(true.into())))), items).await
}

async fn encoded_by(mut encoder: Encoder, items: Vec<LinkMessage>) -> Vec<u8> {
    let items = items.into_iter().map(|message| Outgoing::Link(Box::new(message))).collect();
    encoder.batch(&OutBatch { pings: vec![1], pongs: vec![2], items, ..OutBatch::default() });
    let mut bytes = Vec::new();
    encoder.write(&mut bytes).await.unwrap();
    bytes
}

/// What the reader of the other end makes of it.
async fn decoded(bytes: &[u8]) -> LinkIncoming {
    let (mut remote, stream) = tokio::io::duplex(bytes.len().max(1));
    let semaphore = std::sync::Arc::new(Semaphore::new(limits::PARTIAL_BYTES_MAX));
    let mut reader = FrameReader::new(stream, semaphore);
    remote.write_all(bytes).await.unwrap();
    drop(remote);
    let mut incoming = LinkIncoming::default();
    while reader.fill().await.is_ok() {}
    incoming.take(LinkId(7), &mut reader);
    incoming
}

fn frame(kind: FrameKind, tag: u64, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    append_frame(&mut bytes, kind, tag, body);
    bytes
}

#[tokio::test]
async fn what_one_end_says_the_other_hears() {
    let said = vec![LinkMessage::FactsEnd, run(10), run(100_000), LinkMessage::Receipts(Vec::new())];
    let heard = decoded(&encoded(said.clone()).await).await;
    assert!(heard.end.is_none(), "{:?}", heard.end);
    assert_eq!((heard.pings, heard.pongs), (vec![1], vec![2]));
    let said: Vec<Input> = said.into_iter().map(|message| Input::Link { link: LinkId(7), message }).collect();
    assert_eq!(heard.inputs, said);
}

#[tokio::test]
async fn what_is_packed_for_a_slow_link_is_heard_as_it_was() {
    let said = vec![run(10), run(100_000), run(1_000), LinkMessage::FactsEnd];
    let bytes = packed(said.clone()).await;
    assert!(bytes.len() < 3_000, "{} bytes for more than 100,000", bytes.len());
    let heard = decoded(&bytes).await;
    assert!(heard.end.is_none(), "{:?}", heard.end);
    assert!(heard.run_bytes > 100_000, "they count as much as they take in memory");
    let said: Vec<Input> = said.into_iter().map(|message| Input::Link { link: LinkId(7), message }).collect();
    assert_eq!(heard.inputs, said);
}

#[tokio::test]
async fn a_run_changed_on_its_way_is_not_believed() {
    for bytes in [encoded(vec![run(1000)]).await, packed(vec![run(1000)]).await] {
        // Past the ping and the pong: any bit of the run's frame.
        for at in (48..bytes.len()).step_by(if bytes.len() < 500 { 1 } else { 7 }) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let heard = decoded(&changed).await;
            assert!(heard.inputs.is_empty(), "byte {at}");
            // A length that became larger is waited for, unless its header is found out first.
            assert!(heard.end.is_some(), "byte {at}");
        }
    }
}

#[tokio::test]
async fn what_is_no_run_ends_the_link_with_its_reason() {
    let short = decoded(&frame(FrameKind::LinkRun, 1, &[0; 20])).await;
    assert!(short.end.is_some_and(|end| format!("{end:?}").contains("Short")));
    let LinkMessage::Run { run: Run { header, body }, .. } = run(10) else { unreachable!() };
    let counted = RunHeader { count: 2, ..header };
    for (header, why) in [(counted, "Count"), (RunHeader { body_bytes: 3, ..header }, "Short")] {
        let mut bytes = BytesMut::new();
        bytes.put_u64_le(0);
        bytes.put_slice(&header.encode());
        bytes.put_slice(&body);
        let heard = decoded(&frame(FrameKind::LinkRun, 1, &bytes)).await;
        assert!(heard.end.is_some_and(|end| format!("{end:?}").contains(why)), "{why}");
    }
}

#[tokio::test]
async fn what_applications_say_is_not_for_links() {
    for kind in [FrameKind::Put, FrameKind::Request, FrameKind::Ack, FrameKind::LinkHello] {
        let heard = decoded(&frame(kind, 1, &[0; 100])).await;
        assert!(heard.inputs.is_empty() && heard.end.is_some(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_sequence_beyond_all_reason_is_refused() {
    let released = crate::wire::link::Released {
        group: crate::wire::link::GroupId { name: "a".parse().unwrap(), incarnation: 0 },
        origin: "b".parse().unwrap(),
        epoch: crate::id::Epoch::default(),
        released: Sequence(u64::MAX),
        wanted: Sequence(0),
        to: None,
        hops: 0,
        heard: None,
    };
    let heard = decoded(&frame(FrameKind::Link, 0, &LinkMessage::Released(vec![released]).encode())).await;
    assert!(heard.inputs.is_empty() && heard.end.is_some());
    let unreadable = decoded(&frame(FrameKind::Link, 0, b"no cbor")).await;
    assert!(unreadable.end.is_some());
}

#[tokio::test]
async fn a_header_that_is_none_ends_the_link() {
    let mut bytes = frame(FrameKind::Ping, 1, &[]);
    bytes[4] = 99;
    let end = decoded(&bytes).await.end;
    assert!(
        matches!(end, Some(SessionEnd::Fault(SessionFault::Frame(FrameError::Checksum { .. })))),
        "{end:?}"
    );
}

/// 8 KiB a second: slow, and it never pauses. Every time that it was cut off it would begin anew.
#[tokio::test(start_paused = true)]
async fn p09_a_large_run_comes_over_a_slow_line_too() {
    let bytes = encoded(vec![run(700_000)]).await;
    let (mut remote, stream) = tokio::io::duplex(16 * 1024);
    let sending = tokio::spawn(async move {
        for part in bytes.chunks(8 * 1024) {
            remote.write_all(part).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    });
    let mut reader =
        FrameReader::of_neighbour(stream, Arc::new(Semaphore::new(limits::LINK_PARTIAL_BYTES_MAX)));
    let mut incoming = LinkIncoming::default();
    let has_run = |incoming: &LinkIncoming| {
        let is_run = |input: &Input| matches!(input, Input::Link { message: LinkMessage::Run { .. }, .. });
        incoming.inputs.iter().any(is_run)
    };
    while !has_run(&incoming) {
        reader.fill().await.expect("it comes, slowly");
        incoming.take(LinkId(7), &mut reader);
        assert!(incoming.end.is_none());
    }
    sending.abort();
}
