//! What a relay answers of the network, for the golden files.

use treecast::id::{LinkId, RelayId, SubscriptionName};
use treecast::topology::settings::TreeKind;
use treecast::wire::body::{
    Books, Carried, Draining, DrainingKept, DrainingWait, EdgeState, Forgetting, GroupTree, Home, Lag,
    LinkBooks, LinkCounts, LinkEnd, LinkInfo, LostSubscription, NetworkStatus, Reach, RelayInfo, Status,
    TreeNode,
};

use super::values::{EPOCH, group, relay};

fn other() -> RelayId {
    RelayId::new("oslo").unwrap()
}

fn counts() -> LinkCounts {
    LinkCounts {
        sent: Carried { bytes: 1000, runs: 2, records: 30 },
        received: Carried { bytes: 4000, runs: 5, records: 26 },
        taken: 10,
        repeats: 7,
        early: 8,
        strays: 1,
    }
}

pub(crate) fn status(status: Status) -> Status {
    let network = NetworkStatus {
        links_up: 1,
        links: 2,
        relays_reachable: 3,
        relays: 4,
        protected: false,
        topology: None,
    };
    Status { network: Some(network), ..status }
}

pub(crate) fn books(books: Books) -> Books {
    Books { links: vec![LinkBooks { neighbour: other(), counts: counts() }], ..books }
}

/// What is lost with a relay.
pub(crate) fn forgetting() -> Forgetting {
    let name = SubscriptionName::new("billing").unwrap();
    Forgetting {
        subscriptions: vec![LostSubscription { group: group("orders"), name, kept: 12 }],
        subscription_count: 501,
        queues: vec![group("jobs")],
        queue_count: 1,
        origins: vec![group("orders")],
        origin_count: 1,
        ..Forgetting::new(other(), true)
    }
}

/// A relay that waits for others.
pub(crate) fn draining() -> Draining {
    let name = SubscriptionName::new("billing").unwrap();
    Draining {
        homes: vec![Home { group: group("jobs"), name, backlog: 3, moves_to: None, comes_from: None }],
        home_count: 1,
        waits: vec![DrainingWait { group: group("orders"), records: 7, members: vec![other()] }],
        wait_count: 1,
        kept: vec![DrainingKept { group: group("orders"), origin: other(), records: 2, disk_lost: false }],
        kept_count: 1,
        is_origin: true,
        sessions: 4,
        ..Draining::new(relay(), true)
    }
}

/// One with everything that a link can have, and one with nothing.
pub(crate) fn links() -> Vec<LinkInfo> {
    let up = LinkInfo {
        link: LinkId(1),
        neighbour: other(),
        address: Some("127.0.0.1:7412".to_owned()),
        cost: 10,
        is_up: true,
        for_ms: 60_000,
        downs: 2,
        last_down: Some("nothing was heard".to_owned()),
        last_attempt: Some("refused".to_owned()),
        rtt_us: Some(153),
        rtt_variation_us: Some(12),
        waiting_bytes: 99,
        owed_bytes: 0,
        packed_bytes: 0,
        counts: counts(),
        groups: 3,
    };
    let down = LinkInfo {
        link: LinkId(2),
        neighbour: relay(),
        address: None,
        is_up: false,
        last_down: None,
        last_attempt: None,
        rtt_us: None,
        rtt_variation_us: None,
        counts: LinkCounts::default(),
        ..up.clone()
    };
    vec![up, down]
}

/// One for each way in which a relay can be reached, or not.
pub(crate) fn relays() -> Vec<RelayInfo> {
    let with = |reach| RelayInfo {
        relay: relay(),
        reach,
        transit: true,
        max_children: Some(4),
        catching_up: false,
        storage: Some(EPOCH.storage),
        boot: Some(EPOCH.counter),
        links_up: 1,
        links: 2,
        ends: vec![LinkEnd { neighbour: other(), cost: 10, is_up: true }],
        topology: None,
        draining: false,
    };
    let unknown =
        RelayInfo { max_children: None, storage: None, boot: None, ends: Vec::new(), ..with(Reach::Lost) };
    vec![
        with(Reach::Here),
        with(Reach::Over { next: other(), distance: 20 }),
        with(Reach::KeptBy(other())),
        unknown,
    ]
}

/// One that is being drained.
pub(crate) fn leaving() -> Vec<RelayInfo> {
    relays().into_iter().skip(1).take(1).map(|relay| RelayInfo { draining: true, ..relay }).collect()
}

/// A tree with a link in each state.
pub(crate) fn tree() -> GroupTree {
    let lag = Lag { messages: 12, bytes: 3400, ms: 2000 };
    let root = TreeNode {
        relay: relay(),
        up: None,
        state: EdgeState::Up,
        cost: None,
        member: true,
        origin: true,
        lag: None,
        unconfirmed: None,
        max_children: None,
    };
    let below = |state| TreeNode {
        relay: other(),
        up: Some(0),
        state,
        cost: Some(10),
        member: true,
        origin: false,
        lag: Some(lag),
        unconfirmed: Some(7),
        max_children: None,
    };
    let states = [EdgeState::Up, EdgeState::Comparing, EdgeState::Down];
    GroupTree {
        group: group("orders"),
        here: relay(),
        kind: TreeKind::Source,
        origin: Some(relay()),
        trees: 2,
        cost: 30,
        held: lag,
        fingerprint: 0x1122_3344,
        relays: 4,
        nodes: [root].into_iter().chain(states.map(below)).collect(),
    }
}

/// A tree in which a relay has more children than it wants.
pub(crate) fn tree_over_cap() -> GroupTree {
    let mut tree = tree();
    tree.nodes[0].max_children = Some(1);
    tree
}

/// A relay that is to be drained, and whose subscription is on its way elsewhere.
pub(crate) fn draining_moves() -> Draining {
    let mut state = draining();
    state.homes[0].moves_to = Some(other());
    state
}

/// A relay that keeps what the lost disk of another had, and is still an origin.
pub(crate) fn draining_closes() -> Draining {
    let mut state = draining();
    state.kept[0].disk_lost = true;
    (state.closing, state.closing_count) = (vec![group("jobs")], 1);
    state
}
