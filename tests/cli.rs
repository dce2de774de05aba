//! The command line against a relay in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A relay that ends with the test.
struct Relay {
    child: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Relay {
    fn start() -> Self {
        Self::start_at(&["--listen", "127.0.0.1:0"])
    }

    fn start_at(listen: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a directory for a test");
        let mut child = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["relay", "--until-input-ends", "--output", "json"])
            .args(listen)
            .arg("--data")
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
        let address = said["address"].as_str().expect("an address").to_owned();
        Self { child, address, _data: data }
    }

    /// Starts it again where it was, with what it had.
    fn start_again(&mut self) {
        let again = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["relay", "--until-input-ends", "--listen", &self.address, "--data"])
            .arg(self._data.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = again.expect("the relay starts");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
        command.args(words).args(["--relay", &self.address]).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the command runs")
    }

    /// What the command wrote; it must end with `exit`.
    fn text(&self, exit: i32, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{words:?} said {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.text(0, &words)).expect("one object")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_put_is_got_once() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "news", "me"]);
    let id = relay.text(0, &["put", "news", "hello", "--subject", "a/b", "--header", "k=v"]);
    let message = relay.json(&["get", "news", "--as", "me"]);
    assert_eq!(message["id"], id.trim_end());
    assert_eq!(message["payload"], "hello");
    assert_eq!(message["subject"], "a/b");
    assert_eq!(message["headers"]["k"], "v");
    assert_eq!(message["attempt"], 1);
    assert_eq!(relay.text(3, &["poll", "news", "--as", "me"]), "");
}

#[test]
fn a_get_takes_no_more_than_it_was_told_to() {
    let relay = Relay::start();
    relay.text(0, &["queue", "create", "jobs"]);
    for job in ["1", "2", "3"] {
        relay.text(0, &["put", "jobs", job]);
    }
    assert_eq!(relay.text(0, &["get", "jobs"]), "1\n");
    let rest = relay.text(0, &["poll", "jobs", "-n", "5", "--output", "json"]);
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let found: Vec<_> = rest.iter().map(|m| (m["payload"].as_str(), m["attempt"].as_u64())).collect();
    assert_eq!(found, [(Some("2"), Some(1)), (Some("3"), Some(1))], "the first get took them, too");
}

#[test]
fn what_was_not_acked_is_not_removed_unless_somebody_says_so() {
    let relay = Relay::start();
    relay.text(0, &["queue", "create", "jobs"]);
    relay.text(0, &["subscription", "create", "g", "s"]);
    relay.text(0, &["subscription", "create", "g", "t"]);
    for words in [&["put", "jobs", "1"], &["put", "g", "1"], &["put", "g", "2"]] {
        relay.text(0, words);
    }
    relay.text(0, &["poll", "g", "--as", "t"]);
    let holds: [(&[&str], &str); 3] = [
        (&["queue", "remove", "jobs"], "`jobs` holds 1 message of 1 subscription not acked"),
        (&["subscription", "remove", "g", "s"], "subscription `s` of `g` holds 2 messages not acked"),
        (&["group", "remove", "g"], "`g` holds 3 messages of 2 subscriptions not acked"),
    ];
    for (words, why) in holds {
        let output = relay.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said, format!("error: {why}, and nobody can be asked: say --yes\n"));
    }
    for (words, _) in holds {
        relay.text(0, &[words, &["--yes"]].concat());
    }
    // Of what has none nobody is asked.
    relay.text(0, &["subscription", "create", "g", "s"]);
    relay.text(0, &["put", "g", "1"]);
    relay.text(0, &["get", "g", "--as", "s"]);
    relay.text(0, &["subscription", "remove", "g", "s"]);
    relay.text(0, &["group", "remove", "g"]);
}

#[test]
fn one_message_is_not_called_messages() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "g", "me"]);
    for (text, kept) in [("one", "1 message"), ("two", "2 messages")] {
        relay.text(0, &["put", "g", text]);
        let shown = relay.text(0, &["subscription", "show", "g", "me"]);
        let backlog = shown.lines().find_map(|line| line.strip_prefix("backlog"));
        assert_eq!(backlog.map(str::trim), Some(kept), "{shown}");
        let shown = relay.text(0, &["group", "show", "g"]);
        let line = shown.lines().find_map(|line| line.strip_prefix("kept"));
        assert!(line.is_some_and(|line| line.trim().starts_with(&format!("{kept},"))), "{shown}");
    }
}

