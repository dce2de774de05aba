//! A TCP proxy that does to a connection what networks do: it waits, cuts,
//! resets, forgets to say that it has ended, and changes bytes.
//!
//! Clients keep its address while relays come and go behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::MARK;
use super::random::Random;

/// Bytes that are taken at a time.
const PART_BYTES: usize = 16 * 1024;

/// What is done to the bytes of one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// Before every part.
    pub(crate) delay: Duration,
    /// Bytes in one part, at most; 0: what has come.
    pub(crate) part_bytes: usize,
    /// Bytes a second, at most; 0: as many as come.
    pub(crate) rate: u64,
    /// Nothing is read: the sender's buffers fill up.
    pub(crate) stalled: bool,
    /// Behind every place where these bytes pass, one bit is flipped.
    pub(crate) flipped_behind: Option<[u8; 8]>,
    /// One bit is flipped at random places, so many bytes apart on average; 0: none.
    pub(crate) flipped_every: u64,
    /// The connection is reset before the byte at this place in the stream.
    pub(crate) cut_at: Option<u64>,
}

/// What is done to connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// From the client to the relay.
    pub(crate) up: Way,
    /// From the relay to the client.
    pub(crate) down: Way,
    /// New connections are reset.
    pub(crate) refused: bool,
}

/// What is to happen to all connections that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    Reset,
    Hang,
}

struct Shared {
    target: Mutex<Option<String>>,
    weather: watch::Sender<Weather>,
    orders: watch::Sender<Order>,
    made: AtomicU64,
    ways: AtomicU64,
    flips: AtomicU64,
    /// Messages that have passed.
    up: AtomicU64,
    down: AtomicU64,
}

/// Where all proxies run: on a thread of their own. They are the network, which does not stand still
/// while a test is busy.
fn network() -> &'static Handle {
    static NETWORK: OnceLock<Runtime> = OnceLock::new();
    let begin = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("network").enable_all().build().expect("a thread")
    };
    NETWORK.get_or_init(begin).handle()
}

/// Counts the marks in a stream that comes in parts.
#[derive(Default)]
struct Marks {
    /// The last bytes of the part before: a mark may begin there.
    rest: Vec<u8>,
}

impl Marks {
    fn count(&mut self, part: &[u8]) -> u64 {
        self.rest.extend_from_slice(part);
        let found = memchr::memmem::find_iter(&self.rest, &MARK).count();
        let kept = self.rest.len().saturating_sub(MARK.len() - 1);
        self.rest.drain(..kept);
        found as u64
    }
}

/// A proxy at an address of its own.
pub(crate) struct Proxy {
    pub(crate) address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Begins, in front of the relay at `target`.
    pub(crate) async fn start(target: &str) -> Self {
        Self::start_at("127.0.0.1:0", target).await
    }

    /// Begins at an address that was chosen before.
    pub(crate) async fn start_at(address: &str, target: &str) -> Self {
        let address = address.to_owned();
        let listener = network().spawn(async move { TcpListener::bind(&address).await }).await;
        let listener = listener.expect("no panic").expect("nobody else has the address");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            target: Mutex::new(Some(target.to_owned())),
            weather: watch::Sender::new(Weather::default()),
            orders: watch::Sender::new(Order::None),
            made: AtomicU64::new(0),
            ways: AtomicU64::new(0),
            flips: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        let task = network().spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// From here on connections lead to another relay.
    pub(crate) fn lead_to(&self, target: &str) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target.to_owned());
    }

    /// Changes what is done to all connections, those that there are too.
    pub(crate) fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Resets all connections that there are.
    pub(crate) fn cut(&self) {
        self.shared.orders.send_replace(Order::Reset);
    }

    /// All connections that there are stay open, and nothing passes any more:
    /// neither bytes nor that a side has ended. New ones are as always.
    pub(crate) fn hang(&self) {
        self.shared.orders.send_replace(Order::Hang);
    }

    /// Connections made so far.
    pub(crate) fn made(&self) -> u64 {
        self.shared.made.load(Ordering::Relaxed)
    }

    /// Messages that have passed so far in either direction: each carries [`MARK`] once.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.up.load(Ordering::Relaxed) + self.shared.down.load(Ordering::Relaxed)
    }

    /// Bits flipped so far.
    pub(crate) fn flips(&self) -> u64 {
        self.shared.flips.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if shared.weather.borrow().refused {
            reset(&client);
            continue;
        }
        shared.made.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(join(client, Arc::clone(&shared)));
    }
}

