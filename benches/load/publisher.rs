//! Publishers: one thread and one blocking connection each.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;

use super::books::{Clock, Histogram, stamp};
use super::codec::{Codec, Events, Inbox, Link, SCRATCH_BYTES};

/// What one publisher puts.
pub(crate) struct Share {
    /// Its first sequence.
    pub(crate) first: u64,
    /// How many messages it puts.
    pub(crate) count: u64,
    /// Bytes of a payload.
    pub(crate) size: usize,
    /// Puts in flight.
    pub(crate) window: u64,
    /// Puts per second, or as fast as the window allows.
    pub(crate) rate: Option<u32>,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Puts {
    /// Puts that were acked.
    pub(crate) acked: u64,
    /// Put to ack.
    pub(crate) latency: Histogram,
    /// When the first was put.
    pub(crate) first_at: u64,
    /// When the last was acked.
    pub(crate) last_at: u64,
}

impl Puts {
    /// Adds another publisher's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.first_at = if self.acked == 0 { other.first_at } else { self.first_at.min(other.first_at) };
        self.last_at = self.last_at.max(other.last_at);
        self.acked += other.acked;
        self.latency.merge(&other.latency);
    }
}

/// A server that acks nothing for so long has stopped.
const SILENCE: Duration = Duration::from_secs(60);

/// Bytes encoded before they are written, so that the server starts on the
/// first of a window while the rest is still being made.
const WRITE_BYTES: usize = 256 * 1024;

/// Puts a share and waits for its acks.
///
/// # Errors
/// When the connection fails, or the server refuses a put or goes silent.
pub(crate) fn put(link: Link, share: &Share, clock: Clock) -> io::Result<Puts> {
    link.stream.set_read_timeout(Some(SILENCE))?;
    let puts = match share.rate {
        Some(rate) => put_paced(link, share, rate, clock),
        None => put_windowed(link, share, clock),
    };
    puts.map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            return io::Error::new(io::ErrorKind::TimedOut, format!("no ack for {} s", SILENCE.as_secs()));
        }
        error
    })
}

/// Puts in flight by the time they were sent, in groups sent together.
struct InFlight {
    clock: Clock,
    groups: VecDeque<(u64, u64)>,
    puts: Puts,
}

impl Events for InFlight {
    fn acked(&mut self, puts: u64) {
        let now = self.clock.now();
        self.puts.last_at = now;
        self.puts.acked += puts;
        let mut left = puts;
        while left > 0 {
            let Some((sent_at, waiting)) = self.groups.front_mut() else { return };
            let acked = left.min(*waiting);
            self.puts.latency.record(now.saturating_sub(*sent_at), acked);
            *waiting -= acked;
            left -= acked;
            if *waiting == 0 {
                self.groups.pop_front();
            }
        }
    }

    fn delivered(&mut self, _subscription: usize, _payload: &[u8]) {}
}

/// A payload no compression would shrink to nothing.
fn filler(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

fn put_windowed(link: Link, share: &Share, clock: Clock) -> io::Result<Puts> {
    let Link { mut stream, mut codec, unread } = link;
    let mut payload = filler(share.size);
    let (mut out, mut scratch) = (Vec::with_capacity(2 * WRITE_BYTES), vec![0; SCRATCH_BYTES]);
    let mut inbox = Inbox::starting_with(unread);
    let mut flight = InFlight { clock, groups: VecDeque::new(), puts: Puts::default() };
    let mut sent = 0;
    flight.puts.first_at = clock.now();
    while flight.puts.acked < share.count {
        while sent < share.count.min(flight.puts.acked + share.window) {
            let now = clock.now();
            let before = sent;
            while sent < share.count.min(flight.puts.acked + share.window) && out.len() < WRITE_BYTES {
                stamp(&mut payload, share.first + sent, now);
                codec.put(&payload, &mut out);
                sent += 1;
            }
            flight.groups.push_back((now, sent - before));
            stream.write_all(&out)?;
            out.clear();
        }
        inbox.pull(&mut scratch, (&mut *codec, &mut out), &mut flight, |room| stream.read(room))?;
    }
    Ok(flight.puts)
}

/// A connection whose acks are read by one thread while another puts.
struct Shared {
    stream: TcpStream,
    codec: Box<dyn Codec>,
}

fn locked(shared: &Mutex<Shared>) -> io::Result<MutexGuard<'_, Shared>> {
    shared.lock().map_err(|_| io::Error::other("the other half of a publisher panicked"))
}

fn put_paced(link: Link, share: &Share, rate: u32, clock: Clock) -> io::Result<Puts> {
    let mut acks = link.stream.try_clone()?;
    let shared = Mutex::new(Shared { stream: link.stream, codec: link.codec });
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_acks(&mut acks, link.unread, &shared, share.count, clock));
        let first_at = send_paced(&shared, share, rate, clock)?;
        let mut puts = reader.join().map_err(|_| io::Error::other("the ack reader panicked"))??;
        puts.first_at = first_at;
        Ok(puts)
    })
}

fn send_paced(shared: &Mutex<Shared>, share: &Share, rate: u32, clock: Clock) -> io::Result<u64> {
    // The kernel rounds a sleep up by 50 µs to save wake-ups; a put sent that
    // late would be charged to the server.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let mut payload = filler(share.size);
    let mut out = Vec::new();
    let first_at = clock.now();
    for index in 0..share.count {
        let due = first_at + index * 1_000_000_000 / u64::from(rate);
        let now = clock.now();
        if now < due {
            thread::sleep(Duration::from_nanos(due - now));
        }
        stamp(&mut payload, share.first + index, due);
        let mut half = locked(shared)?;
        half.codec.put(&payload, &mut out);
        half.stream.write_all(&out)?;
        out.clear();
    }
    Ok(first_at)
}

fn read_acks(
    stream: &mut TcpStream,
    unread: Vec<u8>,
    shared: &Mutex<Shared>,
    count: u64,
    clock: Clock,
) -> io::Result<Puts> {
    let mut inbox = Inbox::starting_with(unread);
    let (mut out, mut scratch, mut arrived) = (Vec::new(), vec![0; SCRATCH_BYTES], vec![0; 64 * 1024]);
    let mut flight = InFlight { clock, groups: VecDeque::new(), puts: Puts::default() };
    while flight.puts.acked < count {
        // The read waits without the lock, decoding takes it.
        let got = stream.read(&mut arrived)?;
        let mut half = locked(shared)?;
        inbox.pull(&mut scratch, (&mut *half.codec, &mut out), &mut flight, |room| {
            room[..got].copy_from_slice(&arrived[..got]);
            Ok(got)
        })?;
        half.stream.write_all(&out)?;
        out.clear();
    }
    Ok(flight.puts)
}
