//! How the parts of a topology fit together: what no single line shows.

mod unique;

use std::collections::{BTreeMap, BTreeSet};

use super::Cost;
use super::faults::{Code, Fault, Span};
use super::file::Draft;
use super::read::Reader;
use super::setting::SETTING_KEYS;
use super::settings::{Fifo, GroupSettings, SettingsFault};
use crate::limits;
use crate::units::{format_duration, format_size, shorten};

/// Adds everything that is wrong between the parts of `draft`. Where lines are not TOML, only what is wrong whatever
/// was meant by them.
pub(super) fn check(reader: &mut Reader, draft: &Draft) {
    let is_whole = reader.is_whole();
    if is_whole && draft.relays.is_empty() && draft.unread.is_empty() {
        let fault = Fault::new(Code::MissingKey, "the file has no relay, must have at least one");
        reader.fault(fault.suggest(Some("write [relay.NAME]".to_owned())), 0..0);
    }
    let links_are_right = check_links(reader, draft);
    if !reader.is_trusted() {
        return;
    }
    unique::check(reader, draft);
    // Where a link is wrong or missing, what it should have joined is no island.
    let is_known = is_whole && links_are_right && !draft.is_partial && draft.unread.is_empty();
    let far = if is_known { unreachable_relays(draft) } else { BTreeSet::new() };
    if !draft.allow_islands {
        check_islands(reader, draft, &far);
    }
    check_homes(reader, draft, &far);
    check_leaves(reader, draft);
    check_names(reader, draft);
    for (_, group) in groups(draft) {
        check_settings(reader, &group);
        if is_whole {
            check_effect(reader, &group);
        }
    }
    check_dead_letters(reader, draft);
    check_dead_letter_order(reader, draft);
}

/// A group, be it written as a group or as a queue.
struct AnyGroup<'d> {
    kind: &'static str,
    name: &'d str,
    settings: &'d GroupSettings,
    at: Span,
    parts: &'d [(String, Span)],
}

impl AnyGroup<'_> {
    /// Where the value of `key` stands, else the name.
    fn place(&self, key: &str) -> Span {
        self.parts.iter().find(|(part, _)| part == key).map_or(self.at, |(_, span)| *span)
    }

    fn has(&self, key: &str) -> bool {
        self.parts.iter().any(|(part, _)| part == key)
    }

    /// What messages call it.
    fn shown(&self) -> String {
        format!("{} {:?}", self.kind, shorten(self.name))
    }
}

/// All groups and queues by name. Of two with one name the group.
fn groups(draft: &Draft) -> BTreeMap<&str, AnyGroup<'_>> {
    let queues = draft.queues.iter().map(|placed| AnyGroup {
        kind: "queue",
        name: &placed.value.name,
        settings: &placed.value.settings,
        at: placed.at,
        parts: &placed.parts,
    });
    let groups = draft.groups.iter().map(|placed| AnyGroup {
        kind: "group",
        name: &placed.value.name,
        settings: &placed.value.settings,
        at: placed.at,
        parts: &placed.parts,
    });
    queues.chain(groups).map(|group| (group.name, group)).collect()
}

/// Links join two different relays of the file, no two links the same ones.
/// Returns whether all do.
fn check_links(reader: &mut Reader, draft: &Draft) -> bool {
    let relays = draft.relays.iter().map(|relay| relay.value.name.as_str());
    let names: BTreeSet<&str> = relays.chain(draft.unread.iter().map(String::as_str)).collect();
    let mut first: BTreeMap<[&str; 2], Span> = BTreeMap::new();
    let mut all_right = true;
    for link in &draft.links {
        let [from, to] = &link.value.between;
        for (name, part) in [(from, "from"), (to, "to")] {
            if !names.contains(name.as_str()) {
                all_right = false;
                if !reader.knows_relays() {
                    continue;
                }
                let message = format!("link to relay {:?}, which is not in the file", shorten(name));
                let advice = reader.likely_or_known(name, names.iter().copied());
                let at = link.part(part).unwrap_or(link.at);
                reader.fault(Fault::new(Code::UnknownRelay, message).suggest(advice), at);
            }
        }
        let at = link.part("to").unwrap_or(link.at);
        if reader.is_broken_at(Span { start: link.part("from").unwrap_or(at).start, end: at.end }) {
            continue;
        }
        let pair = if from <= to { [from.as_str(), to] } else { [to.as_str(), from] };
        if from == to {
            all_right = false;
            let message = format!("link from relay {:?} to itself, must join two relays", shorten(from));
            reader.fault(Fault::new(Code::SelfLink, message), at);
        } else if let Some(there) = first.get(&pair) {
            let (from, to, line) = (shorten(from), shorten(to), reader.line_of(*there));
            let message = format!("relays {from:?} and {to:?} already have a link (line {line})");
            let advice = "remove one of the two".to_owned();
            reader.fault(Fault::new(Code::DuplicateLink, message).suggest(Some(advice)), at);
        } else {
            first.insert(pair, at);
        }
    }
    all_right
}

