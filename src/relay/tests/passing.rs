//! P10 on the links of a relay that catches up itself: what it passes on of that is a backlog there.

use super::harness::{Harness, LINK, OTHER_LINK, body, group};
use super::turns::{Sent, bytes_of, id};
use crate::id::{Epoch, Index, LinkId, RelayId, Sequence, StorageId, StreamNumber, WallTime};
use crate::limits;
use crate::log::Urgency;
use crate::relay::Input;
use crate::relay::stream::{Draft, Genesis, Stream};
use crate::wire::body::encode;
use crate::wire::link::{
    Advertised, Fact, LinkMessage, LinkState, Membership, SeenWhy, StreamNamed, StreamSeen, Version,
};
use crate::wire::run::{Run, RunKind};

const OLD: usize = 100;

/// Groups into which something new is put.
const MIXED: [&str; 4] = ["mixed0", "mixed1", "mixed2", "mixed3"];

/// What the neighbour `o` has put into a group.
struct Theirs {
    name: String,
    stream: Stream,
    runs: Vec<Run>,
    sent: usize,
}

impl Theirs {
    fn new(name: &str, number: u32) -> Self {
        let epoch = Epoch { counter: 1, storage: StorageId([9; 16]), nonce: 1 };
        let origin = RelayId::new("o").unwrap();
        let stream = Stream::new(StreamNumber(number), (&group(name), 0), origin, epoch, Index(1));
        let mut theirs = Self { name: name.to_owned(), stream, runs: Vec::new(), sent: 0 };
        theirs.append(Draft::control(RunKind::Genesis, encode(&Genesis { members: Vec::new() })));
        theirs
    }

    fn append(&mut self, draft: Draft) {
        self.runs.push(self.stream.append(draft, WallTime(1_000_000_000)));
    }

    fn put(&mut self, kib: usize) {
        self.append(Draft::control(RunKind::Data, body(&[&"x".repeat(kib * 1024)])));
    }

    /// It says how far it has it.
    fn compare(&self, h: &mut Harness) {
        let nothing = Sequence(0);
        let (origin, epoch, seen) = (self.stream.origin.clone(), self.stream.epoch, self.stream.last);
        let streams = vec![StreamSeen { origin, epoch, seen, released: nothing, wanted: nothing }];
        h.hear(LinkMessage::Seen { group: id(&self.name), streams, why: SeenWhy::Answers });
    }

    /// It sends what it has not sent, which has spent so long on its way.
    fn send(&mut self, h: &mut Harness, age_ms: u32) {
        let (number, base) = (self.stream.number, Sequence(1));
        let (origin, epoch, group) = (self.stream.origin.clone(), self.stream.epoch, id(&self.name));
        if self.sent == 0 {
            let released = Sequence(0);
            h.hear(LinkMessage::Stream(StreamNamed {
                number,
                group,
                origin,
                epoch,
                base,
                chain: 0,
                released,
            }));
        }
        for run in &self.runs[self.sent..] {
            h.hear(LinkMessage::Run { stream: number, age_ms, run: run.clone() });
        }
        self.sent = self.runs.len();
    }
}

fn hear_of_nothing(h: &mut Harness, link: LinkId, name: &str) {
    let message = LinkMessage::Seen { group: id(name), streams: Vec::new(), why: SeenWhy::Answers };
    h.input(Input::Link { link, message });
}

/// A relay between `o` and `x`, which both are members of `old0` and so on, and of [`MIXED`]; of `live`
/// only `x` is. `x` has nothing of any. With what `o` has put.
fn between() -> (Harness, Sent, Vec<Theirs>, [Theirs; 4]) {
    let mut h = Harness::between();
    let old: Vec<String> = (0..OLD).map(|number| format!("old{number}")).collect();
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let mut facts = Vec::new();
    for name in ["o", "x"].map(|name| RelayId::new(name).unwrap()) {
        let mut state = LinkState::new(name.clone(), version);
        state.links = vec![Advertised { neighbour: RelayId::new("r").unwrap(), cost: 1, is_up: true }];
        facts.push(Fact::LinkState(state));
        let of_x = (name.as_str() == "x").then_some("live");
        let groups = old.iter().map(String::as_str).chain(MIXED).chain(of_x);
        facts.extend(groups.map(|group| {
            Fact::Membership(Membership { group: id(group), relay: name.clone(), version, member: true })
        }));
    }
    h.hear(LinkMessage::Facts(facts));
    h.pass_ms(2_000);
    put_live(&mut h);
    for name in old.iter().map(String::as_str).chain(MIXED).chain(["live"]) {
        hear_of_nothing(&mut h, OTHER_LINK, name);
    }
    written(&mut h);
    let mut sent = Sent::default();
    sent.take(&mut h);
    let theirs = |(number, name): (usize, &String)| {
        let mut theirs = Theirs::new(name, number as u32 + 1);
        theirs.put(32);
        theirs
    };
    let old = old.iter().enumerate().map(theirs).collect();
    let mut number = 1_000;
    let mixed = MIXED.map(|name| {
        number += 1;
        Theirs::new(name, number)
    });
    (h, sent, old, mixed)
}

