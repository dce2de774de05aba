//! The configuration of one relay: what the operator wrote, in flags and in
//! the topology file, becomes one complete and checked [`Config`].
//!
//! A flag wins over the file, the file over the default. All faults are
//! reported in one go, and nothing is bound or created before there are none.
//! Pure but for [`Environment::from_process`]: the caller reads the file and
//! the environment.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::topology::{
    Address, Checked, Code, Fault, Faults, PORT_DEFAULT, Relay, Span, Topology, check_name, check_path,
    likely_or_known,
};
use crate::units::{format_size, parse_size, shorten};

/// What the operator wrote for one relay. Texts are as typed; what was not
/// given is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayConfig {
    /// Which relay of the topology this is. Default: the only one there is, or
    /// [`NAME_DEFAULT`] without a topology.
    pub name: Option<String>,
    /// The topology file. Without one the relay stands alone.
    pub topology: Option<TopologyText>,
    /// Where to listen. Default: the relay's address in the topology, else
    /// loopback with [`PORT_DEFAULT`]. Port 0 takes any free one.
    pub listen: Option<String>,
    /// Where to keep the data. Default: `data` in the topology, else
    /// `treecast/NAME` in the user's state directory.
    pub data: Option<PathBuf>,
    /// Whether to listen where others can connect although nothing protects the
    /// relay. Default: `insecure` of the topology, else false.
    pub insecure: bool,
    /// The size of the log's segments, such as `128MiB`.
    pub segment_bytes: Option<String>,
    /// The disk space kept free, such as `256MiB`.
    pub reserve_bytes: Option<String>,
}

/// A topology file that the caller has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyText {
    /// Where it was read from; relative data directories in it begin there.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// The variables of the process that decide where data is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// What this process was started with.
    #[must_use]
    pub fn from_process() -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        Self { state_home: path("XDG_STATE_HOME"), home: path("HOME") }
    }

    /// The user's directory for state. A path that is not absolute does not
    /// count, as the XDG base directory specification has it.
    fn state_dir(&self) -> Option<PathBuf> {
        let absolute = |path: &&PathBuf| path.is_absolute();
        let state_home = self.state_home.as_ref().filter(absolute).cloned();
        state_home.or_else(|| self.home.as_ref().filter(absolute).map(|home| home.join(".local/state")))
    }
}

/// The complete and checked configuration of one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The name of this relay.
    pub name: String,
    /// Where it listens. Not looked up yet.
    pub listen: Address,
    /// Where it keeps its data. Not created yet.
    pub data_dir: PathBuf,
    /// The network with its groups and queues; of this relay alone when there
    /// was no file.
    pub topology: Topology,
    /// The log on disk.
    pub log: LogConfig,
    /// What is worth a second look in the topology file.
    pub warnings: Faults,
}

/// The settings of the log on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// The size of a segment in bytes, [`SEGMENT_BYTES_MIN`]..=[`SEGMENT_BYTES_MAX`].
    /// Default [`SEGMENT_BYTES_DEFAULT`]. At least twice the largest message.
    pub segment_bytes: u64,
    /// The disk space in bytes kept free so that acks, gaps and membership
    /// always fit: from one segment to [`RESERVE_BYTES_MAX`]. Default two
    /// segments.
    pub reserve_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            reserve_bytes: SEGMENT_BYTES_DEFAULT * RESERVE_SEGMENTS_DEFAULT,
        }
    }
}

/// The name of a relay that was given none and has no topology.
pub const NAME_DEFAULT: &str = "local";
/// The size of a segment when nobody says otherwise: 128 MiB.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;
/// The smallest segment: 32 MiB, two messages of the default largest size.
pub const SEGMENT_BYTES_MIN: u64 = 32 << 20;
/// The largest segment: 1 GiB, since segments are filled in advance and freed
/// as a whole.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The largest reserve: 1 TiB.
pub const RESERVE_BYTES_MAX: u64 = 1 << 40;
/// How many segments are kept free when nobody says otherwise.
const RESERVE_SEGMENTS_DEFAULT: u64 = 2;
/// A segment holds this many of the largest messages, so that rolling over
/// never wastes most of it.
const MESSAGES_PER_SEGMENT_MIN: u64 = 2;
/// The longest name of a directory on the common file systems.
const DIR_NAME_BYTES_MAX: usize = 255;

const _: () = assert!(SEGMENT_BYTES_MIN >= MESSAGES_PER_SEGMENT_MIN * crate::limits::MESSAGE_BYTES_DEFAULT);
const _: () = assert!(SEGMENT_BYTES_DEFAULT >= MESSAGES_PER_SEGMENT_MIN * crate::limits::MESSAGE_BYTES_MAX);
const _: () = assert!(RESERVE_BYTES_MAX >= SEGMENT_BYTES_MAX * RESERVE_SEGMENTS_DEFAULT);

