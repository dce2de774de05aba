//! A neighbour that says whatever the wire lets it say (P12): nobody panics, and groups that it
//! has not named go on as if it were not there.

use bytes::Bytes;

use super::super::world::World;
use crate::dice::Dice;
use crate::id::{
    Epoch, Index, ProducerId, RelayId, Sequence, StorageId, StreamNumber, SubscriptionName, WallTime,
};
use crate::limits;
use crate::wire::body::{
    Fate, GapCause, MessageName, Notice, Refusal, RefusalCode, RelayTrace, Reply, Request, Sighting, Start,
    SubscriptionSpec, SubscriptionTrace,
};
use crate::wire::circuit::{CircuitFrame, CircuitHead, CircuitId, CircuitSays};
use crate::wire::frame::{Ack, AckKind, Credit, DeliverHead};
use crate::wire::link::{
    Advertised, Ask, AskWhere, Confirmed, Fact, Finished, Forgotten, Full, FullVersion, GroupId, LinkMessage,
    LinkState, Membership, Origin, Quotas, Receipt, Released, SeenWhy, StreamNamed, StreamSeen, ToldWhere,
    Version,
};
use crate::wire::link::{Holds, Pull, Pulled};
use crate::wire::moving::{
    CopyHead, Done, Keeper, Left, MoveFrame, MoveSays, ProducerDone, StreamAt, StreamPart,
};
use crate::wire::run::{Run, RunHeader, RunKind};

fn relay(dice: &mut Dice) -> RelayId {
    let names = ["r00", "r01", "r02", "r03", "stranger", "another/stranger"];
    RelayId::new(names[dice.below(names.len() as u64) as usize]).unwrap()
}

fn group(dice: &mut Dice) -> GroupId {
    let name = ["g", "h", "unheard/of"][dice.below(3) as usize].parse().unwrap();
    let incarnation = [0, 0, 0, 1, u32::MAX][dice.below(5) as usize];
    GroupId { name, incarnation }
}

fn number(dice: &mut Dice) -> u64 {
    let numbers = [0, 1, 2, 3, 5, 1000, 1 << 32, limits::SEQUENCE_MAX - 1, limits::SEQUENCE_MAX];
    numbers[dice.below(numbers.len() as u64) as usize]
}

fn sequence(dice: &mut Dice) -> Sequence {
    Sequence(number(dice))
}

fn storage(dice: &mut Dice) -> StorageId {
    StorageId([dice.below(5) as u8; 16])
}

fn epoch(dice: &mut Dice) -> Epoch {
    // Those of the simulation have equal counter and nonce.
    let counter = [1, 1, 1, 2, number(dice)][dice.below(5) as usize];
    Epoch { counter, storage: storage(dice), nonce: counter }
}

fn full_version(dice: &mut Dice) -> FullVersion {
    FullVersion { boot: number(dice), change: number(dice) }
}

fn full(dice: &mut Dice) -> Full {
    let name =
        |dice: &mut Dice| SubscriptionName::new(["s-r00", "s-r01", "none"][dice.below(3) as usize]).unwrap();
    Full {
        version: full_version(dice),
        quotas: Quotas { count: Some(number(dice)), ..Quotas::default() },
        subscriptions: (0..dice.below(20)).map(|_| name(dice)).collect(),
        left_off: number(dice),
        group: (dice.below(2) == 0).then(|| name(dice)),
    }
}

fn receipt(dice: &mut Dice, hops: u16) -> Receipt {
    Receipt {
        group: group(dice),
        origin: relay(dice),
        epoch: epoch(dice),
        member: relay(dice),
        storage: storage(dice),
        durable: sequence(dice),
        consumed: sequence(dice),
        hops,
        full: (dice.below(2) == 0).then(|| Box::new(full(dice))),
        released: (dice.below(2) == 0).then(|| sequence(dice)),
        brought: (dice.below(2) == 0).then(|| number(dice)),
        began: (dice.below(2) == 0).then(|| sequence(dice)),
    }
}

fn version(dice: &mut Dice) -> Version {
    Version { counter: number(dice), storage: storage(dice) }
}

