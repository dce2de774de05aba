//! Power cuts: F3, F4, F5, F6, F7, F8, F9, F10, F11, F12 (recycling and cold
//! segments), F13, F45 (a lost cursor is one that was not told durable).

use crate::id::{GroupNumber, Index};
use crate::log::powercut::{Script, powercut};
use crate::log::{Log, Piece};

pub(crate) fn read_all(log: &dyn Log, group: u32, from: u64) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut at = Index(from);
    loop {
        let pieces = log.read(GroupNumber(group), at, 5000).unwrap();
        let Some(last) = pieces.last() else { return all };
        at = match last {
            Piece::Run(run) => run.end_index(),
            Piece::Missing { to, .. } => *to,
        };
        all.extend(pieces);
    }
}

fn seeds(seeds: std::ops::Range<u64>, steps: u64, is_bulk: bool) {
    let mut rewritten = 0;
    for seed in seeds {
        let script = Script { steps, seed, is_bulk };
        let done = powercut(script, &mut |_, _| ()).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(done.entries > 0 && done.states >= 6 * done.cuts && done.cuts > steps / 2, "{done:?}");
        rewritten += done.rewritten;
    }
    assert!(rewritten > 0, "the script never made a cold segment");
}

#[test]
fn no_power_cut_loses_what_was_durable() {
    seeds(0..2, 40, false);
}

#[test]
#[ignore = "takes minutes"]
fn no_power_cut_loses_what_was_durable_at_length() {
    seeds(2..8, 120, false);
}

#[test]
fn f03_f05_no_power_cut_loses_what_was_durable_in_segments_that_are_only_allocated() {
    seeds(0..2, 40, true);
}

#[test]
#[ignore = "takes minutes"]
fn f03_no_power_cut_loses_long_commits_at_length() {
    seeds(2..6, 80, true);
}
