//! `treecast topology apply` and `rollback`: another topology for a network that runs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::config::check_file;
use crate::survey::plan::{Between, Plan, Question, plan};
use crate::topology::{Topology, TopologyVersion};
use crate::wire::applied::TopologyHead;
use crate::wire::body::{LinkInfo, Reach, RelayInfo, Reply, Request, TopologyInfo};

use super::super::exit::Failure;
use super::super::out::Context;
use super::super::values::{Millis, millis};
use super::super::{ask, human, input};
use super::history::{Named, entry_of, head_json, named, topology, twins};
use super::standing::standing;
use super::{groups, plan as shown_plan, read, too_large};
use crate::id::RelayId;

/// What stands behind the options of `topology apply`.
pub(super) const APPLY_HELP: &str = "\
Examples:
  treecast topology apply network.toml
  treecast topology apply network.toml --relay 127.0.0.1:7412 --yes --output json

The whole network goes by the file from then on: relays connect to new neighbours, end links
that are gone and take costs, roles and settings, all while they run. Relays that are away learn
of it when they are back. A relay that the file leaves out keeps what it has and stays a member
of its groups; a group that it leaves out stays as it is. The exit code is 1 when another topology
was applied meanwhile, and 124 when a relay that can be reached has not taken it in time.";

/// What stands behind the options of `topology rollback`.
pub(super) const ROLLBACK_HELP: &str = "\
Examples:
  treecast topology rollback
  treecast topology rollback 3 --yes

The text of the earlier one is applied again, as a new version. `treecast topology history`
lists those that a relay has.";

/// How a change of the running network is made.
#[derive(Clone, Debug, Args)]
pub struct Manner {
    /// Do not ask whether the change is wanted
    #[arg(long)]
    pub yes: bool,
    /// How long relays that can be reached may take; those that have not are named
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = millis)]
    pub deadline: Millis,
}

/// Arguments of `topology apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The topology file
    pub file: PathBuf,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
}

/// Arguments of `topology rollback`.
#[derive(Clone, Debug, Args)]
pub struct RollbackArgs {
    /// The version to go back to, like 3, or 3-0f3a9c21 where two were applied at once [default: the
    /// one before that in force]
    #[arg(value_name = "VERSION", value_parser = named)]
    pub version: Option<Named>,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
}

/// Applies a file.
pub(super) async fn apply(args: ApplyArgs, context: &mut Context) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let new = super::accepted(check_file(&args.file, &text), context)?;
    let client = ask::connect(&context.global.relay).await?;
    let change = Change { text, new, base: topology(&client, None, None).await?, restores: None };
    change.make(&client, &args.manner, context).await
}

/// Applies an earlier text again.
pub(super) async fn rollback(args: RollbackArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let base = topology(&client, None, None).await?;
    let in_force = base.kept.first().map(|head| head.version);
    let wanted = match args.version {
        Some(version) => version,
        None => {
            // Of two that were applied at once, a relay may have kept both.
            let mut counters = base.kept.iter().map(|head| head.version.counter);
            let before = counters.find(|one| Some(*one) != in_force.map(|version| version.counter));
            Named::plain(
                before.ok_or_else(|| Failure::Missing("there is no topology to go back to".to_owned()))?,
            )
        }
    };
    let hash = wanted.hash(&base.kept)?;
    if let Some(version) = in_force.filter(|version| wanted.means(*version, hash)) {
        return Err(Failure::Usage(format!(
            "topology {wanted} is the one in force{}",
            twins(version, &base.kept)
        )));
    }
    let entry = entry_of(&client, &wanted, hash).await?.entry;
    let text = entry.ok_or_else(|| Failure::Missing(format!("there is no topology {wanted}")))?.text;
    let new = super::accepted(Topology::parse(&format!("topology {wanted}"), &text), context)?;
    Change { text, new, base, restores: Some(wanted.counter()) }.make(&client, &args.manner, context).await
}

/// What the links of the asked relay cost that are up; of those of others only they know what was measured.
async fn measured(client: &Client) -> Result<Vec<(Between, u32)>, Failure> {
    let here = ask::status(client).await?.relay.to_string();
    let links = ask::all_links(client).await?.into_iter().filter(|link| link.is_up);
    let cost = |link: LinkInfo| {
        let mut between = [here.clone(), link.neighbour.to_string()];
        between.sort_unstable();
        (between, link.cost)
    };
    Ok(links.map(cost).collect())
}

/// A change of the network that somebody wants.
struct Change {
    text: String,
    new: Topology,
    /// What was in force when it was asked.
    base: TopologyInfo,
    restores: Option<u64>,
}

impl Change {
    async fn make(self, client: &Client, manner: &Manner, context: &mut Context) -> Result<(), Failure> {
        let old = standing(client, self.in_force(), &self.new).await?;
        let planned = self.plan(&old, &measured(client).await?)?;
        if context.is_text() {
            shown_plan::show(&planned, context)?;
            context.out.flush()?;
        }
        confirm(manner.yes, context)?;
        let base = self.base.kept.first().map(|head| head.version);
        let (text, restores) = (self.text.clone(), self.restores);
        let before = ask::all_relays(client).await?;
        let request = Request::TopologyApply { text, base, restores };
        let Reply::TopologyApplied(head) = ask::ask(client, request).await? else {
            return Err(ask::unexpected("that the topology is applied"));
        };
        let spread = self.wait(client, &head, (&before, manner.deadline)).await?;
        self.report(&head, &spread, &planned, context)?;
        if !spread.late.is_empty() {
            return Err(Failure::Deadline("not every relay that can be reached has taken it in time"));
        }
        Ok(())
    }