#[test]
fn lines_go_in_and_come_out_in_order() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "g", "s"]);
    let lines: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &lines).expect("written");
    let path = file.path().to_str().expect("a path that is text");
    assert_eq!(relay.json(&["put", "g", "--lines", "--file", path])["messages"], 5000);
    assert_eq!(relay.text(0, &["get", "g", "--as", "s", "-n", "5000"]), lines);
    assert_eq!(relay.json(&["books", "g"])["balanced"], true);
}

#[test]
fn a_poll_takes_what_is_there_however_little_may_be_unacked() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "g", "s", "--window", "10"]);
    let lines: String = (0..2000).map(|number| format!("{number}\n")).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &lines).expect("written");
    relay.text(0, &["put", "g", "--lines", "--file", file.path().to_str().expect("text")]);
    assert_eq!(relay.text(0, &["poll", "g", "--as", "s", "-n", "3000"]), lines);
}

#[test]
fn r7_lines_beyond_a_quota_are_taken_as_far_as_it_goes() {
    let relay = Relay::start();
    relay.text(0, &["group", "create", "c", "--quota-count", "20"]);
    relay.text(0, &["subscription", "create", "c", "s"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("text");
    let lines = |from: u32, to: u32| -> String { (from..to).map(|line| format!("{line}\n")).collect() };
    std::fs::write(file.path(), lines(0, 30)).expect("written");
    let output = relay.run(&["put", "c", "--lines", "--file", path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("stored before that: 20 lines") && said.contains("line 21: "), "{said}");
    assert_eq!(relay.text(0, &["get", "c", "--as", "s", "-n", "20"]), lines(0, 20));
    std::fs::write(file.path(), lines(20, 30)).expect("written");
    relay.text(0, &["put", "c", "--lines", "--file", path]);
    assert_eq!(relay.text(0, &["get", "c", "--as", "s", "-n", "10"]), lines(20, 30));
}

#[test]
fn a_line_that_is_not_taken_is_named_and_those_before_it_are_stored() {
    let relay = Relay::start();
    relay.text(0, &["group", "create", "small", "--max-message-bytes", "3"]);
    relay.text(0, &["subscription", "create", "small", "s"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("text");
    std::fs::write(file.path(), "1\n2\nfour\n5\n").expect("written");
    let output = relay.run(&["put", "small", "--lines", "--file", path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("line 3: ") && said.contains("stored before that: 2 lines"), "{said}");
    assert_eq!(relay.text(0, &["poll", "small", "--as", "s", "-n", "9"]), "1\n2\n");
    std::fs::write(file.path(), format!("a\n{}", "x".repeat((64 << 20) + 1))).expect("written");
    let output = relay.run(&["put", "small", "--lines", "--file", path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("line 2 of ") && said.contains("stored before that: 1 line\n"), "{said}");
    assert_eq!(relay.text(0, &["poll", "small", "--as", "s", "-n", "9"]), "a\n");
}

#[test]
fn lines_that_were_taken_before_are_counted() {
    let relay = Relay::start();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "1\n2\n3\n").expect("written");
    let path = file.path().to_str().expect("text");
    let put = ["put", "g", "--lines", "--file", path, "--producer", "p", "--sequence", "1"];
    assert_eq!(relay.json(&put)["repeats"], 0);
    assert_eq!(relay.json(&put)["repeats"], 3);
    let said = String::from_utf8(relay.run(&put).stderr).expect("text");
    assert!(said.contains("3 of them had been taken before"), "{said}");
}

#[test]
fn a_repeat_of_a_named_producer_is_inserted_once() {
    let relay = Relay::start();
    relay.text(0, &["queue", "create", "q"]);
    let put = ["put", "q", "x", "--producer", "p", "--sequence", "7"];
    assert_eq!(relay.json(&put)["repeat"], false);
    assert_eq!(relay.json(&put)["repeat"], true);
    assert_eq!(relay.text(0, &["poll", "q", "-n", "9"]), "x\n");
}

#[test]
fn numbers_of_a_producer_may_come_from_many_processes_in_any_order() {
    let relay = Relay::start();
    relay.text(0, &["queue", "create", "q"]);
    let numbers = ["1", "3", "2", "10", "7", "2"];
    let repeats: Vec<_> = numbers
        .iter()
        .map(|n| relay.json(&["put", "q", n, "--producer", "p", "--sequence", n])["repeat"].as_bool())
        .collect();
    assert_eq!(repeats, [false, false, false, false, false, true].map(Some));
    assert_eq!(relay.text(0, &["poll", "q", "-n", "9"]), "1\n3\n2\n10\n7\n");
}

#[test]
fn a_command_that_fails_gets_its_message_again() {
    let relay = Relay::start();
    relay.text(0, &["queue", "create", "q"]);
    relay.text(0, &["put", "q", "work"]);
    let exec = "echo $TREECAST_ATTEMPT $(cat); test $TREECAST_ATTEMPT = 2";
    assert_eq!(relay.text(0, &["notify", "q", "-n", "2", "--exec", exec]), "1 work\n2 work\n");
    relay.text(3, &["poll", "q"]);
}

#[test]
fn a_failing_command_is_told_what_becomes_of_its_message() {
    let relay = Relay::start();
    let settings = ["--max-deliver", "2", "--backoff", "50ms", "--dead-letter", "dead"];
    relay.text(0, &[&["queue", "create", "q"], &settings[..]].concat());
    relay.text(0, &["queue", "create", "dead"]);
    relay.text(0, &["put", "q", "work"]);
    let begun = Instant::now();
    let output = relay.run(&["notify", "q", "-n", "2", "--exec", "false"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("again in 50ms") && said.contains("last attempt, it goes to dead"), "{said}");
    assert!(begun.elapsed() < Duration::from_millis(900), "the client waited, not the group");
    assert_eq!(relay.text(0, &["get", "dead", "--wait", "10s"]), "work\n");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "g", "s"]);
    relay.text(0, &["group", "create", "small", "--max-message-bytes", "3"]);
    relay.text(3, &["group", "show", "absent"]);
    relay.text(3, &["queue", "show", "g"]);
    relay.text(3, &["get", "g", "--as", "absent", "--existing"]);
    relay.text(124, &["get", "g", "--as", "s", "--wait", "50ms"]);
    // What is on its disk has an id, though the level was not reached.
    for (code, level) in [(124, "consumed"), (75, "stored=2")] {
        let id = relay.text(code, &["put", "g", "kept", "--ack", level, "--deadline", "300ms"]);
        assert!(relay.text(0, &["where", id.trim()]).contains("pending"), "{level}: {id}");
    }
    relay.text(65, &["put", "small", "four"]);
    relay.text(65, &["put", "g", "--file", "/nonexistent/file"]);
    relay.text(2, &["put", "g"]);
    relay.text(2, &["subscription", "seek", "g", "s"]);
    let nobody = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["status", "--relay", "127.0.0.1:1"])
        .output()
        .expect("the command runs");
    assert_eq!(nobody.status.code(), Some(69));
    assert!(nobody.stdout.is_empty());
}

#[test]
fn a_deadline_covers_connecting() {
    // The system takes the connection; nobody ever says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "x\n").expect("written");
    let path = file.path().to_str().expect("text");
    let verbs: [&[&str]; 3] = [
        &["put", "g", "x", "--deadline", "300ms"],
        &["put", "g", "--lines", "--file", path, "--deadline", "300ms"],
        &["get", "g", "--as", "me", "--wait", "300ms"],
    ];
    for verb in verbs {
        let begun = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(verb)
            .args(["--relay", &address])
            .output()
            .expect("the command runs");
        assert_eq!(output.status.code(), Some(124), "{verb:?}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{verb:?} took {:?}", begun.elapsed());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("no message was put or taken"), "{said}");
    }
}

#[test]
fn how_a_subscription_is_made_is_no_silent_wish_when_it_exists() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "g", "s", "--filter", "a/#"]);
    relay.text(0, &["put", "g", "x", "--subject", "a/b"]);
    relay.text(1, &["poll", "g", "--as", "s", "--filter", "b/#"]);
    relay.text(1, &["poll", "g", "--as", "s", "--shared"]);
    relay.text(1, &["poll", "g", "--as", "s", "--window", "7"]);
    relay.text(2, &["poll", "g", "--from", "beginning"]);
    let output = relay.run(&["poll", "g", "--as", "s", "--filter", "a/#", "--from", "now"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"x\n"[..]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it goes on where it is"));
    relay.text(3, &["poll", "g", "--as", "new", "--filter", "b/#", "--shared"]);
    relay.text(3, &["poll", "g", "--as", "new", "--filter", "b/#", "--shared"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    let relay = Relay::start();
    relay.text(0, &["group", "create", "g"]);
    relay.text(2, &["group", "set", "g", "--ttl", "1h", "--unset", "ttl"]);
    relay.text(2, &["group", "set", "g", "--ack-wait", "0s"]);
    relay.text(2, &["group", "set", "g", "--ttl", "0s"]);
    relay.text(2, &["put", "g", "gone at once", "--ttl", "0s"]);
    relay.text(2, &["bench", "put", "--rate", "5"]);
    let output = relay.run(&["put", "g"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("--file") && said.contains("--lines"), "{said}");
    let mut large = relay.command(&["put", "g", "--file", "-"]);
    let mut child = large.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let bytes = vec![b'x'; (64 << 20) + 1];
    // It stops reading one byte behind the bound.
    std::io::Write::write_all(&mut child.stdin.take().expect("asked for"), &bytes).ok();
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(65) && said.contains("standard input is larger"), "{said}");
}

#[test]
fn what_is_no_relay_is_told_as_such() {
    let run = |address: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["status", "--relay", address])
            .output()
            .expect("the command runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run("nonsense");
    assert!(code == Some(2) && said.contains("host:port"), "{said}");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a connection");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
        // Held until the client has read it.
        std::io::Read::read_to_end(&mut stream, &mut Vec::new()).ok();
    });
    let (code, said) = run(&address);
    assert!(code == Some(69) && said.contains("is not a treecast relay"), "{code:?} {said}");
    answer.join().expect("it ends");
}

#[test]
fn settings_are_set_and_unset_one_by_one() {
    let relay = Relay::start();
    relay.text(0, &["group", "create", "g", "--history-count", "10", "--backoff", "1s,5s"]);
    relay.text(0, &["group", "set", "g", "--ttl", "5m"]);
    let shown = relay.json(&["group", "set", "g", "--unset", "history-count"]);
    assert_eq!(shown["settings"]["ttl_ms"], 300_000);
    assert_eq!(shown["settings"]["backoff_ms"], serde_json::json!([1000, 5000]));
    assert!(shown["settings"]["history_count"].is_null());
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let relay = Relay::start();
    relay.text(0, &["queue", "create", "q"]);
    let lines = "x\n".repeat(20_000);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), lines).expect("written");
    relay.text(0, &["put", "q", "--lines", "--file", file.path().to_str().expect("text")]);
    let mut command = relay.command(&["notify", "q"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("asked for")).read_line(&mut line).expect("a line");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((line.as_str(), output.status.code()), ("x\n", Some(0)));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn benches_verify_what_they_move() {
    let relay = Relay::start();
    let modes: [&[&str]; 5] = [
        &["put", "--count", "2000", "--publishers", "2"],
        &["fanout", "--count", "500", "--subscriptions", "5"],
        &["drain", "--count", "500", "--subscriptions", "3"],
        &["latency", "--count", "50", "--rate", "500", "--size", "64B"],
        &["idle", "--subscriptions", "200", "--groups", "3"],
    ];
    for mode in modes {
        let words: Vec<&str> = ["bench"].iter().chain(mode).copied().collect();
        let found = relay.json(&words);
        for key in ["lost", "duplicated", "misordered"] {
            assert_eq!(found[key], 0, "{mode:?}: {found}");
        }
        assert!(found["puts_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{mode:?}: {found}");
        assert_eq!(found.as_object().map(serde_json::Map::len), Some(12));
    }
    assert_eq!(relay.text(0, &["group", "list"]), "", "the benches left groups behind");
}

#[test]
fn a_relay_is_bound_to_this_machine_unless_told_otherwise() {
    let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["relay", "--listen", "0.0.0.0:0", "--data", "/nonexistent/data"])
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--insecure"));
}

#[test]
fn a_relay_stops_on_a_signal_and_its_log_is_whole() {
    let mut relay = Relay::start();
    relay.text(0, &["put", "g", "x"]);
    let pid = relay.child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    assert!(killed.success());
    let begun = Instant::now();
    let status = relay.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let data = relay._data.path().join("data");
    let checked = relay.json(&["log", "check", data.to_str().expect("text")]);
    assert_eq!((&checked["clean"], &checked["damaged"]), (&Value::Bool(true), &Value::Bool(false)));
}

#[test]
fn a_directory_without_a_log_is_told_as_such() {
    let empty = tempfile::tempdir().expect("a directory for a test");
    for verb in ["check", "scrub", "dump"] {
        let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["log", verb])
            .arg(empty.path())
            .output()
            .expect("the command runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{said}");
        assert!(said.contains(&format!("no log in {}", empty.path().display())), "{said}");
    }
}

#[test]
fn a_directory_in_use_is_named() {
    let relay = Relay::start();
    let data = relay._data.path().join("data");
    let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["relay", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains(&data.display().to_string()) && said.contains("in use by process"), "{said}");
}

#[test]
fn up_starts_the_relays_of_a_file_and_stops_them() {
    let directory = tempfile::tempdir().expect("a directory for a test");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let file = directory.path().join("one.toml");
    let text = format!(
        "version = 1\n[relay.north]\naddress = \"127.0.0.1:{port}\"\ndata = \"north\"\n\
         [group.g]\nttl = \"5m\"\n[queue.jobs]\nhome = \"north\"\n"
    );
    std::fs::write(&file, text).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["up", "--output", "json"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("asked for")).read_line(&mut line).expect("a line");
    let said: Value = serde_json::from_str(&line).expect("one object");
    let address = said["address"].as_str().expect("an address").to_owned();
    let relay = said["process"].as_u64().expect("a process");
    let shown = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["group", "list", "--output", "json", "--relay", &address])
        .output()
        .expect("it runs");
    let shown = String::from_utf8(shown.stdout).expect("text");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{relay}")).exists(), "the relay is still there");
    assert!(shown.contains("\"ttl_ms\":300000") && shown.contains("\"kind\":\"queue\""), "{shown}");
}

