//! What one write hands to the socket: small things copied together, large ones as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bodies of fewer bytes are copied behind their header: below it the copy is
/// cheaper than one more slice.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Bytes to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Bytes>,
    /// What comes behind the parts.
    last: BytesMut,
    bytes: usize,
}

impl Outgoing {
    /// Appends what `write` writes.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.last.len();
        write(&mut self.last);
        self.bytes += self.last.len() - before;
    }

    /// Appends a body.
    pub(super) fn body(&mut self, body: Bytes) {
        if body.len() <= COPY_BYTES_MAX {
            self.write(|out| out.extend_from_slice(&body));
            return;
        }
        self.bytes += body.len();
        self.cut();
        self.parts.push_back(body);
    }

    fn cut(&mut self) {
        if !self.last.is_empty() {
            self.parts.push_back(self.last.split().freeze());
        }
    }

    /// Everything is there: nothing may be appended before all of it is written.
    pub(super) fn finish(&mut self) {
        self.cut();
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.last, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.parts).map(|(slice, part)| *slice = IoSlice::new(part));
        filled.count()
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}
