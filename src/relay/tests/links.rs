//! What a neighbour says over a link, also in an order that no relay of this version would choose.

use super::harness::{Harness, LINK, body, group};
use crate::id::{Epoch, Index, ProducerId, ProducerSequence, RelayId, StorageId, StreamNumber, WallTime};
use crate::limits;
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::relay::stream::{Draft, Genesis, Seal, Stream};
use crate::topology::settings::{GroupSettings, TreeKind};
use crate::wire::body::{EdgeState, Reply, Request, Start, SubscriptionSpec, encode};
use crate::wire::frame::AckLevel;
use crate::wire::link::{Fact, Finished, GroupId, LinkMessage, LinkState, Membership, StreamNamed, Version};
use crate::wire::run::{Record, Run, RunKind};

/// One epoch of the neighbour's stream of the group `g`, as the neighbour has it.
pub(super) struct Theirs {
    pub(super) stream: Stream,
    pub(super) runs: Vec<Run>,
}

impl Theirs {
    /// Begins with everybody who is a member: the relay that is tested.
    pub(super) fn begin(boot: u32) -> Self {
        let epoch = Epoch { counter: u64::from(boot), storage: StorageId([9; 16]), nonce: 1 };
        Self::of("o", boot, epoch)
    }

    fn of(origin: &str, number: u32, epoch: Epoch) -> Self {
        let origin = RelayId::new(origin).unwrap();
        let stream = Stream::new(StreamNumber(number), (&group("g"), 0), origin, epoch, Index(1));
        let mut theirs = Self { stream, runs: Vec::new() };
        let genesis = Genesis { members: vec![(RelayId::new("r").unwrap(), 1)] };
        theirs.append(Draft::control(RunKind::Genesis, encode(&genesis)));
        theirs
    }

    /// The stream of a relay on this disk at which a producer has put this one of its messages.
    pub(super) fn putting(disk: u8, origin: &str, sequence: u64) -> Self {
        let epoch = Epoch { counter: 1, storage: StorageId([disk; 16]), nonce: 1 };
        let mut theirs = Self::of(origin, u32::from(disk), epoch);
        theirs.append(Draft {
            producer: Some((ProducerId(7), ProducerSequence(sequence))),
            ..Draft::control(RunKind::Data, body(&["again"]))
        });
        theirs
    }

    pub(super) fn append(&mut self, draft: Draft) {
        self.runs.push(self.stream.append(draft, WallTime(1_000_000_000)));
    }

    pub(super) fn put(&mut self, payload: &str) {
        self.append(Draft { kind: RunKind::Data, ..Draft::control(RunKind::Data, body(&[payload])) });
    }

    pub(super) fn name(&self) -> LinkMessage {
        LinkMessage::Stream(StreamNamed {
            number: self.stream.number,
            group: GroupId { name: group("g"), incarnation: 0 },
            origin: self.stream.origin.clone(),
            epoch: self.stream.epoch,
            base: self.runs[0].header.first,
            chain: self.runs[0].header.chain,
            released: crate::id::Sequence(0),
        })
    }

    /// Sends the runs in this range.
    pub(super) fn send(&self, h: &mut Harness, runs: std::ops::Range<usize>) {
        for run in &self.runs[runs] {
            h.hear(LinkMessage::Run { stream: self.stream.number, age_ms: 0, run: run.clone() });
        }
    }
}

/// How often the relay has asked its neighbour to compare.
fn compared(h: &mut Harness) -> usize {
    let said = std::mem::take(&mut h.said);
    said.iter().filter(|said| matches!(said, LinkMessage::Seen { .. })).count()
}

/// A relay that receives from `g`, and knows both epochs by name.
pub(super) fn between(first: &Theirs, second: &Theirs) -> Harness {
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.hear(first.name());
    h.hear(second.name());
    compared(&mut h);
    h
}

#[test]
fn i10_an_epoch_waits_until_the_one_before_is_complete_up_to_its_seal() {
    let (mut first, mut second) = (Theirs::begin(1), Theirs::begin(2));
    first.put("a");
    first.put("b");
    first.append(Draft::control(RunKind::Seal, encode(&Seal { by: second.stream.epoch })));
    second.put("c");
    let mut h = between(&first, &second);
    // What came, and of the first epoch what there is then: nothing, some, all but its seal.
    for there in [0..1, 1..2, 2..3] {
        first.send(&mut h, there);
        compared(&mut h);
        second.send(&mut h, 0..2);
        assert!(
            !h.got.iter().any(|got| got.payload == "c"),
            "it came before the end of the first: {:?}",
            h.got
        );
        assert_eq!(compared(&mut h), 1, "the neighbour is told that something is missing");
    }
    first.send(&mut h, 3..4);
    second.send(&mut h, 0..2);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
}

