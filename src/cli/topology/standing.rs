//! What a network that runs has made of a file: settings that were set and homes that were moved since.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::id::GroupName;
use crate::topology::{GroupSettings, Topology};

use super::super::ask;
use super::super::exit::{Exit, Failure};

/// The topology in force with the settings and homes that its groups and queues have, and those of `new`,
/// as the asked relay knows them. One that it does not have is made when the file is applied.
pub(super) async fn standing(
    client: &Client,
    mut file: Topology,
    new: &Topology,
) -> Result<Topology, Failure> {
    let names: BTreeSet<String> = [&file, new]
        .into_iter()
        .flat_map(|topology| {
            let groups = topology.groups().iter().map(|group| &group.name);
            groups.chain(topology.queues().iter().map(|queue| &queue.name))
        })
        .cloned()
        .collect();
    for name in names {
        let Ok(group) = GroupName::new(&name) else { continue };
        let found = settings_and_home(client, &group).await?;
        file.replace_group(&name, found);
    }
    Ok(file)
}

/// The settings of a group, and the home if it is a queue; none: there is no such group.
async fn settings_and_home(
    client: &Client,
    group: &GroupName,
) -> Result<Option<(GroupSettings, Option<String>)>, Failure> {
    let info = match ask::group(client, group).await {
        Err(failure) if failure.exit() == Exit::NothingThere => return Ok(None),
        asked => asked?,
    };
    let mut home = None;
    if info.queue {
        let locations = ask::locations(client, group.as_str(), false).await?;
        home = locations.into_iter().find(|at| at.subscription.is_none()).map(|at| at.home.to_string());
    }
    Ok(Some((info.settings, home)))
}
