//! Which places of a stream are remembered: few, and the denser the nearer they are to its end.
//!
//! Who lacks something lacks the end of a stream, nearly always. So two neighbouring places stand
//! apart by no more than a share of their distance from the end: a quarter of it while that is
//! short, never more than all of it, though a million runs are known by fifty places. A backlog is
//! judged, found, repaired and let go within that share, however long it is. Exponentially growing
//! distances as in the exponential histograms of Datar, Gionis, Indyk and Motwani (2002).

use crate::id::{Index, Sequence};

/// Places kept per stream. With more, some go.
const PLACES_MAX: usize = 64;

/// So many are left then, at the most, if a smaller share than all of the distance allows it.
const PLACES_KEPT: usize = 48;

/// The shares of the distance to the end that are tried: 1/4 to 1/1.
const SHARES: [u64; 4] = [4, 3, 2, 1];

/// Notes a place behind all others.
pub(super) fn note(places: &mut Vec<(Sequence, Index)>, place: (Sequence, Index)) {
    if places.len() >= PLACES_MAX {
        for share in SHARES {
            thin(places, place.1, share);
            if places.len() <= PLACES_KEPT {
                break;
            }
        }
        if places.len() >= PLACES_MAX {
            // Distances beyond 2^63: the second one covers least.
            places.remove(1);
        }
    }
    places.push(place);
}

/// Forgets a place when its neighbours stand apart by no more than this share of the distance from
/// the end. The first one stays, since everything behind it may be needed.
fn thin(places: &mut Vec<(Sequence, Index)>, end: Index, share: u64) {
    let first = places.first().copied();
    let mut kept = Vec::with_capacity(PLACES_MAX);
    let mut last = end;
    // From the end on: a place goes when the one before it is near enough to the last that stays.
    let mut places_before = places.iter().rev().skip(1).map(|(_, index)| *index);
    for place in places.iter().rev() {
        let before = places_before.next().unwrap_or_default();
        let is_near = last.0 - before.0 <= (end.0 - last.0) / share;
        if !is_near {
            kept.push(*place);
            last = place.1;
        }
    }
    if kept.last() != first.as_ref() {
        kept.extend(first);
    }
    kept.reverse();
    *places = kept;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How far apart the places around an index stand, beside its distance from the end.
    fn gaps(places: &[(Sequence, Index)], end: u64) -> Vec<(u64, u64)> {
        let ends = places[1..].iter().map(|(_, index)| index.0).chain([end]);
        places.iter().zip(ends).map(|((_, from), to)| (to - from.0, end - to)).collect()
    }

    #[test]
    fn of_a_million_runs_every_place_is_known_within_a_share_of_its_distance_from_the_end() {
        let mut places = Vec::new();
        for run in 0..1_000_000_u64 {
            note(&mut places, (Sequence(run * 3 + 1), Index(run * 7 + 1)));
            if run % 99_991 == 5 || run < 300 {
                let end = (run + 1) * 7 + 1;
                for (gap, distance) in gaps(&places, end) {
                    assert!(gap <= 7 * 17 + distance, "{gap} of {distance} at run {run}");
                }
            }
        }
        assert_eq!(places[0], (Sequence(1), Index(1)));
    }

    proptest! {
        #[test]
        fn whatever_runs_come_places_are_few_in_order_and_the_first_and_last_stay(
            lengths in prop::collection::vec(prop_oneof![1u64..3, 1u64..4096, Just(1u64 << 40)], 1..600),
        ) {
            let mut places = Vec::new();
            let mut at = 1;
            for length in lengths {
                note(&mut places, (Sequence(at), Index(at)));
                prop_assert!(places.len() <= PLACES_MAX);
                prop_assert!(places.is_sorted() && places[0] == (Sequence(1), Index(1)));
                prop_assert_eq!(places.last(), Some(&(Sequence(at), Index(at))));
                at += length;
            }
        }
    }
}