#[test]
fn what_relays_log_carries_their_names() {
    let directory = tempfile::tempdir().expect("a directory for a test");
    let file = directory.path().join("two.toml");
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let ports = listeners.map(|listener| listener.local_addr().expect("an address").port());
    let relay = |name: &str, port: u16| {
        format!("[relay.{name}]\naddress = \"127.0.0.1:{port}\"\ndata = \"{name}\"\n")
    };
    let text = format!(
        "version = 1\n{}{}[[link]]\nbetween = [\"north\", \"south\"]\n",
        relay("north", ports[0]),
        relay("south", ports[1])
    );
    std::fs::write(&file, text).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["up", "--output", "json"])
        .arg(&file)
        .env("TREECAST_LOG", "nonsense")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("asked for")).read_line(&mut line).expect("a line");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for name in ["north: ", "south: "] {
        let own: Vec<&str> = said.lines().filter(|line| line.starts_with(name)).collect();
        assert!(own.iter().any(|line| line.contains("TREECAST_LOG cannot be used")), "{said}");
        assert!(own.iter().any(|line| line.contains("the log is open") && line.contains("boot=1")), "{said}");
        assert!(own.iter().any(|line| line.contains("the relay has stopped")), "{said}");
    }
}

#[test]
fn a_topology_file_with_faults_is_a_bad_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "version = 1\n[relay.a]\nadress = \"127.0.0.1:7411\"\n").expect("written");
    for verb in [&["topology", "check"][..], &["up"], &["relay", "--topology"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(verb)
            .arg(file.path())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{verb:?} said {said}");
        assert!(said.contains("address"), "{verb:?} said {said}");
    }
}

