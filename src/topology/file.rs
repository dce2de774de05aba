//! The shape of the topology file: which tables and keys there are, and what
//! each of them means.
//!
//! The tree that the TOML parser leaves is walked by hand, since all faults
//! are reported in one go: a wrong value is noted, left out, and the walk goes
//! on. What comes out is a [`Draft`] with the place of everything; `check` then
//! looks at how its parts fit together.
//!
//! Version history: 1, the first.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::address::Address;
use super::faults::{Code, Fault, Span};
use super::key::PublicKey;
use super::name::check_name;
use super::read::{Field, LINK_ADVICE, Reader, Value, describe};
use super::setting::{SETTING_KEYS, read_setting};
use super::settings::GroupSettings;
use super::site::read_site;
use super::{Cost, Group, Link, Queue, Relay};
use crate::limits;
use crate::units::shorten;

/// The version of the file that is written and read.
pub const VERSION: u64 = 1;
/// The longest file that is read: 4 MiB, more than a file that can be applied may have.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// The greatest cost of a link.
pub const COST_MAX: u32 = 1_000_000;
/// The cost of a link that has none written: every hop counts the same.
pub const COST_DEFAULT: Cost = Cost::Fixed(1);
/// The greatest number of children that may be set.
pub const MAX_CHILDREN_MAX: u32 = 65_535;
/// The pause between hellos on a link when the file does not say.
pub const HELLO_DEFAULT: Duration = Duration::from_millis(100);
/// The shortest pause between hellos: below it they cost more than they tell.
pub const HELLO_MIN: Duration = Duration::from_millis(10);
/// The longest pause between hellos: three of them must pass before a dead
/// link is noticed.
pub const HELLO_MAX: Duration = Duration::from_secs(60);
/// The shortest time for which a relay remembers what became of messages.
pub const TRACE_RETENTION_MIN: Duration = Duration::from_millis(limits::TRACE_RETENTION_MS_MIN);
/// The longest one.
pub const TRACE_RETENTION_MAX: Duration = Duration::from_millis(limits::TRACE_RETENTION_MS_MAX);
/// The lowest rate of a link: below it a hello no longer fits.
pub const RATE_MIN: u64 = 1_000;

// What a link may be given its other end waits for.
const _: () = assert!(RATE_MIN >= limits::LINK_FRAME_BYTES_PER_SECOND_MIN);

const FILE_KEYS: &[&str] = &["version", "allow_islands", "insecure", "relay", "link", "group", "queue"];
const RELAY_KEYS: &[&str] = &[
    "address",
    "data",
    "transit",
    "max_children",
    "key",
    "segment_bytes",
    "reserve_bytes",
    "at",
    "trace_retention",
];
const LINK_KEYS: &[&str] = &["between", "cost", "rate", "hello"];

/// Every key that there is.
#[cfg(test)]
pub(super) fn keys() -> Vec<&'static str> {
    let settings = SETTING_KEYS.iter().map(|(key, _)| *key);
    let fixed = [FILE_KEYS, RELAY_KEYS, LINK_KEYS].into_iter().flatten().copied();
    fixed.chain(settings).chain(["home"]).collect()
}

/// Something from the file and where it and its parts stand.
pub(super) struct Placed<T> {
    pub(super) value: T,
    /// The name, or the whole of what has none.
    pub(super) at: Span,
    /// The values that were read well, by key.
    pub(super) parts: Vec<(String, Span)>,
}

impl<T> Placed<T> {
    fn new(value: T, at: Span) -> Self {
        Self { value, at, parts: Vec::new() }
    }

    /// Where the value of `key` stands, if it was written and could be read.
    pub(super) fn part(&self, key: &str) -> Option<Span> {
        self.parts.iter().find(|(part, _)| part == key).map(|(_, span)| *span)
    }

