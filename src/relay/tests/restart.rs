use super::harness::{Harness, body, group, sub};
use crate::id::{Epoch, GroupNumber, Index, RelayId, StreamNumber};
use crate::limits;
use crate::log::{Entry, Snapshot};
use crate::relay::state::shard_of;
use crate::relay::stream::Stream;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Notice, RefusalCode, Reply, Request, Start, SubscriptionSpec, encode};
use crate::wire::frame::AckLevel;
use crate::wire::link::{Fact, LinkMessage};
use crate::wire::run::RunKind;

#[test]
fn after_a_crash_everything_durable_is_there_and_acks_that_were_written_hold() {
    for with_snapshot in [false, true] {
        let mut h = Harness::new();
        let g = h.open("g");
        let s = h.attach("g", "s");
        h.credit(s, 2);
        h.put(g, &["a", "b", "c"]);
        h.ack(s, 1, 3);
        h.pass_ms(2_000);
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        h.put(g, &["d"]);
        h.auto_sync = false;
        h.put(g, &["lost"]);
        h.crash(&snapshot);
        h.auto_sync = true;
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["b", "c", "d"], "with snapshot: {with_snapshot}");
        let g = h.open("g");
        h.put(g, &["e"]);
        assert_eq!(h.payloads(), ["e"]);
        assert!(h.books().balanced);
    }
}

#[test]
fn f45_an_ack_that_was_not_written_is_a_redelivery() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a"]);
    h.ack(s, 1, 100);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a"]);
}

#[test]
fn every_boot_is_a_new_epoch_and_the_old_stream_is_sealed_first() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put(g, &["a"]);
    h.crash(&Snapshot::default());
    let g = h.open("g");
    h.put(g, &["b"]);
    let kinds: Vec<(u32, RunKind)> = h
        .log
        .iter()
        .filter_map(|e| match e {
            Entry::Run(run) => Some((run.stream.0, run.run.header.kind)),
            Entry::State(_) => None,
        })
        .collect();
    use RunKind::{Data, Genesis, Seal};
    assert_eq!(kinds, [(1, Genesis), (1, Data), (1, Seal), (2, Genesis), (2, Data)]);
}

#[test]
fn f17_a_retry_after_a_crash_inserts_once() {
    for with_snapshot in [false, true] {
        let mut h = Harness::new();
        let g = h.open("g");
        h.attach("g", "s");
        h.put_with(g, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
        let g = h.open("g");
        h.put_with(g, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
        h.put_with(g, body(&["b"]), Some((7, 2)), AckLevel::Accepted);
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["a", "b"], "with snapshot: {with_snapshot}");
    }
}

/// R14: the time that a relay was down is counted from there.
#[test]
fn r14_a_start_knows_when_the_last_message_arrived() {
    for (put_before, with_snapshot) in [(false, false), (false, true), (true, true)] {
        let mut h = Harness::new();
        let (g, other) = (h.open("g"), h.open("other"));
        let s = h.attach("g", "s");
        h.put(other, &["early"]);
        h.now.wall.0 += 5_000_000;
        let last = h.now.wall;
        if put_before {
            // All of it was taken and let go.
            h.put(g, &["a"]);
            h.ack(s, 1, 100);
            h.pass_ms(3_000);
        }
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        if !put_before {
            h.put(g, &["a"]);
        }
        h.now.wall.0 += 7_000_000;
        h.crash(&snapshot);
        assert_eq!(h.last_arrival, last, "with a snapshot: {with_snapshot}, of what was put: {put_before}");
    }
}

#[test]
fn acks_out_of_order_survive_a_crash() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.put(g, &["a", "b", "c", "d"]);
    let first = h.got[0].index;
    h.ack(s, first + 1, first + 2);
    h.ack(s, first + 3, first + 4);
    h.pass_ms(2_000);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["a", "c"]);
}

