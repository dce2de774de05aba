//! Many groups in a small network, and many subscriptions that are made in a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use treecast::client::Client;
use treecast::id::{GroupName, SubscriptionName};
use treecast::wire::body::{Request, SubscriptionSpec};

use super::commands::good;
use super::process::say;
use super::site::Network;

/// Requests of one connection that wait for their answers while groups are made.
const AT_ONCE: usize = 500;

/// How often joins are sent.
const TURN: Duration = Duration::from_millis(10);

fn group(number: usize) -> GroupName {
    GroupName::new(&format!("g{number:06}")).expect("a name")
}

/// Makes a subscription, and says how long it took until its answer: that is when the other relays
/// have confirmed that they know of it.
async fn join(client: Arc<Client>, number: usize, name: &'static str) -> Duration {
    let name = SubscriptionName::new(name).expect("a name");
    // Where everybody has too much to do that is no reason to be refused.
    let spec = SubscriptionSpec { within_ms: Some(60_000), ..SubscriptionSpec::default() };
    let request = Request::SubscriptionCreate { group: group(number), name, spec };
    let begun = Instant::now();
    client.request(request).await.expect("it is made");
    begun.elapsed()
}

/// Groups with one subscription each, at each relay in turn.
async fn make_groups(clients: &[Arc<Client>], count: usize) {
    let mut waiting = JoinSet::new();
    for number in 0..count {
        if waiting.len() >= AT_ONCE * clients.len() {
            waiting.join_next().await.expect("one waits").expect("no panic");
        }
        waiting.spawn(join(Arc::clone(&clients[number % clients.len()]), number, "first"));
    }
    waiting.join_all().await;
}

/// S43: `per_second` joins in each of some seconds, each to one of `groups` groups that is at another
/// relay. All are confirmed soon, the trees lead to those who have joined, and no link is taken to be dead.
async fn joins(groups: usize, per_second: usize, seconds: usize) {
    let network = Network::ring(4).await;
    for place in 0..4 {
        network.wait_links(place, 2).await;
    }
    let mut clients = Vec::new();
    for place in 0..4 {
        clients.push(Arc::new(Client::connect(network.address(place)).await.expect("it is there")));
    }
    let begun = Instant::now();
    make_groups(&clients, groups).await;
    say(&format!("s43: {groups} groups are made in {:.1?}", begun.elapsed()));
    assert_eq!(network.downs(), 0, "no link is lost while groups are made");

    let count = per_second * seconds;
    let number_of = |join: usize| join * (groups / count);
    let (mut waiting, mut turns) = (JoinSet::new(), tokio::time::interval(TURN));
    let begun = Instant::now();
    let mut sent = 0;
    while sent < count {
        turns.tick().await;
        let due = (begun.elapsed().as_millis() as usize * per_second / 1000).min(count);
        for one in sent..due {
            let number = number_of(one);
            waiting.spawn(join(Arc::clone(&clients[(number + 1 + one % 3) % 4]), number, "second"));
        }
        sent = due;
    }
    let took = begun.elapsed();
    let mut times = waiting.join_all().await;
    let last = begun.elapsed() - took;
    times.sort_unstable();
    let share = |share: usize| times[(times.len() - 1) * share / 100];
    say(&format!(
        "s43: {count} joins in {took:.1?} beside {groups} groups: confirmed after {:.1?} p50, {:.1?} p99, {:.1?} at \
         most; the last one {last:.1?} after it was sent; links lost: {}",
        share(50),
        share(99),
        share(100),
        network.downs()
    ));
    assert_eq!(network.downs(), 0, "no link is lost: signs of life are heard");
    assert!(
        last < Duration::from_secs(2),
        "joins pile up: the last was confirmed {last:?} after it was sent"
    );
    for one in (0..count).step_by(count / 10) {
        let number = number_of(one);
        let name = group(number).as_str().to_owned();
        good(network.address(number % 4), &["put", &name, "to all"]);
        let at = network.address((number + 1 + one % 3) % 4);
        assert_eq!(good(at, &["get", &name, "--as", "second", "--wait", "30s"]), "to all\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s43_many_joins_beside_many_groups_lose_no_link() {
    joins(2_000, 200, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: 100,000 groups and 1,000 joins a second"]
async fn s43_a_thousand_joins_a_second_beside_100_000_groups_lose_no_link() {
    joins(100_000, 1_000, 10).await;
}
