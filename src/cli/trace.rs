//! `treecast where`: the way that a message took, and what became of it.

mod json;

use std::collections::BTreeMap;

use clap::Args;

use crate::client::MessageId;
use crate::id::{RelayId, WallTime};
use crate::wire::body::{
    DeadReason, Fate, GapCause, MessageName, Over, OwnKind, ReceiptTrace, RelayTrace, Sighting, SilentRelay,
    SubscriptionTrace, Whereabouts,
};

use self::json::to_json;
use super::exit::Failure;
use super::message::gap_words;
use super::out::Context;
use super::table::{Facts, Side, Table};
use super::values::{self, Millis};
use super::{ask, human};

/// Arguments of `where`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  treecast where north@3.00f1a2b3c4d5e6f7:orders/eu:1042
  treecast where \"$(treecast put orders 'one pizza')\" --output json

MESSAGE-ID is what `put` prints, and the `id` of `get --output json`; it is the same at every relay.
Any relay can be asked: it asks all others that can be reached, and names those that do not answer.
Nothing has to be switched on before. When a message came, and who passed it over, is remembered for
a day after it was let go, or as `trace_retention` in the topology file says; the oldest for less
when there is much.

The times are those of each relay's own clock. What stands under AFTER is the difference to the
relay before; where the clocks of two hosts differ, it is off by as much.

The exit code is 3 when no relay that has answered has ever had the message.")]
pub struct WhereArgs {
    /// The message
    #[arg(value_name = "MESSAGE-ID")]
    pub message: MessageId,
    /// Ask only the one relay, for what it knows itself
    #[arg(long)]
    pub local: bool,
    /// Wait so long for other relays, 20s at the most [default: 2s]
    #[arg(long = "deadline", alias = "within", value_name = "DURATION", value_parser = values::positive_millis)]
    pub within: Option<Millis>,
}

/// Tells where a message is.
///
/// # Errors
/// When no relay has ever had it, or the asked one is not there.
pub async fn run(args: WhereArgs, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let message = MessageName {
        group: args.message.group().clone(),
        origin: args.message.origin().clone(),
        boot: args.message.boot(),
        nonce: args.message.nonce(),
        sequence: args.message.sequence(),
    };
    let mut found = ask::whereabouts(&client, message, args.local, args.within).await?;
    let after = in_order(&mut found);
    if context.is_text() {
        tell(&args.message, &found, &after, context)?;
    } else {
        context.out.json(&to_json(&args.message, &found, &after))?;
    }
    judge(&found)
}

/// A word for a record of the relays' own, and what such a record says.
fn own_words(own: OwnKind) -> (&'static str, &'static str) {
    match own {
        OwnKind::Genesis => ("genesis", "who was a member when the stream began"),
        OwnKind::Mark => ("mark", "who became a member of the group, or is one no more"),
        OwnKind::Seal => ("seal", "that the stream before it is whole"),
        OwnKind::Loss => ("loss", "what is lost"),
    }
}

/// What is known of it if it is no message but a record of the relays' own. Who has let it go may not know that.
fn own_record(found: &Whereabouts) -> Option<Option<OwnKind>> {
    let own = found.relays.iter().filter(|trace| trace.sighting == Sighting::OwnRecord);
    own.map(|trace| trace.own).max_by_key(Option::is_some)
}

