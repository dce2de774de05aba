//! Publishers that put without a pause and a subscriber that acks, all of it
//! written into a history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{Connection, Inbox, Publisher, Put, Ticket};
use super::oracle::{Event, History};
use super::process::{PATIENCE, RelayProcess, Start};
use super::proxy::Proxy;

/// Messages that the subscriber takes between two confirmations of its acks.
const SYNC_AFTER: u32 = 200;

/// The subscription that a load reads.
pub(crate) const READ: &str = "read";

/// The subscription that nobody reads until the end.
pub(crate) const KEPT: &str = "kept";

/// How a load is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) publishers: u32,
    /// Bytes of one message.
    pub(crate) bytes: usize,
    /// Between two messages of one publisher.
    pub(crate) pause: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self { publishers: 2, bytes: 200, pause: Duration::from_micros(200) }
    }
}

/// Waits until something is so.
pub(crate) async fn wait_for(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it is not so after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a relay does nothing of its own any more: its spare segments are made.
pub(crate) async fn settle(address: &str) {
    let connection = Connection::open(address).await;
    wait_for("the spares are made", async || {
        connection.status().await.expect("it answers").space.spare_segments >= 2
    })
    .await;
}

/// A relay with a subscription that nobody reads until the end, a proxy before it, and a load
/// through that.
pub(crate) async fn loaded(start: Start, shape: Shape) -> (RelayProcess, Proxy, Load) {
    let relay = start.start();
    create_kept(&relay.address).await;
    let proxy = Proxy::start(&relay.address).await;
    let load = Load::start(&proxy.address, shape).await;
    load.progress(100).await;
    (relay, proxy, load)
}

/// Everything that was answered is there, and the relay stops well.
pub(crate) async fn finish(relay: RelayProcess, load: Load) {
    let history = load.finish().await;
    check_kept(&relay.address, &history).await;
    relay.stop().expect_code(0);
}

/// A load that runs. Its connections survive whatever happens to the relay.
pub(crate) struct Load {
    pub(crate) history: History,
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<()>>,
    subscriber: JoinHandle<()>,
}

impl Load {
    /// Begins, with the subscription there before the first put.
    pub(crate) async fn start(address: &str, shape: Shape) -> Self {
        Self::resume(address, shape, History::default(), 0).await
    }

    /// Begins with producers numbered behind `before`, in a history that goes on.
    pub(crate) async fn resume(address: &str, shape: Shape, history: History, before: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let connection = Arc::new(Connection::open(address).await);
        let inbox = Inbox::open(address, READ).await.expect("the subscriber attaches");
        let noted = history.clone();
        let note = move |event| noted.note(event);
        let subscriber = tokio::spawn(receive(inbox, address.to_owned(), READ.to_owned(), note));
        let mut publishers = Vec::new();
        for producer in before + 1..=before + shape.publishers {
            let publisher = connection.publisher(producer, shape.bytes).await;
            let (history, stop) = (history.clone(), Arc::clone(&stop));
            let connection = Arc::clone(&connection);
            publishers.push(tokio::spawn(async move {
                publish(publisher, shape.pause, &history, &stop).await;
                drop(connection);
            }));
        }
        Self { history, stop, publishers, subscriber }
    }

    /// Waits until so many more puts were answered: the load does get through.
    #[track_caller]
    pub(crate) fn progress(&self, puts: usize) -> impl Future<Output = ()> {
        let history = self.history.clone();
        let wanted = history.answered() + puts;
        async move { wait_for("puts are answered", async || history.answered() >= wanted).await }
    }

    /// Ends the publishers, waits until every put has its answer and every answered
    /// message was delivered, and checks the whole history.
    pub(crate) async fn finish(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            tokio::time::timeout(PATIENCE, publisher).await.expect("puts are answered").expect("no panic");
        }
        let begun = Instant::now();
        while !self.history.is_delivered() && begun.elapsed() < PATIENCE && !self.subscriber.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.subscriber.abort();
        if let Err(error) = self.subscriber.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        // Its connection ended with it.
        self.history.note(Event::Broke);
        assert!(self.history.answered() > 0, "nothing was put");
        self.history.check();
        self.history
    }
}

async fn publish(mut publisher: Publisher, pause: Duration, history: &History, stop: &AtomicBool) {
    let (tickets, waiting) = mpsc::unbounded_channel();
    let answers = tokio::spawn(note_answers(waiting, history.clone()));
    while !stop.load(Ordering::Relaxed) {
        history.note(Event::Put(publisher.next()));
        let Ok(ticket) = publisher.put().await else { break };
        tickets.send(ticket).expect("answers are taken");
        tokio::time::sleep(pause).await;
    }
    drop(tickets);
    answers.await.expect("no panic");
}

async fn note_answers(mut waiting: mpsc::UnboundedReceiver<Ticket>, history: History) {
    while let Some(ticket) = waiting.recv().await {
        match ticket.answer().await {
            (id, Put::Answered) => history.note(Event::Answered(id)),
            (id, Put::Refused(..)) => history.note(Event::Refused(id)),
            (_, Put::Failed(_)) => {}
        }
    }
}

/// Receives and acks until it is aborted; attaches again when the connection breaks.
pub(crate) async fn receive(first: Inbox, address: String, name: String, note: impl Fn(Event)) {
    let mut inbox = Some(first);
    loop {
        let open = match inbox.take() {
            Some(open) => Ok(open),
            None => Inbox::open(&address, &name).await,
        };
        if let Ok(mut open) = open {
            let _reason = receive_on(&mut open, &note).await;
            note(Event::Broke);
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive_on(inbox: &mut Inbox, note: &impl Fn(Event)) -> Result<(), String> {
    let mut unsynced = 0;
    loop {
        let (id, message) = inbox.next().await?;
        note(Event::Delivered(id));
        message.ack();
        unsynced += 1;
        if unsynced >= SYNC_AFTER {
            inbox.sync().await?;
            note(Event::Synced);
            unsynced = 0;
        }
    }
}

/// Makes a subscription that nobody reads until [`check_kept`].
pub(crate) async fn create_kept(address: &str) {
    Connection::open(address).await.create(KEPT).await;
}

/// Everything answered is there for somebody who was away all the time, once and in
/// order, and the relay's own books balance.
pub(crate) async fn check_kept(address: &str, history: &History) {
    let books = Connection::open(address).await.books().await;
    assert!(books.balanced, "{books:?}");
    let fresh = History::of_publishers(history);
    read_rest(address, KEPT, &fresh).await;
}

/// Takes what a subscription has not acked until everything answered was delivered, and a little
/// longer for what must not come; acks it durably, and checks the history.
pub(crate) async fn read_rest(address: &str, name: &str, history: &History) {
    let mut inbox = Inbox::open(address, name).await.expect("the subscriber attaches");
    loop {
        let patience = if history.is_delivered() { Duration::from_millis(300) } else { PATIENCE };
        let Ok(next) = tokio::time::timeout(patience, inbox.next()).await else { break };
        let (id, message) = next.expect("the connection holds");
        history.note(Event::Delivered(id));
        message.ack();
    }
    inbox.sync().await.expect("acks are durable");
    history.note(Event::Synced);
    history.check();
}
