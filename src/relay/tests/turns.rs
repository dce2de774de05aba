//! P10: what is live goes before a backlog on a link, whatever is to be caught up.

use super::harness::{Harness, LINK, group};
use crate::id::{RelayId, Sequence, StorageId};
use crate::limits;
use crate::relay::{Input, Rate};
use crate::wire::body::{Reply, Request};
use crate::wire::link::{
    Advertised, Fact, GroupId, LinkMessage, LinkState, Membership, Pull, SeenWhy, StreamNamed, Version,
};

/// A relay whose neighbour `o` is a member of these groups, and has not yet said how far it is.
pub(super) fn beside(rate: Option<Rate>, groups: &[String]) -> Harness {
    let mut h = Harness::linked_at(rate);
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let o = RelayId::new("o").unwrap();
    let mut state = LinkState::new(o.clone(), version);
    state.links = vec![Advertised { neighbour: RelayId::new("r").unwrap(), cost: 1, is_up: true }];
    let member = |name: &String| {
        Fact::Membership(Membership { group: id(name), relay: o.clone(), version, member: true })
    };
    let mut facts = vec![Fact::LinkState(state)];
    facts.extend(groups.iter().map(member));
    h.hear(LinkMessage::Facts(facts));
    h.pass_ms(2_000);
    h.said.clear();
    h
}

pub(super) fn id(name: &str) -> GroupId {
    GroupId { name: group(name), incarnation: 0 }
}

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The neighbour has nothing of a group, and says so.
pub(super) fn compare(h: &mut Harness, name: &str, why: SeenWhy) {
    h.hear(LinkMessage::Seen { group: id(name), streams: Vec::new(), why });
}

pub(super) fn put(h: &mut Harness, name: &str, kib: usize) {
    let handle = h.open(name);
    h.put(handle, &[&"x".repeat(kib * 1024)]);
}

pub(super) fn put_many(h: &mut Harness, name: &str, runs: usize, kib: usize) {
    for _ in 0..runs {
        put(h, name, kib);
    }
}

/// Everything that was handed to the writer is with the system.
pub(super) fn written(h: &mut Harness) {
    h.input(Input::LinkWritten { link: LINK, total: u64::MAX });
}

/// What was sent of each group, in bytes; the names of streams say of which group a run is.
#[derive(Default)]
pub(super) struct Sent {
    streams: Vec<StreamNamed>,
}

impl Sent {
    /// The runs since the last time, with the name of their group.
    pub(super) fn take(&mut self, h: &mut Harness) -> Vec<(String, u64)> {
        let mut runs = Vec::new();
        for said in std::mem::take(&mut h.said) {
            let bytes = said.bytes();
            if let LinkMessage::Stream(named) = said {
                self.streams.push(named);
            } else if let LinkMessage::Run { stream, run, .. } = said
                // Only messages: what relays say of themselves in a stream is a few bytes.
                && run.body.len() >= 1024
            {
                let named = self.streams.iter().find(|named| named.number == stream).unwrap();
                runs.push((named.group.name.to_string(), bytes));
            }
        }
        runs
    }
}

pub(super) fn bytes_of(runs: &[(String, u64)], name: &str) -> u64 {
    runs.iter().filter(|(of, _)| of == name).map(|(_, bytes)| bytes).sum()
}

/// A neighbour that is up to date with `live` and has a backlog of `runs` runs of 32 KiB of `old`.
fn with_backlog(rate: Option<Rate>, runs: usize) -> (Harness, Sent) {
    let mut h = beside(rate, &names(&["live", "old"]));
    put(&mut h, "live", 1);
    compare(&mut h, "live", SeenWhy::Answers);
    h.pass_ms(1_000);
    written(&mut h);
    put_many(&mut h, "old", runs, 32);
    let mut sent = Sent::default();
    assert_eq!(bytes_of(&sent.take(&mut h), "old"), 0, "it has not said how far it is");
    compare(&mut h, "old", SeenWhy::Answers);
    (h, sent)
}

