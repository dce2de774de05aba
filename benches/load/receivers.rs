//! Receivers: all connections of all subscriptions on one thread, one task
//! each, so that a thousand of them cost readiness events and not threads.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};

use super::books::Deliveries;
use super::codec::{Inbox, Link, SCRATCH_BYTES};

/// How often it is asked whether all is there; not part of any time taken,
/// since the last delivery is timed by its own read.
const POLL: Duration = Duration::from_millis(20);

/// What all tasks share; one thread, so a cell is enough.
struct Desk {
    books: Deliveries,
    scratch: Vec<u8>,
}

/// Receives on all links until every subscription has every message, or none
/// came for `patience` seconds.
///
/// # Errors
/// When a connection fails or a server breaks its protocol.
pub(crate) fn receive(links: Vec<Link>, books: Deliveries, patience: u64) -> io::Result<Deliveries> {
    let desk = Rc::new(RefCell::new(Desk { books, scratch: vec![0; SCRATCH_BYTES] }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        for link in links {
            link.stream.set_nonblocking(true)?;
            tasks.spawn_local(receive_one(link, Rc::clone(&desk)));
        }
        wait(&mut tasks, &desk, Duration::from_secs(patience)).await
    });
    drop(local);
    outcome?;
    let desk = Rc::into_inner(desk).ok_or_else(|| io::Error::other("a receiver outlived its runtime"))?;
    Ok(desk.into_inner().books)
}

async fn wait(
    tasks: &mut JoinSet<io::Result<()>>,
    desk: &RefCell<Desk>,
    patience: Duration,
) -> io::Result<()> {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut had, mut moved) = (0, Instant::now());
    loop {
        tokio::select! {
            _ = poll.tick() => {}
            Some(ended) = tasks.join_next() => {
                ended.map_err(|_| io::Error::other("a receiver panicked"))??;
            }
        }
        let distinct = desk.borrow().books.distinct;
        if desk.borrow().books.is_complete() || moved.elapsed() > patience {
            return Ok(());
        }
        if distinct != had {
            (had, moved) = (distinct, Instant::now());
        }
    }
}

async fn receive_one(link: Link, desk: Rc<RefCell<Desk>>) -> io::Result<()> {
    let Link { stream, mut codec, unread } = link;
    let mut stream = TcpStream::from_std(stream)?;
    let mut inbox = Inbox::starting_with(unread);
    let mut out = Vec::new();
    desk.borrow_mut().books.tick();
    inbox.decode_carried(&mut *codec, &mut out, &mut desk.borrow_mut().books)?;
    loop {
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
        stream.readable().await?;
        let Desk { books, scratch } = &mut *desk.borrow_mut();
        books.tick();
        let pulled = inbox.pull(scratch, (&mut *codec, &mut out), books, |room| stream.try_read(room));
        match pulled {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => other?,
        }
    }
}
