//! What no two relays may have: an address, a key, and a data directory on one host.

use std::collections::BTreeMap;
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
}

pub(super) fn check(reader: &mut Reader, draft: &Draft) {
    let address = |relay: &Relay| {
        hosts(&relay.address).into_iter().map(|host| format!("{host}:{}", relay.address.port())).collect()
    };
    let text = |relay: &Relay| Some(relay.address.to_string());
    check_unique(
        reader,
        draft,
        &Part { code: Code::DuplicateAddress, key: "address", values: &address, text: &text },
    );
    let key = |relay: &Relay| relay.key.map(|key| key.to_string());
    let keys = |relay: &Relay| key(relay).into_iter().collect();
    check_unique(reader, draft, &Part { code: Code::DuplicateKey, key: "key", values: &keys, text: &key });
    let data = |relay: &Relay| {
        let Some(data) = &relay.data else { return Vec::new() };
        let data = plain(data);
        hosts(&relay.address).into_iter().map(|host| format!("{host} {}", data.display())).collect()
    };
    let text = |relay: &Relay| relay.data.as_ref().map(|data| data.display().to_string());
    check_unique(reader, draft, &Part { code: Code::SharedData, key: "data", values: &data, text: &text });
}

/// Hosts at which somebody listens who listens there: which of the two the name of this machine is found as is
/// seen at the start alone.
fn hosts(address: &Address) -> Vec<String> {
    match address.host() {
        Host::Name(name) if name == "localhost" => vec!["127.0.0.1".to_owned(), "::1".to_owned()],
        Host::Name(name) => vec![name.clone()],
        Host::Ip(ip) => vec![ip.to_canonical().to_string()],
    }
}

fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// No two relays have the same value of a key.
fn check_unique(reader: &mut Reader, draft: &Draft, part: &Part<'_>) {
    let Part { code, key, values, text } = *part;
    let place = |relay: &Placed<Relay>| relay.part(key).map(|span| span.start);
    let mut relays: Vec<_> = draft.relays.iter().filter(|relay| relay.part(key).is_some()).collect();
    relays.sort_by_key(|relay| place(relay));
    let mut first: BTreeMap<String, (&str, Span)> = BTreeMap::new();
    for relay in relays {
        let (Some(text), Some(at)) = (text(&relay.value), relay.part(key)) else { continue };
        let values = values(&relay.value);
        if let Some((other, there)) = values.iter().find_map(|value| first.get(value)) {
            let (name, line) = (shorten(&relay.value.name), reader.line_of(*there));
            let on_one_host = if code == Code::SharedData { ", at the same host" } else { "" };
            let message = format!(
                "{key} {text:?} of relay {name:?} is already that of relay {:?} (line {line}){on_one_host}",
                shorten(other)
            );
            reader.fault(Fault::new(code, message), at);
        } else {
            first.extend(values.into_iter().map(|value| (value, (relay.value.name.as_str(), at))));
        }
    }
}