/// What is closed next is reset, and what was written may be lost.
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
}

async fn join(client: TcpStream, shared: Arc<Shared>) {
    let mut orders = shared.orders.subscribe();
    let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let relay = match target {
        Some(target) => TcpStream::connect(target).await.ok(),
        None => None,
    };
    let Some(relay) = relay else { return reset(&client) };
    client.set_nodelay(true).ok();
    relay.set_nodelay(true).ok();
    let (client_linger, relay_linger) = (duplicate(&client), duplicate(&relay));
    let (from_client, to_client) = client.into_split();
    let (from_relay, to_relay) = relay.into_split();
    let passing = async {
        tokio::join!(
            pass(from_client, to_relay, &shared, (|weather| &weather.up, &shared.up)),
            pass(from_relay, to_client, &shared, (|weather| &weather.down, &shared.down))
        )
    };
    // Dropped at the end only: a half that is dropped says to the other side that it has ended.
    tokio::pin!(passing);
    let whole = tokio::select! {
        (up, down) = &mut passing => up && down,
        order = ordered(&mut orders) => {
            if order == Order::Hang {
                while ordered(&mut orders).await == Order::Hang {}
            }
            false
        }
    };
    if !whole {
        for socket in [client_linger, relay_linger] {
            socket.set_linger(Some(Duration::ZERO)).ok();
        }
    }
}

async fn ordered(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.changed().await {
        Ok(()) => *orders.borrow_and_update(),
        Err(_) => Order::Reset,
    }
}

fn duplicate(stream: &TcpStream) -> socket2::Socket {
    socket2::SockRef::from(stream).try_clone().expect("a descriptor")
}

/// Passes bytes on until one side ends. False: the connection is to be reset.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    (way, counts): (fn(&Weather) -> &Way, &AtomicU64),
) -> bool {
    let mut weather = shared.weather.subscribe();
    let mut passed = 0;
    let mut marks = Marks::default();
    // Another one for each way of each connection.
    let mut random = Random::new(shared.ways.fetch_add(1, Ordering::Relaxed));
    let mut part = vec![0; PART_BYTES];
    loop {
        let now = way(&weather.borrow_and_update()).clone();
        if now.stalled {
            if weather.changed().await.is_err() {
                return true;
            }
            continue;
        }
        let most = if now.part_bytes == 0 { PART_BYTES } else { now.part_bytes.min(PART_BYTES) };
        let count = match from.read(&mut part[..most]).await {
            Ok(0) => {
                to.shutdown().await.ok();
                return true;
            }
            Ok(count) => count,
            Err(_) => return false,
        };
        // It may have changed while nothing came.
        let now = way(&weather.borrow()).clone();
        flip(&mut part[..count], now.flipped_every, &mut random, &shared.flips);
        let (bytes, whole) = bend(&mut part[..count], passed, &now, &shared.flips);
        let mut pause = now.delay;
        if now.rate > 0 {
            pause += Duration::from_secs_f64(bytes.len() as f64 / now.rate as f64);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(bytes).await.is_err() {
            return false;
        }
        passed += bytes.len() as u64;
        counts.fetch_add(marks.count(bytes), Ordering::Relaxed);
        if !whole {
            // What was written before the cut arrives.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return false;
        }
    }
}

/// Flips bits of a part: each byte is hit with the same chance.
fn flip(part: &mut [u8], every: u64, random: &mut Random, flips: &AtomicU64) {
    if every == 0 {
        return;
    }
    for byte in part {
        if random.within(0..every) == 0 {
            *byte ^= 1 << random.within(0..8);
            flips.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Changes a part that begins at `place` of the stream. False: it is cut behind what is left.
fn bend<'a>(part: &'a mut [u8], place: u64, way: &Way, flips: &AtomicU64) -> (&'a [u8], bool) {
    if let Some(mark) = way.flipped_behind {
        let found = part.windows(mark.len()).position(|window| window == mark);
        if let Some(byte) = found.and_then(|at| part.get_mut(at + mark.len())) {
            *byte ^= 0x10;
            flips.fetch_add(1, Ordering::Relaxed);
        }
    }
    match way.cut_at {
        Some(at) if at < place + part.len() as u64 => {
            let kept = usize::try_from(at.saturating_sub(place)).expect("below the length of the part");
            (&part[..kept], false)
        }
        _ => (part, true),
    }
}
