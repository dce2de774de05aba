//! What no two relays may have: an address, a key, and a data directory on one host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::super::Relay;
use super::super::address::{Address, Host};
use super::super::faults::{Code, Fault, Span};
use super::super::file::{Draft, Placed};
use super::super::read::Reader;
use crate::units::shorten;

/// A key whose values are to differ.
struct Part<'p> {
    code: Code,
    key: &'static str,
    /// What is compared.
    values: &'p dyn Fn(&Relay) -> Vec<String>,
    /// How it is shown.
    text: &'p dyn Fn(&Relay) -> Option<String>,
    /// What is told of it: how sure it is, and why.
    says: (&'static str, &'static str),
    /// Relays of which something worse is told.
    told: &'p BTreeSet<String>,
}

pub(super) fn check(reader: &mut Reader, draft: &Draft) {
    let (none, sure) = (BTreeSet::new(), ("is already", ""));
    let address = |relay: &Relay| Some(relay.address.to_string());
    let same = |relay: &Relay| vec![format!("{}:{}", host(&relay.address), relay.address.port())];
    let part = Part {
        code: Code::DuplicateAddress,
        key: "address",
        values: &same,
        text: &address,
        says: sure,
        told: &none,
    };
    let told = check_unique(reader, draft, &part);
    let perhaps = |relay: &Relay| {
        hosts(&relay.address).into_iter().map(|host| format!("{host}:{}", relay.address.port())).collect()
    };
    let says = ("may be", ": localhost is found as 127.0.0.1 or as ::1");
    let part = Part { code: Code::PerhapsOneAddress, values: &perhaps, says, told: &told, ..part };
    check_unique(reader, draft, &part);
    let key = |relay: &Relay| relay.key.map(|key| key.to_string());
    let keys = |relay: &Relay| key(relay).into_iter().collect();
    let part =
        Part { code: Code::DuplicateKey, key: "key", values: &keys, text: &key, says: sure, told: &none };
    check_unique(reader, draft, &part);
    let places = |relay: &Relay| {
        let Some(data) = &relay.data else { return Vec::new() };
        let data = plain(data);
        hosts(&relay.address).into_iter().map(|host| format!("{host} {}", data.display())).collect()
    };
    let data = |relay: &Relay| relay.data.as_ref().map(|data| data.display().to_string());
    let says = ("is already", ", at the same host");
    let part = Part { code: Code::SharedData, key: "data", values: &places, text: &data, says, told: &none };
    check_unique(reader, draft, &part);
}

/// The host that an address names, in one spelling.
fn host(address: &Address) -> String {
    match address.host() {
        Host::Name(name) => name.clone(),
        Host::Ip(ip) => ip.to_canonical().to_string(),
    }
}

/// Hosts at which it may be that somebody listens who listens there: as which of the two the name of this machine
/// is found is seen at the start alone.
fn hosts(address: &Address) -> Vec<String> {
    match host(address) {
        name if name == LOCALHOST => vec!["127.0.0.1".to_owned(), "::1".to_owned()],
        host => vec![host],
    }
}

const LOCALHOST: &str = "localhost";

fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// No two relays have the same value of a key. Gives those that have one that another one before them has.
fn check_unique(reader: &mut Reader, draft: &Draft, part: &Part<'_>) -> BTreeSet<String> {
    let Part { code, key, values, text, says, told } = *part;
    let place = |relay: &Placed<Relay>| relay.part(key).map(|span| span.start);
    let mut relays: Vec<_> = draft.relays.iter().filter(|relay| relay.part(key).is_some()).collect();
    relays.sort_by_key(|relay| place(relay));
    let mut first: BTreeMap<String, (&str, Span)> = BTreeMap::new();
    let mut clashing = BTreeSet::new();
    for relay in relays {
        let (Some(text), Some(at)) = (text(&relay.value), relay.part(key)) else { continue };
        let values = values(&relay.value);
        let known = values.iter().find_map(|value| first.get(value));
        if let Some((other, there)) = known.filter(|_| !told.contains(&relay.value.name)) {
            let (verb, reason) = says;
            let (name, other, line) = (shorten(&relay.value.name), shorten(other), reader.line_of(*there));
            let message = format!(
                "{key} {text:?} of relay {name:?} {verb} that of relay {other:?} (line {line}){reason}",
            );
            reader.fault(Fault::new(code, message), at);
            clashing.insert(relay.value.name.clone());
        }
        for value in values {
            // Of one that is told the others of its hosts are remembered as well.
            first.entry(value).or_insert((relay.value.name.as_str(), at));
        }
    }
    clashing
}
