//! `treecast subscription move` and `queue move`: another relay becomes the home.

use clap::Args;
use serde_json::{Value, json};

use super::ask;
use super::exit::Failure;
use super::human;
use super::subscription::NameArgs;
use super::table::Facts;
use crate::client::Client;
use crate::id::{GroupName, RelayId, SubscriptionName};
use crate::wire::body::{GroupInfo, MoveInfo, MoveStage, Reply, Request, SubscriptionInfo};

/// Arguments of `subscription move`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// Which one.
    #[command(flatten)]
    pub name: NameArgs,
    /// The relay where it is to live
    #[arg(required_unless_present = "cancel")]
    pub to_relay: Option<RelayId>,
    /// Let it stay where it is; possible until the new home takes over
    #[arg(long, conflicts_with = "to_relay")]
    pub cancel: bool,
}

/// Arguments of `queue move`.
#[derive(Debug, Args)]
pub struct MoveQueueArgs {
    /// The queue
    pub queue: GroupName,
    /// The relay where it is to live
    #[arg(required_unless_present = "cancel")]
    pub to_relay: Option<RelayId>,
    /// Let it stay where it is; possible until the new home takes over
    #[arg(long, conflicts_with = "to_relay")]
    pub cancel: bool,
}

/// Asks for it; what is to be told of the subscription then.
pub(super) async fn ask(client: &Client, args: MoveArgs) -> Result<SubscriptionInfo, Failure> {
    let MoveArgs { name: NameArgs { group, name }, to_relay, .. } = args;
    ask_move(client, (group, name), to_relay).await
}

/// Asks that a queue move: with it goes its backlog.
pub(super) async fn ask_queue(client: &Client, args: MoveQueueArgs) -> Result<(), Failure> {
    let name = SubscriptionName::new("queue").expect("a constant that is a name");
    ask_move(client, (args.queue, name), args.to_relay).await.map(drop)
}

async fn ask_move(
    client: &Client,
    (group, name): (GroupName, SubscriptionName),
    to: Option<RelayId>,
) -> Result<SubscriptionInfo, Failure> {
    let Reply::Subscription(info) = ask::ask(client, Request::SubscriptionMove { group, name, to }).await?
    else {
        return Err(ask::unexpected("a subscription"));
    };
    Ok(info)
}

/// How far a move is, for people.
fn text(moving: &MoveInfo) -> String {
    let waits_for: Vec<&str> = moving.waits_for.iter().map(RelayId::as_str).collect();
    let waits_for = waits_for.join(", ");
    let stage = match moving.stage {
        MoveStage::Preparing => format!("waits for {waits_for} to make it ready"),
        MoveStage::Asking => {
            format!("waits for the word of {waits_for}; of one that is gone for good, until `relay forget`")
        }
        MoveStage::Gathering => "waits for messages on their way here".to_owned(),
        MoveStage::Consuming => {
            format!("{} to be acked here first", human::of(moving.messages, "message"))
        }
        MoveStage::HandingOver => "being handed over".to_owned(),
        MoveStage::Copying => {
            let who = if moving.merge { "closed" } else { "nobody takes what is left here" };
            format!("{who}: {} to be copied there", human::of(moving.messages, "message"))
        }
    };
    let refusal = moving.refusal.as_ref().map_or_else(String::new, |r| format!("; it says: {}", r.message));
    format!("{}: {stage}{refusal}", moving.to)
}

/// Where it goes and where it comes from, for people.
pub(super) fn add_facts(info: &SubscriptionInfo, facts: &mut Facts) {
    if let Some(moving) = &info.moving {
        facts.add(if moving.merge { "is made one with" } else { "moves to" }, text(moving));
    }
    if let Some(from) = &info.comes_from {
        facts.add("comes from", from.as_str());
    }
}

/// Where one in a list moves, in a word.
pub(super) fn word(info: &SubscriptionInfo) -> Option<String> {
    let goes = info.moving.as_ref().map(|moving| format!("to {}: {}", moving.to, stage(moving.stage)));
    goes.or_else(|| info.comes_from.as_ref().map(|from| format!("comes from {from}")))
}

/// Where a queue in a list moves, as far as the relay knows that is asked.
pub(super) fn of_queue(info: &GroupInfo) -> Option<String> {
    let moves = info.moves.as_ref()?;
    let goes = moves.to.as_ref().map(|to| format!("to {to}"));
    goes.or_else(|| moves.from.as_ref().map(|from| format!("comes from {from}")))
}

fn stage(stage: MoveStage) -> &'static str {
    match stage {
        MoveStage::Preparing => "preparing",
        MoveStage::Asking => "asking",
        MoveStage::Gathering => "gathering",
        MoveStage::Consuming => "consuming",
        MoveStage::HandingOver => "handing-over",
        MoveStage::Copying => "copying",
    }
}

/// How far it is, for programs.
pub(super) fn to_json(moving: &MoveInfo) -> Value {
    json!({
        "to": moving.to,
        "stage": stage(moving.stage),
        "waits_for": moving.waits_for,
        "messages": moving.messages,
        "merge": moving.merge,
        "refusal": moving.refusal.as_ref().map(|refusal| &refusal.message),
    })
}
