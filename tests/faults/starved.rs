//! Too little of the machine: processors taken by others, memory bounded.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::bulk::{Bulk, EACH};
use super::client::{Connection, Publisher, Put};
use super::commands::Running;
use super::load::{Load, Shape, check_kept, create_kept, wait_for};
use super::oracle::{Event, History};
use super::process::skip;
use super::process::{RelayProcess, Start, say};

/// A process that does nothing but compute.
fn hog() -> Running {
    Running::start(Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()))
}

/// Puts one message after another, and gives how long the slowest in a hundred took.
async fn commit_p99(address: &str, producer: u32, puts: u32, history: &History) -> Duration {
    let connection = Connection::open(address).await;
    let mut publisher = connection.publisher(producer, 100).await;
    p99(put_one_by_one(&mut publisher, puts, history).await)
}

/// Of all these, what only one in a hundred is longer than.
pub(crate) fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Puts one message after another, and gives how long each took.
pub(crate) async fn put_one_by_one(publisher: &mut Publisher, puts: u32, history: &History) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..puts {
        let begun = Instant::now();
        history.note(Event::Put(publisher.next()));
        let (id, put) = publisher.put().await.expect("a ticket").answer().await;
        assert_eq!(put, Put::Answered);
        history.note(Event::Answered(id));
        took.push(begun.elapsed());
    }
    took
}

/// How long a put may take that is disturbed, when it takes `alone` otherwise.
pub(crate) fn bearable(alone: Duration) -> Duration {
    alone.max(Duration::from_millis(10)) * 20
}

/// What a program of ours may be niced to: whether it can have the priority that a relay wants.
fn may_raise_priority() -> bool {
    let nice = Command::new("nice").args(["-n", "-10", "nice"]).output();
    nice.is_ok_and(|nice| nice.stdout.starts_with(b"-10"))
}

/// How nice the thread of a relay with this name is, as the system says it; nothing if there is none yet.
fn nice_of(relay: &RelayProcess, thread: &str) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", relay.pid().as_raw_nonzero()));
    tasks.expect("it runs").flatten().find_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, fields) = stat.rsplit_once(')')?;
        // The 19th of all, counted from 1.
        let nice = || fields.split_whitespace().nth(16)?.parse().ok();
        name.ends_with(thread).then(nice).flatten()
    })
}

#[tokio::test]
async fn f36_the_thread_that_commits_goes_before_others_where_the_machine_permits_it() {
    if !may_raise_priority() {
        return skip("f36", "no priority can be raised here");
    }
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    // A thread names itself, and takes its priority, soon after it was started.
    let others = nice_of(&relay, "treecast").expect("the first thread is there");
    wait_for("log-commit goes before others", async || {
        nice_of(&relay, "log-commit").is_some_and(|nice| nice < others)
    })
    .await;
    relay.stop().expect_code(0);
}

/// Longer than a commit takes on any disk that one would use.
const COMMIT_MAX: Duration = Duration::from_millis(100);

/// The bound is generous, as other tests run beside: what is asserted is that commits go on,
/// and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f36_with_all_processors_taken_commits_go_on() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    create_kept(&relay.address).await;
    let history = History::default();
    // A few first: were each of them late, all would take minutes.
    let connection = Connection::open(&relay.address).await;
    let mut took = put_one_by_one(&mut connection.publisher(3, 100).await, 21, &history).await;
    took.sort_unstable();
    assert!(took[10] < COMMIT_MAX, "a put takes {:?} with nobody else there", took[10]);
    let alone = commit_p99(&relay.address, 1, 300, &history).await;
    let hogs = [hog(), hog()];
    let beside = commit_p99(&relay.address, 2, 300, &history).await;
    drop(hogs);
    say(&format!("f36: p99 of a put with its commit: {alone:?} alone, {beside:?} beside two hogs"));
    assert!(beside < bearable(alone), "{beside:?} beside two hogs, {alone:?} alone");
    check_kept(&relay.address, &history).await;
    relay.stop().expect_code(0);
}

/// A control group of our own with a limit of memory, the relay in it.
struct Bounded(PathBuf);

impl Bounded {
    /// For version 1 and 2 of control groups.
    fn make(bytes: u64) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("treecast-test-{}-{made}", std::process::id());
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let mut why = "there are no control groups".to_owned();
        for (root, limit) in places {
            let group = Self(PathBuf::from(root).join(&name));
            let made = std::fs::create_dir(&group.0);
            match made.and_then(|()| std::fs::write(group.0.join(limit), bytes.to_string())) {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("no control group can be made: {error}"),
            }
        }
        Err(why)
    }

    /// Words that start a program in it from its first moment on.
    fn starter(&self) -> [String; 3] {
        let procs = self.0.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", procs.display());
        ["sh".to_owned(), "-c".to_owned(), script]
    }

    fn take(&self, relay: &RelayProcess) -> Result<(), String> {
        let pid = relay.pid().as_raw_nonzero().to_string();
        std::fs::write(self.0.join("cgroup.procs"), pid).map_err(|error| error.to_string())
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        // The relay in it has ended, or the directory stays.
        std::fs::remove_dir(&self.0).ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "much disk"]
