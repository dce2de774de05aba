//! Locks of the parts of the log whose order of steps is tested: tests compile
//! the same files once more over locks of a scheduler that tries many orders.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
