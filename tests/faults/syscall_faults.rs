//! System calls of the real program that fail, are late, or are its last.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::client::{Connection, GROUP, Inbox, Put};
use super::load::{
    KEPT, Load, READ, Shape, check_kept, create_kept, finish, loaded, read_rest, settle, wait_for,
};
use super::oracle::{Event, History};
use super::process::skip;
use super::process::{PATIENCE, RelayProcess, Start, say};
use super::proxy::Proxy;
use super::random::Random;
use super::tracer::{Tracer, available, under};

/// What writes, syncs, makes, renames and removes.
const WRITING: [&str; 6] = ["pwritev", "fdatasync", "fsync", "/^rename", "unlinkat", "ftruncate"];

/// Starts the relay again behind the same proxy.
fn again(data: &Path, proxy: &Proxy) -> RelayProcess {
    let relay = Start::new(data).start();
    proxy.lead_to(&relay.address);
    relay
}

/// Killed at the calls of its start, in the first rounds at the first of each kind, and at those
/// under load.
async fn kill_at_calls(seed: u64, rounds: u64) {
    let data = tempfile::tempdir().expect("a directory");
    let (mut relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut random = Random::new(seed);
    let kinds = WRITING.len() as u64;
    for round in 0..rounds {
        let calls = WRITING[(round % kinds) as usize];
        relay.kill();
        let when = if round < kinds { 1 } else { random.within(1..5) };
        let inject = format!("{calls}:signal=KILL:when={when}");
        match under(Start::new(data.path()), &inject).try_start() {
            Err(ended) => assert_eq!(ended.status.signal(), Some(9), "{ended:?}"),
            Ok(started) => {
                assert!(when > 1, "a start gets by without {calls}");
                proxy.lead_to(&started.address);
                tokio::time::sleep(Duration::from_millis(random.within(1..60))).await;
                started.kill();
            }
        }
        relay = again(data.path(), &proxy);
        load.progress(20).await;
        let calls = ["pwritev", "fdatasync"][(round % 2) as usize];
        let _tracer = Tracer::attach(&relay, &format!("{calls}:signal=KILL:when={}", random.within(1..40)));
        relay.wait_ended();
        relay = again(data.path(), &proxy);
        load.progress(20).await;
    }
    load.progress(100).await;
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_killed_at_system_calls_it_loses_nothing_acked() {
    if let Err(why) = available() {
        return skip("f02", &why);
    }
    kill_at_calls(2, WRITING.len() as u64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn f02_killed_at_many_system_calls() {
    if let Err(why) = available() {
        return skip("f02", &why);
    }
    for seed in 200..205 {
        kill_at_calls(seed, 12).await;
    }
}

/// All that an application does, once; it ends where the relay does.
async fn script(address: &str, history: &History) -> Result<(), String> {
    let connection = Connection::open_once(address).await?;
    for name in [READ, KEPT] {
        connection.create_in(GROUP, name).await?;
    }
    let mut publisher = connection.publisher_in(GROUP, 1, 100).await?;
    for _ in 0..5 {
        history.note(Event::Put(publisher.next()));
        match publisher.put().await?.answer().await {
            (id, Put::Answered) => history.note(Event::Answered(id)),
            (_, other) => return Err(format!("{other:?}")),
        }
    }
    let mut inbox = connection.inbox(GROUP, READ).await?;
    let (id, message) = inbox.next().await?;
    history.note(Event::Delivered(id));
    message.ack();
    inbox.sync().await?;
    history.note(Event::Synced);
    Ok(())
}

/// From where on a script's calls are counted.
#[derive(Clone, Copy, Debug)]
enum From {
    /// Those of the start too.
    Start,
    /// When the relay has nothing to do of its own. Calls are counted per thread, and the one that
    /// makes the spare segments comes to any number first.
    Rest,
}

/// Runs the script with a relay that is killed, or is not; then everything must be there. True: it was.
async fn killed_in_script(from: From, inject: &str) -> bool {
    let data = tempfile::tempdir().expect("a directory");
    let history = History::default();
    let started = match from {
        From::Start => under(Start::new(data.path()), inject).try_start().map(|relay| (relay, None)),
        From::Rest => {
            let relay = Start::new(data.path()).start();
            settle(&relay.address).await;
            let tracer = Tracer::attach(&relay, inject);
            Ok((relay, Some(tracer)))
        }
    };
    let ended = match started {
        Err(ended) => ended,
        Ok((relay, _tracer)) => {
            let done = script(&relay.address, &history).await;
            let ended = relay.stop();
            assert!(done.is_ok() || !ended.status.success(), "{inject}: {done:?}");
            ended
        }
    };
    let killed = ended.status.signal() == Some(9);
    assert!(killed || ended.status.success(), "{inject}: {ended:?}");
    history.note(Event::Broke);
    let relay = Start::new(data.path()).start();
    check_kept(&relay.address, &history).await;
    read_rest(&relay.address, READ, &history).await;
    relay.stop().expect_code(0);
    killed
}

/// The script is a fresh start, two subscriptions, five puts, a delivery, an ack and a stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn f02_killed_at_each_call_of_a_script() {
    if let Err(why) = available() {
        return skip("f02", &why);
    }
    let from_start = WRITING.into_iter().chain(["openat", "fallocate"]).map(|calls| (From::Start, calls));
    let from_rest = ["pwritev", "fdatasync"].map(|calls| (From::Rest, calls));
    for (from, calls) in from_rest.into_iter().chain(from_start) {
        let (mut when, mut kills) = (1, 0);
        while killed_in_script(from, &format!("{calls}:signal=KILL:when={when}")).await {
            kills += 1;
            // Later calls of one thread fill files with zeros, piece by piece.
            when += 1 + when / 16;
        }
        assert!(kills > 0, "the script gets by without {calls}");
        say(&format!("f02: from {from:?} killed at {kills} of the calls {calls}, the last before {when}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_killed_at_each_step_of_a_snapshot_it_loses_nothing_acked() {
    if let Err(why) = available() {
        return skip("f10", &why);
    }
    let data = tempfile::tempdir().expect("a directory");
    let (mut relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut killed = 0;
    // The last thing of a clean stop: made, written, synced, renamed, the directory synced, old ones removed.
    for calls in ["openat", "pwritev", "fdatasync", "/^rename", "fsync", "unlinkat"] {
        for when in 1..=2 {
            let _tracer = Tracer::attach(&relay, &format!("{calls}:signal=KILL:when={when}"));
            relay.signal(Signal::TERM);
            killed += u32::from(!relay.wait_ended().status.success());
            relay = again(data.path(), &proxy);
            load.progress(20).await;
        }
    }
    assert!(killed >= 8, "it was killed at {killed} steps only");
    load.progress(100).await;
    finish(relay, load).await;
}

/// A call fails once or for good; the relay stops, says why, and has answered nothing that
/// depends on it.
async fn stops_unanswered(inject: &str, words: &str) {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    create_kept(&relay.address).await;
    let proxy = Proxy::start(&relay.address).await;
    let connection = Connection::open(&proxy.address).await;
    let mut publisher = connection.publisher(1, 100).await;
    let history = History::default();
    for _ in 0..3 {
        history.note(Event::Put(publisher.next()));
        let (id, put) = publisher.put().await.expect("a ticket").answer().await;
        assert_eq!(put, Put::Answered);
        history.note(Event::Answered(id));
    }
    settle(&relay.address).await;
    let tracer = Tracer::attach(&relay, inject);
    history.note(Event::Put(publisher.next()));
    let ticket = publisher.put().await.expect("a ticket");
    relay.wait_ended().expect_code(1).expect_said(words);
    assert!(tracer.injected() > 0, "{inject} did not happen");
    let mut answer = Box::pin(ticket.answer());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
    assert!(early.is_err(), "{inject}: a put was answered by a relay that could not write: {early:?}");
    let relay = again(data.path(), &proxy);
    let (id, put) = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
    assert_eq!(put, Put::Answered, "{inject}: the retry is taken");
    history.note(Event::Answered(id));
    check_kept(&relay.address, &history).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_sync_that_fails_stops_the_relay_before_it_answers() {
    if let Err(why) = available() {
        return skip("f15", &why);
    }
    stops_unanswered("fdatasync:error=EIO:when=1", "cannot sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_write_that_fails_stops_the_relay_before_it_answers() {
    if let Err(why) = available() {
        return skip("f17", &why);
    }
    for error in ["EIO", "EAGAIN", "ENOSPC"] {
        stops_unanswered(&format!("pwritev:error={error}:when=1"), "cannot write").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_calls_that_are_interrupted_are_done_again() {
    if let Err(why) = available() {
        return skip("f17", &why);
    }
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    for inject in ["pwritev:error=EINTR:when=1+3", "fdatasync:error=EINTR:when=1+3"] {
        let tracer = Tracer::attach(&relay, inject);
        load.progress(100).await;
        assert!(tracer.detach() > 3, "{inject} did not happen");
    }
    load.progress(100).await;
    finish(relay, load).await;
}

/// Whatever the system says why no file can be made or laid out: a full disk, a quota of the
/// user, a full table of open files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_f21_f22_files_that_cannot_be_made_refuse_puts_until_they_can() {
    if let Err(why) = available() {
        return skip("f20 f21 f22", &why);
    }
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    create_kept(&relay.address).await;
    let shape = Shape { bytes: 64 * 1024, ..Shape::default() };
    let load = Load::start(&relay.address, shape).await;
    load.progress(50).await;
    for (calls, error) in ["openat", "fallocate"]
        .into_iter()
        .flat_map(|calls| ["ENOSPC", "EDQUOT", "ENFILE"].map(|error| (calls, error)))
    {
        let refused = load.history.refused();
        let tracer = Tracer::attach(&relay, &format!("{calls}:error={error}"));
        let what = format!("puts are refused where {calls} says {error}");
        wait_for(&what, async || load.history.refused() >= refused + 20).await;
        serves_without_files(&relay.address, &format!("{calls}-{error}")).await;
        let status = Connection::open(&relay.address).await.status().await.expect("it answers");
        let why = status.accepting.expect_err("it takes nothing");
        assert!(why.starts_with("no segment can be made, though "), "{calls} says {error}: {why}");
        assert!(tracer.detach() > 0, "{calls} was not called");
        load.progress(50).await;
    }
    finish(relay, load).await;
}

/// A subscription is made, read, acked and removed.
async fn serves_without_files(address: &str, name: &str) {
    let mut inbox = Inbox::open(address, name).await.expect("a subscription is made");
    let (_, message) = inbox.next().await.expect("it is delivered");
    message.ack();
    inbox.sync().await.expect("acks are durable");
    drop(inbox);
    Connection::open(address).await.remove(name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_while_nobody_can_be_accepted_those_who_are_connected_are_served() {
    if let Err(why) = available() {
        return skip("f22", &why);
    }
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    for error in ["ENFILE", "EMFILE", "ENOMEM"] {
        let tracer = Tracer::attach(&relay, &format!("accept4:error={error}"));
        let address = relay.address.clone();
        let newcomer = tokio::spawn(async move { Connection::open(&address).await.status().await });
        wait_for("it cannot be accepted", async || tracer.injected() >= 3).await;
        load.progress(100).await;
        assert!(!newcomer.is_finished(), "somebody was accepted in spite of {error}");
        tracer.detach();
        let served = tokio::time::timeout(PATIENCE, newcomer).await.expect("it accepts again");
        served.expect("no panic").expect("it answers");
    }
    relay.wait_said("cannot accept connections");
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_snapshot_that_cannot_be_renamed_costs_only_time() {
    if let Err(why) = available() {
        return skip("f20", &why);
    }
    let data = tempfile::tempdir().expect("a directory");
    let (relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let _tracer = Tracer::attach(&relay, "/^rename:error=ENOSPC");
    relay.stop().expect_said("no snapshot was written");
    let relay = again(data.path(), &proxy);
    load.progress(100).await;
    finish(relay, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_while_the_disk_is_slow_the_relay_answers_what_needs_no_disk() {
    if let Err(why) = available() {
        return skip("f37", &why);
    }
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let connection = Connection::open(&relay.address).await;
    let slow = Tracer::attach(&relay, "fdatasync:delay_enter=200000");
    wait_for("syncs are late", async || slow.injected() >= 3).await;
    load.progress(50).await;
    slow.detach();
    let stalled = Tracer::attach(&relay, "fdatasync:delay_enter=3000000");
    // One sync lasts longer than all of this.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = load.history.answered();
    let mut answers = 0;
    let all = async {
        while answers < 50 {
            connection.status().await.expect("it answers");
            answers += 1;
        }
    };
    let is_late = tokio::time::timeout(Duration::from_secs(2), all).await.is_err();
    assert!(!is_late, "only {answers} of 50 answers came while the disk stands still");
    assert_eq!(load.history.answered(), before, "a put is answered before its sync has returned");
    wait_for("the sync has returned, late", async || stalled.injected() > 0).await;
    stalled.detach();
    load.progress(100).await;
    finish(relay, load).await;
}
