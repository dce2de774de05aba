//! `treecast status`, `books` and `locate`: what an operator asks a relay.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::id::GroupName;
use crate::wire::body::{Books, NetworkStatus, Status};

use super::exit::{Failure, refusal_word};
use super::out::Context;
use super::table::{Facts, Side, Table};
use super::{ask, human, link, subscription};

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  treecast status\n  treecast status --relay 127.0.0.1:7412 --output json"
)]
pub struct StatusArgs {}

/// Arguments of `books`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  treecast books\n  treecast books orders --output json\n\n\
    The exit code is 1 when the sums are wrong.")]
pub struct BooksArgs {
    /// Only this group; otherwise all of them added up
    pub group: Option<GroupName>,
}

/// Arguments of `locate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  treecast locate orders\n  treecast locate --prefix metrics\n\n\
    Every relay of the network knows the answer.\n\
    The exit code is 3 when nothing of the name lives anywhere.")]
pub struct LocateArgs {
    /// The group or queue, or with --prefix how names begin
    pub name: String,
    /// All groups and queues whose name begins so
    #[arg(long)]
    pub prefix: bool,
}

/// Tells how the relay is.
///
/// # Errors
/// When the relay is not there.
pub async fn status(_: StatusArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let status = ask::status(&client).await?;
    if !context.is_text() {
        return Ok(context.out.json(&status_json(&status))?);
    }
    let mut facts = Facts::default();
    let space = &status.space;
    facts.add("relay", status.relay.as_str());
    let accepting = match &status.accepting {
        Ok(()) => context.out.good("takes puts"),
        Err(why) => context.out.bad(&format!("refuses puts: {why}")),
    };
    facts.add("state", accepting);
    facts.add("version", status.version.as_str());
    facts.add("up", human::millis(status.uptime_ms));
    facts.add("storage", format!("{}, boot {}", status.storage, status.boot));
    if let Some(network) = &status.network {
        add_network(network, &mut facts, context);
    }
    facts.add("groups", human::count(status.groups));
    facts.add("subscriptions", human::count(status.subscriptions));
    facts.add("sessions", human::count(status.sessions));
    facts.add(
        "log",
        format!("{} in use, {} free", human::bytes(space.live_bytes), human::bytes(space.free_bytes)),
    );
    let segments =
        format!("{} in use ({} cold), {} spare", space.segments, space.cold_segments, space.spare_segments);
    facts.add("segments", format!("{segments}, {} in files", human::bytes(space.file_bytes)));
    let commits = format!("{}, {}", human::count(space.commits), human::bytes(space.committed_bytes));
    facts.add("commits", commits);
    facts.add("memory", human::bytes(status.resident_bytes));
    facts.add("processor", human::millis(status.cpu_us / 1000));
    facts.write(&mut context.out)?;
    status.warnings.iter().for_each(|warning| context.notes.warning(warning));
    Ok(())
}

fn add_network(network: &NetworkStatus, facts: &mut Facts, context: &Context) {
    let part = |some: u64, all: u64, what: &str| {
        let text = format!("{} of {} {what}", human::count(some), human::count(all));
        if some == all { text } else { context.out.bad(&text) }
    };
    facts.add("links", part(network.links_up, network.links, "up"));
    facts.add("relays", part(network.relays_reachable, network.relays, "can be reached"));
    if let Some(head) = &network.topology {
        let text = format!("{}, applied at {}, {}", head.version, head.by, human::timestamp(head.at));
        facts.add("topology", text);
    }
    if !network.protected {
        facts.add("protection", "none: there are no keys, links are neither encrypted nor authenticated");
    }
}

fn network_json(network: &NetworkStatus) -> Value {
    json!({
        "links_up": network.links_up,
        "links_configured": network.links,
        "relays_reachable": network.relays_reachable,
        "relays_known": network.relays,
        "protected": network.protected,
        "topology": network.topology.as_ref().map(|head| super::topology::head_json(head, true)),
    })
}

