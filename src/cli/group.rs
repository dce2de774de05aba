//! `treecast group`: groups and their settings.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::client::Client;
use crate::id::GroupName;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{GroupInfo, Request};

use super::ask;
use super::exit::Failure;
use super::human;
use super::moving;
use super::out::Context;
use super::remove::Consent;
use super::settings::{self, Field, SettingsArgs};
use super::table::{Facts, Side, Table};
use super::tree::{self, TreeArgs};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Make a group; one that is only put to is made by the first put
    #[command(after_help = "Examples:\n  treecast group create orders --history-age 7d\n  \
        treecast group create alarms --ttl 1h --max-deliver 5 --dead-letter alarms/dead")]
    Create(CreateArgs),
    /// Change some settings of a group; the others stay
    #[command(after_help = "Examples:\n  treecast group set orders --max-bytes 10GiB\n  \
        treecast group set orders --unset max-bytes")]
    Set(SetArgs),
    /// List groups and queues
    #[command(after_help = "Examples:\n  treecast group list\n  treecast group list orders --output json")]
    List {
        /// Only those whose name begins so
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Tell all of one group
    #[command(after_help = "Examples:\n  treecast group show orders")]
    Show {
        /// The group
        group: GroupName,
    },
    /// Draw the tree that the messages of a group take, as the relay has planned it
    #[command(after_help = "Examples:\n  treecast group tree orders\n  \
        treecast group tree orders --origin north\n  \
        treecast group tree orders --output dot | dot -Tsvg > orders.svg\n\n\
        The lag on a link is how much its end that was asked has not sent to the other one yet; it is\n\
        known at the two ends only. A relay that is cut off hangs at the one that keeps for it; the records\n\
        that it has not confirmed are messages and the relays' own.")]
    Tree(TreeArgs),
    /// Remove a group with its subscriptions and backlogs
    ///
    /// It asks first if any messages were not acked; where nobody can be asked it refuses without `--yes`.
    #[command(after_help = "Examples:\n  treecast group remove orders\n  treecast group remove orders --yes")]
    Remove {
        /// The group
        group: GroupName,
        /// Whether somebody is asked.
        #[command(flatten)]
        consent: Consent,
    },
}

/// Arguments of `group create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The group
    pub group: GroupName,
    /// Its settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Arguments of `group set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The group or queue
    pub group: GroupName,
    /// Take a setting back to its default; may be repeated
    #[arg(long, value_enum, value_name = "SETTING", hide_possible_values = true)]
    pub unset: Vec<Field>,
    /// Settings to change.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Does it.
///
/// # Errors
/// When the relay refuses or is not there.
pub async fn run(command: GroupCommand, context: &mut Context) -> Result<(), Failure> {
    if let GroupCommand::Set(SetArgs { unset, settings, .. }) = &command
        && let Some(field) = unset.iter().find(|field| settings.sets(**field))
    {
        let name = field.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        return Err(Failure::Usage(format!("--{name} and --unset {name} contradict each other")));
    }
    let client = ask::connect(&context.global.relay).await?;
    match command {
        GroupCommand::Tree(args) => tree::run(&client, args, context).await,
        GroupCommand::Create(CreateArgs { group, settings }) => {
            let mut wanted = GroupSettings::default();
            settings.apply(&mut wanted);
            ask::create(&client, group.clone(), wanted, false).await?;
            show(&ask::group(&client, &group).await?, context)
        }
        GroupCommand::Set(args) => set(&client, args, context).await,
        GroupCommand::List { prefix } => {
            let all = ask::all_groups(&client, &prefix).await?;
            list(&all, context)
        }
        GroupCommand::Show { group } => show(&ask::group(&client, &group).await?, context),
        GroupCommand::Remove { group, consent } => remove(&client, (group, consent), context).await,
    }
}

/// Two operators who change different settings at the same moment may undo
/// each other: the relay is told all settings at once, and the later one wins.
async fn set(client: &Client, args: SetArgs, context: &mut Context) -> Result<(), Failure> {
    let SetArgs { group, unset, settings } = args;
    let mut wanted = ask::group(client, &group).await?.settings;
    unset.iter().for_each(|field| field.unset(&mut wanted));
    settings.apply(&mut wanted);
    ask::done(client, Request::GroupSet { group: group.clone(), settings: wanted }).await?;
    show(&ask::group(client, &group).await?, context)
}

/// Removes a group or a queue.
pub(super) async fn remove(
    client: &Client,
    (group, consent): (GroupName, Consent),
    context: &mut Context,
) -> Result<(), Failure> {
    consent.to_group(client, &group, context).await?;
    let removed = json!({ "removed": { "group": group } });
    ask::done(client, Request::GroupRemove { group: group.clone() }).await?;
    if context.is_text() {
        context.notes.note(format_args!("{group} is removed with its subscriptions and backlogs"));
        return Ok(());
    }
    Ok(context.out.json(&removed)?)
}

