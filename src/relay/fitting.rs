//! What this relay's log can take at once: other relays may have larger segments.
//!
//! The log refuses an entry that fits into none of its segments, and that ends the relay; it would
//! come again at every start. So nothing of the kind is given to it. A run of another relay is left
//! where it is, as when the disk is full: nobody is told that it is here, whoever has it keeps it,
//! and it is taken when the relay is started with larger segments. What follows it waits.

use super::Relay;
use crate::id::GroupNumber;
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::run::Run;

impl Relay {
    /// Whether the log can take the records of a put as one entry.
    pub(super) fn check_length(&self, found: usize) -> Result<(), Refusal> {
        let max = self.options.run_bytes_max;
        if found as u64 <= max {
            return Ok(());
        }
        let message = format!("the put has {found} bytes; this relay's log takes at most {max} at once");
        Err(Refusal::new(RefusalCode::TooLarge, message))
    }

    /// Whether the log can take a run of another relay as one entry.
    pub(super) fn fits(&self, run: &Run) -> bool {
        run.body.len() as u64 <= self.options.run_bytes_max
    }

    /// A run of a group does not fit: the operator is told what to do.
    pub(super) fn warn_of_length(&mut self, number: GroupNumber) {
        let Some(group) = self.groups.get(number) else { return };
        let max = self.options.run_bytes_max;
        let warning = format!(
            "group {} has messages that are too long for this relay's log, which takes {max} bytes at once: \
             they and what follows them wait until it is started with larger segments (--segment-bytes)",
            group.name
        );
        self.warn(warning);
    }
}
