//! The topology of a network is changed while its relays run: links come and go, a relay joins.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::commands::{Running, command, good, run};
use super::process::{RelayProcess, Start, skip};
use super::proxy::Proxy;
use super::site::own_address;
use super::traffic::wait_for;

/// Relays without proxies between them, and the files that they are started with or told to apply.
pub(super) struct Plain {
    directory: tempfile::TempDir,
    host: String,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), host: own_address() }
    }

    pub(super) fn address(&self, name: char) -> String {
        format!("{}:{}", self.host, 7001 + (name as u32 - 'a' as u32))
    }

    /// Writes a file with these relays and links, each with a cost.
    pub(super) fn file(&self, name: &str, relays: &str, links: &[(char, char, u32)]) -> String {
        let mut text = "version = 1\ninsecure = true\n".to_owned();
        for relay in relays.chars() {
            text += &format!("[relay.{relay}]\naddress = \"{}\"\n", self.address(relay));
        }
        for (one, other, cost) in links {
            text += &format!("[[link]]\nbetween = [\"{one}\", \"{other}\"]\ncost = {cost}\n");
        }
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path.to_str().expect("text").to_owned()
    }

    fn data(&self, name: char) -> PathBuf {
        self.directory.path().join(name.to_string())
    }

    pub(super) fn start(&self, name: char, words: &[&str]) -> RelayProcess {
        let start = Start::new(&self.data(name)).listen(&self.address(name));
        start.args(&["--name", &name.to_string()]).args(words).start()
    }

    pub(super) fn json(&self, at: char, words: &[&str]) -> Value {
        let words = [words, &["--output", "json"]].concat();
        let said = good(&self.address(at), &words);
        serde_json::from_str(said.lines().next_back().expect("a line")).expect("it is JSON")
    }

    fn json_lines(&self, at: char, words: &[&str]) -> Vec<Value> {
        let said = good(&self.address(at), &[words, &["--output", "json"]].concat());
        said.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
    }

    /// The version in force as a relay knows it.
    fn version(&self, at: char) -> u64 {
        self.json(at, &["topology", "show"])["version"].as_u64().expect("a version")
    }

    pub(super) fn links_up(&self, at: char) -> usize {
        let said = good(&self.address(at), &["link", "list", "--output", "json"]);
        said.lines().filter(|line| line.contains("\"up\":true")).count()
    }
}

pub(super) const LINE: [(char, char, u32); 2] = [('a', 'b', 1), ('b', 'c', 1)];

