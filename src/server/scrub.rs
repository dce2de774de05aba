//! The thread that reads the log slowly, round after round, so that damage is
//! found while other copies of it still exist, and not when somebody asks.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fault::Faults;
use crate::id::Lsn;
use crate::limits;
use crate::log::DiskLog;
use crate::metrics;

/// The thread. It ends when this is dropped or told so.
#[derive(Debug)]
pub(super) struct Scrubber {
    /// Dropped to end it.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// Starts the thread, or none when the rate is 0.
    pub(super) fn start(log: &Arc<DiskLog>, bytes_per_second: u64, faults: &Arc<Faults>) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        if bytes_per_second == 0 {
            return Ok(Self { end: None, thread: None });
        }
        let (log, faults) = (Arc::clone(log), Arc::clone(faults));
        let thread = std::thread::Builder::new().name("log-scrub".to_owned()).spawn(move || {
            let _guard = faults.guard("scrubber");
            while !wait(&ended, Duration::from_secs(limits::SCRUB_PAUSE_SECONDS)) {
                let mut pace = Pace::new(bytes_per_second, &ended);
                let mut reached = Lsn(0);
                while let Some(next) = log.scrub(reached, &mut |bytes| pace.read(bytes)) {
                    if pace.is_ended {
                        return;
                    }
                    reached = next;
                }
                metrics::log_scrubbed();
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }

    /// Lets the thread end; it takes no longer than reading one segment.
    pub(super) fn end(&mut self) -> Option<JoinHandle<()>> {
        self.end = None;
        self.thread.take()
    }
}

/// True when it is time to end.
fn wait(ended: &Receiver<()>, time: Duration) -> bool {
    !matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

/// Sleeps so that a rate is kept.
struct Pace<'e> {
    bytes_per_second: u64,
    begun: Instant,
    bytes: u64,
    ended: &'e Receiver<()>,
    is_ended: bool,
}

impl<'e> Pace<'e> {
    fn new(bytes_per_second: u64, ended: &'e Receiver<()>) -> Self {
        Self { bytes_per_second, begun: Instant::now(), bytes: 0, ended, is_ended: false }
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
        let ahead = due.saturating_sub(self.begun.elapsed());
        // Short sleeps are rounded up by the system: wait until they are worth it.
        if ahead >= Duration::from_millis(10) && !self.is_ended {
            self.is_ended = wait(self.ended, ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_an_end_ends_every_wait() {
        let (end, ended) = mpsc::channel();
        let mut pace = Pace::new(1_000_000, &ended);
        for _ in 0..100 {
            pace.read(1_000);
        }
        assert!(pace.begun.elapsed() >= Duration::from_millis(90), "{:?}", pace.begun.elapsed());
        drop(end);
        pace.read(1_000_000_000);
        assert!(pace.is_ended);
        pace.read(1_000_000_000);
    }
}
