//! The relays that each tree is for, one tree after the other in memory: a change of a link is held
//! against those of many trees.

use crate::routing::map::Place;

/// A relay that a tree is for, and the choice that joined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) place: Place,
    /// How many relays had joined before.
    pub(crate) start: u16,
    /// The key of the choice; [`u32::MAX`] stands for all that are greater, too.
    pub(crate) key: u32,
}

impl Wanted {
    pub(crate) fn new(place: Place, start: usize, key: u64) -> Self {
        Self { place, start: Place::at(start).0, key: u32::try_from(key).unwrap_or(u32::MAX) }
    }
}

/// Whether the key of a choice that was made is not less than another one.
pub(crate) fn is_no_less(made: u32, other: u64) -> bool {
    u64::from(made) >= other || made == u32::MAX
}

/// Where those of one tree stand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    first: u32,
    count: u16,
    room: u16,
}

/// Those of all trees.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllWanted {
    all: Vec<Wanted>,
    /// How many of them are some tree's.
    used: usize,
}

/// With no more than so many that are no tree's nothing is moved.
const UNUSED: usize = 1 << 12;

impl AllWanted {
    pub(crate) fn of(&self, span: Span) -> &[Wanted] {
        let first = span.first as usize;
        &self.all[first..first + usize::from(span.count)]
    }

    /// Puts those of a tree in the place of those before.
    pub(crate) fn put(&mut self, span: &mut Span, wanted: &[Wanted]) {
        let count = Place::at(wanted.len()).0;
        self.used = self.used + wanted.len() - usize::from(span.count);
        if count > span.room {
            *span = Span { first: self.all.len() as u32, count, room: count };
            self.all.extend_from_slice(wanted);
        } else {
            span.count = count;
            let first = span.first as usize;
            self.all[first..first + wanted.len()].copy_from_slice(wanted);
        }
    }

    /// Moves them together when less than half of them are some tree's; `spans` are those of all trees.
    pub(crate) fn tidy<'s>(&mut self, spans: impl Iterator<Item = &'s mut Span>) {
        if self.all.len() <= 2 * self.used + UNUSED {
            return;
        }
        let mut all = Vec::with_capacity(self.used);
        for span in spans {
            let first = all.len() as u32;
            all.extend_from_slice(self.of(*span));
            *span = Span { first, count: span.count, room: span.count };
        }
        self.all = all;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn each_tree_has_its_own_and_few_are_kept_that_are_no_trees() {
        let mut dice = Dice::new(1);
        let mut all = AllWanted::default();
        let mut spans = vec![Span::default(); 100];
        let mut trees = vec![Vec::new(); 100];
        for step in 0..20_000 {
            let tree = dice.below(100) as usize;
            let wanted: Vec<_> =
                (0..dice.below(40)).map(|at| Wanted::new(Place(at as u16), at as usize, step)).collect();
            all.put(&mut spans[tree], &wanted);
            trees[tree] = wanted;
            all.tidy(spans.iter_mut());
            assert_eq!(all.used, trees.iter().map(Vec::len).sum::<usize>());
            assert!(all.all.len() <= 2 * all.used + UNUSED);
            assert!(all.of(spans[tree]) == trees[tree]);
        }
        assert!(spans.iter().zip(&trees).all(|(&span, tree)| all.of(span) == tree));
    }
}
