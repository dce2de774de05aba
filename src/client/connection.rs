//! The task of a client: one session after another.
//!
//! ```text
//! session ──lost──► wait ──► connect ──► session
//!    │               ▲          │
//!    │ stop          └──failed──┤ given up
//!    └────────────► over ◄──────┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ClientError;
use super::options::Backoff;
use super::random::jitter;
use super::session::{self, Greeted};
use super::shared::{Shared, Work};
use crate::limits;

/// Runs until the client is closed or has given up.
pub(super) async fn run(shared: Arc<Shared>, mut greeted: Greeted) {
    let over = Over(Arc::clone(&shared));
    let mut delays = Delays::new(shared.options.reconnect);
    // Since when sessions end soon after they began: at a relay that takes nothing for the moment,
    // connecting again is no progress.
    let mut troubled: Option<Instant> = None;
    let error = loop {
        let began = Instant::now();
        let error = session::run(&shared, greeted).await;
        if shared.is_stopping() {
            break error;
        }
        tracing::warn!(address = %shared.options.address, %error, "the session with the relay has ended");
        if began.elapsed() >= Duration::from_millis(limits::CLIENT_STEADY_MS) {
            delays = Delays::new(shared.options.reconnect);
            troubled = None;
        }
        let is_again = troubled.is_some();
        let trouble = *troubled.get_or_insert_with(Instant::now);
        if is_again && shared.options.reconnect.give_up.is_some_and(|max| trouble.elapsed() >= max) {
            break error;
        }
        tokio::select! {
            again = connect_again(&shared, &mut delays) => match again {
                Ok(again) => {
                    shared.on_up(again.hello.clone());
                    greeted = again;
                }
                Err(error) => break error,
            },
            () = shared.stopping() => break error,
        }
    };
    shared.on_over(&error);
    drop(over);
}

/// However the task ends, with its runtime or by a panic, nobody waits for it for ever.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.on_over(&ClientError::closed("the client's connection task has ended"));
    }
}

async fn connect_again(shared: &Shared, delays: &mut Delays) -> Result<Greeted, ClientError> {
    let began = Instant::now();
    loop {
        tokio::time::sleep(delays.next()).await;
        let error = match session::connect(&shared.options).await {
            Ok(greeted) => return Ok(greeted),
            Err(error) => error,
        };
        tracing::debug!(address = %shared.options.address, %error, "no session with the relay");
        if shared.options.reconnect.give_up.is_some_and(|max| began.elapsed() >= max) {
            return Err(error);
        }
        shared.on_down(&error, Work::default());
    }
}

/// The delays between attempts: growing, each drawn anew.
#[derive(Debug)]
struct Delays {
    backoff: Backoff,
    next: Duration,
}

impl Delays {
    fn new(backoff: Backoff) -> Self {
        Self { backoff, next: backoff.first.min(backoff.max) }
    }

    fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.backoff.max);
        jitter(delay)
    }
}
