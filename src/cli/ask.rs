//! Questions to the relay, and only the answer that fits.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::client::{Backoff, Client, ClientError, ClientOptions};
use crate::id::{GroupName, RelayId, SubscriptionName};
use crate::topology::settings::GroupSettings;
use crate::wire::body::{
    Books, GroupInfo, GroupTree, LinkInfo, Location, MessageName, RelayInfo, Reply, Request, Status,
    SubscriptionInfo, Whereabouts,
};

use super::RELAY_DEFAULT;
use super::exit::{Exit, Failure};
use super::silent::{Silent, Why};
use super::values::Millis;

/// How long an answer may take. A relay answers within one sync of its disk;
/// one that takes this long hangs, and the user should know.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Names asked for at a time. An answer must fit into one control frame.
const PAGE: u32 = 500;

/// How long a lost connection is tried to be made again: a restart of the relay is
/// waited for, and a script is not kept for ever.
const RECONNECT_FOR: Duration = Duration::from_secs(60);

/// How often one who does not wait looks whether the relay has refused.
const HELD_UP_LOOK: Duration = Duration::from_millis(5);

/// What a deadline says that is over before messages could flow.
pub const SILENT: &str = "the relay did not answer in time, no message was put or taken";

/// When so long is over; `None` where no clock reaches.
#[must_use]
pub fn deadline(after: Millis) -> Option<Instant> {
    Instant::now().checked_add(after.duration())
}

/// Does the work, if it can be done before the deadline; `late` says what it means when it cannot.
///
/// # Errors
/// Those of the work, and [`Failure::Deadline`].
///
/// # Cancel safety
/// That of the work, which is dropped when the deadline is over.
pub async fn until<T>(
    deadline: Option<Instant>,
    late: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(deadline) = deadline else { return work.await };
    timeout_at(deadline, work).await.unwrap_or(Err(Failure::Deadline(late)))
}

/// As [`until`], with a client that may be held up, or without a connection: then it is the reason that is told,
/// and not that time has passed.
///
/// # Errors
/// As [`until`], what the relay refused last, and why it cannot be reached.
///
/// # Cancel safety
/// As [`until`].
pub async fn until_taken<T>(
    client: &Client,
    deadline: Option<Instant>,
    late: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // Kept until the reason was asked for: a subscriber that is dropped waits for nothing any more.
    let mut work = std::pin::pin!(work);
    let done = until(deadline, late, work.as_mut()).await;
    match (done, client.held_up().map(ClientError::Refused).or_else(|| client.trouble())) {
        (Err(Failure::Deadline(_)), Some(why)) => Err(why.into()),
        (done, _) => done,
    }
}

/// Does the work, unless the relay takes nothing for the moment: then its reason is told at once.
///
/// # Errors
/// Those of the work, and what the relay refused.
///
/// # Cancel safety
/// That of the work, which is dropped when the relay refuses.
pub async fn at_once<T>(
    client: &Client,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let held_up = async {
        loop {
            if let Some(refusal) = client.held_up() {
                return refusal;
            }
            tokio::time::sleep(HELD_UP_LOOK).await;
        }
    };
    tokio::select! {
        done = work => done,
        refusal = held_up => Err(ClientError::Refused(refusal).into()),
    }
}

/// Connects to the relay at `host:port`.
///
/// # Errors
/// When that is no address, nothing listens there, or something that is not a relay.
pub async fn connect(address: &str) -> Result<Client, Failure> {
    check_address(address, "--relay or TREECAST_RELAY")?;
    let reconnect = Backoff { give_up: Some(RECONNECT_FOR), ..Backoff::default() };
    let name = "treecast".to_owned();
    let options = ClientOptions { name, reconnect, ..ClientOptions::new(address) };
    match Client::connect_with(options).await {
        Err(ClientError::Protocol(why)) => Err(Failure::NoRelay { address: address.to_owned(), why }),
        connected => Ok(connected?),
    }
}

/// Whether a relay can be looked for there at all; `option` says where the address is from.
///
/// # Errors
/// When it is no address.
pub fn check_address(address: &str, option: &str) -> Result<(), Failure> {
    let is_known = address.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host =
            !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_known {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "`{address}` is no address of a relay: write host:port, like {RELAY_DEFAULT}, in {option}"
    )))
}

/// Asks.
///
/// # Errors
/// When the relay refuses, is gone, or does not answer within half a minute.
pub async fn ask(client: &Client, request: Request) -> Result<Reply, Failure> {
    match tokio::time::timeout(ANSWER_WAIT, client.request(request)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Deadline("the relay did not answer within 30 s")),
    }
}