/// Another record is known here by the number of one that comes: whoever wrote both is broken, and
/// nobody can say which of them is right.
#[test]
fn s20_two_streams_of_one_name_that_differ_are_not_made_one() {
    let (mut first, mut other, second) = (Theirs::begin(1), Theirs::begin(1), Theirs::begin(2));
    for payload in ["a", "b"] {
        first.put(payload);
    }
    for payload in ["a", "x", "c", "d"] {
        other.put(payload);
    }
    assert_eq!(first.runs[1].header, other.runs[1].header, "they are the same to begin with");
    let mut h = between(&first, &second);
    first.send(&mut h, 0..3);
    assert_eq!(h.payloads(), ["a", "b"]);
    let records = |h: &Harness| h.log.iter().filter(|entry| matches!(entry, Entry::Run(_))).count();
    let before = records(&h);
    compared(&mut h);
    for _ in 0..100 {
        other.send(&mut h, 2..5);
    }
    assert_eq!((h.payloads().len(), records(&h)), (0, before), "nothing of the other one is taken");
    assert_eq!(compared(&mut h), 1, "the neighbour is told once that something is missing");
    // What it asks for it does not take either, and asks less and less.
    let mut asked = 0;
    for _ in 0..300 {
        h.pass_ms(1_000);
        asked += std::mem::take(&mut h.said).iter().filter(|s| matches!(s, LinkMessage::Pull(_))).count();
        other.send(&mut h, 3..5);
    }
    assert!((1..=14).contains(&asked), "{asked} pulls in five minutes");
    // What was not acked is delivered again, and nothing else.
    assert!(h.payloads().iter().all(|payload| ["a", "b"].contains(&payload.as_str())));
    assert_eq!(records(&h), before);
    // The right one goes on all the same.
    first.put("y");
    first.send(&mut h, 3..4);
    assert_eq!(h.payloads(), ["y"]);
}

#[test]
fn i3_what_is_not_next_in_its_stream_is_not_taken() {
    let (mut first, second) = (Theirs::begin(1), Theirs::begin(2));
    first.put("a");
    first.put("b");
    let mut h = between(&first, &second);
    first.send(&mut h, 0..1);
    first.send(&mut h, 2..3);
    assert_eq!((h.payloads().len(), compared(&mut h)), (0, 1));
    // Told once: until something has come it would be the same.
    first.send(&mut h, 2..3);
    assert_eq!(compared(&mut h), 0);
    first.send(&mut h, 1..3);
    first.send(&mut h, 0..3);
    assert_eq!(h.payloads(), ["a", "b"], "what is there already is dropped");
}

#[test]
fn r1_what_comes_again_of_a_lost_disk_is_delivered_once_after_a_restart_too() {
    for restarts in [false, true] {
        let mut h = Harness::linked();
        let g = h.open("g");
        // It was put before the disk was lost, and again since, as it had no answer.
        h.put_with(g, body(&["one"]), Some((7, 1)), AckLevel::Accepted);
        let spec = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
        h.subscribe("g", "s", spec);
        let epoch = Epoch { counter: 1, storage: StorageId([8; 16]), nonce: 1 };
        let me = RelayId::new("r").unwrap();
        let stream = Stream::new(StreamNumber(1), (&group("g"), 0), me, epoch, Index(1));
        let mut lost = Theirs { stream, runs: Vec::new() };
        lost.append(Draft::control(RunKind::Genesis, encode(&Genesis { members: Vec::new() })));
        lost.append(Draft {
            producer: Some((ProducerId(7), ProducerSequence(1))),
            ..Draft::control(RunKind::Data, body(&["one"]))
        });
        h.hear(lost.name());
        lost.send(&mut h, 0..2);
        if restarts {
            h.crash(&Snapshot::default());
        }
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["one"], "restarts: {restarts}");
    }
}

/// A publisher has put it at two relays a month ago, or their clocks are so far behind.
#[test]
fn r1_what_two_origins_took_long_ago_comes_once_whenever_it_comes() {
    for (waits, restarts) in [(false, false), (true, false), (false, true)] {
        let mut h = Harness::linked();
        h.now.wall.0 += 30 * 24 * 3600 * 1_000_000;
        h.subscribe("g", "s", SubscriptionSpec::default());
        for theirs in [Theirs::putting(8, "o", 1), Theirs::putting(9, "x", 1)] {
            h.hear(theirs.name());
            theirs.send(&mut h, 0..2);
            if waits {
                h.pass_ms(2_000);
            }
        }
        if restarts {
            h.crash(&Snapshot::default());
        }
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["again"], "waits: {waits}, restarts: {restarts}");
    }
}