/// Whether there is such a message, as far as anybody knows who has answered.
fn judge(found: &Whereabouts) -> Result<(), Failure> {
    if let Some(own) = own_record(found) {
        let what = own.map_or_else(String::new, |own| {
            let (word, says) = own_words(own);
            format!(": a {}, which says {says}", word.to_uppercase())
        });
        let sequence = found.message.sequence;
        return Err(Failure::Missing(format!(
            "sequence {sequence} of that stream is a record of the relays' own and no message{what}"
        )));
    }
    let is_there = |trace: &RelayTrace| match trace.sighting {
        Sighting::Unsynced
        | Sighting::Held { .. }
        | Sighting::Released
        | Sighting::Past
        | Sighting::Damaged
        | Sighting::Unfound => true,
        Sighting::NoGroup
        | Sighting::Removed
        | Sighting::NoStream
        | Sighting::NotYet { .. }
        | Sighting::OwnRecord => false,
    };
    if found.relays.iter().any(is_there) {
        return Ok(());
    }
    let is_any = |sighting: Sighting| found.relays.iter().any(|trace| trace.sighting == sighting);
    let name = &found.message;
    Err(Failure::Missing(if is_any(Sighting::Removed) {
        format!(
            "group `{}` was removed, and with it all that was known of message {}",
            name.group, name.sequence
        )
    } else {
        format!("no relay that has answered has had message {} of `{}`", name.sequence, name.group)
    }))
}

/// Puts the relays in the order of the message's way, each behind the one that it came from; gives
/// microseconds from the arrival there to the arrival here.
fn in_order(found: &mut Whereabouts) -> BTreeMap<RelayId, i128> {
    let mut rest = std::mem::take(&mut found.relays);
    let at = |trace: &RelayTrace| trace.arrived.as_ref().map_or(WallTime(u64::MAX), |arrived| arrived.from);
    rest.sort_by(|one, other| (at(one), &one.relay).cmp(&(at(other), &other.relay)));
    let mut after = BTreeMap::new();
    // The last one is the next to be written.
    let mut open: Vec<RelayTrace> = Vec::new();
    while !rest.is_empty() || !open.is_empty() {
        let Some(trace) = open.pop() else {
            // The origin, or one whose relay before has not answered: the first of them.
            let names: Vec<&RelayId> = rest.iter().map(|trace| &trace.relay).collect();
            let is_begin = |trace: &RelayTrace| before(trace).is_none_or(|from| !names.contains(&from));
            let first = rest.iter().position(is_begin).unwrap_or(0);
            open.push(rest.remove(first));
            continue;
        };
        let (mut next, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|other| before(other) == Some(&trace.relay));
        rest = others;
        for other in &next {
            if let Some((one, other_at)) = trace.arrived.as_ref().zip(other.arrived.as_ref()) {
                after.insert(other.relay.clone(), i128::from(other_at.from.0) - i128::from(one.from.0));
            }
        }
        next.reverse();
        open.extend(next);
        found.relays.push(trace);
    }
    after
}

/// The relay that a message came from.
fn before(trace: &RelayTrace) -> Option<&RelayId> {
    match trace.arrived.as_ref().map(|arrived| &arrived.over) {
        Some(Over::Link(neighbour)) => Some(neighbour),
        Some(Over::Here | Over::Unknown) | None => None,
    }
}

/// A word for programs, and words for people.
fn sighting(sighting: &Sighting) -> (&'static str, String) {
    match sighting {
        Sighting::NoGroup => ("no-group", "knows no such group".to_owned()),
        Sighting::Removed => ("removed", "the group was removed".to_owned()),
        Sighting::NoStream => ("no-stream", "has nothing of that boot of the origin".to_owned()),
        Sighting::NotYet { last } => ("not-yet", format!("has not got it: its copy ends at {last}")),
        Sighting::Unsynced => ("unsynced", "has it, not on disk yet".to_owned()),
        Sighting::Held { .. } => ("held", "on disk".to_owned()),
        Sighting::Released => ("released", "had it, and let it go".to_owned()),
        Sighting::Past => ("past", "had it, or needed it no more; which is forgotten".to_owned()),
        Sighting::Damaged => ("damaged", "its disk is damaged where it stands".to_owned()),
        Sighting::Unfound => ("unfound", "not found in time: there are many others".to_owned()),
        Sighting::OwnRecord => ("own-record", "no message: a record of the relays' own".to_owned()),
    }
}

