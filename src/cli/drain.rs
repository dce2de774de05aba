//! `treecast relay drain`: empties a relay, so that it may go.
//!
//! The relay that is to go may be any of the network: the one that is asked leads the question there
//! by its name. Each question names it, so that no other one is ever emptied, whoever listens at the
//! address by then.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::id::RelayId;
use crate::wire::body::{Draining, Reply, Request};

use super::exit::{Exit, Failure};
use super::out::Context;
use super::values::{self, Millis};
use super::{ask, human};

/// How often the relay is asked how far it is.
const ASK_MS: u64 = 250;

/// How often it is asked until it answers for the first time, while it cannot: a way that fails just
/// then is another one soon.
const FIRST_ASKS: usize = 4;

/// Items of each kind that people are shown.
const SHOWN: usize = 5;

/// What a deadline says that is over before the relay has answered once.
const UNKNOWN: &str = "the relay has not answered, and may have begun all the same";

/// Arguments of `relay drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// The relay that is to go [default: the asked one]
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
/// When the relay refuses it, cannot be reached, has subscriptions that are to leave first, or the
/// deadline passes.
pub(super) async fn run(args: DrainArgs, context: &mut Context) -> Result<(), Failure> {
    let deadline = args.deadline.and_then(ask::deadline);
    let client = ask::connect(&context.global.relay).await?;
    let name = match args.name {
        Some(name) => name,
        None => ask::status(&client).await?.relay,
    };
    let mut last: Option<Draining> = None;
    let mut told = String::new();
    let mut asked = 0;
    loop {
        asked += 1;
        // What was made there since it began is nothing that was to be removed with it.
        let abandon = args.abandon && last.is_none();
        let news = match ask::until(deadline, UNKNOWN, how_far(&client, &name, abandon)).await {
            Ok(state) if !state.begun => return Err(Failure::Check(homes(&state))),
            Ok(state) if state.may_go => return end(&state, context),
            Ok(state) => {
                let news = progress(&state);
                last = Some(state);
                news
            }
            // The way there was lost, or the relay: it goes on, or is drained again when it is back.
            Err(failure) if failure.exit() == Exit::TryAgain && (last.is_some() || asked < FIRST_ASKS) => {
                format!("{name} is asked again: {failure}")
            }
            Err(Failure::Deadline(_)) if last.is_some() => return late(last.as_ref(), context),
            Err(failure) => return Err(failure),
        };
        if context.is_text() && news != told {
            context.out.line(&news)?;
            context.out.flush()?;
            told = news;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return late(last.as_ref(), context);
        }
        sleep(Duration::from_millis(ASK_MS)).await;
    }
}

async fn how_far(client: &Client, name: &RelayId, abandon: bool) -> Result<Draining, Failure> {
    let request = Request::RelayDrainNamed { relay: name.clone(), abandon };
    let Reply::Draining(state) = ask::ask(client, request).await? else {
        return Err(ask::unexpected("how far it is"));
    };
    if state.relay != *name {
        return Err(ask::unexpected(&format!("how far {name} is, but how far {} is", state.relay)));
    }
    Ok(*state)
}

