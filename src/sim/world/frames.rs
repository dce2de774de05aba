//! What goes over links, counted in the bytes of the frames that a real relay would write.

use super::World;
use crate::wire::frame::FRAME_HEADER_BYTES;
use crate::wire::link::LinkMessage;

/// Bytes of frames by link, to either end.
pub(super) type Frames = Vec<[u64; 2]>;

impl World {
    /// Counts frames from now on, from nothing.
    pub fn count_frames(&mut self) {
        self.frames = Some(vec![[0; 2]; self.wires.len()]);
    }

    /// Bytes of frames over each link to either end since [`World::count_frames`].
    #[must_use]
    pub fn frame_bytes(&self) -> &[[u64; 2]] {
        self.frames.as_deref().unwrap_or_default()
    }

    pub(super) fn count_frame(&mut self, wire: usize, to: usize, message: &LinkMessage) {
        if let Some(frames) = &mut self.frames {
            let body = if let LinkMessage::Run { run, .. } = message {
                crate::wire::run::RUN_HEADER_BYTES + 16 + run.body.len()
            } else {
                message.encode().len()
            };
            frames[wire][to] += (FRAME_HEADER_BYTES + body) as u64;
        }
    }
}
