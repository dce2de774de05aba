//! Faults of the disk: full, read-only, bounded by the system's limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use treecast::wire::body::RefusalCode;

use super::client::{Connection, Inbox, Put};
use super::load::{Load, Shape, check_kept, create_kept, finish, loaded, settle, wait_for};
use super::process::skip;
use super::process::{PATIENCE, RelayProcess, Start};
use super::proxy::Proxy;
use super::raw;
use super::volume::Volume;

/// Messages that fill a small disk soon.
const LARGE: Shape = Shape { publishers: 2, bytes: 16 * 1024, pause: Duration::from_micros(500) };

/// Waits until puts are refused.
async fn wait_refused(load: &Load) {
    let before = load.history.refused();
    wait_for("puts are refused", async || load.history.refused() >= before + 20).await;
}

/// A put is refused and says why; all else goes on.
async fn check_refuses_and_serves(address: &str) {
    let connection = Connection::open(address).await;
    let mut publisher = connection.publisher(1000, 100).await;
    let (_, put) = publisher.put().await.expect("a ticket").answer().await;
    let Put::Refused(code, reason) = put else { panic!("a full disk takes a put: {put:?}") };
    assert_eq!(code, RefusalCode::NoRoom, "{reason}");
    assert!(reason.contains("full"), "{reason}");
    let status = connection.status().await.expect("it answers");
    let why = status.accepting.clone().expect_err("it takes nothing");
    assert!(why.contains(" must be free on the disk, and "), "{why}: {status:?}");
    // A subscription is made, read and acked on the full disk.
    let mut inbox = Inbox::open(address, "late").await.expect("a subscription is made");
    for _ in 0..10 {
        let (_, message) = inbox.next().await.expect("it is delivered");
        message.ack();
    }
    inbox.sync().await.expect("acks are durable");
    drop(inbox);
    connection.remove("late").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_full_disk_refuses_puts_and_serves_the_rest_until_there_is_room() {
    let volume = match Volume::tmpfs(256) {
        Ok(volume) => volume,
        Err(why) => return skip("f20", &why),
    };
    let (mut relay, proxy, load) = loaded(volume.relay(), LARGE).await;
    for round in 0..2 {
        volume.fill(0);
        wait_refused(&load).await;
        check_refuses_and_serves(&relay.address).await;
        if round == 1 {
            // It can be killed and started while the disk is full.
            relay.kill();
            relay = volume.relay().start();
            proxy.lead_to(&relay.address);
            wait_refused(&load).await;
            check_refuses_and_serves(&relay.address).await;
        }
        relay.wait_said("the disk is full");
        volume.empty();
        load.progress(100).await;
        relay.wait_said("there is room on the disk");
    }
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_backlog_that_fills_the_disk_makes_room_when_it_is_removed() {
    let volume = match Volume::tmpfs(192) {
        Ok(volume) => volume,
        Err(why) => return skip("f20", &why),
    };
    let (relay, _proxy, load) = loaded(volume.relay(), LARGE).await;
    Connection::open(&relay.address).await.create("laggard").await;
    wait_refused(&load).await;
    check_refuses_and_serves(&relay.address).await;
    let connection = Connection::open(&relay.address).await;
    connection.remove("laggard").await;
    connection.remove("kept").await;
    load.progress(500).await;
    load.finish().await;
    relay.stop().expect_code(0);
}

/// As fast as it goes: what is on its way when room gets short must fit, or be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_burst_of_large_messages_is_refused_in_time() {
    let volume = match Volume::tmpfs(256) {
        Ok(volume) => volume,
        Err(why) => return skip("f20", &why),
    };
    let relay = volume.relay().start();
    create_kept(&relay.address).await;
    let shape = Shape { publishers: 4, bytes: 1 << 20, pause: Duration::ZERO };
    let load = Load::start(&relay.address, shape).await;
    wait_refused(&load).await;
    check_refuses_and_serves(&relay.address).await;
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_a_disk_that_becomes_read_only_stops_the_relay_and_loses_nothing() {
    let volume = match Volume::ext4(256) {
        Ok(volume) => volume,
        Err(why) => return skip("f19", &why),
    };
    let (relay, proxy, load) = loaded(volume.relay(), LARGE).await;
    // As the kernel does when it finds the file system damaged.
    let aborted = volume.run("mount -o remount,abort \"$1\"");
    if !volume.run("touch \"$1/x\"").stderr.windows(9).any(|words| words == b"Read-only") {
        return skip("f19", &format!("it did not become read-only: {aborted:?}"));
    }
    let ended = relay.wait_ended();
    ended.expect_code(1).expect_said("the log failed");
    // What is there can be looked at, and no relay starts that could not write.
    check_readable(&volume);
    let Err(refused) = volume.relay().try_start() else { panic!("it starts on a read-only disk") };
    refused.expect_code(1).expect_said("Read-only file system");
    volume.mount_again();
    let relay = volume.relay().start();
    proxy.lead_to(&relay.address);
    load.progress(100).await;
    finish(relay, load).await;
}

/// `log check` finds nothing wrong, and `log dump` finds entries.
#[track_caller]
fn check_readable(volume: &Volume) {
    let treecast = env!("CARGO_BIN_EXE_treecast");
    for words in ["log check", "log dump"] {
        let done = volume.run(&format!("'{treecast}' {words} \"$1/data\""));
        assert!(done.status.success(), "{words}: {done:?}");
        assert!(!done.stdout.is_empty(), "{words} says nothing");
    }
}

/// Writes are taken by the system's memory, and fail when they are synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_disk_that_has_less_than_it_says_stops_the_relay_and_loses_nothing() {
    let volume = match Volume::thin(192) {
        Ok(volume) => volume,
        Err(why) => return skip("f16", &why),
    };
    // For large commits segments are only allocated before: the disk gives room that it has not. So
    // large that their mean stays so, however many short ones (of acks) are between them on a busy
    // machine: else segments are filled before, and puts are refused when that fails, as by F20.
    let shape = Shape { publishers: 4, bytes: 8 << 20, pause: Duration::ZERO };
    let relay = volume.relay().start();
    create_kept(&relay.address).await;
    let proxy = Proxy::start(&relay.address).await;
    let load = Load::start(&proxy.address, shape).await;
    let ended = relay.wait_ended();
    // Which of both fails is the kernel's choice: a large write goes past its cache, if it can.
    ended.expect_code(1).expect_said("the log failed: cannot ").expect_said("No space left on device");
    volume.thicken();
    volume.mount_again();
    let relay = volume.relay().start();
    proxy.lead_to(&relay.address);
    load.progress(20).await;
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_a_frozen_disk_delays_puts_and_nothing_else() {
    let volume = match Volume::ext4(512) {
        Ok(volume) => Arc::new(volume),
        Err(why) => return skip("f37", &why),
    };
    let (relay, proxy, load) = loaded(volume.relay(), Shape::default()).await;
    let connection = Connection::open(&relay.address).await;
    let made = proxy.made();
    let frozen = Arc::clone(&volume);
    let frozen = tokio::task::spawn_blocking(move || frozen.freeze(5));
    let mut before = load.history.answered();
    wait_for("puts stand still", async || {
        tokio::time::sleep(Duration::from_millis(400)).await;
        std::mem::replace(&mut before, load.history.answered()) == before || frozen.is_finished()
    })
    .await;
    let begun = Instant::now();
    for _ in 0..50 {
        connection.status().await.expect("it answers");
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "50 answers took {took:?}");
    assert!(!frozen.is_finished(), "{:?}", frozen.await);
    assert_eq!(load.history.answered(), before, "a put is answered while nothing can be written");
    let thawed = frozen.await.expect("no panic");
    assert!(thawed.status.success(), "{thawed:?}");
    load.progress(100).await;
    assert_eq!(proxy.made(), made, "somebody gave up on the relay");
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f21_a_limit_of_file_sizes_ends_the_relay_with_words_and_loses_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    create_kept(&relay.address).await;
    let proxy = Proxy::start(&relay.address).await;
    let load = Load::start(&proxy.address, LARGE).await;
    load.progress(100).await;
    settle(&relay.address).await;
    if let Err(why) = set_limit(&relay, "--fsize=8388608") {
        return skip("f21", &why);
    }
    // Not killed by the signal that says so, which would be silent.
    let ended = relay.wait_ended();
    ended.expect_code(1).expect_said("File too large");
    let relay = Start::new(data.path()).start();
    proxy.lead_to(&relay.address);
    load.progress(100).await;
    let history = load.finish().await;
    check_kept(&relay.address, &history).await;
}

/// Each segment is an open file: with what many systems begin a process with, puts would be refused
/// for want of files, on a disk that has room.
#[test]
fn f21_a_relay_may_open_as_many_files_as_the_system_lets_it() {
    let data = tempfile::tempdir().expect("a directory");
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        return skip("f21", "there is no prlimit");
    }
    let relay = Start::new(data.path()).under(&["prlimit", "--nofile=256:4096"]).start();
    let path = format!("/proc/{}/limits", relay.pid().as_raw_nonzero());
    let limits = std::fs::read_to_string(path).expect("the system tells");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("it is a limit");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3..5], ["4096", "4096"], "{line}");
}

