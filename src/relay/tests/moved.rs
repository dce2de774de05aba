//! Streams that go on behind what was released before they came here, and crashes that take that back (P4).

use super::harness::{Harness, group};
use super::links::Theirs;
use crate::id::Sequence;
use crate::log::Snapshot;
use crate::wire::body::{Start, SubscriptionSpec};
use crate::wire::link::{GroupId, LinkMessage, StreamNamed};

/// The neighbour is going to send this run and those behind it: what stands before was released.
fn name_from(theirs: &Theirs, run: usize) -> LinkMessage {
    let header = &theirs.runs[run].header;
    LinkMessage::Stream(StreamNamed {
        number: theirs.stream.number,
        group: GroupId { name: group("g"), incarnation: 0 },
        origin: theirs.stream.origin.clone(),
        epoch: theirs.stream.epoch,
        base: header.first,
        chain: header.chain,
        released: Sequence(header.first.0 - 1),
    })
}

/// A relay with a subscription from the beginning, a neighbour, and what that has put, behind its GENESIS.
fn new_member(payloads: &[&str]) -> (Harness, Theirs) {
    let mut theirs = Theirs::begin(1);
    payloads.iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() });
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.auto_sync = false;
    (h, theirs)
}

#[test]
fn p4_what_comes_behind_a_base_is_given_when_that_is_on_the_disk_so_that_a_crash_brings_nothing_older_behind_it()
 {
    let (mut h, theirs) = new_member(&["a", "b", "c", "d", "e"]);
    h.hear(name_from(&theirs, 4));
    theirs.send(&mut h, 4..5);
    let before = h.payloads();
    h.crash(&Snapshot::default());
    h.auto_sync = true;
    h.meet(Vec::new());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    // Others still have more.
    h.hear(name_from(&theirs, 2));
    theirs.send(&mut h, 2..6);
    let all = [before, h.payloads()].concat();
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(all, ["b", "c", "d", "e"], "and nothing is passed over");
}

#[test]
fn p4_behind_a_base_that_is_on_the_disk_nobody_waits_for_this_disk() {
    let (mut h, theirs) = new_member(&["a", "b", "c", "d", "e"]);
    h.hear(name_from(&theirs, 3));
    theirs.send(&mut h, 3..4);
    assert_eq!(h.payloads(), [""; 0]);
    assert_eq!(h.hurries, 1, "somebody waits for the disk");
    h.sync();
    assert_eq!(h.payloads(), ["c"]);
    theirs.send(&mut h, 4..5);
    assert_eq!(h.payloads(), ["d"], "as soon as it comes");
    h.hear(name_from(&theirs, 3));
    theirs.send(&mut h, 5..6);
    assert_eq!(h.payloads(), ["e"], "a base that moves nothing is no reason to wait");
}

/// Two boots of an origin: nobody is owed anything of the first any more.
fn two_boots() -> (Theirs, Theirs) {
    let [mut first, mut second] = [Theirs::begin(1), Theirs::begin(2)];
    ["a", "b", "c"].iter().for_each(|payload| first.put(payload));
    ["d", "e"].iter().for_each(|payload| second.put(payload));
    (first, second)
}

/// The neighbour is going to send this run, and all up to `released` have those who are owed it.
fn name_released(theirs: &Theirs, run: usize, released: u64) -> LinkMessage {
    let LinkMessage::Stream(named) = name_from(theirs, run) else { unreachable!() };
    LinkMessage::Stream(StreamNamed { released: Sequence(released), ..named })
}

#[test]
fn p4_history_of_an_earlier_boot_does_not_come_behind_a_later_one() {
    let (first, second) = two_boots();
    let (mut h, _) = new_member(&[]);
    h.auto_sync = true;
    // Who has let go the first boot has named the second, and another one has some of the first.
    h.hear(second.name());
    second.send(&mut h, 0..2);
    h.hear(name_released(&first, 2, 3));
    first.send(&mut h, 2..3);
    h.hear(name_released(&first, 3, 3));
    assert_eq!(h.payloads(), ["d"], "what nobody is owed is passed over");
    // What is not known to be released is not.
    first.send(&mut h, 3..4);
    assert_eq!(h.payloads(), ["c"]);
    // Also after a start nothing of it comes.
    h.crash(&Snapshot::default());
    h.meet(Vec::new());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["d", "c"]);
}

#[test]
fn r3_what_this_relay_is_owed_itself_comes_also_behind_a_later_boot() {
    let (first, second) = two_boots();
    let (mut h, _) = new_member(&[]);
    h.auto_sync = true;
    h.hear(second.name());
    second.send(&mut h, 0..2);
    // Its first record says that this relay is a member, and all have it, also this one: it has lost it.
    h.hear(first.name());
    first.send(&mut h, 0..1);
    h.hear(name_released(&first, 1, 4));
    first.send(&mut h, 1..4);
    assert_eq!(h.payloads(), ["d", "a", "b", "c"]);
}
