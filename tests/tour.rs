//! The README's tour, run word for word against a relay in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const README: &str = include_str!("../README.md");

/// A relay process, ended with the test.
struct Relay {
    process: Child,
    address: String,
}

impl Relay {
    fn start(data: &std::path::Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["relay", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let address = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("listens at ")?;
                Some(rest.split([',', ' ']).next()?.to_owned())
            })
            .expect("the relay says where it listens");
        Self { process, address }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn the_tour_works_as_written() {
    let script = README.split("```sh tour\n").nth(1).unwrap().split("```").next().unwrap();
    let data = tempfile::tempdir().unwrap();
    let relay = Relay::start(data.path());
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_treecast"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .env("PATH", path)
        .env("TREECAST_RELAY", &relay.address)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    for expected in ["one pizza\n", "two\nthree\n", r#""payload":"four""#, "resize 17.png", "balanced"] {
        assert!(out.contains(expected), "`{expected}` is missing:\n{out}\n{err}");
    }
}

/// A shell with everything that it has started, ended with the test.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_tour_of_three_relays_works_as_written() {
    let script = README.split("```sh network-tour\n").nth(1).unwrap().split("```").next().unwrap();
    // An address of its own, so that the ports of the file are free.
    let id = std::process::id();
    let address = format!("127.{}.{}.77:74", 100 + id / 250 % 100, 1 + id % 250);
    let place = tempfile::tempdir().unwrap();
    let topologies = place.path().join("topologies");
    std::fs::create_dir(&topologies).unwrap();
    let file = include_str!("../topologies/three-sites.toml").replace("127.0.0.1:74", &address);
    std::fs::write(topologies.join("three-sites.toml"), file).unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_treecast"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let (out, err) = (place.path().join("out.txt"), place.path().join("err.txt"));
    let mut shell = Shell(
        Command::new("sh")
            .args(["-e", "-c", &script.replace("127.0.0.1:74", &address)])
            .current_dir(place.path())
            .env("PATH", path)
            .env("XDG_STATE_HOME", place.path().join("state"))
            // To files: the relays outlive the shell and hold what it was given.
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::fs::File::create(&err).unwrap())
            .process_group(0)
            .spawn()
            .unwrap(),
    );
    let status = shell.0.wait().unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    let (out, err) = (text(&out), text(&err));
    assert!(status.success(), "{out}\n{err}");
    for expected in [
        "over the hub\n",
        "delivered and acked",
        "while the hub is dead\nand one more\n",
        "all groups: balanced",
    ] {
        assert!(out.contains(expected), "`{expected}` is missing:\n{out}\n{err}");
    }
    assert!(err.contains("--ack was not reached in time"), "{out}\n{err}");
}
