//! Relays that leave for good: drained first, or forgotten afterwards.

use std::time::{Duration, Instant};

use super::commands::{Done, Running, command, good, json, run};
use super::site::Network;
use super::traffic::{read_at, wait_for};

/// Messages that the subscription at a place is given now.
fn take(at: &[String], place: usize) -> String {
    let (name, mut said) = (read_at(place), String::new());
    loop {
        let poll = ["poll", "load", "--as", &name, "--existing", "--output", "json"];
        let done = run(&at[place], &poll);
        if done.output.is_empty() {
            return said;
        }
        said += &done.output;
    }
}

fn put(address: &str, payload: &str) -> Done {
    run(address, &["put", "load", payload, "--deadline", "5s"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s48_a_relay_that_was_drained_is_stopped_and_nobody_misses_anything() {
    let mut network = Network::ring(3).await;
    let at: Vec<String> = (0..3).map(|place| network.address(place).to_owned()).collect();
    for (place, address) in at.iter().enumerate() {
        good(address, &["subscription", "create", "load", &read_at(place)]);
    }
    for number in 0..10 {
        good(&at[2], &["put", "load", &format!("before {number}")]);
    }
    // It has a subscription that is to leave first.
    let refused = run(&at[2], &["relay", "drain"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.said.contains("load/read-2 (10 messages)"), "{refused:?}");
    let drained = good(&at[2], &["relay", "drain", "c", "--abandon"]);
    assert!(drained.contains("c may go"), "{drained}");
    let late = run(&at[2], &["put", "load", "late", "--deadline", "500ms"]);
    assert!(matches!(late.code, Some(75 | 124)), "{late:?}");
    // Nor does it give anything, and says where there is more.
    let name = read_at(2);
    for words in
        [["get", "load", "--as", &name, "--wait", "500ms"], ["poll", "load", "--as", &name, "-n", "1"]]
    {
        let begun = Instant::now();
        let refused = run(&at[2], &words);
        assert_eq!(refused.code, Some(75), "{words:?}: {refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{words:?} does not wait: {:?}", begun.elapsed());
        assert!(refused.said.contains("is being drained: go to another relay"), "{refused:?}");
    }
    let status = json(&at[2], &["status"]);
    assert!(status.to_string().contains("being drained"), "{status}");
    network.sites[2].stop();
    wait_for("its neighbours know that it is gone", async || {
        run(&at[0], &["relay", "forget", "c", "--yes"]).code == Some(0)
    })
    .await;
    good(&at[1], &["put", "load", "after"]);
    for place in 0..2 {
        let mut said = String::new();
        wait_for("everything is there", async || {
            said += &take(&at, place);
            said.contains("after")
        })
        .await;
        assert_eq!(said.matches("before").count(), 10, "{said}");
        assert!(!said.contains("uncertain"), "{said}");
    }
}

/// Whether a relay says that it is being drained.
fn is_draining(at: &str) -> bool {
    json(at, &["status"]).to_string().contains("being drained")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s48_a_relay_is_drained_by_its_name_from_the_other_end_of_the_network() {
    let mut network = Network::line(3).await;
    let at: Vec<String> = (0..3).map(|place| network.address(place).to_owned()).collect();
    for (place, address) in at.iter().enumerate() {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
        good(address, &["subscription", "create", "load", &read_at(place)]);
    }
    good(&at[2], &["put", "load", "before"]);
    wait_for("a knows who is there", async || good(&at[0], &["relay", "list"]).contains("\nc ")).await;
    let unknown = run(&at[0], &["relay", "drain", "cc", "--abandon"]);
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
    assert!(unknown.said.contains(r#"did you mean "c"?"#), "{unknown:?}");
    let refused = run(&at[0], &["relay", "drain", "c"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.said.contains("at c: load/read-2 (1 message); move or remove them first"), "{refused:?}");
    assert!(at.iter().all(|at| !is_draining(at)), "nobody is drained yet");
    // One member is away: what it lacks holds the relay up, and how far it is can be asked again.
    network.kill(1);
    wait_for("c cannot be reached", async || run(&at[0], &["relay", "drain", "c"]).code == Some(75)).await;
    let away = run(&at[0], &["relay", "drain", "c", "--abandon"]);
    assert_eq!(away.code, Some(75), "{away:?}");
    assert!(away.said.contains("relay c cannot be reached from here now"), "{away:?}");
    good(&at[2], &["put", "load", "meanwhile"]);
    network.begin(1);
    wait_for("c is back", async || run(&at[0], &["relay", "drain", "c"]).code != Some(75)).await;
    let drained = json(&at[0], &["relay", "drain", "c", "--abandon", "--deadline", "60s"]);
    assert_eq!(
        (drained["relay"].as_str(), drained["may_go"].as_bool()),
        (Some("c"), Some(true)),
        "{drained}"
    );
    assert!(is_draining(&at[2]) && !is_draining(&at[0]) && !is_draining(&at[1]), "c and nobody else");
    network.sites[2].stop();
    wait_for("it is known to be gone", async || {
        run(&at[0], &["relay", "forget", "c", "--yes"]).code == Some(0)
    })
    .await;
    let gone = run(&at[0], &["relay", "drain", "c"]);
    assert!(gone.code == Some(3) && gone.said.contains("was forgotten"), "{gone:?}");
    for place in 0..2 {
        let mut said = String::new();
        wait_for("everything is there", async || {
            said += &take(&at, place);
            said.contains("meanwhile") && said.contains("before")
        })
        .await;
        assert!(!said.contains("uncertain"), "{said}");
    }
}

/// The way to the relay that is drained is lost while it is waited for: it is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s48_a_relay_that_is_drained_elsewhere_is_asked_again_when_the_way_was_lost() {
    let mut network = Network::ring(4).await;
    let at: Vec<String> = (0..4).map(|place| network.address(place).to_owned()).collect();
    good(&at[0], &["subscription", "create", "load", &read_at(0)]);
    good(&at[1], &["subscription", "create", "load", &read_at(1)]);
    // b is away, and lacks what c keeps for it.
    network.kill(1);
    good(&at[2], &["put", "load", "kept"]);
    let said = tempfile::NamedTempFile::new().expect("a file");
    let mut waits =
        Running::start(command(&at[0], &["relay", "drain", "c"]).stdout(said.reopen().expect("it is there")));
    let says = async |words: &str| {
        wait_for(words, async || std::fs::read_to_string(&said).is_ok_and(|said| said.contains(words))).await;
    };
    says("b must confirm").await;
    // Now d is away too, and with it the only way from a to c.
    network.kill(3);
    says("c is asked again: ").await;
    network.begin(3);
    network.begin(1);
    says("c may go").await;
    assert!(waits.wait().is_ok_and(|status| status.success()));
    assert!(is_draining(&at[2]) && !is_draining(&at[0]) && !is_draining(&at[3]), "c and nobody else");
    wait_for("b has it", async || take(&at, 1).contains("kept")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_a_relay_that_was_forgotten_comes_back_and_is_told() {
    let mut network = Network::line(3).await;
    let at: Vec<String> = (0..3).map(|place| network.address(place).to_owned()).collect();
    good(&at[2], &["subscription", "create", "load", &read_at(2)]);
    good(&at[0], &["put", "load", "before"]);
    wait_for("it is there", async || take(&at, 2).contains("before")).await;
    let alive = run(&at[0], &["relay", "forget", "c", "--yes"]);
    assert_eq!(alive.code, Some(77), "it can be reached: {alive:?}");
    network.kill(2);
    let mut told = String::new();
    wait_for("it cannot be reached any more", async || {
        good(&at[0], &["put", "load", "meanwhile"]);
        let asked = run(&at[0], &["relay", "forget", "c"]);
        told = asked.output;
        assert!(matches!(asked.code, Some(2 | 77)), "nobody can be asked: {}", asked.said);
        asked.code == Some(2)
    })
    .await;
    assert!(told.contains("load/read-2"), "what is lost is said first: {told}");
    let done = json(&at[0], &["relay", "forget", "c", "--yes"]);
    assert_eq!((done["forgotten"].as_bool(), done["subscription_count"].as_u64()), (Some(true), Some(1)));
    wait_for("nothing is kept for it", async || {
        json(&at[0], &["group", "show", "load"])["kept"].as_u64() == Some(0)
    })
    .await;
    network.begin(2);
    let mut said = String::new();
    wait_for("it is told, and gets what is new", async || {
        put(&at[0], "new");
        said += &take(&at, 2);
        said.contains(r#""payload":"new""#)
    })
    .await;
    assert!(said.contains("uncertain"), "a gap tells it: {said}");
    assert!(said.find("uncertain") < said.find(r#""payload":"new""#), "in its place: {said}");
    for (place, text) in [(2, "was forgotten by an operator at a"), (0, "is back")] {
        let status = json(&at[place], &["status"]).to_string();
        assert!(status.contains(text), "{status}");
    }
}

/// Nobody reads what the relay that is to go has: it goes to another one all the same, and is read there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s47_a_relay_whose_subscription_nobody_reads_is_drained_when_that_has_moved() {
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    let [a, b, c] = [0, 1, 2].map(|place| network.address(place).to_owned());
    good(&c, &["subscription", "create", "news", "me"]);
    wait_for("it is known", async || good(&b, &["locate", "news"]).contains("me")).await;
    for number in 1..=50 {
        good(if number % 2 == 0 { &a } else { &c }, &["put", "news", &format!("news {number:02}")]);
    }
    good(&b, &["subscription", "move", "news", "me", "a"]);
    assert_eq!(run(&c, &["relay", "drain"]).code, Some(1), "it is still there");
    tokio::time::sleep(Duration::from_millis(4_900)).await;
    network.kill(2);
    network.begin(2);
    network.wait_links(2, 1).await;
    good(&b, &["put", "news", "news 51"]);
    let shown = || run(&b, &["subscription", "show", "news", "me", "--output", "json"]).output;
    wait_for("it has moved", async || shown().contains("\"home\":\"a\"")).await;
    let drained = good(&b, &["relay", "drain", "c"]);
    assert!(drained.contains("c may go"), "{drained}");
    network.sites[2].stop();
    network.kill(0);
    network.begin(0);
    network.wait_links(0, 1).await;
    let mut got = String::new();
    wait_for("all of it is taken", async || {
        got += &run(&b, &["get", "news", "--as", "me", "-n", "30", "--wait", "1s"]).output;
        got.contains("news 51")
    })
    .await;
    let got: Vec<&str> = got.lines().collect();
    let of = |rest: usize| got.iter().copied().filter(move |line| line[5..].parse() == Ok(rest) || rest > 51);
    assert_eq!((got.len(), got.last()), (51, Some(&"news 51")), "{got:?}");
    assert!((1..=51).all(|number| of(number).count() == 1), "{got:?}");
    for odd in [0, 1] {
        let one: Vec<&&str> =
            got[..50].iter().filter(|line| line[5..].parse::<usize>().is_ok_and(|n| n % 2 == odd)).collect();
        assert!(one.is_sorted(), "of one relay: {one:?}");
    }
    assert_eq!(run(&b, &["poll", "news", "--as", "me"]).code, Some(3), "each was acked once");
}

/// Who waits for its home to come back would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_whoever_asks_for_a_queue_whose_home_was_forgotten_is_told_so() {
    let mut network = Network::line(3).await;
    let at: Vec<String> = (0..3).map(|place| network.address(place).to_owned()).collect();
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    good(&at[2], &["queue", "create", "jobs"]);
    wait_for("all know of it", async || run(&at[0], &["put", "jobs", "one"]).code == Some(0)).await;
    wait_for("a knows where it lives", async || good(&at[0], &["locate", "jobs"]).contains('c')).await;
    network.kill(2);
    wait_for("it is known to be gone", async || {
        run(&at[1], &["relay", "forget", "c", "--yes"]).code == Some(0)
    })
    .await;
    wait_for("a has heard of it", async || run(&at[0], &["put", "jobs", "two"]).code == Some(3)).await;
    let words: [&[&str]; 4] = [
        &["get", "jobs", "--existing", "--wait", "60s"],
        &["get", "jobs"],
        &["poll", "jobs", "--existing"],
        &["queue", "move", "jobs", "b"],
    ];
    for words in words {
        let done = run(&at[0], words);
        assert_eq!(done.code, Some(3), "{words:?} {done:?}");
        assert!(done.said.contains("`jobs` is a queue whose home c was forgotten: remove it"), "{done:?}");
    }
    let shown = run(&at[0], &["queue", "show", "jobs"]);
    assert!(
        shown.said.contains("home c was forgotten") && !shown.said.contains("cannot be reached"),
        "{shown:?}"
    );
    let located = run(&at[0], &["locate", "jobs"]);
    assert!(located.code == Some(0) && located.output.contains("c, which was forgotten"), "{located:?}");
    assert_eq!(json(&at[0], &["locate", "jobs"])["forgotten"], true);
    // What it says to do can be done.
    good(&at[0], &["queue", "remove", "jobs", "--yes"]);
    good(&at[0], &["queue", "create", "jobs"]);
    good(&at[0], &["put", "jobs", "three"]);
    assert_eq!(good(&at[0], &["get", "jobs", "--existing", "--wait", "30s"]).trim(), "three");
}
