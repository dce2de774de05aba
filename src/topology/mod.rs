//! The network as its operator drew it: relays, the links between them, groups
//! and queues, read from one TOML file and checked.
//!
//! ```toml
//! version = 1
//!
//! [relay.north]
//! address = "127.0.0.1:7411"
//! [relay.south]
//! address = "127.0.0.1:7412"
//!
//! [[link]]
//! between = ["north", "south"]
//! cost = 5
//!
//! [group."metrics/cpu"]
//! ttl = "2h30m"
//!
//! [queue.jobs]
//! home = "north"
//! ```
//!
//! [`Topology::parse`] finds all faults in one go. A [`Topology`] is complete
//! and consistent: every link joins two of its relays, every queue has its home
//! among them, every setting is within its range. It holds no state of the
//! running network and does no input or output; the caller reads the file.
//!
//! The parts: `file` and `setting` know the shape of the file, `read` single values, `check`
//! how the parts fit together, [`faults`] what is wrong and where. [`graphml`] makes topology
//! files from graphs.

mod address;
mod check;
pub mod faults;
mod file;
pub mod graphml;
mod key;
mod likely;
mod name;
mod read;
mod setting;
pub mod settings;
mod site;
mod standing;
mod version;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use address::{Address, AddressFault, Host, PORT_DEFAULT};
pub(crate) use faults::Span;
pub use faults::{Code, Colour, FAULTS_MAX, Fault, Faults, Row, Severity};
pub(crate) use file::check_path;
pub use file::{
    COST_DEFAULT, COST_MAX, HELLO_DEFAULT, HELLO_MAX, HELLO_MIN, MAX_CHILDREN_MAX, RATE_MIN, TEXT_BYTES_MAX,
    TRACE_RETENTION_MAX, TRACE_RETENTION_MIN, VERSION,
};
pub use key::{KeyFault, PublicKey};
pub(crate) use likely::likely_or_known;
pub use name::{NAME_BYTES_MAX, NameFault, check_name};
pub(crate) use setting::written;
pub use settings::GroupSettings;
pub use site::{FIBRE_KM_PER_MS, Site};
pub use version::TopologyVersion;

use file::Draft;
use read::Reader;

/// One relay of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relay {
    /// Its name, unique in the network.
    pub name: String,
    /// Where neighbours and applications connect.
    pub address: Address,
    /// Where it keeps its data; not set: a directory of the user's state named
    /// after the relay. A relative path begins at the topology file.
    pub data: Option<PathBuf>,
    /// Whether it passes on what it is not itself a member of. The default is
    /// true; a relay that is no transit is always a leaf of the trees.
    pub transit: bool,
    /// The most neighbours it sends to in one tree, 1..=[`MAX_CHILDREN_MAX`];
    /// not set: no limit.
    pub max_children: Option<u32>,
    /// Its public key.
    pub key: Option<PublicKey>,
    /// The size of its log's segments.
    pub segment_bytes: Option<u64>,
    /// The disk space kept free for what must always fit.
    pub reserve_bytes: Option<u64>,
    /// For how long it is remembered what became of messages that were let go,
    /// [`TRACE_RETENTION_MIN`]..=[`TRACE_RETENTION_MAX`]; not set: a day.
    pub trace_retention: Option<Duration>,
    /// Where on earth it stands. For pictures only: no tree depends on it.
    pub at: Option<Site>,
}

impl Relay {
    /// For how long it remembers what became of messages that were let go, in milliseconds.
    #[must_use]
    pub fn trace_retention_ms(&self) -> u64 {
        let set = self.trace_retention.map(|set| u64::try_from(set.as_millis()).unwrap_or(u64::MAX));
        set.unwrap_or(crate::limits::TRACE_RETENTION_MS)
    }
}

/// What a link costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// A number that the operator chose, 1..=[`COST_MAX`].
    Fixed(u32),
    /// The measured round-trip time.
    Rtt,
}

/// One link between two relays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The names of the two relays, the lesser first.
    pub between: [String; 2],
    /// What it costs to use it. The default is [`COST_DEFAULT`].
    pub cost: Cost,
    /// The most bytes per second it is given, at least [`RATE_MIN`]; not set:
    /// no limit.
    pub rate: Option<u64>,
    /// The pause between hellos, [`HELLO_MIN`]..=[`HELLO_MAX`]. The default is
    /// [`HELLO_DEFAULT`].
    pub hello: Duration,
}

impl Link {
    /// The relay at the other end than `relay`, if `relay` is at one.
    #[must_use]
    pub fn other_end(&self, relay: &str) -> Option<&str> {
        let [one, other] = &self.between;
        if one == relay {
            return Some(other);
        }
        (other == relay).then_some(one)
    }
}

/// One group that the file gives settings to. Groups that are not in the file
/// have the default settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Its name, unique among groups and queues.
    pub name: String,
    /// Its settings.
    pub settings: GroupSettings,
}

/// One queue: a group with one home relay and one shared subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queue {
    /// Its name, unique among groups and queues.
    pub name: String,
    /// The relay that hands out its messages.
    pub home: String,
    /// The settings of its group.
    pub settings: GroupSettings,
}

/// A checked network. All lists are sorted, so equal networks are equal values
/// however their files are arranged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    relays: Vec<Relay>,
    links: Vec<Link>,
    groups: Vec<Group>,
    queues: Vec<Queue>,
    insecure: bool,
}

/// A topology that can be used, and what is worth a second look in its file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checked {
    /// The network.
    pub topology: Topology,
    /// Warnings only; often empty.
    pub warnings: Faults,
    /// Where values stand, for whoever checks them further: by kind of table,
    /// name and key.
    places: BTreeMap<(&'static str, String, String), Span>,
}

