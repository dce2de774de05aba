//! R8: a relay that is far behind says so, and takes it back, without flapping.

use super::harness::{Harness, group};
use crate::id::{Epoch, RelayId, Sequence, StorageId};
use crate::limits;
use crate::wire::link::{Fact, GroupId, LinkMessage, SeenWhy, StreamSeen};

/// What the neighbour `o` says that it has of the group `g`.
fn tell(h: &mut Harness, seen: u64, released: u64) {
    let epoch = Epoch { counter: 1, storage: StorageId([9; 16]), nonce: 1 };
    let origin = RelayId::new("o").unwrap();
    let (seen, released, wanted) = (Sequence(seen), Sequence(released), Sequence(0));
    let streams = vec![StreamSeen { origin, epoch, seen, released, wanted }];
    let group = GroupId { name: group("g"), incarnation: 0 };
    h.hear(LinkMessage::Seen { group, streams, why: SeenWhy::Answers });
}

/// What the relay has said of itself since the last time, in order.
fn said(h: &mut Harness) -> Vec<bool> {
    let said = std::mem::take(&mut h.said);
    let facts = said.into_iter().filter_map(|said| {
        let LinkMessage::Facts(facts) = said else { return None };
        Some(facts)
    });
    let states = facts.flatten().filter_map(|fact| {
        let Fact::LinkState(state) = fact else { return None };
        (state.relay.as_str() == "r").then_some(state.catching_up)
    });
    states.collect()
}

fn linked() -> Harness {
    let mut h = Harness::linked();
    h.pass_ms(2_000);
    h.said.clear();
    h
}

#[test]
fn r8_a_relay_that_is_far_behind_says_so_once_and_takes_it_back_when_it_is_not() {
    let mut h = linked();
    tell(&mut h, limits::CATCHING_UP_RECORDS, 0);
    h.pass_ms(limits::CATCHING_UP_LOOK_MS);
    assert_eq!(said(&mut h), [true]);
    // It is told again and again, and gets nearer.
    for left in [limits::CATCHING_UP_RECORDS, limits::CAUGHT_UP_RECORDS + 1] {
        tell(&mut h, limits::CATCHING_UP_RECORDS, limits::CATCHING_UP_RECORDS - left);
        h.pass_ms(3_000);
        assert_eq!(said(&mut h), [true; 0], "{left} records are left");
    }
    // Nothing of it is owed to anybody any more.
    tell(&mut h, limits::CATCHING_UP_RECORDS + 1, limits::CATCHING_UP_RECORDS);
    h.pass_ms(limits::CATCHING_UP_STALE_MS + 1_000);
    assert_eq!(said(&mut h), [false]);
}

#[test]
fn r8_a_relay_that_is_a_little_behind_says_nothing() {
    let mut h = linked();
    tell(&mut h, limits::CATCHING_UP_RECORDS - 1, 0);
    h.pass_ms(2_000);
    tell(&mut h, 10 * limits::CATCHING_UP_RECORDS, 9 * limits::CATCHING_UP_RECORDS + 1);
    h.pass_ms(2_000);
    assert_eq!(said(&mut h), [false; 0], "what is released is not lacked");
}

#[test]
fn r8_who_comes_and_goes_says_so_once_per_pause() {
    let mut h = linked();
    let mut changes = 0;
    let mut seen = 0;
    for _ in 0..600 {
        // Behind, and at once not behind any more.
        seen += limits::CATCHING_UP_RECORDS;
        tell(&mut h, seen, seen - limits::CATCHING_UP_RECORDS);
        h.pass_ms(limits::CATCHING_UP_LOOK_MS);
        tell(&mut h, seen, seen);
        h.pass_ms(limits::CATCHING_UP_LOOK_MS);
        changes += said(&mut h).len();
    }
    let pauses = 1_200 * limits::CATCHING_UP_LOOK_MS / limits::CATCHING_UP_PAUSE_MS;
    assert!((2..=pauses as usize + 1).contains(&changes), "{changes} changes in {pauses} pauses");
}

#[test]
fn r8_what_nobody_sends_does_not_count_for_ever() {
    let mut h = linked();
    tell(&mut h, limits::SEQUENCE_MAX, 0);
    h.pass_ms(1_000);
    assert_eq!(said(&mut h), [true]);
    h.pass_ms(limits::CATCHING_UP_STALE_MS + limits::CATCHING_UP_PAUSE_MS);
    assert_eq!(said(&mut h), [false], "a neighbour's word alone keeps nobody out of the trees");
}
