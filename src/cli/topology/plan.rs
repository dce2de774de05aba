//! `treecast topology plan`: what a change moves.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::out::{Context, Out};
use crate::cli::table::{Side, Table};
use crate::survey::plan::{
    Between, Change, Death, GroupChange, HomeChange, NetworkChange, Plan, Question, Trees, plan,
};

use super::{Guess, check_group, groups, known, load, too_large};

pub(super) const AFTER_HELP: &str = "\
Examples:
  treecast topology plan network.toml network-new.toml
  treecast topology plan network.toml network-new.toml --group news --members paris,tokyo
  treecast topology plan topologies/abilene.toml topologies/abilene.toml --without kansas-city

Trees are those that the relays will compute. All groups and queues of both files are
looked at unless --group names one, which need not be in a file. --without looks at the
new network while one relay is dead: it stays a member, and what is put meanwhile waits.";

/// Arguments of `topology plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The topology file as it is; either may be - for standard input
    pub old: PathBuf,
    /// The topology file as it will be
    pub new: PathBuf,
    /// Only this group or queue
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Also tell what happens to the new network while this relay is dead
    #[arg(long, value_name = "RELAY")]
    pub without: Option<String>,
    /// Who is in the groups.
    #[command(flatten)]
    pub guess: Guess,
}

/// Does it.
pub(super) fn run(args: &PlanArgs, context: &mut Context) -> Result<(), Failure> {
    if [&args.old, &args.new].iter().all(|file| file.as_os_str() == "-") {
        let message = "one of the two files may be -, not both: standard input is read once";
        return Err(Failure::Usage(message.to_owned()));
    }
    let (old, new) = (load(&args.old, context)?, load(&args.new, context)?);
    args.guess.check(&[&old, &new])?;
    check_group(args.group.as_deref())?;
    if let Some(relay) = &args.without {
        known("relay", relay, &[&new])?;
    }
    let names = groups(&[&old, &new], args.group.as_deref());
    let question = Question {
        old: &old,
        new: &new,
        groups: &names,
        members: args.guess.members.as_deref(),
        unmeasured: args.guess.rtt,
        measured: &[],
        without: args.without.as_deref(),
    };
    let found = plan(question).map_err(too_large)?;
    if !context.is_text() {
        return Ok(context.out.json(&json!(found))?);
    }
    show(&found, context)
}

/// Writes it for people.
pub(super) fn show(found: &Plan, context: &mut Context) -> Result<(), Failure> {
    let out = &mut context.out;
    show_network(&found.network, out)?;
    show_change(&found.change, None, out)?;
    if let Some(death) = &found.death {
        out.line("")?;
        show_death(death, out)?;
    }
    Ok(())
}

fn shown(between: &Between) -> String {
    between.join(" ── ")
}

fn show_network(network: &NetworkChange, out: &mut Out) -> Result<(), Failure> {
    let mut lines = Vec::new();
    lines.extend(network.relays_added.iter().map(|relay| format!("+ relay {relay}")));
    lines.extend(network.relays_removed.iter().map(|relay| format!("- relay {relay}")));
    lines.extend(network.links_added.iter().map(|link| format!("+ link {}", shown(link))));
    lines.extend(network.links_removed.iter().map(|link| format!("- link {}", shown(link))));
    let cost = |change: &crate::survey::plan::CostChange| {
        format!("~ link {}: cost {} → {}", shown(&change.between), change.before, change.after)
    };
    lines.extend(network.costs.iter().map(cost));
    lines.extend(network.groups_added.iter().map(|group| format!("+ {group}")));
    lines.extend(network.groups_removed.iter().map(|group| format!("- {group}: it stays as it is")));
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    lines.extend(network.settings.iter().map(|change| {
        format!("~ {}: {} {} → {}", change.of, change.key, value(&change.before), value(&change.after))
    }));
    let home = |HomeChange { queue, home, wanted }: &HomeChange| match wanted {
        Some(to) => format!(
            "  ! queue {queue} lives at {home}, and no file moves it: `treecast queue move {queue} {to}` does, first"
        ),
        None => format!(
            "  ! queue {queue} lives at {home} and hands out nothing without it: `treecast queue move {queue} RELAY` \
             first, or `queue remove`"
        ),
    };
    lines.extend(network.homes.iter().map(|change| out.bad(&home(change))));
    if lines.is_empty() {
        lines.push("no relay, link, cost or setting changes".to_owned());
    }
    Ok(lines.iter().try_for_each(|line| out.line(line))?)
}

