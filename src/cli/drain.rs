//! `treecast relay drain`: empties the relay, so that it may go.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::id::RelayId;
use crate::wire::body::{Draining, Reply, Request};

use super::exit::Failure;
use super::out::Context;
use super::values::{self, Millis};
use super::{ask, human};

/// How often the relay is asked how far it is.
const ASK_MS: u64 = 250;

/// Items of each kind that people are shown.
const SHOWN: usize = 5;

/// Arguments of `relay drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// The relay's name: the asked one must be it
    pub name: Option<RelayId>,
    /// Remove the subscriptions and queues that live there, with their backlogs
    #[arg(long)]
    pub abandon: bool,
    /// Give up waiting after so long, like 10m; the relay goes on
    #[arg(long, value_name = "DURATION", value_parser = values::millis)]
    pub deadline: Option<Millis>,
}

/// Drains it, and waits until it may go.
///
/// # Errors
/// When the relay refuses it, has subscriptions that are to leave first, or the deadline passes.
pub(super) async fn run(args: DrainArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let asked = ask::status(&client).await?.relay;
    if let Some(name) = args.name.filter(|name| *name != asked) {
        let why = format!("{} is {asked}, not {name}: a relay is drained by itself", context.global.relay);
        return Err(Failure::Usage(why));
    }
    let deadline = args.deadline.map(|within| Instant::now() + within.duration());
    let mut told = String::new();
    loop {
        let Reply::Draining(state) = ask::ask(&client, Request::RelayDrain { abandon: args.abandon }).await?
        else {
            return Err(ask::unexpected("how far it is"));
        };
        if !state.begun {
            return Err(Failure::Check(homes(&state)));
        }
        if state.may_go {
            return end(&state, context);
        }
        let news = progress(&state);
        if context.is_text() && news != told {
            context.out.line(&news)?;
            context.out.flush()?;
            told = news;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            if !context.is_text() {
                context.out.json(&to_json(&state))?;
            }
            return Err(Failure::Deadline("the relay is still being drained"));
        }
        sleep(Duration::from_millis(ASK_MS)).await;
    }
}

fn end(state: &Draining, context: &mut Context) -> Result<(), Failure> {
    if context.is_text() {
        return Ok(context
            .out
            .line(format_args!("{} may go: stop it, and forget it if it never comes back", state.relay))?);
    }
    Ok(context.out.json(&to_json(state))?)
}

/// Why it does not begin.
fn homes(state: &Draining) -> String {
    let one = |home: &crate::wire::body::Home| {
        format!("{}/{} ({})", home.group, home.name, human::of(home.backlog, "message"))
    };
    let lives = if state.home_count == 1 { "lives" } else { "live" };
    format!(
        "{} {lives} at {}: {}; remove what is done with first, or say --abandon to remove all, with what waits there",
        human::of(state.home_count, "subscription"),
        state.relay,
        list(state.homes.iter().map(one).collect(), state.home_count)
    )
}

/// What holds it up.
fn progress(state: &Draining) -> String {
    let mut parts = Vec::new();
    let wait = |wait: &crate::wire::body::DrainingWait| {
        let members: Vec<String> = wait.members.iter().map(ToString::to_string).collect();
        let by = if members.is_empty() {
            String::new()
        } else {
            format!(", {} must confirm", members.join(" and "))
        };
        format!("{} ({}{by})", wait.group, human::of(wait.records, "record"))
    };
    if state.wait_count > 0 {
        parts.push(list(state.waits.iter().map(wait).collect(), state.wait_count));
    }
    let kept = |kept: &crate::wire::body::DrainingKept| {
        format!(
            "{} of {}, which cannot be reached ({})",
            kept.group,
            kept.origin,
            human::of(kept.records, "record")
        )
    };
    if state.kept_count > 0 {
        parts.push(list(state.kept.iter().map(kept).collect(), state.kept_count));
    }
    if parts.is_empty() {
        parts.push("the last word of it".to_owned());
    }
    format!("{} waits for {}", state.relay, parts.join("; "))
}

fn list(mut items: Vec<String>, count: u64) -> String {
    items.truncate(SHOWN);
    let more = count - items.len() as u64;
    if more > 0 {
        items.push(format!("{} more", human::count(more)));
    }
    items.join(", ")
}

fn to_json(state: &Draining) -> Value {
    let home = |home: &crate::wire::body::Home| json!({ "group": home.group, "name": home.name, "backlog": home.backlog });
    let wait = |wait: &crate::wire::body::DrainingWait| json!({ "group": wait.group, "records": wait.records, "members": wait.members });
    let kept = |kept: &crate::wire::body::DrainingKept| json!({ "group": kept.group, "origin": kept.origin, "records": kept.records });
    json!({
        "relay": state.relay,
        "draining": state.begun,
        "may_go": state.may_go,
        "subscriptions": state.homes.iter().map(home).collect::<Vec<_>>(),
        "subscription_count": state.home_count,
        "waits_for": state.waits.iter().map(wait).collect::<Vec<_>>(),
        "waits_for_count": state.wait_count,
        "keeps": state.kept.iter().map(kept).collect::<Vec<_>>(),
        "keeps_count": state.kept_count,
        "sessions": state.sessions,
    })
}