#[test]
fn settings_groups_and_numbers_survive() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { quota_count: Some(5), ..GroupSettings::default() });
    let spec = SubscriptionSpec { filter: Some("x/#".into()), shared: true, ..SubscriptionSpec::default() };
    h.subscribe("g", "s", spec);
    let snapshot = h.snapshot();
    h.open("h");
    h.crash(&snapshot);
    let info = h.info("g", "s");
    assert_eq!(info.filter.as_deref(), Some("x/#"));
    assert!(info.shared);
    assert_eq!(info.floor, Index(1));
    h.open("i");
    let numbers: Vec<u32> = h.relay.groups.iter().map(|g| g.number.0).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn what_was_acked_before_a_sync_never_comes_again() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a", "b"]);
    let first = h.got[0].index;
    h.ack(s, first, first + 1);
    assert_eq!(h.request(Request::Sync), Ok(Reply::Done));
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["b"]);
}

#[test]
fn the_books_balance_after_a_restart_that_reads_the_removal_of_a_group_again() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a"]);
    h.ack(s, 1, 100);
    assert_eq!(h.request(Request::Sync), Ok(Reply::Done));
    assert_eq!(h.request(Request::GroupRemove { group: group("g") }), Ok(Reply::Done));
    h.crash(&Snapshot::default());
    assert!(h.books().balanced, "{:?}", h.books());
}

/// One of the things that race with a crash.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Put(&'static str),
    Subscribe,
    Unsubscribe,
}

impl Act {
    fn begin(self, h: &mut Harness, handle: u32) {
        let (group, name) = (group("g"), sub("s"));
        match self {
            Self::Put(payload) => h.put(handle, &[payload]),
            Self::Subscribe => {
                let spec = SubscriptionSpec::default();
                h.ask(Request::SubscriptionCreate { group, name, spec });
            }
            Self::Unsubscribe => {
                h.ask(Request::SubscriptionRemove { group, name });
            }
        }
    }
}

/// What the subscription `s` holds when the acts that survived have happened;
/// nothing if there is none. A put is there with its last entry, which is its
/// run; a subscription comes and goes with the first entry of its act.
fn backlog(acts: &[(Act, usize, usize)], durable: usize) -> Option<Vec<&'static str>> {
    let mut backlog: Option<Vec<&str>> = None;
    for (act, begin, end) in acts {
        match act {
            Act::Put(payload) if *end <= durable => backlog.iter_mut().for_each(|held| held.push(payload)),
            Act::Subscribe if *begin < durable => backlog = Some(Vec::new()),
            Act::Unsubscribe if *begin < durable => backlog = None,
            Act::Put(_) | Act::Subscribe | Act::Unsubscribe => {}
        }
    }
    backlog
}

/// Crashes behind `survivors` of the entries that `acts` append; false when
/// there are not so many.
fn crash_among(acts: &[Act], survivors: usize, with_snapshot: bool) -> bool {
    let mut h = Harness::new();
    let g = h.open("g");
    h.auto_sync = false;
    let durable = h.log.len() + survivors;
    let mut snapshot = Snapshot::default();
    let mut done = Vec::new();
    for act in acts {
        let begin = h.log.len();
        if with_snapshot && begin <= durable {
            snapshot = h.snapshot();
        }
        act.begin(&mut h, g);
        done.push((*act, begin, h.log.len()));
    }
    if durable > h.log.len() {
        return false;
    }
    h.durable = durable;
    h.crash(&snapshot);
    h.auto_sync = true;
    let wanted = backlog(&done, durable);
    let shown = h.request(Request::SubscriptionShow { group: group("g"), name: sub("s") });
    assert_eq!(shown.is_ok(), wanted.is_some(), "{survivors} entries: {shown:?}");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), wanted.unwrap_or_default(), "{survivors} entries");
    let g = h.open("g");
    h.put(g, &["later"]);
    assert_eq!(h.payloads(), ["later"], "{survivors} entries");
    assert!(h.books().balanced, "{survivors} entries: {:?}", h.books());
    true
}

#[test]
fn f48_a_subscription_starts_exactly_whatever_a_crash_leaves() {
    use Act::{Put, Subscribe, Unsubscribe};
    let once = [Put("a"), Subscribe, Put("b")];
    let again =
        [Put("a"), Subscribe, Put("b"), Unsubscribe, Put("c"), Subscribe, Put("d"), Put("e"), Unsubscribe];
    // That it is no member any more is written when the removal is durable, and nothing is here.
    for (acts, entries) in [(&once[..], 6), (&again[..], 13)] {
        for with_snapshot in [false, true] {
            let states = (0..).take_while(|survivors| crash_among(acts, *survivors, with_snapshot)).count();
            assert!(states > entries - 1, "only {states} states for {entries} entries");
        }
    }
}

