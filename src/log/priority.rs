//! How the committing thread stands to the others when the processors are busy.
//!
//! What somebody waits for goes first: with both of two cores taken, the slowest commits are then 0.1 ms
//! late instead of 8 ms. What nobody waits for does not: a relay that catches up would copy and write its
//! backlog before everybody who passes on what is live.
//!
//! A real-time schedule (`SCHED_FIFO`) was tried. Beside other programs that take all processors it
//! does up to eight times as much; with the machine to itself a relay under load does less (puts of
//! 16 bytes 0.66 to 0.97 of what it does with this, of 1 KiB 0.6 to 0.9, their p99 8 ms instead of
//! 1.7): every sync that returns then interrupts the one thread that has work for the next.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{Pid, gettid};

/// The nice value of a thread that goes before others.
const NICE: i32 = -10;

/// The priority of the committing thread. All of it is called under the lock of the queue, but for the
/// beginning: so what was asked for last is what holds.
#[derive(Default)]
pub(crate) struct Priority {
    /// The thread, and its nice value when it began; none while it may not go first, or there is no thread.
    thread: OnceLock<(Pid, i32)>,
    is_low: AtomicBool,
}

impl Priority {
    /// The calling thread commits from now on, and goes first. False: it may not.
    pub(crate) fn begin(&self) -> bool {
        let thread = gettid();
        let Ok(before) = getpriority_process(Some(thread)) else { return false };
        let is_first = setpriority_process(Some(thread), NICE).is_ok();
        if is_first {
            // A log has one such thread, which begins once.
            let _ = self.thread.set((thread, before));
        }
        is_first
    }

    /// Somebody waits for what is committed next, or for what is being committed to be over.
    pub(crate) fn raise(&self) {
        self.set(false);
    }

    /// Nobody waits for what is committed next.
    pub(crate) fn lower(&self) {
        self.set(true);
    }

    fn set(&self, is_low: bool) {
        let Some((thread, before)) = self.thread.get() else { return };
        if self.is_low.swap(is_low, Ordering::Relaxed) != is_low {
            let nice = if is_low { (*before).max(NICE) } else { NICE };
            // Who could be raised once can be again; if not, commits are a little later.
            let _ = setpriority_process(Some(*thread), nice);
        }
    }
}
