//! What three relays in processes of their own tell an operator of their network.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// east and west, and the hub between them: nothing goes from one to the other without it.
const TOPOLOGY: &str = r#"
version = 1
[relay.hub]
address = "127.61.7.9:7411"
[relay.east]
address = "127.61.7.9:7412"
transit = false
[relay.west]
address = "127.61.7.9:7413"
transit = false
[[link]]
between = ["east", "hub"]
cost = 10
[[link]]
between = ["hub", "west"]
cost = 5
"#;

const HUB: &str = "127.61.7.9:7411";
const EAST: &str = "127.61.7.9:7412";
const WEST: &str = "127.61.7.9:7413";

/// How long anything may take that takes a moment: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Network {
    folder: tempfile::TempDir,
}

impl Network {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("network.toml"), TOPOLOGY).unwrap();
        Self { folder }
    }

    fn start(&self, name: &str) -> Relay {
        let path = |name: &str| self.folder.path().join(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_treecast"))
            .args(["relay", "--name", name, "--segment-bytes", "32MiB", "--until-input-ends"])
            .args(["--output", "json", "--topology"])
            .arg(path("network.toml"))
            .arg("--data")
            .arg(path(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"address\""), "{name} does not start: {line}");
        Relay(child)
    }
}

fn run(relay: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
    command.args(words).args(["--relay", relay]).stdin(Stdio::null()).output().unwrap()
}

fn text(relay: &str, words: &[&str]) -> String {
    let output = run(relay, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?} at {relay} said {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// One object for each line.
fn json(relay: &str, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    text(relay, &words).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until it is so, and shows what is there when it never is.
fn until(what: &str, show: impl Fn() -> String, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}:\n{}", show());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn links(relay: &str) -> Vec<Value> {
    json(relay, &["link", "list"])
}

fn tree(relay: &str) -> Value {
    json(relay, &["group", "tree", "news"]).remove(0)
}

/// What the list says of one relay or neighbour.
fn of<'v>(list: &'v [Value], key: &str, name: &str) -> &'v Value {
    list.iter().find(|one| one[key] == name).unwrap_or_else(|| panic!("no {key} {name} in {list:?}"))
}

fn in_tree<'v>(tree: &'v Value, name: &str) -> &'v Value {
    of(tree["relays"].as_array().unwrap(), "relay", name)
}

fn is_connected() -> bool {
    links(HUB).iter().all(|link| link["up"] == true && link["rtt_us"].is_u64())
        && json(EAST, &["relay", "list"]).iter().all(|relay| relay["reach"] != "cut-off")
}

fn check_links() {
    let hub = links(HUB);
    let (east, west) = (of(&hub, "neighbour", "east"), of(&hub, "neighbour", "west"));
    assert_eq!((&east["address"], &east["cost"]), (&EAST.into(), &10.into()));
    assert_eq!((&east["trees"], &west["trees"]), (&1.into(), &1.into()));
    assert!((1..5_000_000).contains(&east["rtt_us"].as_u64().unwrap()), "{east}");
    // What the hub has taken from the one side it has given to the other, once.
    assert_eq!(
        (&east["taken"], &west["sent"]["records"]),
        (&west["sent"]["records"], &east["received"]["records"])
    );
    assert!(east["taken"].as_u64().unwrap() >= 3, "{east}");
    let list = text(HUB, &["link", "list"]);
    assert!(list.starts_with("NEIGHBOUR  STATE  FOR "), "{list}");
    assert_eq!(list.lines().filter(|line| line.contains(" up ")).count(), 2, "{list}");
}

fn check_relays() {
    let found = json(EAST, &["relay", "list"]);
    let (hub, west) = (of(&found, "relay", "hub"), of(&found, "relay", "west"));
    assert_eq!((&hub["next"], &hub["distance"], &hub["transit"]), (&"hub".into(), &10.into(), &true.into()));
    assert_eq!(
        (&west["next"], &west["distance"], &west["transit"]),
        (&"hub".into(), &15.into(), &false.into())
    );
    assert_eq!((&hub["links_up"], &hub["links_configured"]), (&2.into(), &2.into()));
    assert_eq!(of(&found, "relay", "east")["reach"], "here");
    let list = text(EAST, &["relay", "list"]);
    assert!(list.contains("over hub") && list.contains("directly") && list.contains("this relay"), "{list}");
}