fn fact(dice: &mut Dice) -> Fact {
    let coin = dice.below(2) == 0;
    match dice.below(4) {
        // It speaks for itself and for strangers: of others it would be believed.
        3 => Fact::Forgotten(Forgotten {
            relay: RelayId::new(["r03", "stranger"][dice.below(2) as usize]).unwrap(),
            version: version(dice),
            by: relay(dice),
            at: WallTime(number(dice)),
        }),
        0 => {
            let end = |dice: &mut Dice| Advertised {
                neighbour: relay(dice),
                cost: [0, 1, 7, u32::MAX][dice.below(4) as usize],
                is_up: dice.below(2) == 0,
            };
            Fact::LinkState(LinkState {
                relay: relay(dice),
                version: version(dice),
                transit: coin,
                max_children: [None, Some(0), Some(1), Some(u32::MAX)][dice.below(4) as usize],
                catching_up: dice.below(2) == 0,
                is_new: false,
                is_draining: dice.below(2) == 0,
                algorithm: [0, 1, 2, u16::MAX][dice.below(4) as usize],
                links: (0..dice.below(5)).map(|_| end(dice)).collect(),
                topology: None,
                boot: [None, Some(0), Some(u64::MAX)][dice.below(3) as usize],
            })
        }
        1 => Fact::Membership(Membership {
            group: group(dice),
            relay: relay(dice),
            version: version(dice),
            member: coin,
        }),
        _ => Fact::Origin(Origin {
            group: group(dice),
            relay: relay(dice),
            version: version(dice),
            active: coin,
        }),
    }
}

/// A message about what is missing, or about what is known.
fn pull(dice: &mut Dice) -> LinkMessage {
    let hops = [0, 1, 3, u16::MAX][dice.below(4) as usize];
    match dice.below(5) {
        0 => {
            let (from, to) = (sequence(dice), sequence(dice));
            let path = (0..dice.below(4)).map(|_| relay(dice)).collect();
            LinkMessage::Pull(Pull {
                id: dice.below(5),
                group: group(dice),
                origin: relay(dice),
                epoch: epoch(dice),
                from,
                to,
                toward: relay(dice),
                path,
                hops,
                anyway: dice.below(2) == 0,
            })
        }
        1 => LinkMessage::Pulled(Pulled {
            id: dice.below(5),
            is_here: dice.below(2) == 0,
            to: sequence(dice),
            released: sequence(dice),
        }),
        2 => LinkMessage::Holds(vec![Holds {
            group: group(dice),
            origin: relay(dice),
            epoch: epoch(dice),
            last: sequence(dice),
            by: relay(dice),
            to: relay(dice),
            hops,
        }]),
        3 => LinkMessage::Digest(number(dice)),
        _ => LinkMessage::Buckets(vec![number(dice); [0, 1, 256, 1000][dice.below(4) as usize]]),
    }
}

fn run(dice: &mut Dice) -> LinkMessage {
    let kinds = [RunKind::Data, RunKind::Mark, RunKind::Genesis, RunKind::Seal, RunKind::Loss];
    let body = [Bytes::new(), Bytes::from_static(b"\xff\xff"), Bytes::from_static(b"\x05\0\0\0\0abcd")];
    let body = body[dice.below(3) as usize].clone();
    let header = RunHeader {
        kind: kinds[dice.below(5) as usize],
        has_ttl: dice.below(2) == 0,
        has_subject: dice.below(2) == 0,
        count: [1, 1, 2, limits::RUN_RECORDS_MAX][dice.below(4) as usize],
        body_bytes: body.len() as u32,
        first: Sequence(number(dice).max(1)),
        body_hash: 0,
        chain: dice.below(3),
        accepted: WallTime(number(dice)),
        producer: None,
    };
    let stream = StreamNumber(dice.below(6) as u32);
    LinkMessage::Run { stream, age_ms: number(dice) as u32, run: Run { header, body } }
}

