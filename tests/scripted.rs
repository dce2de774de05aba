//! A scripted remote that sends frames by hand to a whole server, wrong ones
//! too. Each wrong one is answered by a close with a reason, and by nothing worse.

#![expect(clippy::unwrap_used, reason = "in a test a step that fails is a failed test")]

mod scripted {
    pub(crate) mod remote;
}

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use scripted::remote::{Remote, TestServer, put_frame, records};
use treecast::id::{GroupName, Index, SubscriptionName};
use treecast::limits;
use treecast::wire::body::{
    self, Answer, ClientHello, GapCause, Notice, PROTOCOL_MAGIC, RefusalCode, Reply, Request,
};
use treecast::wire::frame::{
    Ack, AckKind, Credit, DeliverHead, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PutDone, append_frame,
};

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

async fn open_group(remote: &mut Remote, name: &str) -> u32 {
    match remote.request(Request::GroupOpen { group: group(name) }).await {
        Ok(Reply::GroupHandle { handle, .. }) => handle,
        other => panic!("no handle for the group: {other:?}"),
    }
}

async fn attach(remote: &mut Remote, name: &str) -> u32 {
    let request = Request::Attach {
        group: group(name),
        name: Some(SubscriptionName::new("s").unwrap()),
        create: Some(Default::default()),
    };
    match remote.request(request).await {
        Ok(Reply::SubscriptionHandle { handle, .. }) => handle,
        other => panic!("no handle for the subscription: {other:?}"),
    }
}

#[tokio::test]
async fn a_put_is_answered_and_delivered() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let subscription = attach(&mut remote, "g").await;
    remote.send_credit(Credit { handle: subscription, total: 100 }).await;
    let handle = open_group(&mut remote, "g").await;
    remote.send(&put_frame(handle, 1, &records(&[b"one", b"two"]))).await;
    let answer = remote.expect(FrameKind::PutAnswer).await;
    let dones = PutDone::decode_list(answer.body).unwrap();
    assert_eq!((dones.len(), dones[0].put, dones[0].repeats), (1, 1, 0));
    let deliver = remote.expect(FrameKind::Deliver).await;
    assert_eq!(deliver.tag, u64::from(subscription));
    let (head, body) = DeliverHead::decode(deliver.body).unwrap();
    assert_eq!(head.count, 2);
    assert_eq!(body, records(&[b"one", b"two"]));
    server.stop().await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let mut server = TestServer::start().await;
    let mut remote = server.connect().await;
    attach(&mut remote, "g").await;
    let handle = open_group(&mut remote, "g").await;
    for put in 1..=100 {
        remote.send(&put_frame(handle, put, &records(&[b"x"]))).await;
    }
    remote.expect_puts_done(100).await;
    drop(remote);
    server = server.restart().await;
    let mut remote = server.connect().await;
    let subscription = attach(&mut remote, "g").await;
    remote.send_credit(Credit { handle: subscription, total: 1000 }).await;
    let mut count = 0;
    while count < 100 {
        let deliver = remote.expect(FrameKind::Deliver).await;
        count += DeliverHead::decode(deliver.body).unwrap().0.count;
    }
    assert_eq!(count, 100);
    server.stop().await;
}

/// Does something to the bytes of the segment that holds `payload`, given where it stands.
fn tamper(data: &Path, payload: &[u8], change: impl FnOnce(&mut [u8], usize)) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        if let Some(at) = bytes.windows(payload.len()).position(|part| part == payload) {
            change(&mut bytes, at);
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("no file holds the payload");
}