/// A table of groups and queues.
pub(super) fn list(all: &[GroupInfo], context: &mut Context) -> Result<(), Failure> {
    if !context.is_text() {
        return Ok(all.iter().try_for_each(|info| context.out.json(&to_json(info)))?);
    }
    if all.is_empty() {
        context.notes.note("there are none");
    }
    let mut heads = vec![
        ("NAME", Side::Left),
        ("KIND", Side::Left),
        ("KEPT", Side::Right),
        ("SIZE", Side::Right),
        ("SUBSCRIPTIONS", Side::Right),
    ];
    let moves = all.iter().any(|info| moving::of_queue(info).is_some());
    heads.extend(moves.then_some(("MOVES", Side::Left)));
    let mut table = Table::new(&heads);
    for info in all {
        let mut row = vec![
            info.name.to_string(),
            kind(info).to_owned(),
            human::count(info.messages),
            human::bytes(info.bytes),
            human::count(info.subscriptions + info.elsewhere),
        ];
        row.extend(moves.then(|| moving::of_queue(info).unwrap_or_else(|| "-".to_owned())));
        table.row(row);
    }
    Ok(table.write(&mut context.out)?)
}

fn show(info: &GroupInfo, context: &mut Context) -> Result<(), Failure> {
    if !context.is_text() {
        return Ok(context.out.json(&to_json(info))?);
    }
    let facts = facts(info);
    Ok(facts.write(&mut context.out)?)
}

/// All of a group, for people.
pub(super) fn facts(info: &GroupInfo) -> Facts {
    let mut facts = Facts::default();
    facts.add(kind(info), info.name.as_str());
    // What is kept of a queue that lives elsewhere is only on its way, or kept for others.
    let is_away = info.queue && info.elsewhere > 0;
    let [kept, positions] = if is_away { ["kept here", "positions here"] } else { ["kept", "positions"] };
    facts.add(kept, format!("{}, {}", human::of(info.messages, "message"), human::bytes(info.bytes)));
    facts.add(positions, format!("{} to before {}", info.low, info.next));
    if !info.queue {
        let (here, elsewhere) = (human::count(info.subscriptions), human::count(info.elsewhere));
        let text = if info.elsewhere == 0 { here } else { format!("{here} here, {elsewhere} elsewhere") };
        facts.add("subscriptions", text);
    }
    for stream in &info.streams {
        let ended = if stream.sealed { ", ended" } else { "" };
        let text =
            format!("from {}, boot {}, last {}{ended}", stream.origin, stream.epoch.counter, stream.last);
        facts.add(format!("stream {}", stream.number), text);
    }
    if let Some(order) = &info.order {
        let text = format!(
            "{} for earlier ones of their producers; {} given up",
            human::of(order.held, "message"),
            human::count(order.given_up)
        );
        facts.add("waiting", text);
    }
    for full in &info.full {
        let what = if full.is_of_group { "the group's quota, mostly for" } else { "the quota of" };
        facts.add("full", format!("{what} `{}` at {}: puts are refused", full.subscription, full.home));
    }
    settings::add_facts(&info.settings, &mut facts);
    facts
}

fn kind(info: &GroupInfo) -> &'static str {
    if info.queue { "queue" } else { "group" }
}

/// All of a group, for programs.
pub(super) fn to_json(info: &GroupInfo) -> Value {
    let streams = info.streams.iter().map(|stream| {
        json!({
            "number": stream.number,
            "origin": stream.origin,
            "boot": stream.epoch.counter,
            "storage": stream.epoch.storage.to_string(),
            "last": stream.last,
            "sealed": stream.sealed,
        })
    });
    let full = info.full.iter().map(|full| {
        json!({ "home": full.home, "subscription": full.subscription, "is_of_group": full.is_of_group })
    });
    let order = info.order.map(|order| json!({ "held": order.held, "given_up": order.given_up }));
    json!({
        "name": info.name,
        "kind": kind(info),
        "order": order,
        "low": info.low,
        "next": info.next,
        "kept": info.messages,
        "bytes": info.bytes,
        // A queue has one, wherever it lives.
        "subscriptions": info.subscriptions + if info.queue { info.elsewhere } else { 0 },
        "subscriptions_elsewhere": info.elsewhere,
        "streams": streams.collect::<Vec<_>>(),
        "settings": info.settings,
        "full": full.collect::<Vec<_>>(),
        "moves_to": info.moves.as_ref().and_then(|moves| moves.to.as_ref()),
        "comes_from": info.moves.as_ref().and_then(|moves| moves.from.as_ref()),
    })
}