fn put_live(h: &mut Harness) {
    let handle = h.open("live");
    h.put(handle, &[&"x".repeat(1024)]);
}

fn written(h: &mut Harness) {
    [LINK, OTHER_LINK].into_iter().for_each(|link| h.input(Input::LinkWritten { link, total: u64::MAX }));
}

/// Everything that is sent of these groups while the link takes it, in order.
fn work_off(h: &mut Harness, sent: &mut Sent) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for _ in 0..2 * OLD {
        written(h);
        all.extend(sent.take(h));
    }
    all
}

const MOST: u64 = limits::LINK_CATCH_UP_BYTES_MAX + 34 * 1024;

/// What is caught up with leaves room for what is live, goes after it, and goes.
fn check_backlog(mut h: Harness, mut sent: Sent) {
    let before: u64 = sent.take(&mut h).iter().map(|(_, bytes)| bytes).sum();
    assert!(before > 0 && before <= MOST, "{before} bytes are on their way before what is live");
    put_live(&mut h);
    assert_eq!(bytes_of(&sent.take(&mut h), "live") / 1024, 1, "it goes at once");
    let rest: u64 = work_off(&mut h, &mut sent).iter().map(|(_, bytes)| bytes).sum();
    assert_eq!((before + rest) / (32 * 1024), OLD as u64, "and the backlog is worked off");
}

#[test]
fn p10_what_a_neighbour_had_when_it_was_met_is_a_backlog_for_those_behind_too() {
    let (mut h, sent, mut old, _) = between();
    for theirs in &mut old {
        theirs.compare(&mut h);
        theirs.send(&mut h, 0);
    }
    check_backlog(h, sent);
}

#[test]
fn p10_what_is_old_is_a_backlog_though_nobody_was_met() {
    let (mut h, sent, mut old, _) = between();
    old.iter_mut().for_each(|theirs| theirs.send(&mut h, 60_000));
    check_backlog(h, sent);
}

#[test]
fn what_is_put_after_a_neighbour_was_met_is_live() {
    let (mut h, mut sent, mut old, _) = between();
    for theirs in &mut old {
        theirs.compare(&mut h);
        theirs.put(32);
        let put = theirs.runs.split_off(2);
        theirs.send(&mut h, 0);
        theirs.runs.extend(put);
    }
    work_off(&mut h, &mut sent);
    // So is what has waited for a while somewhere.
    old.iter_mut().for_each(|theirs| theirs.send(&mut h, 3_000));
    let bytes: u64 = sent.take(&mut h).iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(bytes / (32 * 1024), OLD as u64, "all of it goes at once");
}

#[test]
fn what_is_caught_up_with_goes_on_at_once_where_nothing_waits() {
    let (mut h, mut sent, mut old, _) = between();
    h.auto_sync = false;
    old[0].compare(&mut h);
    old[0].send(&mut h, 0);
    assert_eq!(bytes_of(&sent.take(&mut h), "old0") / 1024, 32, "no disk is waited for");
}

/// The neighbour that cannot be given it when it comes is given it from the disk: that is to have it soon then.
#[test]
fn what_comes_from_one_neighbour_is_synced_at_once_if_the_link_to_another_has_no_room_for_it() {
    let (mut h, _, mut old, _) = between();
    for theirs in &mut old[..2] {
        theirs.compare(&mut h);
        theirs.send(&mut h, 0);
        theirs.put(32);
    }
    written(&mut h);
    h.auto_sync = false;
    let before = h.hurries;
    old[0].send(&mut h, 0);
    assert_eq!(h.hurries, before, "it was given it, and nobody waits");
    h.sync();
    h.auto_sync = true;
    let handle = h.open("live");
    (0..5).for_each(|_| h.put(handle, &[&"x".repeat(1_000_000)]));
    h.auto_sync = false;
    old[1].send(&mut h, 0);
    assert_eq!((h.hurries, h.urgency), (before + 1, Urgency::Soon), "the link is full");
    // And again when it is not any more, if more has come that is not durable.
    h.relay.handle(h.now, Input::LinkWritten { link: OTHER_LINK, total: u64::MAX });
    h.settle();
    old[1].put(32);
    old[1].send(&mut h, 0);
    assert_eq!((h.hurries, h.urgency), (before + 1, Urgency::Sync), "what stands before it is on no disk");
    // It goes there from the disk, and what comes then is given to it again.
    h.auto_sync = true;
    h.settle();
    h.auto_sync = false;
    old[1].put(32);
    old[1].send(&mut h, 0);
    assert_eq!((h.hurries, h.urgency), (before + 1, Urgency::Soon));
}

