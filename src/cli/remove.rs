//! What is removed takes with it what nobody has acked: that is asked about first.

use std::io::IsTerminal;

use clap::Args;

use crate::client::Client;
use crate::id::{GroupName, SubscriptionName};

use super::exit::Failure;
use super::out::Context;
use super::silent::Why;
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

    /// The same of a subscription.
    ///
    /// # Errors
    /// The same.
    pub(super) async fn to_subscription(
        self,
        client: &Client,
        (group, name): (&GroupName, &SubscriptionName),
        context: &mut Context,
    ) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let open = ask::subscription(client, group, name).await?.backlog;
        let lost = (open > 0).then(|| format!("{} not acked", human::of(open, "message")));
        let what = format!("subscription `{name}` of `{group}`");
        confirm(&what, lost.as_slice(), context)
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
