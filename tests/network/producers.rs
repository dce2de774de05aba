//! A publisher that goes on at another relay with its sequence (R1, P4, S19), between real relays.

use std::time::Duration;

use serde_json::Value;

use super::commands::{good, run};
use super::proxy::Weather;
use super::site::Network;
use super::traffic::wait_for;

/// A group that is handed out in the order of its producers, and one in that of each relay.
const GROUPS: [&str; 2] = ["shop", "plain"];

/// b – a – c: the publisher is at b first, and at c then; a subscription of each group at a and at c.
struct Moving {
    network: Network,
    at: Vec<String>,
}

impl Moving {
    async fn start(hold: &str) -> Self {
        let network = Network::start(3, &[(0, 1), (0, 2)]).await;
        let at: Vec<String> = (0..3).map(|place| network.address(place).to_owned()).collect();
        good(&at[0], &["group", "create", "shop", "--fifo", "producer", "--producer-hold", hold]);
        good(&at[0], &["group", "create", "plain"]);
        for place in [1, 2] {
            wait_for("the groups are known everywhere", async || {
                let show = |group: &str| run(&at[place], &["group", "show", group, "--output", "json"]);
                show("shop").output.contains("producer") && show("plain").code == Some(0)
            })
            .await;
        }
        for group in GROUPS {
            for place in [0, 2] {
                good(&at[place], &["subscription", "create", group, &format!("s{place}")]);
            }
        }
        Self { network, at }
    }

    /// The path between a and b is down, or there again.
    fn set_path(&self, is_there: bool) {
        let proxy = self.network.cable(0, 1);
        proxy.set(Weather { refused: !is_there, ..Weather::default() });
        if !is_there {
            proxy.cut();
        }
    }

    /// Puts messages into both groups, numbered as the publisher does.
    fn put(&self, place: usize, (first, last): (u32, u32)) {
        let lines = self.network.directory.path().join("lines");
        let text: String = (first..=last).map(|number| format!("m{number}\n")).collect();
        std::fs::write(&lines, text).expect("it is written");
        let (lines, first) = (lines.to_str().expect("text"), first.to_string());
        for group in GROUPS {
            let words =
                ["put", group, "--lines", "--file", lines, "--producer", "till-7", "--sequence", &first];
            good(&self.at[place], &words);
        }
    }

    /// What a subscription is handed until `last` has come, or nothing more comes: numbers of messages, and
    /// 0 for a notice that some are not waited for.
    async fn take(&self, place: usize, group: &str, last: Option<u32>) -> Vec<u32> {
        let (name, mut got) = (format!("s{place}"), Vec::new());
        wait_for("it has come", async || {
            let words = ["poll", group, "--as", &name, "--existing", "-n", "100", "--output", "json"];
            let done = run(&self.at[place], &words);
            for line in done.output.lines() {
                let said: Value = serde_json::from_str(line).expect("one object");
                match said["payload"].as_str() {
                    Some(payload) => got.push(payload[1..].parse().expect("a number")),
                    None if said["unordered"].is_object() => got.push(0),
                    None => panic!("{said}"),
                }
            }
            last.is_none_or(|last| got.contains(&last))
        })
        .await;
        got
    }
}

fn numbers(first: u32, last: u32) -> Vec<u32> {
    (first..=last).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_a_publisher_that_goes_on_elsewhere_while_its_first_relay_is_cut_off_is_handed_out_in_its_order()
{
    let mut moving = Moving::start("10m").await;
    moving.put(1, (1, 10));
    for place in [0, 2] {
        for group in GROUPS {
            assert_eq!(moving.take(place, group, Some(10)).await, numbers(1, 10));
        }
    }
    moving.set_path(false);
    moving.put(1, (11, 15));
    // The answer to the last one is lost: it is tried again, with what follows.
    moving.put(2, (15, 20));
    for place in [0, 2] {
        let plain = moving.take(place, "plain", Some(20)).await;
        assert_eq!(plain, numbers(15, 20), "in the order of each relay nothing waits");
        assert_eq!(
            moving.take(place, "shop", None).await,
            numbers(1, 0),
            "what comes before it is waited for"
        );
    }
    let told = good(&moving.at[0], &["subscription", "show", "shop", "s0", "--output", "json"]);
    assert!(told.contains("\"backlog\":6"), "{told}");
    // What waits is known after a crash, too, wherever it waits.
    for place in [0, 2] {
        moving.network.kill(place);
        moving.network.begin(place);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for place in [0, 2] {
        assert_eq!(moving.take(place, "shop", None).await, numbers(1, 0));
    }
    moving.set_path(true);
    for place in [0, 2] {
        assert_eq!(moving.take(place, "shop", Some(20)).await, numbers(11, 20), "and no notice");
        assert_eq!(moving.take(place, "plain", Some(14)).await, numbers(11, 14), "what was late, and once");
    }
    // It goes back, and on there.
    moving.put(1, (21, 25));
    for place in [0, 2] {
        for group in GROUPS {
            assert_eq!(moving.take(place, group, Some(25)).await, numbers(21, 25));
        }
    }
    for group in GROUPS {
        assert_eq!(moving.take(0, group, None).await, numbers(1, 0));
    }
    moving.network.check_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_what_is_not_there_in_time_is_named_and_comes_late_and_once() {
    let moving = Moving::start("1s").await;
    moving.put(1, (1, 3));
    for place in [0, 2] {
        assert_eq!(moving.take(place, "shop", Some(3)).await, numbers(1, 3));
    }
    moving.set_path(false);
    moving.put(1, (4, 6));
    moving.put(2, (6, 8));
    for place in [0, 2] {
        let got = moving.take(place, "shop", Some(8)).await;
        assert_eq!(got, [0, 6, 7, 8], "a notice before what does not wait any longer");
    }
    moving.set_path(true);
    for place in [0, 2] {
        assert_eq!(moving.take(place, "shop", Some(5)).await, [4, 5], "what is late is no repeat");
    }
    moving.put(2, (9, 10));
    for place in [0, 2] {
        assert_eq!(moving.take(place, "shop", Some(10)).await, [9, 10], "and the rest goes on in order");
    }
    moving.network.check_books().await;
}
