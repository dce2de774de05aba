use std::cell::Cell;

use super::super::group::Group;
use super::super::stream::Stream;
use super::super::subscription::SubscriptionKey;
use super::super::traces::Traces;
use super::*;
use crate::id::{Epoch, GroupName, RelayId};
use crate::wire::body::MessageName;
use crate::wire::run::{RunHeader, RunKind};

thread_local! {
    /// Notes that were looked at.
    pub(in crate::relay) static DECODED: Cell<u64> = const { Cell::new(0) };
}

fn header(first: u64, count: u32) -> RunHeader {
    RunHeader {
        kind: RunKind::Data,
        has_ttl: false,
        has_subject: false,
        count,
        body_bytes: 0,
        first: Sequence(first),
        body_hash: 0,
        chain: 0,
        accepted: WallTime(0),
        producer: None,
    }
}

fn group(number: u32) -> Group {
    let name = GroupName::new("g").unwrap();
    let mut group = Group::new(GroupNumber(number), name.clone(), 0, WallTime(0));
    for stream in [1, 2] {
        let (origin, epoch) =
            (RelayId::new("o").unwrap(), Epoch { nonce: u64::from(stream), ..Epoch::default() });
        group.streams.push(Stream::new(StreamNumber(stream), (&name, 0), origin, epoch, Index(1)));
    }
    group
}

#[test]
fn every_way_has_a_byte_of_its_own() {
    for how in ALL_HOWS {
        assert_eq!(How::from_byte(how.to_byte()), Some(how));
    }
    assert_eq!(How::from_byte(ALL_HOWS.len() as u8), None);
}

#[test]
fn runs_that_follow_within_a_millisecond_share_a_note() {
    let (mut group, mut traces) = (group(1), Traces::default());
    let at = |us: u64| WallTime(1_000_000 + us);
    let mut note = |stream, first, index, us| {
        let (from, to) = ((StreamNumber(stream), LinkId(3)), (Index(index), at(us)));
        traces.note_run(&mut group, from, to, &header(first, 10));
    };
    note(1, 1, 1, 0);
    note(1, 11, 11, 900);
    note(1, 21, 21, 1100);
    note(2, 1, 31, 1200);
    note(1, 31, 41, 1300);
    let memory = group.memory.as_deref().unwrap();
    let place = |stream, sequence| memory.place(StreamNumber(stream), Sequence(sequence));
    let found =
        |index, from, to| Some(Place { index: Index(index), from: at(from), to: at(to), link: LinkId(3) });
    assert_eq!(place(1, 1), found(1, 0, 900));
    assert_eq!(place(1, 20), found(20, 0, 900));
    assert_eq!(place(1, 21), found(21, 1100, 1100));
    assert_eq!(place(2, 10), found(40, 1200, 1200));
    assert_eq!(place(1, 40), found(50, 1300, 1300));
    assert_eq!((place(1, 41), place(2, 11), place(1, 0)), (None, None, None));
}

#[test]
fn runs_that_came_over_two_links_share_no_note() {
    let (mut group, mut traces) = (group(1), Traces::default());
    for (link, first) in [(3, 1), (4, 11), (3, 21)] {
        let from = (StreamNumber(1), LinkId(link));
        traces.note_run(&mut group, from, (Index(first), WallTime(1_000_000)), &header(first, 10));
    }
    let memory = group.memory.as_deref().unwrap();
    let link = |sequence| memory.place(StreamNumber(1), Sequence(sequence)).map(|place| place.link.0);
    assert_eq!([1, 10, 11, 20, 21].map(link), [3, 3, 4, 4, 3].map(Some));
}

#[test]
fn a_stream_goes_by_its_name_as_long_as_there_is_a_note_of_it() {
    let (mut group, mut traces) = (group(1), Traces::default());
    for (stream, hours) in [(1, 0), (2, 0), (2, 2), (2, 4)] {
        let at = WallTime(1 + hours * 3600 * 1_000_000);
        traces.note_run(&mut group, (StreamNumber(stream), LinkId(3)), (Index(1), at), &header(1, 10));
    }
    let memory = group.memory.as_deref_mut().unwrap();
    let named = |memory: &Memory| {
        [1, 2].map(|nonce| {
            let (group, origin) = (GroupName::new("g").unwrap(), RelayId::new("o").unwrap());
            let message = MessageName { group, origin, boot: 0, nonce, sequence: Sequence(1) };
            memory.stream_of(&message).map(|stream| stream.0)
        })
    };
    assert_eq!(named(memory), [Some(1), Some(2)]);
    let before = memory.bytes;
    memory.forget().unwrap();
    assert_eq!(named(memory), [None, Some(2)], "nothing is left of the first one");
    assert!(memory.bytes < before && memory.bytes == memory.count_bytes());
    memory.forget().unwrap();
    assert_eq!(named(memory), [None, Some(2)]);
    memory.forget().unwrap();
    assert_eq!(named(memory), [None, None]);
}

#[test]
fn what_is_saved_is_what_was_remembered() {
    let (mut group, mut traces) = (group(1), Traces::default());
    for run in 0..1000u64 {
        let at = (Index(1 + run * 5), WallTime(run * 10_000));
        traces.note_run(&mut group, (StreamNumber(1), LinkId(0)), at, &header(1 + run * 5, 5));
        let key = SubscriptionKey { group: group.number, number: SubscriptionNumber(7) };
        let passed = Passed::of(key, (Index(1 + run * 5), Index(2 + run * 5)), How::Filtered);
        traces.note_passed(&mut group, WallTime(run * 10_000), &passed);
    }
    let memory = group.memory.as_deref().unwrap();
    let mut bytes = Vec::new();
    ciborium::into_writer(&memory.saved(), &mut bytes).unwrap();
    let back: Memory = ciborium::from_reader(&bytes[..]).unwrap();
    for sequence in 1..=5000 {
        let place = memory.place(StreamNumber(1), Sequence(sequence));
        assert_eq!(place.map(|place| place.index), Some(Index(sequence)));
        assert_eq!(back.place(StreamNumber(1), Sequence(sequence)), place);
        let how = (sequence % 5 == 1).then_some(How::Filtered);
        let passed = back.passed_at(Index(sequence));
        assert_eq!(passed, how.map(|how| (SubscriptionNumber(7), how)).into_iter().collect());
    }
    assert!(bytes.len() < 1000 * 30, "{} bytes for a thousand runs", bytes.len());
}

#[test]
fn bytes_that_are_no_notes_are_the_end() {
    let mut chunk = Chunk::default();
    let note =
        Note::Passed { subscription: SubscriptionNumber(1), from: Index(300), count: 9, how: How::Repeat };
    chunk.push(&note);
    for length in 0..chunk.notes.len() {
        let cut = Chunk { notes: chunk.notes[..length].to_vec(), ..chunk.clone() };
        assert_eq!(cut.iter().count(), 0);
    }
    assert_eq!(chunk.iter().collect::<Vec<_>>(), [note]);
    let most = vec![0xff; 64];
    assert_eq!(Chunk { notes: most, ..chunk }.iter().count(), 0);
}