#[test]
fn p10_a_live_run_waits_behind_a_small_part_of_a_backlog_only() {
    let (mut h, mut sent) = with_backlog(None, 300);
    let before = bytes_of(&sent.take(&mut h), "old");
    let most = limits::LINK_CATCH_UP_BYTES_MAX + 33 * 1024;
    assert!(before > 0 && before <= most, "{before} bytes are on their way before it");
    put(&mut h, "live", 1);
    assert_eq!(bytes_of(&sent.take(&mut h), "live") / 1024, 1, "it goes at once");
    let mut rest = 0;
    for _ in 0..100 {
        written(&mut h);
        let now = bytes_of(&sent.take(&mut h), "old");
        assert!(now <= most);
        rest += now;
    }
    assert_eq!((before + rest) / (32 * 1024), 300, "and the backlog is worked off");
}

/// Asks for a record of `old`, for itself or for somebody else, and says how much of it is sent then.
fn pull(h: &mut Harness, sent: &mut Sent, from: u64, path: &[&str]) -> u64 {
    let named = sent.streams.iter().find(|named| named.group == id("old")).unwrap();
    h.hear(LinkMessage::Pull(Pull {
        id: 7,
        group: id("old"),
        origin: named.origin.clone(),
        epoch: named.epoch,
        from: Sequence(from),
        to: Sequence(limits::SEQUENCE_MAX),
        toward: named.origin.clone(),
        path: path.iter().map(|relay| RelayId::new(relay).unwrap()).collect(),
        hops: 9,
        anyway: false,
    }));
    let told = |h: &Harness| h.said.iter().any(|said| matches!(said, LinkMessage::Pulled(_)));
    let is_answered = told(h);
    let bytes = bytes_of(&sent.take(h), "old");
    assert!(is_answered || bytes > 0 || path.len() > 1, "neither answered nor sent");
    bytes
}

#[test]
fn p10_what_a_slow_neighbour_gets_in_its_turn_is_not_sent_again_since_it_asks_for_it() {
    let (mut h, mut sent) = with_backlog(None, 300);
    sent.take(&mut h);
    assert_eq!(pull(&mut h, &mut sent, 290, &["o"]), 0, "its place is before that");
    let mut rest = 0;
    for _ in 0..100 {
        written(&mut h);
        rest += bytes_of(&sent.take(&mut h), "old");
    }
    assert!(rest > 200 * 32 * 1024);
    // Now its place is behind it: what was sent may be lost.
    assert_eq!(pull(&mut h, &mut sent, 298, &["o"]) / (32 * 1024), 4);
}

#[test]
fn p10_what_is_pulled_takes_no_more_of_a_link_than_a_backlog() {
    let (mut h, mut sent) = with_backlog(None, 300);
    sent.take(&mut h);
    for _ in 0..100 {
        written(&mut h);
        sent.take(&mut h);
    }
    let mut bytes = pull(&mut h, &mut sent, 2, &["x", "o"]);
    assert!(bytes > 0 && bytes <= limits::LINK_CATCH_UP_BYTES_MAX + 33 * 1024, "{bytes} bytes at once");
    for _ in 0..100 {
        written(&mut h);
        bytes += bytes_of(&sent.take(&mut h), "old");
    }
    assert!(bytes >= limits::PULL_BYTES, "and goes on: {bytes}");
    assert!(bytes <= limits::PULL_BYTES + 64 * 1024, "{bytes}");
}

#[test]
fn p10_many_small_backlogs_are_a_backlog_too() {
    let all: Vec<String> = (0..100).map(|i| format!("old{i}")).chain(["live".to_owned()]).collect();
    let mut h = beside(None, &all);
    put(&mut h, "live", 1);
    compare(&mut h, "live", SeenWhy::Answers);
    for name in &all[..100] {
        put(&mut h, name, 32);
    }
    for name in &all[..100] {
        compare(&mut h, name, SeenWhy::Answers);
    }
    let mut sent = Sent::default();
    let before: u64 = sent.take(&mut h).iter().map(|(_, bytes)| bytes).sum();
    assert!(before <= limits::LINK_CATCH_UP_BYTES_MAX + 34 * 1024, "{before}");
    put(&mut h, "live", 1);
    assert_eq!(bytes_of(&sent.take(&mut h), "live") / 1024, 1, "it goes at once");
}