fn request(dice: &mut Dice) -> Request {
    let group = group(dice).name;
    let name = ["s-r00", "s-r02", "strange"][dice.below(3) as usize].parse().unwrap();
    match dice.below(9) {
        0 => Request::Attach { group, name: Some(name), create: None },
        1 => Request::Attach { group, name: None, create: Some(SubscriptionSpec::default()) },
        2 => Request::Poll { handle: dice.below(2) as u32, messages: number(dice) },
        3 => Request::Detach { handle: dice.below(2) as u32 },
        4 => Request::Sync,
        5 => Request::SubscriptionShow { group, name },
        6 => Request::SubscriptionSeek { group, name, start: Start::Index(Index(number(dice))) },
        7 => Request::SubscriptionList { group, after: None, limit: u32::MAX },
        _ => Request::GroupRemove { group },
    }
}

fn circuit_head(dice: &mut Dice, hops: u16) -> CircuitHead {
    let circuit = CircuitId { opener: relay(dice), boot: dice.below(3), number: dice.below(4) };
    let (home, is_back, sequence) =
        (relay(dice), dice.below(2) == 0, [0, 0, 1, 2, u64::MAX][dice.below(5) as usize]);
    CircuitHead { circuit, home, is_back, sequence, hops }
}

fn circuit(dice: &mut Dice, hops: u16) -> LinkMessage {
    let refusal = Refusal::new(RefusalCode::NotReady, "because");
    let handle = dice.below(2) as u32;
    let (from, to) = (Index(number(dice)), Index(number(dice)));
    let says = match dice.below(12) {
        0..4 => CircuitSays::Request { request: number(dice), body: Box::new(request(dice)) },
        4 => {
            let kind =
                [AckKind::Ack, AckKind::Nack, AckKind::Progress, AckKind::Reject][dice.below(4) as usize];
            CircuitSays::Acks(vec![Ack { handle, kind, from, to, delay_ms: number(dice) }])
        }
        5 => CircuitSays::Credit(Credit { handle, total: u64::MAX }),
        6 => CircuitSays::Written(number(dice)),
        7 => {
            let answer = Box::new(Ok(Reply::Polled { messages: number(dice) }));
            CircuitSays::Answer { request: dice.below(3), answer }
        }
        8 => CircuitSays::Notice(Box::new(Notice::Detached { handle, refusal })),
        9 => CircuitSays::Ping,
        10 => CircuitSays::Pong,
        _ => CircuitSays::End(Some(refusal)),
    };
    LinkMessage::Circuit(Box::new(CircuitFrame { head: circuit_head(dice, hops), says }))
}

fn deliver(dice: &mut Dice, hops: u16) -> LinkMessage {
    let head = Box::new(CircuitHead { is_back: true, ..circuit_head(dice, hops) });
    let deliver = DeliverHead {
        first_index: Index(number(dice)),
        first: sequence(dice),
        count: 1,
        stream: StreamNumber(dice.below(6) as u32),
        accepted: WallTime(number(dice)),
        records_hash: 0,
        attempt: 1,
    };
    LinkMessage::Deliver { head, deliver, records: Bytes::from_static(b"\x05\0\0\0\0abcd") }
}

