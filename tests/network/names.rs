//! Who a relay lets in: two of one name, strangers, and ones that take it for another.

use std::time::Duration;

use super::site::{Network, Site, write_file};
use super::traffic::{Shape, Traffic, wait_for};

const HELLO: Duration = Duration::from_millis(100);

const BOTH: Shape<'static> =
    Shape { puts: &[0, 1], reads: &[0, 1], pause: Duration::from_millis(5), bytes: 100 };

/// Lines of a log that are warnings or worse.
fn alarms(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).count()
}

/// Another relay, with a file of its own that knows a relay of the network.
fn intruder(network: &Network, folder: &str, name: &str, (of, at): (&str, &str)) -> Site {
    let place = format!("{}:7099", network.host);
    let mut site = Site::new(network.directory.path(), name, &place);
    site.data = network.directory.path().join(folder);
    site.file = network.directory.path().join(format!("{folder}.toml"));
    let mut sites = [site, Site::new(network.directory.path(), of, at)];
    let addresses = [place.clone(), at.to_owned()];
    write_file(&sites, 0, &[(0, 1)], (HELLO, &|number: usize| addresses[number].clone()));
    let [site, _] = &mut sites;
    std::mem::replace(site, Site::new(network.directory.path(), "-", &place))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_a_second_relay_of_one_name_is_refused_and_everybody_says_so() {
    let network = Network::line(2).await;
    let traffic = Traffic::start(&network, BOTH).await;
    let mut twin = intruder(&network, "twin", "a", ("b", network.address(1)));
    twin.start();
    wait_for("the neighbour says so", async || network.sites[1].said("two relays have one name") > 0).await;
    wait_for("the second one says so", async || twin.said("two relays have one name") > 0).await;
    traffic.progress(100).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (told, own) = (alarms(&network.sites[1].log()), alarms(&twin.log()));
    assert!(told <= 3, "{told} alarms:\n{}", network.sites[1].log());
    assert!(own <= 3, "{own} alarms:\n{}", twin.log());
    assert_eq!(network.downs(), 0, "the first one's link has nothing to do with it");
    twin.stop();
    traffic.finish(&network).await;
}

/// A copy of a data directory: the same storage id twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_f32_a_copy_of_a_relay_that_runs_beside_it_is_refused_and_everybody_says_so() {
    let mut network = Network::line(2).await;
    let traffic = Traffic::start(&network, BOTH).await;
    traffic.progress(100).await;
    network.kill(0);
    let mut twin = intruder(&network, "twin", "a", ("b", network.address(1)));
    std::fs::create_dir_all(&twin.data).expect("it has room beside the other");
    for entry in std::fs::read_dir(&network.sites[0].data).expect("its data is there") {
        let path = entry.expect("it can be read").path();
        std::fs::copy(&path, twin.data.join(path.file_name().expect("a file")))
            .expect("there is room for two");
    }
    network.begin(0);
    traffic.progress(100).await;
    twin.start();
    wait_for("the neighbour says so", async || network.sites[1].said("two relays have one name") > 0).await;
    wait_for("the copy says so", async || twin.said("two relays have one name") > 0).await;
    traffic.progress(100).await;
    twin.stop();
    traffic.finish(&network).await;
}

/// The one with the larger name only knocks: that is not let pass unseen either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_a_second_relay_of_the_larger_name_is_told_of_when_it_knocks() {
    let network = Network::line(2).await;
    let traffic = Traffic::start(&network, BOTH).await;
    let mut twin = intruder(&network, "twin", "b", ("a", network.address(0)));
    twin.start();
    wait_for("the neighbour says so", async || network.sites[0].said("two relays have one name") > 0).await;
    traffic.progress(100).await;
    assert_eq!(network.downs(), 0, "the first one's link has nothing to do with it");
    twin.stop();
    traffic.finish(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_the_file_does_not_know_is_refused_with_the_reason_and_without_a_flood() {
    let network = Network::line(2).await;
    let traffic = Traffic::start(&network, BOTH).await;
    let mut stranger = intruder(&network, "stranger", "a-stranger", ("b", network.address(1)));
    stranger.start();
    wait_for("it is told why", async || stranger.said("relay b has no link to a-stranger") > 0).await;
    wait_for("the other one says so", async || network.sites[1].said("no link to a-stranger") > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for log in [stranger.log(), network.sites[1].log()] {
        assert!(log.matches("no link to").count() <= 3, "a flood:\n{log}");
    }
    stranger.stop();
    traffic.finish(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_takes_another_for_its_neighbour_is_told_who_it_is() {
    let mut network = Network::plan(3, &[(0, 1), (1, 2)], HELLO).await;
    let wrong = network.address(2).to_owned();
    network.cable(0, 1).lead_to(&wrong);
    for place in 0..3 {
        network.begin(place);
    }
    wait_for("it is told", async || network.sites[0].said("this is relay c, not b") > 0).await;
    wait_for("the other one says so", async || network.sites[2].said("this is relay c, not b") > 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for place in [0, 2] {
        let log = network.sites[place].log();
        assert!(log.matches("this is relay c").count() <= 3, "a flood:\n{log}");
    }
    // Once the way is right the link comes up by itself.
    let right = network.address(1).to_owned();
    network.cable(0, 1).lead_to(&right);
    let shape = Shape { puts: &[0, 2], reads: &[0, 2], ..BOTH };
    let traffic = Traffic::start(&network, shape).await;
    traffic.progress(50).await;
    traffic.finish(&network).await;
}