/// A word for programs, and words for people.
fn fate(fate: &Fate) -> (&'static str, String) {
    match fate {
        Fate::Acked => ("acked", "delivered and acked".to_owned()),
        Fate::Done => ("done", "done: acked or passed over, which is forgotten".to_owned()),
        Fate::InFlight => ("in-flight", "delivered, not acked yet".to_owned()),
        Fate::Pending { ahead: 0 } => ("pending", "pending, the next one".to_owned()),
        Fate::Pending { ahead } => ("pending", format!("pending, {} before it", human::count(*ahead))),
        Fate::Again { attempts, due_ms } => {
            let due = if *due_ms == 0 { "now".to_owned() } else { format!("in {}", human::millis(*due_ms)) };
            let tried = human::of(u64::from(*attempts), "time");
            ("again", format!("delivered {tried} in vain, again {due}"))
        }
        Fate::Filtered => ("filtered", "not let through by its filter".to_owned()),
        Fate::BeforeStart => ("before-start", "put before the subscription began".to_owned()),
        Fate::Repeat => ("repeat", "a repeat: the same message came before by another origin".to_owned()),
        Fate::Expired => ("expired", "expired before it was delivered".to_owned()),
        Fate::Dropped(cause) => ("dropped", format!("dropped: {}", gap_words(*cause).1)),
        Fate::DeadLettered { reason, to } => {
            let why = match reason {
                DeadReason::MaxDeliver => "delivered as often as the group allows",
                DeadReason::Rejected => "rejected by the receiver",
            };
            let to = to.as_ref().map_or_else(|| "and dropped".to_owned(), |to| format!("moved to {to}"));
            ("dead-lettered", format!("dead letter: {why}, {to}"))
        }
        Fate::Skipped => ("skipped", "skipped: the subscription was moved past it".to_owned()),
        Fate::Aside => ("aside", "set aside until earlier messages of its producer have come".to_owned()),
        Fate::Unknown => (
            "unknown",
            "not known: it is forgotten there, or came with the subscription from another relay".to_owned(),
        ),
    }
}

/// The fate of one message in one subscription, for people.
fn words_of(SubscriptionTrace { fate: of, gone, .. }: &SubscriptionTrace) -> String {
    let words = if let Fate::Dropped(cause) = of { dropped(*cause) } else { fate(of).1 };
    match (gone, of == &Fate::Skipped, of == &Fate::Dropped(GapCause::Evicted)) {
        (true, true, _) => "not acked: the subscription was removed, or moved past it".to_owned(),
        (true, _, true) => "not acked: the subscription was over its quota and was removed".to_owned(),
        (true, ..) => format!("{words}; the subscription was removed since"),
        (false, ..) => words,
    }
}

/// Why one message was dropped; a gap says so of many.
fn dropped(cause: GapCause) -> String {
    match cause {
        GapCause::SubscriptionQuota => "dropped by the subscription's quota".to_owned(),
        GapCause::Retention => "dropped by the group's limits".to_owned(),
        GapCause::Damaged => "dropped: it was damaged on disk".to_owned(),
        GapCause::Expired => "dropped: its time to live was over".to_owned(),
        GapCause::Evicted | GapCause::Uncertain => fate(&Fate::Dropped(cause)).1,
    }
}

/// What the origin has heard of a relay that does not answer.
fn receipt<'f>(found: &'f Whereabouts, relay: &RelayId) -> Option<&'f ReceiptTrace> {
    let origin = found.relays.iter().find(|trace| trace.relay == found.message.origin)?;
    origin.receipts.iter().find(|receipt| receipt.member == *relay)
}

fn silent_words(found: &Whereabouts, silent: &SilentRelay) -> String {
    let why = if silent.is_reachable { "did not answer" } else { "cannot be reached" };
    let told = match receipt(found, &silent.relay) {
        Some(ReceiptTrace { consumed: true, .. }) => "; its receipt says: on disk, and all there are done",
        Some(ReceiptTrace { durable: true, .. }) => "; its receipt says: on disk",
        Some(_) => "; there is no receipt of it",
        None => "",
    };
    format!("{why}{told}")
}

