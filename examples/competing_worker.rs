//! Takes jobs from a queue; start it several times and the workers share them.
//!
//! ```sh
//! treecast queue create jobs
//! cargo run --example competing_worker -- jobs
//! ```
//!
//! A job is acked when it is done. When a worker dies, its job goes to another.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use treecast::client::{Client, Delivery, SubscriberOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let relay = std::env::var("TREECAST_RELAY").unwrap_or_else(|_| "127.0.0.1:7411".to_owned());
    let queue = std::env::args().nth(1).unwrap_or_else(|| "jobs".to_owned());

    let client = Client::connect(&relay).await?;
    // A window of 1: a worker that is busy keeps no further job from the others.
    let options = SubscriberOptions { window: 1, ..SubscriberOptions::default() };
    let mut worker = client.queue(queue.parse()?, options).await?;

    let mut out = std::io::stdout();
    while let Some(delivery) = worker.next().await {
        let job = match delivery? {
            Delivery::Message(job) => job,
            // Jobs that a limit of the queue has deleted.
            Delivery::Gap(gap) => {
                gap.ack();
                continue;
            }
            // Only in a queue with `fifo = "producer"`.
            Delivery::Unordered(_) => continue,
        };
        let text = String::from_utf8_lossy(&job.payload).into_owned();
        let Ok(seconds) = text.trim().parse() else {
            writeln!(out, "`{text}` is not a number of seconds: to the dead letters")?;
            job.reject();
            continue;
        };
        writeln!(out, "working for {seconds} s, attempt {}", job.attempt)?;
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // A long job says now and then that it is still at work.
            job.progress();
        }
        job.ack();
    }
    Ok(())
}