    /// Notes the place of a value that was read well.
    fn keep<V>(&mut self, key: &str, value: &Value<'_>, read: Option<V>) -> Option<V> {
        if read.is_some() {
            self.parts.push((key.to_owned(), value.span().into()));
        }
        read
    }
}

/// What the file says, part by part.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) allow_islands: bool,
    /// A link was left out, so what reaches what is not known.
    pub(super) is_partial: bool,
    pub(super) insecure: bool,
    pub(super) relays: Vec<Placed<Relay>>,
    /// Names of relays that are in the file and are no tables.
    pub(super) unread: Vec<String>,
    pub(super) links: Vec<Placed<Link>>,
    pub(super) groups: Vec<Placed<Group>>,
    pub(super) queues: Vec<Placed<Queue>>,
}

/// Reads the file. Whatever is wrong is in `reader` afterwards.
pub(super) fn read(reader: &mut Reader, text: &str) -> Draft {
    let mut draft = Draft::default();
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file is {} bytes long, must be at most {TEXT_BYTES_MAX}", text.len());
        reader.fault(Fault::new(Code::TooLarge, message), 0..0);
        reader.set_foreign();
        return draft;
    }
    let mut sound = Default::default();
    let root = reader.tree(text, &mut sound);
    if read_version(reader, &root) {
        read_root(reader, &root, &mut draft);
    } else {
        reader.set_foreign();
    }
    draft
}

/// Whether the file has a version that this relay reads. Of another version
/// nothing else is judged: its keys may mean something else.
fn read_version(reader: &mut Reader, root: &DeTable<'_>) -> bool {
    let Some(value) = root.get("version") else {
        if reader.is_whole() {
            let message = format!("the file has no version, must be {VERSION}");
            let advice = format!("write version = {VERSION} in the first line");
            reader.fault(Fault::new(Code::UnsupportedVersion, message).suggest(Some(advice)), 0..0);
        }
        return true;
    };
    let number = value.get_ref().as_integer();
    if number.is_some_and(|number| number.to_string() == VERSION.to_string()) {
        return true;
    }
    let message = format!("version of the file is {}, must be {VERSION}", describe(value.get_ref()));
    let advice = match number {
        Some(_) => "a file of a later version needs a later relay".to_owned(),
        None => format!("write version = {VERSION}"),
    };
    reader.fault(Fault::new(Code::UnsupportedVersion, message).suggest(Some(advice)), value.span());
    number.is_none()
}

fn read_root(reader: &mut Reader, root: &DeTable<'_>, draft: &mut Draft) {
    for (key, value) in root {
        let field = Field { key: key.get_ref(), of: "the file", at: key.span().into() };
        match field.key {
            "version" => {}
            "allow_islands" => draft.allow_islands = reader.flag(field, value).unwrap_or_default(),
            "insecure" => draft.insecure = reader.flag(field, value).unwrap_or_default(),
            "relay" => {
                draft.unread = read_named(reader, field, value, |reader, section| {
                    draft.relays.push(read_relay(reader, section));
                });
            }
            "link" => read_links(reader, field, value, draft),
            "group" => {
                read_named(reader, field, value, |reader, section| {
                    draft.groups.push(read_group(reader, section));
                });
            }
            "queue" => {
                read_named(reader, field, value, |reader, section| {
                    draft.queues.push(read_queue(reader, section));
                });
            }
            _ => reader.unknown_key(field, FILE_KEYS),
        }
    }
}

/// One table with a name: `[kind.name]`.
struct Section<'s, 't> {
    kind: &'s str,
    name: &'s str,
    /// What messages call it.
    of: String,
    at: Span,
    table: &'s DeTable<'t>,
}

