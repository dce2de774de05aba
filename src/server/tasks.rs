//! The only place where tasks are spawned: counted, named, and watched for panics.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::fault::Faults;

/// Spawns tasks.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    faults: Arc<Faults>,
}

impl Tasks {
    pub(crate) fn new(faults: Arc<Faults>) -> Self {
        Self { tracker: TaskTracker::new(), faults }
    }

    /// Spawns a task. A panic in it stops the server.
    pub(crate) fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = self.faults.guard(name);
        self.tracker.spawn(async move {
            let _guard = guard;
            task.await;
        })
    }

    /// Waits until all tasks have ended. New ones can still be spawned.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