/// The operation that said so may be in no log any more: the snapshot has it.
#[test]
fn i10_what_is_finished_is_finished_after_a_start_too_with_a_snapshot_and_without() {
    let mut theirs = Theirs::begin(1);
    theirs.put("late");
    for with_snapshot in [false, true] {
        let mut h = Harness::linked();
        h.subscribe("g", "s", SubscriptionSpec::default());
        let group = GroupId { name: group("g"), incarnation: 0 };
        let (origin, storage) = (theirs.stream.origin.clone(), theirs.stream.epoch.storage);
        h.hear(LinkMessage::Finished(vec![Finished {
            group,
            origin,
            storage,
            through: 1,
            to: None,
            hops: 0,
        }]));
        h.pass_ms(1_000);
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
        h.meet(Vec::new());
        h.hear(theirs.name());
        theirs.send(&mut h, 0..2);
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), Vec::<String>::new(), "with a snapshot: {with_snapshot}");
    }
}

/// A relay that has come late lacks the end of a boot that all others are done with: nobody has it for it any more.
#[test]
fn i10_what_waited_for_a_boot_that_is_finished_is_asked_for_at_once() {
    let (mut before, mut later) = (Theirs::begin(1), Theirs::begin(2));
    before.put("before");
    later.put("later");
    let mut h = between(&before, &later);
    before.send(&mut h, 0..1);
    later.send(&mut h, 0..2);
    assert_eq!(h.payloads(), Vec::<String>::new(), "it waits for the end of what was put before");
    compared(&mut h);
    let (origin, storage) = (before.stream.origin.clone(), before.stream.epoch.storage);
    let group = GroupId { name: group("g"), incarnation: 0 };
    h.hear(LinkMessage::Finished(vec![Finished { group, origin, storage, through: 1, to: None, hops: 0 }]));
    assert_eq!(compared(&mut h), 1);
    later.send(&mut h, 0..2);
    assert_eq!(h.payloads(), ["later"]);
}

/// Clocks of relays are not compared: each hop says how long it has had it.
#[test]
fn r14_the_time_that_a_message_has_spent_elsewhere_counts() {
    let mut theirs = Theirs::begin(1);
    let mut records = bytes::BytesMut::new();
    Record { ttl_ms: Some(1_000), payload: b"short", ..Record::default() }.encode(&mut records);
    Record { ttl_ms: Some(9_000), payload: b"long", ..Record::default() }.encode(&mut records);
    let draft = Draft::control(RunKind::Data, records.freeze());
    theirs.append(Draft { count: 2, has_ttl: true, ..draft });
    for (age_ms, expected) in [(0, vec!["short", "long"]), (5_000, vec!["long"]), (10_000, vec![])] {
        let mut h = between(&theirs, &Theirs::begin(2));
        theirs.send(&mut h, 0..1);
        h.hear(LinkMessage::Run { stream: theirs.stream.number, age_ms, run: theirs.runs[1].clone() });
        assert_eq!(h.payloads(), expected, "after {age_ms} ms");
    }
}

/// It asks again and again for what differs, and takes nothing of what it is told.
#[test]
fn p12_a_neighbour_that_asks_for_the_table_again_and_again_fills_no_memory() {
    let mut h = Harness::linked();
    for number in 0..200 {
        h.subscribe(&format!("g{number}"), "s", SubscriptionSpec::default());
    }
    let written = |h: &mut Harness| h.input(Input::LinkWritten { link: LINK, total: u64::MAX });
    written(&mut h);
    let ask = |h: &mut Harness, what| {
        h.said.clear();
        h.hear(what);
        h.said.iter().map(LinkMessage::bytes).sum::<u64>()
    };
    let once = ask(&mut h, LinkMessage::Buckets(Vec::new()));
    assert!(once > 0, "or this tests nothing");
    let mut rest = 0;
    for _ in 0..1_000 {
        rest += ask(&mut h, LinkMessage::Buckets(Vec::new()));
        h.now.time = h.now.time.after_ms(limits::COMPARE_QUIET_MS);
        rest += ask(&mut h, LinkMessage::Digest(1));
    }
    assert!(
        rest <= limits::LINK_OUT_BYTES_MAX + once,
        "{rest} bytes wait for a neighbour that takes none, {once} at a time"
    );

    // It lacks less by now, and is told of that only.
    let known = h.relay.links.known.clone().expect("it was just asked for");
    assert_eq!(ask(&mut h, LinkMessage::Buckets(known.0)), 0);
    h.said.clear();
    written(&mut h);
    assert_eq!(h.said, [LinkMessage::FactsEnd], "the last question is answered, once");
}