/// Walks the tables of one kind, checking their names. Returns the names of what is no table.
fn read_named(
    reader: &mut Reader,
    field: Field<'_>,
    value: &Value<'_>,
    mut each: impl FnMut(&mut Reader, &Section<'_, '_>),
) -> Vec<String> {
    let kind = field.key;
    let mut unread = Vec::new();
    let Some(tables) = reader.table(field, value, &format!("write [{kind}.NAME]")) else { return unread };
    for (key, value) in tables {
        let name: &str = key.get_ref();
        let at = key.span().into();
        let of = format!("{kind} {:?}", shorten(name));
        check_name_of(reader, &of, name, at);
        let header = Field { key: &of, of: "the file", at };
        let Some(table) = reader.table(header, value, &format!("write [{kind}.{}]", toml_key(name))) else {
            unread.push(name.to_owned());
            continue;
        };
        each(reader, &Section { kind, name, of, at, table });
    }
    unread
}

pub(super) fn check_name_of(reader: &mut Reader, of: &str, name: &str, at: Span) {
    if let Err(fault) = check_name(name) {
        let message = format!("name of {of} {fault}");
        reader.fault(Fault::new(Code::BadName, message).suggest(fault.suggestion(name)), at);
    }
}

/// A key as it is written in a table header.
fn toml_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{:?}", shorten(name)) }
}

/// Adds the fault that `key` is unknown in `section`. A table there means that
/// the name has levels and lacks its quotes.
fn unknown_key(
    reader: &mut Reader,
    section: &Section<'_, '_>,
    field: Field<'_>,
    value: &Value<'_>,
    known: &[&str],
) {
    if value.get_ref().is_table() {
        let name = format!("{}/{}", section.name, field.key);
        let advice = format!("a name with levels is one quoted key: [{}.{}]", section.kind, toml_key(&name));
        reader.unknown_key_but(field, advice);
    } else {
        reader.unknown_key(field, known);
    }
}

fn read_relay(reader: &mut Reader, section: &Section<'_, '_>) -> Placed<Relay> {
    let relay = Relay {
        name: section.name.to_owned(),
        address: Address::loopback(0),
        data: None,
        transit: true,
        max_children: None,
        key: None,
        segment_bytes: None,
        reserve_bytes: None,
        trace_retention: None,
        at: None,
    };
    let mut placed = Placed::new(relay, section.at);
    for (key, value) in section.table {
        let field = Field { key: key.get_ref(), of: &section.of, at: key.span().into() };
        match field.key {
            "address" => {
                let address = read_address(reader, field, value);
                if let Some(address) = placed.keep(field.key, value, address) {
                    placed.value.address = address;
                }
            }
            "data" => {
                let data = read_path(reader, field, value);
                placed.value.data = placed.keep(field.key, value, data);
            }
            "transit" => placed.value.transit = reader.flag(field, value).unwrap_or(true),
            "max_children" => {
                let children = reader.count(field, value, 1..=u64::from(MAX_CHILDREN_MAX));
                let children = children.and_then(|count| u32::try_from(count).ok());
                placed.value.max_children = placed.keep(field.key, value, children);
            }
            "key" => {
                let key = read_key(reader, field, value);
                placed.value.key = placed.keep(field.key, value, key);
            }
            "segment_bytes" => {
                let size = reader.size(field, value);
                placed.value.segment_bytes = placed.keep(field.key, value, size);
            }
            "reserve_bytes" => {
                let size = reader.size(field, value);
                placed.value.reserve_bytes = placed.keep(field.key, value, size);
            }
            "trace_retention" => {
                let range = TRACE_RETENTION_MIN..=TRACE_RETENTION_MAX;
                placed.value.trace_retention = reader.duration(field, value, range);
            }
            "at" => placed.value.at = read_site(reader, field, value),
            _ => unknown_key(reader, section, field, value, RELAY_KEYS),
        }
    }
    let is_only_a_level =
        !section.table.is_empty() && section.table.values().all(|value| value.get_ref().is_table());
    if section.table.get("address").is_none() && !is_only_a_level {
        reader.missing_key("address", &section.of, "write address = \"HOST:PORT\"", section.at);
    }
    placed
}

