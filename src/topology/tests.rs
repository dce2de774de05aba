use super::settings::{Fifo, SubscriptionPolicy, TreeKind};
use super::*;

fn parse(text: &str) -> Checked {
    Topology::parse("test.toml", text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn codes(text: &str) -> Vec<&'static str> {
    let faults = match Topology::parse("test.toml", text) {
        Ok(checked) => checked.warnings,
        Err(faults) => faults,
    };
    faults.iter().map(|fault| fault.code().as_str()).collect()
}

/// A relay per name, on ports of their own, and a link per pair.
fn network(relays: &[&str], links: &[[&str; 2]]) -> String {
    let mut text = "version = 1\n".to_owned();
    for (index, name) in relays.iter().enumerate() {
        let (name, transit) = (name.trim_end_matches('!'), !name.ends_with('!'));
        text.push_str(&format!(
            "[relay.{name}]\naddress = \"127.0.0.1:{}\"\ntransit = {transit}\n",
            7411 + index
        ));
    }
    for [from, to] in links {
        text.push_str(&format!("[[link]]\nbetween = [{from:?}, {to:?}]\n"));
    }
    text
}

const FULL: &str = r#"
version = 1
[relay.north]
address = "north.example:7411"
data = "data/north"
transit = true
max_children = 16
key = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
segment_bytes = "64MiB"
reserve_bytes = 268435456
trace_retention = "7d"
[relay.south]
address = "127.0.0.1:7412"
[[link]]
between = ["south", "north"]
cost = "rtt"
rate = "100MB/s"
hello = "250ms"
[group."metrics/cpu"]
max_age = "7d"
max_bytes = "10GiB"
max_count = 1_000
history_age = "2h30m"
history_bytes = "512KB"
history_count = 0x10
quota_bytes = 1048576
quota_count = 2
quota_policy = "refuse"
subscription_quota_count = 3
subscription_quota_bytes = "1MB"
subscription_quota_policy = "drop-oldest"
ttl = "1m"
max_deliver = 5
backoff = ["1s", "10s", "0s"]
dead_letter = "dead"
max_message_size = "64MiB"
ack_wait = "5s"
producer_idle_max = "1w"
fifo = "producer"
producer_hold = "700ms"
tree = "source"
[queue.jobs]
home = "north"
ttl = "1h"
"#;

#[test]
fn every_key_arrives() {
    let checked = parse(FULL);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let topology = checked.topology;
    let north = topology.relay("north").unwrap();
    assert_eq!(north.address.to_string(), "north.example:7411");
    assert_eq!((north.data.clone(), north.max_children), (Some(PathBuf::from("data/north")), Some(16)));
    assert_eq!((north.segment_bytes, north.reserve_bytes), (Some(64 << 20), Some(256 << 20)));
    assert_eq!(north.trace_retention_ms(), 7 * 86_400_000);
    assert!(north.key.is_some() && north.transit);
    let link = &topology.links()[0];
    assert_eq!(link.between, ["north", "south"]);
    assert_eq!((link.cost, link.rate, link.hello.as_millis()), (Cost::Rtt, Some(100_000_000), 250));
    let queue = topology.queue("jobs").unwrap();
    assert_eq!((queue.home.as_str(), queue.settings.ttl_ms), ("north", Some(3_600_000)));
    assert_eq!(topology.settings("jobs"), Some(&queue.settings));
    assert_eq!(topology.settings("unheard-of"), None);
}

#[test]
fn every_setting_of_a_group_arrives() {
    let expected = GroupSettings {
        max_age_ms: Some(604_800_000),
        max_bytes: Some(10 << 30),
        max_count: Some(1_000),
        history_age_ms: Some(9_000_000),
        history_bytes: Some(512_000),
        history_count: Some(16),
        quota_bytes: Some(1 << 20),
        quota_count: Some(2),
        subscription_quota_count: Some(3),
        subscription_quota_bytes: Some(1_000_000),
        subscription_policy: SubscriptionPolicy::DropOldest,
        ttl_ms: Some(60_000),
        max_deliver: Some(5),
        backoff_ms: vec![1_000, 10_000, 0],
        dead_letter: Some("dead".to_owned()),
        max_message_bytes: Some(64 << 20),
        ack_wait_ms: Some(5_000),
        producer_idle_max_ms: Some(604_800_000),
        fifo: Fifo::Producer,
        producer_hold_ms: Some(700),
        tree: TreeKind::Source,
    };
    assert_eq!(parse(FULL).topology.settings("metrics/cpu"), Some(&expected));
    for (key, field) in setting::SETTING_KEYS {
        assert!(FULL.contains(&format!("\n{key} = ")), "{key} is not in the file of this test");
        let fields = serde_json::to_value(&expected).unwrap();
        assert!(field.is_empty() || fields.get(field).is_some(), "{field} is no field");
    }
}

#[test]
fn what_is_not_written_has_its_default() {
    let topology = parse(&network(&["a", "b"], &[["a", "b"]])).topology;
    let (relay, link) = (topology.relay("a").unwrap(), &topology.links()[0]);
    assert!(relay.transit && relay.data.is_none() && relay.max_children.is_none() && relay.key.is_none());
    assert_eq!((link.cost, link.rate, link.hello), (COST_DEFAULT, None, HELLO_DEFAULT));
    assert!(!topology.is_insecure());
}

#[test]
fn the_arrangement_of_the_file_does_not_matter() {
    let one = network(&["a", "b", "c"], &[["a", "b"], ["b", "c"]]);
    let other = one.replace("[\"a\", \"b\"]", "[\"x\"]").replace("[\"b\", \"c\"]", "[\"b\", \"a\"]");
    let other = other.replace("[\"x\"]", "[\"c\", \"b\"]");
    assert_eq!(parse(&one).topology, parse(&other).topology);
}

#[test]
fn links_of_a_relay_name_the_other_end() {
    let topology = parse(&network(&["a", "b", "c"], &[["a", "b"], ["c", "a"]])).topology;
    let others = |relay: &'static str| topology.links_of(relay).map(|(_, other)| other).collect::<Vec<_>>();
    assert_eq!(others("a"), ["b", "c"]);
    assert_eq!(others("b"), ["a"]);
    assert!(others("unheard-of").is_empty());
}

#[test]
fn any_connected_shape_is_legal() {
    let shapes: [(&[&str], &[[&str; 2]]); 6] = [
        (&["a"], &[]),
        (&["a", "b", "c"], &[["a", "b"], ["b", "c"], ["c", "a"]]),
        (&["a", "b", "c", "d"], &[["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"]]),
        (&["hub", "a!", "b!"], &[["hub", "a"], ["hub", "b"]]),
        (&["a!", "b!"], &[["a", "b"]]),
        (&["a!"], &[]),
    ];
    for (relays, links) in shapes {
        assert_eq!(codes(&network(relays, links)), [""; 0], "{relays:?}");
    }
}

#[test]
fn relays_that_cannot_reach_each_other_are_islands() {
    let shapes: [(&[&str], &[[&str; 2]]); 5] = [
        (&["a", "b"], &[]),
        (&["a", "b", "c"], &[["a", "b"]]),
        (&["a", "m!", "z"], &[["a", "m"], ["m", "z"]]),
        (&["a!", "b!", "c!"], &[["a", "b"], ["a", "c"]]),
        (&["a!", "b!"], &[]),
    ];
    for (relays, links) in shapes {
        let text = network(relays, links);
        assert_eq!(codes(&text), ["T016"], "{relays:?}");
        assert_eq!(codes(&text.replace("version = 1", "version = 1\nallow_islands = true")), [""; 0]);
    }
}

#[test]
fn a_broken_line_is_one_fault_and_the_rest_is_still_checked() {
    let text = "version = 1\n[relay.a\naddress = 5\nfoo = 1\n[relay.b]\naddress = 5\n";
    assert_eq!(codes(text), ["T001", "T003"]);
    let text = "version = 1\n[relay.a]\naddress = 127.0.0.1:1\ntransit = \"no\"\n";
    assert_eq!(codes(text), ["T001", "T003"]);
}

#[test]
fn names_may_be_any_letters_but_not_twice() {
    assert_eq!(codes("version = 1\n[relay.\"eu/größe\"]\naddress = \"[::1]:1\"\n"), [""; 0]);
    let twice = "version = 1\n[relay.a]\naddress = \"[::1]:1\"\n[relay.a]\naddress = \"[::1]:2\"\n";
    assert_eq!(codes(twice), ["T024"]);
    // What else is wrong with the file is told beside it.
    let more = format!("{twice}cost = 1\n[[link]]\nbetween = [\"a\", \"c\"]\n[relay.b]\naddress = 5\n");
    assert_eq!(codes(&more), ["T024", "T012", "T003"]);
}

#[test]
fn a_relay_alone_is_a_topology() {
    let alone = Topology::alone("a", Address::loopback(7411));
    assert_eq!(alone, parse(&network(&["a"], &[])).topology);
}

#[test]
fn the_document_names_every_key_and_every_code() {
    let document = include_str!("../../docs/topology.md");
    let keys = super::file::keys();
    assert!(keys.len() > 30, "{keys:?}");
    let codes = Code::ALL.iter().map(|code| code.as_str()).filter(|code| !code.starts_with('C'));
    let missing: Vec<&str> =
        keys.into_iter().chain(codes).filter(|word| !document.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/topology.md says nothing of {missing:?}");
}

/// The names of a file are those that relays take.
#[test]
fn white_space_in_a_name_is_a_fault() {
    let begin = "version = 1\n[relay.a]\naddress = \"127.0.0.1:1\"\n";
    for name in ["new york", "a\u{a0}b", "a\u{3000}b"] {
        for (kind, more) in [("relay", "address = \"127.0.0.1:2\""), ("group", ""), ("queue", "home = \"a\"")]
        {
            let found = codes(&format!("{begin}[{kind}.\"{name}\"]\n{more}\n"));
            assert!(found.contains(&"T007"), "{kind} {name:?}: {found:?}");
        }
        let found = codes(&format!("{begin}[group.g]\nmax_deliver = 2\ndead_letter = \"{name}\"\n"));
        assert!(found.contains(&"T007"), "{name:?}: {found:?}");
    }
}

/// As the relays will have it: a leaf hangs in one tree only.
#[test]
fn a_leaf_between_two_parts_is_of_the_nearer_one() {
    let text = network(&["a", "b", "c", "l!", "x"], &[["a", "b"], ["b", "c"], ["l", "a"], ["l", "x"]]);
    let text = text.replace("between = [\"l\", \"a\"]\n", "between = [\"l\", \"a\"]\ncost = 10\n");
    let text = text + "[queue.q]\nhome = \"l\"\n";
    assert_eq!(codes(&text), ["T016", "T018"]);
    let shown = parse(&text).warnings.rows()[0].message.clone();
    assert!(shown.contains("relays \"l\", \"x\""), "{shown}");
    // A cost that is measured counts as 10 here: the other one is still the nearer.
    assert_eq!(codes(&text.replace("cost = 10", "cost = \"rtt\"")), ["T016", "T018"]);
    // The other way round x alone is.
    let other = text.replace("cost = 10\n", "").replace("[\"l\", \"x\"]\n", "[\"l\", \"x\"]\ncost = 2\n");
    assert_eq!(codes(&other), ["T016", "T018"], "x cannot reach the home");
    let shown = parse(&other).warnings.rows()[0].message.clone();
    assert!(shown.contains("relay \"x\" cannot"), "{shown}");
}

/// The key that is there twice is named, wherever in its line it stands.
#[test]
fn a_key_that_is_there_twice_in_one_line_is_told_as_that() {
    let relays = "[relay.a]\naddress = \"[::1]:1\"\n[relay.b]\naddress = \"[::1]:2\"\n";
    let links = "version = 1\nlink = [\n  {between = [\"a\", \"b\"], cost = 1},\n  {between = [\"b\", \"a\"], cost = 1, cost = 2},\n]\n";
    let told = |text: &str| {
        let faults = Topology::parse("test.toml", text).unwrap_err();
        let row = faults.rows().remove(0);
        (row.code, row.line.unwrap(), row.message, row.suggestion.unwrap_or_default())
    };
    let expected =
        |line, what: &str| ("T024", line, format!("{what} is there twice"), "keep one of them".to_owned());
    assert_eq!(told(&format!("{links}{relays}")), expected(4, "cost"));
    let inline = format!(
        "version = 1\nrelay.c = {{address = \"[::1]:3\", transit = true, transit = false}}\n{relays}"
    );
    assert_eq!(told(&inline), expected(2, "transit"));
    // The same table, written in another way.
    let (code, line, message, advice) = told(&format!("version = 1\n{relays}[relay.\"a\"]\n"));
    assert_eq!((code, line), ("T024", 6));
    assert!(
        message.contains("is there twice") && advice.starts_with("give this one another name"),
        "{message} {advice}"
    );
    // One that is seen by its text.
    let (code, _, message, advice) =
        told("version = 1\n[relay.a]\naddress = \"[::1]:1\"\naddress = \"[::1]:2\"\n");
    assert_eq!((code, message.as_str()), ("T024", "address is there twice"));
    assert_eq!(advice, "the first one is in line 3: keep one of them");
}

/// It is in the file, whatever else is wrong with it.
#[test]
fn a_relay_that_cannot_be_read_can_be_named() {
    let text = "version = 1\n[relay]\na = 5\n[relay.b]\naddress = \"127.0.0.1:1\"\n\
                [relay.c]\naddress = \"127.0.0.1:2\"\n[[link]]\nbetween = [\"a\", \"b\"]\n\
                [[link]]\nbetween = [\"a\", \"c\"]\n[queue.q]\nhome = \"a\"\n";
    assert_eq!(codes(text), ["T003"]);
    assert_eq!(codes("version = 1\n[relay]\na = 5\n"), ["T003"]);
}

#[test]
fn what_a_leaf_or_no_quota_makes_useless_is_told() {
    let text = network(&["a", "b!"], &[["a", "b"]]);
    let leaf = text.replace("transit = false\n", "transit = false\nmax_children = 3\n");
    assert_eq!(codes(&leaf), ["T021"]);
    assert_eq!(codes(&text.replace("transit = true\n", "transit = true\nmax_children = 3\n")), [""; 0]);
    for policy in ["refuse", "drop-oldest"] {
        let text = format!("{text}[group.g]\nsubscription_quota_policy = \"{policy}\"\n");
        assert_eq!(codes(&text), ["T021"], "{policy}");
        assert_eq!(codes(&(text + "subscription_quota_count = 1\n")), [""; 0], "{policy}");
    }
}

#[test]
fn a_topology_that_spells_one_host_by_localhost_and_by_number_is_still_usable() {
    // It was applied before this was told at all, and which of the two localhost is is seen at the start alone.
    let of = |addresses: &[&str]| {
        let one = |(n, at): (usize, &&str)| format!("[relay.n{n}]\naddress = \"{at}:7411\"\n");
        let relays: String = addresses.iter().enumerate().map(one).collect();
        format!("version = 1\nallow_islands = true\n{relays}")
    };
    for numbers in ["127.0.0.1", "[::1]"] {
        for both in [[numbers, "localhost"], ["localhost", numbers]] {
            let checked = Topology::parse("net.toml", &of(&both)).expect("it can be used");
            let codes: Vec<_> = checked.warnings.iter().map(|fault| fault.code().as_str()).collect();
            assert_eq!(codes, ["T026"], "{both:?}");
        }
    }
    assert_eq!(codes(&of(&["127.0.0.1", "[::ffff:127.0.0.1]"])), ["T009"], "one number");
    // What is surely another one's is told as that, and its other hosts are known all the same.
    assert_eq!(codes(&of(&["127.0.0.1", "localhost", "[::1]"])), ["T026", "T026"]);
    assert_eq!(codes(&of(&["127.0.0.1", "[::1]"])), [""; 0]);
    let twice = format!("{}[relay.again]\naddress = \"localhost:7411\"\n", of(&["127.0.0.1", "localhost"]));
    assert_eq!(codes(&twice), ["T026", "T009"]);
}

/// What a broken line may have been is not said to be missing; all else is told beside it.
#[test]
fn what_is_sound_is_judged_beside_what_is_broken() {
    let relays = "version = 1\n[relay.a]\naddress = \"[::1]:1\"\n[relay.b]\naddress = \"[::1]:2\"\n";
    let link = |to: &str| format!("[[link]]\nbetween = [\"a\", \"{to}\"]\n");
    let links = format!("{}{}{}{}", link("a"), link("b"), link("b"), link("c"));
    let cases: [(&str, &[&str]); 14] = [
        // It may have been the relay c.
        ("[relay.c\naddress = \"[::1]:3\"\n", &["T001", "T013", "T014"]),
        ("relay.c]\naddress = \"[::1]:3\"\n", &["T001", "T013", "T014"]),
        ("relay.c\naddress = \"[::1]:3\"\n", &["T001", "T013", "T014"]),
        ("[\naddress = \"[::1]:3\"\n", &["T001", "T013", "T014"]),
        ("foo\n", &["T001", "T013", "T014"]),
        ("[relay]\nc = {address = 5 6}\n", &["T001", "T013", "T014"]),
        // It was none.
        ("transit = 5 6\n", &["T001", "T013", "T014", "T012"]),
        ("[group.g]\nttl = 5 6\n", &["T001", "T013", "T014", "T012"]),
        ("[group.g\nttl = 5 6\n", &["T001", "T013", "T014", "T012"]),
        ("[[link\nbetween = [\"a\", \"a\"]\n", &["T001", "T013", "T014", "T012"]),
        ("[[link]]\nbetween = [\"a\", a]\n", &["T001", "T013", "T014", "T012"]),
        ("[group]\ng = {ttl = \"5m\", ttl = \"6m\"}\n", &["T024", "T013", "T014", "T012"]),
        ("[relay.\"a\"]\ntransit = false\n", &["T024", "T013", "T014", "T012"]),
        // What has no end may have been anything, also the rest of the file.
        ("[group.g]\nbackoff = [\"1s\",\n[x]\n", &["T013", "T014", "T001"]),
    ];
    for (broken, expected) in cases {
        let text = match expected.last() {
            Some(&"T001") => format!("{relays}{links}{broken}"),
            _ => format!("{relays}{broken}{links}"),
        };
        assert_eq!(codes(&text), expected, "{broken}");
    }
}

/// The parser takes the table behind such a header for a part of it.
#[test]
fn a_header_that_is_not_closed_takes_nothing_away_from_what_follows() {
    let text = network(&["a", "b", "c"], &[["a", "b"], ["b", "c"]]);
    for broken in ["[relay.\n", "[relay.d\n", "[[link\n", "[\n", "[[link]\n"] {
        assert_eq!(
            codes(&text.replacen("[[link]]\n", &format!("{broken}[[link]]\n"), 1)),
            ["T001"],
            "{broken}"
        );
    }
}

#[test]
fn a_table_that_is_there_twice_has_what_both_say() {
    let text = "version = 1\n[relay.a]\n[relay.a]\naddress = \"[::1]:1\"\n";
    assert_eq!(codes(text), ["T024"], "it has an address");
    // A key that is broken once and right once is there twice all the same.
    let text = "version = 1\n[relay.a]\naddress = [::1]:1\naddress = \"[::1]:1\"\n";
    assert_eq!(codes(text), ["T001", "T024"]);
}

/// Who does what is told is not told next that it is of the wrong type.
#[test]
fn advice_for_a_value_without_quotes_gives_one_of_the_right_type() {
    let begin = "[relay.a]\naddress = \"[::1]:1\"\n";
    for key in super::file::keys() {
        let section = match key {
            "version" | "allow_islands" | "insecure" => "",
            "relay" | "link" | "group" | "queue" => continue,
            "address" | "data" | "transit" | "max_children" | "key" | "segment_bytes" | "reserve_bytes"
            | "at" | "trace_retention" => "[relay.b]\n",
            "between" | "cost" | "rate" | "hello" => "[[link]]\n",
            _ => "[queue.q]\n",
        };
        let head = if key == "version" { "" } else { "version = 1\n" };
        let text = format!("{head}{section}{key} = maybe\n{}", if section.is_empty() { begin } else { "" });
        let faults = Topology::parse("test.toml", &text).unwrap_err();
        let fault = faults.iter().find(|fault| fault.code() == Code::Syntax).unwrap();
        let advice = fault.suggestion().unwrap_or_else(|| panic!("{key} has no advice"));
        let line = advice.split(" or transit").next().unwrap();
        let line = line.rsplit_once(": ").map_or(line, |(_, line)| line).trim_start_matches("write ");
        let line = line.split(" or ").next().unwrap();
        let better = text.replace(&format!("{key} = maybe"), line);
        assert_ne!(better, text, "{advice}");
        let found = codes(&better);
        assert!(!found.contains(&"T003") && !found.contains(&"T001"), "{advice}: {found:?}");
    }
}

#[test]
fn a_name_with_other_letters_is_put_in_quotes() {
    let advice = |header: &str| {
        let faults = Topology::parse("test.toml", &format!("version = 1\n{header}\n")).unwrap_err();
        let advice = faults.iter().find(|fault| fault.code() == Code::Syntax).unwrap().suggestion();
        advice.map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(advice("[relay.é] # é"), "such a name stands in quotes: [relay.\"é\"]");
    assert_eq!(advice("[queue.eu.jobs/new]"), "such a name stands in quotes: [queue.\"eu.jobs/new\"]");
    assert!(advice("[relay.new york]").starts_with("this name contains ' ', must have"));
    for header in
        ["[relay.", "[relay.]", "[relay.a", "[relay.a..b]", "[relay.a] b", "[[relay.é]]", "[relay.\"é]"]
    {
        assert_eq!(advice(header), "", "{header}");
    }
}
