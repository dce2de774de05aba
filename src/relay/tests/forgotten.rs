//! A relay that was forgotten and comes back says everything of itself again, wherever a crash cuts it.

use super::harness::{Harness, LINK};
use crate::id::{RelayId, StorageId, WallTime};
use crate::log::Snapshot;
use crate::relay::Input;
use crate::wire::link::{Fact, Forgotten, LinkMessage, Version};

const COUNTER: u64 = 50;

fn forgotten() -> Fact {
    Fact::Forgotten(Forgotten {
        relay: RelayId::new("r").unwrap(),
        version: Version { counter: COUNTER, storage: StorageId([9; 16]) },
        by: RelayId::new("o").unwrap(),
        at: WallTime(1_000_000_000),
    })
}

/// What it says of itself: each with its counter.
fn said_of_itself(h: &Harness) -> Vec<(&'static str, u64)> {
    let (mut said, me) = (Vec::new(), RelayId::new("r").unwrap());
    for fact in h.relay.all_facts() {
        if let Fact::Membership(member) = &fact
            && (&member.relay, member.member) == (&me, true)
        {
            said.push(("member", member.version.counter));
        }
        if let Fact::Name(name) = &fact
            && (&name.home, name.spec.is_some()) == (&me, true)
        {
            said.push(("name", name.version.counter));
        }
        if let Fact::Origin(origin) = &fact
            && (&origin.relay, origin.active) == (&me, true)
        {
            said.push(("origin", origin.version.counter));
        }
    }
    said
}

#[test]
fn who_comes_back_says_all_of_itself_above_its_end_wherever_a_crash_cuts_it() {
    let begin = || {
        let mut h = Harness::linked();
        let g = h.open("g");
        h.attach("g", "s");
        h.put(g, &["a"]);
        let before = h.log.len();
        h.hear(LinkMessage::Facts(vec![forgotten()]));
        (h, before)
    };
    let (h, before) = begin();
    let after = h.log.len();
    assert!(after > before + 3, "it says membership, name and origin again: {before} {after}");
    for cut in before..=after {
        let (mut h, _) = begin();
        h.durable = cut;
        h.crash(&Snapshot::default());
        h.input(Input::LinkUp { link: LINK, losses: true });
        h.hear(LinkMessage::Facts(vec![forgotten()]));
        h.hear(LinkMessage::FactsEnd);
        let said = said_of_itself(&h);
        let above = said.iter().filter(|(_, counter)| *counter > COUNTER).count();
        assert_eq!((said.len(), above), (3, 3), "cut at {cut} of {before}..{after}: {said:?}");
    }
}
