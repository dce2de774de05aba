//! A relay's core over the log's engine, on storage in memory: one thread, a
//! made-up clock and made-up random bytes, so that every byte is the same again.

use std::collections::VecDeque;

use bytes::Bytes;
use treecast::id::{ProducerId, ProducerSequence, RelayId, SessionId, Time, WallTime};
use treecast::log::memory::{MemoryStorage, Random};
use treecast::log::{DiskLog, EntryNumber, Log, LogOptions, Opened, Recovery, Replayed, Snapshot, Urgency};
use treecast::relay::{Effect, Input, Now, Relay, RelayOptions, Restore, SHARDS};
use treecast::wire::body::{Answer, Notice, Reply, Request};
use treecast::wire::frame::{Ack, AckKind, AckLevel, Credit, PutHead};
use treecast::wire::run::BodySummary;
use xxhash_rust::xxh3::xxh3_64;

const SESSION: SessionId = SessionId(1);

pub(crate) fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 0,
        waiting_bytes: 0,
        collect_age_ms: 0,
    }
}

/// Opens a log; `seed` stands for the randomness of this boot.
pub(crate) fn recover(sim: &MemoryStorage, seed: u64) -> (Recovery, Opened) {
    let mut random = Random(seed);
    let mut fill = |bytes: &mut [u8]| bytes.fill_with(|| random.number().to_le_bytes()[0]);
    Recovery::open(sim.storage(), options(), &mut fill).unwrap()
}

/// What was found when the log was opened.
pub(crate) struct Found {
    pub(crate) opened: Opened,
    pub(crate) entries: Vec<(EntryNumber, Replayed)>,
}

pub(crate) struct Scene {
    pub(crate) log: DiskLog,
    relay: Relay,
    now: Now,
    durable: EntryNumber,
    answers: VecDeque<Answer>,
    pub(crate) notices: Vec<Notice>,
    shards: Vec<(EntryNumber, Bytes)>,
    puts: u64,
}

impl Scene {
    /// Opens the log and the relay in it.
    pub(crate) fn open(sim: &MemoryStorage, seed: u64) -> (Self, Found) {
        let (recovery, opened) = recover(sim, seed);
        let relay = RelayOptions {
            relay: RelayId::new("rome").unwrap(),
            epoch: opened.epoch,
            version: "golden".to_owned(),
            warnings: Vec::new(),
            run_bytes_max: options().run_bytes_max(),
            links: Vec::new(),
            transit: true,
            max_children: None,
            trace_retention_ms: treecast::limits::TRACE_RETENTION_MS,
            origin_quiet_ms: treecast::limits::ORIGIN_QUIET_MS,
        };
        let mut restore = Restore::new(relay, opened.last, &opened.snapshot).unwrap();
        let mut entries = Vec::new();
        recovery
            .replay(&mut |number, replayed| {
                entries.push((number, replayed.clone()));
                restore.replay(number, replayed).unwrap();
            })
            .unwrap();
        let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
        let now = Now { time: Time(0), wall: WallTime(1_700_000_000_000_000 + seed * 1_000_000) };
        let mut scene = Self {
            log,
            relay: restore.start(now),
            now,
            durable: opened.last,
            answers: VecDeque::new(),
            notices: Vec::new(),
            shards: Vec::new(),
            puts: 0,
        };
        scene.input(Input::SessionOpened { session: SESSION });
        (scene, Found { opened, entries })
    }

    /// One input, and all that follows from it: one commit for each batch of entries.
    pub(crate) fn input(&mut self, input: Input) {
        self.now.time = self.now.time.after_ms(1);
        self.now.wall.0 += 1000;
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.relay.handle(self.now, input);
            let mut entries = Vec::new();
            while let Some(effect) = self.relay.next_effect() {
                if let Effect::Append { entry, .. } = effect {
                    entries.push(entry);
                } else {
                    self.carry_out(effect, &mut inputs);
                }
            }
            if !entries.is_empty() {
                self.log.append(entries, Urgency::Sync).unwrap();
                self.log.step();
            }
            if self.log.durable() > self.durable {
                self.durable = self.log.durable();
                inputs.push_back(Input::Durable { through: self.durable });
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, inputs: &mut VecDeque<Input>) {
        match effect {
            Effect::Answer { answer, .. } => self.answers.push_back(*answer),
            Effect::Notice { notice, .. } => self.notices.push(notice),
            Effect::Fetch { group, from, bytes_max } => {
                let pieces = self.log.read(group, from, bytes_max).unwrap();
                inputs.push_back(Input::Fetched { group, from, pieces });
            }
            Effect::Release { group, below } => self.log.release(group, below),
            Effect::Shard { through, bytes, .. } => self.shards.push((through, bytes)),
            Effect::Append { .. }
            | Effect::Hurry
            | Effect::PutDone { .. }
            | Effect::Deliver { .. }
            | Effect::Link { .. }
            | Effect::Neighbours { .. }
            | Effect::Close { .. } => {}
        }
    }

    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        self.input(Input::Request { session: SESSION, request: 1, body: Box::new(request) });
        self.answers.pop_front().expect("a request is answered").unwrap()
    }

    pub(crate) fn put(&mut self, handle: u32, producer: Option<&str>, records: Bytes) {
        self.puts += 1;
        let sequence = ProducerSequence(10 * self.puts);
        let head = PutHead {
            put: self.puts,
            producer: producer.map(|name| (ProducerId::from_name(name), sequence)),
            lowest_unanswered: ProducerSequence(0),
            body_hash: xxh3_64(&records),
            level: AckLevel::Accepted,
            copies: 0,
            transient: false,
            age_seconds: 0,
        };
        let summary = BodySummary::of(&records).unwrap();
        self.input(Input::Put { session: SESSION, handle, head, summary, records });
    }

    pub(crate) fn credit(&mut self, handle: u32, total: u64) {
        self.input(Input::Credit { session: SESSION, credits: vec![Credit { handle, total }] });
    }

    pub(crate) fn ack(&mut self, handle: u32, from: u64, to: u64) {
        let (from, to) = (treecast::id::Index(from), treecast::id::Index(to));
        let ack = Ack { handle, kind: AckKind::Ack, from, to, delay_ms: 0 };
        self.input(Input::Ack { session: SESSION, acks: vec![ack] });
    }

    /// Takes a snapshot of the relay's state, as the driver does.
    pub(crate) fn snapshot(&mut self) {
        let begun = self.log.begin_snapshot();
        for shard in 0..SHARDS {
            self.input(Input::Snapshot { shard });
        }
        self.log.snapshot(begun, Snapshot { shards: std::mem::take(&mut self.shards) }).unwrap();
    }
}
