//! What is missing and does not come is asked for.

use super::harness::{Harness, LINK, OTHER_LINK, group};
use super::links::Theirs;
use crate::id::{LinkId, RelayId, Sequence, StorageId};
use crate::limits;
use crate::relay::stream::{Draft, Seal};
use crate::relay::{Input, LinkOptions};
use crate::wire::body::{SubscriptionSpec, encode};
use crate::wire::link::{
    Advertised, Fact, GroupId, LinkMessage, LinkState, Membership, Pull, Pulled, SeenWhy, StreamSeen, Version,
};
use crate::wire::run::RunKind;

/// A relay that receives from `g`, and has been sent the first and the last of four runs.
pub(super) fn with_a_hole() -> (Harness, Theirs) {
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

pub(super) fn pulls(h: &mut Harness) -> Vec<Pull> {
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
    h.input(Input::LinkUp { link: LINK, losses: true });
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

/// The neighbour takes part in the group too. What it lacks is not read from the disk yet.
fn join_and_read_nothing(h: &mut Harness, theirs: &Theirs) {
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let (o, id) = (theirs.stream.origin.clone(), GroupId { name: group("g"), incarnation: 0 });
    let mut state = LinkState::new(o.clone(), version);
    state.links = vec![Advertised { neighbour: RelayId::new("r").unwrap(), cost: 1, is_up: true }];
    let member = Membership { group: id, relay: o, version, member: true };
    h.hear(LinkMessage::Facts(vec![Fact::LinkState(state), Fact::Membership(member)]));
    h.pass_ms(2_000);
    h.hold_fetches = true;
}

/// It says that it lacks all but the first run.
fn lack(h: &mut Harness, theirs: &Theirs) {
    let (origin, epoch, nothing) = (theirs.stream.origin.clone(), theirs.stream.epoch, Sequence(0));
    let seen = StreamSeen { origin, epoch, seen: Sequence(1), released: nothing, wanted: nothing };
    let id = GroupId { name: group("g"), incarnation: 0 };
    h.hear(LinkMessage::Seen { group: id, streams: vec![seen], why: SeenWhy::Lacks });
}

/// What the neighbour is sent when the disk has worked.
fn sent_when_read(h: &mut Harness) -> Vec<u64> {
    h.let_fetches_go();
    let run = |said: &LinkMessage| {
        if let LinkMessage::Run { run, .. } = said { Some(run.header.first.0) } else { None }
    };
    h.said.iter().filter_map(run).collect()
}

/// Who passes on what somebody behind it has asked for may lack all that stands before it.
#[test]
fn r10_an_answer_that_a_neighbour_passes_on_does_not_show_that_it_has_what_stands_before() {
    let (mut h, theirs) = with_a_hole();
    theirs.send(&mut h, 1..3);
    join_and_read_nothing(&mut h, &theirs);
    lack(&mut h, &theirs);
    let asked = pulls(&mut h);
    assert_eq!((asked[0].from, asked[0].to), (Sequence(4), Sequence(4)));
    theirs.send(&mut h, 3..4);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    assert_eq!(sent_when_read(&mut h)[..2], [2, 3]);
}

/// Relays on this path ask for sequences of a stream.
pub(super) fn pull(h: &mut Harness, of: &Theirs, range: (u64, u64), path: &[&str]) {
    pull_over(h, LINK, of, range, path);
}

/// The same over one of the links.
fn pull_over(h: &mut Harness, link: LinkId, of: &Theirs, range: (u64, u64), path: &[&str]) {
    h.input(Input::Link { link, message: asking(of, range, path) });
}

fn asking(of: &Theirs, (from, to): (u64, u64), path: &[&str]) -> LinkMessage {
    LinkMessage::Pull(Pull {
        id: 7,
        group: GroupId { name: group("g"), incarnation: 0 },
        origin: of.stream.origin.clone(),
        epoch: of.stream.epoch,
        from: Sequence(from),
        to: Sequence(to),
        toward: RelayId::new("r").unwrap(),
        path: path.iter().map(|name| RelayId::new(name).unwrap()).collect(),
        hops: 9,
        anyway: false,
    })
}

/// The same of one that is sent such an answer.
#[test]
fn r10_who_was_sent_an_answer_for_somebody_else_is_sent_what_stands_before_it() {
    let (mut h, theirs) = with_a_hole();
    theirs.send(&mut h, 1..4);
    join_and_read_nothing(&mut h, &theirs);
    pull(&mut h, &theirs, (4, 4), &["x", "o"]);
    lack(&mut h, &theirs);
    assert_eq!(sent_when_read(&mut h), [4, 2, 3, 4], "once as the answer, once in order");
}

/// A relay between `o` and `x`, who are both in its group, where `x` has as much of `theirs` as it has.
fn between_two(theirs: &Theirs) -> Harness {
    let options = |(link, name)| LinkOptions {
        link: LinkId(link),
        neighbour: RelayId::new(name).unwrap(),
        cost: 1,
        rate: None,
    };
    let mut h = Harness::with_links(&[(1, "o"), (2, "x")].map(options));
    let id = GroupId { name: group("g"), incarnation: 0 };
    for (link, name) in [(1, "o"), (2, "x")] {
        let (link, relay) = (LinkId(link), RelayId::new(name).unwrap());
        let version = Version { counter: 1, storage: StorageId([9; 16]) };
        let mut state = LinkState::new(relay.clone(), version);
        state.links = vec![Advertised { neighbour: RelayId::new("r").unwrap(), cost: 1, is_up: true }];
        let member = Membership { group: id.clone(), relay, version, member: true };
        h.input(Input::LinkUp { link, losses: true });
        let facts = vec![Fact::LinkState(state), Fact::Membership(member)];
        for message in [LinkMessage::Facts(facts), LinkMessage::FactsEnd] {
            h.input(Input::Link { link, message });
        }
    }
    h.pass_ms(2_000);
    h.hear(theirs.name());
    theirs.send(&mut h, 0..theirs.runs.len());
    let (origin, epoch, seen) = (theirs.stream.origin.clone(), theirs.stream.epoch, theirs.stream.last);
    let streams = vec![StreamSeen { origin, epoch, seen, released: Sequence(0), wanted: Sequence(0) }];
    let message = LinkMessage::Seen { group: id, streams, why: SeenWhy::Answers };
    h.input(Input::Link { link: LinkId(2), message });
    h.said.clear();
    h
}

#[test]
fn r10_what_is_pulled_for_a_reader_of_the_log_goes_to_it_once_though_it_comes_twice() {
    let mut theirs = Theirs::begin(1);
    theirs.put("a");
    let mut h = between_two(&theirs);
    theirs.put("b");
    h.input(Input::Link { link: LinkId(2), message: asking(&theirs, (3, 3), &["x"]) });
    let asked = pulls(&mut h);
    assert_eq!(asked.len(), 1, "it is not here, and the origin has it");
    // Pushed, and given as the answer.
    theirs.send(&mut h, 2..3);
    theirs.send(&mut h, 2..3);
    let (is_here, to, released) = (true, Sequence(3), Sequence(0));
    h.hear(LinkMessage::Pulled(Pulled { id: asked[0].id, is_here, to, released }));
    h.pass_ms(5_000);
    let runs = h.said.iter().filter(|said| matches!(said, LinkMessage::Run { .. })).count();
    assert_eq!(runs, 1);
}

/// The epochs that were named with their bases and what is released of them, and the runs that
/// were sent, in order.
fn named_and_sent(h: &Harness) -> Vec<(u64, Sequence, Sequence)> {
    let told = h.said.iter().filter_map(|said| {
        if let LinkMessage::Stream(named) = said {
            Some((named.epoch.counter, named.base, named.released))
        } else if let LinkMessage::Run { run, .. } = said {
            Some((0, run.header.first, Sequence(0)))
        } else {
            None
        }
    });
    told.collect()
}

#[test]
fn i10_who_pulls_a_later_epoch_is_told_of_the_one_before_that_it_must_wait_for() {
    let (first, second) = two_epochs();
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(first.name());
    first.send(&mut h, 0..3);
    h.hear(second.name());
    second.send(&mut h, 0..2);
    h.input(Input::LinkDown { link: LINK });
    h.input(Input::LinkUp { link: LINK, losses: true });
    h.said.clear();
    pull(&mut h, &second, (1, 2), &["x"]);
    let expected = [(1, 1), (2, 1), (0, 1), (0, 2)].map(|(epoch, base)| (epoch, Sequence(base), Sequence(0)));
    assert_eq!(named_and_sent(&h), expected);
}

/// The same of one that passes the later one on, and has nothing of the one before itself.
#[test]
fn i10_who_is_passed_a_later_epoch_is_told_of_the_one_before_of_which_nothing_is_here() {
    let (first, mut second) = (Theirs::begin(1), Theirs::begin(2));
    second.put("b");
    let mut h = Harness::between();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(first.name());
    h.hear(second.name());
    h.said.clear();
    pull_over(&mut h, OTHER_LINK, &second, (1, 2), &["x"]);
    assert_eq!(pulls(&mut h).len(), 1, "it is asked for");
    second.send(&mut h, 0..2);
    let expected = [(1, 1), (2, 1), (0, 1), (0, 2)].map(|(epoch, base)| (epoch, Sequence(base), Sequence(0)));
    assert_eq!(named_and_sent(&h), expected);
}

#[test]
fn r10_an_answer_that_an_epoch_is_finished_is_no_sequence_that_was_released() {
    let (mut h, _) = with_a_hole();
    h.pass_ms(1_100);
    let asked = pulls(&mut h);
    let released = Sequence(limits::SEQUENCE_MAX);
    h.hear(LinkMessage::Pulled(Pulled { id: asked[0].id, is_here: false, to: Sequence(0), released }));
    h.pass_ms(60_000);
    assert!(pulls(&mut h).is_empty(), "nobody needs it");
    // Somebody else would take it for a sign that this is what a member has had.
    let id = GroupId { name: group("g"), incarnation: 0 };
    h.hear(LinkMessage::Seen { group: id, streams: Vec::new(), why: SeenWhy::Asks });
    let told = h.said.iter().filter_map(|said| {
        if let LinkMessage::Seen { streams, .. } = said { Some(streams.clone()) } else { None }
    });
    let told: Vec<_> = told.flatten().map(|stream| stream.released).collect();
    assert_eq!(told, [Sequence(1)]);
}

/// Two epochs of one origin: the first is whole, with its end.
fn two_epochs() -> (Theirs, Theirs) {
    let (mut first, mut second) = (Theirs::begin(1), Theirs::begin(2));
    first.put("a");
    first.append(Draft::control(RunKind::Seal, encode(&Seal { by: second.stream.epoch })));
    second.put("b");
    (first, second)
}

#[test]
fn i10_epochs_that_a_neighbour_pulls_are_sent_one_after_the_other_however_often_it_asks() {
    let (first, second) = two_epochs();
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    for (theirs, runs) in [(&first, 3), (&second, 2)] {
        h.hear(theirs.name());
        theirs.send(&mut h, 0..runs);
    }
    h.hold_fetches = true;
    h.said.clear();
    // It has given up what it asked for first.
    for (theirs, to) in [(&second, 2), (&first, 3), (&second, 2), (&first, 3)] {
        pull(&mut h, theirs, (1, to), &["x"]);
    }
    h.let_fetches_go();
    let sent = h
        .said
        .iter()
        .filter_map(|said| if let LinkMessage::Run { run, .. } = said { Some(run.header) } else { None });
    let expected = first.runs.iter().chain(&second.runs).map(|run| run.header);
    assert!(sent.eq(expected));
    assert_eq!(h.said.iter().filter(|said| matches!(said, LinkMessage::Pulled(_))).count(), 2);
}

#[test]
fn i10_a_later_epoch_is_pulled_soon_after_the_earlier_one_is_whole_however_often_it_was_in_vain() {
    let (first, second) = two_epochs();
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(first.name());
    h.hear(second.name());
    // It is dropped: what stands before it is not here.
    second.send(&mut h, 0..2);
    h.pass_ms(300_000);
    pulls(&mut h);
    first.send(&mut h, 0..3);
    h.pass_ms(1_100);
    let asked = pulls(&mut h);
    assert_eq!(
        asked.iter().map(|pull| (pull.epoch.counter, pull.from)).collect::<Vec<_>>(),
        [(2, Sequence(1))]
    );
}