impl RelayConfig {
    /// Completes and checks what the operator wrote.
    ///
    /// # Errors
    /// All faults of the flags and of the topology file. Where the file is
    /// faulty, what depends on it is not judged.
    pub fn check(&self, environment: &Environment) -> Result<Config, Faults> {
        let (checked, faults) = self.read_topology();
        let mut checker = Checker { given: self, checked: checked.as_ref(), faults };
        let name = checker.name();
        let relay =
            checked.as_ref().zip(name.as_deref()).and_then(|(checked, name)| checked.topology.relay(name));
        let listen = checker.listen(relay);
        let data_dir = checker.data_dir(relay, name.as_deref(), environment);
        let log = checker.log(relay);
        let faults = checker.faults;
        let (Some(name), Some(listen), Some(data_dir), Some(log), 0) =
            (name, listen, data_dir, log, faults.error_count())
        else {
            return Err(faults);
        };
        let topology =
            checked.map_or_else(|| Topology::alone(&name, listen.clone()), |checked| checked.topology);
        Ok(Config { name, listen, data_dir, topology, log, warnings: faults })
    }

    /// The topology, if there is one without errors, and all faults in it.
    fn read_topology(&self) -> (Option<Checked>, Faults) {
        let Some(file) = &self.topology else { return (None, Faults::default()) };
        match Topology::parse(&file.path.to_string_lossy(), &file.text) {
            Ok(checked) => {
                let warnings = checked.warnings.clone();
                (Some(checked), warnings)
            }
            Err(faults) => (None, faults),
        }
    }
}

/// Collects faults while the parts of the configuration are completed. Each
/// part is `None` when it has a fault of its own.
struct Checker<'c> {
    given: &'c RelayConfig,
    checked: Option<&'c Checked>,
    faults: Faults,
}

