//! How long the answer to a pull is waited for.

use std::collections::{BTreeMap, BTreeSet};

use super::harness::{Harness, LINK, OTHER_LINK, group};
use super::links::Theirs;
use super::pull::{pull, pulls};
use crate::id::Sequence;
use crate::limits;
use crate::relay::Input;
use crate::relay::stream::{Draft, Seal};
use crate::wire::body::{SubscriptionSpec, encode};
use crate::wire::link::{GroupId, LinkMessage, Pulled, SeenWhy, StreamSeen};
use crate::wire::run::RunKind;

/// Between the answers of a neighbour, in milliseconds: two of them are longer than the wait.
const PAUSE_MS: u64 = limits::PULL_WAIT_MS * 3 / 4;

/// A relay with two neighbours has the first of seven runs, and has asked the first neighbour for the others:
/// with this id.
fn with_a_pull() -> (Harness, Theirs, u64) {
    let mut theirs = Theirs::begin(1);
    ["a", "b", "c", "d", "e", "f"].into_iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::between();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(theirs.name());
    theirs.send(&mut h, 0..1);
    theirs.send(&mut h, 6..7);
    h.pass_ms(limits::PULL_PATIENCE_MS + 100);
    let asked = pulls(&mut h);
    assert_eq!(asked.len(), 1);
    (h, theirs, asked[0].id)
}

/// How often it is asked for again, when one of these runs comes in each pause.
fn asked_again(runs: &[usize]) -> usize {
    let (mut h, theirs, _) = with_a_pull();
    for run in runs {
        h.pass_ms(PAUSE_MS);
        theirs.send(&mut h, *run..run + 1);
    }
    pulls(&mut h).len()
}

#[test]
fn p6_an_answer_of_which_more_comes_is_waited_for() {
    assert_eq!(asked_again(&[1, 2, 3, 4, 5]), 0);
}

#[test]
fn r10_a_neighbour_that_says_nothing_more_is_given_up() {
    let (mut h, theirs, _) = with_a_pull();
    theirs.send(&mut h, 1..2);
    h.pass_ms(limits::PULL_WAIT_MS - 1);
    assert_eq!(pulls(&mut h).len(), 0);
    h.pass_ms(1);
    assert_eq!(pulls(&mut h).len(), 1, "the other one is asked");
}

#[test]
fn r10_a_neighbour_that_sends_what_does_not_fit_or_the_same_again_is_given_up() {
    assert_eq!(asked_again(&[4, 5]), 1, "not next");
    assert_eq!(asked_again(&[1, 1, 1]), 1, "here already");
}

#[test]
fn p6_an_answer_is_waited_for_though_what_it_brings_has_come_over_another_link() {
    let (mut h, theirs, _) = with_a_pull();
    let over_other = |message| Input::Link { link: OTHER_LINK, message };
    h.input(over_other(theirs.name()));
    for run in &theirs.runs[1..5] {
        let stream = theirs.stream.number;
        h.input(over_other(LinkMessage::Run { stream, age_ms: 0, run: run.clone() }));
    }
    for run in 1..5 {
        h.pass_ms(PAUSE_MS);
        theirs.send(&mut h, run..run + 1);
    }
    assert_eq!(pulls(&mut h).len(), 0);
}

#[test]
fn i10_an_epoch_is_waited_for_while_the_one_before_it_comes() {
    let (mut first, second) = (Theirs::begin(1), Theirs::begin(2));
    ["a", "b", "c", "d"].into_iter().for_each(|payload| first.put(payload));
    let mut h = Harness::between();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let seen = |theirs: &Theirs| {
        let (origin, epoch, seen) = (theirs.stream.origin.clone(), theirs.stream.epoch, theirs.stream.last);
        StreamSeen { origin, epoch, seen, released: Sequence(0), wanted: Sequence(0) }
    };
    let streams = vec![seen(&first), seen(&second)];
    let id = GroupId { name: group("g"), incarnation: 0 };
    h.hear(LinkMessage::Seen { group: id, streams, why: SeenWhy::Answers });
    h.pass_ms(limits::PULL_PATIENCE_SHOWN_MS + 100);
    assert_eq!(pulls(&mut h).len(), 2, "one for each epoch");
    h.hear(first.name());
    for run in 0..5 {
        theirs_next(&mut h, &first, run);
    }
    h.hear(second.name());
    h.pass_ms(limits::PULL_WAIT_MS);
    let asked: BTreeSet<u64> = pulls(&mut h).iter().map(|pull| pull.epoch.counter).collect();
    assert_eq!(asked, BTreeSet::from([1, 2]), "neither was answered to the end");
}

