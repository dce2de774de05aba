//! What members say of their disks, and what an origin lets go for it (I7, I8).

use super::harness::{Harness, SESSION, body, group, sub};
use crate::id::{Epoch, ProducerSequence, RelayId, Sequence, StorageId};
use crate::limits::SEQUENCE_MAX;
use crate::log::Snapshot;
use crate::relay::Input;
use crate::wire::body::SubscriptionSpec;
use crate::wire::frame::{AckLevel, PutHead};
use crate::wire::link::{
    Advertised, Fact, GroupId, LinkMessage, LinkState, Membership, NameEntry, Receipt, Version,
};
use crate::wire::run::BodySummary;

const FIRST: StorageId = StorageId([7; 16]);
const SECOND: StorageId = StorageId([8; 16]);
const THIRD: StorageId = StorageId([9; 16]);

fn id() -> GroupId {
    GroupId { name: group("g"), incarnation: 0 }
}

/// The neighbour is a member, with its membership in this version and on this disk.
fn join(h: &mut Harness, counter: u64, storage: StorageId) {
    join_as(h, "o", Version { counter, storage });
}

/// A relay is a member in this version.
fn join_as(h: &mut Harness, relay: &str, version: Version) {
    let relay = RelayId::new(relay).unwrap();
    h.hear(LinkMessage::Facts(vec![Fact::Membership(Membership {
        group: id(),
        relay,
        version,
        member: true,
    })]));
}

/// The neighbour has everything up to here on this disk, and is done with it.
fn receipt(h: &mut Harness, storage: StorageId, through: u64) {
    receipt_of(h, "o", storage, through);
}

/// A relay has everything up to here on this disk, and is done with it.
fn receipt_of(h: &mut Harness, member: &str, storage: StorageId, through: u64) {
    let receipt = of_boot(1, member, storage, through);
    h.hear(LinkMessage::Receipts(vec![receipt]));
    h.pass_ms(2_000);
}

/// The same of the stream of one boot, not said yet.
fn of_boot(boot: u64, member: &str, storage: StorageId, through: u64) -> Receipt {
    Receipt {
        group: id(),
        origin: RelayId::new("r").unwrap(),
        epoch: Epoch { counter: boot, storage: StorageId([1; 16]), nonce: boot },
        member: RelayId::new(member).unwrap(),
        storage,
        durable: Sequence(through),
        consumed: Sequence(through),
        hops: 3,
        full: None,
        released: None,
        brought: None,
        began: None,
    }
}

/// A relay says of its links in this version, on this disk.
fn links(h: &mut Harness, (relay, others): (&str, &[&str]), counter: u64, storage: StorageId) {
    let link = |other: &&str| Advertised { neighbour: RelayId::new(other).unwrap(), cost: 1, is_up: true };
    h.hear(LinkMessage::Facts(vec![Fact::LinkState(LinkState {
        relay: RelayId::new(relay).unwrap(),
        version: Version { counter: counter << 32, storage },
        transit: true,
        max_children: None,
        catching_up: false,
        is_new: false,
        is_draining: false,
        algorithm: 0,
        links: others.iter().map(link).collect(),
        topology: None,
        boot: None,
    })]));
}

/// Below which index the group was let go.
fn released_below(h: &Harness) -> Option<u64> {
    h.released.get(&1).copied()
}

/// Genesis and three messages, which the neighbour is owed.
fn owed() -> Harness {
    let mut h = Harness::linked();
    let g = h.open("g");
    join(&mut h, 1, FIRST);
    h.put(g, &["a", "b", "c"]);
    h.pass_ms(2_000);
    assert_eq!(released_below(&h), None);
    h
}

#[test]
fn i8_what_a_member_has_on_its_disk_is_let_go_and_no_more() {
    let mut h = owed();
    receipt(&mut h, FIRST, 3);
    // Where a sequence stands is known of some of them only: never too much, and all at last.
    assert!(released_below(&h) <= Some(4), "{:?}", released_below(&h));
    let before = released_below(&h);
    receipt(&mut h, FIRST, 2);
    assert_eq!(released_below(&h), before, "one that was overtaken takes nothing back");
    receipt(&mut h, FIRST, 4);
    assert_eq!(released_below(&h), Some(5));
}

/// It has forgotten with a crash what it had released, and a member that has got a new disk owes it nothing: one
/// that heard it then says so. Of its present boot, or of more than it has itself, it has said nothing.
#[test]
fn i8_an_origin_that_has_started_again_hears_from_others_what_it_had_released() {
    let told = |boot: u64, through: u64, released: u64| {
        let mut h = owed();
        h.crash(&Snapshot::default());
        h.meet(Vec::new());
        join(&mut h, 2, SECOND);
        let g = h.open("g");
        h.put(g, &["d", "e", "f"]);
        let said = Receipt { released: Some(Sequence(released)), ..of_boot(boot, "n", THIRD, through) };
        h.hear(LinkMessage::Receipts(vec![said]));
        h.pass_ms(2_000);
        released_below(&h)
    };
    assert_eq!(told(1, 4, 4), Some(5));
    assert!(told(1, 4, 2) <= Some(3), "{:?}", told(1, 4, 2));
    assert_eq!(told(1, 4, SEQUENCE_MAX), Some(6), "no more than it has: the seal is the last");
    assert_eq!(told(1, 9, 4), None, "of a stream that was another one when its disk was put back");
    assert_eq!(told(2, 4, 4), None, "of what it knows best itself");
}

