//! A neighbour that says whatever the wire lets it say (P12): nobody panics, and groups that it
//! has not named go on as if it were not there.

use bytes::Bytes;

use super::super::world::World;
use crate::dice::Dice;
use crate::id::{Epoch, RelayId, Sequence, StorageId, StreamNumber, WallTime};
use crate::limits;
use crate::wire::link::{
    Advertised, Ask, Confirmed, Fact, Finished, GroupId, LinkMessage, LinkState, Membership, Origin, Receipt,
    Released, SeenWhy, StreamNamed, StreamSeen, Version,
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

fn version(dice: &mut Dice) -> Version {
    Version { counter: number(dice), storage: storage(dice) }
}

fn fact(dice: &mut Dice) -> Fact {
    let coin = dice.below(2) == 0;
    match dice.below(3) {
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
                algorithm: [0, 1, 2, u16::MAX][dice.below(4) as usize],
                links: (0..dice.below(5)).map(|_| end(dice)).collect(),
                topology: None,
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

fn message(dice: &mut Dice) -> LinkMessage {
    let hops = [0, 1, 3, u16::MAX][dice.below(4) as usize];
    match dice.below(11) {
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
        5 => LinkMessage::Receipts(vec![Receipt {
            group: group(dice),
            origin: relay(dice),
            epoch: epoch(dice),
            member: relay(dice),
            storage: storage(dice),
            durable: sequence(dice),
            consumed: sequence(dice),
            hops,
        }]),
        6 => LinkMessage::Released(vec![Released {
            group: group(dice),
            origin: relay(dice),
            epoch: epoch(dice),
            released: sequence(dice),
            wanted: sequence(dice),
            to: (dice.below(2) == 0).then(|| relay(dice)),
            hops,
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
        _ => run(dice),
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
            world.inject(2, 0, message(&mut dice));
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
