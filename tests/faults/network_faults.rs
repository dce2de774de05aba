//! Faults of the network: connections reset, half open, cut inside a frame, slow,
//! byte by byte; bytes changed on the way; remotes that send what they must not.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use treecast::limits;
use treecast::wire::body::RefusalCode;
use treecast::wire::frame::FrameKind;

use super::client::{Connection, GROUP, MARK, Put};
use super::commands::json;
use super::load::{Shape, finish, loaded, wait_for};
use super::process::Start;
use super::proxy::{Way, Weather};
use super::random::Random;
use super::raw;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_connections_that_are_reset_lose_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut random = Random::new(39);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(random.within(0..100))).await;
        proxy.cut();
        load.progress(50).await;
    }
    assert!(proxy.made() >= 2 + 8, "only {} connections were made", proxy.made());
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_connections_cut_inside_frames_lose_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut random = Random::new(3939);
    for round in 0..8 {
        let cut = Way { cut_at: Some(random.within(1..3000)), ..Way::default() };
        let (up, down) = if round % 2 == 0 { (cut, Way::default()) } else { (Way::default(), cut) };
        let made = proxy.made();
        proxy.set(Weather { up, down, ..Weather::default() });
        proxy.cut();
        wait_for("connections are cut", async || proxy.made() >= made + 3).await;
        proxy.set(Weather::default());
        load.progress(50).await;
    }
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_bytes_that_come_one_by_one_and_slowly_are_all_taken() {
    let data = tempfile::tempdir().expect("a directory");
    let shape = Shape { pause: Duration::from_millis(2), ..Shape::default() };
    let (relay, proxy, load) = loaded(Start::new(data.path()), shape).await;
    let ways = [
        Way { part_bytes: 1, ..Way::default() },
        Way { part_bytes: 7, rate: 200_000, ..Way::default() },
        Way { delay: Duration::from_millis(20), ..Way::default() },
        Way { rate: 300_000, ..Way::default() },
    ];
    for way in ways {
        proxy.set(Weather { up: way.clone(), down: way, ..Weather::default() });
        // One by one from the first byte of a connection on.
        proxy.cut();
        load.progress(60).await;
    }
    proxy.set(Weather::default());
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_while_nothing_connects_puts_wait_and_none_is_lost() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    for _ in 0..2 {
        proxy.set(Weather { refused: true, ..Weather::default() });
        proxy.cut();
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.set(Weather::default());
        load.progress(50).await;
    }
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_one_who_reads_nothing_delays_nobody_else() {
    let data = tempfile::tempdir().expect("a directory");
    let shape = Shape { bytes: 16 * 1024, ..Shape::default() };
    let (relay, _proxy, load) = loaded(Start::new(data.path()), shape).await;
    let connection = Connection::open(&relay.address).await;
    let resident = async || connection.status().await.expect("it answers").resident_bytes;
    // What it takes for recent messages, and for those on their way, it has taken before.
    load.progress(128 * 1024 * 1024 / shape.bytes).await;
    let before = resident().await;
    let mut deaf = TcpStream::connect(&relay.address).await.expect("the relay accepts");
    deaf.write_all(&raw::asks_for_all(GROUP)).await.expect("it is read");
    // Three times what may wait for it, beside what the system takes of it.
    load.progress(64 * 1024 * 1024 / shape.bytes).await;
    let grown = resident().await.saturating_sub(before);
    let sent = json(&relay.address, &["subscription", "show", GROUP, "deaf"])["in_flight"].as_u64();
    assert!(sent > Some(200), "only {sent:?} messages are on their way to it");
    assert!(grown < 20 << 20, "{grown} bytes more for one who reads nothing");
    drop(deaf);
    finish(relay, load).await;
}

/// Both sides find out by themselves; a client takes 30 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute"]
async fn f39_half_open_connections_are_given_up_and_made_again() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let made = proxy.made();
    proxy.hang();
    load.progress(2000).await;
    assert!(proxy.made() > made, "nobody connected again");
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f41_a_message_changed_on_its_way_is_never_taken_for_right() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let flipping = || Way { flipped_behind: Some(MARK), ..Way::default() };
    for (up, down) in [(flipping(), Way::default()), (Way::default(), flipping())] {
        let made = proxy.made();
        let is_up = up.flipped_behind.is_some();
        proxy.set(Weather { up, down, ..Weather::default() });
        // Whoever connects again has nothing on its way that was sent before.
        wait_for("connections are closed for it", async || proxy.made() >= made + 2).await;
        let (flips, answered) = (proxy.flips(), load.history.answered());
        wait_for("bits are flipped", async || proxy.flips() >= flips + 5).await;
        if is_up {
            assert_eq!(load.history.answered(), answered, "changed messages were taken");
        }
        proxy.set(Weather::default());
        load.progress(50).await;
    }
    finish(relay, load).await;
}

