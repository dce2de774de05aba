//! Frames and runs: encoded again, and decoded.

use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use treecast::id::{Index, ProducerId, ProducerSequence, Sequence, StreamNumber, WallTime};
use treecast::topology::settings::GroupSettings;
use treecast::wire::body::{self, ClientHello, Close, Notice, PROTOCOL_MAGIC, RelayHello, Reply, Request};
use treecast::wire::frame::{
    Ack, AckKind, AckLevel, Credit, DeliverHead, FrameKind, PutDone, PutHead, append_frame, take_frame,
};
use treecast::wire::run::{Record, Records, RunHeader, RunKind};
use xxhash_rust::xxh3::xxh3_64;

use super::files;
use super::values::{self, EPOCH};

fn frame(kind: FrameKind, tag: u64, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    append_frame(&mut bytes, kind, tag, body);
    bytes.freeze()
}

/// Compares a frame with its file; answers the body as it is in the file.
pub(crate) fn check_frame(name: &str, kind: FrameKind, tag: u64, body: &[u8]) -> Bytes {
    let name = format!("wire/{name}.bin");
    files::compare(&name, &frame(kind, tag, body));
    let mut bytes = BytesMut::from(&files::read(&name)[..]);
    let frame = take_frame(&mut bytes).unwrap().expect("the file is a whole frame");
    assert!(bytes.is_empty(), "{name}: something follows the frame");
    assert_eq!((frame.kind, frame.tag), (kind, tag), "{name}");
    frame.body
}

fn check_control<T>(name: &str, kind: FrameKind, tag: u64, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let body = check_frame(name, kind, tag, &body::encode(value));
    assert_eq!(&body::decode::<T>(&body).unwrap(), value, "{name}");
}

#[test]
fn hellos_and_closes_are_as_ever() {
    let hello = ClientHello { magic: PROTOCOL_MAGIC.to_owned(), version: 1, name: "shop".to_owned() };
    check_control("hello-client", FrameKind::Hello, 0, &hello);
    let hello = RelayHello {
        magic: PROTOCOL_MAGIC.to_owned(),
        version: 1,
        relay: values::relay(),
        epoch: EPOCH,
        put_bytes_max: 16 << 20,
        now: WallTime(1_700_000_000_000_000),
    };
    check_control("hello-relay", FrameKind::Hello, 0, &hello);
    let close = Close { reason: "a 13 frame is not known".to_owned() };
    check_control("close", FrameKind::Close, 0, &close);
}

#[test]
fn requests_are_as_ever() {
    for (number, (name, request)) in (1..).zip(values::requests()) {
        let family = request_family(&request);
        assert!(name.starts_with(family), "{name} is a {family}");
        check_control(&format!("request-{name}"), FrameKind::Request, number, &request);
    }
}

/// What the file's name begins with: a request without a golden file does not compile here.
fn request_family(request: &Request) -> &'static str {
    match request {
        Request::Unknown { .. } => unreachable!("it is never sent"),
        Request::GroupOpen { .. } => "group-open",
        Request::GroupCreate { .. } => "group-create",
        Request::GroupSet { .. } => "group-set",
        Request::GroupList { .. } => "group-list",
        Request::GroupShow { .. } => "group-show",
        Request::GroupRemove { .. } => "group-remove",
        Request::SubscriptionCreate { .. } => "subscription-create",
        Request::SubscriptionList { .. } => "subscription-list",
        Request::SubscriptionShow { .. } => "subscription-show",
        Request::SubscriptionSeek { .. } => "subscription-seek",
        Request::SubscriptionRemove { .. } => "subscription-remove",
        Request::SubscriptionMove { .. } => "subscription-move",
        Request::Attach { .. } => "attach",
        Request::Detach { .. } => "detach",
        Request::Poll { .. } => "poll",
        Request::Sync => "sync",
        Request::Locate { .. } => "locate",
        Request::Status => "status",
        Request::Books { .. } => "books",
        Request::LinkList { .. } => "link-list",
        Request::RelayList { .. } => "relay-list",
        Request::RelayForget { .. } => "relay-forget",
        Request::RelayDrain { .. } => "relay-drain",
        Request::RelayDrainNamed { .. } => "relay-drain-named",
        Request::GroupTree { .. } => "group-tree",
        Request::Where { .. } => "where",
        Request::TopologyShow { .. } => "topology-show",
        Request::TopologyApply { .. } => "topology-apply",
        Request::TopologyJoin { .. } => "topology-join",
        Request::TopologyTell { .. } => "topology-tell",
    }
}

#[test]
fn answers_are_as_ever() {
    for (number, (name, answer)) in (1..).zip(values::answers()) {
        if let Ok(reply) = &answer {
            assert!(name.starts_with(reply_family(reply)), "{name}");
        }
        check_control(&format!("answer-{name}"), FrameKind::Answer, number, &answer);
    }
}