/// The relays, by place in the draft, that the largest part of the network
/// cannot reach. As in routing a relay that is no transit is a leaf of the part
/// that its cheapest link leads to, and of no other.
fn unreachable_relays(draft: &Draft) -> BTreeSet<usize> {
    let neighbours = neighbours(draft);
    let is_transit = |at: &usize| draft.relays[*at].value.transit;
    let all = 0..draft.relays.len();
    let mut parts: Vec<BTreeSet<usize>> = Vec::new();
    let mut part_of: BTreeMap<usize, usize> = BTreeMap::new();
    for start in all.clone().filter(is_transit) {
        if !part_of.contains_key(&start) {
            let part = reach(start, &neighbours, is_transit);
            part_of.extend(part.iter().map(|&at| (at, parts.len())));
            parts.push(part);
        }
    }
    for leaf in all.clone().filter(|at| !is_transit(at)) {
        let transit = neighbours[leaf].iter().filter(|(_, other)| is_transit(other));
        let nearest = transit.min_by_key(|(cost, other)| (*cost, &draft.relays[*other].value.name));
        if let Some(part) = nearest.and_then(|(_, other)| part_of.get(other)) {
            parts[*part].insert(leaf);
        }
    }
    // Of equal parts the first.
    let best = parts.into_iter().rev().max_by_key(BTreeSet::len).unwrap_or_else(|| {
        // Nobody passes anything on: at best two reach each other.
        let linked = all.clone().find_map(|at| Some([at, neighbours[at].first()?.1]));
        linked.map_or_else(|| all.clone().take(1).collect(), BTreeSet::from)
    });
    all.filter(|at| !best.contains(at)).collect()
}

/// The relays that each one has a link to, by place in the draft, with what the link costs.
fn neighbours(draft: &Draft) -> Vec<Vec<(u32, usize)>> {
    let index: BTreeMap<&str, usize> =
        draft.relays.iter().enumerate().map(|(at, relay)| (relay.value.name.as_str(), at)).collect();
    let mut neighbours = vec![Vec::new(); draft.relays.len()];
    for link in &draft.links {
        let cost = match link.value.cost {
            Cost::Fixed(cost) => cost,
            Cost::Rtt => limits::LINK_COST_UNMEASURED,
        };
        let [from, to] = &link.value.between;
        if let (Some(&from), Some(&to)) = (index.get(from.as_str()), index.get(to.as_str())) {
            neighbours[from].push((cost, to));
            neighbours[to].push((cost, from));
        }
    }
    neighbours
}

/// All transit relays that can be reached from `start` through others.
fn reach(
    start: usize,
    neighbours: &[Vec<(u32, usize)>],
    is_transit: impl Fn(&usize) -> bool,
) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        let next = neighbours[at].iter().map(|(_, next)| *next).filter(&is_transit);
        open.extend(next.filter(|next| reached.insert(*next)));
    }
    reached
}

