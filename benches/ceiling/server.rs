//! The bare server: reads, appends, syncs in groups, acks, passes on.
//!
//! What is read from a publisher goes straight to the file's pages, so reading
//! overlaps with the sync; with subscriptions a copy stays in memory until it
//! is sent. A reader that has emptied its socket and finds nobody syncing
//! commits itself, since a lone put should not wait for another thread to
//! wake; otherwise the commit thread does. The file wraps, so a long run needs
//! no more disk than a short one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use clap::Parser;

use crate::load::report::complain;

/// What the server's process is told.
#[derive(Parser)]
pub(crate) struct Serve {
    #[arg(long)]
    size: usize,
    #[arg(long)]
    file_bytes: u64,
    #[arg(long)]
    data: PathBuf,
    /// Whether messages stay in memory until they are delivered
    #[arg(long)]
    delivers: bool,
    /// Whether nothing is written while a sync runs
    #[arg(long)]
    in_turns: bool,
}

/// Bytes of one read from a socket or the file.
const READ_BYTES: usize = 256 * 1024;

/// Bytes in front of messages delivered together.
const HEADER_BYTES: usize = 8;

/// What has been written and not yet synced.
#[derive(Default)]
struct Group {
    /// Space for a header, then the messages, if they are to be delivered.
    bytes: Vec<u8>,
    messages: u32,
    /// Publishers by index, and how many of the messages are theirs.
    puts: Vec<(usize, u64)>,
    /// Messages that are not written yet, with their places, when writes and syncs take turns.
    unwritten: Vec<(u64, Vec<u8>)>,
}

impl Group {
    fn clear(&mut self) {
        self.bytes.clear();
        self.messages = 0;
        self.puts.clear();
        self.unwritten.clear();
    }
}

/// Where the next messages go in the file, the group they join, and whether
/// the group before it is being committed.
#[derive(Default)]
struct Tail {
    position: u64,
    group: Group,
    is_committing: bool,
}

struct Server {
    size: usize,
    delivers: bool,
    in_turns: bool,
    file: File,
    file_bytes: u64,
    tail: Mutex<Tail>,
    arrived: Condvar,
    publishers: Mutex<Vec<(TcpStream, u64)>>,
    subscribers: Mutex<Vec<(TcpStream, u32, u32)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the server panics while it holds a lock")
}

/// Lays out the file, says on which port it listens and serves until standard
/// input ends.
pub(crate) fn serve(arguments: &Serve) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(&arguments.data)?;
    let zeros = vec![0; 1 << 20];
    let mut left = arguments.file_bytes;
    while left > 0 {
        let now = left.min(1 << 20);
        file.write_all(&zeros[..now as usize])?;
        left -= now;
    }
    file.sync_all()?;
    let server = Arc::new(Server {
        size: arguments.size,
        delivers: arguments.delivers,
        in_turns: arguments.in_turns,
        file,
        file_bytes: arguments.file_bytes,
        tail: Mutex::default(),
        arrived: Condvar::new(),
        publishers: Mutex::default(),
        subscribers: Mutex::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    spawn("commit", &server, |server| server.commit())?;
    spawn("accept", &server, move |server| listener.incoming().try_for_each(|stream| server.admit(stream?)))?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Starts a thread whose failure ends the process: the generator then finds
/// its connection closed.
fn spawn(
    name: &'static str,
    server: &Arc<Server>,
    work: impl FnOnce(&Arc<Server>) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let server = Arc::clone(server);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = work(&server) {
            complain(&format!("ceiling: {name}: {error}"));
            std::process::exit(1);
        }
    })?;
    Ok(())
}