/// Puts three messages, each in a commit of its own, and starts again after
/// something happened to the second. Gives what is delivered, the gaps and the warnings.
async fn after_damage_to_the_second(
    is_crash: bool,
    change: impl FnOnce(&mut [u8], usize),
) -> (Vec<u8>, usize, Vec<String>) {
    let mut server = TestServer::start().await;
    let mut remote = server.connect().await;
    attach(&mut remote, "g").await;
    let handle = open_group(&mut remote, "g").await;
    for (put, letter) in (1..).zip(b"ABC") {
        remote.send(&put_frame(handle, put, &records(&[&[*letter; 700]]))).await;
        remote.expect_puts_done(1).await;
    }
    drop(remote);
    let happen = |data: &Path| tamper(data, &[b'B'; 700], change);
    server = if is_crash { server.crash_then(happen).await } else { server.restart_after(happen).await };
    let mut remote = server.connect().await;
    let subscription = attach(&mut remote, "g").await;
    remote.send_credit(Credit { handle: subscription, total: 1000 }).await;
    let mut letters = Vec::new();
    while letters.len() < 2 {
        let deliver = remote.expect(FrameKind::Deliver).await;
        letters.push(*DeliverHead::decode(deliver.body).unwrap().1.last().unwrap());
    }
    let warnings = match remote.request(Request::Status).await {
        Ok(Reply::Status(status)) => status.warnings,
        other => panic!("{other:?}"),
    };
    let notice = remote.expect(FrameKind::Notice).await;
    let mut gaps = 0;
    let mut notice = Some(notice);
    while let Some(found) = notice.take() {
        match body::decode(&found.body).unwrap() {
            Notice::Gap { .. } => gaps += 1,
            Notice::Stream { .. }
            | Notice::PutRefused { .. }
            | Notice::Detached { .. }
            | Notice::Unordered { .. } => notice = Some(remote.expect(FrameKind::Notice).await),
        }
    }
    server.stop().await;
    (letters, gaps, warnings)
}

#[tokio::test]
async fn f24_a_message_damaged_on_disk_is_a_gap_and_never_served() {
    for is_crash in [false, true] {
        let flip = |bytes: &mut [u8], at: usize| bytes[at + 300] ^= 1;
        let (letters, gaps, warnings) = after_damage_to_the_second(is_crash, flip).await;
        assert_eq!((letters.as_slice(), gaps), (&b"AC"[..], 1));
        assert!(warnings.iter().any(|w| w.contains("1 range of messages is damaged")), "{warnings:?}");
    }
}

#[tokio::test]
async fn f25_a_lost_block_in_the_middle_is_a_gap_and_the_relay_starts() {
    let wipe = |bytes: &mut [u8], at: usize| {
        let first = bytes.windows(700).position(|part| part == [b'A'; 700]).unwrap();
        let from = (first + 700).next_multiple_of(512);
        bytes[from..at + 700].fill(0);
    };
    let (letters, gaps, warnings) = after_damage_to_the_second(true, wipe).await;
    assert_eq!((letters.as_slice(), gaps), (&b"AC"[..], 1));
    assert!(warnings.iter().any(|w| w.contains("the log has lost 1 entries")), "{warnings:?}");
}

/// Removes the segment that holds `payload`.
fn remove_segment(data: &Path, payload: &[u8]) {
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let holds = |bytes: Vec<u8>| bytes.windows(payload.len()).any(|part| part == payload);
    let file = files.into_iter().find(|path| std::fs::read(path).is_ok_and(holds)).unwrap();
    std::fs::remove_file(file).unwrap();
}

/// A subscription is owed one message per start; the segment of one of them is removed.
async fn after_loss_of_a_segment(lost: u8) -> (TestServer, Remote, u32) {
    let mut server = TestServer::start().await;
    for (round, letter) in b"ABC".iter().enumerate() {
        let mut remote = server.connect().await;
        if round == 0 {
            attach(&mut remote, "g").await;
        }
        let handle = open_group(&mut remote, "g").await;
        remote.send(&put_frame(handle, 1, &records(&[&[*letter; 700]]))).await;
        remote.expect_puts_done(1).await;
        drop(remote);
        let is_last = *letter == b'C';
        server = server
            .restart_after(|data| {
                if is_last {
                    remove_segment(data, &[lost; 700])
                }
            })
            .await;
    }
    let mut remote = server.connect().await;
    let subscription = attach(&mut remote, "g").await;
    remote.send_credit(Credit { handle: subscription, total: 1000 }).await;
    (server, remote, subscription)
}

