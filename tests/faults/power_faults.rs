//! The power fails: an ext4 is shut down without writing what it has not synced, and mounted
//! again; or a LazyFS forgets that.
//!
//! LazyFS is built with Debian's packages `g++ pkg-config libfuse3-dev libspdlog-dev
//! libtoml11-dev`, in its source, with
//!
//! ```sh
//! g++ -std=c++17 -O2 -o lazyfs-program -Ilibs/libpcache/include -Ilazyfs/include \
//!     $(pkg-config --cflags fuse3 spdlog) lazyfs/src/*.cpp lazyfs/include/lazyfs/fusepp/Fuse.cpp \
//!     $(find libs/libpcache/src -name '*.cpp') -lspdlog -lfmt -lfuse3 -lpthread
//! ```
//!
//! and the tests are told with `TREECAST_LAZYFS=$PWD/lazyfs-program`.

use std::time::Duration;

use super::client::{Connection, Inbox, Put};
use super::load::{READ, Shape, create_kept, finish, loaded};
use super::oracle::{Event, History};
use super::process::RelayProcess;
use super::process::{say_skipped, skip};
use super::proxy::Proxy;
use super::random::Random;
use super::tracer::{Tracer, available};
use super::volume::Volume;

/// Of `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: not even the journal is written.
const SHUTDOWN: &str = "\
    perl -e 'open F, \"<\", $ARGV[0] or die $!; ioctl F, 0x8004587d, pack(\"L\", 2) or die $!' \"$1\" \
    || python3 -c 'import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack(\"I\", 2))' \"$1\"";

