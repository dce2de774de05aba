//! A whole network on this machine, with one command.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::commands::{Running, good, run};
use super::process::PATIENCE;
use super::site::own_address;

const FILE: &str = include_str!("../../topologies/three-sites.toml");

/// The file of three sites, at addresses of its own.
fn topology(host: &str) -> String {
    let own = FILE.replace("127.0.0.1", host);
    ["hub", "east", "west"].iter().fold(own, |text, name| {
        let head = format!("[relay.{name}]\n");
        text.replace(&head, &format!("{head}data = \"{name}\"\n"))
    })
}

#[test]
fn a_message_put_at_one_site_of_a_file_is_got_at_another() {
    let (host, directory) = (own_address(), tempfile::tempdir().expect("a directory"));
    let file = directory.path().join("three-sites.toml");
    std::fs::write(&file, topology(&host)).expect("it is written");
    let mut up = Running::start(
        Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["up", "--output", "json"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let (told, lines) = std::sync::mpsc::channel();
    let output = BufReader::new(up.stdout.take().expect("it was asked for"));
    let reading = std::thread::spawn(move || output.lines().try_for_each(|line| told.send(line)));
    let line = || lines.recv_timeout(PATIENCE).expect("a line for each of three relays").expect("text");
    let relays: Vec<Value> = (0..3).map(|_| serde_json::from_str(&line()).expect("one object")).collect();
    let address = |name: &str| {
        let relay = relays.iter().find(|relay| relay["relay"] == name).expect("it is told");
        relay["address"].as_str().expect("text").to_owned()
    };
    let (east, west) = (address("east"), address("west"));
    good(&west, &["subscription", "create", "prices", "till"]);
    // That west is a member is on its way to east.
    std::thread::sleep(Duration::from_secs(1));
    good(&east, &["put", "prices", "bread 3"]);
    let got = run(&west, &["get", "prices", "--as", "till", "--wait", "20s"]);
    assert_eq!((got.code, got.output.trim()), (Some(0), "bread 3"), "{got:?}");
    // One that is stopped by itself takes nobody with it.
    let process = |name: &str| {
        let relay = relays.iter().find(|relay| relay["relay"] == name).expect("it is told");
        relay["process"].as_i64().expect("a process")
    };
    let is_there = |process: i64| std::path::Path::new(&format!("/proc/{process}")).exists();
    let stops = i32::try_from(process("west")).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(stops, Signal::TERM).expect("it runs");
    let begun = std::time::Instant::now();
    while is_there(process("west")) {
        assert!(begun.elapsed() < PATIENCE, "west does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    good(&east, &["put", "prices", "milk 1"]);
    assert!(is_there(process("hub")) && up.try_wait().expect("it is our child").is_none());
    kill_process(Pid::from_child(&up), Signal::INT).expect("it runs");
    let begun = std::time::Instant::now();
    while up.try_wait().expect("it is our child").is_none() {
        assert!(begun.elapsed() < PATIENCE, "it does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(lines);
    reading.join().expect("it reads to the end").ok();
    for relay in relays {
        let process = relay["process"].as_u64().expect("a process");
        assert!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "{relay} is still there");
    }
}