fn check_tree() {
    let found = tree(HUB);
    assert_eq!((&found["cost"], &found["trees"], &found["relay"]), (&15.into(), &1.into(), &"hub".into()));
    let roles = ["east", "hub", "west"].map(|name| {
        let relay = in_tree(&found, name);
        (relay["member"] == true, relay["origin"] == true)
    });
    assert_eq!(roles, [(false, true), (false, false), (true, false)]);
    let lags: Vec<_> = found["relays"].as_array().unwrap().iter().filter(|r| r["lag"].is_object()).collect();
    assert_eq!(lags.len(), 2, "the hub is at both links: {found}");
    let drawn = text(HUB, &["group", "tree", "news"]);
    assert!(drawn.starts_with("news: one tree for all origins, cost 15\n"), "{drawn}");
    assert!(drawn.contains("hub") && drawn.contains("this relay, only passes on"), "{drawn}");
    let dot = text(HUB, &["group", "tree", "news", "--output", "dot"]);
    assert_eq!((dot.matches(" -- ").count(), dot.matches("label=\"10\"").count()), (2, 1), "{dot}");
    let whose = run(HUB, &["group", "tree", "news", "--origin", "east"]);
    assert_eq!(whose.status.code(), Some(2), "there is one tree, whoever puts");
    let elsewhere = run(EAST, &["group", "tree", "news"]);
    let note = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(note.contains("The lag on a link is known at its two ends"), "{note}");
}

/// West is dead, and three messages were put for it.
fn check_cut_off() {
    let found = tree(EAST);
    let west = in_tree(&found, "west");
    assert_eq!(
        (&west["cut_off"], &west["custodian"], &west["state"]),
        (&true.into(), &"hub".into(), &"down".into())
    );
    assert_eq!((&west["unconfirmed"], &found["held"]["messages"]), (&3.into(), &3.into()), "{found}");
    assert_eq!(tree(HUB)["held"]["messages"], 3, "the custodian keeps them");
    let drawn = text(EAST, &["group", "tree", "news"]);
    assert!(drawn.contains("└╌ west") && drawn.contains("cut off, hub keeps for it"), "{drawn}");
    let relays = json(EAST, &["relay", "list"]);
    assert_eq!(of(&relays, "relay", "west")["custodian"], "hub");
    let hub = links(HUB);
    let link = of(&hub, "neighbour", "west");
    assert_eq!((&link["up"], &link["downs"], &link["trees"]), (&false.into(), &1.into(), &0.into()));
    assert!(link["last_down"].is_string() && link["rtt_us"].is_null(), "{link}");
    assert!(text(HUB, &["link", "list"]).contains("no link to west: "));
    let status = run(HUB, &["status"]);
    let (out, said) = (String::from_utf8_lossy(&status.stdout), String::from_utf8_lossy(&status.stderr));
    assert!(out.contains("1 of 2 up") && out.contains("2 of 3 can be reached"), "{out}");
    assert!(out.contains("no keys"), "links are not protected: {out}");
    assert!(said.contains("the link to west is down: "), "{said}");
    assert!(said.contains("1 of 3 relays cannot be reached: west"), "{said}");
}

fn check_books() {
    let of_link = |relay: &str, neighbour: &str| {
        let books = json(relay, &["books", "news"]).remove(0);
        assert_eq!(books["balanced"], true, "{books}");
        of(books["links"].as_array().unwrap(), "neighbour", neighbour).clone()
    };
    let (here, there) = (of_link(EAST, "hub"), of_link(HUB, "east"));
    assert_eq!((&here["sent"], &here["received"]), (&there["received"], &there["sent"]), "{here} {there}");
    assert!(text(HUB, &["books"]).contains("LINK TO "), "{}", text(HUB, &["books"]));
}