/// In hellos, headers, requests, answers, acks, credits, notices, heads and records, of both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f41_bits_flipped_anywhere_lose_double_and_change_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let shape = Shape { bytes: 24, ..Shape::default() };
    let (relay, proxy, load) = loaded(Start::new(data.path()), shape).await;
    let flipping = |every| Way { flipped_every: every, ..Way::default() };
    // Hardly a connection gets past its hellos, few requests pass, messages pass.
    for every in [100, 1000, 10_000] {
        let both = Weather { up: flipping(every), down: flipping(every), refused: false };
        let up = Weather { down: Way::default(), ..both.clone() };
        let down = Weather { up: Way::default(), ..both.clone() };
        for weather in [up, down, both] {
            let (flips, made) = (proxy.flips(), proxy.made());
            proxy.set(weather);
            let enough = async || proxy.flips() >= flips + 20 && proxy.made() >= made + 5;
            wait_for("bits are flipped and connections closed for it", enough).await;
            proxy.set(Weather::default());
            load.progress(50).await;
        }
    }
    finish(relay, load).await;
}

/// What no client sends, each with a word of the reason that it is told.
fn wrong_frames() -> Vec<(Vec<u8>, &'static str)> {
    let after_hello = |bytes: Vec<u8>| [raw::hello().to_vec(), bytes].concat();
    vec![
        (b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n".to_vec(), "checksum"),
        (vec![0xff; 4096], "checksum"),
        (raw::header(limits::HELLO_BYTES_MAX as u32 + 1, 1), "hello"),
        (raw::header(u32::MAX, 1), "4294967295"),
        (after_hello(raw::header(u32::MAX, FrameKind::Put as u8)), "4294967295"),
        (after_hello(raw::header(limits::CONTROL_BYTES_MAX as u32 + 1, FrameKind::Request as u8)), "1048577"),
        (after_hello(raw::header(1, FrameKind::Ping as u8)), "Ping"),
        (after_hello(raw::header(0, 200)), "200"),
        (after_hello(raw::header(0, FrameKind::Put as u8)), "not whole"),
        (after_hello(raw::hello().to_vec()), "Hello"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_wrong_frames_are_told_why_while_others_are_served() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    for (bytes, expected) in wrong_frames() {
        let said = raw::converse(&relay.address, &bytes).await;
        let reason = said.reason.unwrap_or_else(|| panic!("no reason where `{expected}` was expected"));
        assert!(reason.contains(expected), "`{expected}` is missing: {reason}");
    }
    load.progress(100).await;
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_mutated_sessions_end_and_do_no_harm() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let right = raw::whole_session().concat();
    let said = raw::converse(&relay.address, &right).await;
    assert_eq!(said.reason.as_deref(), Some(""), "the session that is mutated is right itself");
    assert!(said.kinds.contains(&FrameKind::Hello), "{said:?}");
    let mut random = Random::new(53);
    let (mut refused, rounds) = (0, 300);
    for _ in 0..rounds {
        let bytes = mutate(&right, &mut random);
        let said = raw::converse(&relay.address, &bytes).await;
        refused += u32::from(said.reason.is_some_and(|reason| !reason.is_empty()));
    }
    assert!(refused > rounds / 4, "only {refused} of {rounds} were told a reason");
    load.progress(100).await;
    finish(relay, load).await;
}

/// Segments of 32 MiB, and a group that may have messages of 64 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_a_message_that_no_segment_can_hold_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let connection = Connection::open(&relay.address).await;
    connection.set_message_bytes(64 << 20).await;
    for bytes in [33 << 20, 64 << 20] {
        let put = match connection.publisher(99, bytes).await.put().await {
            Ok(ticket) => ticket.answer().await.1,
            Err(why) => Put::Refused(RefusalCode::TooLarge, why),
        };
        assert!(matches!(&put, Put::Refused(RefusalCode::TooLarge, _)), "{put:?}");
    }
    load.progress(100).await;
    finish(relay, load).await;
}

/// A few bytes changed, left out or put in, or the end missing.
fn mutate(right: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = right.to_vec();
    for _ in 0..random.within(1..6) {
        let at = random.within(0..bytes.len() as u64) as usize;
        match random.within(0..8) {
            0 => bytes.truncate(at.max(1)),
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, random.next() as u8),
            3 => bytes[at] = 0xff,
            _ => bytes[at] ^= 1 << random.within(0..8),
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_those_who_say_no_hello_in_time_are_closed() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut silent = TcpStream::connect(&relay.address).await.expect("the relay accepts");
    let mut slow = TcpStream::connect(&relay.address).await.expect("the relay accepts");
    let patience = Duration::from_millis(limits::HELLO_MS_MAX) * 4;
    let dripping = async {
        // One byte after another, too slowly, until the relay has had enough.
        for byte in raw::hello() {
            let sent = slow.write_all(&[byte]).await;
            if sent.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        raw::hear(&mut slow, patience).await
    };
    let (silent, slow) = tokio::join!(raw::hear(&mut silent, patience), dripping);
    assert!(silent.reason.is_some_and(|reason| reason.contains("hello")));
    assert!(!slow.kinds.contains(&FrameKind::Hello), "{slow:?}");
    finish(relay, load).await;
}

/// A frame that is announced and never comes: the relay waits 30 s and closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute"]
async fn f53_a_frame_that_never_becomes_whole_is_given_up() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut stream = TcpStream::connect(&relay.address).await.expect("the relay accepts");
    let begun = [raw::hello().to_vec(), raw::header(1000, FrameKind::Put as u8)].concat();
    stream.write_all(&begun).await.expect("it is read");
    let said = raw::hear(&mut stream, Duration::from_millis(limits::FRAME_MS_MAX) * 2).await;
    assert!(said.reason.is_some_and(|reason| reason.contains("whole")), "no reason");
    finish(relay, load).await;
}