/// An address that neighbours connect to.
fn read_address(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Option<Address> {
    let text = reader.text(field, value, "an address such as \"127.0.0.1:7411\"")?;
    let (why, advice) = match Address::parse(text) {
        Err(fault) => (fault.to_string(), fault.suggestion(text)),
        Ok(address) if address.port() == 0 => ("has port 0, must be 1 to 65535".to_owned(), None),
        Ok(address) if address.is_unspecified() => (
            "stands for all interfaces, must be one that neighbours can connect to".to_owned(),
            Some("to listen on all interfaces, say so when the relay is started".to_owned()),
        ),
        Ok(address) => return Some(address),
    };
    let message = format!("address {:?} of {} {why}", shorten(text), field.of);
    reader.fault(Fault::new(Code::BadAddress, message).suggest(advice), value.span());
    None
}

fn read_path(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Option<PathBuf> {
    let text = reader.text(field, value, "the path of a directory")?;
    if let Err(why) = check_path(text) {
        reader.bad_value(field, value.span().into(), why, None);
        return None;
    }
    Some(PathBuf::from(text))
}

/// Why a path cannot be the one that was meant.
pub(crate) fn check_path(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty, must be the path of a directory");
    }
    if text.chars().any(char::is_control) {
        return Err("has control characters, must be the path of a directory");
    }
    if text == "~" || text.starts_with("~/") {
        return Err("begins with \"~\", which is not expanded, must be written out");
    }
    Ok(())
}

fn read_key(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Option<PublicKey> {
    let text = reader.text(field, value, "a public key such as \"ed25519:…\"")?;
    match PublicKey::parse(text) {
        Ok(key) => Some(key),
        Err(fault) => {
            let message = format!("key of {} {fault}", field.of);
            reader.fault(Fault::new(Code::BadKey, message), value.span());
            None
        }
    }
}

fn read_links(reader: &mut Reader, field: Field<'_>, value: &Value<'_>, draft: &mut Draft) {
    let Some(links) = value.get_ref().as_array() else {
        reader.wrong_type(field, value, "a list of tables", Some(LINK_ADVICE.to_owned()));
        draft.is_partial = true;
        return;
    };
    for (index, value) in links.iter().enumerate() {
        let of = format!("link {}", index + 1);
        let field = Field { key: &of, of: "the file", at: value.span().into() };
        let table = reader.table(field, value, "write [[link]]");
        let link = table.and_then(|table| read_link(reader, &of, field.at, table));
        draft.is_partial |= link.is_none();
        draft.links.extend(link);
    }
}

/// A link, if the relays at its ends could be read.
fn read_link(reader: &mut Reader, of: &str, at: Span, table: &DeTable<'_>) -> Option<Placed<Link>> {
    let link = Link {
        between: [String::new(), String::new()],
        cost: COST_DEFAULT,
        rate: None,
        hello: HELLO_DEFAULT,
    };
    let mut placed = Placed::new(link, at);
    let mut has_ends = false;
    for (key, value) in table {
        let field = Field { key: key.get_ref(), of, at: key.span().into() };
        match field.key {
            "between" => has_ends = read_ends(reader, field, value, &mut placed),
            "cost" => placed.value.cost = read_cost(reader, field, value).unwrap_or(COST_DEFAULT),
            "rate" => placed.value.rate = reader.rate(field, value, RATE_MIN),
            "hello" => {
                let hello = reader.duration(field, value, HELLO_MIN..=HELLO_MAX);
                placed.value.hello = hello.unwrap_or(HELLO_DEFAULT);
            }
            _ => reader.unknown_key(field, LINK_KEYS),
        }
    }
    if table.get("between").is_none() {
        reader.missing_key("between", of, "write between = [\"RELAY\", \"RELAY\"]", at);
    }
    has_ends.then_some(placed)
}

/// The two relays of a link; whether both could be read.
fn read_ends(reader: &mut Reader, field: Field<'_>, value: &Value<'_>, link: &mut Placed<Link>) -> bool {
    let right = "a list of two relays such as [\"north\", \"south\"]";
    let Some(ends) = value.get_ref().as_array() else {
        reader.wrong_type(field, value, right, None);
        return false;
    };
    let mut names = Vec::new();
    for end in ends {
        names.extend(reader.text(field, end, right).map(|name| (name.to_owned(), end)));
    }
    if ends.len() != 2 {
        let relays = if ends.len() == 1 { "relay" } else { "relays" };
        let why = format!("names {} {relays}, must be {right}", ends.len());
        reader.bad_value(field, value.span().into(), &why, None);
    }
    let Ok([(from, from_value), (to, to_value)]) = <[_; 2]>::try_from(names) else { return false };
    link.keep("from", from_value, Some(()));
    link.keep("to", to_value, Some(()));
    link.value.between = [from, to];
    ends.len() == 2
}

fn read_cost(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Option<Cost> {
    let right = format!("a whole number from 1 to {COST_MAX} or \"rtt\"");
    let out_of_range = |found: String| {
        let message = format!("cost of {} is {found}, must be {right}", field.of);
        Fault::new(Code::CostOutOfRange, message)
    };
    if let Some(number) = value.get_ref().as_integer() {
        let cost = u32::from_str_radix(number.as_str(), number.radix()).ok();
        if let Some(cost) = cost.filter(|cost| (1..=COST_MAX).contains(cost)) {
            return Some(Cost::Fixed(cost));
        }
        reader.fault(out_of_range(shorten(&number.to_string())), value.span());
        return None;
    }
    let text = reader.text(field, value, &right)?;
    if text == "rtt" {
        return Some(Cost::Rtt);
    }
    let advice = if text.parse::<u32>().is_ok() {
        format!("write {text} without quotes")
    } else {
        "write \"rtt\" to have the cost measured".to_owned()
    };
    let why = format!("is {:?}, must be {right}", shorten(text));
    reader.bad_value(field, value.span().into(), &why, Some(advice));
    None
}

fn read_group(reader: &mut Reader, section: &Section<'_, '_>) -> Placed<Group> {
    let group = Group { name: section.name.to_owned(), settings: GroupSettings::default() };
    let mut placed = Placed::new(group, section.at);
    let known: Vec<&str> = SETTING_KEYS.iter().map(|(key, _)| *key).collect();
    for (key, value) in section.table {
        let field = Field { key: key.get_ref(), of: &section.of, at: key.span().into() };
        if read_setting(reader, field, value, &mut placed.value.settings) {
            placed.keep(field.key, value, Some(()));
        } else {
            unknown_key(reader, section, field, value, &known);
        }
    }
    placed
}

fn read_queue(reader: &mut Reader, section: &Section<'_, '_>) -> Placed<Queue> {
    let queue =
        Queue { name: section.name.to_owned(), home: String::new(), settings: GroupSettings::default() };
    let mut placed = Placed::new(queue, section.at);
    let settings = SETTING_KEYS.iter().map(|(key, _)| *key);
    let known: Vec<&str> = std::iter::once("home").chain(settings).collect();
    for (key, value) in section.table {
        let field = Field { key: key.get_ref(), of: &section.of, at: key.span().into() };
        if field.key == "home" {
            let home = reader.text(field, value, "the name of a relay").map(str::to_owned);
            placed.value.home = placed.keep(field.key, value, home).unwrap_or_default();
        } else if read_setting(reader, field, value, &mut placed.value.settings) {
            placed.keep(field.key, value, Some(()));
        } else {
            unknown_key(reader, section, field, value, &known);
        }
    }
    let is_only_a_level =
        !section.table.is_empty() && section.table.values().all(|value| value.get_ref().is_table());
    if section.table.get("home").is_none() && !is_only_a_level {
        reader.missing_key("home", &section.of, "write home = \"RELAY\"", section.at);
    }
    placed
}
