//! The commands as an operator types them: what they write, where, and their exit codes.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::{compare, root};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_treecast")).args(words).current_dir(root()).output().unwrap()
}

fn text(exit: i32, words: &[&str]) -> String {
    let output = run(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{words:?} said {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    serde_json::from_str(&text(0, &words)).expect("one object")
}

fn refused(exit: i32, words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(exit), "{words:?}");
    assert!(output.stdout.is_empty(), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Every `$ treecast topology …` in a console block of `docs/topology.md` is run in the
/// directory of the source; what it writes must be what stands below it. A line `…` ends
/// what is shown of a longer output.
#[test]
fn the_document_shows_what_the_commands_write() {
    let file = root().join("docs/topology.md");
    let document = fs::read_to_string(&file).unwrap();
    let mut found = String::new();
    let mut runs = 0;
    let mut rest = document.as_str();
    while let Some((before, block)) = rest.split_once("```console\n") {
        let (inside, after) = block.split_once("```\n").expect("a block ends");
        found += before;
        found += "```console\n";
        let (command, shown) = inside.split_once('\n').unwrap();
        let words: Vec<&str> = command.strip_prefix("$ treecast ").expect("a command").split(' ').collect();
        let output = run(&words);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let mut all = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        if shown.ends_with("…\n") {
            let kept = shown.lines().count() - 1;
            all = all.lines().take(kept).map(|line| format!("{line}\n")).collect::<String>() + "…\n";
        }
        found += &format!("{command}\n{all}```\n");
        rest = after;
        runs += 1;
    }
    compare(&(found + rest), &file);
    assert!(runs >= 6, "{runs} commands");
}

#[test]
fn a_picture_takes_its_form_from_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, begins) in [("a.svg", "<svg "), ("a.dot", "graph "), ("a.gv", "graph "), ("a", "ring\n")] {
        let file = folder.path().join(name);
        let words = ["topology", "draw", "topologies/ring.toml", "-o", file.to_str().unwrap()];
        assert_eq!(text(0, &words), "");
        assert!(fs::read_to_string(&file).unwrap().starts_with(begins), "{name}");
    }
    let words = ["topology", "draw", "topologies/ring.toml", "--format", "svg"];
    assert!(text(0, &words).ends_with("</svg>\n"));
}

#[test]
fn programs_get_what_there_is_to_draw() {
    let found = json(&["topology", "draw", "topologies/ring.toml", "--group", "news", "--members", "a,c"]);
    assert_eq!(found["tree"]["cost"], 20);
    let tree: Vec<_> =
        found["links"].as_array().unwrap().iter().map(|link| link["is_in_tree"].as_bool()).collect();
    assert_eq!(tree, [true, false, true, false, false].map(Some), "{found}");
}

#[test]
fn a_graph_becomes_a_file_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.toml");
    let file = file.to_str().unwrap();
    let found = json(&["topology", "import", "tests/graphml/zoo.graphml", "-o", file]);
    assert_eq!((found["relays"].as_u64(), found["dropped_links"].as_u64()), (Some(5), Some(2)));
    assert_eq!(found["renamed"][0]["name"], "zürich-2");
    assert!(text(0, &["topology", "check", file]).contains("usable: 5 relays, 3 links"));
    let written = text(0, &["topology", "import", "tests/graphml/zoo.graphml"]);
    assert_eq!(written, fs::read_to_string(file).unwrap());
}

