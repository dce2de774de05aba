//! The documents say what is there: links lead somewhere, and the tests and
//! files that they name exist.

#![expect(clippy::unwrap_used, reason = "in a test a step that fails is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// README, CHANGELOG and everything in `docs`, with their text outside of code blocks.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    paths.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), prose(&fs::read_to_string(path).unwrap()))).collect()
}

fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// What stands between `open` and `close`, every time.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close).map(|(inside, _)| inside)).collect()
}

/// What is written as code inside the prose.
fn code(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The anchors of a document's headings, as web pages of repositories make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in documents() {
        for link in between(&text, "](", ")") {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let found = fs::read_to_string(&target).map(|text| anchors(&prose(&text)));
            let leads = found.is_ok_and(|found| anchor.is_empty() || found.iter().any(|a| a == anchor));
            if !leads {
                faults.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 20, "{seen} links");
}

fn has_test(path: &Path, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(path) else { return false };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_it = |line: &&str| {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        function.and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().filter(|(_, line)| is_it(line)).any(|(at, _)| {
        let before = lines.iter().take(at).rev().take_while(|line| line.starts_with("#["));
        before.copied().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in documents() {
        for named in code(&text) {
            let Some((file, name)) = named.split_once(".rs::") else { continue };
            seen += 1;
            if !has_test(&root().join(format!("{file}.rs")), name) {
                faults.push(format!("{}: {named}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 50, "{seen} tests");
}

#[test]
fn every_file_that_a_document_names_exists() {
    let folders = ["src/", "tests/", "benches/", "docs/", "topologies/", "examples/"];
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in documents() {
        for named in code(&text) {
            let is_path = folders.iter().any(|folder| named.starts_with(folder));
            if !is_path || named.contains("::") || named.contains('*') {
                continue;
            }
            seen += 1;
            if !root().join(named).exists() {
                faults.push(format!("{}: {named}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 80, "{seen} files");
}
