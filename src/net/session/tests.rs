use std::time::Duration;

use bytes::BufMut;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::*;
use crate::id::ProducerSequence;
use crate::wire::frame::{AckLevel, append_frame};
use crate::wire::run::Record;

fn reader(bytes: usize) -> (tokio::io::DuplexStream, FrameReader<tokio::io::DuplexStream>) {
    let (remote, stream) = tokio::io::duplex(bytes);
    (remote, FrameReader::new(stream, Arc::new(Semaphore::new(limits::PARTIAL_BYTES_MAX))))
}

fn put(payload_bytes: usize) -> BytesMut {
    let mut records = BytesMut::new();
    Record { payload: &vec![7; payload_bytes], ..Record::default() }.encode(&mut records);
    let head = PutHead {
        put: 1,
        producer: None,
        lowest_unanswered: ProducerSequence(0),
        body_hash: xxh3_64(&records),
        level: AckLevel::Accepted,
        copies: 0,
        transient: false,
        age_seconds: 0,
    };
    let mut body = BytesMut::new();
    head.encode(&mut body);
    body.put_slice(&records);
    let mut frame = BytesMut::new();
    append_frame(&mut frame, FrameKind::Put, 3, &body);
    frame
}

/// Of the longest put.
fn longest_header() -> BytesMut {
    let mut header = BytesMut::new();
    let body_bytes = limits::FRAME_BYTES_MAX;
    FrameHeader { kind: FrameKind::Put, tag: 0, body_bytes, body_checksum: 0 }.encode(&mut header);
    header
}

async fn read_inputs<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>, count: usize) -> Incoming {
    let mut incoming = Incoming::default();
    while incoming.inputs.len() < count && incoming.end.is_none() {
        reader.fill().await.unwrap();
        reader.take(SessionId(1), &mut incoming);
    }
    incoming
}

#[tokio::test]
async fn a_quiet_session_holds_no_memory() {
    let (mut remote, mut reader) = reader(1 << 20);
    remote.write_all(&put(100_000)).await.unwrap();
    read_inputs(&mut reader, 1).await;
    let waited = tokio::time::timeout(Duration::from_millis(10), reader.fill()).await;
    assert!(waited.is_err());
    assert_eq!(reader.buffer.capacity(), 0);
}

#[tokio::test]
async fn frames_of_all_sizes_come_through() {
    let (mut remote, mut reader) = reader(64 * 1024);
    let sizes = [0, 1, 100, 4000, 5000, 300_000, 7, 2_000_000];
    let writing = tokio::spawn(async move {
        for size in sizes {
            remote.write_all(&put(size)).await.unwrap();
        }
        remote
    });
    let incoming = read_inputs(&mut reader, sizes.len()).await;
    assert!(incoming.end.is_none());
    let found: Vec<_> = incoming
        .inputs
        .iter()
        .map(|input| {
            let Input::Put { handle: 3, summary, .. } = input else { panic!("not a put: {input:?}") };
            summary.payload_bytes_max
        })
        .collect();
    assert_eq!(found, sizes);
    drop(writing.await.unwrap());
    assert!(matches!(reader.fill().await, Err(SessionEnd::Left(None))));
}

#[tokio::test]
async fn reads_grow_with_the_load_and_shrink_after_it() {
    let (mut remote, mut reader) = reader(1 << 20);
    let burst = put(2000).repeat(400);
    remote.write_all(&burst).await.unwrap();
    read_inputs(&mut reader, 400).await;
    assert_eq!(reader.want, limits::SESSION_READ_BYTES);
    for _ in 0..10 {
        remote.write_all(&put(10)).await.unwrap();
        read_inputs(&mut reader, 1).await;
    }
    assert_eq!(reader.want, limits::SESSION_READ_BYTES_MIN);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_ends_is_given_up() {
    let (mut remote, mut reader) = reader(1 << 20);
    remote.write_all(&put(100)[..50]).await.unwrap();
    reader.fill().await.unwrap();
    let begun = Instant::now();
    let end = reader.fill().await.unwrap_err();
    assert!(matches!(end, SessionEnd::Fault(SessionFault::Stalled { .. })), "{end:?}");
    let most = Duration::from_millis(limits::FRAME_MS_MAX + 1000);
    assert!(begun.elapsed() <= most, "given up after {:?} only", begun.elapsed());
}

#[tokio::test]
async fn large_frames_share_what_may_be_on_its_way_in() {
    let partial = Arc::new(Semaphore::new(limits::FRAME_BYTES_MAX + FRAME_HEADER_BYTES));
    let mut remotes = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (mut remote, stream) = tokio::io::duplex(1 << 20);
        remote.write_all(&longest_header()).await.unwrap();
        remote.write_all(&vec![7; limits::SESSION_READ_BYTES - FRAME_HEADER_BYTES]).await.unwrap();
        let mut reader = FrameReader::new(stream, Arc::clone(&partial));
        while reader.buffer.len() < limits::SESSION_READ_BYTES {
            let read = tokio::time::timeout(Duration::from_secs(5), reader.fill()).await;
            read.expect("what one read may bring is taken without a place").unwrap();
        }
        remotes.push(remote);
        readers.push(reader);
    }
    assert!(readers[0].begin_large().await.is_ok());
    // Nothing is read while it waits: who takes silence for an end waits so first.
    let waited = tokio::time::timeout(Duration::from_millis(10), readers[1].begin_large()).await;
    assert!(waited.is_err());
    for reader in &mut readers {
        let waited = tokio::time::timeout(Duration::from_millis(10), reader.fill()).await;
        assert!(waited.is_err());
    }
    assert!(readers[0].large.is_some() && readers[1].large.is_none());
    readers.remove(0);
    let _ = tokio::time::timeout(Duration::from_millis(10), readers[0].fill()).await;
    assert!(readers[0].large.is_some());
}

