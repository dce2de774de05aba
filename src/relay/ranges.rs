//! Sets of numbers as ranges: half-open, sorted, apart from one another.

/// Adds `from..to`.
pub(super) fn add(ranges: &mut Vec<(u64, u64)>, (mut from, mut to): (u64, u64)) {
    if from >= to {
        return;
    }
    ranges.retain(|(f, t)| {
        let is_apart = *t < from || to < *f;
        if !is_apart {
            (from, to) = (from.min(*f), to.max(*t));
        }
        is_apart
    });
    let place = ranges.partition_point(|(f, _)| *f < from);
    ranges.insert(place, (from, to));
}

/// Whether one of them is in it.
pub(super) fn has_any(ranges: &[(u64, u64)], (from, to): (u64, u64)) -> bool {
    from < to && ranges.iter().any(|(f, t)| *f < to && from < *t)
}

/// Takes away what is below.
pub(super) fn cut_below(ranges: &mut Vec<(u64, u64)>, low: u64) {
    ranges.retain_mut(|(from, to)| {
        *from = (*from).max(low);
        *from < *to
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_is_one_range_and_what_is_cut_is_gone() {
        let mut ranges = Vec::new();
        for range in [(5, 7), (1, 2), (9, 9), (10, 12), (7, 10), (3, 4)] {
            add(&mut ranges, range);
        }
        assert_eq!(ranges, [(1, 2), (3, 4), (5, 12)]);
        assert!(has_any(&ranges, (4, 6)) && has_any(&ranges, (0, 2)) && has_any(&ranges, (11, 99)));
        assert!(!has_any(&ranges, (2, 3)) && !has_any(&ranges, (12, 99)) && !has_any(&ranges, (6, 6)));
        cut_below(&mut ranges, 6);
        assert_eq!(ranges, [(6, 12)]);
        add(&mut ranges, (1, 20));
        assert_eq!(ranges, [(1, 20)]);
    }
}
