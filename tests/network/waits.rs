//! Who waits at a relay while something is away: verbs end when they are to, and say why they wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::commands::{Running, command, good, json, run};
use super::site::Network;
use super::traffic::{PATIENCE, wait_for};

/// a – b, and the subscriptions of `news` that live at b and are known at a.
async fn pair(names: &[&str]) -> (Network, String, String) {
    let network = Network::line(2).await;
    for place in 0..2 {
        network.wait_links(place, 1).await;
    }
    let (a, b) = (network.address(0).to_owned(), network.address(1).to_owned());
    for name in names {
        good(&b, &["subscription", "create", "news", name]);
        wait_for("it is known", async || good(&a, &["locate", "news"]).contains(name)).await;
    }
    (network, a, b)
}

fn start(address: &str, words: &[&str]) -> Running {
    let mut command = command(address, words);
    Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// The next line that a command writes to its output.
fn next_line(child: &mut Child) -> String {
    let mut line = String::new();
    // Byte by byte: what comes behind it is for the next one.
    let output = child.stdout.as_mut().expect("it was asked for");
    while !line.ends_with('\n') {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).expect("it is read"), 1, "it ended behind `{line}`");
        line.push(char::from(byte[0]));
    }
    line
}

/// What a command ends with, what it had said, and after how long.
fn end(mut child: Running, begun: Instant) -> (Option<i32>, String, Duration) {
    let code = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status.code();
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    let took = begun.elapsed();
    let mut said = String::new();
    child.stderr.take().expect("it was asked for").read_to_string(&mut said).expect("text");
    (code, said, took)
}

/// What a command writes to standard error, line by line.
struct Said(Receiver<String>);

impl Said {
    fn follow(child: &mut Child) -> Self {
        let (send, lines) = std::sync::mpsc::channel();
        let stderr = child.stderr.take().expect("it was asked for");
        // It ends with the command.
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Self(lines)
    }