async fn f23_a_backlog_larger_than_memory_is_kept_and_read() {
    // What recent messages, those on their way to the disk and a session's puts may take together.
    let memory = 160 << 20;
    let bounded = match Bounded::make(memory) {
        Ok(bounded) => bounded,
        Err(why) => return skip("f23", &why),
    };
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    if let Err(why) = bounded.take(&relay) {
        return skip("f23", &why);
    }
    create_kept(&relay.address).await;
    let shape = Shape { bytes: 64 * 1024, ..Shape::default() };
    let load = Load::start(&relay.address, shape).await;
    wait_for("the backlog is larger", async || load.history.answered() * shape.bytes > 250 << 20).await;
    let history = load.finish().await;
    let status = Connection::open(&relay.address).await.status().await.expect("it answers");
    assert!(status.resident_bytes < memory, "{} bytes are resident", status.resident_bytes);
    check_kept(&relay.address, &history).await;
    relay.stop().expect_code(0);
}

/// A hundred million messages of 16 bytes that wait cost their bytes on disk, and no memory each.
/// `TREECAST_PUTS` for another number of 62,500.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, and 3 GiB of disk"]
async fn f23_a_hundred_million_small_messages_wait_within_a_bound_of_memory() {
    let puts = std::env::var("TREECAST_PUTS").map_or(1600, |puts| puts.parse().expect("a number"));
    let memory = 160 << 20;
    let bounded = match Bounded::make(memory) {
        Ok(bounded) => bounded,
        Err(why) => return skip("f23", &why),
    };
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    if let Err(why) = bounded.take(&relay) {
        return skip("f23", &why);
    }
    let messages = u64::from(puts) * u64::from(EACH);
    let begun = Instant::now();
    Bulk::open(&relay.address, "many", "waits").await.put(puts).await;
    let put = begun.elapsed();
    let full = Connection::open(&relay.address).await.status().await.expect("it answers");
    // A start has to know of all of them, too.
    let begun = Instant::now();
    relay.kill();
    let relay = Start::new(data.path()).start();
    let started = begun.elapsed();
    bounded.take(&relay).expect("the group is there");
    let begun = Instant::now();
    Bulk::open(&relay.address, "many", "waits").await.take(messages).await;
    let taken = begun.elapsed();
    let status = Connection::open(&relay.address).await.status().await.expect("it answers");
    let mebibytes = |bytes: u64| bytes >> 20;
    say(&format!(
        "f23: {messages} messages of 16 bytes: put in {put:.0?}, {} MiB on disk and {} MiB resident with all of \
         them waiting; started again in {started:.1?}, taken in {taken:.0?} with {} MiB resident",
        mebibytes(full.space.file_bytes),
        mebibytes(full.resident_bytes),
        mebibytes(status.resident_bytes),
    ));
    assert!(full.resident_bytes.max(status.resident_bytes) < memory, "{full:?} {status:?}");
    let books = Connection::open(&relay.address).await.books().await;
    assert!(books.balanced && books.held == 0, "{books:?}");
    relay.stop().expect_code(0);
}

/// A start reads its log again within the bound too: it is in the group from its first moment on, after
/// a crash, with more on its disk than it may have in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f23_a_relay_that_starts_with_more_on_disk_than_it_may_have_in_memory_serves_all_of_it() {
    let memory = 160 << 20;
    let bounded = match Bounded::make(memory) {
        Ok(bounded) => bounded,
        Err(why) => return skip("f23", &why),
    };
    let data = tempfile::tempdir().expect("a directory");
    let starter = bounded.starter();
    let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
    let start = || Start::new(data.path()).under(&starter).start();
    let relay = start();
    let puts = 100;
    let messages = u64::from(puts) * u64::from(EACH);
    Bulk::open(&relay.address, "many", "waits").await.put(puts).await;
    let full = Connection::open(&relay.address).await.status().await.expect("it answers");
    assert!(full.space.file_bytes > memory, "{:?}", full.space);
    relay.kill();
    let begun = Instant::now();
    let relay = start();
    let started = begun.elapsed();
    let status = async || Connection::open(&relay.address).await.status().await.expect("it answers");
    let first = status().await;
    Bulk::open(&relay.address, "many", "waits").await.take(messages).await;
    let last = status().await;
    say(&format!(
        "f23: {messages} messages, {} MiB on disk, started in {started:.1?}; {} and {} MiB resident",
        full.space.file_bytes >> 20,
        first.resident_bytes >> 20,
        last.resident_bytes >> 20,
    ));
    assert!(first.resident_bytes.max(last.resident_bytes) < memory, "{first:?} {last:?}");
    relay.stop().expect_code(0);
}
