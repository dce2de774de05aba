//! What a turn gathers, and when it is handed on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::LinkId;
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::metrics::TurnCounts;
use crate::relay::Neighbour;
use crate::server::handle::PutPermit;
use crate::wire::applied::TopologyEntry;

/// What one turn gathers before it is handed on as one.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) entries: Vec<Entry>,
    /// Bytes of their contents.
    pub(super) bytes: usize,
    /// How urgent the most urgent of them is.
    pub(super) urgency: Urgency,
    /// Somebody waits for all that was appended, in this turn or before.
    pub(super) hurries: bool,
    pub(super) permits: Vec<PutPermit>,
    pub(super) counts: TurnCounts,
    /// Links over which something went.
    pub(super) links: BTreeSet<LinkId>,
    /// The links are these from now on. What was said over those that end goes first.
    pub(super) neighbours: Option<(Vec<Neighbour>, Arc<TopologyEntry>)>,
}

impl Turn {
    /// Whether it has something for the disk, and so little that writing to sockets as much takes
    /// less time than to wake a thread.
    pub(super) fn is_small(&self) -> bool {
        !self.entries.is_empty() && self.bytes <= limits::TURN_SMALL_BYTES_MAX
    }
}

/// Lets the tasks that are ready now run before this one goes on: those that write among them. It does
/// not look for new work, as a yield does.
pub(super) async fn after_those_ready() {
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        if has_waited {
            return std::task::Poll::Ready(());
        }
        has_waited = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