#[test]
fn the_power_cut_self_test_counts_what_it_did() {
    let output = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["log", "powercut", "--ops", "5", "--seed", "3", "--output", "json"])
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let done: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(done["steps"], 5);
    let (cuts, states) = (done["cuts"].as_u64().expect("a count"), done["states"].as_u64().expect("a count"));
    assert!(cuts > 5 && states == 6 * cuts, "{done}");
}

/// The address that is told is the one that it has, and not the one that was asked for.
#[test]
fn a_relay_that_others_can_reach_says_at_which_address() {
    let mut relay = Relay::start_at(&["--listen", "0.0.0.0:0", "--insecure"]);
    let port = relay.address.rsplit(':').next().expect("a port").to_owned();
    relay.address = format!("127.0.0.1:{port}");
    let warnings = relay.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains(&format!("anybody who reaches 0.0.0.0:{port} can read and put")), "{warnings}");
}

/// One spelling, and the former one goes on.
#[test]
fn how_long_others_may_take_is_a_deadline_everywhere() {
    let relay = Relay::start();
    for option in ["--deadline", "--within"] {
        relay.text(0, &["subscription", "create", "news", "me", option, "5s"]);
        let id = relay.text(0, &["put", "news", "hello"]);
        relay.text(0, &["where", id.trim_end(), option, "1s"]);
    }
}

