//! How a verb leaves a relay: a receiver when the relay has its acks, which are not waited for for ever; all at
//! once when the relay is being drained.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Client, ClientError, Subscriber};

use super::ask::{until, until_taken};
use super::exit::Failure;
use super::out::Notes;

/// How long a relay that is there, as far as is known, has for what is to be on its disk at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it means when the acks are not confirmed.
const UNACKED: &str = "the relay has not confirmed that the last of it is acked; it may come again";

/// Leaves, and sees to it that the relay has the acks, also when something failed: what was written is not to
/// come again. After `by` only a relay that is there is waited for, and not for long; `None`: as long as any
/// answer is.
///
/// # Errors
/// What had failed before, and why the acks are not confirmed.
pub(super) async fn leave(
    (mut subscriber, client): (Subscriber, &Client),
    by: Option<Instant>,
    taken: Result<(), Failure>,
    notes: Notes,
) -> Result<(), Failure> {
    let is_leaving = client.held_up().is_some_and(|refusal| refusal.leaving);
    let by = by.map(|by| by.max(Instant::now() + patience(client)));
    let by = if is_leaving { Some(Instant::now()) } else { by };
    let flushed = until_taken(client, by, UNACKED, async { Ok(subscriber.flush_acks().await?) }).await;
    if let Err(failure) = flushed {
        // A deadline says so itself, where it is the error that is told.
        if is_unsure(&failure) && (taken.is_err() || matches!(failure, Failure::Client(_))) {
            notes.note(UNACKED);
        }
        return taken.and(Err(failure));
    }
    let gone = until(by, UNACKED, async { Ok(subscriber.close().await?) }).await;
    // All is done: that it has gone, the relay sees by the end of the connection too.
    taken.and(if let Err(Failure::Deadline(_)) = gone { Ok(()) } else { gone })
}

/// Does the work, unless the relay is being drained: then whoever waits there waits in vain.
///
/// # Errors
/// Those of the work, and what the relay refused.
///
/// # Cancel safety
/// That of the work, which is dropped when the relay sends it away.
pub(super) async fn unless_sent_away<T>(
    client: &Client,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        refusal = client.sent_away() => Err(ClientError::Refused(refusal).into()),
    }
}

/// There is nothing to wait for where it is known that nobody answers.
fn patience(client: &Client) -> Duration {
    let is_away = client.trouble().is_some() || client.held_up().is_some();
    if is_away { Duration::ZERO } else { PATIENCE }
}

/// Whether the acks may have got lost.
fn is_unsure(failure: &Failure) -> bool {
    matches!(failure, Failure::Deadline(_)) || matches!(failure, Failure::Client(error) if error.is_passing())
}
