//! Publishers at some relays, durable subscriptions at some, and an oracle for each subscription.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{Connection, Inbox, Publisher, Put, Ticket};
use super::oracle::{Event, History, Id};
use super::site::Network;

/// Longer than any repair takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Messages that a subscriber takes between two confirmations of its acks.
const SYNC_AFTER: u32 = 200;

/// Producers from here on only try whether messages pass.
const PROBES: u32 = 1000;

/// The subscription at a place that is read all the time: a name has one home in the network.
pub(crate) fn read_at(place: usize) -> String {
    format!("read-{place}")
}

/// Waits until something is so.
pub(crate) async fn wait_for(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it is not so after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Where messages are put and read.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// Places of relays: one publisher for each.
    pub(crate) puts: &'a [usize],
    /// Places of relays: one subscription at each.
    pub(crate) reads: &'a [usize],
    /// Between two messages of one publisher.
    pub(crate) pause: Duration,
    /// Bytes of one message.
    pub(crate) bytes: usize,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self { puts: &[0], reads: &[0], pause: Duration::from_millis(1), bytes: 200 }
    }
}

/// A durable subscription, and what was seen there.
#[derive(Clone)]
struct Watch {
    history: History,
    /// When each message was delivered first.
    times: Arc<Mutex<BTreeMap<Id, Instant>>>,
    /// Probes that came, by producer.
    probed: Arc<Mutex<BTreeSet<u32>>>,
}

/// What all tasks share.
#[derive(Clone)]
struct Shared {
    watches: Arc<Vec<Watch>>,
    put: Arc<Mutex<BTreeMap<Id, Instant>>>,
    stop: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
}

impl Shared {
    fn note(&self, event: Event) {
        self.watches.iter().for_each(|watch| watch.history.note(event));
    }
}

/// Traffic that runs, whatever happens to relays and links.
pub(crate) struct Traffic {
    shared: Shared,
    /// The place of the relay of each watch.
    reads: Vec<usize>,
    publishers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    /// Begins once what is put at every publisher's relay arrives at every subscription.
    pub(crate) async fn start(network: &Network, shape: Shape<'_>) -> Self {
        let at = |places: &[usize]| -> Vec<(usize, String)> {
            places.iter().map(|place| (*place, network.address(*place).to_owned())).collect()
        };
        Self::start_at(&at(shape.puts), &at(shape.reads), shape).await
    }

    /// The same, with the addresses of the relays.
    pub(crate) async fn start_at(
        puts: &[(usize, String)],
        reads: &[(usize, String)],
        shape: Shape<'_>,
    ) -> Self {
        let watch = |_| Watch { history: History::default(), times: Arc::default(), probed: Arc::default() };
        let shared = Shared {
            watches: Arc::new(reads.iter().map(watch).collect()),
            put: Arc::default(),
            stop: Arc::default(),
            paused: Arc::default(),
        };
        let mut readers = Vec::new();
        for ((place, address), watch) in reads.iter().zip(shared.watches.iter()) {
            let inbox = Inbox::open(address, &read_at(*place)).await.expect("the subscriber attaches");
            let at = (*place, address.clone());
            readers.push(tokio::spawn(receive(inbox, at, watch.clone())));
        }
        probe(puts, &shared).await;
        let mut publishers = Vec::new();
        for (place, address) in puts {
            let connection = Connection::open(address).await;
            let publisher = connection.publisher(*place as u32 + 1, shape.bytes).await;
            let shared = shared.clone();
            publishers.push(tokio::spawn(async move {
                publish(publisher, shape.pause, &shared).await;
                drop(connection);
            }));
        }
        let reads = reads.iter().map(|(place, _)| *place).collect();
        Self { shared, reads, publishers, readers }
    }

    fn watch(&self, place: usize) -> &Watch {
        let at = self.reads.iter().position(|read| *read == place).expect("somebody reads there");
        &self.shared.watches[at]
    }

    /// Messages answered as durable so far.
    pub(crate) fn answered(&self) -> usize {
        self.shared.watches[0].history.answered()
    }

    /// Waits until so many more puts were answered.
    pub(crate) async fn progress(&self, puts: usize) {
        let wanted = self.answered() + puts;
        wait_for("puts are answered", async || self.answered() >= wanted).await;
    }

    /// What is missing at each subscription.
    pub(crate) fn owed(&self) -> Vec<BTreeSet<Id>> {
        self.shared.watches.iter().map(|watch| watch.history.missing()).collect()
    }

    /// Waits until nothing of it is missing any more.
    pub(crate) async fn paid(&self, owed: &[BTreeSet<Id>]) {
        wait_for("what was missing has come", async || {
            let mut watches = self.shared.watches.iter().zip(owed);
            !watches.any(|(watch, owed)| watch.history.misses_any(owed))
        })
        .await;
    }

    /// Nothing more is put until [`Self::resume`]; waits until all that was is at these relays.
    pub(crate) async fn pause(&self, reads: &[usize]) {
        self.shared.paused.store(true, Ordering::Relaxed);
        // What was being put is put.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let put = locked(&self.shared.put).len();
        wait_for("every put is answered", async || self.answered() >= put).await;
        for place in reads {
            self.arrived(*place).await;
        }
    }

    pub(crate) fn resume(&self) {
        self.shared.paused.store(false, Ordering::Relaxed);
    }

    /// Waits until everything that was answered is at this relay's subscription.
    pub(crate) async fn arrived(&self, place: usize) {
        let what = format!("everything is at {place}");
        wait_for(&what, async || self.watch(place).history.is_delivered()).await;
    }