#[test]
fn a_filter_with_a_wildcard_of_other_programs_is_doubted_and_made() {
    let relay = Relay::start();
    let made = relay.run(&["subscription", "create", "news", "me", "--filter", "eu/*"]);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success() && said.contains("did you mean `eu/+` (one level) or `eu/#`"), "{said}");
}

#[test]
fn a_log_from_which_no_relay_starts_is_told_as_damaged() {
    let mut relay = Relay::start();
    relay.text(0, &["put", "g", "x"]);
    let pid = relay.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    relay.child.wait().expect("it ends");
    let data = relay._data.path().join("data");
    let treecast = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
        command.args(words).arg(&data).stdin(Stdio::null()).output().expect("the command runs")
    };
    assert_eq!(treecast(&["log", "check"]).status.code(), Some(0), "it is whole");
    let mut flipped = 0;
    for entry in std::fs::read_dir(&data).expect("it is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "tcs") {
            let mut bytes = std::fs::read(&path).expect("it is read");
            bytes[40] ^= 1;
            std::fs::write(&path, bytes).expect("it is written");
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    let started = treecast(&["relay", "--listen", "127.0.0.1:0", "--until-input-ends", "--data"]);
    assert_ne!(started.status.code(), Some(0), "no relay starts from it");
    for command in ["check", "scrub"] {
        let checked = treecast(&["log", command]);
        assert_eq!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// Kills it without a word.
fn kill(relay: &mut Relay) {
    relay.child.kill().expect("it runs");
    relay.child.wait().expect("it ends");
}

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a command has written this to standard error, or has written nothing for long; gives what it wrote.
fn until_said(stderr: impl std::io::Read + Send + 'static, what: &str) -> String {
    let (send, lines) = std::sync::mpsc::channel();
    // It ends with the command.
    std::thread::spawn(move || BufReader::new(stderr).lines().try_for_each(|line| send.send(line)));
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        said += &line.expect("text");
        said.push('\n');
        if said.contains(what) {
            return said;
        }
    }
    panic!("`{what}` was not said: {said}");
}

#[test]
fn who_waits_for_messages_is_told_that_the_relay_is_away_and_why_nothing_came() {
    let mut relay = Relay::start();
    relay.text(0, &["subscription", "create", "news", "me"]);
    let pipe = |words: &[&str]| {
        relay.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command runs")
    };
    let get = pipe(&["get", "news", "--as", "me", "--wait", "5s"]);
    let mut notify = pipe(&["notify", "news", "--as", "other"]);
    let mut put = relay.command(&["put", "news", "--lines", "--deadline", "4s"]);
    let mut put = put.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
    std::thread::sleep(Duration::from_millis(1_000));
    kill(&mut relay);
    let mut lines = put.stdin.take().expect("it was asked for");
    std::io::Write::write_all(&mut lines, b"one\n").expect("it reads");
    drop(lines);
    let stderr = notify.stderr.take().expect("it was asked for");
    let away = "cannot be reached: Connection refused";
    until_said(stderr, &format!("relay {} {away}", relay.address));
    notify.kill().expect("it runs");
    notify.wait().expect("it ends");
    for ended in [get.wait_with_output(), put.wait_with_output()] {
        let ended = ended.expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(69), "{said}");
        assert_eq!(said.matches("it is tried again").count(), 1, "{said}");
        assert!(!said.contains("it may still"), "nothing was sent: {said}");
        let last = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(last.contains(away), "{said}");
    }
}

