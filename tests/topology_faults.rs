//! What an operator is told about a wrong topology file.
//!
//! Every `tests/faults/NAME.toml` is checked and what is shown is compared with
//! `NAME.txt`, letter by letter. A file called `Tnnn-…` must show that code.
//! After a change of wording, `TREECAST_WRITE_EXPECTED=1 cargo test --test
//! topology_faults` writes the texts anew; read them before committing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use treecast::topology::{Code, Colour, FAULTS_MAX, Faults, TEXT_BYTES_MAX, Topology};

fn files_in(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(directory).expect("the directory is part of the source");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn faults_of(name: &str, text: &str) -> Faults {
    match Topology::parse(name, text) {
        Ok(checked) => checked.warnings,
        Err(faults) => faults,
    }
}

#[test]
fn every_fault_is_shown_as_expected() {
    let write = std::env::var_os("TREECAST_WRITE_EXPECTED").is_some();
    for path in files_in("tests/faults") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let shown = faults_of(&name, &text).render(Colour::Off);
        let expected = path.with_extension("txt");
        if write {
            fs::write(&expected, &shown).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap();
        assert_eq!(shown, expected, "{name} shows:\n{shown}");
    }
}

#[test]
fn every_code_has_a_file_that_produces_it() {
    let mut produced = BTreeSet::new();
    for path in files_in("tests/faults") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let faults = faults_of(&name, &fs::read_to_string(&path).unwrap());
        let codes: BTreeSet<_> = faults.iter().map(|fault| fault.code().as_str()).collect();
        if let Some(code) = name.strip_prefix('T') {
            let code = format!("T{}", code.split('-').next().unwrap());
            assert!(codes.contains(code.as_str()), "{name} produces {codes:?}");
        }
        produced.extend(codes);
    }
    // Too large to keep here; `a_file_that_is_too_large_is_refused` makes one.
    produced.insert(Code::TooLarge.as_str());
    let all = Code::ALL.iter().map(|code| code.as_str()).filter(|code| code.starts_with('T'));
    let missing: Vec<_> = all.filter(|code| !produced.contains(code)).collect();
    assert!(missing.is_empty(), "no file produces {missing:?}");
}

#[test]
fn every_fault_has_its_place() {
    for path in files_in("tests/faults") {
        let faults = faults_of("name.toml", &fs::read_to_string(&path).unwrap());
        for row in faults.rows() {
            let place = (row.file.as_deref(), row.line.is_some(), row.column.is_some());
            assert_eq!(place, (Some("name.toml"), true, true), "{row:?}");
        }
    }
}

#[test]
fn rows_are_plain_values() {
    let faults = faults_of("net.toml", "version = 1\n[relay.a]\naddress = \"[::1]:1\"\nkye = 1\n");
    let rows = serde_json::to_string(&faults.rows()).unwrap();
    let expected = concat!(
        r#"[{"code":"T002","severity":"error","file":"net.toml","line":4,"column":1,"#,
        r#""message":"unknown key \"kye\" in relay \"a\"","suggestion":"did you mean \"key\"?"}]"#
    );
    assert_eq!(rows, expected);
}

#[test]
fn colours_are_only_shown_when_wanted() {
    let faults = faults_of("net.toml", "version = 3");
    assert!(faults.render(Colour::On).contains('\u{1b}'));
    assert!(!faults.render(Colour::Off).contains('\u{1b}'));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let at_limit = "#".repeat(TEXT_BYTES_MAX);
    assert!(faults_of("large.toml", &at_limit).iter().all(|fault| fault.code() != Code::TooLarge));
    let above = "#".repeat(TEXT_BYTES_MAX + 1);
    let faults = faults_of("large.toml", &above);
    let codes: Vec<_> = faults.iter().map(|fault| fault.code()).collect();
    assert_eq!(codes, [Code::TooLarge]);
    assert!(faults.render(Colour::Off).len() < 1_000);
}

#[test]
fn a_file_that_is_wrong_all_over_is_bounded() {
    let mut text = "version = 1\n".to_owned();
    for number in 0..20_000 {
        text.push_str(&format!(
            "[relay.r{number}]\nadress = 1\n[[link]]\nbetween = [\"x{number}\", \"y\"]\n"
        ));
    }
    let faults = faults_of("wrong.toml", &text);
    assert_eq!(faults.rows().len(), FAULTS_MAX);
    assert!(faults.error_count() > 60_000);
    assert!(faults.render(Colour::Off).len() < FAULTS_MAX * 1_000);
}

#[test]
fn the_topologies_that_come_with_the_source_have_no_faults() {
    for path in files_in("topologies") {
        let name = path.to_string_lossy().into_owned();
        let checked = Topology::parse(&name, &fs::read_to_string(&path).unwrap());
        let checked = checked.unwrap_or_else(|faults| panic!("{faults}"));
        assert!(checked.warnings.is_empty(), "{}", checked.warnings);
        assert!(checked.topology.relays().iter().all(|relay| relay.address.is_loopback()));
    }
}

/// All topologies there are, right and wrong ones.
fn corpus() -> Vec<String> {
    let files = files_in("tests/faults").into_iter().chain(files_in("topologies"));
    files.map(|path| fs::read_to_string(path).expect("the file can be read")).collect()
}

fn check_any(text: &str) {
    let faults = faults_of("any.toml", text);
    let shown = faults.render(Colour::Off);
    assert_eq!(shown.is_empty(), faults.is_empty());
    assert!(faults.rows().iter().all(|row| row.line.is_some() && row.column.is_some()));
    let no_control = |c: char| !c.is_control() || c == '\n';
    assert!(shown.chars().all(no_control), "control characters reach the terminal: {shown:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", toml in "([a-z\\.\"\\[\\]={}#\\\\0-9_: ,\n\r\t'-]|relay|link|version = 1\n){0,60}") {
        check_any(&text);
        check_any(&toml);
    }

    #[test]
    fn no_mutated_file_panics(
        pick: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<char>(), 0..40_usize), 1..8),
    ) {
        let corpus = corpus();
        let mut letters: Vec<char> = pick.get(&corpus).chars().collect();
        for (place, how, letter, length) in changes {
            let at = place.index(letters.len().max(1)).min(letters.len());
            let end = (at + length).min(letters.len());
            match how {
                0 => letters.insert(at, letter),
                1 => drop(letters.drain(at..end)),
                2 => letters.splice(at..end, [letter]).for_each(drop),
                _ => {
                    let copy: Vec<char> = letters[at..end].to_vec();
                    let to = place.index(letters.len() + 1);
                    letters.splice(to..to, copy).for_each(drop);
                }
            }
        }
        check_any(&letters.into_iter().collect::<String>());
    }
}

/// Warnings push out neither an error nor the advice that goes with it.
#[test]
fn many_warnings_hide_no_error() {
    let mut text = "version = 1\n[relay.north]\naddress = \"127.0.0.1:1\"\n".to_owned();
    for number in 0..=FAULTS_MAX {
        text += &format!("[group.g{number}]\nquota_policy = \"refuse\"\n");
    }
    text += "[queue.q]\nhome = \"nroth\"\n[group.z]\nmax_count = 0\n";
    let faults = faults_of("many.toml", &text);
    let errors = || faults.iter().filter(|fault| fault.code().as_str() != "T021");
    let codes: Vec<_> = errors().map(|fault| fault.code().as_str()).collect();
    assert_eq!((codes, faults.warning_count()), (vec!["T017", "T005"], FAULTS_MAX + 1));
    assert!(errors().any(|fault| fault.suggestion() == Some("did you mean \"north\"?")), "{faults}");
}