fn moving(dice: &mut Dice, hops: u16) -> LinkMessage {
    let streams = |dice: &mut Dice| -> Vec<StreamAt> {
        let at = |dice: &mut Dice| StreamAt { origin: relay(dice), epoch: epoch(dice), last: sequence(dice) };
        (0..dice.below(4)).map(|_| at(dice)).collect()
    };
    let version = Version { counter: number(dice), storage: storage(dice) };
    let keeper = Keeper { storage: storage(dice), from: Index(number(dice)) };
    let says = match dice.below(13) {
        9 | 10 => MoveSays::Copy { part: dice.below(2) as u32, from: Index(number(dice)) },
        11 => MoveSays::Copied { part: dice.below(2) as u32, through: Index(number(dice)) },
        0 | 1 => MoveSays::Prepare {
            spec: SubscriptionSpec { window: Some(dice.below(3) as u32), ..Default::default() },
            queue: dice.chance(50),
            void: dice.chance(30).then_some(version),
            merge: dice.chance(30),
        },
        2 => MoveSays::Prepared { keeper, version, streams: streams(dice), own: streams(dice) },
        3 => MoveSays::Refused(Refusal::new(RefusalCode::NotReady, "because")),
        4 => MoveSays::Ask { member: relay(dice), version },
        5 => MoveSays::Held { storage: storage(dice), version, links: version, streams: streams(dice) },
        6 => {
            let producers = vec![ProducerDone {
                producer: ProducerId(dice.below(3).into()),
                floor: number(dice),
                ranges: vec![(number(dice), number(dice))],
            }];
            let finished = vec![(relay(dice), storage(dice), number(dice))];
            let part =
                |at: StreamAt| StreamPart { origin: at.origin, epoch: at.epoch, from: at.last, to: at.last };
            let parts: Vec<StreamPart> = streams(dice).into_iter().map(part).collect();
            let (streams, owed) = (streams(dice), parts.clone());
            let done = Box::new(Done { streams, finished, producers, parts, owed });
            let index = |dice: &mut Dice| Index(number(dice));
            let range = (index(dice), index(dice));
            let left = Left {
                part: dice.below(2) as u32,
                floor: index(dice),
                to: index(dice),
                done: vec![range],
                gaps: Vec::new(),
                lost: vec![(range.0, range.1, GapCause::Damaged)],
            };
            let left = if dice.chance(50) { vec![left] } else { Vec::new() };
            MoveSays::Handover { keeper, version, done, left }
        }
        7 => MoveSays::Taken,
        _ => MoveSays::Void,
    };
    let name = ["s-r00", "s-r02", "strange"][dice.below(3) as usize].parse().unwrap();
    let (from, to, group, token) = (relay(dice), relay(dice), group(dice), dice.below(2));
    LinkMessage::Move(Box::new(MoveFrame { from, to, hops, group, name, token, says }))
}

fn copied(dice: &mut Dice, hops: u16) -> LinkMessage {
    let name = ["s-r00", "s-r02", "strange"][dice.below(3) as usize].parse().unwrap();
    let head = CopyHead {
        from: relay(dice),
        to: relay(dice),
        hops,
        group: group(dice),
        name,
        token: dice.below(2),
        part: dice.below(2) as u32,
        origin: relay(dice),
        epoch: epoch(dice),
        behind: Index(number(dice)),
        first_index: Index(number(dice)),
        age_ms: number(dice) as u32,
        not_owed: vec![(Index(number(dice)), Index(number(dice)))],
    };
    let LinkMessage::Run { run, .. } = run(dice) else { unreachable!("it is one") };
    LinkMessage::Copy { head: Box::new(head), run }
}

fn moved(dice: &mut Dice, hops: u16, at: u64) -> LinkMessage {
    if at < 20 { moving(dice, hops) } else { copied(dice, hops) }
}