async fn expect_gap(remote: &mut Remote) -> (u64, u64, GapCause) {
    loop {
        let notice = remote.expect(FrameKind::Notice).await;
        if let Notice::Gap { from, to, cause, .. } = body::decode(&notice.body).unwrap() {
            return (from.0, to.0, cause);
        }
    }
}

async fn expect_letter(remote: &mut Remote) -> u8 {
    let deliver = remote.expect(FrameKind::Deliver).await;
    *DeliverHead::decode(deliver.body).unwrap().1.last().unwrap()
}

#[tokio::test]
async fn f55_a_segment_that_is_gone_is_a_gap_wherever_it_was() {
    // With the message, the marks of its own stream and of the one before it.
    for (lost, from, to) in [(b'A', 1, 3), (b'B', 3, 6), (b'C', 6, 9)] {
        let (server, mut remote, _) = after_loss_of_a_segment(lost).await;
        assert_eq!(expect_gap(&mut remote).await, (from, to, GapCause::Damaged));
        for letter in b"ABC".iter().filter(|letter| **letter != lost) {
            assert_eq!(expect_letter(&mut remote).await, *letter);
        }
        let handle = open_group(&mut remote, "g").await;
        remote.send(&put_frame(handle, 2, &records(&[b"D"]))).await;
        assert_eq!(expect_letter(&mut remote).await, b'D', "and it goes on");
        let Ok(Reply::Status(status)) = remote.request(Request::Status).await else { panic!("no status") };
        let is_told = status.warnings.iter().any(|warning| warning.contains("the log has lost"));
        assert!(is_told || lost != b'C', "{:?}", status.warnings);
        server.stop().await;
    }
}

