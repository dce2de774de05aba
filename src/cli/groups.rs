//! Groups and queues of a topology file, made when a relay starts with it.
//!
//! What the file says wins over what was set before. Groups that are not in
//! the file stay as they are: it is no list of all that may exist.

use std::net::SocketAddr;

use crate::client::Client;
use crate::config::Config;
use crate::id::GroupName;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{GroupInfo, Request};

use super::ask;
use super::exit::{Exit, Failure};

/// Makes what is missing, and sets what differs.
pub(super) async fn apply(config: &Config, address: SocketAddr) -> Result<(), Failure> {
    let topology = &config.topology;
    let groups = topology.groups().iter().map(|group| (&group.name, &group.settings, false));
    let queues = topology.queues().iter().filter(|queue| queue.home == config.name);
    let queues = queues.map(|queue| (&queue.name, &queue.settings, true));
    let mut wanted = groups.chain(queues).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let client = ask::connect(&address.to_string()).await?;
    for (name, settings, queue) in wanted {
        let name: GroupName = name.parse().map_err(|error| Failure::Input(format!("{name}: {error}")))?;
        apply_one(&client, name, settings.clone(), queue).await?;
    }
    Ok(())
}

async fn apply_one(
    client: &Client,
    group: GroupName,
    settings: GroupSettings,
    queue: bool,
) -> Result<(), Failure> {
    let found = match ask::group(client, &group).await {
        Ok(found) => found,
        Err(failure) if failure.exit() == Exit::NothingThere => {
            return ask::create(client, group, settings, queue).await;
        }
        Err(failure) => return Err(failure),
    };
    let GroupInfo { settings: set, queue: is_queue, .. } = found;
    if is_queue != queue {
        let (is, wanted) = if is_queue { ("queue", "group") } else { ("group", "queue") };
        return Err(Failure::Input(format!("the file has a {wanted} {group}, but it exists as a {is}")));
    }
    if set == settings {
        return Ok(());
    }
    ask::done(client, Request::GroupSet { group, settings }).await
}
