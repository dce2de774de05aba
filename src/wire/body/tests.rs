//! F53: control bodies from anywhere: they are decoded or refused, and take no
//! more memory than a few times what came.

use proptest::prelude::*;

use super::*;
use crate::id::{Sequence, StorageId};

/// Lengths that no body has.
const LIES: [u64; 6] = [1 << 16, 1 << 21, 1 << 32, 1 << 40, 1 << 63, u64::MAX];

fn group() -> GroupName {
    "orders/eu".parse().unwrap()
}

fn name() -> SubscriptionName {
    "billing".parse().unwrap()
}

fn relay() -> RelayId {
    "relay-1".parse().unwrap()
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::Quota, "a quota of 10 messages is used up")
}

fn info() -> GroupInfo {
    let stream = StreamInfo {
        number: StreamNumber(1),
        origin: relay(),
        epoch: Epoch { storage: StorageId([7; 16]), counter: 1 << 40, nonce: 3 },
        last: Sequence(300),
        sealed: true,
    };
    GroupInfo {
        name: group(),
        queue: false,
        settings: GroupSettings { max_age_ms: Some(70_000), ..GroupSettings::default() },
        low: Index(1),
        next: Index(500),
        messages: 499,
        bytes: 70_000,
        subscriptions: 2,
        streams: vec![stream.clone(), stream],
        order: None,
        elsewhere: 0,
        moves: None,
        full: Vec::new(),
    }
}

fn subscription() -> SubscriptionInfo {
    SubscriptionInfo {
        group: group(),
        name: name(),
        home: relay(),
        shared: true,
        filter: Some("a/+/#".to_owned()),
        floor: Index(3),
        next: Index(9),
        backlog: 6,
        in_flight: 1,
        parked: 0,
        receivers: 1,
        window: 256,
        inserted: 9,
        out: Outcomes { acked: 3, ..Outcomes::default() },
        aside: 7,
        moving: Some(Box::new(MoveInfo {
            merge: false,
            to: relay(),
            stage: MoveStage::Asking,
            waits_for: vec![relay(), relay()],
            messages: 7,
            refusal: Some(refusal()),
        })),
        comes_from: Some(relay()),
        also_at: Box::new([relay()]),
    }
}

/// Bodies with everything in them that has a length.
fn samples() -> Vec<Bytes> {
    let spec =
        SubscriptionSpec { filter: Some("a/#".to_owned()), window: Some(7), ..SubscriptionSpec::default() };
    let requests = [
        Request::GroupCreate { group: group(), settings: info().settings, queue: true },
        Request::GroupList { prefix: "or".to_owned(), after: Some(group()), limit: 7 },
        Request::Attach { group: group(), name: Some(name()), create: Some(spec) },
        Request::SubscriptionSeek { group: group(), name: name(), start: Start::Time(WallTime(1 << 50)) },
        Request::Sync,
    ];
    let books = Books { refused: vec![(RefusalCode::Quota, 3), (RefusalCode::Limit, 4)], ..Books::default() };
    let location = Location {
        group: group(),
        subscription: Some(name()),
        home: relay(),
        forgotten: false,
        shared: Some(true),
        filter: Some("a/#".to_owned()),
    };
    let answers: [Answer; 6] = [
        Ok(Reply::Groups(vec![info(), info()])),
        Ok(Reply::Subscriptions(vec![subscription(), subscription()])),
        Ok(Reply::Located(vec![location])),
        Ok(Reply::Books(Box::new(books))),
        Ok(Reply::SubscriptionHandle {
            handle: 1,
            name: name(),
            created: true,
            window: 9,
            moves: 3,
            begun: Some(Begun { boot: 5, index: Index(7) }),
        }),
        Err(refusal()),
    ];
    let notices = [
        Notice::Stream { number: StreamNumber(1), origin: relay(), epoch: Epoch::default() },
        Notice::PutRefused { put: 70, refusal: refusal() },
        Notice::Gap { handle: 1, from: Index(1), to: Index(3), cause: GapCause::Expired },
        Notice::Detached { handle: 1, refusal: refusal() },
    ];
    let hello = ClientHello { magic: PROTOCOL_MAGIC.to_owned(), version: 1, name: "shop".to_owned() };
    let mut samples: Vec<_> = requests.iter().map(encode).collect();
    samples.extend(answers.iter().map(encode));
    samples.extend(notices.iter().map(encode));
    samples.extend([encode(&hello), encode(&Close { reason: "stopping".to_owned() })]);
    samples
}

/// Bytes that a list takes, without what its items refer to.
fn list_bytes<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