/// What is left of a group that was removed and made again under load, after a
/// crash behind `survivors` of the entries; `None` when there are not so many.
fn made_again(survivors: usize) -> Option<(Vec<String>, Option<Index>)> {
    let mut h = Harness::new();
    let old = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(old, &["old 1", "old 2"]);
    let first = h.got[0].index;
    h.ack(s, first, first + 1);
    assert_eq!(h.request(Request::Sync), Ok(Reply::Done));
    h.auto_sync = false;
    let durable = h.log.len() + survivors;
    h.put(old, &["old 3"]);
    h.ask(Request::GroupRemove { group: group("g") });
    let opened = h.ask(Request::GroupOpen { group: group("g") });
    let spec = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
    h.ask(Request::SubscriptionCreate { group: group("g"), name: sub("s"), spec });
    let before = h.log.len();
    h.put(old, &["late"]);
    assert_eq!(h.log.len(), before, "nothing of a put to a removed group is written");
    let refused =
        |n: &Notice| matches!(n, Notice::PutRefused { refusal, .. } if refusal.code == RefusalCode::NotFound);
    assert!(h.notices.iter().any(refused), "{:?}", h.notices);
    // The answer waits for the disk; handles are given in order.
    assert!(!h.answers.contains_key(&opened));
    h.put(old + 1, &["new"]);
    assert!(h.books().balanced, "{:?}", h.books());
    if durable > h.log.len() {
        return None;
    }
    h.durable = durable;
    h.crash(&Snapshot::default());
    h.auto_sync = true;
    let shown = h.request(Request::SubscriptionShow { group: group("g"), name: sub("s") });
    let floor = match shown {
        Ok(Reply::Subscription(info)) => Some(info.floor),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    };
    let is_old = floor.is_some_and(|floor| floor > Index(1));
    assert_eq!(h.released.get(&1) == Some(&u64::MAX), !is_old, "the old backlog is let go with its group");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    let held = h.payloads();
    let g = h.open("g");
    h.put(g, &["later"]);
    assert_eq!(h.payloads(), ["later"]);
    assert!(h.books().balanced, "{:?}", h.books());
    Some((held, floor))
}

#[test]
fn f49_a_group_made_again_under_load() {
    let states: Vec<_> = (0..).map_while(made_again).collect();
    let (old, fresh) = (Some(Index(3)), Some(Index(1)));
    let held = |payloads: &[&str]| payloads.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let wanted = [
        (held(&["old 2"]), old),
        (held(&["old 2", "old 3"]), old),
        // The removal, then the new group without its subscription.
        (held(&[]), None),
        (held(&[]), None),
        // The subscription, the stream, its beginning, and then the message.
        (held(&[]), fresh),
        (held(&[]), fresh),
        (held(&[]), fresh),
        (held(&["new"]), fresh),
    ];
    assert_eq!(states, wanted);
}

/// What a relay says of its own membership in `g` and of its subscription there when a neighbour comes.
fn said_of_itself(h: &mut Harness) -> (Option<(u64, bool)>, Option<bool>) {
    h.said.clear();
    h.meet(Vec::new());
    let (mut member, mut name) = (None, None);
    for message in &h.said {
        let LinkMessage::Facts(facts) = message else { continue };
        for fact in facts {
            if let Fact::Membership(said) = fact {
                member = Some((said.version.counter, said.member));
            }
            if let Fact::Name(said) = fact {
                name = Some(said.spec.is_some());
            }
        }
    }
    (member, name)
}

#[test]
fn what_a_relay_changes_while_it_runs_without_links_is_said_when_it_has_some_again() {
    for (is_made_again, with_snapshot) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut h = Harness::linked();
        h.subscribe("g", "s", SubscriptionSpec::default());
        h.unlink();
        h.crash(&Snapshot::default());
        let remove = Request::SubscriptionRemove { group: group("g"), name: sub("s") };
        assert_eq!(h.request(remove), Ok(Reply::Done));
        if is_made_again {
            h.subscribe("g", "s", SubscriptionSpec::default());
        }
        h.link("o");
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
        let (member, name) = said_of_itself(&mut h);
        let (version, is_member) = member.expect("it says whether it is a member");
        assert_eq!((is_member, is_made_again || name == Some(false)), (is_made_again, true), "{name:?}");
        // Above what its own mark says, so others owe it what comes behind that.
        assert!(version >= if is_made_again { 3 } else { 2 }, "{version}");
        // And once: a start that follows has nothing new to say.
        h.crash(&snapshot);
        let again = said_of_itself(&mut h);
        assert!(again.0.is_none() && again.1.is_none(), "{again:?}");
    }
}