/// On its way when its disk was lost: what it says is gone with that disk.
#[test]
fn s23_a_receipt_of_a_disk_that_is_lost_lets_nothing_go() {
    let mut h = owed();
    join(&mut h, 2, SECOND);
    receipt(&mut h, FIRST, 4);
    assert_eq!(released_below(&h), None);
    receipt(&mut h, SECOND, 4);
    assert_eq!(released_below(&h), Some(5), "the one that it has now");
}

/// What was on it and not on the new one would be let go as soon as the other member has it.
#[test]
fn s23_what_a_member_has_said_of_a_disk_that_it_has_lost_since_counts_no_more() {
    for (before, after) in [(FIRST, SECOND), (SECOND, FIRST)] {
        let mut h = Harness::linked();
        let g = h.open("g");
        join(&mut h, 1, before);
        join_as(&mut h, "p", Version { counter: 1, storage: THIRD });
        h.put(g, &["a", "b", "c"]);
        h.pass_ms(2_000);
        receipt(&mut h, before, 4);
        assert_eq!(released_below(&h), None, "the other member has nothing");
        join(&mut h, 2, after);
        receipt_of(&mut h, "p", THIRD, 4);
        assert_eq!(released_below(&h), None, "the new disk of the first one has nothing");
        receipt(&mut h, after, 4);
        assert_eq!(released_below(&h), Some(5));
    }
}

/// Of a relay that keeps a copy and is no member only its links tell on which disk it is.
#[test]
fn s23_a_copy_on_a_disk_that_is_lost_counts_for_no_level() {
    let mut h = Harness::linked();
    links(&mut h, ("o", &["r", "p"]), 1, FIRST);
    links(&mut h, ("p", &["o"]), 1, THIRD);
    let g = h.open("g");
    join_as(&mut h, "p", Version { counter: 1, storage: THIRD });
    let records = body(&["a"]);
    let head = PutHead {
        put: 7,
        producer: None,
        lowest_unanswered: ProducerSequence(0),
        body_hash: xxhash_rust::xxh3::xxh3_64(&records),
        level: AckLevel::Stored,
        copies: 3,
        transient: false,
        age_seconds: 0,
    };
    let summary = BodySummary::of(&records).unwrap();
    h.pass_ms(100);
    h.input(Input::Put { session: SESSION, handle: g, head, summary, records });
    receipt(&mut h, FIRST, 2);
    links(&mut h, ("o", &["r", "p"]), 2, SECOND);
    receipt_of(&mut h, "p", THIRD, 2);
    let is_stored = |h: &Harness| h.done.iter().any(|done| done.put == 7 && done.level == AckLevel::Stored);
    assert!(!is_stored(&h), "two disks have it: {:?}", h.done);
    receipt(&mut h, SECOND, 2);
    assert!(is_stored(&h), "{:?}", h.done);
}

#[test]
fn r15_homes_that_are_made_one_just_after_a_start_leave_a_put_as_accepted() {
    let mut h = Harness::apart();
    let lives = |home: &str, counter, storage, is_there: bool| {
        let (home, version) = (RelayId::new(home).unwrap(), Version { counter, storage });
        let spec = is_there.then(SubscriptionSpec::default);
        Fact::Name(NameEntry { group: id(), name: sub("s"), home, version, spec })
    };
    let member = |relay: &str, counter, storage, member| {
        let (relay, version) = (RelayId::new(relay).unwrap(), Version { counter, storage });
        Fact::Membership(Membership { group: id(), relay, version, member })
    };
    let both = [lives("o", 1, FIRST, true), lives("x", 1, SECOND, true)];
    h.meet(both.into_iter().chain([member("o", 1, FIRST, true), member("x", 1, SECOND, true)]).collect());
    h.pass_ms(60_000);
    h.crash(&Snapshot::default());
    h.meet(Vec::new());
    let g = h.open("g");
    let put = h.put_with(g, body(&["a"]), None, AckLevel::Consumed);
    let receipt = Receipt { brought: Some(1), ..of_boot(2, "x", SECOND, 2) };
    h.hear(LinkMessage::Receipts(vec![receipt]));
    // The other home has closed into it.
    h.hear(LinkMessage::Facts(vec![lives("o", 2, FIRST, false)]));
    h.hear(LinkMessage::Facts(vec![member("o", 2, FIRST, false)]));
    h.pass_ms(1_500);
    let said: Vec<AckLevel> = h.done.iter().filter(|done| done.put == put).map(|done| done.level).collect();
    assert_eq!(said, [AckLevel::Accepted], "nobody can tell which of the two has had it");
}