#[test]
fn who_waits_for_messages_is_told_when_the_relay_is_back() {
    let mut relay = Relay::start();
    relay.text(0, &["subscription", "create", "news", "me"]);
    let mut notify = relay.command(&["notify", "news", "--as", "me"]);
    let mut notify = notify.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command runs");
    std::thread::sleep(Duration::from_millis(500));
    kill(&mut relay);
    std::thread::sleep(Duration::from_millis(1_800));
    relay.start_again();
    let said = until_said(notify.stderr.take().expect("it was asked for"), "relay local is there again");
    assert_eq!(said.lines().count(), 2, "{said}");
    notify.kill().expect("it runs");
    notify.wait().expect("it ends");
}

#[test]
fn an_address_to_join_at_that_is_none_is_refused_before_anything_is_made() {
    let data = tempfile::tempdir().expect("a directory for a test");
    let data = data.path().join("data");
    let begun = Instant::now();
    let joined = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["relay", "--name", "g", "--join", "127.0.0.1", "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&joined.stderr).into_owned();
    assert_eq!(joined.status.code(), Some(2), "{said}");
    assert!(said.contains("write host:port, like 127.0.0.1:7411, in --join"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10) && !data.exists());
}

#[test]
fn a_variable_that_is_empty_names_no_relay_and_forbids_none() {
    let relay = Relay::start();
    let status = |variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
        let command = command.args(["relay", "list"]).env("TREECAST_RELAY", variable);
        command.stdin(Stdio::null()).output().expect("the command runs")
    };
    assert_eq!(status(&relay.address).status.code(), Some(0));
    // Whether one runs at the usual address is not this test's to say.
    assert_ne!(status("").status.code(), Some(2), "{}", String::from_utf8_lossy(&status("").stderr));
    // Who names one has said nothing by an empty word, like "$UNSET": no other relay is asked in its place.
    for words in [
        ["--relay", "", "relay", "list"],
        ["relay", "list", "--relay", ""],
        ["relay", "--relay=", "list", "--output=json"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
        let command = command.args(words).env("TREECAST_RELAY", "").stdin(Stdio::null());
        let named = command.output().expect("the command runs");
        let said = String::from_utf8_lossy(&named.stderr).into_owned();
        assert!(named.status.code() == Some(2) && said.contains("`` is no address of a relay"), "{said}");
    }
}

#[test]
fn a_subscription_of_which_not_all_know_in_time_is_made_and_shown() {
    let files = tempfile::tempdir().expect("a directory for a test");
    let file = files.path().join("two.toml");
    let text = "version = 1\n[relay.a]\naddress = \"127.0.0.1:1\"\n[relay.b]\naddress = \"127.0.0.1:2\"\n\
                [[link]]\nbetween = [\"a\", \"b\"]\n";
    std::fs::write(&file, text).expect("it is written");
    let file = file.to_str().expect("text");
    let relay = Relay::start_at(&["--listen", "127.0.0.1:0", "--topology", file, "--name", "a"]);
    let strict = ["subscription", "create", "str", "s", "--level", "strict", "--deadline", "300ms"];
    let shown = relay.text(124, &[&strict[..], &["--output", "json"]].concat());
    let shown: Value = serde_json::from_str(&shown).expect("one object");
    assert_eq!((&shown["subscription"], &shown["home"]), (&"s".into(), &"a".into()));
}

/// Stands before a relay for one connection, and cuts that when these bytes have come by, which it hands on; what
/// the relay says of them it keeps to itself. From then on nobody listens there any more.
fn cut_behind(relay: &Relay, mark: &'static [u8]) -> (String, std::thread::JoinHandle<()>) {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let to = relay.address.clone();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("somebody comes");
        drop(listener);
        let mut relay = TcpStream::connect(to).expect("the relay is there");
        let is_cut = std::sync::Arc::new(AtomicBool::new(false));
        let (mut from_relay, mut to_client) =
            (relay.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
        let is_quiet = std::sync::Arc::clone(&is_cut);
        let down = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = from_relay.read(&mut part) {
                if !is_quiet.load(Ordering::SeqCst) {
                    to_client.write_all(&part[..count]).ok();
                }
            }
        });
        let (mut part, mut seen) = ([0; 4096], Vec::new());
        while let Ok(count @ 1..) = client.read(&mut part) {
            seen.extend_from_slice(&part[..count]);
            is_cut.store(seen.windows(mark.len()).any(|found| found == mark), Ordering::SeqCst);
            relay.write_all(&part[..count]).expect("the relay is there");
            if is_cut.load(Ordering::SeqCst) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        client.shutdown(Shutdown::Both).ok();
        relay.shutdown(Shutdown::Both).ok();
        down.join().expect("no panic");
    });
    (address, thread)
}