#[test]
fn p12_groups_with_many_streams_are_listed_in_pages_that_fit() {
    let mut h = Harness::new();
    let names: Vec<String> = (0..200).map(|number| format!("g{number:03}")).collect();
    for (number, name) in (1..).zip(&names) {
        h.open(name);
        let group = h.relay.groups.get_mut(GroupNumber(number)).unwrap();
        // As many relays have put into it, and are origins for good.
        group.streams.extend((1..=60).map(|stream| {
            let origin = RelayId::new(&format!("{}{stream}", "o".repeat(100))).unwrap();
            let epoch = Epoch { nonce: u64::MAX, ..Epoch::default() };
            Stream::new(StreamNumber(stream), (&group.name, 0), origin, epoch, Index(1))
        }));
    }
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let answer = h.request(Request::GroupList { prefix: String::new(), after, limit: 500 });
        let bytes = encode(&answer).len();
        assert!(bytes <= limits::CONTROL_BYTES_MAX, "{bytes} bytes: nobody is told them");
        let Ok(Reply::Groups(page)) = answer else { panic!("no page") };
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        all.extend(page);
    }
    assert_eq!(all.len(), names.len());
    let bytes = encode(&all).len();
    assert!(bytes > limits::CONTROL_BYTES_MAX, "they would not have fitted into one: {bytes}");
}

/// A snapshot of which only the part of this group is a new one.
fn with_one_part(h: &mut Harness, before: &Snapshot, number: GroupNumber) -> Snapshot {
    let mut mixed = h.snapshot();
    let one = shard_of(number) as usize;
    for (at, shard) in mixed.shards.iter_mut().enumerate().filter(|(at, _)| *at != one) {
        *shard = before.shards[at].clone();
    }
    mixed
}

/// Parts of a snapshot are written one after the other: one may have a later life of a name while the log tells of an
/// earlier one that belongs to another part, whose snapshot is older.
#[test]
fn r11_a_life_that_a_part_of_the_snapshot_has_is_not_lost_over_an_earlier_one_that_the_log_tells_of() {
    for lives in 1..4 {
        let mut h = Harness::new();
        let before = h.snapshot();
        let remove = |h: &mut Harness| h.request(Request::GroupRemove { group: group("g") }).unwrap();
        for _ in 0..lives {
            h.open("g");
            remove(&mut h);
        }
        let g = h.open("g");
        h.subscribe("g", "s", SubscriptionSpec::default());
        h.put(g, &["a"]);
        let number = GroupNumber(lives + 1);
        let snapshot = with_one_part(&mut h, &before, number);
        h.crash(&snapshot);
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["a"], "behind {lives} lives");
        // The next life is above all of them, also when none is left.
        remove(&mut h);
        let snapshot = with_one_part(&mut h, &before, number);
        h.crash(&snapshot);
        h.open("g");
        let life = h.relay.groups.number(&group("g")).and_then(|number| h.relay.groups.get(number)).unwrap();
        assert_eq!(life.incarnation, lives + 1);
    }
}

/// What a neighbour has said of a name is in one part, and what has become of this relay's own group of that name in
/// another one.
#[test]
fn r11_a_life_that_others_have_told_to_be_over_is_over_after_a_start_from_parts_of_different_age() {
    let mut h = Harness::linked();
    h.open("g");
    h.request(Request::GroupRemove { group: group("g") }).unwrap();
    let before = h.snapshot();
    let removed = crate::wire::link::GroupId { name: group("g"), incarnation: 4 };
    h.hear(LinkMessage::Facts(vec![Fact::Removed(removed)]));
    let snapshot = with_one_part(&mut h, &before, GroupNumber(0));
    h.crash(&snapshot);
    h.meet(Vec::new());
    h.open("g");
    let life = h.relay.groups.number(&group("g")).and_then(|number| h.relay.groups.get(number)).unwrap();
    assert_eq!(life.incarnation, 5);
}
