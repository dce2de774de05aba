//! Processes that are halted and go on later.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::commands::{Running, command, good, json};
use super::process::{PATIENCE, Start};

fn halt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::STOP).expect("it is our child");
}

fn go_on(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).expect("it is our child");
}

/// Lines of a kilobyte, each with its number.
fn write_lines(to: &mut ChildStdin, range: std::ops::Range<u64>) {
    let rest = "x".repeat(1000);
    let lines: String = range.map(|number| format!("{number} {rest}\n")).collect();
    to.write_all(lines.as_bytes()).expect("it reads");
}

fn put_lines(address: &str, group: &str) -> (Running, ChildStdin) {
    let mut put = command(address, &["put", group, "--lines"]);
    let put = put.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Running::start(put);
    let input = child.stdin.take().expect("it was asked for");
    (child, input)
}

fn resident(address: &str) -> u64 {
    json(address, &["status"])["resident_bytes"].as_u64().expect("a number")
}

/// Reads numbers of lines until `count` have come; they come in order, each once.
fn expect_lines(child: &mut Child, count: u64) {
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    let begun = Instant::now();
    for (expected, line) in (0..count).zip(output.lines()) {
        let line = line.expect("text");
        let number: u64 = line.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
        assert_eq!(number, expected);
        assert!(begun.elapsed() < PATIENCE, "it ends in time");
    }
}

#[test]
fn f35_a_halted_subscriber_costs_nothing_and_misses_nothing() {
    const COUNT: u64 = 150_000;
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    let address = &relay.address;
    for name in ["halted", "other"] {
        good(address, &["subscription", "create", "g", name]);
    }
    let notify = |name| {
        let words = ["notify", "g", "--as", name];
        Running::start(command(address, &words).stdout(Stdio::piped()).stderr(Stdio::null()))
    };
    let (mut halted, mut other) = (notify("halted"), notify("other"));
    while json(address, &["subscription", "show", "g", "halted"])["receivers"] != 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // What the relay takes for recent messages and for those on their way, it has taken before.
    let (mut put, mut input) = put_lines(address, "another");
    write_lines(&mut input, 0..COUNT / 2);
    drop(input);
    assert!(put.wait().expect("it is our child").success());
    halt(&halted);
    let before = resident(address);
    let (mut put, mut input) = put_lines(address, "g");
    write_lines(&mut input, 0..COUNT);
    drop(input);
    assert!(put.wait().expect("it is our child").success());
    expect_lines(&mut other, COUNT);
    let grown = resident(address).saturating_sub(before);
    // The backlog is 150 MB.
    assert!(grown < 64 << 20, "{grown} bytes more while one of two was halted");
    go_on(&halted);
    expect_lines(&mut halted, COUNT);
    drop((halted, other));
    assert_eq!(json(address, &["books"])["balanced"], true);
    relay.stop();
}

#[test]
fn f35_a_halted_publisher_goes_on_where_it_was() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    let address = &relay.address;
    good(address, &["subscription", "create", "g", "s"]);
    let (mut put, mut input) = put_lines(address, "g");
    write_lines(&mut input, 0..5_000);
    while json(address, &["subscription", "show", "g", "s"])["backlog"].as_u64() < Some(1_000) {
        std::thread::sleep(Duration::from_millis(5));
    }
    halt(&put);
    std::thread::sleep(Duration::from_secs(1));
    good(address, &["put", "another", "is served"]);
    go_on(&put);
    write_lines(&mut input, 5_000..10_000);
    drop(input);
    assert!(put.wait().expect("it is our child").success());
    let words = ["get", "g", "--as", "s", "-n", "10000"];
    let mut get = Running::start(command(address, &words).stdout(Stdio::piped()));
    expect_lines(&mut get, 10_000);
    assert!(get.wait().expect("it is our child").success());
    relay.stop();
}

/// The attempt and the payload of each of `count` messages.
fn take_jobs(worker: &mut Child, count: usize) -> Vec<(u64, String)> {
    let output = BufReader::new(worker.stdout.take().expect("it was asked for"));
    let job = |line: std::io::Result<String>| {
        let job: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("one object");
        let payload = job["payload"].as_str().expect("text").to_owned();
        (job["attempt"].as_u64().expect("a number"), payload)
    };
    output.lines().take(count).map(job).collect()
}

#[test]
fn f35_the_jobs_of_a_halted_worker_are_done_by_another_and_counted_once() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    let address = &relay.address;
    good(address, &["queue", "create", "g", "--ack-wait", "2s"]);
    // It asks for so many and no more: what was taken from it comes to the other one.
    let work = || {
        let words = ["get", "g", "-n", "10", "--wait", "60s", "--output", "json"];
        Running::start(command(address, &words).stdout(Stdio::piped()).stderr(Stdio::null()))
    };
    let mut halted = work();
    while json(address, &["queue", "show", "g"])["backlog"]["receivers"] != 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    halt(&halted);
    let (mut put, mut input) = put_lines(address, "g");
    write_lines(&mut input, 0..10);
    drop(input);
    assert!(put.wait().expect("it is our child").success());
    let mut other = work();
    let begun = Instant::now();
    let done = take_jobs(&mut other, 10);
    assert!(begun.elapsed() > Duration::from_secs(1), "jobs came before the first worker's time was over");
    assert!(done.len() == 10 && done.iter().all(|(attempt, _)| *attempt == 2), "{done:?}");
    assert!(other.wait().expect("it is our child").success());
    let acked = || json(address, &["books"])["out"]["acked"].clone();
    assert_eq!(acked(), 10);
    // It has had them all the time, does them again, and acks too late.
    go_on(&halted);
    let late = take_jobs(&mut halted, 10);
    assert!(late.iter().all(|(attempt, _)| *attempt == 1), "{late:?}");
    assert!(halted.wait().expect("it is our child").success());
    let mut payloads = [done, late].map(|jobs| jobs.into_iter().map(|(_, job)| job).collect::<Vec<_>>());
    payloads.iter_mut().for_each(|jobs| jobs.sort());
    assert_eq!(payloads[0], payloads[1], "both had the same jobs");
    assert_eq!(acked(), 10);
    assert_eq!(json(address, &["books"])["balanced"], true);
    assert_eq!(json(address, &["queue", "show", "g"])["backlog"]["backlog"], 0);
    relay.stop().expect_code(0);
}
