//! The README's tour, run word for word against a relay in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

use std::io::{BufRead, BufReader};
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