pub(super) fn started(plain: &Plain, file: &str) -> Vec<RelayProcess> {
    "abc".chars().map(|name| plain.start(name, &["--topology", file])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s36_a_fourth_relay_joins_gets_messages_and_loses_its_links_when_that_is_rolled_back() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let _relays = started(&plain, &file);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    let four = plain.file("four.toml", "abcd", &[LINE[0], LINE[1], ('c', 'd', 1)]);
    let refused = run(&plain.address('a'), &["topology", "apply", &four]);
    assert_eq!(refused.code, Some(2), "nobody can be asked: {refused:?}");
    let applied = plain.json('a', &["topology", "apply", &four, "--yes"]);
    assert_eq!(applied["version"], 1, "{applied}");
    assert_eq!(applied["taken"], serde_json::json!(["a", "b", "c"]), "{applied}");
    assert_eq!(applied["unreachable"], serde_json::json!(["d"]), "{applied}");

    // It knows one relay, which is not its neighbour.
    let join = plain.address('a');
    let joined = plain.start('d', &["--join", &join]);
    wait_for("its link is up", async || plain.links_up('d') == 1).await;
    good(&plain.address('d'), &["subscription", "create", "news", "me"]);
    good(&plain.address('a'), &["put", "news", "one"]);
    let take = ["get", "news", "--as", "me", "--existing", "--wait", "30s"];
    assert_eq!(good(&plain.address('d'), &take).trim(), "one");
    drop(joined.kill());
    good(&plain.address('a'), &["put", "news", "two"]);
    let again = plain.start('d', &[]);
    assert_eq!(good(&plain.address('d'), &take).trim(), "two");
    assert!(!again.log().contains("panicked"), "{}", again.log());

    let back = plain.json('b', &["topology", "rollback", "--yes"]);
    assert_eq!((&back["version"], &back["restores"]), (&2.into(), &0.into()), "{back}");
    wait_for("its link is down", async || plain.links_up('d') == 0 && plain.links_up('c') == 1).await;
    let status = plain.json('d', &["status"]).to_string();
    assert!(status.contains("is not in topology 2"), "{status}");
    let history = good(&plain.address('c'), &["topology", "history", "--output", "json"]);
    assert_eq!(history.lines().count(), 3, "{history}");
    good(&plain.address('c'), &["subscription", "create", "news", "c"]);
    good(&plain.address('a'), &["put", "news", "three"]);
    let take = ["get", "news", "--as", "c", "--existing", "--wait", "30s"];
    assert_eq!(good(&plain.address('c'), &take).trim(), "three");
}

/// Whoever puts first does not wait for the home, and the home starts whatever others have made of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_queue_of_the_file_keeps_what_is_put_before_its_home_was_ever_there() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, format!("{text}[queue.work]\nhome = \"c\"\n")).expect("it is written");
    let _others: Vec<_> = "ab".chars().map(|name| plain.start(name, &["--topology", &file])).collect();
    wait_for("a takes puts", async || run(&plain.address('a'), &["put", "work", "one"]).code == Some(0))
        .await;
    good(&plain.address('b'), &["put", "work", "two"]);
    let home = plain.start('c', &["--topology", &file]);
    let mut got = Vec::new();
    for _ in 0..2 {
        let take = ["get", "work", "--existing", "--wait", "30s"];
        wait_for("it is handed out", async || {
            let done = run(&plain.address('c'), &take);
            got.extend(done.output.lines().map(str::to_owned));
            done.code == Some(0)
        })
        .await;
    }
    got.sort();
    assert_eq!(got, ["one", "two"]);

    // It is removed, and somebody puts all the same: that makes a group of its name.
    good(&plain.address('c'), &["queue", "remove", "work"]);
    good(&plain.address('a'), &["subscription", "create", "work", "mine"]);
    drop(home.kill());
    let again = plain.start('c', &["--topology", &file]);
    wait_for("it says so", async || {
        plain.json('c', &["status"]).to_string().contains("work is not as the topology has it")
    })
    .await;
    assert!(!again.log().contains("panicked"), "{}", again.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_may_not_join_is_told_why() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let _relays = started(&plain, &file);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    let join = |name: char, data: char| {
        let start = Start::new(&plain.data(data)).listen(&plain.address('e'));
        start.args(&["--name", &name.to_string(), "--join", &plain.address('a')]).try_start()
    };
    let early = join('d', 'x').err().expect("nothing was applied yet");
    early.expect_code(3).expect_said("no topology was applied to this network yet");
    plain.json('a', &["topology", "apply", &file, "--yes"]);
    let unknown = join('d', 'y').err().expect("its name is not in the topology");
    unknown.expect_code(3).expect_said("relay d is not in topology 1-");
    let twin = join('b', 'z').err().expect("there is one of that name");
    twin.expect_code(1).expect_said("is up already, with another data directory");
}

/// Applied on both sides of a cut, one of two wins; where the other was applied it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_applied_at_both_ends_one_wins_everywhere_and_the_loser_is_told() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let mut relays = started(&plain, &file);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    // Both must know their network before they lose it: a link is up sooner than its facts are told.
    for end in ['a', 'c'] {
        let put = ["put", "news", "one", "--ack", "inserted"];
        wait_for("it knows its network", async || run(&plain.address(end), &put).code == Some(0)).await;
    }
    let middle = relays.remove(1);
    drop(middle.kill());
    wait_for("the line is cut", async || plain.links_up('a') + plain.links_up('c') == 0).await;
    let at_a = plain.file("a.toml", "abc", &[('a', 'b', 2), ('b', 'c', 1)]);
    let at_c = plain.file("c.toml", "abc", &[('a', 'b', 1), ('b', 'c', 2)]);
    let one = plain.json('a', &["topology", "apply", &at_a, "--yes"]);
    let other = plain.json('c', &["topology", "apply", &at_c, "--yes"]);
    assert_eq!((&one["version"], &other["version"]), (&1.into(), &1.into()));
    assert_eq!(one["unreachable"], serde_json::json!(["b", "c"]), "{one}");
    let _middle = plain.start('b', &["--topology", &file]);
    let (one, other) = (one["hash"].as_str().expect("a hash"), other["hash"].as_str().expect("a hash"));
    let winner = one.max(other);
    for at in ['a', 'b', 'c'] {
        wait_for("all go by the same", async || plain.json(at, &["topology", "show"])["hash"] == winner)
            .await;
    }
    let loser = if one == winner { 'c' } else { 'a' };
    let says = |at, what: &str| plain.json(at, &["status"]).to_string().contains(what);
    wait_for("the loser is told", async || says(loser, "was overtaken by")).await;
    // The file that the middle one was started with says something else: that is told too, when the
    // other is on its disk, a moment after it is shown.
    wait_for("the file is told of", async || says('b', "the file is not used")).await;
    // Where both are kept, the one that was overtaken is listed by a name of its own.
    let whole = format!("1-{}", &one.min(other)[..8]);
    let history = good(&plain.address(loser), &["topology", "history"]);
    assert!(history.contains(&whole) && history.contains("overtaken"), "{history}");
    let refused = run(&plain.address(loser), &["topology", "rollback", "1", "--yes"]);
    assert!(refused.code == Some(2) && refused.said.contains(&whole), "{refused:?}");
    let unknown = run(&plain.address(loser), &["topology", "rollback", "1-0123456789", "--yes"]);
    assert!(unknown.code == Some(3) && unknown.said.contains(&whole), "{unknown:?}");
    let shown = plain.json(loser, &["topology", "show", "--version", &whole]);
    assert_eq!((&shown["hash"], &shown["in_force"]), (&one.min(other).into(), &false.into()), "{shown}");
    // The one before is what there was before both: the file of the start.
    let back = plain.json(loser, &["topology", "rollback", "--yes"]);
    assert_eq!((&back["version"], &back["restores"]), (&2.into(), &0.into()), "{back}");
    let back = plain.json(loser, &["topology", "rollback", &whole, "--yes"]);
    assert_eq!((&back["version"], &back["restores"]), (&3.into(), &1.into()), "{back}");
    assert_eq!(back["hash"], *one.min(other), "{back}");
    let history = good(&plain.address(loser), &["topology", "history"]);
    assert!(history.contains(&format!("in force, {whole} again")), "{history}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_killed_while_it_applies_leaves_a_network_of_one_mind() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let mut relays = started(&plain, &file);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    good(&plain.address('c'), &["subscription", "create", "news", "me"]);
    for turn in 0..6_u32 {
        let next = plain.file("next.toml", "abc", &[('a', 'b', 2 + turn), ('b', 'c', 1)]);
        let words = ["topology", "apply", &next, "--yes", "--deadline", "1s"];
        let mut applying = command(&plain.address('a'), &words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command runs");
        tokio::time::sleep(Duration::from_millis(u64::from(turn) * 9)).await;
        drop(relays.remove(0).kill());
        applying.wait().expect("it ends");
        relays.insert(0, plain.start('a', &["--topology", &file]));
    }
    wait_for("the line is up again", async || plain.links_up('b') == 2).await;
    let last = plain.file("last.toml", "abc", &[('a', 'b', 9), ('b', 'c', 1)]);
    let applied = plain.json('a', &["topology", "apply", &last, "--yes"]);
    assert_eq!(applied["late"], serde_json::json!([]), "{applied}");
    let version = applied["version"].as_u64();
    for at in ['a', 'b', 'c'] {
        assert_eq!(Some(plain.version(at)), version, "at {at}");
    }
    good(&plain.address('a'), &["put", "news", "one"]);
    let take = ["get", "news", "--as", "me", "--existing", "--wait", "30s"];
    assert_eq!(good(&plain.address('c'), &take).trim(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_waits_for_one_to_join_stops_when_it_is_asked() {
    let plain = Plain::new();
    let data = plain.data('d');
    let data = data.to_str().expect("text");
    let words = ["relay", "--name", "d", "--join", &plain.address('a'), "--data", data];
    let mut start = command(&plain.address('d'), &words);
    let mut waits = Running::start(start.stdout(Stdio::null()).stderr(Stdio::null()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(waits.try_wait().expect("it is a child").is_none(), "it waits");
    rustix::process::kill_process(Pid::from_child(&waits), Signal::TERM).expect("it runs");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ended = waits.try_wait().expect("it is a child");
    assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
}

/// All that it was linked to refuse it, and whom it is linked to now it does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_was_away_while_its_neighbours_became_others_finds_the_new_ones() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let mut relays = started(&plain, &file);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    good(&plain.address('c'), &["subscription", "create", "news", "me"]);
    drop(relays.pop().map(RelayProcess::kill));
    good(&plain.address('b'), &["put", "news", "one"]);
    let other = plain.file("other.toml", "abc", &[('a', 'b', 1), ('a', 'c', 1)]);
    let applied = plain.json('b', &["topology", "apply", &other, "--yes"]);
    assert_eq!(applied["unreachable"], serde_json::json!(["c"]), "{applied}");
    let back = plain.start('c', &["--topology", &file]);
    wait_for("it has its new link", async || plain.links_up('c') == 1 && plain.links_up('a') == 2).await;
    assert_eq!(plain.version('c'), 1);
    let take = ["get", "news", "--as", "me", "--existing", "--wait", "30s"];
    assert_eq!(good(&plain.address('c'), &take).trim(), "one");
    assert!(!back.log().contains("panicked"), "{}", back.log());
}

/// What a link is configured with is taken by the connection that there is, or by a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s36_a_changed_rate_or_pause_is_taken_while_messages_flow_and_none_is_lost() {
    let plain = Plain::new();
    let file = plain.file("three.toml", "abc", &LINE);
    let _relays = started(&plain, &file);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    good(&plain.address('c'), &["subscription", "create", "news", "me"]);
    let links = || plain.json_lines('b', &["link", "list"]);
    let downs = |links: &[Value]| links.iter().map(|link| link["downs"].as_u64()).collect::<Vec<_>>();
    let before = downs(&links());
    let mut sent = Vec::new();
    for (turn, more) in ["rate = \"50kB/s\"", "rate = \"5MB/s\"", "", "hello = \"200ms\""].iter().enumerate()
    {
        let path = plain.file("next.toml", "abc", &LINE);
        let text = std::fs::read_to_string(&path).expect("it was written");
        // Below the last link: that between b and c.
        std::fs::write(&path, format!("{text}{more}\n")).expect("it is written");
        for number in 0..20 {
            sent.push(format!("{turn}.{number}"));
            good(&plain.address('a'), &["put", "news", sent.last().expect("one")]);
            if number == 10 {
                // One that asks at an end of the changed link does not take the others for lost.
                let at = if more.is_empty() { 'a' } else { 'b' };
                let applied = plain.json(at, &["topology", "apply", &path, "--yes"]);
                assert_eq!(applied["taken"], serde_json::json!(["a", "b", "c"]), "{applied}");
            }
        }
        let is_made_anew = more.starts_with("hello");
        wait_for("both are up", async || plain.links_up('b') == 2).await;
        assert_eq!(downs(&links()) == before, !is_made_anew, "{more}: {:?}", links());
    }
    for wanted in &sent {
        let take = ["get", "news", "--as", "me", "--existing", "--wait", "30s"];
        assert_eq!(good(&plain.address('c'), &take).trim(), wanted);
    }
}

/// The last of a line has a backlog, and gets another name in the file, at the address that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s36_a_relay_that_is_renamed_loses_nothing_and_what_moves_is_told() {
    let plain = Plain::new();
    // With a group in the file, so that there is a tree to be told of.
    let file = |name: &str, links: &[(char, char, u32)]| {
        let path = plain.file(name, "abc", links);
        let text = std::fs::read_to_string(&path).expect("it was written") + "[group.news]\n";
        std::fs::write(&path, text).expect("it is written");
        path
    };
    let line = file("three.toml", &LINE);
    let mut relays = started(&plain, &line);
    wait_for("the line is up", async || plain.links_up('b') == 2).await;
    plain.json('a', &["topology", "apply", &line, "--yes"]);
    good(&plain.address('c'), &["subscription", "create", "news", "me"]);
    good(&plain.address('a'), &["put", "news", "one", "--ack", "inserted"]);
    drop(relays.pop().map(RelayProcess::kill));
    good(&plain.address('a'), &["put", "news", "two"]);

    let renamed = file("renamed.toml", &LINE);
    let text = std::fs::read_to_string(&renamed).expect("it was written");
    std::fs::write(&renamed, text.replace("relay.c", "relay.x").replace("\"c\"", "\"x\"")).expect("written");
    let applied = plain.json('a', &["topology", "apply", &renamed, "--yes"]);
    let change = &applied["plan"]["network"];
    assert_eq!(change["relays_added"], serde_json::json!(["x"]), "{applied}");
    assert_eq!(change["relays_removed"], serde_json::json!(["c"]), "{applied}");
    assert_eq!(applied["reparented"], 1, "{applied}");
    let start = |data: &str| {
        let start = Start::new(&plain.directory.path().join(data)).listen(&plain.address('c'));
        start.args(&["--name", "x", "--join", &plain.address('a')]).try_start()
    };
    let refused = start("c").err().expect("it is the disk of another relay");
    refused.expect_code(1).expect_said("the data directory is that of relay c");
    let new = start("x").expect("a directory of its own");
    wait_for("its link is up", async || plain.links_up('b') == 2).await;
    let status = plain.json('a', &["status"]).to_string();
    assert!(
        status.contains("in the topology no more, and members still") && status.contains(": c"),
        "{status}"
    );
    good(&plain.address('c'), &["subscription", "create", "news", "new"]);
    good(&plain.address('a'), &["put", "news", "three"]);
    let take = |name: &'static str| ["get", "news", "--as", name, "--existing", "--wait", "30s"];
    assert_eq!(good(&plain.address('c'), &take("new")).trim(), "three");
    new.stop().expect_code(0);

    // It has its name again, and another link, which makes a cheaper tree.
    let ring = file("ring.toml", &[('a', 'b', 4), ('b', 'c', 5), ('a', 'c', 1)]);
    let applied = plain.json('b', &["topology", "apply", &ring, "--yes"]);
    assert_eq!(applied["reparented"], 1, "c is behind a now: {applied}");
    let _last = plain.start('c', &[]);
    for wanted in ["one", "two", "three"] {
        assert_eq!(good(&plain.address('c'), &take("me")).trim(), wanted);
    }
    // Another cost, and the tree flips.
    wait_for("the ring is up", async || plain.links_up('c') == 2).await;
    let flipped = file("flipped.toml", &[('a', 'b', 5), ('b', 'c', 1), ('a', 'c', 9)]);
    let applied = plain.json('a', &["topology", "apply", &flipped, "--yes"]);
    assert_eq!(applied["reparented"], 1, "{applied}");
    good(&plain.address('a'), &["put", "news", "four"]);
    assert_eq!(good(&plain.address('c'), &take("me")).trim(), "four");
}

/// An address of this machine that others can reach, if it has one. Nothing is sent.
fn open_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_a_relay_that_joins_listens_where_an_insecure_topology_says_and_its_status_shows_it() {
    let Some(host) = open_address() else {
        return skip("r20_a_relay_that_joins", "this machine has no address that others can reach");
    };
    let plain = Plain { directory: tempfile::tempdir().expect("a directory"), host };
    // The file says `insecure = true`.
    let file = plain.file("two.toml", "xw", &[('w', 'x', 1)]);
    let _relays: Vec<_> = "wx".chars().map(|name| plain.start(name, &["--topology", &file])).collect();
    wait_for("the link is up", async || plain.links_up('x') == 1).await;
    let file = plain.file("three.toml", "wxy", &[('w', 'x', 1), ('x', 'y', 1)]);
    plain.json('x', &["topology", "apply", &file, "--yes"]);
    let (at_x, at_y, data) = (plain.address('x'), plain.address('y'), plain.data('y'));
    let data = data.to_str().expect("text");
    let words = ["relay", "--name", "y", "--join", &at_x, "--data", data, "--segment-bytes", "32MiB"];
    let mut start = command(&at_y, &words);
    let mut joins = Running::start(start.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for("it has joined", async || {
        let ended = joins.try_wait().expect("it is a child");
        assert!(ended.is_none(), "it ended: {ended:?}");
        run(&at_y, &["status"]).code == Some(0)
    })
    .await;
    let status = plain.json('y', &["status"]).to_string();
    assert!(status.contains("anybody who reaches"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_has_connected_anew_at_another_address_is_not_told_to_be_down() {
    let plain = Plain::new();
    let file = plain.file("one.toml", "ab", &[('a', 'b', 1)]);
    let relays: Vec<_> = "ab".chars().map(|name| plain.start(name, &["--topology", &file])).collect();
    wait_for("it is up", async || plain.links_up('a') == 1 && plain.links_up('b') == 1).await;
    let elsewhere = format!("{}:8001", plain.host);
    let _proxy = Proxy::start_at(&elsewhere, &plain.address('b')).await;
    let text = std::fs::read_to_string(&file).expect("it was written");
    let moved = plain.directory.path().join("moved.toml");
    std::fs::write(&moved, text.replace(&plain.address('b'), &elsewhere)).expect("it is written");
    plain.json('a', &["topology", "apply", moved.to_str().expect("text"), "--yes"]);
    wait_for("it has connected anew", async || {
        relays.iter().all(|relay| relay.log().matches("the link is up").count() >= 2)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    for at in ['a', 'b'] {
        assert_eq!(plain.links_up(at), 1);
        let status = plain.json(at, &["status"]).to_string();
        assert!(!status.contains(" is down"), "{at}: {status}");
    }
}