fn tell(
    id: &MessageId,
    found: &Whereabouts,
    after: &BTreeMap<RelayId, i128>,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut facts = Facts::default();
    let is_own = own_record(found).is_some();
    facts.add(if is_own { "record" } else { "message" }, id.to_string());
    let accepted = found.relays.iter().find_map(|trace| trace.accepted);
    facts.add_some(if is_own { "written" } else { "accepted" }, accepted.map(human::timestamp));
    facts.write(&mut context.out)?;
    context.out.line("")?;
    relay_table(found, after, context).write(&mut context.out)?;
    let subscriptions = subscription_table(found);
    if !subscriptions.is_empty() {
        context.out.line("")?;
        subscriptions.write(&mut context.out)?;
    }
    if found.unaware > 0 {
        let others = human::of(u64::from(found.unaware), "more relay");
        context.notes.note(format_args!("{others} answered, and never had it."));
    }
    let left_off: u64 = found.relays.iter().map(|trace| u64::from(trace.left_off)).sum();
    if left_off + u64::from(found.left_off) > 0 {
        context.notes.warning(format_args!(
            "{} did not fit into the answer: ask their relays with --local",
            human::of(left_off + u64::from(found.left_off), "relay or subscription"),
        ));
    }
    if !after.is_empty() {
        context.notes.note("Times are those of each relay's own clock.");
    }
    Ok(())
}

fn relay_table(found: &Whereabouts, after: &BTreeMap<RelayId, i128>, context: &Context) -> Table {
    let mut table = Table::new(&[
        ("RELAY", Side::Left),
        ("FROM", Side::Left),
        ("ARRIVED", Side::Left),
        ("AFTER", Side::Right),
        ("STATE", Side::Left),
    ]);
    for trace in &found.relays {
        let from = match trace.arrived.as_ref().map(|arrived| &arrived.over) {
            Some(Over::Here) => "put here".to_owned(),
            Some(Over::Link(neighbour)) => neighbour.to_string(),
            Some(Over::Unknown) => "?".to_owned(),
            None => "-".to_owned(),
        };
        let arrived = trace.arrived.as_ref();
        let about = arrived.is_some_and(|arrived| arrived.from != arrived.to);
        let arrived = arrived.map_or_else(|| "-".to_owned(), |arrived| human::timestamp(arrived.from));
        let took = after.get(&trace.relay).map_or_else(String::new, |us| signed(*us));
        let about = if about { "~" } else { "" };
        let mut state = match trace.own {
            Some(own) => format!("no message: the relays' own record {}", own_words(own).0.to_uppercase()),
            None => sighting(&trace.sighting).1,
        };
        if trace.sighting == Sighting::Past
            && let Some(before) = trace.forgotten_before
        {
            state.push_str(&format!(" before {}", human::timestamp(before)));
        }
        table.row(vec![trace.relay.to_string(), from, format!("{about}{arrived}"), took, state]);
    }
    for silent in &found.silent {
        let state = context.out.bad(&silent_words(found, silent));
        table.row(vec![silent.relay.to_string(), "-".to_owned(), "-".to_owned(), String::new(), state]);
    }
    table
}

fn subscription_table(found: &Whereabouts) -> Table {
    let mut table = Table::new(&[("RELAY", Side::Left), ("SUBSCRIPTION", Side::Left), ("FATE", Side::Left)]);
    for trace in &found.relays {
        for subscription in &trace.subscriptions {
            let name = subscription.name.to_string();
            table.row(vec![trace.relay.to_string(), name, words_of(subscription)]);
        }
    }
    for silent in &found.silent {
        for name in &silent.subscriptions {
            let fate = match receipt(found, &silent.relay) {
                Some(ReceiptTrace { consumed: true, .. }) => "done, as its relay has said before",
                Some(ReceiptTrace { durable: true, .. }) => "not known; it is in its backlog, or was",
                Some(_) | None => "not known",
            };
            table.row(vec![silent.relay.to_string(), name.to_string(), fate.to_owned()]);
        }
    }
    table
}

/// Microseconds between two clocks: they may differ, so it may be less than nothing.
fn signed(us: i128) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    format!("{sign}{}", human::micros(u64::try_from(us.unsigned_abs()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