fn reply_family(reply: &Reply) -> &'static str {
    match reply {
        Reply::Done => "done",
        Reply::GroupHandle { .. } => "group-handle",
        Reply::SubscriptionHandle { .. } => "subscription-handle",
        Reply::Groups(_) => "groups",
        Reply::Group(_) => "group",
        Reply::Subscriptions(_) => "subscriptions",
        Reply::Subscription(_) => "subscription",
        Reply::Polled { .. } => "polled",
        Reply::Located(_) => "located",
        Reply::Status(_) => "status",
        Reply::Books(_) => "books",
        Reply::Links(_) => "links",
        Reply::Relays(_) => "relays",
        Reply::GroupTree(_) => "group-tree",
        Reply::Forgetting(_) => "forgetting",
        Reply::Draining(_) => "draining",
        Reply::Where(_) => "where",
        Reply::Topology(_) => "topology",
        Reply::TopologyApplied(_) => "topology-applied",
    }
}

#[test]
fn notices_are_as_ever() {
    for (name, notice) in values::notices() {
        let family = match &notice {
            Notice::Stream { .. } => "stream",
            Notice::PutRefused { .. } => "put-refused",
            Notice::Gap { .. } => "gap",
            Notice::Detached { .. } => "detached",
            Notice::Unordered { .. } => "unordered",
        };
        assert!(name.starts_with(family), "{name}");
        check_control(&format!("notice-{name}"), FrameKind::Notice, 0, &notice);
    }
}

#[test]
fn puts_and_their_answers_are_as_ever() {
    let records = values::records();
    let head = PutHead {
        put: 5,
        producer: Some((ProducerId::from_name("till-7"), ProducerSequence(11))),
        lowest_unanswered: ProducerSequence(9),
        body_hash: xxh3_64(&records),
        level: AckLevel::Consumed,
        copies: 0,
        transient: true,
        age_seconds: 2,
    };
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    bytes.put_slice(&records);
    let body = check_frame("put", FrameKind::Put, 0, &bytes);
    assert_eq!(PutHead::decode(body), Ok((head, records.clone())));
    let found: Vec<_> = Records::new(&records).map(Result::unwrap).collect();
    assert_eq!((found.len(), found[0].subject, found[0].ttl_ms), (2, Some("eu/rome"), Some(60_000)));
    assert_eq!(found[0].headers().collect::<Vec<_>>(), [("shop", &b"7"[..])]);
    assert_eq!((found[0].payload, found[1].payload), (&b"one pizza"[..], &b"two"[..]));

    let plain = PutHead {
        put: 6,
        producer: None,
        lowest_unanswered: ProducerSequence(0),
        level: AckLevel::Accepted,
        copies: 0,
        transient: false,
        age_seconds: 0,
        ..head
    };
    let mut bytes = BytesMut::new();
    plain.encode(&mut bytes);
    bytes.put_slice(&records);
    let body = check_frame("put-plain", FrameKind::Put, 0, &bytes);
    assert_eq!(PutHead::decode(body), Ok((plain, records)));

    let dones = [AckLevel::Accepted, AckLevel::Inserted, AckLevel::Consumed];
    let dones =
        dones.map(|level| PutDone { put: 5, first: Sequence(40), repeats: 1, level, has_more: false });
    let mut bytes = BytesMut::new();
    dones.iter().for_each(|done| done.encode(&mut bytes));
    let body = check_frame("put-answer", FrameKind::PutAnswer, 0, &bytes);
    assert_eq!(PutDone::decode_list(body), Ok(dones.to_vec()));
}

#[test]
fn deliveries_acks_and_credits_are_as_ever() {
    let records = values::records();
    let head = DeliverHead {
        first_index: Index(41),
        first: Sequence(40),
        count: 2,
        stream: StreamNumber(4),
        accepted: WallTime(1_700_000_000_000_000),
        records_hash: xxh3_64(&records),
        attempt: 1,
    };
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    bytes.put_slice(&records);
    let body = check_frame("deliver", FrameKind::Deliver, 1, &bytes);
    assert_eq!(DeliverHead::decode(body), Ok((head, records)));

    let kinds = [AckKind::Ack, AckKind::Nack, AckKind::Progress, AckKind::Reject];
    let acks = kinds.map(|kind| Ack { handle: 1, kind, from: Index(41), to: Index(43), delay_ms: 250 });
    let mut bytes = BytesMut::new();
    acks.iter().for_each(|ack| ack.encode(&mut bytes));
    let body = check_frame("ack", FrameKind::Ack, 0, &bytes);
    assert_eq!(Ack::decode_list(body), Ok(acks.to_vec()));

    let credit = Credit { handle: 1, total: 1024 };
    let mut bytes = BytesMut::new();
    credit.encode(&mut bytes);
    let body = check_frame("credit", FrameKind::Credit, 0, &bytes);
    assert_eq!(Credit::decode_list(body), Ok(vec![credit]));
}