#[test]
fn a_put_that_was_sent_and_has_no_answer_is_told_to_be_perhaps_there() {
    let relay = Relay::start();
    relay.text(0, &["subscription", "create", "g", "s"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "one\nsent and unanswered\n").expect("written");
    let path = file.path().to_str().expect("text");
    let verbs: [&[&str]; 2] = [
        &["put", "g", "sent and unanswered", "--deadline", "2s"],
        &["put", "g", "--lines", "--file", path, "--deadline", "2s"],
    ];
    for verb in verbs {
        let (address, cut) = cut_behind(&relay, b"sent and unanswered");
        let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
        let put = command.args(verb).args(["--relay", &address]).stdin(Stdio::null()).output();
        let put = put.expect("the command runs");
        cut.join().expect("no panic");
        let said = String::from_utf8_lossy(&put.stderr).into_owned();
        assert_eq!(put.status.code(), Some(69), "{said}");
        assert!(said.contains("not confirmed") && said.contains("it may still come to be"), "{said}");
        let got = relay.text(0, &["poll", "g", "--as", "s", "-n", "10"]);
        assert!(got.contains("sent and unanswered"), "it is there: {got}");
    }
    // What was never sent is not there, and nobody says so.
    let unsent = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["put", "g", "unsent", "--deadline", "300ms", "--relay", "127.0.0.1:1"])
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&unsent.stderr).into_owned();
    assert_eq!(unsent.status.code(), Some(69), "{said}");
    assert!(!said.contains("it may still"), "{said}");
}

