//! A last block that was cut and may have been durable (F26, R17).

use super::harness::{Harness, LINK, group, sub};
use crate::id::{GroupNumber, RelayId, StorageId};
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::relay::loss::Loss;
use crate::wire::body::{self, GapCause, Notice, RefusalCode, Reply, Request, Start, SubscriptionSpec};
use crate::wire::link::{Fact, GroupId, LinkMessage, Membership, NameEntry, Origin, Version};
use crate::wire::run::RunKind;

fn uncertain(h: &Harness) -> Vec<(u64, u64)> {
    let gap = |notice: &Notice| match notice {
        Notice::Gap { from, to, cause: GapCause::Uncertain, .. } => Some((from.0, to.0)),
        Notice::Gap { .. }
        | Notice::Stream { .. }
        | Notice::PutRefused { .. }
        | Notice::Detached { .. }
        | Notice::Unordered { .. } => None,
    };
    h.notices.iter().filter_map(gap).collect()
}

fn warnings(h: &mut Harness) -> Vec<String> {
    match h.request(Request::Status) {
        Ok(Reply::Status(status)) => {
            status.warnings.into_iter().filter(|w| w.contains("uncertain")).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The LOSS records of a group, with the index of each.
fn losses(h: &Harness, group: u32) -> Vec<(u64, Loss)> {
    let loss = |entry: &Entry| match entry {
        Entry::Run(run) if run.group.0 == group && run.run.header.kind == RunKind::Loss => {
            Some((run.first_index.0, body::decode(&run.run.body).unwrap()))
        }
        Entry::Run(_) | Entry::State(_) => None,
    };
    h.log.iter().filter_map(loss).collect()
}

fn receive(h: &mut Harness, group: &str) -> u32 {
    let handle = h.attach(group, "s");
    h.credit(handle, 100);
    handle
}

/// Two groups with a subscription each; the last entry of the log is a put into `a`.
fn two_groups() -> Harness {
    let mut h = Harness::new();
    for name in ["a", "b"] {
        let group = h.open(name);
        h.attach(name, "s");
        h.put(group, &["kept"]);
    }
    let a = h.open("a");
    h.put(a, &["perhaps lost", "this too"]);
    h
}

#[test]
fn f26_a_cut_block_leaves_a_record_that_subscribers_get_as_a_gap_in_its_place() {
    let mut h = two_groups();
    h.crash_cutting(&Snapshot::default(), 1, Some(vec![(GroupNumber(1), 2)]));
    let a = h.open("a");
    h.put(a, &["after"]);
    receive(&mut h, "a");
    receive(&mut h, "b");
    assert_eq!(h.payloads(), ["kept", "after", "kept"]);
    let told = losses(&h, 1);
    assert_eq!(told.len(), 1);
    let (index, loss) = &told[0];
    assert_eq!(
        (loss.messages, loss.after.map(|(epoch, last)| (epoch.counter, last.0))),
        (Some(2), Some((1, 2)))
    );
    assert_eq!(uncertain(&h), [(*index, index + 1)], "group b had nothing in it");
    assert_eq!(losses(&h, 2), []);
    assert!(h.books().balanced);
    let said = warnings(&mut h);
    assert!(
        said.len() == 1 && said[0].contains("boot 2") && said[0].contains("1 entries, 2 messages"),
        "{said:?}"
    );
}

#[test]
fn f26_the_record_outlives_restarts_until_the_gap_is_acked() {
    let mut h = two_groups();
    h.crash_cutting(&Snapshot::default(), 1, Some(vec![(GroupNumber(1), 2)]));
    h.crash(&Snapshot::default());
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    assert_eq!(losses(&h, 1).len(), 1, "it is said once");
    assert_eq!(warnings(&mut h).len(), 1, "and stays in the status");
    let s = receive(&mut h, "a");
    let gap = uncertain(&h);
    assert_eq!(gap.len(), 1);
    h.ack(s, 1, gap[0].1);
    h.pass_ms(2_000);
    h.crash(&snapshot);
    receive(&mut h, "a");
    assert_eq!(uncertain(&h), [], "it was acked");
    h.pass_ms(40 * 24 * 3600 * 1000);
    assert!(warnings(&mut h).is_empty());
}

#[test]
fn f26_what_a_crash_takes_of_the_records_is_said_again_and_nothing_twice() {
    for durable in 0..9 {
        let mut h = two_groups();
        h.auto_sync = false;
        h.crash_cutting(&Snapshot::default(), 0, None);
        h.settle();
        let is_noted = durable > 0;
        h.durable = (h.durable + durable).min(h.log.len());
        h.auto_sync = true;
        if is_noted {
            h.crash(&Snapshot::default());
        } else {
            // Without a block behind it the cut is found again.
            h.crash_cutting(&Snapshot::default(), 0, None);
        }
        check_told_once(&mut h, &format!("{durable} entries were durable"));
    }
}

#[test]
fn f26_parts_of_a_snapshot_that_know_of_a_cut_are_not_told_again() {
    for part in 0..3 {
        let mut h = two_groups();
        h.crash_cutting(&Snapshot::default(), 0, None);
        h.settle();
        let snapshot = h.snapshot_of(part);
        h.crash(&snapshot);
        check_told_once(&mut h, &format!("part {part} is new"));
    }
}

fn check_told_once(h: &mut Harness, what: &str) {
    receive(h, "a");
    receive(h, "b");
    assert_eq!((losses(h, 1).len(), losses(h, 2).len()), (1, 1), "{what}");
    assert_eq!((uncertain(h).len(), warnings(h).len()), (2, 1), "{what}");
    assert!(h.books().balanced);
}

#[test]
fn f26_where_nobody_knows_what_a_cut_block_had_every_group_is_told() {
    let mut h = two_groups();
    h.open("unused");
    let spec = SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() };
    h.subscribe("unused", "s", spec);
    h.crash_cutting(&Snapshot::default(), 0, None);
    for group in 1..=3 {
        let told = losses(&h, group);
        assert!(told.len() == 1 && told[0].1.messages.is_none(), "{told:?}");
    }
    assert_eq!(losses(&h, 3)[0].1.after, None, "it has no stream");
    receive(&mut h, "unused");
    assert_eq!(uncertain(&h).len(), 1);
    // A subscription that begins now was promised nothing of it.
    h.notices.clear();
    let late = h.attach("a", "late");
    h.credit(late, 10);
    assert_eq!(uncertain(&h), []);
}

/// A relay that has no table of members yet, with a subscription each on two groups.
fn apart() -> Harness {
    let mut h = Harness::apart();
    for name in ["a", "b"] {
        h.subscribe(name, "s", SubscriptionSpec::default());
    }
    h
}

/// Who is no member yet is told nothing, and no stream is begun: members unknown would miss it.
fn check_silent(h: &mut Harness, what: &str) {
    assert_eq!((losses(h, 1).len(), losses(h, 2).len()), (0, 0), "{what}");
    let a = h.open("a");
    h.put(a, &["x"]);
    let refused = h.notices.iter().any(|notice| match notice {
        Notice::PutRefused { refusal, .. } => refusal.code == RefusalCode::NotReady,
        Notice::Gap { .. } | Notice::Stream { .. } | Notice::Detached { .. } | Notice::Unordered { .. } => {
            false
        }
    });
    assert!(refused, "{what}: {:?}", h.notices);
    h.notices.clear();
}

#[test]
fn f26_a_relay_that_does_not_know_the_members_yet_tells_its_losses_when_it_does() {
    for from in ["the start", "a snapshot", "the log", "a snapshot and the log", "parts of a snapshot"] {
        let mut h = apart();
        h.crash_cutting(&Snapshot::default(), 0, None);
        check_silent(&mut h, from);
        let snapshot = match from {
            "the start" => None,
            "the log" => Some(Snapshot::default()),
            "parts of a snapshot" => Some(h.snapshot_of(1)),
            _ => Some(h.snapshot()),
        };
        if let Some(snapshot) = snapshot {
            if from == "a snapshot and the log" {
                h.subscribe("c", "s", SubscriptionSpec::default());
            }
            h.crash(&snapshot);
            check_silent(&mut h, from);
        }
        h.meet(Vec::new());
        check_told_once(&mut h, from);
        h.crash(&Snapshot::default());
        h.meet(Vec::new());
        assert_eq!((losses(&h, 1).len(), losses(&h, 2).len()), (1, 1), "{from}, and a start later");
    }
}

#[test]
fn f26_what_a_crash_takes_of_losses_told_late_is_told_again_and_nothing_twice() {
    for durable in 0..12 {
        let mut h = apart();
        h.crash_cutting(&Snapshot::default(), 0, None);
        h.auto_sync = false;
        h.meet(Vec::new());
        h.durable = (h.durable + durable).min(h.log.len());
        h.auto_sync = true;
        h.crash(&Snapshot::default());
        h.meet(Vec::new());
        check_told_once(&mut h, &format!("{durable} entries were durable"));
    }
}

/// What the neighbour has heard of this relay when it still had its first disk.
fn before_the_loss() -> Vec<Fact> {
    let old = StorageId([7; 16]);
    let id = GroupId { name: group("a"), incarnation: 0 };
    let relay = RelayId::new("r").unwrap();
    let version = Version { counter: 5, storage: old };
    vec![
        Fact::Membership(Membership { group: id.clone(), relay: relay.clone(), version, member: true }),
        Fact::Origin(Origin { group: id.clone(), relay: relay.clone(), version, active: true }),
        Fact::Name(NameEntry {
            group: id,
            name: sub("s"),
            home: relay,
            version,
            spec: Some(SubscriptionSpec::default()),
        }),
    ]
}

/// What the neighbour knows after it has heard what the relay said.
fn overruled(h: &Harness, mut facts: Vec<Fact>) -> Vec<Fact> {
    for said in &h.said {
        let LinkMessage::Facts(news) = said else { continue };
        for known in &mut facts {
            let is_newer = |fact: &&Fact| match (fact, &*known) {
                (Fact::Membership(new), Fact::Membership(old)) => new.version > old.version,
                (Fact::Origin(new), Fact::Origin(old)) => new.version > old.version,
                (Fact::Name(new), Fact::Name(old)) => new.version > old.version,
                _ => false,
            };
            // They come in the order in which they were said.
            if let Some(newest) = news.iter().rfind(is_newer) {
                *known = newest.clone();
            }
        }
    }
    facts
}

/// A disk that is gone may have held messages nobody else has heard of: that is said, also
/// when the relay ends before it knows the members, and at any moment while it says so (P2, R3).
#[test]
fn p02_a_relay_that_lost_its_disk_says_so_whenever_it_is_interrupted() {
    for which in [vec![1], vec![2], vec![0, 1, 2], vec![2, 1, 0]] {
        let told: Vec<Fact> = which.iter().map(|at| before_the_loss()[*at].clone()).collect();
        for durable in 0..14 {
            for has_end in [false, true] {
                let mut h = Harness::apart();
                h.auto_sync = false;
                h.input(Input::LinkUp { link: LINK, losses: true });
                h.hear(LinkMessage::Facts(told.clone()));
                if has_end {
                    h.hear(LinkMessage::FactsEnd);
                }
                h.durable = (h.durable + durable).min(h.log.len());
                let known = overruled(&h, told.clone());
                h.auto_sync = true;
                h.crash(&Snapshot::default());
                h.said.clear();
                h.meet(known.clone());
                let what = format!("{which:?}, {durable} durable, to the end {has_end}");
                let said = losses(&h, 1).len();
                // Twice, when nothing but the end of it was interrupted.
                assert!(said == 1 || said == 2 && durable > 0 && has_end, "{said}: {what}");
                if which.contains(&2) {
                    // The subscription is there again (it panics when there is none).
                    h.info("a", "s");
                }
                let known = overruled(&h, known);
                h.crash(&Snapshot::default());
                h.meet(known);
                assert_eq!(losses(&h, 1).len(), said, "{what}, and a start later");
            }
        }
    }
}
