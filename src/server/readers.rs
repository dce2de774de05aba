//! The threads that touch files for the driver: a few, so that a disk is kept
//! busy and no more. They wait for work, then for the driver to take what they
//! found; the driver waits for neither.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::driver::Message;
use super::fault::Faults;
use super::process;
use crate::id::{GroupNumber, Index, SessionId};
use crate::limits;
use crate::log::{Log, Piece, Snapshot, SnapshotBegun, Space};
use crate::relay::NO_ROOM;
use crate::wire::body::Status;

/// Something to be done with files.
#[derive(Debug)]
pub(crate) enum Job {
    /// Read a part of a backlog.
    Read { group: GroupNumber, from: Index, bytes_max: usize },
    /// Fill in what the shell knows of the relay's health.
    Status { session: SessionId, request: u64, status: Box<Status> },
    /// Write a snapshot, which was begun then.
    Snapshot(SnapshotBegun, Snapshot),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum JobDone {
    /// A part of a backlog.
    Read { group: GroupNumber, from: Index, pieces: Vec<Piece> },
    /// The relay's health.
    Status { session: SessionId, request: u64, status: Box<Status> },
    /// The snapshot is on disk, or the one before stays.
    Snapshot { is_written: bool },
}

/// The threads.
#[derive(Debug)]
pub(crate) struct Readers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start(
        log: &Arc<dyn Log>,
        driver: &tokio::sync::mpsc::Sender<Message>,
        faults: &Arc<Faults>,
    ) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut threads = Vec::new();
        for number in 0..limits::READER_THREADS {
            let (waiting, log, driver) = (Arc::clone(&waiting), Arc::clone(log), driver.clone());
            let faults = Arc::clone(faults);
            let thread = std::thread::Builder::new().name(format!("read-{number}")).spawn(move || {
                let _guard = faults.guard("reader");
                while let Some(job) = next(&waiting) {
                    let Some(done) = run(&*log, job) else { break };
                    if driver.blocking_send(Message::Done(done)).is_err() {
                        break;
                    }
                }
            })?;
            threads.push(thread);
        }
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Gives the threads something to do. Never waits.
    pub(crate) fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // When the threads are gone the log is poisoned, and the driver will be told so.
            let _ = jobs.send(job);
        }
    }

    /// Lets the threads end when they have nothing to do.
    pub(crate) fn end(&mut self) -> Vec<JoinHandle<()>> {
        self.jobs = None;
        std::mem::take(&mut self.threads)
    }
}

fn next(waiting: &Mutex<Receiver<Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// `None` when the log is poisoned, which it says by itself.
fn run(log: &dyn Log, job: Job) -> Option<JobDone> {
    match job {
        Job::Read { group, from, bytes_max } => {
            let pieces = log.read(group, from, bytes_max).ok()?;
            Some(JobDone::Read { group, from, pieces })
        }
        Job::Status { session, request, mut status } => {
            status.space = log.space();
            if status.accepting.as_ref().is_err_and(|why| why == NO_ROOM)
                && let Some(why) = lacking(&status.space)
            {
                status.accepting = Err(why);
            }
            if !status.space.has_priority {
                let message = "the committing thread has no priority: on busy processors commits wait";
                status.warnings.push(message.to_owned());
            }
            status.resident_bytes = process::resident_bytes();
            status.cpu_us = process::cpu_us();
            Some(JobDone::Status { session, request, status })
        }
        Job::Snapshot(begun, snapshot) => {
            let written = log.snapshot(begun, snapshot);
            let is_written = written.is_ok();
            crate::metrics::snapshot_ended(is_written);
            if let Err(error) = written {
                tracing::warn!(%error, "no snapshot was written; the one before stays in force");
            }
            Some(JobDone::Snapshot { is_written })
        }
    }
}

/// What is lacking when there is no room; `None`: it is not known how much there is to be.
fn lacking(space: &Space) -> Option<String> {
    let (segment, reserve) = (space.segment_bytes, space.reserve_bytes);
    if segment == 0 {
        return None;
    }
    // Puts are taken again with a quarter more than the reserve, and with two segments to go on with.
    let needed = reserve.saturating_add(reserve / 4).max(segment.saturating_mul(2));
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let [least, free, segment, reserve] = [needed, space.free_bytes, segment, reserve].map(mebibytes);
    Some(if space.free_bytes < needed {
        format!(
            "{least} must be free on the disk, and {free} are: two segments of {segment} (--segment-bytes), and a \
             quarter more than the reserve of {reserve} (--reserve-bytes); puts are refused, gets and acks go on"
        )
    } else {
        format!(
            "no segment can be made, though {free} are free on the disk: the relay may open no more files (`ulimit \
             -n`), or the system lets it make none; puts are refused, gets and acks go on"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_free_is_told_where_it_is_not() {
        let (segment_bytes, reserve_bytes) = (128 << 20, 256 << 20);
        let space =
            |free: u64| Space { segment_bytes, reserve_bytes, free_bytes: free << 20, ..Space::default() };
        let told = lacking(&space(200)).unwrap();
        assert!(told.starts_with("320 MiB must be free on the disk, and 200 MiB are: "), "{told}");
        let told = lacking(&space(320)).unwrap();
        assert!(told.starts_with("no segment can be made, though 320 MiB are free on the disk: "), "{told}");
        assert!(told.contains("open no more files"), "{told}");
        let (segment_bytes, reserve_bytes) = (1 << 30, 1 << 30);
        let large = Space { segment_bytes, reserve_bytes, free_bytes: 3 << 29, ..Space::default() };
        let told = lacking(&large).unwrap();
        assert!(
            told.starts_with("2048 MiB must be free on the disk, and 1536 MiB are: "),
            "two segments: {told}"
        );
        assert_eq!(lacking(&Space::default()), None, "nothing is known");
    }
}
