//! Tells people that the relay is away, and that it is back, while a verb waits for it.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::Client;

use super::out::Notes;

/// How long a connection is away before somebody is told: what is back within it is no news.
const TOLD_AFTER: Duration = Duration::from_secs(1);

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

async fn watch(client: Client, notes: Notes) {
    loop {
        let lost = client.lost().await;
        match timeout(TOLD_AFTER, client.connected()).await {
            Ok(Ok(())) => continue,
            // The verb ends, and says why.
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        // By now it is the last attempt that tells most.
        let trouble = client.trouble().unwrap_or(lost);
        notes.note(format_args!("{trouble}; it is tried again"));
        if client.connected().await.is_err() {
            return;
        }
        let relay = client.hello().relay;
        notes.note(format_args!("relay {relay} is there again"));
    }
}