#[test]
fn plans_and_reports_are_there_for_programs() {
    let abilene = "topologies/abilene.toml";
    let plan = json(&["topology", "plan", abilene, abilene, "--group", "g", "--without", "denver"]);
    assert_eq!(plan["change"]["links"], Value::Array(vec![]));
    assert_eq!(plan["death"]["change"]["groups"][0]["after"]["cut_off"][0]["relay"], "denver");
    let report = json(&["topology", "report", abilene, "--groups", "3"]);
    assert_eq!(report["lines"].as_array().unwrap().len(), 4);
    assert_eq!(report["lines"][1]["sets"], 3);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let ring = "topologies/ring.toml";
    let said = refused(2, &["topology", "draw", ring, "--group", "g", "--members", "a,x"]);
    assert!(said.contains("no relay \"x\" in the file"), "{said}");
    refused(2, &["topology", "draw", ring, "--group", "g", "--origin", "a"]);
    refused(2, &["topology", "draw", ring, "--origin", "a"]);
    refused(2, &["topology", "draw", ring, "--format", "png"]);
    let said = refused(2, &["topology", "draw", ring, "-o", "ring.png"]);
    assert!(said.contains(".svg, .dot, .gv or .txt") && !root().join("ring.png").exists(), "{said}");
    refused(2, &["topology", "draw", ring, "--rtt", "0"]);
    refused(2, &["topology", "plan", ring]);
    for words in [&["draw", ring][..], &["plan", ring, ring]] {
        let words = [&["topology"], words, &["--group", "a b"]].concat();
        let said = refused(2, &words);
        assert!(said.contains("name of the group") && said.contains("a b"), "{words:?}: {said}");
    }
    let said = refused(2, &["topology", "plan", ring, ring, "--members", "elsewhere"]);
    assert_eq!(said.matches("\"a\"").count(), 1, "a relay of both files is named once: {said}");
    let said = refused(2, &["topology", "plan", ring, ring, "--without", "aa"]);
    assert!(said.contains("did you mean \"a\"?"), "{said}");
}

#[test]
fn files_that_cannot_be_used_are_65() {
    let ring = "topologies/ring.toml";
    refused(65, &["topology", "draw", "no-such.toml"]);
    refused(65, &["topology", "draw", "tests/faults/T013-self-link.toml"]);
    refused(65, &["topology", "plan", ring, "tests/faults/T013-self-link.toml"]);
    refused(65, &["topology", "report", "tests/faults/T013-self-link.toml"]);
    refused(65, &["topology", "import", "no-such.graphml"]);
    let said = refused(65, &["topology", "import", ring]);
    assert!(said.contains("G001") && said.contains("ring.toml:1:1"), "{said}");
    refused(65, &["topology", "draw", ring, "-o", "/no/such/directory/a.svg"]);
}

#[test]
fn a_file_is_checked_from_standard_input() {
    let check = |text: &str| {
        let mut command = assert_cmd::Command::cargo_bin("treecast").unwrap();
        command.args(["topology", "check", "-"]).write_stdin(text.to_owned()).output().unwrap()
    };
    let good = fs::read_to_string("topologies/ring.toml").unwrap();
    assert_eq!(check(&good).status.code(), Some(0));
    let bad = check(&good.replacen("version", "varsion", 1));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(bad.status.code() == Some(65) && said.contains("-:") && said.contains("varsion"), "{said}");
}

#[test]
fn a_file_that_is_not_utf_8_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latin.toml");
    fs::write(&file, b"version = 1\n[relay.\"z\xfcrich\"]\naddress = \"127.0.0.1:7411\"\n").unwrap();
    let file = file.to_str().unwrap();
    let said = refused(65, &["topology", "check", file]);
    assert!(said.contains("error[T001]: byte 21 is not UTF-8, the only encoding that is read"), "{said}");
    assert!(said.contains("latin.toml:2:10"), "{said}");
    let found: Value =
        serde_json::from_str(&text(65, &["topology", "check", file, "--output", "json"])).unwrap();
    assert_eq!((&found["faults"][0]["code"], &found["faults"][0]["line"]), (&"T001".into(), &2.into()));
    let said = refused(65, &["relay", "--topology", file, "--name", "zurich"]);
    assert!(said.contains("error[T001]"), "{said}");
}

#[test]
fn standard_input_is_not_taken_for_two_files() {
    let file = "topologies/one.toml";
    let plan = |words: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("treecast").unwrap();
        let text = fs::read(root().join(file)).unwrap();
        command.args(["topology", "plan"]).args(words).current_dir(root()).write_stdin(text).output().unwrap()
    };
    for words in [["-", file], [file, "-"]] {
        assert_eq!(plan(&words).status.code(), Some(0), "{words:?}");
    }
    let both = plan(&["-", "-"]);
    let told = String::from_utf8(both.stderr).unwrap();
    assert_eq!(both.status.code(), Some(2), "{told}");
    assert!(told.contains("standard input is read once"), "{told}");
}
