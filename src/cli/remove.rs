//! What is removed takes with it what nobody has acked: that is asked about first.

use std::io::IsTerminal;

use clap::Args;
use serde_json::json;

use crate::client::Client;
use crate::id::{GroupName, SubscriptionName};
use crate::wire::body::Request;

use super::exit::Failure;
use super::out::Context;
use super::silent::Why;
use super::subscription::also_at;
use super::{ask, human, input};

/// Whether somebody is to be asked.
#[derive(Clone, Copy, Debug, Args)]
pub struct Consent {
    /// Do not ask, though messages go that were not acked
    #[arg(long)]
    pub yes: bool,
}

impl Consent {
    /// Asks whether a group or queue is to be removed, if any of its messages were not acked.
    ///
    /// # Errors
    /// When that is not wanted, or nobody can be asked.
    pub(super) async fn to_group(
        self,
        client: &Client,
        group: &GroupName,
        context: &mut Context,
    ) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let (all, silent) = ask::subscriptions_everywhere(client, group).await?;
        let open: Vec<u64> = all.iter().map(|info| info.backlog).filter(|open| *open > 0).collect();
        let unknown =
            silent.iter().filter(|silent| matches!(silent.why, Why::Away | Why::Forgotten)).count() as u64;
        let mut lost = Vec::new();
        if !open.is_empty() {
            let (messages, subscriptions) = (open.iter().sum(), open.len() as u64);
            let of = human::of(subscriptions, "subscription");
            lost.push(format!("{} of {of} not acked", human::of(messages, "message")));
        }
        if unknown > 0 {
            let of = human::of(unknown, "subscription");
            lost.push(format!("{of} of which nothing can be told now"));
        }
        confirm(&format!("`{group}`"), &lost, context)
    }

    /// Removes a subscription, once it may. One that has two homes is removed at the one that is asked.
    ///
    /// # Errors
    /// The same, and when it cannot be removed.
    pub(super) async fn remove_subscription(
        self,
        client: &Client,
        (group, name): (GroupName, SubscriptionName),
        context: &mut Context,
    ) -> Result<(), Failure> {
        let info = ask::subscription(client, &group, &name).await?;
        let left = also_at(&info);
        if !self.yes {
            let open =
                (info.backlog > 0).then(|| format!("{} not acked", human::of(info.backlog, "message")));
            let what = format!("subscription `{name}` of `{group}`");
            let what = if left.is_empty() { what } else { format!("{what} at {}", info.home) };
            confirm(&what, open.as_slice(), context)?;
        }
        let removed = json!({ "group": group, "subscription": name, "home": info.home });
        ask::done(client, Request::SubscriptionRemove { group, name: name.clone() }).await?;
        if !context.is_text() {
            return Ok(context.out.json(&json!({ "removed": removed, "left_at": info.also_at }))?);
        }
        let mut done = format!("subscription {name} is removed with its backlog");
        if !left.is_empty() {
            let home = &info.home;
            let more = format!(
                " at {home}; it has another home and backlog at {left}: that stays, as does its name"
            );
            done.push_str(&more);
        }
        context.notes.note(done);
        Ok(())
    }
}

/// Only a person can be asked. The question is no part of the output.
fn confirm(what: &str, lost: &[String], context: &mut Context) -> Result<(), Failure> {
    if lost.is_empty() {
        return Ok(());
    }
    let holds = format!("{what} holds {}", lost.join(", and "));
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{holds}, and nobody can be asked: say --yes")));
    }
    if input::says_yes(&format!("{holds}. Remove it?"), context)? {
        return Ok(());
    }
    Err(Failure::Check(format!("{what} is not removed")))
}
