//! What of the topology in force takes effect at a start alone: where a relay keeps its data, and how large its
//! files are.
//!
//! A relay that has learned the topology from others has opened its log before. It goes on with what it has, and
//! says so: whoever starts it with the file one day would start it with another disk.

use std::path::{Component, Path, PathBuf};

use crate::relay::Relay;
use crate::topology::{self, TopologyVersion};

/// What a relay uses, as far as no option of its own says so: then the operator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Where its data is.
    pub data: Option<PathBuf>,
    /// The size of the segments of its log.
    pub segment_bytes: Option<u64>,
    /// The disk space that it keeps free.
    pub reserve_bytes: Option<u64>,
}

impl Used {
    /// What a topology says of a relay.
    pub(super) fn wanted_by(relay: &topology::Relay) -> Self {
        Self {
            data: relay.data.clone(),
            segment_bytes: relay.segment_bytes,
            reserve_bytes: relay.reserve_bytes,
        }
    }
}

impl Relay {
    /// Notes what this relay was started with.
    pub fn note_used(&mut self, used: Used) {
        self.topologies.used = used;
    }

    /// Where that is something else than a topology says.
    pub(super) fn used_warnings(&self, version: TopologyVersion) -> Vec<String> {
        let (used, wanted) = (&self.topologies.used, &self.topologies.wanted);
        let mut warnings = Vec::new();
        if let Some((used, wanted)) = used.data.as_deref().zip(wanted.data.as_deref())
            && !is_at(used, wanted)
        {
            let (used, wanted) = (used.display(), wanted.display());
            warnings.push(format!(
                "topology {version} has data = \"{wanted}\" for this relay, which keeps its data in {used}: started with \
                 the file it would come up with another disk; give --data {used} at each start"
            ));
        }
        let sizes = [
            ("segment_bytes", "--segment-bytes", used.segment_bytes.zip(wanted.segment_bytes)),
            ("reserve_bytes", "--reserve-bytes", used.reserve_bytes.zip(wanted.reserve_bytes)),
        ];
        for (key, option, sizes) in sizes {
            let Some((used, wanted)) = sizes.filter(|(used, wanted)| used != wanted) else { continue };
            let [used, wanted] = [used, wanted].map(size);
            warnings.push(format!(
                "topology {version} has {key} = \"{wanted}\" for this relay, which uses {used}: it is taken from the \
                 file or from {option} at a start"
            ));
        }
        warnings
    }
}

/// As a file would write it.
fn size(bytes: u64) -> String {
    let mebibytes = bytes >> 20;
    if mebibytes << 20 == bytes { format!("{mebibytes}MiB") } else { format!("{bytes}B") }
}

/// Whether a directory may be the one that a topology names: from where a relative one begins is not known.
fn is_at(used: &Path, wanted: &Path) -> bool {
    let plain =
        |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let has_ways_up = wanted.components().any(|part| part == Component::ParentDir);
    has_ways_up || plain(used).ends_with(plain(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_directory_is_the_end_of_one() {
        let is_at = |used, wanted| is_at(Path::new(used), Path::new(wanted));
        assert!(is_at("/var/lib/w", "/var/lib/w") && is_at("/etc/net/./data/w", "./data/w"));
        assert!(is_at("/data/w", "../data/w"), "nobody can tell");
        assert!(!is_at("/home/me/.local/state/treecast/w", "/var/lib/w"));
        assert!(!is_at("/var/lib/w", "/w") && !is_at("/var/lib/ww", "w"));
    }
}
