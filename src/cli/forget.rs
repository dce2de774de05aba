//! `treecast relay forget`: a relay never comes back.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use serde_json::{Value, json};

use crate::id::RelayId;
use crate::wire::body::{Forgetting, Reply, Request};

use super::exit::Failure;
use super::out::Context;
use super::{ask, human};

/// Lines of each list that people are shown; programs get all that the relay tells.
const SHOWN: usize = 20;

/// Arguments of `relay forget`.
#[derive(Clone, Debug, Args)]
pub struct ForgetArgs {
    /// The relay that never comes back
    pub name: RelayId,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Says what is lost, asks, and forgets.
///
/// # Errors
/// When the relay refuses it, or the user does.
pub(super) async fn run(args: ForgetArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let told = request(&client, &args.name, false).await?;
    if context.is_text() {
        show(&told, context)?;
    }
    if !args.yes {
        confirm(&told, context)?;
    }
    let told = request(&client, &args.name, true).await?;
    if context.is_text() {
        Ok(context.out.line(format_args!("{} is forgotten", args.name))?)
    } else {
        Ok(context.out.json(&to_json(&told))?)
    }
}

async fn request(
    client: &crate::client::Client,
    relay: &RelayId,
    confirmed: bool,
) -> Result<Forgetting, Failure> {
    let request = Request::RelayForget { relay: relay.clone(), confirmed };
    let Reply::Forgetting(told) = ask::ask(client, request).await? else {
        return Err(ask::unexpected("what is lost"));
    };
    Ok(*told)
}

/// Only a person can be asked, and only one who has seen what is lost. The question is no part of the output.
fn confirm(told: &Forgetting, context: &mut Context) -> Result<(), Failure> {
    let name = &told.relay;
    if !io::stdin().is_terminal() {
        let why = format!("nobody can be asked whether {name} is to be forgotten: say --yes");
        return Err(Failure::Usage(why));
    }
    if !context.is_text() {
        context.out.json(&to_json(told))?;
    }
    context.out.flush()?;
    context.notes.note(format_args!("forget {name}? Type its name to confirm:"));
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|source| Failure::Machine { what: "read the answer", source })?;
    if line.trim() == name.as_str() {
        return Ok(());
    }
    Err(Failure::Check(format!("{name} is not forgotten")))
}

fn show(told: &Forgetting, context: &mut Context) -> Result<(), Failure> {
    let relay = &told.relay;
    let mut list = |head: String, lines: Vec<String>, count: u64| -> Result<(), Failure> {
        let head = context.out.heading(&head);
        context.out.line(head)?;
        for line in lines.iter().take(SHOWN) {
            context.out.line(format_args!("  {line}"))?;
        }
        let shown = lines.len().min(SHOWN) as u64;
        if count > shown {
            context.out.line(format_args!("  and {} more", human::count(count - shown)))?;
        }
        Ok(())
    };
    if told.subscription_count > 0 {
        let lost = |lost: &crate::wire::body::LostSubscription| {
            let kept = human::of(lost.kept, "record");
            format!("{}/{}, with what it had not acked; {kept} kept for it here", lost.group, lost.name)
        };
        let head = format!("{} lost with {relay}:", are(told.subscription_count, "subscription"));
        list(head, told.subscriptions.iter().map(lost).collect(), told.subscription_count)?;
    }
    if told.queue_count > 0 {
        let head = format!("{} lost with {relay}, and all that waits there:", are(told.queue_count, "queue"));
        list(head, told.queues.iter().map(ToString::to_string).collect(), told.queue_count)?;
    }
    if told.origin_count > 0 {
        let head = format!(
            "{} into which {relay} may have put what nobody else has:",
            human::of(told.origin_count, "group")
        );
        list(head, told.origins.iter().map(ToString::to_string).collect(), told.origin_count)?;
    }
    if told.subscription_count + told.queue_count + told.origin_count == 0 {
        context.out.line(format_args!("nothing is lost with {relay}, as far as the asked relay knows"))?;
    }
    Ok(())
}

fn are(count: u64, thing: &str) -> String {
    format!("{} {}", human::of(count, thing), if count == 1 { "is" } else { "are" })
}

fn to_json(told: &Forgetting) -> Value {
    let lost = |lost: &crate::wire::body::LostSubscription| json!({ "group": lost.group, "name": lost.name, "kept": lost.kept });
    json!({
        "relay": told.relay,
        "forgotten": told.done,
        "subscriptions": told.subscriptions.iter().map(lost).collect::<Vec<_>>(),
        "subscription_count": told.subscription_count,
        "queues": told.queues,
        "queue_count": told.queue_count,
        "origins": told.origins,
        "origin_count": told.origin_count,
    })
}
