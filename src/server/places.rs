//! Who is let in: how many connections there may be, and how many files and sockets the process may have
//! open.
//!
//! Whatever is open has a number, and the system gives the lowest that is free: so the number of a new
//! connection says how many more there can be, whatever has taken the others. Applications leave some:
//! without any the log could make no segment, no neighbour would come back, and the relay could go to
//! none. A connection says only after it was let in whether it is an application or a neighbour, so the
//! last ones are let in for a neighbour's hello alone.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// Applications that are let in when only what is kept is left: few, but somebody has to make room.
const FEW: usize = 16;

/// A place that a connection has until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Why only a neighbour may have it, if so.
    pub(super) neighbours_only: Option<String>,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// For neighbours, when applications have all others.
    last: Arc<Semaphore>,
    /// Files and sockets that the process may have open.
    files: u64,
}

impl Places {
    pub(super) fn new() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn of(files: u64) -> Self {
        let all = Arc::new(Semaphore::new(limits::SESSIONS_MAX));
        Self { all, last: Arc::new(Semaphore::new(limits::SESSIONS_LAST)), files }
    }

    /// How many applications leave for the log and for neighbours.
    fn kept(&self) -> u64 {
        (self.files / 16).clamp(limits::FILES_KEPT_MIN, limits::FILES_KEPT_MAX).min(self.files / 2)
    }

    /// A place for a new connection, or why there is none.
    pub(super) fn take(&self, connection: BorrowedFd<'_>) -> Result<Place, String> {
        self.take_at(u64::try_from(connection.as_raw_fd()).unwrap_or(0))
    }

    fn take_at(&self, number: u64) -> Result<Place, String> {
        let left = self.files.saturating_sub(number);
        let kept = self.kept();
        if left <= kept / 2 {
            return Err(self.without_files());
        }
        let has_few = self.all.available_permits() + FEW > limits::SESSIONS_MAX;
        let place = Arc::clone(&self.all).try_acquire_owned();
        let why = match place {
            Ok(permit) if left > kept || has_few => {
                return Ok(Place { _permit: permit, neighbours_only: None });
            }
            Ok(_) => self.without_files(),
            Err(_) => format!("the relay has {} sessions and takes no more", limits::SESSIONS_MAX),
        };
        match Arc::clone(&self.last).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, neighbours_only: Some(why) }),
            Err(_) => Err(why),
        }
    }

    fn without_files(&self) -> String {
        format!(
            "the relay may have {} files and connections open, and keeps the last {} for its log and its neighbours",
            self.files,
            self.kept()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom the relay lets in with each number, of those that are taken in turn: A applications, N
    /// neighbours only, - nobody.
    fn let_in(places: &Places, numbers: impl Iterator<Item = u64>) -> (Vec<Place>, String) {
        let mut taken = Vec::new();
        let mut said = String::new();
        for number in numbers {
            match places.take_at(number) {
                Ok(place) => {
                    said.push(if place.neighbours_only.is_some() { 'N' } else { 'A' });
                    taken.push(place);
                }
                Err(_) => said.push('-'),
            }
        }
        (taken, said)
    }

    fn count(said: &str, who: char) -> usize {
        said.chars().filter(|c| *c == who).count()
    }

    #[test]
    fn applications_leave_files_for_neighbours_and_both_for_the_log() {
        let places = Places::of(256);
        let (taken, said) = let_in(&places, 10..256);
        assert_eq!(said, ["A".repeat(182), "N".repeat(32), "-".repeat(32)].concat());
        // Those that were let in as neighbours are gone, and the log has grown into what they had.
        drop(taken);
        let (_taken, said) = let_in(&places, std::iter::repeat_n(220, 20));
        assert_eq!(said, ["A".repeat(16), "N".repeat(4)].concat(), "somebody must make room");
    }

    #[test]
    fn however_few_files_there_may_be_half_are_for_applications() {
        for files in [40, 100, 200, 1_024, 20_000, 1_000_000, u64::MAX] {
            let kept = Places::of(files).kept();
            assert!(kept <= files / 2 && kept <= 1_024, "{kept} of {files}");
            assert!(kept >= 64.min(files / 2), "{kept} of {files}");
        }
    }

    #[test]
    fn when_applications_have_all_places_neighbours_are_let_in() {
        let places = Places::of(u64::MAX);
        let (_taken, said) = let_in(&places, std::iter::repeat_n(500, limits::SESSIONS_MAX + 100));
        assert_eq!(count(&said, 'A'), limits::SESSIONS_MAX);
        assert_eq!((count(&said, 'N'), count(&said, '-')), (limits::SESSIONS_LAST, 36));
    }
}