#[tokio::test]
async fn r17_what_a_damaged_last_block_held_is_uncertain_and_that_is_told_for_good() {
    let mut server = TestServer::start().await;
    let mut remote = server.connect().await;
    attach(&mut remote, "g").await;
    attach(&mut remote, "other").await;
    let handle = open_group(&mut remote, "g").await;
    remote.send(&put_frame(handle, 1, &records(&[&[b'A'; 700]]))).await;
    remote.expect_puts_done(1).await;
    drop(remote);
    let flip = |bytes: &mut [u8], at: usize| bytes[at + 300] ^= 1;
    server = server.crash_then(|data| tamper(data, &[b'A'; 700], flip)).await;
    for _ in 0..2 {
        let mut remote = server.connect().await;
        let Ok(Reply::Status(status)) = remote.request(Request::Status).await else { panic!("no status") };
        assert!(status.warnings.iter().any(|w| w.contains("is uncertain")), "{:?}", status.warnings);
        for (group, is_told) in [("g", true), ("other", false)] {
            let handle = attach(&mut remote, group).await;
            remote.send_credit(Credit { handle, total: 10 }).await;
            let put = open_group(&mut remote, group).await;
            remote.send(&put_frame(put, 2, &records(&[b"B"]))).await;
            if is_told {
                assert_eq!(expect_gap(&mut remote).await.2, GapCause::Uncertain);
            }
            assert_eq!(expect_letter(&mut remote).await, b'B', "group {group}");
        }
        drop(remote);
        server = server.crash_then(|_| ()).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_remote_that_puts_and_never_reads_is_held_back_and_loses_nothing() {
    const PUTS: u64 = 1_000_000;
    const AT_ONCE: u64 = 1000;
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    let mut sent = 0;
    let mut rest = BytesMut::new();
    while sent < PUTS {
        rest = (sent..sent + AT_ONCE).flat_map(|put| put_frame(handle, put, &records(&[b"x"]))).collect();
        sent += AT_ONCE;
        if !remote.send_within(&mut rest, Duration::from_secs(2)).await {
            break;
        }
    }
    assert!(!rest.is_empty(), "the relay takes puts without end though nobody reads the answers");
    let mut other = server.connect().await;
    other.ping(1).await;
    let answered = (sent - AT_ONCE) as usize;
    remote.expect_puts_done_at_least(answered).await;
    server.stop().await;
}

#[tokio::test]
async fn a_hello_of_another_protocol_is_told_so() {
    let server = TestServer::start().await;
    let mut remote = server.connect_raw().await;
    remote.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("or is no frame"), "{reason}");

    let mut remote = server.connect_raw().await;
    let hello = ClientHello { magic: "teacast".to_owned(), version: 1, name: String::new() };
    remote.send_control(FrameKind::Hello, 0, &body::encode(&hello)).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("teacast"), "{reason}");

    let mut remote = server.connect_raw().await;
    let hello = ClientHello { magic: PROTOCOL_MAGIC.to_owned(), version: 0, name: String::new() };
    remote.send_control(FrameKind::Hello, 0, &body::encode(&hello)).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("version 0"), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn a_later_version_is_spoken_down_to_ours() {
    let server = TestServer::start().await;
    let mut remote = server.connect_raw().await;
    let hello = ClientHello { magic: PROTOCOL_MAGIC.to_owned(), version: 77, name: String::new() };
    remote.send_control(FrameKind::Hello, 0, &body::encode(&hello)).await;
    assert_eq!(remote.expect_hello().await.version, body::PROTOCOL_VERSION);
    server.stop().await;
}

#[tokio::test]
async fn something_else_than_a_hello_closes() {
    let server = TestServer::start().await;
    let mut remote = server.connect_raw().await;
    remote.send_frame(FrameKind::Ping, 1, b"").await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("Ping"), "{reason}");

    let mut remote = server.connect_raw().await;
    let mut header = BytesMut::new();
    let body_bytes = limits::HELLO_BYTES_MAX + 1;
    FrameHeader { kind: FrameKind::Hello, tag: 0, body_bytes, body_checksum: 0 }.encode(&mut header);
    remote.send(&header).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("4097"), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn frames_that_cannot_be_close_with_the_reason() {
    let server = TestServer::start().await;
    let wrong: [(&str, Vec<u8>, &str); 7] = [
        ("unknown kind", announced(0, [99, 0, 0, 0], &[]), "99"),
        ("reserved byte", announced(0, [10, 0, 1, 0], &[]), "reserved"),
        ("oversized put", announced(u32::MAX, [4, 0, 0, 0], &[]), "4294967295"),
        ("oversized ack", announced(limits::CONTROL_BYTES_MAX as u32 + 1, [7, 0, 0, 0], &[]), "1048577"),
        ("half an ack", announced(5, [7, 0, 0, 0], &[0; 5]), "not whole"),
        ("no request", announced(3, [2, 0, 0, 0], &[0x65; 3]), "no CBOR"),
        ("a relay's frame", announced(0, [6, 0, 0, 0], &[]), "Deliver"),
    ];
    for (name, bytes, expected) in wrong {
        let mut remote = server.connect().await;
        remote.send(&bytes).await;
        let reason = remote.expect_close().await;
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    server.stop().await;
}

/// A frame of any length and kind, with right checksums. Its kind stands before the reserved bytes.
fn announced(length: u32, kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32_le(length);
    bytes.put_slice(&kind);
    bytes.put_u64_le(0);
    bytes.put_u32_le(crc32fast::hash(body));
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes.put_slice(body);
    bytes
}

#[tokio::test]
async fn frames_that_were_changed_close_before_anything_is_waited_for() {
    let server = TestServer::start().await;
    let ping = announced(0, [10, 0, 0, 0], &[]);
    let ack = announced(32, [7, 0, 0, 0], &[0; 32]);
    let flipped = |bytes: &[u8], at: usize, bit: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << bit;
        bytes
    };
    let changed = [
        ("length", flipped(&ping, 3, 0), "header"),
        ("kind", flipped(&ping, 4, 0), "header"),
        ("tag", flipped(&ping, 8, 0), "header"),
        ("checksum of the body", flipped(&ping, 16, 7), "header"),
        ("checksum of the header", flipped(&ping, 23, 7), "header"),
        ("body", flipped(&ack, 24, 0), "body"),
        ("end of the body", flipped(&ack, 55, 7), "body"),
    ];
    for (name, bytes, part) in changed {
        let mut remote = server.connect().await;
        remote.send(&bytes).await;
        let reason = remote.expect_close().await;
        assert!(reason.contains("checksum") && reason.contains(part), "{name}: {reason}");
    }
    server.stop().await;
}

#[tokio::test]
async fn records_that_are_not_what_the_put_says_close() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    let mut bytes = put_frame(handle, 1, &records(&[b"one"]));
    *bytes.last_mut().unwrap() ^= 1;
    remote.send(&bytes).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("hash"), "{reason}");

    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    remote.send(&put_frame(handle, 1, &[9, 0, 0, 0, 0, 1])).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("not whole"), "{reason}");

    let mut remote = server.connect().await;
    let put = put_frame(1, 1, &records(&[b"one"]));
    remote.send_frame(FrameKind::Put, 1 << 32, &put[FRAME_HEADER_BYTES..]).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("not a handle"), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn what_was_right_before_something_wrong_counts() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    let mut bytes = put_frame(handle, 1, &records(&[b"one"])).to_vec();
    bytes.extend(announced(0, [99, 0, 0, 0], &[]));
    remote.send(&bytes).await;
    remote.expect_close().await;
    let mut remote = server.connect().await;
    for _ in 0..100 {
        let Ok(Reply::Group(info)) = remote.request(Request::GroupShow { group: group("g") }).await else {
            panic!("the group is there");
        };
        if info.next > Index(1) {
            return server.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the put before the wrong frame was lost");
}

#[tokio::test]
async fn a_frame_that_is_cut_off_ends_the_session_quietly() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    let bytes = put_frame(handle, 1, &records(&[b"one"]));
    remote.send(&bytes[..bytes.len() - 1]).await;
    remote.shutdown().await;
    remote.expect_end().await;
    let mut other = server.connect().await;
    other.ping(1).await;
    server.stop().await;
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    for byte in &put_frame(handle, 1, &records(&[b"one", b"two"])) {
        remote.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    remote.expect_puts_done(1).await;
    server.stop().await;
}

#[tokio::test]
async fn unknown_handles_are_refused_or_mean_nothing() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    remote.send(&put_frame(77, 5, &records(&[b"one"]))).await;
    let notice = remote.expect(FrameKind::Notice).await;
    let notice: Notice = body::decode(&notice.body).unwrap();
    let Notice::PutRefused { put, refusal } = notice else { panic!("not a refusal: {notice:?}") };
    assert_eq!((put, refusal.code), (5, RefusalCode::NotFound));
    let ack = Ack { handle: 77, kind: AckKind::Ack, from: Index(1), to: Index(u64::MAX), delay_ms: 0 };
    let mut acks = BytesMut::new();
    ack.encode(&mut acks);
    remote.send_frame(FrameKind::Ack, 0, &acks).await;
    remote.send_credit(Credit { handle: 77, total: u64::MAX }).await;
    remote.ping(3).await;
    server.stop().await;
}

