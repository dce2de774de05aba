//! `strace` as a saboteur: system calls of a running relay fail, are late, or kill it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::process::{PATIENCE, RelayProcess, Start};

/// A tracer at work. It lets the relay go when it is dropped.
pub(crate) struct Tracer {
    strace: Child,
    relay: Pid,
    notes: PathBuf,
    _directory: tempfile::TempDir,
}

/// Words of `strace` for one injection, like `fdatasync:error=EIO:when=1`. They count the
/// calls of each thread for itself.
fn words(inject: &str) -> [String; 4] {
    let calls = inject.split(':').next().expect("a split has a first part");
    ["-e".to_owned(), format!("trace={calls}"), "-e".to_owned(), format!("inject={inject}")]
}

/// Whether there is an `strace` that can do it, tried on a harmless process.
pub(crate) fn available() -> Result<(), String> {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(words("fsync:error=EIO:when=1"))
        .arg("true")
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("strace cannot trace: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("there is no strace: {error}")),
    }
}

impl Tracer {
    /// From here on the calls of the relay that runs are tampered with.
    #[track_caller]
    pub(crate) fn attach(relay: &RelayProcess, inject: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let notes = directory.path().join("notes");
        let pid = relay.pid();
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-p", &pid.as_raw_nonzero().to_string(), "-o"])
            .arg(&notes)
            .args(words(inject))
            .stderr(Stdio::null())
            .spawn()
            .expect("strace was there before");
        let begun = Instant::now();
        while !is_traced(pid) {
            assert!(begun.elapsed() < PATIENCE, "strace does not attach");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { strace, relay: relay.pid(), notes, _directory: directory }
    }

    /// Calls that were tampered with so far: those that failed, and those whose delay is over.
    pub(crate) fn injected(&self) -> usize {
        let count = |notes: String| notes.matches("(INJECTED").count() + notes.matches("(DELAYED)").count();
        std::fs::read_to_string(&self.notes).map_or(0, count)
    }

    /// Lets the relay go on untampered. It is halted meanwhile: a call whose error is still
    /// to be put in when `strace` leaves fails with ENOSYS instead.
    pub(crate) fn detach(mut self) -> usize {
        kill_process(self.relay, Signal::STOP).ok();
        let begun = Instant::now();
        let mut quiet = 0;
        while quiet < 3 && begun.elapsed() < PATIENCE {
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(2));
        }
        self.end();
        kill_process(self.relay, Signal::CONT).ok();
        self.injected()
    }

    /// Whether all threads of the relay are halted, and `strace` waits for them.
    fn is_quiet(&self) -> bool {
        let strace = Pid::from_child(&self.strace).as_raw_nonzero();
        let waits = std::fs::read_to_string(format!("/proc/{strace}/status"))
            .is_ok_and(|status| status.contains("State:\tS"));
        waits && tasks(self.relay).all(|status| status.contains("State:\tT") || status.contains("State:\tt"))
    }

    fn end(&mut self) {
        kill_process(Pid::from_child(&self.strace), Signal::TERM).ok();
        self.strace.wait().ok();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// What the system says of each thread.
fn tasks(pid: Pid) -> impl Iterator<Item = String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
}

/// Whether all threads have a tracer. One that has ended has none any more.
fn is_traced(pid: Pid) -> bool {
    tasks(pid).all(|status| !status.contains("TracerPid:\t0\n") || status.contains("State:\tZ"))
}

/// A relay whose calls are tampered with from its start on.
pub(crate) fn under(start: Start, inject: &str) -> Start {
    let injection = words(inject);
    let mut all = vec!["strace", "-D", "-f", "-qq", "-o", "/dev/null"];
    all.extend(injection.iter().map(String::as_str));
    start.under(&all)
}
