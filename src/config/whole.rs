//! A topology file as all its relays would start with it: what is looked at before it is given to
//! any of them.
//!
//! Apart from [`Topology::parse`], which every relay reads an applied topology with: a network
//! that goes by a file since before something was looked at must go on reading it.

use std::path::Path;

use super::{Checker, DIR_NAME_BYTES_MAX, RelayConfig, dir_name};
use crate::limits;
use crate::topology::{Checked, Code, Fault, Faults, Relay, Topology};
use crate::units::shorten;

/// Reads and checks the text of a topology file that relays are to start with. `name` is what the
/// operator knows the file by. Beside what [`Topology::parse`] finds, this finds what would keep a
/// relay of the file from starting when no flag says otherwise.
///
/// # Errors
/// All faults of the file, warnings among them.
pub fn check_file(name: &Path, text: &str) -> Result<Checked, Faults> {
    let (mut checked, is_read) = Topology::read(&name.to_string_lossy(), text);
    if !is_read {
        return Err(checked.warnings);
    }
    let given = RelayConfig::default();
    let faults = checked.warnings.clone();
    let mut checker = Checker { given: &given, checked: Some(&checked), faults };
    let mut smallest: Option<u64> = None;
    for relay in checked.topology.relays() {
        // A size with a fault of its own tells nothing of the messages that fit.
        let (segment_bytes, _) = checker.sizes(Some(relay));
        smallest = smallest.into_iter().chain(segment_bytes).min();
        checker.directory_of(relay);
    }
    if let Some(segment_bytes) = smallest {
        checker.messages_fit(segment_bytes);
    }
    checker.exposed();
    checker.can_be_applied(text);
    checker.fits_a_map();
    let faults = checker.faults;
    if faults.error_count() > 0 {
        return Err(faults);
    }
    checked.warnings = faults;
    Ok(checked)
}

impl Checker<'_> {
    /// The text fits into the messages in which it is applied, shown and told.
    fn can_be_applied(&mut self, text: &str) {
        let (found, most) = (text.len(), limits::TOPOLOGY_BYTES_MAX);
        if found > most {
            let message = format!(
                "the file is {found} bytes long, must be at most {most}: a longer one cannot be applied"
            );
            self.fault_at(Fault::new(Code::TooLarge, message), Some((0..0).into()));
        }
    }

    /// All relays fit on one map: of more no relay makes one, so no network goes by the file.
    fn fits_a_map(&mut self) {
        let found = self.checked.map_or(0, |checked| checked.topology.relays().len());
        let most = limits::MAP_RELAYS_MAX;
        if found > most {
            let message = format!("the file has {found} relays, must have at most {most}");
            self.fault_at(Fault::new(Code::TooLarge, message), Some((0..0).into()));
        }
    }

    /// The directory that a relay has unless it is given another can be made.
    fn directory_of(&mut self, relay: &Relay) {
        let bytes = dir_name(&relay.name).len();
        if relay.data.is_some() || bytes <= DIR_NAME_BYTES_MAX {
            return;
        }
        let message = format!(
            "relay {:?} does not start without --data: its name makes a directory name of {bytes} bytes",
            shorten(&relay.name)
        );
        let advice = "write data = \"DIR\", or give it a shorter name".to_owned();
        let at = self.checked.and_then(|checked| checked.place("relay", &relay.name, "address"));
        self.fault_at(Fault::new(Code::NeedsFlag, message).suggest(Some(advice)), at);
    }

    /// Tells once which relays listen where others can connect, unless the file says that this is
    /// wanted (R20).
    fn exposed(&mut self) {
        let Some(checked) = self.checked.filter(|checked| !checked.topology.is_insecure()) else { return };
        let mut relays = checked.topology.relays().iter().filter(|relay| !relay.address.is_loopback());
        let Some(first) = relays.next() else { return };
        let (name, more) = (shorten(&first.name), relays.count());
        let who = match more {
            0 => {
                format!("relay {name:?} does not start without --insecure: others can connect to its address")
            }
            _ => format!(
                "relay {name:?} and {more} more do not start without --insecure: others can connect to their \
                 addresses"
            ),
        };
        let advice = "write insecure = true if it is meant".to_owned();
        let at = checked.place("relay", &first.name, "address");
        self.fault_at(Fault::new(Code::NeedsFlag, who).suggest(Some(advice)), at);
    }
}