fn show_change(change: &Change, dead: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    for group in &change.groups {
        out.line("")?;
        show_group(group, dead, out)?;
    }
    out.line("")?;
    if change.links.is_empty() {
        return Ok(out.line("no link carries more or fewer trees")?);
    }
    let mut table = Table::new(&[
        ("LINK", Side::Left),
        ("BEFORE", Side::Right),
        ("AFTER", Side::Right),
        ("TREES", Side::Right),
    ]);
    for load in &change.links {
        let more = i64::from(load.after) - i64::from(load.before);
        table.row(vec![
            shown(&load.between),
            load.before.to_string(),
            load.after.to_string(),
            format!("{more:+}"),
        ]);
    }
    Ok(table.write(out)?)
}

fn show_group(group: &GroupChange, dead: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    let heading = out.heading(&format!("group {}", group.group));
    let trees = match (&group.before, &group.after) {
        (Some(before), Some(after)) if before == after => format!("stays: {}", summary(after)),
        (Some(before), Some(after)) => format!("{} → {}", summary(before), summary(after)),
        (None, Some(after)) => format!("no tree → {}", summary(after)),
        (Some(before), None) => format!("{} → none of its relays", summary(before)),
        (None, None) => "none of its relays is in either file".to_owned(),
    };
    out.line(format_args!("{heading}: {trees}"))?;
    let before = group.before.as_ref();
    let empty = Vec::new();
    let links = |trees: Option<&Trees>| trees.map_or_else(|| empty.clone(), |trees| trees.links.clone());
    let (old, new) = (links(before), links(group.after.as_ref()));
    for link in old.iter().filter(|link| !new.contains(link)) {
        out.line(format_args!("  - {}", shown(link)))?;
    }
    for link in new.iter().filter(|link| !old.contains(link)) {
        out.line(format_args!("  + {}", shown(link)))?;
    }
    for over in group.after.iter().flat_map(|trees| &trees.over_cap) {
        let line = format!(
            "  ! {} gets {} children, its max_children is {}: no other way was found",
            over.relay, over.children, over.max_children
        );
        let line = out.bad(&line);
        out.line(line)?;
    }
    for cut in group.after.iter().flat_map(|trees| &trees.cut_off) {
        let was = before.is_some_and(|trees| trees.cut_off.iter().any(|other| other.relay == cut.relay));
        let state = match (dead == Some(cut.relay.as_str()), was) {
            (true, _) => "dead",
            (false, true) => "still cut off",
            (false, false) => "cut off",
        };
        let kept = match &cut.custodian {
            Some(custodian) => format!("{custodian} keeps messages for it"),
            None => "nobody keeps messages for it but their origins".to_owned(),
        };
        let line = format!("  ! {} {state}; {kept}", cut.relay);
        let line = out.bad(&line);
        out.line(line)?;
    }
    Ok(())
}

fn summary(trees: &Trees) -> String {
    let count = if trees.trees > 1 { format!("{} trees, ", trees.trees) } else { String::new() };
    format!("{count}cost {}, {}", human::count(trees.cost), human::of(trees.links.len() as u64, "link"))
}

fn show_death(death: &Death, out: &mut Out) -> Result<(), Failure> {
    let heading = out.heading(&format!("without {}", death.relay));
    let parts = match death.parts.as_slice() {
        [] => "no relay is left".to_owned(),
        [_] => "all others still reach each other".to_owned(),
        parts => format!("the others fall into {} parts", parts.len()),
    };
    out.line(format_args!("{heading}: {parts}"))?;
    if death.parts.len() > 1 {
        for part in &death.parts {
            out.line(format_args!("  {}: {}", human::of(part.len() as u64, "relay"), part.join(", ")))?;
        }
    }
    for queue in &death.queues {
        let line = out.bad(&format!("  ! queue {queue} lives there and hands out nothing meanwhile"));
        out.line(line)?;
    }
    show_change(&death.change, Some(&death.relay), out)
}