/// Bytes that an answer takes in lists.
fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Ok(Reply::Groups(groups)) => {
            list_bytes(groups) + groups.iter().map(|group| list_bytes(&group.streams)).sum::<usize>()
        }
        Ok(Reply::Group(group)) => list_bytes(&group.streams),
        Ok(Reply::Subscriptions(list)) => list_bytes(list),
        Ok(Reply::Located(list)) => list_bytes(list),
        Ok(Reply::Status(status)) => list_bytes(&status.warnings),
        Ok(Reply::Books(books)) => list_bytes(&books.refused) + list_bytes(&books.links),
        Ok(Reply::Links(links)) => list_bytes(links),
        Ok(Reply::Relays(relays)) => {
            list_bytes(relays) + relays.iter().map(|relay| list_bytes(&relay.ends)).sum::<usize>()
        }
        Ok(Reply::GroupTree(tree)) => list_bytes(&tree.nodes),
        Ok(Reply::Forgetting(told)) => {
            list_bytes(&told.subscriptions) + list_bytes(&told.queues) + list_bytes(&told.origins)
        }
        Ok(Reply::Draining(state)) => {
            let members = state.waits.iter().map(|wait| list_bytes(&wait.members)).sum::<usize>();
            let kept = list_bytes(&state.kept) + list_bytes(&state.closing);
            list_bytes(&state.homes) + list_bytes(&state.waits) + kept + members
        }
        Ok(Reply::Where(found)) => {
            let lists = found.relays.iter().map(|t| list_bytes(&t.subscriptions) + list_bytes(&t.receipts));
            list_bytes(&found.relays) + list_bytes(&found.silent) + lists.sum::<usize>()
        }
        Ok(
            Reply::Done
            | Reply::GroupHandle { .. }
            | Reply::SubscriptionHandle { .. }
            | Reply::Subscription(_)
            | Reply::Polled { .. }
            | Reply::TopologyApplied(_),
        ) => 0,
        Ok(Reply::Topology(info)) => {
            list_bytes(&info.kept) + info.entry.as_ref().map_or(0, |entry| entry.text.capacity())
        }
        Err(refusal) => refusal.message.capacity(),
    }
}

/// Decodes a body as one of a kind; what is the same, encoded. What it was decoded
/// to, or what is said of it, is no longer than a few times the body.
fn judge<T: Serialize + DeserializeOwned>(body: &[u8], taken: impl Fn(&T) -> usize) -> Option<Bytes> {
    let few_times = 32 * body.len() + 4096;
    match decode::<T>(body) {
        Ok(value) => {
            let again = encode(&value);
            let bytes = taken(&value).max(again.len());
            assert!(bytes <= few_times, "{bytes} bytes out of {}", body.len());
            Some(again)
        }
        Err(error) => {
            assert!(error.to_string().len() <= few_times, "{error}");
            None
        }
    }
}

/// Decodes a body as everything that it could be.
fn judge_all(body: &[u8]) -> Vec<Bytes> {
    let kinds = [
        judge::<Request>(body, |_| 0),
        judge::<Answer>(body, answer_bytes),
        judge::<Notice>(body, |_| 0),
        judge::<ClientHello>(body, |hello| hello.magic.capacity() + hello.name.capacity()),
        judge::<RelayHello>(body, |hello| hello.magic.capacity()),
        judge::<Close>(body, |close| close.reason.capacity()),
    ];
    kinds.into_iter().flatten().collect()
}

/// Where the items begin that announce a length, with the bytes of what announces it.
fn lengths(body: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = body.get(at) {
        let (major, minor) = (first >> 5, usize::from(first & 31));
        let more = if minor < 24 { 0 } else { 1 << (minor - 24) };
        let value = body[at + 1..=at + more].iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        if (2..6).contains(&major) {
            found.push((at, 1 + more));
        }
        let text = if minor < 24 { minor } else { value };
        at += 1 + more + if matches!(major, 2 | 3) { text } else { 0 };
    }
    found
}

#[test]
fn f53_what_is_right_is_taken() {
    for body in samples() {
        assert_eq!(judge_all(&body), [&body[..]]);
        assert!(!lengths(&body).is_empty());
    }
}

/// A decoder that believed these lengths would end the process. Those of an id or
/// a pair are known, and what is announced does not matter.
#[test]
fn f53_a_length_that_is_no_length_is_not_believed() {
    for body in samples() {
        for (at, head) in lengths(&body) {
            let is_known = matches!(body[at], 0x90 | 0x82);
            for lie in LIES {
                let announced = [&[body[at] & 0xE0 | 27], &lie.to_be_bytes()[..]].concat();
                for rest in [&body[at + head..], &[]] {
                    let found = judge_all(&[&body[..at], &announced, rest].concat());
                    assert!(found.is_empty() || is_known && found == [&body[..]], "{lie} at {at}: {found:?}");
                }
            }
        }
    }
}

#[test]
fn f53_a_body_that_is_nested_without_end_is_refused() {
    // Lists, maps, tags, texts and bytes in pieces; as the whole body, and as a field that nobody knows.
    for opener in [0x81, 0xA1, 0xC1, 0x9F, 0xBF, 0x7F, 0x5F] {
        for field in [&[][..], b"\xA1\x61x", b"\xA1\x65Close\xA1\x61x"] {
            let rest = limits::CONTROL_BYTES_MAX - field.len();
            assert!(judge_all(&[field, &vec![opener; rest]].concat()).is_empty(), "{opener:#x}");
        }
    }
    let reason = "r".repeat(limits::CONTROL_BYTES_MAX);
    assert!(matches!(decode::<Close>(&encode(&Close { reason })), Err(BodyError::TooLong { .. })));
}

proptest! {
    #[test]
    fn f53_arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        judge_all(&body);
    }

    #[test]
    fn f53_changed_bodies_never_panic(
        sample: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let mut body = sample.get(&samples()).to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        judge_all(&body);
        judge_all(&body[..cut.index(body.len())]);
    }
}