#[tokio::test]
async fn acks_of_nonsense_do_no_harm() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = attach(&mut remote, "g").await;
    for kind in [AckKind::Ack, AckKind::Nack, AckKind::Progress, AckKind::Reject] {
        let mut acks = BytesMut::new();
        for (from, to) in [(0, 1), (0, u64::MAX), (u64::MAX - 1, u64::MAX), (5, 6)] {
            Ack { handle, kind, from: Index(from), to: Index(to), delay_ms: u64::MAX }.encode(&mut acks);
        }
        remote.send_frame(FrameKind::Ack, 0, &acks).await;
    }
    remote.ping(3).await;
    server.stop().await;
}

#[tokio::test]
async fn ten_thousand_pings_get_as_many_pongs() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let mut bytes = BytesMut::new();
    for tag in 0..10_000 {
        append_frame(&mut bytes, FrameKind::Ping, tag, &[]);
    }
    remote.send(&bytes).await;
    for tag in 0..10_000 {
        assert_eq!(remote.expect(FrameKind::Pong).await.tag, tag);
    }
    server.stop().await;
}

#[tokio::test]
async fn too_many_requests_without_an_answer_close() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let request = body::encode(&Request::Status);
    let mut bytes = BytesMut::new();
    for tag in 0..=(2 * limits::SESSION_REQUESTS_MAX as u64) {
        append_frame(&mut bytes, FrameKind::Request, tag, &request);
    }
    remote.send(&bytes).await;
    remote.read_to_end().await;
    server.connect().await.ping(1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_remote_that_never_reads_costs_little() {
    let server = TestServer::start().await;
    let mut deaf = server.connect().await;
    let handle = open_group(&mut deaf, "g").await;
    let subscription = attach(&mut deaf, "g").await;
    deaf.send_credit(Credit { handle: subscription, total: u64::MAX }).await;
    let payload = vec![7; 60_000];
    let mut sent = 0;
    // Far more than all buffers hold; the relay stops reading, delivering, or both.
    for put in 1..=2_000 {
        let frame = put_frame(handle, put, &records(&[&payload]));
        let Ok(()) = tokio::time::timeout(Duration::from_millis(200), deaf.send(&frame)).await else { break };
        sent = put;
    }
    assert!(sent > 10, "only {sent} puts were taken");
    let mut other = server.connect().await;
    other.ping(1).await;
    let Ok(Reply::Status(status)) = other.request(Request::Status).await else { panic!("no status") };
    assert!(status.resident_bytes > 0);
    assert!(status.resident_bytes < 1 << 30, "{} bytes are resident", status.resident_bytes);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_was_put_and_says_why() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    let handle = open_group(&mut remote, "g").await;
    remote.send(&put_frame(handle, 1, &records(&[b"one"]))).await;
    remote.expect_puts_done(1).await;
    let stopping = tokio::spawn(async move { server.stop().await });
    let reason = remote.expect_close().await;
    assert!(reason.contains("stopping"), "{reason}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_not_known_is_refused_and_the_session_goes_on() {
    let server = TestServer::start().await;
    let mut remote = server.connect().await;
    for (request, body) in [
        (71, body::encode(&BTreeMap::from([("Teleport", BTreeMap::from([("group", "g")]))]))),
        (72, body::encode(&BTreeMap::from([("GroupOpen", BTreeMap::from([("group", "no//name")]))]))),
    ] {
        remote.send_control(FrameKind::Request, request, &body).await;
        let answer = remote.expect(FrameKind::Answer).await;
        assert_eq!(answer.tag, request);
        let answer: Answer = body::decode(&answer.body).unwrap();
        let refusal = answer.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Invalid);
        let why = refusal.message;
        assert!(why.contains("Teleport") || why.contains("empty level"), "{why}");
        assert!(!why.contains("Semantic"), "{why}");
    }
    open_group(&mut remote, "g").await;
    remote.send_control(FrameKind::Request, 73, &Bytes::from_static(b"\x65abc")).await;
    let reason = remote.expect_close().await;
    assert!(reason.contains("no CBOR"), "{reason}");
    server.stop().await;
}
