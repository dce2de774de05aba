//! A number that rises, for those who wait for it.

use super::EntryNumber;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number that one thread raises and others read or wait for.
pub(crate) struct Mark {
    number: Mutex<EntryNumber>,
    raised: Condvar,
}

impl Mark {
    pub(crate) fn new(number: EntryNumber) -> Self {
        Self { number: Mutex::new(number), raised: Condvar::new() }
    }

    pub(crate) fn get(&self) -> EntryNumber {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, EntryNumber> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, number: EntryNumber) {
        *self.lock() = number;
        self.raised.notify_all();
    }

    /// Waits until the mark has reached `number`, or `stop` says to give up.
    pub(crate) fn wait(&self, number: EntryNumber, stop: impl Fn() -> bool) -> bool {
        let mut now = self.lock();
        while *now < number {
            if stop() {
                return false;
            }
            let pause = std::time::Duration::from_millis(50);
            now = self.raised.wait_timeout(now, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
