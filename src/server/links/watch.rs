//! What the shell knows of links and the core does not: where a neighbour listens, why a link is
//! down, how long a ping takes. Latest values, written by the link's task and read by the driver
//! when somebody asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rtt::Smoothed;
use crate::id::{RelayId, SessionId};
use crate::relay::Neighbour;
use crate::wire::body::LinkInfo;

/// Bytes of a reason that are kept: some come from the neighbour.
const REASON_BYTES_MAX: usize = 240;

#[derive(Clone, Debug, Default)]
struct Seen {
    /// The connection over which it is up, if it is: the last one that was opened.
    up: Option<SessionId>,
    rtt: Option<Smoothed>,
    last_down: Option<String>,
    last_attempt: Option<String>,
}

/// One link.
#[derive(Debug)]
struct Watched {
    address: String,
    seen: Seen,
}

/// All links. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    links: Arc<Mutex<BTreeMap<RelayId, Watched>>>,
}

impl Watch {
    pub(super) fn new(neighbours: &[Neighbour]) -> Self {
        let watch = Self::default();
        watch.set(neighbours);
        watch
    }

    /// The links are these from now on; what is known of those that stay is kept.
    pub(super) fn set(&self, neighbours: &[Neighbour]) {
        let mut links = self.lock();
        let mut before = std::mem::take(&mut *links);
        *links = neighbours
            .iter()
            .map(|n| {
                let seen = before.remove(&n.relay).map(|watched| watched.seen).unwrap_or_default();
                (n.relay.clone(), Watched { address: n.address.clone(), seen })
            })
            .collect();
    }

    /// What is inside is whole between any two statements: a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RelayId, Watched>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, neighbour: &RelayId, change: impl FnOnce(&mut Seen)) {
        if let Some(link) = self.lock().get_mut(neighbour) {
            change(&mut link.seen);
        }
    }

    /// A connection has become the link, in the place of one that may not have ended yet.
    pub(super) fn up(&self, neighbour: &RelayId, session: SessionId) {
        self.change(neighbour, |seen| {
            if seen.up < Some(session) {
                (seen.up, seen.rtt, seen.last_attempt) = (Some(session), None, None);
            }
        });
    }

    /// A connection has ended. False: another one has taken its place, and the link is up.
    pub(super) fn down(&self, neighbour: &RelayId, session: SessionId, why: &str) -> bool {
        let mut is_down = true;
        self.change(neighbour, |seen| {
            seen.last_down = Some(readable(why));
            is_down = seen.up.is_none_or(|up| up == session);
            if is_down {
                (seen.up, seen.rtt) = (None, None);
            }
        });
        is_down
    }

    /// An attempt to connect has failed.
    pub(super) fn failed(&self, neighbour: &RelayId, why: &str) {
        self.change(neighbour, |seen| seen.last_attempt = Some(readable(why)));
    }

    pub(super) fn measured(&self, neighbour: &RelayId, rtt: Smoothed) {
        self.change(neighbour, |seen| seen.rtt = Some(rtt));
    }

    /// Fills in what the core has left open.
    pub(crate) fn fill(&self, link: &mut LinkInfo) {
        let links = self.lock();
        let Some(watched) = links.get(&link.neighbour) else { return };
        let seen = watched.seen.clone();
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        link.address = Some(watched.address.clone());
        link.last_down = seen.last_down;
        if link.is_up {
            link.rtt_us = seen.rtt.map(|rtt| micros(rtt.time));
            link.rtt_variation_us = seen.rtt.map(|rtt| micros(rtt.variation));
        } else {
            link.last_attempt = seen.last_attempt;
        }
    }

    /// What the operator should know: the links that are down, with the reason. Which are is asked
    /// of `is_down`, the core's view, so that one answer does not say both of a link that changes.
    pub(crate) fn warnings(&self, is_down: impl Fn(&RelayId) -> bool) -> Vec<String> {
        const TOLD_MAX: usize = 8;
        let mut warnings = Vec::new();
        let mut more = 0;
        for (neighbour, link) in &*self.lock() {
            let seen = &link.seen;
            if !is_down(neighbour) {
                continue;
            }
            if warnings.len() == TOLD_MAX {
                more += 1;
                continue;
            }
            let why = seen.last_attempt.as_ref().or(seen.last_down.as_ref());
            let why = match why {
                Some(why) => why.as_str(),
                None if seen.up.is_some() => "it is coming up",
                None => "it has not connected yet",
            };
            warnings.push(format!("the link to {neighbour} is down: {why}"));
        }
        if more > 0 {
            warnings.push(format!("{more} more links are down"));
        }
        warnings
    }
}

/// A reason in one short line that does nothing to a terminal.
fn readable(why: &str) -> String {
    let mut line = String::new();
    for c in why.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LinkId;

    fn watch() -> (Watch, RelayId) {
        let relay = RelayId::new("b").unwrap();
        let neighbour = Neighbour {
            link: LinkId(1),
            relay: relay.clone(),
            address: "127.0.0.1:1".to_owned(),
            cost: Some(1),
            hello: std::time::Duration::from_millis(100),
            rate: None,
            packs: true,
        };
        (Watch::new(&[neighbour]), relay)
    }

    /// A relay that was stopped for a while and goes on: its tasks notice at another time than the core.
    #[test]
    fn a_link_is_told_as_down_when_the_core_takes_it_for_down() {
        let (watch, b) = watch();
        let told = |is_down: bool| watch.warnings(|_| is_down);
        watch.up(&b, SessionId(1));
        watch.down(&b, SessionId(1), "silent");
        assert_eq!(told(false), Vec::<String>::new(), "the core has the next connection already");
        assert_eq!(told(true), ["the link to b is down: silent"]);
        watch.up(&b, SessionId(2));
        assert_eq!(told(true), ["the link to b is down: silent"], "the core has not heard of it");
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(readable("no\nroute\u{1b}[2J"), "no route [2J");
        assert_eq!(readable(&"ä".repeat(5000)).len(), REASON_BYTES_MAX);
    }

    #[test]
    fn a_connection_that_ends_late_does_not_take_the_link_down() {
        let (watch, b) = watch();
        watch.up(&b, SessionId(1));
        watch.up(&b, SessionId(2));
        assert!(!watch.down(&b, SessionId(1), "the relay has connected anew"));
        // Whoever is late with saying that it is up is so too.
        watch.up(&b, SessionId(1));
        assert!(!watch.down(&b, SessionId(1), "late"));
        assert!(watch.down(&b, SessionId(2), "broken"));
        assert_eq!(watch.warnings(|_| true), ["the link to b is down: broken"]);
    }
}