/// So many messages wait for the subscription, and what east has said of itself before them.
fn check_own_records(backlog: u64) {
    let shown = json(WEST, &["subscription", "show", "news", "me"]).remove(0);
    let [inserted, own] = ["inserted", "held_own"].map(|key| shown[key].as_u64().unwrap());
    assert_eq!((shown["backlog"].as_u64(), inserted), (Some(backlog), backlog + own), "{shown}");
    assert!(own > 0, "{shown}");
    let shown = text(WEST, &["subscription", "show", "news", "me"]);
    assert!(shown.contains(&format!("of these, {own} of the relays' own to be passed over")), "{shown}");
}

#[test]
fn the_network_is_told_as_it_is() {
    let network = Network::new();
    let _hub_and_east = [network.start("hub"), network.start("east")];
    let west = network.start("west");
    let show = || format!("{}{}", text(HUB, &["link", "list"]), text(EAST, &["relay", "list"]));
    until("all are connected", show, is_connected);
    text(WEST, &["subscription", "create", "news", "me"]);
    let show_tree = || text(EAST, &["group", "tree", "news"]);
    let put = |word: &str| text(EAST, &["put", "news", word]);
    until(
        "east knows of the member",
        || run(EAST, &["group", "tree", "news"]).status.to_string(),
        || {
            run(EAST, &["group", "tree", "news"]).status.success()
                && in_tree(&tree(EAST), "west")["member"] == true
        },
    );
    for word in ["one", "two", "three"] {
        put(word);
    }
    let is_settled = || {
        let found = tree(EAST);
        found["relays"].as_array().unwrap().len() == 3 && in_tree(&found, "west")["unconfirmed"] == 0
    };
    until("west has confirmed everything", show_tree, is_settled);
    check_links();
    check_relays();
    check_tree();
    check_books();
    check_own_records(3);
    drop(west);
    until("everybody knows that west is gone", show, || {
        json(EAST, &["relay", "list"]).iter().any(|relay| relay["reach"] == "cut-off")
    });
    for word in ["four", "five", "six"] {
        put(word);
    }
    until(
        "the hub has them",
        || text(HUB, &["group", "tree", "news"]),
        || tree(HUB)["held"]["messages"] == 3,
    );
    check_cut_off();
    let _west = network.start("west");
    until("west has them", show_tree, || {
        let found = tree(EAST);
        in_tree(&found, "west")["unconfirmed"] == 0 && found["held"]["messages"] == 0
    });
    check_own_records(6);
    assert_eq!(text(WEST, &["poll", "news", "--as", "me", "-n", "9"]).lines().count(), 6);
}

#[test]
fn a_relay_without_links_is_alone() {
    let folder = tempfile::tempdir().unwrap();
    let alone = start_alone(folder.path());
    let words = |words: &[&str]| text(&alone.1, words);
    words(&["subscription", "create", "news", "me"]);
    assert_eq!(words(&["link", "list"]), "");
    assert_eq!(words(&["relay", "list"]).lines().count(), 2);
    let drawn = words(&["group", "tree", "news"]);
    assert_eq!(drawn, "news: one tree for all origins, cost 0\nlocal  this relay, member\n");
    let status = words(&["status"]);
    assert!(!status.contains("protection") && !status.contains("links"), "{status}");
    let wrong = run(&alone.1, &["group", "tree", "no-such-group"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert_eq!(run(&alone.1, &["status", "--output", "dot"]).status.code(), Some(2));
    assert_eq!(run(&alone.1, &["relay", "--insecure", "list"]).status.code(), Some(2));
    assert_eq!(run(&alone.1, &["relay", "--output", "json", "list"]).status.code(), Some(0));
}

fn start_alone(folder: &Path) -> (Relay, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["relay", "--listen", "127.61.7.9:0", "--segment-bytes", "32MiB", "--until-input-ends"])
        .args(["--output", "json", "--data"])
        .arg(folder.join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    (Relay(child), said["address"].as_str().unwrap().to_owned())
}
