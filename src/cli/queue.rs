//! `treecast queue`: point-to-point queues, each a group with one shared backlog.

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::id::GroupName;
use crate::topology::settings::GroupSettings;
use crate::wire::body::GroupInfo;

use super::exit::Failure;
use super::group::{self, CreateArgs};
use super::moving::{self, MoveQueueArgs};
use super::out::Context;
use super::remove::Consent;
use super::{ask, silent, subscription};

/// What to do with queues.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "made once, from the command line")]
pub enum QueueCommand {
    /// Make a queue; its home is the relay that makes it
    #[command(
        after_help = "Examples:\n  treecast queue create jobs --max-deliver 3 --dead-letter jobs/dead\n  \
        treecast put jobs 'resize 17.png'\n  treecast notify jobs --exec 'sh work.sh'"
    )]
    Create(CreateArgs),
    /// List queues
    #[command(after_help = "Examples:\n  treecast queue list\n  treecast queue list jobs --output json")]
    List {
        /// Only those whose name begins so
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Tell all of one queue
    #[command(after_help = "Examples:\n  treecast queue show jobs")]
    Show {
        /// The queue
        queue: GroupName,
    },
    /// Make another relay the home of a queue, while its receivers go on
    #[command(
        after_help = "Its topology file is to name the new home too, when it has one. Ask again to see\n\
        how far it is: it is there when `show` says so.\n\n\
        Examples:\n  treecast queue move jobs oslo\n  treecast queue move jobs --cancel"
    )]
    Move(MoveQueueArgs),
    /// Remove a queue with its backlog
    ///
    /// It asks first if any messages were not acked; where nobody can be asked it refuses without `--yes`.
    #[command(after_help = "Examples:\n  treecast queue remove jobs\n  treecast queue remove jobs --yes")]
    Remove {
        /// The queue
        queue: GroupName,
        /// Whether somebody is asked.
        #[command(flatten)]
        consent: Consent,
    },
}

/// Does it.
///
/// # Errors
/// When the relay refuses or is not there.
pub async fn run(command: QueueCommand, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    match command {
        QueueCommand::Create(CreateArgs { group, settings }) => {
            let mut wanted = GroupSettings::default();
            settings.apply(&mut wanted);
            ask::create(&client, group.clone(), wanted, true).await?;
            show(&client, &queue(&client, &group).await?, context).await
        }
        QueueCommand::List { prefix } => {
            let mut all = ask::all_groups(&client, &prefix).await?;
            all.retain(|info| info.queue);
            group::list(&all, context)
        }
        QueueCommand::Show { queue: name } => show(&client, &queue(&client, &name).await?, context).await,
        QueueCommand::Move(args) => {
            let name = args.queue.clone();
            queue(&client, &name).await?;
            moving::ask_queue(&client, args).await?;
            show(&client, &queue(&client, &name).await?, context).await
        }
        QueueCommand::Remove { queue: name, consent } => {
            // A group of that name is not removed by mistake.
            queue(&client, &name).await?;
            group::remove(&client, (name, consent), context).await
        }
    }
}

async fn queue(client: &Client, name: &GroupName) -> Result<GroupInfo, Failure> {
    let info = ask::group(client, name).await?;
    if info.queue {
        return Ok(info);
    }
    Err(Failure::Missing(format!("{name} is a group, not a queue; `treecast group` is for groups")))
}

async fn show(client: &Client, info: &GroupInfo, context: &mut Context) -> Result<(), Failure> {
    let (mut subscriptions, silent) = ask::subscriptions_everywhere(client, &info.name).await?;
    silent::warn(&silent, &info.name, context);
    // One that is kept to come from elsewhere does not live here yet.
    subscriptions.sort_by_key(|one| one.comes_from.is_some());
    if !context.is_text() {
        let mut value = group::to_json(info);
        if let (Some(fields), Some(one)) = (value.as_object_mut(), subscriptions.first()) {
            fields.insert("home".to_owned(), json!(one.home));
            fields.insert("backlog".to_owned(), subscription::to_json(one));
        }
        return Ok(context.out.json(&value)?);
    }
    group::facts(info).write(&mut context.out)?;
    for one in &subscriptions {
        context.out.line("")?;
        subscription::facts(one).write(&mut context.out)?;
    }
    Ok(())
}
