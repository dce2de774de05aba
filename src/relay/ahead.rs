//! Pieces of a backlog that were read for a subscription and not used up yet.

use std::sync::Arc;

use crate::id::Index;
use crate::log::Piece;

/// Pieces of the backlog that were read and not used up yet.
#[derive(Debug, Clone)]
pub(super) struct Ahead {
    pieces: Arc<[Piece]>,
    piece: usize,
    record: u32,
    offset: usize,
}

impl Ahead {
    pub(super) fn new(pieces: Arc<[Piece]>) -> Self {
        Self { pieces, piece: 0, record: 0, offset: 0 }
    }

    /// Goes to `index`; `None` when it is not in these pieces.
    pub(super) fn seek(&mut self, index: Index) -> Option<(&Piece, (u32, usize))> {
        let (start, end) = range(self.pieces.get(self.piece)?);
        if index < start.after(u64::from(self.record)) || index >= end {
            self.piece = self.pieces.iter().position(|piece| {
                let (from, to) = range(piece);
                (from..to).contains(&index)
            })?;
            (self.record, self.offset) = (0, 0);
        }
        let piece = self.pieces.get(self.piece)?;
        if let Piece::Run(run) = piece {
            let wanted = (index.0 - run.first_index.0) as u32;
            let rest = run.run.body.get(self.offset..).unwrap_or(&[]);
            let mut records = crate::wire::run::Records::new(rest);
            while self.record < wanted && records.pass().is_ok() {
                self.record += 1;
            }
            self.offset += rest.len() - records.rest();
        }
        Some((piece, (self.record, self.offset)))
    }

    /// Notes that `count` records of `bytes` behind the last [`Ahead::seek`] are used up.
    pub(super) fn advance(&mut self, count: u32, bytes: usize) {
        self.record += count;
        self.offset += bytes;
        let end = self.pieces.get(self.piece).map(|piece| {
            let (from, to) = range(piece);
            to.0 - from.0
        });
        if end.is_some_and(|end| u64::from(self.record) >= end) {
            (self.piece, self.record, self.offset) = (self.piece + 1, 0, 0);
        }
    }

    /// The index behind the last of these pieces.
    pub(super) fn end(&self) -> Index {
        self.pieces.last().map_or(Index(0), |piece| range(piece).1)
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.piece >= self.pieces.len()
    }
}

/// The indexes of a piece, half-open.
pub(super) fn range(piece: &Piece) -> (Index, Index) {
    match piece {
        Piece::Run(run) => (run.first_index, run.end_index()),
        Piece::Missing { from, to, .. } => (*from, *to),
    }
}