#[test]
fn what_is_caught_up_with_goes_before_nobody_who_waits() {
    let (mut h, mut sent, mut old, _) = between();
    for theirs in &mut old[..20] {
        theirs.compare(&mut h);
        theirs.send(&mut h, 0);
    }
    sent.take(&mut h);
    h.hold_fetches = true;
    written(&mut h);
    sent.take(&mut h);
    assert!(h.relay.waiting_turns(OTHER_LINK) > 2, "some wait, two of them for the disk");
    written(&mut h);
    old[20].compare(&mut h);
    old[20].send(&mut h, 0);
    assert_eq!(bytes_of(&sent.take(&mut h), "old20"), 0, "the link has room, and it is not its turn");
    h.let_fetches_go();
    assert_eq!(bytes_of(&work_off(&mut h, &mut sent), "old20") / 1024, 32);
}

/// A group waits for its turn among those that are live, since the link is full. Then something else comes.
#[test]
fn p10_what_is_caught_up_with_does_not_go_with_what_was_live_before_it() {
    let (mut h, mut sent, mut old, _) = between();
    let handle = h.open("live");
    (0..5).for_each(|_| h.put(handle, &[&"x".repeat(1_000_000)]));
    for theirs in &mut old {
        // It was put after they had met, what follows was not.
        theirs.send(&mut h, 0);
        theirs.put(32);
        theirs.compare(&mut h);
        theirs.send(&mut h, 0);
    }
    let of_old = |runs: &[(String, u64)]| -> u64 {
        runs.iter().filter(|(name, _)| name != "live").map(|(_, bytes)| bytes).sum()
    };
    assert_eq!(of_old(&sent.take(&mut h)), 0, "the link is full");
    written(&mut h);
    let bytes = of_old(&sent.take(&mut h));
    assert!(bytes > 0 && bytes <= MOST, "{bytes} bytes go before what is live");
    let all = of_old(&work_off(&mut h, &mut sent)) + bytes;
    assert_eq!(all / (32 * 1024), 2 * OLD as u64);
}

/// What is new in groups goes soon, though it stands in each behind `kib` that are caught up with, which came
/// when a hundred groups had to wait: how many bytes have gone before the last of it. What stands before it may
/// be on disk when it comes, or not.
fn bytes_before_news(groups: usize, kib: usize, is_new: bool, is_synced: bool) -> u64 {
    let (mut h, mut sent, mut old, mut mixed) = between();
    for theirs in &mut old {
        theirs.compare(&mut h);
        theirs.send(&mut h, 0);
    }
    h.auto_sync = is_synced;
    for theirs in &mut mixed[..groups] {
        (0..kib / 16).for_each(|_| theirs.put(16));
        theirs.compare(&mut h);
        theirs.send(&mut h, 0);
    }
    sent.take(&mut h);
    for theirs in &mut mixed[..groups] {
        theirs.put(40);
        theirs.send(&mut h, if is_new { 0 } else { 3_000 });
    }
    h.auto_sync = true;
    let all = work_off(&mut h, &mut sent);
    let news = |(_, bytes): &(String, u64)| (40 * 1024..42 * 1024).contains(bytes);
    assert_eq!(all.iter().filter(|run| news(run)).count(), groups);
    let last = all.iter().rposition(news).unwrap();
    all[..last].iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn p10_what_is_new_does_not_wait_for_what_others_catch_up_with() {
    for is_synced in [true, false] {
        let short = bytes_before_news(4, 16, true, is_synced);
        assert!(short <= 3 * 256 * 1024, "{short} bytes have gone before it");
        let old = bytes_before_news(1, 16, false, is_synced);
        assert!(old >= 90 * 32 * 1024, "what is not new waits for its turn: {old} bytes");
        // As much again for the others, about, and what was read already.
        for groups in [1, 4] {
            let own = groups as u64 * 512 * 1024;
            let found = bytes_before_news(groups, 512, true, is_synced);
            let (least, most) = (own / 10 * 17, 2 * own + 3 * 256 * 1024);
            assert!((least..=most).contains(&found), "{found} bytes have gone before that of {groups}");
        }
    }
}
