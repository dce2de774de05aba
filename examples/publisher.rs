//! Puts numbered messages into a group, and says when they are on the relay's disk.
//!
//! ```sh
//! cargo run --example publisher -- metrics/cpu 1000
//! ```
//!
//! Stop the relay and start it again meanwhile: no message is lost and none is
//! put twice.

use std::error::Error;
use std::io::Write;

use treecast::client::{Client, Message, PublisherOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let relay = std::env::var("TREECAST_RELAY").unwrap_or_else(|_| "127.0.0.1:7411".to_owned());
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().unwrap_or_else(|| "metrics/cpu".to_owned());
    let count: u64 = arguments.next().map_or(Ok(1000), |count| count.parse())?;

    let client = Client::connect(&relay).await?;
    let publisher = client.publisher(group.parse()?, PublisherOptions::default()).await?;

    // One message whose id we want to know: its ticket gives the receipt.
    let ticket = publisher.put(Message::new("hello").subject("greeting").header("lang", "en")).await?;
    let receipt = ticket.await?;

    // Many messages: each put waits only while the window is full.
    for number in 0..count {
        publisher.put_unacked(format!("message {number}")).await?;
    }
    // Waits until each of them has its answer; a refusal of one is an error here.
    publisher.close().await?;

    let mut out = std::io::stdout();
    if let Some(id) = receipt.id {
        writeln!(out, "the first is {id}")?;
    }
    writeln!(out, "{count} more are on the disk of relay {}", client.hello().relay)?;
    Ok(())
}
