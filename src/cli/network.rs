//! `treecast relay list`: every relay that the asked one knows of.

use serde_json::{Value, json};

use crate::wire::body::{Reach, RelayInfo};

use super::exit::Failure;
use super::out::Context;
use super::table::{Side, Table};
use super::{ask, human};

/// Characters of a data directory's id that tell it from others.
const STORAGE_CHARS: usize = 8;

/// Lists them.
///
/// # Errors
/// When the relay is not there.
pub(super) async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let relays = ask::all_relays(&client).await?;
    if !context.is_text() {
        return Ok(relays.iter().try_for_each(|relay| context.out.json(&to_json(relay)))?);
    }
    let mut table = Table::new(&[
        ("RELAY", Side::Left),
        ("REACHED", Side::Left),
        ("DISTANCE", Side::Right),
        ("LINKS UP", Side::Left),
        ("TRANSIT", Side::Left),
        ("STORAGE", Side::Left),
        ("BOOT", Side::Right),
    ]);
    for relay in &relays {
        let storage = relay.storage.map(|storage| storage.to_string().chars().take(STORAGE_CHARS).collect());
        table.row(vec![
            relay.relay.to_string(),
            reached(relay),
            distance(relay),
            links_up(relay),
            transit(relay),
            storage.unwrap_or_else(|| "-".to_owned()),
            relay.boot.map_or_else(|| "-".to_owned(), human::count),
        ]);
    }
    Ok(table.write(&mut context.out)?)
}

fn reached(relay: &RelayInfo) -> String {
    match &relay.reach {
        Reach::Here => "this relay".to_owned(),
        Reach::Over { next, .. } if *next == relay.relay => "directly".to_owned(),
        Reach::Over { next, .. } => format!("over {next}"),
        Reach::KeptBy(custodian) => format!("no, {custodian} keeps for it"),
        Reach::Lost => "no".to_owned(),
    }
}

/// What was heard last of one that cannot be reached says nothing of now.
fn links_up(relay: &RelayInfo) -> String {
    match &relay.reach {
        Reach::Here | Reach::Over { .. } => format!("{} of {}", relay.links_up, relay.links),
        Reach::KeptBy(_) | Reach::Lost => format!("- of {}", relay.links),
    }
}

fn distance(relay: &RelayInfo) -> String {
    match &relay.reach {
        Reach::Here => "0".to_owned(),
        Reach::Over { distance, .. } => human::count(u64::from(*distance)),
        Reach::KeptBy(_) | Reach::Lost => "-".to_owned(),
    }
}

fn transit(relay: &RelayInfo) -> String {
    if relay.storage.is_none() {
        return "-".to_owned();
    }
    let mut text = if relay.transit { "yes" } else { "no" }.to_owned();
    for (is_so, what) in [(relay.catching_up, ", catching up"), (relay.draining, ", draining")] {
        text.push_str(if is_so { what } else { "" });
    }
    text
}

fn to_json(relay: &RelayInfo) -> Value {
    let (reach, next, distance, custodian) = match &relay.reach {
        Reach::Here => ("here", None, Some(0), None),
        Reach::Over { next, distance } => ("reachable", Some(next), Some(*distance), None),
        Reach::KeptBy(custodian) => ("cut-off", None, None, Some(custodian)),
        Reach::Lost => ("cut-off", None, None, None),
    };
    let end = |end: &crate::wire::body::LinkEnd| json!({ "neighbour": end.neighbour, "cost": end.cost, "up": end.is_up });
    json!({
        "relay": relay.relay,
        "reach": reach,
        "next": next,
        "distance": distance,
        "custodian": custodian,
        "transit": relay.transit,
        "max_children": relay.max_children,
        "catching_up": relay.catching_up,
        "draining": relay.draining,
        "storage": relay.storage.map(|storage| storage.to_string()),
        "boot": relay.boot,
        "topology": relay.topology.map(|version| version.to_string()),
        "links_up": relay.links_up,
        "links_configured": relay.links,
        "links": relay.ends.iter().map(end).collect::<Vec<_>>(),
    })
}