fn status_json(status: &Status) -> Value {
    json!({
        "relay": status.relay,
        "version": status.version,
        "storage": status.storage.to_string(),
        "boot": status.boot,
        "uptime_ms": status.uptime_ms,
        "accepting": status.accepting.is_ok(),
        "refusing_because": status.accepting.as_ref().err(),
        "warnings": status.warnings,
        "groups": status.groups,
        "subscriptions": status.subscriptions,
        "sessions": status.sessions,
        "space": {
            "file_bytes": status.space.file_bytes,
            "live_bytes": status.space.live_bytes,
            "free_bytes": status.space.free_bytes,
            "segments": status.space.segments,
            "cold_segments": status.space.cold_segments,
            "spare_segments": status.space.spare_segments,
            "commits": status.space.commits,
            "committed_bytes": status.space.committed_bytes,
            "rewritten_segments": status.space.rewritten_segments,
            "rewritten_bytes": status.space.rewritten_bytes,
        },
        "resident_bytes": status.resident_bytes,
        "cpu_us": status.cpu_us,
        "network": status.network.as_ref().map(network_json),
    })
}

/// Tells the accounts, and whether they balance.
///
/// # Errors
/// When they do not, or the relay is not there.
pub async fn books(args: BooksArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let books = ask::books(&client, args.group.clone()).await?;
    if context.is_text() {
        books_text(&books, args.group.as_ref(), context)?;
    } else {
        context.out.json(&books_json(&books, args.group.as_ref()))?;
    }
    if books.balanced { Ok(()) } else { Err(Failure::Check("the books do not balance".to_owned())) }
}

fn books_text(books: &Books, group: Option<&GroupName>, context: &mut Context) -> Result<(), Failure> {
    let heading = group.map_or_else(|| "all groups".to_owned(), ToString::to_string);
    let mut table =
        Table::new(&[("PUTS", Side::Left), ("", Side::Right), ("BACKLOGS", Side::Left), ("", Side::Right)]);
    let mut left = vec![
        ("put".to_owned(), books.put),
        ("= accepted".to_owned(), books.accepted),
        ("+ repeats".to_owned(), books.repeats),
        ("+ on their way".to_owned(), books.unsynced),
    ];
    left.extend(books.refused.iter().map(|(code, n)| (format!("+ refused, {}", refusal_word(*code)), *n)));
    let mut right = vec![("inserted".to_owned(), books.inserted), ("= held".to_owned(), books.held)];
    if books.held_own > 0 {
        right.push(("  of these, the relays' own".to_owned(), books.held_own));
    }
    right.extend(subscription::outcomes(&books.out).map(|(name, n)| (format!("+ {name}"), n)));
    for line in 0..left.len().max(right.len()) {
        let cells = [left.get(line), right.get(line)].into_iter().flat_map(|entry| match entry {
            Some((name, number)) => [name.clone(), human::count(*number)],
            None => [String::new(), String::new()],
        });
        table.row(cells.collect());
    }
    let balance = if books.balanced { context.out.good("balanced") } else { context.out.bad("NOT BALANCED") };
    let heading = context.out.heading(&heading);
    context.out.line(format!("{heading}: {balance}"))?;
    table.write(&mut context.out)?;
    link::books(&books.links, context)
}

fn books_json(books: &Books, group: Option<&GroupName>) -> Value {
    let refused: Map<String, Value> =
        books.refused.iter().map(|(code, number)| (refusal_word(*code).to_owned(), json!(number))).collect();
    json!({
        "group": group,
        "balanced": books.balanced,
        "put": books.put,
        "accepted": books.accepted,
        "repeats": books.repeats,
        "unsynced": books.unsynced,
        "refused": refused,
        "inserted": books.inserted,
        "held": books.held,
        "held_own": books.held_own,
        "out": subscription::outcomes_json(&books.out),
        "links": link::books_json(&books.links),
    })
}

/// Tells where a name lives.
///
/// # Errors
/// When it lives nowhere, or the relay is not there.
pub async fn locate(args: LocateArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let locations = ask::locations(&client, &args.name, args.prefix).await?;
    if locations.is_empty() {
        let name = &args.name;
        return Err(Failure::Missing(if args.prefix {
            format!("no queue, and no subscription of a group, whose name begins with {name} lives anywhere")
        } else {
            format!("group {name} has no subscription anywhere")
        }));
    }
    let mut table = Table::new(&[("GROUP", Side::Left), ("SUBSCRIPTION", Side::Left), ("HOME", Side::Left)]);
    for at in &locations {
        if context.is_text() {
            let name = at.subscription.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            let gone = if at.forgotten { ", which was forgotten" } else { "" };
            table.row(vec![at.group.to_string(), name, format!("{}{gone}", at.home)]);
        } else {
            let value = json!({
                "group": at.group,
                "subscription": at.subscription,
                "home": at.home,
                "forgotten": at.forgotten,
            });
            context.out.json(&value)?;
        }
    }
    Ok(table.write(&mut context.out)?)
}