impl Checker<'_> {
    fn fault(&mut self, code: Code, message: String, advice: Option<String>) {
        self.faults.push(Fault::new(code, message).suggest(advice));
    }

    /// Adds a fault where the file has a place for it, else without one.
    fn fault_at(&mut self, fault: Fault, at: Option<Span>) {
        self.faults.push(match at {
            Some(at) => fault.at(at),
            None => fault,
        });
    }

    fn name(&mut self) -> Option<String> {
        let relays = self.checked.map(|checked| checked.topology.relays());
        let known = || relays.into_iter().flatten().map(|relay| relay.name.as_str());
        let Some(name) = &self.given.name else {
            if self.given.topology.is_none() {
                return Some(NAME_DEFAULT.to_owned());
            }
            return match relays? {
                [only] => Some(only.name.clone()),
                several => {
                    let message =
                        format!("the topology has {} relays, must know which is this one", several.len());
                    let advice = likely_or_known("", known()).map(|names| format!("give its name: {names}"));
                    self.fault(Code::NoName, message, advice);
                    None
                }
            };
        };
        if let Err(fault) = check_name(name) {
            let advice = fault.suggestion(name);
            self.fault(Code::BadName, format!("name {:?} of this relay {fault}", shorten(name)), advice);
            return None;
        }
        if self.checked.is_some_and(|checked| checked.topology.relay(name).is_none()) {
            let advice = likely_or_known(name, known());
            self.fault(
                Code::UnknownSelf,
                format!("relay {:?} is not in the topology", shorten(name)),
                advice,
            );
            return None;
        }
        Some(name.clone())
    }

    /// Where to listen: loopback, or elsewhere if the operator accepts it.
    fn listen(&mut self, relay: Option<&Relay>) -> Option<Address> {
        let (listen, at) = match &self.given.listen {
            Some(text) => match Address::parse(text) {
                Ok(listen) => (listen, None),
                Err(fault) => {
                    let message = format!("address {:?} to listen on {fault}", shorten(text));
                    self.fault(Code::BadListen, message, fault.suggestion(text));
                    return None;
                }
            },
            None => match relay {
                Some(relay) => {
                    let at = self.checked.and_then(|checked| checked.place("relay", &relay.name, "address"));
                    (relay.address.clone(), at)
                }
                // Which relay this is has its own fault.
                None if self.given.topology.is_some() => return None,
                None => (Address::loopback(PORT_DEFAULT), None),
            },
        };
        let accepted =
            self.given.insecure || self.checked.is_some_and(|checked| checked.topology.is_insecure());
        if !listen.is_loopback() && !accepted {
            let message = format!(
                "others can connect to {:?} and nothing protects it, must be loopback",
                listen.to_string()
            );
            let advice = format!(
                "listen on \"127.0.0.1:{}\", or accept it with --insecure or insecure = true in the topology",
                listen.port()
            );
            self.fault_at(Fault::new(Code::Insecure, message).suggest(Some(advice)), at);
        }
        Some(listen)
    }

    fn data_dir(
        &mut self,
        relay: Option<&Relay>,
        name: Option<&str>,
        environment: &Environment,
    ) -> Option<PathBuf> {
        if let Some(data) = &self.given.data {
            if let Err(why) = check_path(&data.to_string_lossy()) {
                let message = format!("data directory {:?} {why}", shorten(&data.to_string_lossy()));
                self.fault(Code::BadDataDir, message, None);
                return None;
            }
            return Some(data.clone());
        }
        if let Some(data) = relay.and_then(|relay| relay.data.as_ref()) {
            let file = self.given.topology.as_ref().and_then(|file| file.path.parent());
            return Some(file.unwrap_or(Path::new("")).join(data));
        }
        let dir_name = dir_name(name?);
        if dir_name.len() > DIR_NAME_BYTES_MAX {
            let message = format!("name of this relay makes a directory name of {} bytes", dir_name.len());
            let advice = "give it a data directory of its own, or a shorter name".to_owned();
            self.fault(Code::BadDataDir, message, Some(advice));
            return None;
        }
        let Some(state_dir) = environment.state_dir() else {
            let message =
                "no place for the data: neither XDG_STATE_HOME nor HOME is an absolute path".to_owned();
            self.fault(Code::NoDataDir, message, Some("give one with --data".to_owned()));
            return None;
        };
        Some(state_dir.join("treecast").join(dir_name))
    }

    fn log(&mut self, relay: Option<&Relay>) -> Option<LogConfig> {
        let (segment_bytes, reserve_bytes) = self.sizes(relay);
        self.messages_fit(segment_bytes?);
        Some(LogConfig { segment_bytes: segment_bytes?, reserve_bytes: reserve_bytes? })
    }

    /// The size of segments, and what is kept free.
    fn sizes(&mut self, relay: Option<&Relay>) -> (Option<u64>, Option<u64>) {
        let given = self.given;
        let segment = Setting {
            key: "segment_bytes",
            flag: given.segment_bytes.as_deref(),
            file: relay.and_then(|relay| relay.segment_bytes),
            default: SEGMENT_BYTES_DEFAULT,
        };
        let segment_bytes = self.size(&segment, relay, SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX);
        let assumed = segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
        let reserve = Setting {
            key: "reserve_bytes",
            flag: given.reserve_bytes.as_deref(),
            file: relay.and_then(|relay| relay.reserve_bytes),
            default: assumed * RESERVE_SEGMENTS_DEFAULT,
        };
        (segment_bytes, self.size(&reserve, relay, assumed..=RESERVE_BYTES_MAX))
    }

    /// A size within its range, from the flag, the file or the default.
    fn size(
        &mut self,
        setting: &Setting<'_>,
        relay: Option<&Relay>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let key = setting.key;
        let found = match setting.flag {
            Some(text) => match parse_size(text) {
                Ok(found) => found,
                Err(error) => {
                    let message = format!("{key} is {:?}, must be a size: {error}", shorten(text));
                    self.fault(Code::BadSetting, message, error.suggestion());
                    return None;
                }
            },
            None => setting.file.unwrap_or(setting.default),
        };
        if range.contains(&found) {
            return Some(found);
        }
        let [found, least, most] = [found, *range.start(), *range.end()].map(format_size);
        let from_file = relay.filter(|_| setting.flag.is_none());
        let of = from_file.map(|relay| format!(" of relay {:?}", shorten(&relay.name))).unwrap_or_default();
        let message = format!("{key}{of} is {found}, must be {least} to {most}");
        let at = from_file.and_then(|relay| self.checked?.place("relay", &relay.name, key));
        self.fault_at(Fault::new(Code::BadSetting, message), at);
        None
    }

    /// Every group's largest message fits the segments of this relay.
    fn messages_fit(&mut self, segment_bytes: u64) {
        let Some(checked) = self.checked else { return };
        let groups = checked.topology.groups().iter().map(|group| ("group", &group.name, &group.settings));
        let queues = checked.topology.queues().iter().map(|queue| ("queue", &queue.name, &queue.settings));
        for (kind, name, settings) in groups.chain(queues) {
            let most = segment_bytes / MESSAGES_PER_SEGMENT_MIN;
            if settings.message_bytes_max() > most {
                let found = format_size(settings.message_bytes_max());
                let message = format!(
                    "max_message_size of {kind} {:?} is {found}, must be at most {} with segments of {}",
                    shorten(name),
                    format_size(most),
                    format_size(segment_bytes)
                );
                let at = checked.place(kind, name, "max_message_size");
                self.fault_at(Fault::new(Code::MessageTooLarge, message), at);
            }
        }
    }
}

/// A setting of the log and where its value may come from.
struct Setting<'s> {
    key: &'static str,
    flag: Option<&'s str>,
    file: Option<u64>,
    default: u64,
}

/// The directory name of a relay. Two names never give one directory, and none
/// leads out of its parent: `/` and `%` are escaped, and a leading dot.
fn dir_name(name: &str) -> String {
    let mut dir_name = String::with_capacity(name.len());
    for (at, letter) in name.char_indices() {
        match letter {
            '/' => dir_name.push_str("%2F"),
            '\\' => dir_name.push_str("%5C"),
            '%' => dir_name.push_str("%25"),
            '.' if at == 0 => dir_name.push_str("%2E"),
            other => dir_name.push(other),
        }
    }
    dir_name
}

mod whole;

pub use whole::check_file;

#[cfg(test)]
mod tests;
