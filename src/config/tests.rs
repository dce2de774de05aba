use std::fmt::Write as _;

use super::*;

fn environment() -> Environment {
    Environment { state_home: None, home: Some(PathBuf::from("/home/ann")) }
}

fn check(config: &RelayConfig) -> Config {
    config.check(&environment()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Code, line and message of every fault.
fn faults(config: &RelayConfig) -> String {
    let faults = config.check(&environment()).unwrap_err();
    let mut shown = String::new();
    for row in faults.rows() {
        let line = row.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
        writeln!(shown, "{} {line} {}", row.code, row.message).unwrap();
    }
    shown
}

fn with_topology(text: &str) -> RelayConfig {
    let file = TopologyText { path: PathBuf::from("/etc/treecast/net.toml"), text: text.to_owned() };
    RelayConfig { topology: Some(file), ..RelayConfig::default() }
}

const TWO: &str = r#"version = 1
[relay.north]
address = "127.0.0.1:7411"
data = "north"
segment_bytes = "64MiB"
[relay."eu/south"]
address = "192.0.2.1:7412"
reserve_bytes = "1GiB"
[[link]]
between = ["north", "eu/south"]
[group.big]
max_message_size = "32MiB"
"#;

#[test]
fn nothing_written_is_a_safe_relay_on_loopback() {
    let config = check(&RelayConfig::default());
    assert_eq!(config.name, "local");
    assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
    assert_eq!(config.data_dir, PathBuf::from("/home/ann/.local/state/treecast/local"));
    assert_eq!(config.log, LogConfig::default());
    assert_eq!((config.log.segment_bytes, config.log.reserve_bytes), (128 << 20, 256 << 20));
    assert!(config.listen.is_loopback());
    assert_eq!(config.topology, Topology::alone("local", config.listen));
}

#[test]
fn the_file_gives_what_no_flag_says() {
    let config = check(&RelayConfig { name: Some("north".to_owned()), ..with_topology(TWO) });
    assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
    assert_eq!(config.data_dir, PathBuf::from("/etc/treecast/north"));
    assert_eq!((config.log.segment_bytes, config.log.reserve_bytes), (64 << 20, 128 << 20));
    assert_eq!(config.topology.relays().len(), 2);
}

#[test]
fn a_flag_wins_over_the_file() {
    let config = check(&RelayConfig {
        name: Some("north".to_owned()),
        listen: Some("[::1]:0".to_owned()),
        data: Some(PathBuf::from("here")),
        segment_bytes: Some("1GiB".to_owned()),
        reserve_bytes: Some("2GiB".to_owned()),
        ..with_topology(TWO)
    });
    assert_eq!(config.listen.to_string(), "[::1]:0");
    assert_eq!(config.data_dir, PathBuf::from("here"));
    assert_eq!((config.log.segment_bytes, config.log.reserve_bytes), (1 << 30, 2 << 30));
}

#[test]
fn the_only_relay_of_a_topology_needs_no_name() {
    let one = with_topology("version = 1\n[relay.one]\naddress = \"localhost:1\"\n");
    assert_eq!(check(&one).name, "one");
}

/// R20: without keys, anything but loopback must be asked for.
#[test]
fn what_others_can_reach_must_be_asked_for() {
    let south = RelayConfig { name: Some("eu/south".to_owned()), ..with_topology(TWO) };
    let expected =
        "C004 7 others can connect to \"192.0.2.1:7412\" and nothing protects it, must be loopback\n";
    assert_eq!(faults(&south), expected);
    assert!(!check(&RelayConfig { insecure: true, ..south.clone() }).listen.is_loopback());
    let accepted = TWO.replace("version = 1\n", "version = 1\ninsecure = true\n");
    let in_file = RelayConfig { name: south.name.clone(), ..with_topology(&accepted) };
    assert!(!check(&in_file).listen.is_loopback());
    let elsewhere = RelayConfig { listen: Some("0.0.0.0:7411".to_owned()), ..RelayConfig::default() };
    assert!(faults(&elsewhere).starts_with("C004 - "));
    let loopback = RelayConfig { listen: Some("127.0.0.1:1".to_owned()), insecure: true, ..south };
    assert!(check(&loopback).listen.is_loopback());
}

#[test]
fn all_faults_are_told_at_once() {
    let config = RelayConfig {
        name: Some("nroth".to_owned()),
        listen: Some("7411".to_owned()),
        data: Some(PathBuf::from("~/data")),
        segment_bytes: Some("1MiB".to_owned()),
        reserve_bytes: Some("much".to_owned()),
        ..with_topology(TWO)
    };
    let expected = "\
C002 - relay \"nroth\" is not in the topology
C003 - address \"7411\" to listen on has no port, must be \"host:port\"
C006 - data directory \"~/data\" begins with \"~\", which is not expanded, must be written out
C007 - segment_bytes is 1MiB, must be 32MiB to 1GiB
C007 - reserve_bytes is \"much\", must be a size: expected a whole number before \"much\"
";
    assert_eq!(faults(&config), expected);
    let rows = config.check(&environment()).unwrap_err().rows();
    assert_eq!(rows[0].suggestion.as_deref(), Some("did you mean \"north\"?"));
}

#[test]
fn faults_of_flags_and_file_come_together() {
    let broken = TWO.replace("data =", "dta =");
    let config = RelayConfig { listen: Some("a b:1".to_owned()), ..with_topology(&broken) };
    let shown = faults(&config);
    assert!(shown.contains("C003 - ") && shown.contains("T002 4 "), "{shown}");
    assert!(!shown.contains("C001"), "which relay it is cannot be judged: {shown}");
}

#[test]
fn one_of_several_relays_must_be_named() {
    assert_eq!(
        faults(&with_topology(TWO)),
        "C001 - the topology has 2 relays, must know which is this one\n"
    );
    let bad = RelayConfig { name: Some("$a".to_owned()), ..RelayConfig::default() };
    assert_eq!(faults(&bad), "T007 - name \"$a\" of this relay begins with '$', which is reserved\n");
}

#[test]
fn settings_of_the_file_are_judged_in_place() {
    let small = TWO.replace("64MiB", "32MiB");
    let config = RelayConfig { name: Some("north".to_owned()), ..with_topology(&small) };
    let expected =
        "C008 12 max_message_size of group \"big\" is 32MiB, must be at most 16MiB with segments of 32MiB\n";
    assert_eq!(faults(&config), expected);
    let odd = TWO.replace("\"64MiB\"", "5");
    let config = RelayConfig { name: Some("north".to_owned()), ..with_topology(&odd) };
    assert_eq!(faults(&config), "C007 5 segment_bytes of relay \"north\" is 5B, must be 32MiB to 1GiB\n");
}

#[test]
fn the_state_directory_follows_the_environment() {
    let both =
        Environment { state_home: Some(PathBuf::from("/state")), home: Some(PathBuf::from("/home/ann")) };
    let config = RelayConfig { name: Some("eu/south".to_owned()), ..RelayConfig::default() };
    assert_eq!(config.check(&both).unwrap().data_dir, PathBuf::from("/state/treecast/eu%2Fsouth"));
    let relative = Environment { state_home: Some(PathBuf::from("state")), ..both };
    let expected = PathBuf::from("/home/ann/.local/state/treecast/eu%2Fsouth");
    assert_eq!(config.check(&relative).unwrap().data_dir, expected);
    let none = config.check(&Environment::default()).unwrap_err();
    assert_eq!(none.rows()[0].code, "C005");
}

#[test]
fn no_name_leads_out_of_the_state_directory() {
    let cases = [
        ("a", "a"),
        ("..", "%2E."),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("größe", "größe"),
    ];
    for (name, expected) in cases {
        assert_eq!(dir_name(name), expected);
    }
    let long = RelayConfig { name: Some("/a".repeat(100)[1..].to_owned()), ..RelayConfig::default() };
    assert!(faults(&long).starts_with("C006 - "));
}

/// Code, line and message of every fault of a file that all its relays are to start with.
fn whole(text: &str) -> String {
    let faults = match check_file(Path::new("net.toml"), text) {
        Ok(checked) => checked.warnings,
        Err(faults) => faults,
    };
    let line = |row: &crate::topology::Row| format!("{} {} {}\n", row.code, row.line.unwrap(), row.message);
    faults.rows().iter().map(line).collect()
}

/// What keeps any relay of a file from starting is found before it is given to one.
#[test]
fn a_file_is_checked_for_all_its_relays() {
    let insecure = format!("insecure = true\n{TWO}");
    assert_eq!(whole(&insecure), "");
    let odd = insecure.replace("\"64MiB\"", "5").replace("1GiB", "100MiB").replace("32MiB", "65MiB");
    let odd = odd.replace("max_message_size = \"65MiB\"", "max_message_size = \"64MiB\"");
    let expected = "\
C007 6 segment_bytes of relay \"north\" is 5B, must be 32MiB to 1GiB
C007 9 reserve_bytes of relay \"eu/south\" is 100MiB, must be 128MiB to 1TiB
";
    assert_eq!(whole(&odd), expected);
    let smaller = insecure.replace("64MiB", "32MiB");
    let expected =
        "C008 13 max_message_size of group \"big\" is 32MiB, must be at most 16MiB with segments of 32MiB\n";
    assert_eq!(whole(&smaller), expected);
    let shown = check_file(Path::new("net.toml"), &odd).unwrap_err().render(crate::topology::Colour::Off);
    assert!(shown.contains("segment_bytes = 5\n") && shown.contains("net.toml:6:17"), "{shown}");
    // An applied topology of an earlier version goes on being read.
    assert!(Topology::parse("in force", &odd).is_ok());
}

#[test]
fn a_file_is_judged_as_a_whole_though_a_part_of_it_is_wrong() {
    let odd = TWO.replace("\"64MiB\"", "5").replace("insecure", "insecre");
    let odd = format!("{odd}\n[[link]]\nbetween = [\"north\", \"nowhere\"]\n");
    let shown = whole(&odd);
    let codes: Vec<&str> = shown.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(codes.contains(&"C007") && codes.iter().any(|code| code.starts_with('T')), "{shown}");
    let shown = whole("version = ");
    assert!(shown.starts_with("T001 1 ") && shown.lines().count() == 1, "{shown}");
}

/// A flag may be given, so these do not make the file unusable.
#[test]
fn a_file_whose_relays_need_a_flag_is_told_so() {
    let expected =
        "C009 7 relay \"eu/south\" does not start without --insecure: others can connect to its address\n";
    assert_eq!(whole(TWO), expected);
    let long = format!("version = 1\n[relay.\"{}\"]\naddress = \"127.0.0.1:1\"\n", &"/a".repeat(100)[1..]);
    let shown = whole(&long);
    assert!(shown.starts_with("C009 3 ") && shown.contains("without --data"), "{shown}");
}

#[test]
fn a_file_that_is_too_long_to_be_applied_is_refused() {
    let padded = |bytes: usize| format!("{TWO}#{}", " ".repeat(bytes - TWO.len() - 1));
    let most = crate::limits::TOPOLOGY_BYTES_MAX;
    assert!(check_file(Path::new("net.toml"), &padded(most)).is_ok());
    let shown = whole(&padded(most + 1));
    assert!(shown.starts_with("T022 1 ") && shown.contains(&format!("at most {most}: ")), "{shown}");
}

#[test]
fn a_file_of_more_relays_than_a_map_may_have_is_refused() {
    let file = |count: usize| {
        let mut text = "version = 1\nallow_islands = true\n".to_owned();
        for at in 0..count {
            writeln!(text, "[relay.r{at}]\naddress = \"127.0.0.1:{}\"", 10_000 + at).unwrap();
        }
        text
    };
    let most = crate::limits::MAP_RELAYS_MAX;
    assert_eq!(whole(&file(most)), "");
    let shown = whole(&file(most + 1));
    assert!(shown.starts_with("T022 1 ") && shown.contains(&format!("at most {most}")), "{shown}");
}
