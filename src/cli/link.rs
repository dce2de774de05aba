//! `treecast link`: the links of one relay to its neighbours.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::wire::body::{Carried, LinkBooks, LinkCounts, LinkInfo};

use super::exit::Failure;
use super::out::{Context, Out};
use super::table::{Side, Table};
use super::{ask, human};

/// What to do with links.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// List the links of the relay, with what they carry and why one is down
    #[command(after_help = "Examples:\n  treecast link list\n  \
        treecast link list --relay 127.0.0.1:7412 --output json\n\n\
        The round-trip time is that of the link's own pings, smoothed. What was sent and received is\n\
        counted from the start of the relay; TREES says how many groups' trees use the link. WAITING is\n\
        what is still to go over it: what its socket has not taken, and messages that wait for their turn\n\
        or its rate. SAVED is what of SENT did not go, since runs are compressed for a link that has a\n\
        rate or is slow, where it pays. What is kept for a relay that cannot be reached waits for no link: `group tree` tells it.")]
    List,
}

/// Does it.
///
/// # Errors
/// When the relay is not there.
pub async fn run(command: LinkCommand, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    match command {
        LinkCommand::List => list(&ask::all_links(&client).await?, context),
    }
}

fn list(links: &[LinkInfo], context: &mut Context) -> Result<(), Failure> {
    if !context.is_text() {
        return Ok(links.iter().try_for_each(|link| context.out.json(&to_json(link)))?);
    }
    if links.is_empty() {
        context.notes.note("the relay has no links");
    }
    let mut table = Table::new(&[
        ("NEIGHBOUR", Side::Left),
        ("STATE", Side::Left),
        ("FOR", Side::Left),
        ("COST", Side::Right),
        ("RTT", Side::Right),
        ("WAITING", Side::Right),
        ("SENT", Side::Right),
        ("SAVED", Side::Right),
        ("RUNS", Side::Right),
        ("RECEIVED", Side::Right),
        ("RUNS", Side::Right),
        ("TREES", Side::Right),
        ("ADDRESS", Side::Left),
    ]);
    for link in links {
        table.row(vec![
            link.neighbour.to_string(),
            (if link.is_up { "up" } else { "down" }).to_owned(),
            coarse(link.for_ms),
            human::count(u64::from(link.cost)),
            link.rtt_us.map_or_else(|| "-".to_owned(), human::micros),
            human::bytes(link.waiting_bytes.saturating_add(link.owed_bytes)),
            human::bytes(link.counts.sent.bytes),
            saved(link),
            human::count(link.counts.sent.runs),
            human::bytes(link.counts.received.bytes),
            human::count(link.counts.received.runs),
            human::count(link.groups),
            link.address.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.write(&mut context.out)?;
    for link in links {
        if let Some(trouble) = trouble(link, &context.out) {
            context.out.line(trouble)?;
        }
    }
    Ok(())
}

/// What compression has kept off a link.
fn saved(link: &LinkInfo) -> String {
    if link.packed_bytes == 0 { "-".to_owned() } else { human::bytes(link.packed_bytes) }
}

/// Why a link is down, or was.
fn trouble(link: &LinkInfo, out: &Out) -> Option<String> {
    let neighbour = &link.neighbour;
    let times = human::of(link.downs, "time");
    match (link.is_up, &link.last_attempt, &link.last_down) {
        (true, _, Some(why)) => Some(format!("{neighbour} went down {times}, the last time because {why}")),
        (true, _, None) => None,
        (false, Some(why), _) | (false, None, Some(why)) => {
            Some(format!("{} {neighbour}: {why}", out.bad("no link to")))
        }
        (false, None, None) => {
            Some(format!("{} {neighbour}: it has not connected yet", out.bad("no link to")))
        }
    }
}

/// A time in which nobody counts milliseconds.
pub(super) fn coarse(ms: u64) -> String {
    if ms < 1000 { "<1s".to_owned() } else { human::millis(ms / 1000 * 1000) }
}

fn to_json(link: &LinkInfo) -> Value {
    let mut value = json!({
        "link": link.link.0,
        "neighbour": link.neighbour,
        "address": link.address,
        "cost": link.cost,
        "up": link.is_up,
        "for_ms": link.for_ms,
        "downs": link.downs,
        "last_down": link.last_down,
        "last_attempt": link.last_attempt,
        "rtt_us": link.rtt_us,
        "rtt_variation_us": link.rtt_variation_us,
        "waiting_bytes": link.waiting_bytes,
        "owed_bytes": link.owed_bytes,
        "packed_bytes": link.packed_bytes,
        "trees": link.groups,
    });
    if let (Some(value), Value::Object(counts)) = (value.as_object_mut(), counts_json(&link.counts)) {
        value.extend(counts);
    }
    value
}

fn counts_json(counts: &LinkCounts) -> Value {
    let carried = |carried: &Carried| json!({ "bytes": carried.bytes, "runs": carried.runs, "records": carried.records });
    json!({
        "sent": carried(&counts.sent),
        "received": carried(&counts.received),
        "taken": counts.taken,
        "repeats": counts.repeats,
        "early": counts.early,
        "strays": counts.strays,
    })
}

/// The accounts of links, below the books of a relay.
pub(super) fn books(links: &[LinkBooks], context: &mut Context) -> Result<(), Failure> {
    if links.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        ("LINK TO", Side::Left),
        ("RECORDS SENT", Side::Right),
        ("IN RUNS", Side::Right),
        ("RECEIVED", Side::Right),
        ("IN RUNS", Side::Right),
        ("= TAKEN", Side::Right),
        ("+ REPEATS", Side::Right),
        ("+ EARLY", Side::Right),
        ("+ STRAYS", Side::Right),
    ]);
    for LinkBooks { neighbour, counts } in links {
        let numbers = [
            counts.sent.records,
            counts.sent.runs,
            counts.received.records,
            counts.received.runs,
            counts.taken,
            counts.repeats,
            counts.early,
            counts.strays,
        ];
        table.row([neighbour.to_string()].into_iter().chain(numbers.map(human::count)).collect());
    }
    context.out.line("")?;
    Ok(table.write(&mut context.out)?)
}

/// The accounts of links, for programs.
pub(super) fn books_json(links: &[LinkBooks]) -> Value {
    let one = |books: &LinkBooks| {
        let mut value = counts_json(&books.counts);
        if let Some(value) = value.as_object_mut() {
            value.insert("neighbour".to_owned(), json!(books.neighbour));
        }
        value
    };
    links.iter().map(one).collect()
}
