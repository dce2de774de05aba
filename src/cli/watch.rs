//! Tells people why a verb waits, and that it goes on: the relay is away, or what it asks for cannot be had there.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::{Client, ClientError};

use super::out::Notes;

/// How long something is away before somebody is told: what is back within it is no news.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a refusal for the moment ends with, which is done here.
const ADVICE: &str = ": try again";

/// Watches a connection until it is dropped.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Watch {
    /// Begins.
    #[must_use]
    pub(super) fn start(client: &Client, notes: Notes) -> Self {
        Self(tokio::spawn(watch(client.clone(), notes)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It has a handle of the client, which would keep the connection.
        self.0.abort();
    }
}

/// Why the verb waits, and whether that is since there is no connection.
fn why(client: &Client) -> Option<(String, bool)> {
    match client.trouble() {
        // The relay is there: it takes nothing.
        Some(ClientError::Refused(refusal)) => Some((refusal.message, false)),
        Some(error) => Some((error.to_string(), true)),
        None => client.held_up().map(|refusal| (refusal.message, false)),
    }
}

async fn watch(client: Client, notes: Notes) {
    loop {
        let since = loop {
            if why(&client).is_some() {
                break Instant::now();
            }
            sleep(LOOK_EVERY).await;
        };
        let mut told = None;
        while let Some((why, is_away)) = why(&client)
            && told.is_none_or(|told| told == is_away)
        {
            if told.is_none() && since.elapsed() >= TOLD_AFTER {
                // By now it is the last attempt that tells most.
                notes.note(format_args!("{}; it is tried again", why.trim_end_matches(ADVICE)));
                told = Some(is_away);
            }
            sleep(LOOK_EVERY).await;
        }
        match told {
            Some(true) => notes.note(format_args!("relay {} is there again", client.hello().relay)),
            Some(false) if why(&client).is_none() => notes.note("it goes on"),
            Some(false) | None => {}
        }
    }
}