pub(crate) fn cut_power(volume: &Volume) {
    let done = volume.run(SHUTDOWN);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// An ext4 whose power can be cut, tried: what was written and not synced is gone then.
pub(crate) fn volume() -> Result<Volume, String> {
    let volume = Volume::ext4(1536)?;
    let written = volume.run("echo synced > \"$1/a\" && sync \"$1/a\" && echo lost > \"$1/b\"");
    if !written.status.success() || !volume.run(SHUTDOWN).status.success() {
        return Err("the file system cannot be shut down".to_owned());
    }
    volume.mount_again();
    let found = volume.run("cat \"$1/a\"; cat \"$1/b\" 2>/dev/null");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    if found == "synced\n" { Ok(volume) } else { Err(format!("a power cut leaves {found:?}")) }
}

/// The relay's disk comes back as it was synced, and the relay starts on it.
fn power_on(volume: &Volume, proxy: &Proxy) -> RelayProcess {
    volume.mount_again();
    let relay = volume.relay().start();
    proxy.lead_to(&relay.address);
    relay
}

async fn cut_rounds(seed: u64, rounds: u32) {
    let volume = match volume() {
        Ok(volume) => volume,
        Err(why) => return skip("f03", &why),
    };
    let (mut relay, proxy, load) = loaded(volume.relay(), Shape::default()).await;
    let mut random = Random::new(seed);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.within(0..200))).await;
        cut_power(&volume);
        relay.kill();
        relay = power_on(&volume, &proxy);
        // Sometimes it is cut while the relay has just started.
        if random.within(0..3) > 0 {
            load.progress(30).await;
        }
    }
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_a_power_cut_loses_nothing_acked() {
    cut_rounds(3, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn f03_many_power_cuts() {
    for seed in 300..303 {
        cut_rounds(seed, 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_what_was_served_after_a_crash_survives_a_power_cut() {
    let volume = match volume() {
        Ok(volume) => volume,
        Err(why) => return skip("f04", &why),
    };
    let (mut relay, proxy, load) = loaded(volume.relay(), Shape::default()).await;
    for _ in 0..2 {
        // What it had written and not synced is in the system's memory only; it serves that.
        relay.kill();
        relay = volume.relay().start();
        proxy.lead_to(&relay.address);
        load.progress(1).await;
        cut_power(&volume);
        relay.kill();
        relay = power_on(&volume, &proxy);
        load.progress(30).await;
    }
    finish(relay, load).await;
}

/// These tests can fail: with a disk that only says that it has synced, messages are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_a_power_cut_behind_a_disk_that_lies_is_seen() {
    let volume = match volume().and_then(|volume| available().map(|()| volume)) {
        Ok(volume) => volume,
        Err(why) => return skip("f03", &why),
    };
    let relay = volume.relay().start();
    create_kept(&relay.address).await;
    let proxy = Proxy::start(&relay.address).await;
    let _lying = Tracer::attach(&relay, "fdatasync:retval=0");
    let history = History::default();
    let connection = Connection::open(&relay.address).await;
    let mut publisher = connection.publisher(1, 1000).await;
    for _ in 0..100 {
        history.note(Event::Put(publisher.next()));
        let (id, put) = publisher.put().await.expect("a ticket").answer().await;
        assert_eq!(put, Put::Answered);
        history.note(Event::Answered(id));
    }
    cut_power(&volume);
    relay.kill();
    let relay = power_on(&volume, &proxy);
    let found = Inbox::open(&relay.address, READ).await.expect("it attaches").read_all(&history).await;
    assert!(found < 100, "all {found} messages are there, though nothing was synced");
    assert!(!history.is_delivered(), "the oracle misses the loss");
}

/// A LazyFS that forgets, tried.
fn forgetful() -> Result<Volume, String> {
    let volume = Volume::lazyfs()?;
    volume.run("echo synced > \"$1/a\" && sync \"$1/a\" && echo lost > \"$1/b\"");
    volume.forget_unsynced();
    let found = volume.run("cat \"$1/a\"; cat \"$1/b\" 2>/dev/null");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    if found == "synced\n" { Ok(volume) } else { Err(format!("what was forgotten leaves {found:?}")) }
}

/// LazyFS has to be built by hand. Where no program is named nobody expects it, whatever else
/// must be there.
fn skip_forgetful(test: &str, why: &str) {
    match std::env::var_os("TREECAST_LAZYFS") {
        Some(_) => skip(test, why),
        None => say_skipped(test, why),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_a_disk_that_forgets_what_was_not_synced_loses_nothing_acked() {
    let volume = match forgetful() {
        Ok(volume) => volume,
        Err(why) => return skip_forgetful("f03 on LazyFS", &why),
    };
    let (mut relay, proxy, load) = loaded(volume.relay(), Shape::default()).await;
    let mut random = Random::new(33);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(random.within(0..200))).await;
        relay.kill();
        volume.forget_unsynced();
        relay = volume.relay().start();
        proxy.lead_to(&relay.address);
        load.progress(30).await;
    }
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_what_was_served_after_a_crash_is_not_forgotten() {
    let volume = match forgetful() {
        Ok(volume) => volume,
        Err(why) => return skip_forgetful("f04 on LazyFS", &why),
    };
    let (mut relay, proxy, load) = loaded(volume.relay(), Shape::default()).await;
    for _ in 0..3 {
        relay.kill();
        relay = volume.relay().start();
        proxy.lead_to(&relay.address);
        load.progress(1).await;
        relay.kill();
        volume.forget_unsynced();
        relay = volume.relay().start();
        proxy.lead_to(&relay.address);
        load.progress(30).await;
    }
    finish(relay, load).await;
}

/// One commit after the other gets to the disk in part only: its header alone, without its header,
/// with a hole in its middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f05_a_torn_write_loses_nothing_acked() {
    let volume = match forgetful() {
        Ok(volume) => volume,
        Err(why) => return skip_forgetful("f05 on LazyFS", &why),
    };
    let (mut relay, proxy, load) = loaded(volume.relay(), Shape::default()).await;
    for eighths in ["1", "2,3,8", "1,2,8", "1,2,3,4,5,6,7", "8"] {
        volume.tear_next_write(eighths);
        // Its disk is gone.
        relay.wait_ended().expect_code(1);
        volume.revive();
        relay = volume.relay().start();
        proxy.lead_to(&relay.address);
        load.progress(30).await;
    }
    finish(relay, load).await;
}