fn check_islands(reader: &mut Reader, draft: &Draft, far: &BTreeSet<usize>) {
    const SHOWN_MAX: usize = 5;
    let relays = || far.iter().filter_map(|at| draft.relays.get(*at));
    let Some(first) = relays().min_by_key(|relay| relay.at.start) else { return };
    let mut shown: Vec<String> =
        relays().take(SHOWN_MAX).map(|relay| format!("{:?}", shorten(&relay.value.name))).collect();
    if far.len() > SHOWN_MAX {
        shown.push(format!("{} more", far.len() - SHOWN_MAX));
    }
    let what = if far.len() == 1 { "relay" } else { "relays" };
    let message = format!("{what} {} cannot be reached by the rest of the network", shown.join(", "));
    let linked = draft.links.iter().any(|link| link.value.between.contains(&first.value.name));
    let advice = if linked && draft.relays.iter().any(|relay| !relay.value.transit) {
        "a relay with transit = false passes nothing on; add a [[link]], or write allow_islands = true"
    } else {
        "add a [[link]], or write allow_islands = true if it is meant"
    };
    reader.fault(Fault::new(Code::Islands, message).suggest(Some(advice.to_owned())), first.at);
}

/// The home of every queue is in the file and can be reached.
fn check_homes(reader: &mut Reader, draft: &Draft, far: &BTreeSet<usize>) {
    let index: BTreeMap<&str, usize> =
        draft.relays.iter().enumerate().map(|(at, relay)| (relay.value.name.as_str(), at)).collect();
    for queue in &draft.queues {
        let Some(at) = queue.part("home") else { continue };
        let (name, home) = (shorten(&queue.value.name), shorten(&queue.value.home));
        match index.get(queue.value.home.as_str()) {
            None if draft.unread.contains(&queue.value.home) || !reader.knows_relays() => {}
            None => {
                let message = format!("home of queue {name:?} is relay {home:?}, which is not in the file");
                let advice = reader.likely_or_known(&queue.value.home, index.keys().copied());
                reader.fault(Fault::new(Code::UnknownHome, message).suggest(advice), at);
            }
            // Also where islands are meant: that a queue is on one of them hardly is.
            Some(_) if !far.is_empty() => {
                let message =
                    format!("home of queue {name:?} is relay {home:?}, which not all relays can reach");
                let advice = "messages put elsewhere wait until a link leads there".to_owned();
                reader.fault(Fault::new(Code::UnreachableHome, message).suggest(Some(advice)), at);
            }
            Some(_) => {}
        }
    }
}

/// A leaf of all trees has no children of which it could want fewer.
fn check_leaves(reader: &mut Reader, draft: &Draft) {
    for relay in draft.relays.iter().filter(|relay| !relay.value.transit) {
        if let Some(at) = relay.part("max_children") {
            let name = shorten(&relay.value.name);
            let message = format!("max_children of relay {name:?} has no effect with transit = false");
            reader.fault(Fault::new(Code::NoEffect, message), at);
        }
    }
}

/// A queue is a group too, so they share one set of names.
fn check_names(reader: &mut Reader, draft: &Draft) {
    let groups: BTreeMap<&str, Span> =
        draft.groups.iter().map(|group| (group.value.name.as_str(), group.at)).collect();
    for queue in &draft.queues {
        if let Some(there) = groups.get(queue.value.name.as_str()) {
            let (name, line) = (shorten(&queue.value.name), reader.line_of(*there));
            let message = format!("queue {name:?} has the name of a group (line {line})");
            let advice = "a queue takes the settings of a group itself: write them here".to_owned();
            reader.fault(Fault::new(Code::NameTaken, message).suggest(Some(advice)), queue.at);
        }
    }
}

/// The values of one group are within their ranges.
fn check_settings(reader: &mut Reader, group: &AnyGroup<'_>) {
    for fault in group.settings.check(group.name) {
        let key = SETTING_KEYS.iter().find(|(_, field)| *field == fault.field()).map_or("", |(key, _)| *key);
        let (code, why) = match &fault {
            SettingsFault::OutOfRange { field, found, least, most } => {
                let show = |value: u64| show_setting(field, value);
                let why = format!("is {}, must be {} to {}", show(*found), show(*least), show(*most));
                (Code::BadValue, why)
            }
            SettingsFault::TooManySteps { found } => {
                let most = super::settings::BACKOFF_STEPS_MAX;
                (Code::BadValue, format!("has {found} steps, must be at most {most}"))
            }
            SettingsFault::DeadLetterToItself => {
                (Code::DeadLetterLoop, "is the group itself, must be another one".to_owned())
            }
        };
        let message = format!("{key} of {} {why}", group.shown());
        reader.fault(Fault::new(code, message), group.place(key));
    }
}

