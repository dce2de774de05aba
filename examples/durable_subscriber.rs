//! Receives a group under a name: what arrives while this program is away waits for it.
//!
//! ```sh
//! cargo run --example durable_subscriber -- metrics/cpu dashboard
//! ```
//!
//! Stop it, put some messages, start it again: they are there.

use std::error::Error;
use std::io::Write;

use treecast::client::{Client, Delivery, SubscriberOptions};
use treecast::wire::body::{Start, SubscriptionSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let relay = std::env::var("TREECAST_RELAY").unwrap_or_else(|_| "127.0.0.1:7411".to_owned());
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().unwrap_or_else(|| "metrics/cpu".to_owned());
    let name = arguments.next().unwrap_or_else(|| "dashboard".to_owned());

    let client = Client::connect(&relay).await?;
    // Only the first start makes the subscription; later ones find it where it was left.
    let create = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
    let options = SubscriberOptions { create: Some(create), ..SubscriberOptions::default() };
    let mut subscriber = client.subscriber(group.parse()?, Some(name.parse()?), options).await?;

    let mut out = std::io::stdout();
    loop {
        let delivery = tokio::select! {
            delivery = subscriber.next() => delivery,
            _ = tokio::signal::ctrl_c() => break,
        };
        match delivery.transpose()? {
            Some(Delivery::Message(message)) => {
                writeln!(out, "{} {}", message.id, String::from_utf8_lossy(&message.payload))?;
                // Only now: what was not written before a crash comes again.
                message.ack();
            }
            // Messages that a limit of the group has deleted before they were taken.
            Some(Delivery::Gap(gap)) => {
                writeln!(out, "{} to {} are missing: {:?}", gap.from, gap.to, gap.cause)?;
                gap.ack();
            }
            // Only in a group with `fifo = "producer"`.
            Some(Delivery::Unordered(unordered)) => {
                writeln!(out, "{} comes without what was put before it", unordered.from)?;
            }
            None => break,
        }
    }
    subscriber.close().await?;
    Ok(())
}