#[test]
fn groups_of_a_backlog_take_turns_by_their_bytes() {
    let mut h = beside(None, &names(&["large", "wide", "small"]));
    h.runs_per_read = 8;
    put_many(&mut h, "large", 400, 32);
    // Its runs are twice what a turn is.
    put_many(&mut h, "wide", 20, 512);
    put_many(&mut h, "small", 64, 32);
    let mut sent = Sent::default();
    for name in ["large", "wide", "small"] {
        compare(&mut h, name, SeenWhy::Answers);
    }
    let mut all = Vec::new();
    while bytes_of(&all, "small") < 64 * 32 * 1024 {
        written(&mut h);
        all.extend(sent.take(&mut h));
        assert!(all.len() < 600, "small has no turns");
    }
    let small = bytes_of(&all, "small");
    for other in ["large", "wide"] {
        let (found, turn) = (bytes_of(&all, other), 1024 * 1024);
        assert!(found <= small + turn, "{other} had {found} bytes, and small {small}");
        assert!(found + turn >= small, "{other} had {found} bytes, and small {small}");
    }
}

pub(super) const RATE: Rate = Rate { bytes_per_second: 1_000_000, burst_bytes: 128 * 1024 };

/// Lets time pass with a live message of `kib` every `every_ms`; gives bytes of live and backlog,
/// and the longest that a live message has waited.
fn run_live(h: &mut Harness, sent: &mut Sent, (kib, every_ms): (usize, u64), ms: u64) -> (u64, u64, u64) {
    let (mut live, mut old, mut put_at, mut longest) = (0, 0, std::collections::VecDeque::new(), 0);
    for at in 0..ms {
        if every_ms > 0 && at % every_ms == 0 {
            put(h, "live", kib);
            put_at.push_back(at);
        }
        h.pass_ms(1);
        written(h);
        for (name, bytes) in sent.take(h) {
            if name == "live" {
                live += bytes;
                longest = longest.max(at - put_at.pop_front().unwrap());
            } else {
                old += bytes;
            }
        }
    }
    (live, old, longest)
}

#[test]
fn p10_a_backlog_has_what_live_leaves_of_a_rate_and_live_does_not_wait_for_it() {
    let (mut h, mut sent) = with_backlog(Some(RATE), 300);
    // Half of the rate.
    let (live, old, longest) = run_live(&mut h, &mut sent, (5, 10), 8_000);
    let left = 8 * RATE.bytes_per_second - live;
    assert!(old * 100 >= left * 95, "the backlog had {old} of {left} bytes that were left");
    assert!(live + old <= 8 * RATE.bytes_per_second + RATE.burst_bytes, "{live} and {old} in 8 s");
    assert!(longest <= 1, "a live message has waited for {longest} ms");
}

#[test]
fn p10_neither_starves_when_live_alone_would_fill_a_link() {
    let (mut h, mut sent) = with_backlog(Some(RATE), 300);
    let (live, old, _) = run_live(&mut h, &mut sent, (1, 1), 8_000);
    let all = live + old;
    assert!(all * 100 >= 8 * RATE.bytes_per_second * 97, "{all} bytes in 8 s");
    assert!((18..=24).contains(&(old * 100 / all)), "the backlog had {old} of {all} bytes");
}

#[test]
fn control_does_not_wait_for_a_rate_and_is_counted() {
    let (mut h, mut sent) = with_backlog(Some(RATE), 300);
    run_live(&mut h, &mut sent, (1, 0), 100);
    let mut control = 0;
    for asked in 0..2_000 {
        compare(&mut h, "live", SeenWhy::Asks);
        let answer = h.said.iter().find(|said| matches!(said, LinkMessage::Seen { .. }));
        control += answer.unwrap_or_else(|| panic!("question {asked} waits")).bytes();
        h.said.clear();
    }
    assert!(control > RATE.burst_bytes, "{control}");
    let (_, old, _) = run_live(&mut h, &mut sent, (1, 0), 1_000);
    let most = RATE.bytes_per_second + RATE.burst_bytes - control;
    assert!(old <= most, "{old} bytes beside {control} of control: {most} would be right");
}