fn message(dice: &mut Dice) -> LinkMessage {
    let hops = [0, 1, 3, u16::MAX][dice.below(4) as usize];
    match dice.below(22) {
        at @ 18.. => moved(dice, hops, at),
        0 => LinkMessage::Facts((0..dice.below(4)).map(|_| fact(dice)).collect()),
        1 => LinkMessage::FactsEnd,
        2 => {
            let seen = |dice: &mut Dice| StreamSeen {
                origin: relay(dice),
                epoch: epoch(dice),
                seen: sequence(dice),
                released: sequence(dice),
                wanted: sequence(dice),
            };
            let streams = (0..dice.below(4)).map(|_| seen(dice)).collect();
            let why = [SeenWhy::Asks, SeenWhy::Answers, SeenWhy::Lacks][dice.below(3) as usize];
            LinkMessage::Seen { group: group(dice), streams, why }
        }
        3 | 4 => LinkMessage::Stream(StreamNamed {
            number: StreamNumber(dice.below(6) as u32),
            group: group(dice),
            origin: relay(dice),
            epoch: epoch(dice),
            base: sequence(dice),
            chain: dice.below(3),
            released: sequence(dice),
        }),
        5 => LinkMessage::Receipts(vec![receipt(dice, hops)]),
        6 => LinkMessage::Released(vec![Released {
            group: group(dice),
            origin: relay(dice),
            epoch: epoch(dice),
            released: sequence(dice),
            wanted: sequence(dice),
            to: (dice.below(2) == 0).then(|| relay(dice)),
            hops,
            heard: (dice.below(2) == 0).then(|| full_version(dice)),
        }]),
        7 => {
            let to = (0..dice.below(4)).map(|_| relay(dice)).collect();
            let (group, home, version) = (group(dice), relay(dice), version(dice));
            LinkMessage::Ask(Ask { group, home, version, to, hops })
        }
        8 => {
            let (group, home, version, by) = (group(dice), relay(dice), version(dice), relay(dice));
            LinkMessage::Confirmed(Confirmed { group, home, version, by, hops })
        }
        9 => LinkMessage::Finished(vec![Finished {
            group: group(dice),
            origin: relay(dice),
            storage: storage(dice),
            through: number(dice),
            to: (dice.below(2) == 0).then(|| relay(dice)),
            hops,
        }]),
        10 => ask_where(dice, hops),
        11 => told_where(dice, hops),
        12..16 => circuit(dice, hops),
        16 => deliver(dice, hops),
        _ => run(dice),
    }
}

fn ask_where(dice: &mut Dice, hops: u16) -> LinkMessage {
    let to = (0..dice.below(4)).map(|_| relay(dice)).collect();
    let (question, asker) = (dice.below(4), relay(dice));
    LinkMessage::AskWhere(AskWhere { question, asker, message: name(dice), to, hops })
}

fn told_where(dice: &mut Dice, hops: u16) -> LinkMessage {
    let (question, asker) = (dice.below(4), relay(dice));
    LinkMessage::ToldWhere(ToldWhere { question, asker, trace: Box::new(trace(dice)), hops })
}

fn name(dice: &mut Dice) -> MessageName {
    let epoch = epoch(dice);
    MessageName {
        group: group(dice).name,
        origin: relay(dice),
        boot: epoch.counter,
        nonce: epoch.nonce,
        sequence: Sequence(number(dice)),
    }
}

fn trace(dice: &mut Dice) -> RelayTrace {
    let name = |dice: &mut Dice| SubscriptionName::new(&"n".repeat(1 + dice.below(200) as usize)).unwrap();
    let subscription =
        |dice: &mut Dice| SubscriptionTrace { name: name(dice), fate: Fate::Done, gone: false };
    RelayTrace {
        relay: relay(dice),
        now: WallTime(number(dice)),
        sighting: Sighting::Held { index: Index(number(dice)) },
        arrived: None,
        accepted: None,
        released: false,
        forgotten_before: None,
        receipts: Vec::new(),
        subscriptions: (0..dice.below(500)).map(|_| subscription(dice)).collect(),
        left_off: number(dice) as u32,
        own: None,
    }
}

#[test]
fn a_neighbour_that_says_anything_breaks_nothing_but_what_it_names() {
    for seed in 0..150 {
        let mut dice = Dice::new(seed);
        // A line, and the hostile one at its end: its own relay says nothing.
        let mut world = World::new(seed, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        for group in ["g", "h", "clean"] {
            world.subscribe(0, group, "s");
            world.subscribe(2, group, "s");
            world.put(1, group, 1);
        }
        for _ in 0..300 {
            let message = if dice.below(3) == 0 { pull(&mut dice) } else { message(&mut dice) };
            world.inject(2, 0, message);
            world.arrive_all(20);
            if dice.below(10) == 0 {
                world.put(dice.below(3) as usize, ["g", "h"][dice.below(2) as usize], 1);
            }
        }
        world.set_link(2, false);
        world.crash(3);
        world.put(1, "clean", 2);
        world.put(0, "clean", 2);
        world.heal_links();
        world.rest();
        assert_eq!(world.drain(2, "clean", "s").len(), 5, "seed {seed}");
        assert_eq!(world.drain(0, "clean", "s").len(), 5, "seed {seed}");
    }
}
