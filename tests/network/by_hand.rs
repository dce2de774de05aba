//! What is set and moved by hand beside a topology file, and what a plan says of it.

use serde_json::{Value, json};

use super::applied::{LINE, Plain, started};
use super::commands::{good, run};
use super::traffic::wait_for;

/// A file of the line with more in it.
fn file(plain: &Plain, name: &str, more: &str) -> String {
    let path = plain.file(name, "abc", &LINE);
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, text + more).expect("it is written");
    path
}

/// The settings that a plan says to change.
fn settings(done: &Value) -> Vec<(&str, &str, Option<&str>, Option<&str>)> {
    let all = done["plan"]["network"]["settings"].as_array().expect("a list");
    all.iter()
        .map(|change| {
            let of = change["of"].as_str().expect("text");
            (of, change["key"].as_str().expect("text"), change["before"].as_str(), change["after"].as_str())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_by_hand_since_is_in_the_plan_that_sets_it_back() {
    let plain = Plain::new();
    let with = |ttl: &str| format!("[group.src]\nttl = \"{ttl}\"\n[queue.jobs]\nhome = \"c\"\n");
    let one = file(&plain, "one.toml", &with("1h"));
    let _relays = started(&plain, &one);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    plain.json('a', &["topology", "apply", &one, "--yes"]);
    let ttl = |at, name| plain.json(at, &["group", "show", name])["settings"]["ttl_ms"].as_u64();
    let set = async |name| {
        good(&plain.address('b'), &["group", "set", name, "--ttl", "7m"]);
        for at in ['a', 'c'] {
            wait_for("it is set", async || ttl(at, name) == Some(420_000)).await;
        }
    };
    set("src").await;
    set("jobs").await;
    // The same text again.
    let again = plain.json('a', &["topology", "apply", &one, "--yes"]);
    let jobs = ("queue jobs", "ttl", Some("7m"), None);
    assert_eq!(settings(&again), [("group src", "ttl", Some("7m"), Some("1h")), jobs], "{again}");
    for at in ['a', 'b', 'c'] {
        wait_for("it is as in the file", async || ttl(at, "src") == Some(3_600_000)).await;
        wait_for("a queue elsewhere is too", async || ttl(at, "jobs").is_none()).await;
    }
    let again = plain.json('a', &["topology", "apply", &one, "--yes"]);
    assert_eq!(settings(&again), [], "{again}");

    let two = file(&plain, "two.toml", &with("2h"));
    plain.json('a', &["topology", "apply", &two, "--yes"]);
    set("src").await;
    set("jobs").await;
    let back = plain.json('a', &["topology", "rollback", "--yes"]);
    assert_eq!(settings(&back), [("group src", "ttl", Some("7m"), Some("1h")), jobs], "{back}");
    wait_for("its home has heard of it", async || ttl('c', "jobs").is_none()).await;

    // One that was removed is made again.
    good(&plain.address('a'), &["group", "remove", "src", "--yes"]);
    let again = plain.json('a', &["topology", "apply", &one, "--yes"]);
    assert_eq!(again["plan"]["network"]["groups_added"], json!(["group src"]), "{again}");
    assert_eq!(ttl('a', "src"), Some(3_600_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_moved_is_planned_with_where_it_lives() {
    let plain = Plain::new();
    let with = file(&plain, "with.toml", "[queue.jobs]\nhome = \"c\"\n");
    let _relays = started(&plain, &with);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    plain.json('a', &["topology", "apply", &with, "--yes"]);
    good(&plain.address('c'), &["put", "jobs", "one"]);
    good(&plain.address('c'), &["queue", "move", "jobs", "b"]);
    wait_for("it has moved", async || plain.json('a', &["locate", "jobs"])["home"] == "b").await;
    let without = plain.file("without.toml", "ab", &LINE[..1]);
    let applied = plain.json('a', &["topology", "apply", &without, "--yes"]);
    assert_eq!(applied["plan"]["network"]["homes"], json!([]), "{applied}");
    let refused = run(&plain.address('a'), &["topology", "apply", &with, "--yes"]);
    assert!(refused.code != Some(0) && refused.output.contains("queue jobs lives at b, and"), "{refused:?}");
    let take = ["get", "jobs", "--existing", "--wait", "30s"];
    assert_eq!(good(&plain.address('a'), &take).trim(), "one");
}