    /// How long it took after `moment` until a message that was put at `from` behind it was at `to`.
    pub(crate) async fn first_after(&self, moment: Instant, from: usize, to: usize) -> Duration {
        let mut found = None;
        wait_for("messages pass again", async || {
            let put = locked(&self.shared.put);
            let times = locked(&self.watch(to).times);
            let producer = from as u32 + 1;
            let is_later = |id: &Id| put.get(id).is_some_and(|put| *put >= moment);
            let of_producer = |(id, _): &(&Id, &Instant)| id.producer == producer && is_later(id);
            found = times.iter().find(of_producer).map(|(_, at)| at.duration_since(moment));
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }

    /// How long messages that were put between two moments took to this relay: the middle one of
    /// all and the slowest but one in a hundred, in milliseconds.
    pub(crate) fn latency(&self, place: usize, (from, to): (Instant, Instant)) -> (f64, f64) {
        let put = locked(&self.shared.put);
        let times = locked(&self.watch(place).times);
        let taken = times.iter().filter_map(|(id, at)| {
            let begun = *put.get(id)?;
            (begun >= from && begun < to).then(|| at.duration_since(begun).as_secs_f64() * 1e3)
        });
        let mut all: Vec<f64> = taken.collect();
        all.sort_by(f64::total_cmp);
        assert!(!all.is_empty(), "nothing arrived at {place}");
        (all[all.len() / 2], all[all.len() * 99 / 100])
    }

    /// Ends the publishers and waits until every answered message is at every subscription;
    /// checks all that was seen. Answers how many messages that were.
    pub(crate) async fn end(self) -> usize {
        self.shared.stop.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            tokio::time::timeout(PATIENCE, publisher).await.expect("puts are answered").expect("no panic");
        }
        let begun = Instant::now();
        let is_whole = || self.shared.watches.iter().all(|watch| watch.history.is_delivered());
        while !is_whole() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What must not come would come soon.
        tokio::time::sleep(Duration::from_millis(200)).await;
        for reader in self.readers {
            if reader.is_finished() {
                reader.await.expect("the reader does not panic");
            } else {
                reader.abort();
            }
        }
        for watch in self.shared.watches.iter() {
            watch.history.check();
        }
        let answered = self.shared.watches[0].history.answered();
        assert!(answered > 0, "nothing was put");
        answered
    }

    /// Ends it, and checks that no relay keeps what nobody needs and that all books balance.
    pub(crate) async fn finish(self, network: &Network) -> usize {
        self.shared.stop.store(true, Ordering::Relaxed);
        for watch in self.shared.watches.iter() {
            wait_for("everything is delivered", async || {
                watch.history.is_delivered() || self.readers.iter().any(JoinHandle::is_finished)
            })
            .await;
        }
        network.check_nothing_kept().await;
        let answered = self.end().await;
        network.check_books().await;
        answered
    }
}

/// Puts at all relays until something of each has come to all subscriptions.
async fn probe(puts: &[(usize, String)], shared: &Shared) {
    let mut publishers = Vec::new();
    for (place, address) in puts {
        let connection = Connection::open(address).await;
        publishers.push((connection.publisher(PROBES + *place as u32, 20).await, connection));
    }
    let wanted = publishers.len();
    let begun = Instant::now();
    let is_there = || shared.watches.iter().all(|watch| locked(&watch.probed).len() >= wanted);
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "messages do not pass everywhere");
        for (publisher, _) in &mut publishers {
            drop(publisher.put().await.expect("it is put"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Those that are on their way pass before what is counted.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn publish(mut publisher: Publisher, pause: Duration, shared: &Shared) {
    let (tickets, waiting) = mpsc::unbounded_channel();
    let answers = tokio::spawn(note_answers(waiting, shared.clone()));
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.paused.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        shared.note(Event::Put(publisher.next()));
        locked(&shared.put).insert(publisher.next(), Instant::now());
        let Ok(ticket) = publisher.put().await else { break };
        tickets.send(ticket).expect("answers are taken");
        tokio::time::sleep(pause).await;
    }
    drop(tickets);
    answers.await.expect("no panic");
}

async fn note_answers(mut waiting: mpsc::UnboundedReceiver<Ticket>, shared: Shared) {
    while let Some(ticket) = waiting.recv().await {
        match ticket.answer().await {
            (id, Put::Answered) => shared.note(Event::Answered(id)),
            (id, Put::Refused(..)) => shared.note(Event::Refused(id)),
            (_, Put::Failed(_)) => {}
        }
    }
}

/// Receives and acks until it is aborted; attaches again when the connection breaks.
async fn receive(first: Inbox, (place, address): (usize, String), watch: Watch) {
    let mut inbox = Some(first);
    loop {
        let open = match inbox.take() {
            Some(open) => Ok(open),
            None => Inbox::open(&address, &read_at(place)).await,
        };
        if let Ok(mut open) = open {
            let _reason = receive_on(&mut open, &watch).await;
            watch.history.note(Event::Broke);
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive_on(inbox: &mut Inbox, watch: &Watch) -> Result<(), String> {
    let mut unsynced = 0;
    loop {
        let (id, message) = inbox.next().await?;
        if id.producer >= PROBES {
            locked(&watch.probed).insert(id.producer);
            message.ack();
            continue;
        }
        locked(&watch.times).entry(id).or_insert_with(Instant::now);
        watch.history.note(Event::Delivered(id));
        message.ack();
        unsynced += 1;
        if unsynced >= SYNC_AFTER {
            inbox.sync().await?;
            watch.history.note(Event::Synced);
            unsynced = 0;
        }
    }
}
