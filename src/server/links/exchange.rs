//! Two relays that are no neighbours tell one another which topology is in force: one that has not
//! heard of the last change finds out, from a neighbour of before, who its neighbours are now.

use std::sync::Arc;
use std::time::Duration;

use super::super::handle::Identity;
use super::super::native::Native;
use super::CONNECT;
use crate::client::{Backoff, Client, ClientError, ClientOptions};
use crate::relay::Input;
use crate::wire::applied::TopologyEntry;
use crate::wire::body::{RefusalCode, Reply, Request, TopologyInfo};

async fn connect(address: &str) -> Result<Client, ClientError> {
    let mut options = ClientOptions::new(address);
    "relay".clone_into(&mut options.name);
    options.connect_deadline = CONNECT;
    options.request_deadline = CONNECT;
    options.reconnect = Backoff { give_up: Some(Duration::ZERO), ..Backoff::default() };
    Client::connect_with(options).await
}

async fn ask(client: &Client, identity: &Identity) -> Result<Option<TopologyEntry>, ClientError> {
    let (relay, storage) = (identity.relay.clone(), identity.epoch.storage);
    let Reply::Topology(info) = client.request(Request::TopologyJoin { relay, storage }).await? else {
        return Err(ClientError::Protocol("the answer is no topology".to_owned()));
    };
    let TopologyInfo { entry, .. } = *info;
    Ok(entry.filter(|entry| entry.check().is_ok()))
}

/// Asks the relay at an address which topology is in force.
///
/// # Errors
/// When it is not there, or refuses.
pub(crate) async fn join(address: &str, identity: &Identity) -> Result<Option<TopologyEntry>, ClientError> {
    ask(&connect(address).await?, identity).await
}

impl Native {
    /// Asks a relay that does not take this one for a neighbour, and tells it what it does not know.
    pub(super) async fn exchange(&self, address: &str) {
        let exchanged = tokio::select! {
            () = self.stop.cancelled() => return,
            exchanged = self.try_exchange(address) => exchanged,
        };
        if let Err(error) = exchanged {
            tracing::debug!(address, %error, "no topology was exchanged");
        }
    }

    async fn try_exchange(&self, address: &str) -> Result<(), ClientError> {
        let client = connect(address).await?;
        let mine = self.links.board.now().entry.clone();
        let theirs = match ask(&client, self.sessions.identity()).await {
            Err(ClientError::Refused(refusal)) if refusal.code == RefusalCode::NotFound => None,
            asked => asked?,
        };
        let known = mine.as_ref().map(|entry| &entry.head);
        match (theirs, mine.as_ref()) {
            (Some(theirs), _) if known < Some(&theirs.head) => self.take_topology(theirs).await,
            (theirs, Some(mine)) if theirs.as_ref().map(|entry| &entry.head) < known => {
                tell(&client, mine).await?;
            }
            (_, _) => {}
        }
        Ok(())
    }

    async fn take_topology(&self, entry: TopologyEntry) {
        let version = entry.head.version;
        tracing::info!(%version, by = %entry.head.by, "another topology is in force");
        let Ok(handle) = self.sessions.open().await else { return };
        // A relay that stops takes nothing any more.
        let _ = handle.sender.send(vec![Input::Topology { entry: Box::new(entry) }]).await;
        handle.sender.close().await;
    }
}

async fn tell(client: &Client, mine: &Arc<TopologyEntry>) -> Result<(), ClientError> {
    client.request(Request::TopologyTell { entry: Box::new((**mine).clone()) }).await?;
    Ok(())
}