/// They have begun large frames and send nothing of them.
#[tokio::test(start_paused = true)]
async fn p09_large_frames_of_which_nothing_comes_hold_up_none_that_come() {
    let partial = Arc::new(Semaphore::new(limits::PARTIAL_BYTES_MAX));
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let (mut remote, stream) = tokio::io::duplex(1 << 20);
        remote.write_all(&longest_header()).await.unwrap();
        let mut reader = FrameReader::new(stream, Arc::clone(&partial));
        reader.fill().await.unwrap();
        stalled.push(tokio::spawn(async move {
            let _remote = remote;
            while reader.fill().await.is_ok() {}
        }));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (mut remote, stream) = tokio::io::duplex(1 << 20);
    let mut reader = FrameReader::new(stream, partial);
    remote.write_all(&put(700_000)).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(1), read_inputs(&mut reader, 1)).await;
    assert_eq!(waited.expect("it is there and waits for those of whom nothing comes").inputs.len(), 1);
    stalled.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Whoever holds a place for a large frame is given up a minute after the last of it has come, however
/// long the frame is.
#[tokio::test(start_paused = true)]
async fn p09_a_large_frame_that_stops_gives_its_place_back() {
    let (mut remote, mut reader) = reader(1 << 20);
    remote.write_all(&longest_header()).await.unwrap();
    remote.write_all(&vec![7; limits::SESSION_READ_BYTES]).await.unwrap();
    let begun = Instant::now();
    let end = loop {
        if let Err(end) = reader.fill().await {
            break end;
        }
    };
    assert!(reader.large.is_some(), "or this tests nothing");
    assert!(matches!(end, SessionEnd::Fault(SessionFault::Stalled { .. })), "{end:?}");
    assert!(begun.elapsed() <= Duration::from_secs(61), "given up after {:?} only", begun.elapsed());
}

/// As slow as it may be, and somewhat slower.
#[tokio::test(start_paused = true)]
async fn a_large_frame_comes_whose_sender_is_as_slow_as_allowed() {
    let least = usize::try_from(limits::FRAME_BYTES_PER_SECOND_MIN).unwrap();
    for (bytes_per_second, is_taken) in [(least, true), (least * 2 / 5, false)] {
        let (mut remote, mut reader) = reader(16 * 1024);
        let sending = tokio::spawn(async move {
            for part in put(16 << 20).chunks(bytes_per_second) {
                let _ = remote.write_all(part).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut incoming = Incoming::default();
        let mut end = None;
        while incoming.inputs.is_empty() && end.is_none() {
            end = reader.fill().await.err();
            reader.take(SessionId(1), &mut incoming);
        }
        assert_eq!(!incoming.inputs.is_empty(), is_taken, "at {bytes_per_second} bytes per second: {end:?}");
        sending.abort();
    }
}

#[tokio::test]
async fn small_records_do_not_keep_a_large_read_in_memory() {
    let (mut remote, mut reader) = reader(1 << 20);
    let mut bytes = put(10);
    for tag in 0..200 {
        append_frame(&mut bytes, FrameKind::Ping, tag, &[]);
    }
    remote.write_all(&bytes).await.unwrap();
    let incoming = read_inputs(&mut reader, 1).await;
    let Some(Input::Put { records, .. }) = incoming.inputs.first() else { panic!("no put") };
    assert!(records.is_unique(), "copied out of the buffer");
    assert!(incoming.put_bytes * 4 < reader.allocated);
}

#[tokio::test]
async fn who_has_much_to_take_lets_others_work_and_loses_nothing() {
    let (mut remote, mut reader) = reader(1 << 20);
    let mut bytes = BytesMut::new();
    (0..100).for_each(|tag| append_frame(&mut bytes, FrameKind::Ping, tag, &[]));
    remote.write_all(&bytes).await.unwrap();
    reader.fill().await.unwrap();
    let (mut taken, mut rounds) = (Vec::new(), 0);
    while taken.len() < 100 {
        let end = reader.each(Slice::of(Duration::ZERO), |frame| {
            taken.push(frame.tag);
            Ok(())
        });
        assert!(end.is_none());
        rounds += 1;
        // Nothing more comes over the stream: it is not waited for while there are frames.
        tokio::time::timeout(Duration::from_millis(100), reader.fill()).await.ok();
    }
    assert_eq!(taken, (0..100).collect::<Vec<u64>>());
    assert!(rounds >= 6, "all at once: {rounds}");
    assert!(tokio::time::timeout(Duration::from_millis(10), reader.fill()).await.is_err(), "now it waits");
}
