//! The subscriptions of a group. Of one whose home cannot be asked, what every relay knows of it.

use serde_json::{Value, json};

use super::{moving, to_json};
use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::out::Context;
use crate::cli::silent::{self, Silent};
use crate::cli::table::{Side, Table};
use crate::id::{GroupName, RelayId};
use crate::wire::body::SubscriptionInfo;

/// One of the list.
enum Row<'l> {
    Told(&'l SubscriptionInfo),
    Silent(&'l Silent),
}

impl Row<'_> {
    fn place(&self) -> (&str, &RelayId) {
        match self {
            Self::Told(info) => (info.name.as_str(), &info.home),
            Self::Silent(silent) => (silent.name(), &silent.location.home),
        }
    }

    fn moves(&self) -> Option<String> {
        if let Self::Told(info) = self { moving::word(info) } else { None }
    }

    /// The words under these heads: name, numbers, filter, home.
    fn cells(&self) -> Vec<String> {
        let none = || "-".to_owned();
        let (shared, numbers, filter) = match self {
            Self::Told(info) => {
                let (receivers, acked) = (u64::from(info.receivers), info.out.acked);
                let numbers = [info.backlog, info.in_flight, info.parked, receivers, acked];
                (info.shared, numbers.map(human::count), &info.filter)
            }
            Self::Silent(silent) => {
                let at = &silent.location;
                (at.shared == Some(true), std::array::from_fn(|_| none()), &at.filter)
            }
        };
        let (name, home) = self.place();
        let mut cells = vec![format!("{name}{}", if shared { " (shared)" } else { "" })];
        cells.extend(numbers);
        cells.extend([filter.clone().unwrap_or_else(none), home.to_string()]);
        cells
    }

    fn json(&self) -> Value {
        let (mut value, state) = match self {
            Self::Told(info) => (to_json(info), "home-reached"),
            Self::Silent(silent) => (unknown(silent), silent.state().0),
        };
        if let Some(fields) = value.as_object_mut() {
            fields.insert("state".to_owned(), json!(state));
        }
        value
    }
}

/// As [`to_json`], of one that only its home could tell of.
fn unknown(silent: &Silent) -> Value {
    let at = &silent.location;
    json!({
        "group": at.group,
        "subscription": silent.name(),
        "home": at.home,
        "shared": at.shared,
        "filter": at.filter,
        "window": null,
        "floor": null,
        "next": null,
        "backlog": null,
        "in_flight": null,
        "parked": null,
        "aside": null,
        "receivers": null,
        "inserted": null,
        "held_own": null,
        "out": null,
        "moving": null,
        "comes_from": null,
        "also_at": null,
    })
}

/// All of them in order of their names, and a warning for each of which no more can be told.
pub(super) fn write(
    (all, silent): (&[SubscriptionInfo], &[Silent]),
    group: &GroupName,
    context: &mut Context,
) -> Result<(), Failure> {
    silent::warn(silent, group, context);
    let mut rows: Vec<Row<'_>> = all.iter().map(Row::Told).chain(silent.iter().map(Row::Silent)).collect();
    rows.sort_by(|one, other| one.place().cmp(&other.place()));
    if !context.is_text() {
        return Ok(rows.iter().try_for_each(|row| context.out.json(&row.json()))?);
    }
    if rows.is_empty() {
        context.notes.note(format_args!("{group} has no subscription"));
    }
    let moves = rows.iter().any(|row| row.moves().is_some());
    let mut heads = vec![
        ("SUBSCRIPTION", Side::Left),
        ("BACKLOG", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("PARKED", Side::Right),
        ("RECEIVERS", Side::Right),
        ("ACKED", Side::Right),
        ("FILTER", Side::Left),
        ("HOME", Side::Left),
    ];
    // There is seldom one.
    heads.extend(moves.then_some(("MOVES", Side::Left)));
    heads.extend((!silent.is_empty()).then_some(("STATE", Side::Left)));
    let mut table = Table::new(&heads);
    for row in &rows {
        let mut cells = row.cells();
        cells.extend(moves.then(|| row.moves().unwrap_or_else(|| "-".to_owned())));
        if let Row::Silent(silent) = row {
            cells.push(silent.state().1.to_owned());
        } else {
            cells.extend((!silent.is_empty()).then(|| "-".to_owned()));
        }
        table.row(cells);
    }
    Ok(table.write(&mut context.out)?)
}
