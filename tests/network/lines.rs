//! Lines that are put: how many of them are there is told as it is, whatever ends them.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use super::commands::{Done, command, good, run};
use super::site::Network;
use super::traffic::{read_at, wait_for};

/// Puts lines that come one after the other, with pauses in which the relay says what it has to say.
async fn put_slowly(at: &str, lines: usize) -> Done {
    let mut put = command(at, &["put", "load", "--lines", "--deadline", "1s"]);
    put.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut put = put.spawn().expect("the command runs");
    let mut input = put.stdin.take().expect("it is piped");
    for line in 0..lines {
        tokio::time::sleep(Duration::from_millis(400)).await;
        // Who has ended reads no more.
        writeln!(input, "slow {line}").ok();
    }
    drop(input);
    let output = put.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Done { code: output.status.code(), output: text(output.stdout), said: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_a_relay_does_not_take_are_not_said_to_be_put_however_slowly_they_come() {
    let network = Network::line(2).await;
    let at: Vec<String> = (0..2).map(|place| network.address(place).to_owned()).collect();
    good(&at[0], &["subscription", "create", "load", &read_at(0)]);
    wait_for("b takes lines", async || put_slowly(&at[1], 1).await.code == Some(0)).await;
    good(&at[1], &["relay", "drain"]);
    let refused = put_slowly(&at[1], 3).await;
    assert_eq!(refused.code, Some(75), "{refused:?}");
    assert!(refused.said.contains("stored before that: 0 lines"), "{refused:?}");
    assert!(refused.said.contains("is being drained"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_do_not_come_as_far_as_was_asked_are_stored_all_the_same() {
    let mut network = Network::line(2).await;
    let at: Vec<String> = (0..2).map(|place| network.address(place).to_owned()).collect();
    for (place, address) in at.iter().enumerate() {
        good(address, &["subscription", "create", "load", &read_at(place)]);
    }
    network.kill(1);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "1\n2\n3\n4\n5\n").expect("written");
    let path = file.path().to_str().expect("text");
    let put =
        |ack| run(&at[0], &["put", "load", "--lines", "--file", path, "--ack", ack, "--deadline", "1s"]);
    let late = put("inserted");
    assert_eq!(late.code, Some(124), "{late:?}");
    assert!(late.said.contains("stored before that: 5 lines"), "{late:?}");
    assert!(late.said.contains("the relay has them on its disk"), "{late:?}");
    let impossible = put("stored=9");
    assert_eq!(impossible.code, Some(75), "{impossible:?}");
    assert!(impossible.said.contains("stored before that: 5 lines"), "{impossible:?}");
    assert!(impossible.said.contains("treecast group tree"), "{impossible:?}");
    let got = good(&at[0], &["poll", "load", "--as", &read_at(0), "-n", "20"]);
    assert_eq!(got, "1\n2\n3\n4\n5\n".repeat(2));
}