/// Time is over: how far it was when it was heard last.
fn late(last: Option<&Draining>, context: &mut Context) -> Result<(), Failure> {
    if let Some(state) = last.filter(|_| !context.is_text()) {
        context.out.json(&to_json(state))?;
    }
    Err(Failure::Deadline("the relay is still being drained"))
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
        let backlog = human::of(home.backlog, "message");
        let moves = home.moves_to.as_ref().map_or_else(String::new, |to| format!(", moves to {to}"));
        let comes = home.comes_from.as_ref().map_or_else(String::new, |from| format!(", comes from {from}"));
        format!("{}/{} ({backlog}{moves}{comes})", home.group, home.name)
    };
    let all_move = state.homes.len() as u64 == state.home_count
        && state.homes.iter().all(|home| home.moves_to.is_some());
    let advice = if all_move {
        "ask again when they are there: `treecast subscription show` says how far a move is"
    } else if state.homes.iter().any(|home| home.comes_from.is_some()) {
        "what is on its way is to come first, or stays where it is with `move --cancel`"
    } else {
        "move or remove them first, or say --abandon to remove all, with what waits there"
    };
    let all_come = state.homes.iter().all(|home| home.comes_from.is_some());
    let lives = match (all_come, state.home_count) {
        (true, 1) => "is on its way to",
        (true, _) => "are on their way to",
        (false, 1) => "lives at",
        (false, _) => "live at",
    };
    format!(
        "{} {lives} {}: {}; {advice}",
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
        let why = if kept.disk_lost { "has lost its disk" } else { "cannot be reached" };
        let records = human::of(kept.records, "record");
        format!("{} of {}, which {why} ({records})", kept.group, kept.origin)
    };
    if state.kept_count > 0 {
        parts.push(list(state.kept.iter().map(kept).collect(), state.kept_count));
    }
    if parts.is_empty() {
        let names = state.closing.iter().map(ToString::to_string).collect();
        parts.push(match state.closing_count {
            0 => "its last records to be on its disk, and their streams to be closed".to_owned(),
            1 => format!("its stream of {} to be closed", list(names, 1)),
            count => format!("its streams of {} to be closed", list(names, count)),
        });
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
    let home = |home: &crate::wire::body::Home| json!({ "group": home.group, "name": home.name, "backlog": home.backlog, "moves_to": home.moves_to, "comes_from": home.comes_from });
    let wait = |wait: &crate::wire::body::DrainingWait| json!({ "group": wait.group, "records": wait.records, "members": wait.members });
    let kept = |kept: &crate::wire::body::DrainingKept| json!({ "group": kept.group, "origin": kept.origin, "records": kept.records, "disk_lost": kept.disk_lost });
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
        "closing": state.closing,
        "closing_count": state.closing_count,
        "sessions": state.sessions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::GroupName;
    use crate::wire::body::DrainingKept;

    #[test]
    fn what_is_on_its_way_to_a_relay_is_told_apart_from_what_lives_there() {
        let mut state = Draining::new("bonn".parse().unwrap(), false);
        let home = |name: &str, comes_from: Option<&str>| crate::wire::body::Home {
            group: "news".parse().unwrap(),
            name: name.parse().unwrap(),
            backlog: 0,
            moves_to: None,
            comes_from: comes_from.map(|from| from.parse().unwrap()),
        };
        (state.homes, state.home_count) = (vec![home("s", Some("kiel"))], 1);
        let told = homes(&state);
        assert!(
            told.starts_with("1 subscription is on its way to bonn: news/s (0 messages, comes from kiel); ")
        );
        assert!(told.ends_with("`move --cancel`"), "{told}");
        state.homes.push(home("t", None));
        state.home_count = 2;
        assert!(
            homes(&state)
                .starts_with("2 subscriptions live at bonn: news/s (0 messages, comes from kiel), news/t ")
        );
    }

    #[test]
    fn what_holds_a_relay_up_is_named() {
        let mut state = Draining::new("bonn".parse().unwrap(), true);
        let end = "its last records to be on its disk, and their streams to be closed";
        assert_eq!(progress(&state), format!("bonn waits for {end}"));
        let groups = ["jobs", "orders"].map(|name| GroupName::new(name).unwrap());
        (state.closing, state.closing_count) = (vec![groups[0].clone()], 1);
        assert_eq!(progress(&state), "bonn waits for its stream of jobs to be closed");
        (state.closing, state.closing_count) = (groups.to_vec(), 9);
        assert_eq!(progress(&state), "bonn waits for its streams of jobs, orders, 7 more to be closed");
        let (group, origin) = (groups[1].clone(), "kiel".parse().unwrap());
        state.kept.push(DrainingKept { group, origin, records: 2, disk_lost: true });
        state.kept_count = 1;
        assert_eq!(progress(&state), "bonn waits for orders of kiel, which has lost its disk (2 records)");
    }
}