impl Checked {
    /// Where the value of `key` in `[kind.name]` stands.
    pub(crate) fn place(&self, kind: &'static str, name: &str, key: &str) -> Option<Span> {
        self.places.get(&(kind, name.to_owned(), key.to_owned())).copied()
    }
}

/// The text of a topology file. `name` is what the operator knows the file by.
///
/// # Errors
/// When it is not UTF-8, with the place.
pub fn decode(name: &str, bytes: &[u8]) -> Result<String, Faults> {
    decode_as((name, bytes), Code::Syntax)
}

/// The same of a file of any kind, with the code of what cannot be read at all.
fn decode_as((name, bytes): (&str, &[u8]), code: Code) -> Result<String, Faults> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => error,
    };
    // Up to there nothing was replaced, so the place is the same in both texts.
    let (at, shown) = (error.valid_up_to(), String::from_utf8_lossy(bytes));
    let mut faults = Faults::new(name, &shown);
    let message = format!("byte {at} is not UTF-8, the only encoding that is read");
    let place = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let advice = "save the file as UTF-8".to_owned();
    faults.push(Fault::new(code, message).at(place).suggest(Some(advice)));
    Err(faults)
}

impl Topology {
    /// Reads and checks the text of a topology file. `name` is what the
    /// operator knows the file by. Pure.
    ///
    /// # Errors
    /// All faults of the file, warnings among them. Where some of the text is not even
    /// TOML, nothing is said that may be otherwise with what was meant there.
    pub fn parse(name: &str, text: &str) -> Result<Checked, Faults> {
        let (read, _) = Self::read(name, text);
        if read.warnings.error_count() > 0 { Err(read.warnings) } else { Ok(read) }
    }

    /// What could be read of a file, with all faults of it; and whether that is more than nothing: the text is
    /// TOML.
    pub(crate) fn read(name: &str, text: &str) -> (Checked, bool) {
        let mut reader = Reader::new(name, text);
        let draft = file::read(&mut reader, text);
        let is_read = reader.can_check();
        if !reader.is_foreign() {
            check::check(&mut reader, &draft);
        }
        let places = places_of(&draft);
        (Checked { topology: draft.into_topology(), warnings: reader.into_faults(), places }, is_read)
    }

    /// A network of one relay with no groups set, for a relay that is started
    /// without a file.
    #[must_use]
    pub fn alone(name: &str, address: Address) -> Self {
        let relay = Relay {
            name: name.to_owned(),
            address,
            data: None,
            transit: true,
            max_children: None,
            key: None,
            segment_bytes: None,
            reserve_bytes: None,
            trace_retention: None,
            at: None,
        };
        Self { relays: vec![relay], ..Self::default() }
    }

    /// All relays, by name.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// The relay called `name`.
    #[must_use]
    pub fn relay(&self, name: &str) -> Option<&Relay> {
        find(&self.relays, name, |relay| &relay.name)
    }

    /// All links, by the relays they join.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The links that end at `relay`, each with the relay at its other end.
    pub fn links_of<'t>(&'t self, relay: &'t str) -> impl Iterator<Item = (&'t Link, &'t str)> {
        self.links.iter().filter_map(move |link| link.other_end(relay).map(|other| (link, other)))
    }

    /// All groups that have settings in the file, by name. Queues are not among
    /// them.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group called `name`, if the file has it.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        find(&self.groups, name, |group| &group.name)
    }

    /// All queues, by name.
    #[must_use]
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// The queue called `name`.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        find(&self.queues, name, |queue| &queue.name)
    }

    /// The settings of the group or queue called `name`, if the file has it.
    #[must_use]
    pub fn settings(&self, name: &str) -> Option<&GroupSettings> {
        let group = self.group(name).map(|group| &group.settings);
        group.or_else(|| self.queue(name).map(|queue| &queue.settings))
    }

    /// Whether the file allows relays without keys to be reached by others.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }
}

impl Draft {
    /// What was read, without the places. Only for a draft without errors.
    fn into_topology(self) -> Topology {
        let mut links: Vec<Link> = self.links.into_iter().map(|link| link.value).collect();
        for link in &mut links {
            link.between.sort();
        }
        links.sort_by(|one, other| one.between.cmp(&other.between));
        let mut topology = Topology {
            relays: self.relays.into_iter().map(|relay| relay.value).collect(),
            links,
            groups: self.groups.into_iter().map(|group| group.value).collect(),
            queues: self.queues.into_iter().map(|queue| queue.value).collect(),
            insecure: self.insecure,
        };
        topology.relays.sort_by(|one, other| one.name.cmp(&other.name));
        topology.sort_groups();
        topology
    }
}

fn places_of(draft: &Draft) -> BTreeMap<(&'static str, String, String), Span> {
    let relays = draft.relays.iter().map(|relay| ("relay", &relay.value.name, &relay.parts));
    let groups = draft.groups.iter().map(|group| ("group", &group.value.name, &group.parts));
    let queues = draft.queues.iter().map(|queue| ("queue", &queue.value.name, &queue.parts));
    let all = relays.chain(groups).chain(queues);
    all.flat_map(|(kind, name, parts)| {
        parts.iter().map(move |(key, span)| ((kind, name.clone(), key.clone()), *span))
    })
    .collect()
}

/// The entry called `name` in a list sorted by name.
fn find<'t, T>(sorted: &'t [T], name: &str, name_of: impl Fn(&T) -> &String) -> Option<&'t T> {
    let at = sorted.binary_search_by(|entry| name_of(entry).as_str().cmp(name)).ok()?;
    sorted.get(at)
}

#[cfg(test)]
mod tests;