    /// The next line; nothing when it has ended.
    fn next(&self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing is said"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_ends_with_its_wait_though_what_it_took_cannot_be_acked_any_more() {
    // The home goes, then the relay that was asked.
    for (gone, code) in [(1, 75), (0, 69)] {
        let (mut network, a, _) = pair(&["me"]).await;
        good(&a, &["put", "news", "one"]);
        let begun = Instant::now();
        let mut get = start(&a, &["get", "news", "--as", "me", "-n", "10", "--wait", "4s"]);
        assert_eq!(next_line(&mut get), "one\n");
        // The ack of the first is confirmed to nobody, that of the second cannot even be said.
        network.kill(gone);
        let (ended, said, took) = end(get, begun);
        assert_eq!(ended, Some(code), "{said}");
        assert!(took < Duration::from_secs(8), "{took:?}: {said}");
        assert!(said.contains("may come again"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_goes_on_behind_what_a_subscription_has_brought_along() {
    let (_network, a, b) = pair(&["asked-at-its-home", "asked-elsewhere"]).await;
    good(&b, &["put", "news", "one"]);
    good(&b, &["put", "news", "two"]);
    for (name, at) in [("asked-at-its-home", &a), ("asked-elsewhere", &b)] {
        good(&b, &["subscription", "move", "news", name, "a"]);
        let shown = || run(&b, &["subscription", "show", "news", name, "--output", "json"]).output;
        wait_for("it has moved", async || shown().contains("\"home\":\"a\"")).await;
        let polled = run(at, &["poll", "news", "--as", name, "--existing", "-n", "5"]);
        assert_eq!((polled.code, polled.output.as_str()), (Some(0), "one\ntwo\n"), "{name}: {polled:?}");
        assert!(polled.said.is_empty(), "{name}: {polled:?}");
        assert_eq!(run(at, &["poll", "news", "--as", name, "--existing", "-n", "5"]).code, Some(3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_at_a_relay_that_is_being_drained_is_sent_away_at_once() {
    let (_network, a, b) = pair(&["me"]).await;
    let begun = Instant::now();
    let mut lines = start(&a, &["put", "news", "--lines"]);
    let mut input = lines.stdin.take().expect("it was asked for");
    input.write_all(b"one\n").expect("it reads");
    wait_for("it is there", async || run(&b, &["poll", "news", "--as", "me"]).output == "one\n").await;
    good(&a, &["relay", "drain", "a"]);
    let refused = Instant::now();
    let put = start(&a, &["put", "news", "two"]);
    let (code, said, took) = end(put, refused);
    assert_eq!(code, Some(75), "{said}");
    assert!(took < Duration::from_secs(5), "{took:?}: {said}");
    assert!(said.starts_with("error: a is being drained: go to another relay, like b at "), "{said}");
    input.write_all(b"three\n").expect("it reads");
    // Its input does not end.
    let (code, said, took) = end(lines, begun);
    assert_eq!(code, Some(75), "{said}");
    assert!(took < Duration::from_secs(15), "{took:?}: {said}");
    assert!(said.contains("a is being drained: go to another relay, like b at "), "{said}");
    assert!(said.contains("stored before that: 1 line\n") && !said.contains("there again"), "{said}");
    assert!(!said.contains("not confirmed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_receives_is_told_that_the_home_is_away_and_sent_away_from_a_relay_that_is_drained() {
    let (mut network, a, b) = pair(&["me"]).await;
    let mut notify = start(&a, &["notify", "news", "--as", "me"]);
    good(&b, &["put", "news", "one"]);
    assert_eq!(next_line(&mut notify), "one\n");
    let stderr = Said::follow(&mut notify);
    network.kill(1);
    let said = stderr.next().unwrap_or_default();
    assert!(
        said.contains("lives at relay b, which cannot be reached from here now; it is tried again"),
        "{said}"
    );
    network.begin(1);
    assert_eq!(stderr.next().as_deref(), Some("it goes on"));
    good(&b, &["put", "news", "two"]);
    while next_line(&mut notify) != "two\n" {}
    // All that it had is at b too; nobody else is at a.
    let begun = Instant::now();
    good(&a, &["relay", "drain", "a"]);
    // The ack of the last may be on its way still, which is said too.
    let said: Vec<String> = std::iter::from_fn(|| stderr.next()).collect();
    let last = said.last().map(String::as_str).unwrap_or_default();
    assert!(last.starts_with("error: a is being drained: go to another relay, like b at "), "{said:?}");
    assert_eq!(notify.wait().expect("it ends").code(), Some(75));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    wait_for("nobody is there any more", async || json(&a, &["relay", "drain", "a"])["sessions"] == 0).await;
    assert_eq!(json(&a, &["relay", "drain", "a"])["may_go"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_to_receive_while_the_home_is_away_waits_for_it_as_long_as_for_messages() {
    let (mut network, a, b) = pair(&["me"]).await;
    good(&b, &["put", "news", "one"]);
    network.kill(1);
    let begun = Instant::now();
    let waited = run(&a, &["get", "news", "--as", "me", "--existing", "--wait", "4s"]);
    assert_eq!(waited.code, Some(75), "{waited:?}");
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}: {waited:?}", begun.elapsed());
    let asked = Instant::now();
    assert_eq!(run(&a, &["poll", "news", "--as", "me", "--existing"]).code, Some(75), "it does not wait");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    let mut notify = start(&a, &["notify", "news", "--as", "me", "-n", "1"]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    network.begin(1);
    assert_eq!(next_line(&mut notify), "one\n");
    assert!(notify.wait().expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_at_work_when_its_relay_is_drained_comes_to_its_end() {
    let (network, a, b) = pair(&["me"]).await;
    let (begun, done) = (network.directory.path().join("begun"), network.directory.path().join("done"));
    let script = format!("touch {}; sleep 3; touch {}", begun.display(), done.display());
    good(&b, &["put", "news", "one"]);
    let notify = start(&a, &["notify", "news", "--as", "me", "--exec", &script]);
    wait_for("it is at work", async || begun.exists()).await;
    good(&a, &["relay", "drain", "a"]);
    assert!(!done.exists(), "it is at work still");
    let (code, said, _) = end(notify, Instant::now());
    assert_eq!(code, Some(75), "{said}");
    assert!(done.exists() && said.contains("a is being drained: go to another relay"), "{said}");
}
