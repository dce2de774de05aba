//! A LOSS that stands in place of records (R9): what a relay makes of one.

use super::harness::{Harness, LINK, group, sub};
use super::links::Theirs;
use crate::id::{Index, RelayId, Sequence};
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::relay::loss::{Loss, LossCause};
use crate::relay::lost::InPlace;
use crate::relay::stream::{Draft, Seal};
use crate::wire::body::{GapCause, Reply, Request, Start, SubscriptionSpec, encode};
use crate::wire::link::{GroupId, LinkMessage, Pull};
use crate::wire::run::{Run, RunHeader, RunKind};

/// What stands in place of these runs of the neighbour's stream.
fn in_place(theirs: &Theirs, runs: std::ops::Range<usize>, seals: bool) -> Run {
    let lost = &theirs.runs[runs];
    let (first, last) = (lost[0].header, lost[lost.len() - 1].header);
    let has_genesis = first.kind == RunKind::Genesis;
    let members = has_genesis.then(|| (RelayId::new("r").unwrap(), 1)).into_iter().collect();
    let by = theirs.stream.origin.clone();
    let cause = LossCause::Damaged(InPlace { by, chain: Some(last.hash()), seals, members });
    let count = (last.end().0 - first.first.0) as u32;
    let draft = Draft {
        count,
        ..Draft::control(RunKind::Loss, encode(&Loss { cause, after: None, messages: None }))
    };
    let header = RunHeader {
        kind: RunKind::Loss,
        has_ttl: false,
        has_subject: false,
        count,
        body_bytes: draft.body.len() as u32,
        first: first.first,
        body_hash: draft.body_hash,
        chain: 0,
        accepted: first.accepted,
        producer: None,
    };
    Run { header, body: draft.body }
}

fn hear(h: &mut Harness, theirs: &Theirs, run: Run) {
    h.hear(LinkMessage::Run { stream: theirs.stream.number, age_ms: 0, run });
}

/// The neighbour has put six messages. A relay that receives from there has been sent the first runs of it.
fn with_runs(runs: usize) -> (Harness, Theirs, u32) {
    let mut theirs = Theirs::begin(1);
    ["a", "b", "c", "d", "e", "f"].into_iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.hear(theirs.name());
    theirs.send(&mut h, 0..runs);
    (h, theirs, s)
}

fn records(h: &Harness) -> Vec<(RunKind, u64, u32)> {
    let run = |entry: &Entry| match entry {
        Entry::Run(run) => Some((run.run.header.kind, run.run.header.first.0, run.run.header.count)),
        Entry::State(_) => None,
    };
    h.log.iter().filter_map(run).collect()
}

