//! What members say of their disks, and what an origin lets go for it (I7, I8).

use super::harness::{Harness, group};
use crate::id::{Epoch, RelayId, Sequence, StorageId};
use crate::wire::link::{Fact, GroupId, LinkMessage, Membership, Receipt, Version};

const FIRST: StorageId = StorageId([7; 16]);
const SECOND: StorageId = StorageId([8; 16]);

fn id() -> GroupId {
    GroupId { name: group("g"), incarnation: 0 }
}

/// The neighbour is a member, with its membership in this version and on this disk.
fn join(h: &mut Harness, counter: u64, storage: StorageId) {
    let version = Version { counter, storage };
    let relay = RelayId::new("o").unwrap();
    h.hear(LinkMessage::Facts(vec![Fact::Membership(Membership {
        group: id(),
        relay,
        version,
        member: true,
    })]));
}

/// The neighbour has everything up to here on this disk, and is done with it.
fn receipt(h: &mut Harness, storage: StorageId, through: u64) {
    let receipt = Receipt {
        group: id(),
        origin: RelayId::new("r").unwrap(),
        epoch: Epoch { counter: 1, storage: StorageId([1; 16]), nonce: 1 },
        member: RelayId::new("o").unwrap(),
        storage,
        durable: Sequence(through),
        consumed: Sequence(through),
        hops: 3,
        full: None,
    };
    h.hear(LinkMessage::Receipts(vec![receipt]));
    h.pass_ms(2_000);
}

/// Below which index the group was let go.
fn released(h: &Harness) -> Option<u64> {
    h.released.get(&1).copied()
}

/// Genesis and three messages, which the neighbour is owed.
fn owed() -> Harness {
    let mut h = Harness::linked();
    let g = h.open("g");
    join(&mut h, 1, FIRST);
    h.put(g, &["a", "b", "c"]);
    h.pass_ms(2_000);
    assert_eq!(released(&h), None);
    h
}

#[test]
fn i8_what_a_member_has_on_its_disk_is_let_go_and_no_more() {
    let mut h = owed();
    receipt(&mut h, FIRST, 3);
    // Where a sequence stands is known of some of them only: never too much, and all at last.
    assert!(released(&h) <= Some(4), "{:?}", released(&h));
    let before = released(&h);
    receipt(&mut h, FIRST, 2);
    assert_eq!(released(&h), before, "one that was overtaken takes nothing back");
    receipt(&mut h, FIRST, 4);
    assert_eq!(released(&h), Some(5));
}

/// On its way when its disk was lost: what it says is gone with that disk.
#[test]
fn s23_a_receipt_of_a_disk_that_is_lost_lets_nothing_go() {
    let mut h = owed();
    join(&mut h, 2, SECOND);
    receipt(&mut h, FIRST, 4);
    assert_eq!(released(&h), None);
    receipt(&mut h, SECOND, 4);
    assert_eq!(released(&h), Some(5), "the one that it has now");
}