    /// What was in force when it was asked.
    fn in_force(&self) -> Topology {
        let parse = |text: &str| Topology::parse("in force", text).map(|checked| checked.topology);
        // Its own relay goes by it: it is one.
        self.base.entry.as_ref().and_then(|entry| parse(&entry.text).ok()).unwrap_or_default()
    }

    fn plan(&self, old: &Topology, measured: &[(Between, u32)]) -> Result<Plan, Failure> {
        let names = groups(&[old, &self.new], None);
        let question = Question {
            old,
            new: &self.new,
            groups: &names,
            members: None,
            unmeasured: crate::limits::LINK_COST_UNMEASURED,
            measured,
            without: None,
        };
        plan(question).map_err(too_large)
    }

    /// Waits until every relay that can be reached goes by it. Of those that could be reached `before`
    /// some may be cut off for a moment: links of the asked relay are made anew.
    async fn wait(
        &self,
        client: &Client,
        head: &TopologyHead,
        (before, deadline): (&[RelayInfo], Millis),
    ) -> Result<Spread, Failure> {
        let begun = Instant::now();
        loop {
            let in_force = topology(client, None, None).await?.kept.into_iter().next();
            if let Some(other) = in_force.filter(|other| other > head) {
                return Err(Failure::Check(format!(
                    "topology {} was overtaken by {}, applied at {}: that is in force everywhere",
                    head.version, other.version, other.by
                )));
            }
            let spread = Spread::of(&self.new, &ask::all_relays(client).await?, head.version);
            let was_there = |name: &String| {
                before.iter().any(|relay| relay.relay.as_str() == name && is_reachable(relay))
            };
            let is_torn = begun.elapsed() < LINKS_ANEW && spread.away.iter().any(was_there);
            if (spread.late.is_empty() && !is_torn) || begun.elapsed() >= deadline.duration() {
                return Ok(spread);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(
        &self,
        head: &TopologyHead,
        spread: &Spread,
        planned: &Plan,
        context: &mut Context,
    ) -> Result<(), Failure> {
        let moved = planned.reparented();
        if !context.is_text() {
            let mut value = head_json(head, true);
            value["taken"] = json!(spread.taken);
            value["late"] = json!(spread.late);
            value["unreachable"] = json!(spread.away);
            value["reparented"] = json!(moved);
            value["plan"] = json!(planned);
            return Ok(context.out.json(&value)?);
        }
        let line = format!("topology {} is in force", head.version);
        context.out.line("")?;
        context.out.line(context.out.good(&line))?;
        let relays = human::of(spread.taken.len() as u64, "relay");
        context.out.line(format_args!("taken by {relays}: {}", spread.taken.join(", ")))?;
        if moved > 0 {
            let times = if moved == 1 { "once".to_owned() } else { format!("{moved} times") };
            context.out.line(format_args!("{times} a relay gets another parent in a tree"))?;
        }
        for (names, what) in [
            (&spread.late, "reachable, and not taken yet"),
            (&spread.away, "cannot be reached, and take it when they can"),
        ] {
            if !names.is_empty() {
                context.notes.warning(format_args!("{what}: {}", names.join(", ")));
            }
        }
        Ok(())
    }
}

/// How long links that a topology changes may take to come up again before their relays count as away.
const LINKS_ANEW: Duration = Duration::from_secs(5);

fn is_reachable(relay: &RelayInfo) -> bool {
    matches!(relay.reach, Reach::Here | Reach::Over { .. })
}

/// How far a topology has come.
#[derive(Debug, Default)]
struct Spread {
    taken: Vec<String>,
    /// They can be reached, and have not taken it yet.
    late: Vec<String>,
    /// They cannot be reached, or were never there.
    away: Vec<String>,
}

impl Spread {
    fn of(topology: &Topology, known: &[RelayInfo], version: TopologyVersion) -> Self {
        let known: BTreeMap<&str, &RelayInfo> =
            known.iter().map(|relay| (RelayId::as_str(&relay.relay), relay)).collect();
        let mut spread = Self::default();
        for relay in topology.relays() {
            let info = known.get(relay.name.as_str());
            let has_taken = info.is_some_and(|info| info.topology >= Some(version));
            let list = match (info.is_some_and(|info| is_reachable(info)), has_taken) {
                (true, true) => &mut spread.taken,
                (true, false) => &mut spread.late,
                (false, _) => &mut spread.away,
            };
            list.push(relay.name.clone());
        }
        spread
    }
}

/// Asks whether to go on, where somebody can answer.
fn confirm(yes: bool, context: &Context) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("nobody can be asked whether this is wanted: say --yes".to_owned()));
    }
    if input::says_yes("\nApply this to the running network?", context)? {
        return Ok(());
    }
    Err(Failure::Check("nothing was changed".to_owned()))
}
