//! A wall clock that is set while the relay runs, by `libfaketime`. Clocks that only go forward
//! are left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::commands::{good, json};
use super::load::wait_for;
use super::process::skip;
use super::process::{RelayProcess, Start};

fn library() -> Option<PathBuf> {
    let of = |entry: std::fs::DirEntry| entry.path().join("faketime/libfaketimeMT.so.1");
    std::fs::read_dir("/usr/lib").ok()?.flatten().map(of).find(|path| path.exists())
}

/// A relay whose wall clock stands where `set` says.
fn start(data: &Path, library: &Path, clock: &Path) -> RelayProcess {
    let words = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ];
    Start::new(data).under(&words.each_ref().map(String::as_str)).start()
}

/// Replaces the file at once: the library reads it at any time.
fn set(clock: &Path, offset: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, offset).expect("it is written");
    std::fs::rename(&new, clock).expect("it is renamed");
}

fn warnings(address: &str) -> String {
    json(address, &["status"])["warnings"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_a_clock_that_is_set_expires_nothing_and_forgets_no_producer() {
    let Some(library) = library() else {
        return skip("f34", "there is no libfaketime");
    };
    let data = tempfile::tempdir().expect("a directory");
    let clock = data.path().join("clock");
    set(&clock, "+0");
    let relay = start(&data.path().join("data"), &library, &clock);
    let address = relay.address.as_str();
    for words in [
        &["group", "create", "g", "--ttl", "1h", "--max-age", "1h", "--producer-idle-max", "1h"][..],
        &["subscription", "create", "g", "late"],
        &["put", "g", "before", "--producer", "one", "--sequence", "1"],
    ] {
        good(address, words);
    }
    let next = || json(address, &["group", "show", "g"])["next"].clone();
    let before = next();
    for offset in ["+1d", "-1d", "+3d"] {
        set(&clock, offset);
        wait_for("it is noticed", async || warnings(address).contains("clock")).await;
        // The keeping that looks for what is too old comes by every second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        good(address, &["put", "g", "before", "--producer", "one", "--sequence", "1"]);
        assert_eq!(next(), before, "at {offset} a repeat was inserted");
    }
    good(address, &["put", "g", "after"]);
    let got = good(address, &["poll", "g", "--as", "late", "-n", "10"]);
    assert_eq!(got, "before\nafter\n", "nothing expired");
    set(&clock, "+0");
    wait_for("it is well again", async || !warnings(address).contains("clock")).await;
    relay.stop().expect_code(0);
}

/// A year at the most is believed: see R14.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_clock_that_is_wrong_by_years_at_a_start_expires_no_more_than_a_year() {
    let Some(library) = library() else {
        return skip("r14", "there is no libfaketime");
    };
    let data = tempfile::tempdir().expect("a directory");
    let clock = data.path().join("clock");
    set(&clock, "+0");
    let relay = start(&data.path().join("data"), &library, &clock);
    good(&relay.address, &["subscription", "create", "g", "late"]);
    good(&relay.address, &["put", "g", "for a month", "--ttl", "30d"]);
    good(&relay.address, &["put", "g", "for years", "--ttl", "500d"]);
    relay.stop().expect_code(0);
    set(&clock, "-1d");
    let relay = start(&data.path().join("data"), &library, &clock);
    good(&relay.address, &["subscription", "show", "g", "late"]);
    relay.stop().expect_code(0);
    set(&clock, "+9000d");
    let relay = start(&data.path().join("data"), &library, &clock);
    let got = good(&relay.address, &["poll", "g", "--as", "late", "-n", "10"]);
    assert_eq!(got, "for years\n");
    relay.stop().expect_code(0);
}