/// Compares so often, and says how many places there were in the queues of the link at the most.
fn compare_for_long(h: &mut Harness, sent: &mut Sent, names: &[&str]) -> usize {
    let mut most = 0;
    for _ in 0..2_000 {
        names.iter().for_each(|name| compare(h, name, SeenWhy::Lacks));
        sent.take(h);
        most = most.max(h.relay.waiting_turns(LINK));
    }
    most
}

#[test]
fn a_neighbour_that_compares_for_ever_takes_no_memory() {
    let backlogs = ["first", "second", "third"];
    let mut h = beside(None, &names(&["first", "second", "third", "live"]));
    put(&mut h, "live", 1);
    compare(&mut h, "live", SeenWhy::Answers);
    h.pass_ms(1_000);
    written(&mut h);
    backlogs.iter().for_each(|name| put(&mut h, name, 32));
    h.hold_fetches = true;
    backlogs.iter().for_each(|name| compare(&mut h, name, SeenWhy::Answers));
    let mut sent = Sent::default();
    assert_eq!(
        compare_for_long(&mut h, &mut sent, &["third"]),
        3,
        "two are read, and one waits for its turn"
    );
    assert!(compare_for_long(&mut h, &mut sent, &backlogs) <= 4, "who begins anew has one place");
    // The link takes nothing more, so one that is live waits too.
    let mut most = 0;
    for _ in 0..400 {
        put(&mut h, "live", 32);
        most = most.max(h.relay.waiting_turns(LINK));
    }
    assert!(most <= 5, "{most} places for what is put while a link is full");
    assert!(compare_for_long(&mut h, &mut sent, &["live", "third"]) <= 6);
    // Nobody has lost its turn over it.
    h.let_fetches_go();
    let mut all = Vec::new();
    (0..100).for_each(|_| {
        written(&mut h);
        all.extend(sent.take(&mut h));
    });
    assert_eq!(backlogs.map(|name| bytes_of(&all, name) / 1024), [32; 3]);
    assert_eq!(h.relay.waiting_turns(LINK), 0);
}

#[test]
fn groups_that_leave_the_tree_while_they_are_read_make_way() {
    let mut h = beside(None, &names(&["first", "second", "third"]));
    for name in ["first", "second", "third"] {
        put(&mut h, name, 32);
    }
    h.hold_fetches = true;
    for name in ["first", "second", "third"] {
        compare(&mut h, name, SeenWhy::Answers);
    }
    h.hold_fetches = false;
    let mut sent = Sent::default();
    assert_eq!(sent.take(&mut h).len(), 0, "two are read, and the third waits for its turn");
    let version = Version { counter: 2, storage: StorageId([9; 16]) };
    let relay = RelayId::new("o").unwrap();
    let leave = |name: &str| {
        let relay = relay.clone();
        Fact::Membership(Membership { group: id(name), relay, version, member: false })
    };
    h.hear(LinkMessage::Facts(vec![leave("first"), leave("second")]));
    assert_eq!(bytes_of(&sent.take(&mut h), "third") / 1024, 32);
}

#[test]
fn a_link_with_a_rate_says_what_waits_for_it() {
    let mut h = beside(Some(Rate::new(10_000)), &names(&["g"]));
    put(&mut h, "g", 1);
    compare(&mut h, "g", SeenWhy::Answers);
    h.pass_ms(1_000);
    written(&mut h);
    put_many(&mut h, "g", 4, 40);
    let waiting = |h: &mut Harness| match h.request(Request::LinkList { after: None, limit: 1 }) {
        Ok(Reply::Links(links)) => links[0].owed_bytes,
        other => panic!("{other:?}"),
    };
    let owed = waiting(&mut h);
    assert!((40_000..165_000).contains(&owed), "{owed} bytes wait");
    written(&mut h);
    for _ in 0..30 {
        h.pass_ms(1_000);
        written(&mut h);
    }
    assert_eq!(waiting(&mut h), 0, "all was sent");
}
