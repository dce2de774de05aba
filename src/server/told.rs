//! What is said of relays that are not as expected: each thing once a minute, and few of them, so
//! that one who tries again and again, or under many names, fills no log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Until the same thing is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// Things that are said within that time, at the most.
const THINGS_MAX: usize = 32;

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<BTreeMap<String, Instant>>);

impl Told {
    /// Whether something is to be said now. It counts as said then.
    pub(super) fn is_news(&self, what: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.elapsed() < AGAIN);
        if told.contains_key(what) || told.len() >= THINGS_MAX {
            return false;
        }
        told.insert(what.to_owned(), Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thing_is_said_once_a_minute() {
        let told = Told::default();
        assert!(told.is_news("a") && told.is_news("b"));
        assert!(!told.is_news("a"));
        tokio::time::advance(AGAIN).await;
        assert!(told.is_news("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn many_things_are_not_all_said() {
        let told = Told::default();
        let said = (0..1000).filter(|number| told.is_news(&number.to_string())).count();
        assert_eq!(said, THINGS_MAX);
    }
}