/// Asks for something to be done.
///
/// # Errors
/// As [`ask`].
pub async fn done(client: &Client, request: Request) -> Result<(), Failure> {
    let Reply::Done = ask(client, request).await? else { return Err(unexpected("that it is done")) };
    Ok(())
}

/// All of one group.
///
/// # Errors
/// As [`ask`].
pub async fn group(client: &Client, group: &GroupName) -> Result<GroupInfo, Failure> {
    let Reply::Group(info) = ask(client, Request::GroupShow { group: group.clone() }).await? else {
        return Err(unexpected("a group"));
    };
    Ok(*info)
}

/// The page of groups behind one of them; empty behind the last.
///
/// # Errors
/// As [`ask`].
pub async fn groups(
    client: &Client,
    prefix: &str,
    after: Option<GroupName>,
) -> Result<Vec<GroupInfo>, Failure> {
    let request = Request::GroupList { prefix: prefix.to_owned(), after, limit: PAGE };
    let Reply::Groups(groups) = ask(client, request).await? else {
        return Err(unexpected("groups"));
    };
    Ok(groups)
}

/// Every group whose name begins with `prefix`.
///
/// # Errors
/// As [`ask`].
pub async fn all_groups(client: &Client, prefix: &str) -> Result<Vec<GroupInfo>, Failure> {
    let mut all: Vec<GroupInfo> = Vec::new();
    loop {
        let page = groups(client, prefix, all.last().map(|last| last.name.clone())).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Every subscription of a group.
///
/// # Errors
/// As [`ask`].
pub async fn subscriptions(client: &Client, group: &GroupName) -> Result<Vec<SubscriptionInfo>, Failure> {
    let mut all: Vec<SubscriptionInfo> = Vec::new();
    loop {
        let after = all.last().map(|last| last.name.clone());
        let request = Request::SubscriptionList { group: group.clone(), after, limit: PAGE };
        let Reply::Subscriptions(page) = ask(client, request).await? else {
            return Err(unexpected("subscriptions"));
        };
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Every subscription of a group in the whole network, in order of their names, and where those
/// live of which nothing else can be told now.
///
/// # Errors
/// As [`ask`].
pub async fn subscriptions_everywhere(
    client: &Client,
    group: &GroupName,
) -> Result<(Vec<SubscriptionInfo>, Vec<Silent>), Failure> {
    let mut all = subscriptions(client, group).await?;
    let mut silent = Vec::new();
    for location in locations(client, group.as_str(), false).await? {
        let queues = || SubscriptionName::new("queue").expect("a constant that is a name");
        let name = location.subscription.clone().unwrap_or_else(queues);
        if all.iter().any(|info| info.name == name && info.home == location.home) {
            continue;
        }
        if location.forgotten {
            silent.push(Silent { location, why: Why::Forgotten });
            continue;
        }
        match subscription(client, group, &name).await {
            Ok(info) if info.home == location.home => all.push(info),
            Err(failure) if failure.exit() == Exit::TryAgain => {
                silent.push(Silent { location, why: Why::Away });
            }
            Ok(info) => silent.push(Silent { location, why: Why::Twin(info.home) }),
            Err(failure) if failure.exit() == Exit::NothingThere => {}
            Err(failure) => return Err(failure),
        }
    }
    all.sort_by(|one, other| (&one.name, &one.home).cmp(&(&other.name, &other.home)));
    Ok((all, silent))
}

/// All of one subscription.
///
/// # Errors
/// As [`ask`].
pub async fn subscription(
    client: &Client,
    group: &GroupName,
    name: &SubscriptionName,
) -> Result<SubscriptionInfo, Failure> {
    let request = Request::SubscriptionShow { group: group.clone(), name: name.clone() };
    let Reply::Subscription(info) = ask(client, request).await? else {
        return Err(unexpected("a subscription"));
    };
    Ok(info)
}

/// Makes a group or a queue.
///
/// # Errors
/// As [`ask`].
pub async fn create(
    client: &Client,
    group: GroupName,
    settings: GroupSettings,
    queue: bool,
) -> Result<(), Failure> {
    done(client, Request::GroupCreate { group, settings, queue }).await
}

/// Where a name lives, or all names that begin so.
///
/// # Errors
/// As [`ask`].
pub async fn locations(client: &Client, group: &str, prefix: bool) -> Result<Vec<Location>, Failure> {
    let mut all: Vec<Location> = Vec::new();
    loop {
        let after = all.last().cloned().map(Box::new);
        let Reply::Located(page) =
            ask(client, Request::Locate { group: group.to_owned(), prefix, after }).await?
        else {
            return Err(unexpected("locations"));
        };
        // An older relay knows no pages, and tells the first one again.
        let is_over = page.is_empty() || page.first() == all.first();
        if is_over {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The relay's health.
///
/// # Errors
/// As [`ask`].
pub async fn status(client: &Client) -> Result<Status, Failure> {
    let Reply::Status(status) = ask(client, Request::Status).await? else {
        return Err(unexpected("its status"));
    };
    Ok(*status)
}

/// What became of a message: at the asked relay, or at all that it can ask.
///
/// # Errors
/// As [`ask`].
pub async fn whereabouts(
    client: &Client,
    message: MessageName,
    local: bool,
    within: Option<Millis>,
) -> Result<Whereabouts, Failure> {
    let request = Request::Where { message, local, within_ms: within.map(|within| within.0) };
    let Reply::Where(found) = ask(client, request).await? else {
        return Err(unexpected("where a message is"));
    };
    Ok(*found)
}

/// The accounts of a group, or of all.
///
/// # Errors
/// As [`ask`].
pub async fn books(client: &Client, group: Option<GroupName>) -> Result<Books, Failure> {
    let Reply::Books(books) = ask(client, Request::Books { group }).await? else {
        return Err(unexpected("its books"));
    };
    Ok(*books)
}

/// Every link of the relay.
///
/// # Errors
/// As [`ask`].
pub async fn all_links(client: &Client) -> Result<Vec<LinkInfo>, Failure> {
    let mut all: Vec<LinkInfo> = Vec::new();
    loop {
        let after = all.last().map(|last| last.neighbour.clone());
        let Reply::Links(page) = ask(client, Request::LinkList { after, limit: PAGE }).await? else {
            return Err(unexpected("its links"));
        };
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Every relay that the relay knows of.
///
/// # Errors
/// As [`ask`].
pub async fn all_relays(client: &Client) -> Result<Vec<RelayInfo>, Failure> {
    let mut all: Vec<RelayInfo> = Vec::new();
    loop {
        let after = all.last().map(|last| last.relay.clone());
        let Reply::Relays(page) = ask(client, Request::RelayList { after, limit: PAGE }).await? else {
            return Err(unexpected("the relays it knows"));
        };
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// How often a tree is asked for that changes while its pages are taken.
const TREE_TRIES: usize = 10;

/// The whole tree of a group.
///
/// # Errors
/// As [`ask`], and when the tree does not stay the same from its first page to the last.
pub async fn group_tree(
    client: &Client,
    group: &GroupName,
    origin: Option<&RelayId>,
) -> Result<GroupTree, Failure> {
    for _ in 0..TREE_TRIES {
        let mut whole = tree_page(client, group, origin, 0).await?;
        loop {
            let found = whole.nodes.len() as u32;
            if found >= whole.relays {
                return Ok(whole);
            }
            let page = tree_page(client, group, origin, found).await?;
            if page.fingerprint != whole.fingerprint || page.nodes.is_empty() {
                break;
            }
            whole.nodes.extend(page.nodes);
        }
    }
    Err(Failure::Deadline("the tree of the group changes faster than it can be read"))
}

async fn tree_page(
    client: &Client,
    group: &GroupName,
    origin: Option<&RelayId>,
    from: u32,
) -> Result<GroupTree, Failure> {
    let request = Request::GroupTree { group: group.clone(), origin: origin.cloned(), from, limit: PAGE };
    let Reply::GroupTree(tree) = ask(client, request).await? else {
        return Err(unexpected("the tree of a group"));
    };
    Ok(*tree)
}

/// The relay has answered something else.
pub(super) fn unexpected(wanted: &str) -> Failure {
    Failure::Client(ClientError::Protocol(format!("the relay's answer is not {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for address in ["127.0.0.1:7411", "localhost:1", "[::1]:7411", "relay.example:65535"] {
            assert!(check_address(address, "--relay").is_ok(), "{address}");
        }
        for address in ["nonsense", "", ":7411", "host:", "host:0", "host:65536", "::1", "http://host"] {
            let failure = check_address(address, "--relay").unwrap_err();
            assert_eq!(failure.exit(), super::super::exit::Exit::Usage, "{address}");
        }
    }
}