/// Changes a limit of a process that runs.
fn set_limit(relay: &RelayProcess, limit: &str) -> Result<(), String> {
    let pid = relay.pid().as_raw_nonzero().to_string();
    let done = std::process::Command::new("prlimit").args(["--pid", &pid, limit]).output();
    match done {
        Ok(output) if output.status.success() => Ok(()),
        other => Err(format!("prlimit does not set {limit}: {other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_without_descriptors_those_who_are_connected_are_served() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    create_kept(&relay.address).await;
    let load = Load::start(&relay.address, Shape { bytes: 64 * 1024, ..LARGE }).await;
    load.progress(50).await;
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", relay.pid().as_raw_nonzero())).expect("it runs").count();
    if let Err(why) = set_limit(&relay, &format!("--nofile={}", open + 8)) {
        return skip("f22", &why);
    }
    let mut hogs = Vec::new();
    for _ in 0..30 {
        // The system accepts them; the relay cannot.
        hogs.push(std::net::TcpStream::connect(&relay.address).expect("a connection"));
    }
    relay.wait_said("cannot accept connections");
    // Longer than a segment lasts: files cannot be made, so puts are refused in the end.
    wait_refused(&load).await;
    relay.wait_said("no segment can be made ahead for the log");
    drop(hogs);
    tokio::time::timeout(PATIENCE, Connection::open(&relay.address)).await.expect("it accepts again");
    load.progress(100).await;
    finish(relay, load).await;
}

/// Applications are refused before they take what the log and the neighbours need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_applications_that_connect_without_end_leave_descriptors_for_the_log_and_neighbours() {
    let data = tempfile::tempdir().expect("a directory");
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        return skip("f22", "there is no prlimit");
    }
    let relay = Start::new(data.path()).under(&["prlimit", "--nofile=256:256"]).start();
    create_kept(&relay.address).await;
    let load = Load::start(&relay.address, Shape { bytes: 64 * 1024, ..LARGE }).await;
    load.progress(50).await;
    let mut hogs = Vec::new();
    for _ in 0..300 {
        let mut stream = tokio::net::TcpStream::connect(&relay.address).await.expect("a connection");
        // The relay may have closed already.
        let _ = stream.write_all(&raw::hello()).await;
        hogs.push(stream);
    }
    let refused = load.history.refused();
    // Longer than three segments last.
    load.progress(2_000).await;
    assert_eq!(load.history.refused(), refused, "a disk that is not full is not said to be");
    let said = raw::converse(&relay.address, &raw::hello()).await;
    let reason = said.reason.expect("an application is told why it is not let in");
    assert!(reason.contains("keeps the last 64 for its log and its neighbours"), "{reason}");
    let said = raw::converse(&relay.address, &raw::link_hello()).await;
    let reason = said.reason.expect("a stranger is told so");
    assert!(reason.contains(", not nobody"), "{reason}");
    drop(hogs);
    // A refusal is final for a client, and the relay takes a moment to see that they have gone.
    let is_let_in = async {
        while Connection::open_once(&relay.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_let_in).await.expect("it is let in again");
    finish(relay, load).await;
}