/// Puts a line and one that is too long while the relay is away; it comes back, or not.
fn put_bad_line(relay: &mut Relay, deadline: &str, is_back: bool) -> (Option<i32>, String) {
    let mut put = relay.command(&["put", "news", "--lines", "--deadline", deadline]);
    let mut put = put.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
    std::thread::sleep(Duration::from_millis(800));
    kill(relay);
    let mut lines = put.stdin.take().expect("it was asked for");
    std::io::Write::write_all(&mut lines, b"one\n").expect("it reads");
    std::thread::sleep(Duration::from_millis(200));
    let too_long = vec![b'x'; treecast::limits::MESSAGE_BYTES_MAX as usize + 1];
    // It reads no further than it must.
    std::io::Write::write_all(&mut lines, &too_long).ok();
    std::thread::sleep(Duration::from_millis(500));
    if is_back {
        relay.start_again();
    }
    let put = put.wait_with_output().expect("it ends");
    (put.status.code(), String::from_utf8_lossy(&put.stderr).into_owned())
}

#[test]
fn what_was_taken_before_a_bad_line_is_stored_though_the_relay_starts_again_meanwhile() {
    let mut relay = Relay::start();
    relay.text(0, &["subscription", "create", "news", "me"]);
    let (code, said) = put_bad_line(&mut relay, "20s", true);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("stored before that: 1 line\n") && !said.contains("it may still"), "{said}");
    assert_eq!(relay.text(0, &["poll", "news", "--as", "me"]), "one\n");
    let (code, said) = put_bad_line(&mut relay, "1s", false);
    assert_eq!(code, Some(69), "{said}");
    for told in
        ["error: line 2 of standard input is longer", "stored before that: 0 lines", "cannot be reached"]
    {
        assert!(said.contains(told), "{said}");
    }
}
