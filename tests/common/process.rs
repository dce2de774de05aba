//! A relay in a process of its own: started, signalled, killed, started again.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Longer than anything takes on a busy machine, shorter than a person's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest segments: the spares of a new relay are then made quickly.
const SEGMENT: &str = "32MiB";

/// Says something on standard error, past the capture of the tests.
pub(crate) fn say(words: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("{words}\n").as_bytes()).ok();
}

/// Says that a test did not run, because of what this machine lacks. Where everything is to be
/// there (`TREECAST_NO_SKIP=1`), the test fails: a pipeline must not pass by skipping.
#[track_caller]
pub(crate) fn skip(test: &str, why: &str) {
    let must_run = std::env::var_os("TREECAST_NO_SKIP").is_some_and(|value| value == "1");
    assert!(!must_run, "{test} was not to be skipped: {why}");
    say_skipped(test, why);
}

/// Says on standard error, past the capture of the tests, that one did not run.
pub(crate) fn say_skipped(test: &str, why: &str) {
    say(&format!("SKIPPED {test}: {why}"));
}

/// How a relay is started.
pub(crate) struct Start {
    words: Vec<String>,
    envs: Vec<(String, String)>,
}

/// What a relay was that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// All that it wrote to standard error.
    pub(crate) log: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{:?}\n{}", self.status, self.log);
        self
    }

    /// It ended by itself, with an error and not with a panic, and said why.
    #[track_caller]
    pub(crate) fn expect_said(&self, words: &str) -> &Self {
        assert!(self.log.contains(words), "`{words}` was not said:\n{}", self.log);
        assert!(!self.log.contains("panicked"), "it panicked:\n{}", self.log);
        self
    }
}

impl Start {
    pub(crate) fn new(data: &Path) -> Self {
        let words = [env!("CARGO_BIN_EXE_treecast"), "relay", "--listen", "127.0.0.1:0", "--data"];
        let words = words.into_iter().map(str::to_owned).chain([data.display().to_string()]);
        let envs = vec![
            ("TREECAST_LOG".to_owned(), "info".to_owned()),
            ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
        ];
        Self { words: words.collect(), envs }.args(&["--segment-bytes", SEGMENT])
    }

    /// It listens at another address than on the loopback.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        let at = self.words.iter().position(|word| word == "--listen").expect("every start has it");
        address.clone_into(&mut self.words[at + 1]);
        self.args(&["--insecure"])
    }

    /// More words behind the others.
    pub(crate) fn args(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// The relay is what another program starts. That program must replace itself by it (as
    /// `exec`, `prlimit` and `strace -D` do), so that signals reach the relay.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        self.words.splice(0..0, words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn start(self) -> RelayProcess {
        self.try_start().unwrap_or_else(|ended| panic!("the relay did not start: {ended:?}"))
    }

    /// Starts it and waits until it serves, or has ended without.
    pub(crate) fn try_start(self) -> Result<RelayProcess, Ended> {
        let mut child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .args(["--output", "json"])
            .envs(self.envs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.words[0]));
        let log = Log::follow(child.stderr.take().expect("it was asked for"));
        let mut output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its output is text");
        let mut relay = RelayProcess { child: Some(child), address: String::new(), log };
        if line.is_empty() {
            return Err(relay.wait_end());
        }
        let said: serde_json::Value = serde_json::from_str(&line).expect("it says one object");
        relay.address = said["address"].as_str().expect("an address").to_owned();
        Ok(relay)
    }
}

/// What a process writes to standard error, while it runs.
struct Log {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    fn follow(mut stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut part) {
                let read = String::from_utf8_lossy(&part[..count]);
                shared.lock().unwrap_or_else(PoisonError::into_inner).push_str(&read);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of it, once the process has ended.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.text()
    }
}

/// A running relay. Killed when it is dropped.
pub(crate) struct RelayProcess {
    child: Option<Child>,
    /// Where it listens.
    pub(crate) address: String,
    log: Log,
}

impl RelayProcess {
    pub(crate) fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("it runs");
        Pid::from_child(child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it is our child and not waited for");
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until it has written these words to standard error.
    #[track_caller]
    pub(crate) fn wait_said(&self, words: &str) {
        let begun = Instant::now();
        while !self.log().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "`{words}` was not said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it at once, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Ended {
        self.signal(Signal::KILL);
        self.wait_end()
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// Waits until it has ended, by whatever was done to it.
    pub(crate) fn wait_ended(mut self) -> Ended {
        self.wait_end()
    }

    fn wait_end(&mut self) -> Ended {
        let begun = Instant::now();
        let mut child = self.child.take().expect("it is waited for once");
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().ok();
                child.wait().ok();
                panic!("it did not end in time:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let log = self.log.whole();
        assert!(!log.contains("panicked"), "a relay panicked:\n{log}");
        Ended { status, log }
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
            if std::thread::panicking() {
                std::io::Write::write_all(&mut std::io::stderr(), self.log.whole().as_bytes()).ok();
            }
        }
    }
}