impl Server {
    fn admit(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut role, mut first, mut count) = ([0], [0; 4], [0; 4]);
        stream.read_exact(&mut role)?;
        stream.read_exact(&mut first)?;
        stream.read_exact(&mut count)?;
        let (first, count) = (u32::from_le_bytes(first), u32::from_le_bytes(count));
        let mut answer = stream.try_clone()?;
        match role {
            [b'P'] => {
                let index = locked(&self.publishers).len();
                locked(&self.publishers).push((stream.try_clone()?, 0));
                spawn("publisher", self, move |server| server.read(index, stream))?;
            }
            [b'S'] => locked(&self.subscribers).push((stream, first, count)),
            [b'D'] => {
                answer.write_all(&[1])?;
                return spawn("drain", self, move |server| server.drain(stream, first, count));
            }
            [other] => return Err(io::Error::other(format!("a connection said its role is {other}"))),
        }
        answer.write_all(&[1])
    }

    fn read(&self, publisher: usize, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES.next_multiple_of(self.size)];
        let mut filled = 0;
        let mut group = Group::default();
        loop {
            let got = stream.read(&mut buffer[filled..])?;
            if got == 0 {
                return Ok(());
            }
            filled += got;
            let is_drained = filled < buffer.len();
            let whole = filled - filled % self.size;
            if whole > 0 {
                self.append(publisher, &buffer[..whole])?;
                buffer.copy_within(whole..filled, 0);
                filled -= whole;
            }
            if is_drained {
                self.commit_next(&mut group, locked(&self.tail))?;
            } else {
                self.arrived.notify_one();
            }
        }
    }

    fn append(&self, publisher: usize, messages: &[u8]) -> io::Result<()> {
        let length = messages.len() as u64;
        let position = {
            let mut tail = locked(&self.tail);
            if tail.position + length > self.file_bytes {
                tail.position = 0;
            }
            tail.position += length;
            tail.position - length
        };
        if !self.in_turns {
            self.file.write_all_at(messages, position)?;
        }
        let count = messages.len() / self.size;
        let group = &mut locked(&self.tail).group;
        if self.delivers {
            if group.bytes.is_empty() {
                group.bytes.resize(HEADER_BYTES, 0);
            }
            group.bytes.extend_from_slice(messages);
        }
        if self.in_turns {
            match group.unwritten.last_mut() {
                Some((start, last)) if *start + last.len() as u64 == position => {
                    last.extend_from_slice(messages)
                }
                Some(_) | None => group.unwritten.push((position, messages.to_vec())),
            }
        }
        group.messages += u32::try_from(count).expect("a read holds fewer messages than bytes");
        match group.puts.last_mut() {
            Some((last, puts)) if *last == publisher => *puts += count as u64,
            Some(_) | None => group.puts.push((publisher, count as u64)),
        }
        Ok(())
    }

    fn commit(&self) -> io::Result<()> {
        let mut group = Group::default();
        loop {
            let idle = |tail: &mut Tail| tail.is_committing || tail.group.messages == 0;
            let tail = self.arrived.wait_while(locked(&self.tail), idle);
            self.commit_next(
                &mut group,
                tail.expect("no thread of the server panics while it holds a lock"),
            )?;
        }
    }

    /// Commits what has been written, unless another thread is at it: that one
    /// then wakes the committer for the rest.
    fn commit_next(&self, group: &mut Group, mut tail: MutexGuard<'_, Tail>) -> io::Result<()> {
        if tail.is_committing || tail.group.messages == 0 {
            return Ok(());
        }
        tail.is_committing = true;
        std::mem::swap(&mut tail.group, group);
        drop(tail);
        for (position, messages) in &group.unwritten {
            self.file.write_all_at(messages, *position)?;
        }
        self.file.sync_data()?;
        for &(publisher, puts) in &group.puts {
            let (stream, durable) = &mut locked(&self.publishers)[publisher];
            *durable += puts;
            stream.write_all(&durable.to_le_bytes())?;
        }
        if self.delivers {
            self.deliver(group)?;
        }
        group.clear();
        let mut tail = locked(&self.tail);
        tail.is_committing = false;
        if tail.group.messages > 0 {
            self.arrived.notify_one();
        }
        Ok(())
    }

    fn deliver(&self, group: &mut Group) -> io::Result<()> {
        for (stream, first, count) in locked(&self.subscribers).iter_mut() {
            for subscription in *first..*first + *count {
                group.bytes[..4].copy_from_slice(&subscription.to_le_bytes());
                group.bytes[4..HEADER_BYTES].copy_from_slice(&group.messages.to_le_bytes());
                stream.write_all(&group.bytes)?;
            }
        }
        Ok(())
    }

    fn drain(&self, mut stream: TcpStream, first: u32, count: u32) -> io::Result<()> {
        let end = locked(&self.tail).position;
        let step = (READ_BYTES - READ_BYTES % self.size).max(self.size);
        let mut buffer = vec![0; HEADER_BYTES + step];
        for position in (0..end).step_by(step) {
            let length = step.min((end - position) as usize);
            self.file.read_exact_at(&mut buffer[HEADER_BYTES..HEADER_BYTES + length], position)?;
            let messages = u32::try_from(length / self.size).expect("a read holds fewer messages than bytes");
            for subscription in first..first + count {
                buffer[..4].copy_from_slice(&subscription.to_le_bytes());
                buffer[4..HEADER_BYTES].copy_from_slice(&messages.to_le_bytes());
                stream.write_all(&buffer[..HEADER_BYTES + length])?;
            }
        }
        // The receiver hangs up when everyone has everything.
        io::copy(&mut stream, &mut io::sink())?;
        Ok(())
    }
}