#[test]
fn pings_and_pongs_are_as_ever() {
    assert!(check_frame("ping", FrameKind::Ping, 7, b"").is_empty());
    assert!(check_frame("pong", FrameKind::Pong, 7, b"").is_empty());
}

#[test]
fn runs_are_as_ever() {
    let body = values::records();
    let data = RunHeader {
        kind: RunKind::Data,
        has_ttl: true,
        has_subject: true,
        count: 2,
        body_bytes: u32::try_from(body.len()).unwrap(),
        first: Sequence(40),
        body_hash: xxh3_64(&body),
        chain: 0x0102_0304_0506_0708,
        accepted: WallTime(1_700_000_000_000_000),
        producer: Some((ProducerId::from_name("till-7"), ProducerSequence(11))),
    };
    let own = |kind| RunHeader { kind, has_ttl: false, has_subject: false, count: 1, producer: None, ..data };
    let kinds = [
        ("data", data),
        ("mark", own(RunKind::Mark)),
        ("genesis", own(RunKind::Genesis)),
        ("seal", own(RunKind::Seal)),
        ("loss", own(RunKind::Loss)),
    ];
    for (name, header) in kinds {
        let name = format!("wire/run-{name}.bin");
        let mut bytes = header.encode().to_vec();
        if header.kind == RunKind::Data {
            bytes.extend_from_slice(&body);
        }
        files::compare(&name, &bytes);
        assert_eq!(RunHeader::decode(&files::read(&name)), Ok(header), "{name}");
    }
    let mut one = BytesMut::new();
    Record { payload: b"two", ..Record::default() }.encode(&mut one);
    assert!(body.ends_with(&one));
}

#[test]
fn unknown_keys_are_ignored_and_missing_ones_are_absent_but_unknown_variants_are_refused() {
    use ciborium::cbor;
    let encode = |value| body::encode::<ciborium::Value>(&value);
    let newer =
        cbor!({ "magic" => "treecast", "version" => 9, "name" => "n", "colour" => ["red", 7] }).unwrap();
    let hello: ClientHello = body::decode(&encode(newer)).unwrap();
    assert_eq!((hello.version, hello.name.as_str()), (9, "n"));
    let attach = cbor!({ "Attach" => { "group" => "jobs", "priority" => 3 } }).unwrap();
    let expected = Request::Attach { group: values::group("jobs"), name: None, create: None };
    assert_eq!(body::decode::<Request>(&encode(attach)).unwrap(), expected);
    let set = cbor!({ "GroupSet" => { "group" => "jobs", "settings" => {} } }).unwrap();
    let expected = Request::GroupSet { group: values::group("jobs"), settings: GroupSettings::default() };
    assert_eq!(body::decode::<Request>(&encode(set)).unwrap(), expected);
    for wrong in [
        cbor!("Sing").unwrap(),
        cbor!({ "Sing" => {} }).unwrap(),
        cbor!({ "GroupShow" => {} }).unwrap(),
        cbor!({ "GroupShow" => { "group" => 7 } }).unwrap(),
        cbor!({ "GroupShow" => { "group" => "a//b" } }).unwrap(),
    ] {
        assert!(body::decode::<Request>(&encode(wrong.clone())).is_err(), "{wrong:?}");
    }
}

#[test]
fn no_file_of_the_wire_is_without_a_value() {
    let mut known: Vec<String> = ["hello-client", "hello-relay", "close", "put", "put-plain", "put-answer"]
        .into_iter()
        .chain(["deliver", "ack", "credit", "ping", "pong"])
        .chain(["run-data", "run-mark", "run-genesis", "run-seal", "run-loss"])
        .chain(["link-hello", "link-hello-takes", "link-run", "link-run-lz4", "link-deliver", "link-copy"])
        .map(str::to_owned)
        .chain(super::links::messages().iter().map(|(name, _)| format!("link-{name}")))
        .chain(super::links::pulls().iter().map(|(name, _)| format!("link-{name}")))
        .chain(values::requests().iter().map(|(name, _)| format!("request-{name}")))
        .chain(values::answers().iter().map(|(name, _)| format!("answer-{name}")))
        .chain(values::notices().iter().map(|(name, _)| format!("notice-{name}")))
        .map(|name| format!("{name}.bin"))
        .collect();
    known.sort();
    let there = files::list("wire");
    assert!(there.iter().all(|name| known.contains(name)), "a file that nothing checks: {there:?}");
}
