//! The end of a driver, in the order of the flow.
//!
//! What was handed over is taken, the core writes its cursors, the last
//! appends become durable and are answered, the sessions are told, the state is
//! written as a snapshot, and the log is synced and closed. Every step has a
//! deadline, and the log is right even if all of them pass.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Driver, Message};
use crate::limits;
use crate::relay::Input;
use crate::server::fault::ServerError;

impl Driver {
    pub(super) async fn stop(mut self) -> Result<(), ServerError> {
        // Sessions read nothing more by now: what they have handed over is all there is.
        self.turns_until(limits::STOP_APPENDS_MS_MAX, Self::has_taken_all).await?;
        let now = self.clock.now();
        self.handle(now, Input::Stop);
        self.carry_out(now);
        self.turn.hurries = true;
        self.sessions.flush();
        self.finish()?;
        let appended = self.appended;
        self.turns_until(limits::STOP_APPENDS_MS_MAX, |driver| driver.durable >= appended).await?;
        self.sessions.close_all("the relay is stopping");
        self.turns_until(limits::STOP_SNAPSHOT_MS_MAX, |driver| driver.snapshots.is_resting()).await?;
        self.snapshots.begin();
        self.turns_until(limits::STOP_SNAPSHOT_MS_MAX, |driver| driver.snapshots.is_resting()).await?;
        self.end().await
    }

    fn has_taken_all(&self) -> bool {
        self.rest.is_none() && self.messages.is_empty()
    }

    /// Goes on working until `is_done`, or for so long.
    async fn turns_until(&mut self, ms_max: u64, is_done: impl Fn(&Self) -> bool) -> Result<(), ServerError> {
        let deadline = Instant::now() + Duration::from_millis(ms_max);
        let mut first: Option<Message> = None;
        loop {
            let is_busy = self.turn(first.take()).await?;
            if is_done(self) {
                return Ok(());
            }
            if is_busy {
                tokio::task::yield_now().await;
                continue;
            }
            let signals = std::sync::Arc::clone(&self.signals);
            let woken = async {
                tokio::select! {
                    biased;
                    () = signals.wake.notified() => None,
                    Some(message) = self.messages.recv() => Some(message),
                }
            };
            match timeout_at(deadline, woken).await {
                Ok(message) => first = message,
                Err(_) => return Ok(()),
            }
        }
    }

    /// Lets the threads go and stops the log.
    async fn end(mut self) -> Result<(), ServerError> {
        let mut threads = self.readers.end();
        threads.extend(self.scrubber.end());
        let log = self.log;
        // What a thread still wants to say is not of interest any more.
        drop(self.messages);
        let stopped = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic in it was reported by its guard.
                let _ = thread.join();
            }
            log.stop()
        });
        match stopped.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ServerError::Panicked("log")),
        }
    }
}
