//! What a relay answers of the topology of its network.

use serde::{Deserialize, Serialize};

use crate::topology::TopologyVersion;
use crate::wire::applied::{TopologyEntry, TopologyHead};

/// How the file that a relay was started with stands to the topology that it goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileStanding {
    /// It was started without a file.
    #[default]
    None,
    /// Nothing was applied yet: the file is what it goes by.
    Used,
    /// It says the same as the one in force.
    Same,
    /// It says something else than the one in force, and is not used.
    Differs,
}

/// A topology, and what else is known of the network's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyInfo {
    /// The one that was asked for, or the one in force. Before one was applied the file of the
    /// relay, under version 0; `None`: there is none, or it is longer than what is applied.
    pub entry: Option<TopologyEntry>,
    /// Those that this relay has on its disk, the newest first: that one is in force.
    pub kept: Vec<TopologyHead>,
    /// The one that this relay goes by. Another one than that in force only until it is on its
    /// disk, and when it cannot be used.
    pub taken: Option<TopologyVersion>,
    /// What has become of the file that it was started with.
    pub file: FileStanding,
}