/// A value of a [`GroupSettings`] field as the file writes it.
pub(super) fn show_setting(field: &str, value: u64) -> String {
    if field.ends_with("_ms") {
        return format_duration(std::time::Duration::from_millis(value));
    }
    if field.ends_with("_bytes") { format_size(value) } else { value.to_string() }
}

/// Settings that act only together with another one have it.
fn check_effect(reader: &mut Reader, group: &AnyGroup<'_>) {
    let settings = group.settings;
    let subscription_quota = group.has("subscription_quota_bytes") || group.has("subscription_quota_count");
    let longer = |history: Option<u64>, most: Option<u64>| {
        history.zip(most).is_some_and(|(history, most)| history > most)
    };
    let quota = group.has("quota_bytes") || group.has("quota_count");
    let cases = [
        (
            "producer_hold",
            settings.producer_hold_ms.is_some() && settings.fifo != Fifo::Producer,
            "without fifo = \"producer\"",
        ),
        ("quota_policy", group.has("quota_policy") && !quota, "without quota_bytes or quota_count"),
        (
            "subscription_quota_policy",
            group.has("subscription_quota_policy") && !subscription_quota,
            "without subscription_quota_bytes or subscription_quota_count",
        ),
        ("history_age", longer(settings.history_age_ms, settings.max_age_ms), "beyond max_age"),
        ("history_bytes", longer(settings.history_bytes, settings.max_bytes), "beyond max_bytes"),
        ("history_count", longer(settings.history_count, settings.max_count), "beyond max_count"),
    ];
    for (key, _, when) in cases.into_iter().filter(|(_, applies, _)| *applies) {
        let message = format!("{key} of {} has no effect {when}", group.shown());
        reader.fault(Fault::new(Code::NoEffect, message), group.place(key));
    }
}

/// Dead letters never come back to the group they left, whatever way they go.
fn check_dead_letters(reader: &mut Reader, draft: &Draft) {
    let groups = groups(draft);
    let next = |name: &str| groups.get(name).and_then(|group| group.settings.dead_letter.as_deref());
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for &start in groups.keys() {
        let mut way: Vec<&str> = Vec::new();
        let mut on_way: BTreeSet<&str> = BTreeSet::new();
        let mut at = Some(start);
        while let Some(name) = at.filter(|name| !done.contains(name)) {
            if !on_way.insert(name) {
                let begin = way.iter().position(|other| *other == name).unwrap_or(0);
                report_loop(reader, &groups, &way[begin..]);
                break;
            }
            way.push(name);
            at = next(name);
        }
        done.extend(way);
    }
}

/// Dead letters have no order of producers, so no group that takes them waits for one.
fn check_dead_letter_order(reader: &mut Reader, draft: &Draft) {
    let groups = groups(draft);
    let mut sources: BTreeMap<&str, &AnyGroup<'_>> = BTreeMap::new();
    for group in groups.values() {
        if let Some(target) = group.settings.dead_letter.as_deref() {
            sources.entry(target).or_insert(group);
        }
    }
    for (target, source) in sources {
        let Some(group) = groups.get(target).filter(|group| group.settings.fifo == Fifo::Producer) else {
            continue;
        };
        let message = format!(
            "fifo of {} is \"producer\", must be \"origin\": it takes the dead letters of {}",
            group.shown(),
            source.shown()
        );
        let advice = "dead letters have no order of producers, and each would wait for others";
        let fault = Fault::new(Code::DeadLetterOrder, message).suggest(Some(advice.to_owned()));
        reader.fault(fault, group.place("fifo"));
    }
}

fn report_loop(reader: &mut Reader, groups: &BTreeMap<&str, AnyGroup<'_>>, names: &[&str]) {
    // A group that names itself is reported with its settings.
    let [first, through @ ..] = names else { return };
    let Some(group) = groups.get(first).filter(|_| !through.is_empty()) else { return };
    let through: Vec<String> = through.iter().take(8).map(|name| format!("{:?}", shorten(name))).collect();
    let message = format!("dead letters of {} come back through {}", group.shown(), through.join(", "));
    reader.fault(Fault::new(Code::DeadLetterLoop, message), group.place("dead_letter"));
}
