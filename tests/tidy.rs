//! Rules of this code base that no compiler checks: who may use whom, how long
//! a function may be, and words that say that something is unfinished.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a function may have, from its first to its last.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines a file may have before its tests, unless its module docs say why it is one thing.
const FILE_LINES_MAX: usize = 400;

/// Which part may use which others; itself always.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("dice", &[]),
    ("units", &[]),
    ("id", &["limits"]),
    ("topology", &["id", "limits", "units"]),
    ("routing", &["id", "limits", "topology"]),
    ("survey", &["dice", "id", "limits", "units", "topology", "routing"]),
    ("config", &["id", "limits", "units", "topology"]),
    ("wire", &["id", "limits", "topology", "log", "routing"]),
    ("log", &["id", "limits", "wire"]),
    ("relay", &["id", "limits", "wire", "topology", "log", "routing"]),
    ("sim", &["dice", "id", "limits", "topology", "wire", "log", "relay"]),
    ("metrics", &["id", "limits", "wire"]),
    ("net", &["id", "limits", "wire", "metrics", "relay"]),
    ("server", &["id", "limits", "wire", "log", "relay", "net", "metrics", "topology", "config", "client"]),
    ("http", &["limits", "metrics", "net"]),
    ("client", &["id", "limits", "wire", "topology"]),
];

/// What the pure core may not name at all.
const BANNED_IN_CORE: &[&str] =
    &["tokio", "std::fs", "std::net", "std::thread", "Instant", "SystemTime", "tracing", "metrics::", "rand"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The part of the tree that a file belongs to: `wire` for `src/wire/run.rs`.
fn part(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
}

/// The text before the unit tests inside a file.
fn before_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
}

#[test]
fn parts_use_only_what_lies_below_them() {
    let mut faults = Vec::new();
    for path in sources(&root().join("src")) {
        if is_test(&path) {
            continue;
        }
        let part = part(&path);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == part) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in before_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for used in code.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = LAYERS.iter().any(|(layer, _)| *layer == name);
                if known && name != part && !allowed.contains(&name.as_str()) {
                    faults.push(format!("{}:{}: {part} uses {name}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_function_is_longer_than_seventy_lines() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        let folder = root().join(folder);
        if !folder.is_dir() {
            continue;
        }
        for path in sources(&folder) {
            let text = fs::read_to_string(&path).unwrap();
            let mut begun: Option<(usize, usize)> = None;
            for (number, line) in text.lines().enumerate() {
                let indent = line.len() - line.trim_start().len();
                // What stands in brackets behind `pub` is no list of arguments.
                let bare = line.trim_start();
                let bare = bare
                    .strip_prefix("pub(")
                    .and_then(|rest| rest.split_once(") "))
                    .map_or(bare, |(_, rest)| rest);
                let is_function = bare.split(['(', '<']).next().is_some_and(|head| {
                    head.split_whitespace().rev().nth(1) == Some("fn") && !line.trim_start().starts_with("//")
                });
                if is_function && !line.trim_end().ends_with(';') && !line.trim_end().ends_with('}') {
                    begun = Some((number, indent));
                } else if let Some((first, at)) = begun
                    && indent == at
                    && line.trim() == "}"
                {
                    if number - first + 1 > FUNCTION_LINES_MAX {
                        faults.push(format!(
                            "{}:{}: {} lines",
                            path.display(),
                            first + 1,
                            number - first + 1
                        ));
                    }
                    begun = None;
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn long_files_are_few() {
    let files: Vec<_> = sources(&root().join("src")).into_iter().filter(|p| !is_test(p)).collect();
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, before_tests(&fs::read_to_string(path).unwrap()).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines}", path.display()))
        .collect();
    assert!(long.len() * 10 <= files.len(), "{} of {}:\n{}", long.len(), files.len(), long.join("\n"));
}

#[test]
fn the_core_names_no_clock_socket_file_or_thread() {
    let mut faults = Vec::new();
    for path in sources(&root().join("src/relay")) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for banned in BANNED_IN_CORE {
                if code.contains(banned) {
                    faults.push(format!("{}:{}: {banned}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_says_that_it_is_unfinished() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX:"), concat!("for ", "now")];
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        let folder = root().join(folder);
        if !folder.is_dir() {
            continue;
        }
        for path in sources(&folder) {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                if words.iter().any(|word| line.contains(word)) {
                    faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
