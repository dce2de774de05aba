//! Metrics over HTTP, of a relay in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

struct Relay {
    child: Child,
    address: String,
    metrics: String,
    _data: tempfile::TempDir,
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
    command.args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    command(words).output().expect("the command runs")
}

impl Relay {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory for a test");
        let words = ["relay", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--until-input-ends"];
        let mut child = command(&words)
            .args(["--output", "json", "--data"])
            .arg(data.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the relay starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("output was asked for");
        BufReader::new(output).read_line(&mut line).expect("the relay says where it listens");
        let said: Value = serde_json::from_str(&line).expect("one object");
        let address = |key: &str| said[key].as_str().expect("an address").to_owned();
        Self { child, address: address("address"), metrics: address("metrics_address"), _data: data }
    }

    /// What a request is answered, head and body.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.metrics).expect("it listens");
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: relay\r\n\r\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers and closes");
        answer
    }

    /// The value of a series; 0 when there is none.
    fn value(&self, series: &str) -> u64 {
        let answer = self.ask("GET /metrics");
        let line = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or(0)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn what_happens_is_counted_and_told_in_the_format_of_prometheus() {
    let relay = Relay::start();
    assert_eq!(relay.value("treecast_puts_total"), 0);
    for text in ["one", "two"] {
        assert!(run(&["put", "news", text, "--relay", &relay.address]).status.success());
    }
    let answer = relay.ask("GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    let help = "# HELP treecast_puts_total puts that sessions have handed to the relay\n# TYPE treecast_puts_total counter\n";
    assert!(answer.contains(help), "{answer}");
    assert!(answer.contains("treecast_turn_seconds_bucket{le=\"0.001\"} "), "{answer}");
    assert_eq!((relay.value("treecast_puts_total"), relay.value("treecast_puts_done_total")), (2, 2));
    assert_eq!(relay.value("treecast_sessions_opened_total"), 2);
}

#[test]
fn f53_wrong_frames_are_counted_by_reason() {
    let relay = Relay::start();
    let wrong = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&relay.address).expect("it listens");
        stream.write_all(bytes).expect("it reads");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(!said.is_empty(), "it says why");
    };
    let refused = || {
        let answer = relay.ask("GET /metrics");
        let of_kind = |line: &&str| {
            line.starts_with("treecast_sessions_refused_total{reason=")
                || line.starts_with("treecast_frames_refused_total{reason=")
        };
        let values =
            answer.lines().filter(of_kind).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum::<u64>()
    };
    assert_eq!(refused(), 0);
    wrong(&[0xff; 64]);
    let after_one = refused();
    assert!(after_one >= 1, "{}", relay.ask("GET /metrics"));
    wrong(b"GET / HTTP/1.1\r\nhost: relay\r\n\r\n");
    assert!(refused() > after_one, "{}", relay.ask("GET /metrics"));
}

#[test]
fn only_metrics_are_served_and_only_read() {
    let relay = Relay::start();
    assert!(relay.ask("GET /").starts_with("HTTP/1.1 404 "));
    let refused = relay.ask("POST /metrics");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD\r\n"), "{refused}");
    let head = relay.ask("HEAD /metrics");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(relay.ask("nonsense").starts_with("HTTP/1.1 400 "));
}

#[test]
fn an_address_that_cannot_be_had_is_a_clear_error() {
    let relay = Relay::start();
    let data = tempfile::tempdir().expect("a directory for a test");
    let start = |metrics: &str| {
        let words = ["relay", "--listen", "127.0.0.1:0", "--metrics", metrics, "--data"];
        let output = command(&words).arg(data.path()).output().expect("the command runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = start(&relay.metrics);
    assert!(said.contains(&format!("cannot serve metrics at {}", relay.metrics)), "{said}");
    assert_eq!(code, Some(1));
    let (code, said) = start("0.0.0.0:0");
    assert!(said.contains("--insecure"), "{said}");
    assert_eq!(code, Some(2));
}
