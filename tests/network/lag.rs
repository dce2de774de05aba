//! A line on which everything takes a while, one way longer than the other. Nothing waits for what
//! is before it: as many bytes as one likes are on their way.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// A line that takes connections. They end with it.
pub(crate) struct Lag(JoinHandle<()>);

impl Lag {
    /// From `address` to `target`, so long on the way there and so long on the way back.
    pub(crate) async fn start(address: &str, target: &str, (up, down): (Duration, Duration)) -> Self {
        let listener = TcpListener::bind(address).await.expect("nobody else has the address");
        let target = target.to_owned();
        Self(tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                near.set_nodelay(true).ok();
                far.set_nodelay(true).ok();
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(from_near, to_far, up));
                tokio::spawn(carry(from_far, to_near, down));
            }
        }))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, takes: Duration) {
    let (under_way, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let arrivals = async {
        while let Some((due, bytes)) = arriving.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    let departures = async move {
        let mut part = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut part).await {
            if under_way.send((Instant::now() + takes, part[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    tokio::join!(arrivals, departures);
}
