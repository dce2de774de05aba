//! What is missing and does not come is asked for.

use super::harness::{Harness, LINK, group};
use super::links::Theirs;
use crate::id::{RelayId, Sequence};
use crate::relay::Input;
use crate::relay::stream::{Draft, Seal};
use crate::wire::body::{SubscriptionSpec, encode};
use crate::wire::link::{GroupId, LinkMessage, Pull, Pulled};
use crate::wire::run::RunKind;

/// A relay that receives from `g`, and has been sent the first and the last of four runs.
fn with_a_hole() -> (Harness, Theirs) {
    let mut theirs = Theirs::begin(1);
    ["a", "b", "c"].into_iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.hear(theirs.name());
    theirs.send(&mut h, 0..1);
    theirs.send(&mut h, 3..4);
    h.said.clear();
    (h, theirs)
}

fn pulls(h: &mut Harness) -> Vec<Pull> {
    let said = std::mem::take(&mut h.said);
    said.into_iter()
        .filter_map(|said| if let LinkMessage::Pull(pull) = said { Some(pull) } else { None })
        .collect()
}

#[test]
fn s31_what_is_pulled_and_pushed_at_the_same_time_is_there_once() {
    let (mut h, theirs) = with_a_hole();
    h.pass_ms(900);
    assert!(pulls(&mut h).is_empty(), "it may still be on its way");
    h.pass_ms(200);
    let asked = pulls(&mut h);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].from, asked[0].to), (Sequence(2), Sequence(4)));
    assert_eq!(asked[0].path, [RelayId::new("r").unwrap()]);
    // Some of it is pushed, all of it is the answer, and then it is pushed again.
    theirs.send(&mut h, 1..2);
    theirs.send(&mut h, 1..4);
    h.hear(LinkMessage::Pulled(Pulled {
        id: asked[0].id,
        is_here: true,
        to: Sequence(4),
        released: Sequence(0),
    }));
    theirs.send(&mut h, 2..4);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    h.pass_ms(60_000);
    assert!(pulls(&mut h).is_empty(), "nothing is lacking any more");
}

#[test]
fn r10_a_pull_that_is_not_answered_is_said_again_less_and_less_often() {
    let (mut h, _) = with_a_hole();
    h.pass_ms(300_000);
    let asked = pulls(&mut h).len();
    assert!((6..=14).contains(&asked), "{asked} pulls in five minutes");
}

#[test]
fn r10_a_pull_is_said_again_when_its_connection_was_lost() {
    let (mut h, _) = with_a_hole();
    h.pass_ms(300_000);
    pulls(&mut h);
    h.input(Input::LinkDown { link: LINK });
    h.input(Input::LinkUp { link: LINK });
    h.pass_ms(1_100);
    assert_eq!(pulls(&mut h).len(), 1, "at once, and not after the pause");
}

#[test]
fn r10_a_pull_that_has_come_round_is_answered_that_it_is_not_here() {
    let (mut h, theirs) = with_a_hole();
    let name = |name: &str| RelayId::new(name).unwrap();
    let pull = |path: &[&str], from| {
        let (origin, epoch) = (theirs.stream.origin.clone(), theirs.stream.epoch);
        let path = path.iter().map(|relay| name(relay)).collect();
        let group = GroupId { name: group("g"), incarnation: 0 };
        let (from, to) = (Sequence(from), Sequence(3));
        LinkMessage::Pull(Pull {
            id: 7,
            group,
            origin,
            epoch,
            from,
            to,
            toward: name("o"),
            path,
            hops: 9,
            anyway: false,
        })
    };
    let answers = |h: &mut Harness, message| {
        h.said.clear();
        h.hear(message);
        std::mem::take(&mut h.said)
    };
    let not_here = Pulled { id: 7, is_here: false, to: Sequence(0), released: Sequence(0) };
    assert_eq!(answers(&mut h, pull(&["x", "r", "o"], 1)), [LinkMessage::Pulled(not_here.clone())]);
    // Not here, and nobody else can be asked.
    assert_eq!(answers(&mut h, pull(&["x", "o"], 2)), [LinkMessage::Pulled(not_here)]);
    // The first run is here.
    let said = answers(&mut h, pull(&["x", "o"], 1));
    assert!(matches!(said[..], [LinkMessage::Stream(_), LinkMessage::Run { .. }, LinkMessage::Pulled(_)]));
}

#[test]
fn i10_who_pulls_a_later_epoch_is_told_of_the_one_before_that_it_must_wait_for() {
    let (mut first, mut second) = (Theirs::begin(1), Theirs::begin(2));
    first.put("a");
    first.append(Draft::control(RunKind::Seal, encode(&Seal { by: second.stream.epoch })));
    second.put("b");
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(first.name());
    first.send(&mut h, 0..3);
    h.hear(second.name());
    second.send(&mut h, 0..2);
    h.input(Input::LinkDown { link: LINK });
    h.input(Input::LinkUp { link: LINK });
    h.said.clear();
    h.hear(LinkMessage::Pull(Pull {
        id: 7,
        group: GroupId { name: group("g"), incarnation: 0 },
        origin: second.stream.origin.clone(),
        epoch: second.stream.epoch,
        from: Sequence(1),
        to: Sequence(2),
        toward: RelayId::new("r").unwrap(),
        path: vec![RelayId::new("x").unwrap()],
        hops: 9,
        anyway: false,
    }));
    let told = h.said.iter().filter_map(|said| {
        if let LinkMessage::Stream(named) = said {
            Some((named.epoch.counter, named.base, named.released))
        } else if let LinkMessage::Run { run, .. } = said {
            Some((0, run.header.first, Sequence(0)))
        } else {
            None
        }
    });
    let expected = [(1, 1), (2, 1), (0, 1), (0, 2)].map(|(epoch, base)| (epoch, Sequence(base), Sequence(0)));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}