/// The next run comes, and nothing was asked again.
fn theirs_next(h: &mut Harness, theirs: &Theirs, run: usize) {
    h.pass_ms(PAUSE_MS);
    theirs.send(h, run..run + 1);
    assert_eq!(pulls(h).len(), 0, "before run {run}");
}

/// A neighbour asks for two epochs at once, of which the first is more than is sent for one pull. Gives the
/// sequence at which that is answered, when the link takes everything.
fn with_a_long_answer() -> (Harness, [Theirs; 2], u64) {
    let (mut first, mut second) = (Theirs::begin(1), Theirs::begin(2));
    let payload = "x".repeat(32 * 1024);
    (0..140).for_each(|_| first.put(&payload));
    first.append(Draft::control(RunKind::Seal, encode(&Seal { by: second.stream.epoch })));
    second.put("b");
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    for theirs in [&first, &second] {
        h.hear(theirs.name());
        theirs.send(&mut h, 0..theirs.runs.len());
    }
    h.hold_fetches = true;
    h.said.clear();
    pull(&mut h, &first, (1, 142), &["x"]);
    pull(&mut h, &second, (1, 2), &["x"]);
    h.hold_fetches = false;
    h.let_fetches_go();
    let sent = sent(&mut h);
    assert_eq!(sent.iter().filter(|(epoch, _)| *epoch == 2).count(), 0, "the rest comes before it");
    let last = sent.last().map_or(0, |(_, sequence)| *sequence);
    assert!((120..140).contains(&last), "{last} runs");
    (h, [first, second], last)
}

/// The epochs and sequences of what is sent, when the link takes everything.
fn sent(h: &mut Harness) -> Vec<(u64, u64)> {
    (0..200).for_each(|_| h.input(Input::LinkWritten { link: LINK, total: u64::MAX }));
    let mut epochs = BTreeMap::new();
    let mut sent = Vec::new();
    for said in std::mem::take(&mut h.said) {
        if let LinkMessage::Stream(named) = &said {
            epochs.insert(named.number, named.epoch.counter);
        }
        if let LinkMessage::Run { stream, run, .. } = said {
            sent.push((epochs.get(&stream).copied().unwrap_or(1), run.header.first.0));
        }
    }
    sent
}

#[test]
fn i10_the_rest_of_an_epoch_is_sent_before_a_later_one_when_it_is_asked_for() {
    let (mut h, [first, _], last) = with_a_long_answer();
    h.pass_ms(limits::PULL_PATIENCE_MS + 200);
    pull(&mut h, &first, (last + 1, 142), &["x"]);
    let expected: Vec<(u64, u64)> = (last + 1..=142).map(|run| (1, run)).chain([(2, 1), (2, 2)]).collect();
    assert_eq!(sent(&mut h), expected);
}

#[test]
fn i10_a_later_epoch_does_not_wait_for_long_when_the_rest_is_not_asked_for() {
    let (mut h, _, _) = with_a_long_answer();
    h.pass_ms(limits::PULL_WAIT_MS);
    assert_eq!(sent(&mut h), [(2, 1), (2, 2)]);
}

#[test]
fn r10_the_rest_of_what_was_answered_in_part_is_asked_for_soon() {
    let (mut h, theirs, id) = with_a_pull();
    theirs.send(&mut h, 1..3);
    let (is_here, to, released) = (true, Sequence(3), Sequence(0));
    h.hear(LinkMessage::Pulled(Pulled { id, is_here, to, released }));
    h.pass_ms(limits::PULL_PATIENCE_MS);
    let asked = pulls(&mut h);
    assert_eq!((asked.len(), asked[0].from, asked[0].to), (1, Sequence(4), Sequence(7)));
}