#[test]
fn r9_a_loss_takes_the_place_of_what_is_lacking_and_of_nothing_else() {
    let (mut h, theirs, s) = with_runs(4);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    // Of "b" to "e", which is 3 to 6, only the last two are not here.
    let lost = in_place(&theirs, 2..6, false);
    hear(&mut h, &theirs, lost.clone());
    theirs.send(&mut h, 6..7);
    assert_eq!(h.payloads(), ["f"]);
    assert_eq!(h.gaps(), [(Index(5), Index(7), GapCause::Damaged)]);
    assert_eq!(records(&h)[4..], [(RunKind::Loss, 5, 2), (RunKind::Data, 7, 1)]);
    let info = h.info("g", "s");
    assert_eq!(info.out.lost, 2);
    // It comes again, and so does what is lost: neither is taken.
    hear(&mut h, &theirs, lost);
    theirs.send(&mut h, 2..7);
    assert_eq!((h.payloads().len(), records(&h).len()), (0, 6));
    h.ack(s, 1, 100);
    // The same after a start, of a snapshot or of the log alone.
    for has_snapshot in [true, false] {
        let snapshot = if has_snapshot { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
        h.meet(Vec::new());
        h.hear(theirs.name());
        theirs.send(&mut h, 2..7);
        assert_eq!(records(&h).len(), 6);
    }
}

#[test]
fn r9_a_loss_beyond_a_hole_is_not_taken() {
    let (mut h, theirs, _) = with_runs(2);
    let lost = in_place(&theirs, 3..5, false);
    hear(&mut h, &theirs, lost.clone());
    assert_eq!(records(&h).len(), 2);
    theirs.send(&mut h, 2..3);
    hear(&mut h, &theirs, lost);
    theirs.send(&mut h, 5..7);
    assert_eq!(h.payloads(), ["a", "b", "e", "f"]);
}

/// That this relay is owed the stream stands in what is lost.
#[test]
fn r9_what_stands_behind_a_lost_genesis_is_owed() {
    for restarts in [false, true] {
        let (mut h, theirs, _) = with_runs(0);
        hear(&mut h, &theirs, in_place(&theirs, 0..2, false));
        if restarts {
            h.crash(&Snapshot::default());
            let s = h.attach("g", "s");
            h.credit(s, 100);
            h.meet(Vec::new());
            h.hear(theirs.name());
        }
        theirs.send(&mut h, 2..4);
        assert_eq!(h.payloads(), ["b", "c"]);
        assert_eq!(h.gaps(), [(Index(1), Index(3), GapCause::Damaged)]);
    }
}

/// What ends the epoch is lost.
#[test]
fn r9_a_loss_ends_an_epoch_whose_seal_is_lost() {
    let (mut h, mut theirs, _) = with_runs(7);
    let mut second = Theirs::begin(2);
    theirs.append(Draft::control(RunKind::Seal, encode(&Seal { by: second.stream.epoch })));
    second.put("g");
    h.hear(second.name());
    second.send(&mut h, 0..2);
    assert!(!h.payloads().contains(&"g".to_owned()), "it waits for the end of the first one");
    hear(&mut h, &theirs, in_place(&theirs, 7..8, true));
    second.send(&mut h, 0..2);
    assert_eq!(h.payloads(), ["g"]);
}

/// Who begins in the middle of it has no record to count from.
#[test]
fn r9_a_subscription_that_begins_within_a_loss_gets_all_that_is_behind_it() {
    let (mut h, theirs, s) = with_runs(2);
    hear(&mut h, &theirs, in_place(&theirs, 2..6, false));
    h.hold_fetches = true;
    theirs.send(&mut h, 6..7);
    h.let_fetches_go();
    h.payloads();
    for from in 3..7 {
        h.notices.clear();
        let seek =
            Request::SubscriptionSeek { group: group("g"), name: sub("s"), start: Start::Index(Index(from)) };
        assert_eq!(h.request(seek), Ok(Reply::Done));
        h.credit(s, 1_000);
        assert_eq!(h.payloads(), ["f"], "from {from}");
        assert_eq!(h.gaps(), [(Index(from), Index(7), GapCause::Damaged)]);
    }
}

/// Who has taken a loss answers with it; but not one who repairs its disk, nor one who does not know it.
#[test]
fn r9_a_loss_is_passed_on_to_who_lacks_it_and_takes_it() {
    let (mut h, theirs, _) = with_runs(2);
    hear(&mut h, &theirs, in_place(&theirs, 2..6, false));
    theirs.send(&mut h, 6..7);
    for (losses, anyway, is_told) in [(true, false, true), (true, true, false), (false, false, false)] {
        h.input(Input::LinkDown { link: LINK });
        h.input(Input::LinkUp { link: LINK, losses });
        h.pass_ms(2_000);
        h.said.clear();
        let name = |name: &str| RelayId::new(name).unwrap();
        h.hear(LinkMessage::Pull(Pull {
            id: 7,
            group: GroupId { name: group("g"), incarnation: 0 },
            origin: theirs.stream.origin.clone(),
            epoch: theirs.stream.epoch,
            from: Sequence(3),
            to: Sequence(5),
            toward: name("o"),
            path: vec![name("x"), name("o")],
            hops: 9,
            anyway,
        }));
        let is_loss = |said: &LinkMessage| matches!(said, LinkMessage::Run { run, .. } if run.header.kind == RunKind::Loss);
        assert_eq!(h.said.iter().any(is_loss), is_told, "losses: {losses}, anyway: {anyway}");
    }
}

/// One that does not say in place of what it stands is one record.
#[test]
fn r9_a_loss_of_many_records_that_stands_for_none_is_not_taken() {
    let (mut h, theirs, _) = with_runs(2);
    let loss = Loss { cause: LossCause::Uncertain, after: None, messages: None };
    let draft = Draft::control(RunKind::Loss, encode(&loss));
    let mut run = in_place(&theirs, 2..6, false);
    run.header.chain = theirs.runs[2].header.chain;
    (run.header.body_hash, run.header.body_bytes) = (draft.body_hash, draft.body.len() as u32);
    hear(&mut h, &theirs, Run { body: draft.body, ..run });
    assert_eq!(records(&h).len(), 2);
    theirs.send(&mut h, 2..7);
    assert_eq!(h.payloads(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(h.info("g", "s").out.lost, 0);
}