/// Others keep what is said in the greatest version: what it says under another storage id is to count.
#[test]
fn r4_what_is_said_under_another_storage_id_is_above_all_that_was_said_before() {
    let me = RelayId::new("r").unwrap();
    let mut h = Harness::linked();
    let mine = h.relay.options.epoch.storage;
    // Of a disk before, and of a later boot of this one.
    for (boot, storage) in [(5, StorageId([9; 16])), (4, mine)] {
        let said = Version { counter: boot << 32, storage };
        h.hear(LinkMessage::Facts(vec![Fact::LinkState(LinkState::new(me.clone(), said))]));
    }
    let state = &h.relay.links.states[&me];
    assert_ne!(state.version.storage, mine);
    assert!(state.version.counter > (5 << 32) + 1, "{state:?}");
    assert_eq!(state.boot, Some(1));
}

/// The first boot of a new disk has said things in the versions of a later one.
#[test]
fn r6_of_two_link_states_in_one_version_that_of_the_later_boot_counts() {
    let mut h = Harness::linked();
    let version = Version { counter: (2 << 32) + 3, storage: StorageId([9; 16]) };
    let said = |boot: Option<u64>| {
        let mut state = LinkState::new(RelayId::new("far").unwrap(), version);
        (state.boot, state.is_draining) = (boot, boot.is_none());
        state
    };
    let [first, second] = [said(Some(1)), said(None)];
    let mut hear = |state: &LinkState| {
        h.hear(LinkMessage::Facts(vec![Fact::LinkState(state.clone())]));
        let prints: Vec<(usize, u64)> = h.relay.known_facts().into_keys().collect();
        (h.relay.links.states[&state.relay].clone(), prints)
    };
    let (known, before) = hear(&first);
    assert_eq!(known, first);
    let (known, after) = hear(&second);
    assert_eq!(known, second);
    assert_ne!(before, after, "who knows the other one is told");
    // And not the other way round.
    assert_eq!(hear(&first), (second.clone(), after.clone()));
    // The same boot, in more words.
    assert_eq!(hear(&said(Some(2))), (second, after.clone()));
    let mut other = Harness::linked();
    other.hear(LinkMessage::Facts(vec![Fact::LinkState(said(Some(2)))]));
    assert!(other.relay.known_facts().into_keys().eq(after));
}

/// A group in which each origin has a tree, nothing put, and a member of which this relay knows no way.
#[test]
fn who_is_joined_to_nobody_is_shown_as_cut_off() {
    let far = RelayId::new("far").unwrap();
    let version = Version { counter: (1 << 32) + 1, storage: StorageId([9; 16]) };
    let id = GroupId { name: group("g"), incarnation: 0 };
    let mut h = Harness::linked();
    h.set("g", GroupSettings { tree: TreeKind::Source, ..GroupSettings::default() });
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(LinkMessage::Facts(vec![
        Fact::LinkState(LinkState::new(far.clone(), version)),
        Fact::Membership(Membership { group: id, relay: far.clone(), version, member: true }),
    ]));
    let Ok(Reply::GroupTree(tree)) =
        h.request(Request::GroupTree { group: group("g"), origin: None, from: 0, limit: 9 })
    else {
        panic!("the tree is known")
    };
    let shown: Vec<_> = tree.nodes.iter().map(|node| (node.relay.as_str(), node.up, node.state)).collect();
    assert_eq!(shown, [("r", None, EdgeState::Up), ("far", None, EdgeState::Down)]);
}

/// It names ever more boots of an origin, and says that ever more of its disks are finished.
#[test]
fn p12_a_neighbour_that_names_streams_without_end_fills_no_memory() {
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let number = h.relay.groups.number(&group("g")).unwrap();
    let id = GroupId { name: group("g"), incarnation: 0 };
    let finished = |disk: u32| {
        let mut storage = [7; 16];
        storage[..4].copy_from_slice(&disk.to_le_bytes());
        let (origin, storage) = (RelayId::new("o").unwrap(), StorageId(storage));
        Finished { group: id.clone(), origin, storage, through: 1, to: None, hops: 0 }
    };
    h.hear(Theirs::begin(1).name());
    let some = h.relay.groups.get(number).unwrap().streams[0].clone();
    // All but one of those that it may name.
    let group = h.relay.groups.get_mut(number).unwrap();
    for disk in 1..limits::STREAMS_PER_GROUP_MAX as u32 {
        let told = finished(disk);
        assert!(group.finish(&told.origin, told.storage, told.through));
    }
    group.streams.extend((2..limits::STREAMS_PER_GROUP_MAX as u32).map(|number| {
        let mut stream = some.clone();
        (stream.number, stream.epoch.nonce) = (StreamNumber(number), u64::from(number));
        stream
    }));
    for more in 2..5 {
        h.hear(Theirs::begin(more).name());
        h.hear(LinkMessage::Finished(vec![finished(u32::MAX - more)]));
    }
    let group = h.relay.groups.get(number).unwrap();
    assert_eq!(group.streams.len(), limits::STREAMS_PER_GROUP_MAX);
    assert_eq!(group.finished().count(), limits::STREAMS_PER_GROUP_MAX);
}
