//! What holds for the whole command line: its definition is sound, its help
//! texts are those on file, and each reason has its exit code.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::exit::{Exit, Failure, exit_of_refusal};
use super::out::{Context, Notes, Out};
use super::{Global, Output, RELAY_DEFAULT, definition};
use crate::client::ClientError;
use crate::log::LogError;
use crate::server::StartError;
use crate::wire::body::{Refusal, RefusalCode};

/// Bytes written, readable by the test after the writer is gone.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `write` puts out as text.
pub(super) fn captured(write: impl FnOnce(&mut Out) -> io::Result<()>) -> String {
    let bytes = captured_context(Output::Text, |context| write(&mut context.out));
    String::from_utf8(bytes).unwrap()
}

/// What `write` puts out.
pub(super) fn captured_context(
    output: Output,
    write: impl FnOnce(&mut Context) -> io::Result<()>,
) -> Vec<u8> {
    let shared = Shared::default();
    let mut context = Context {
        global: Global { output, relay: RELAY_DEFAULT.to_owned() },
        out: Out::new(Box::new(shared.clone()), output, false),
        notes: Notes::plain(),
    };
    write(&mut context).unwrap();
    context.out.flush().unwrap();
    drop(context);
    let bytes = shared.0.lock().unwrap();
    bytes.clone()
}

#[test]
fn the_definition_is_sound() {
    definition().debug_assert();
}

/// Every command with the words that lead to it, depth first.
fn every_command(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((path.to_owned(), command.clone()));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        every_command(sub, &format!("{path}-{}", sub.get_name()), found);
    }
}

/// The help texts are part of what users rely on: a change must be seen in a
/// review. `TREECAST_BLESS=1 cargo test help_texts` writes them anew.
#[test]
fn help_texts_are_those_on_file() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let mut root = definition().term_width(100).color(clap::ColorChoice::Never);
    root.build();
    let mut commands = Vec::new();
    every_command(&root, "treecast", &mut commands);
    let bless = std::env::var_os("TREECAST_BLESS").is_some();
    for (path, mut command) in commands {
        let file = dir.join(format!("{path}.txt"));
        let found = command.render_long_help().to_string();
        if bless {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&file, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(found, expected, "the help of `{path}` is not that of {}", file.display());
    }
}

#[test]
fn every_argument_has_a_help_text() {
    let mut root = definition();
    root.build();
    let mut commands = Vec::new();
    every_command(&root, "treecast", &mut commands);
    for (path, command) in commands {
        assert!(command.get_about().is_some(), "`{path}` says nothing of itself");
        for argument in command.get_arguments() {
            let name = argument.get_id();
            assert!(argument.get_help().is_some(), "`{path}` does not explain {name}");
        }
    }
}

#[test]
fn every_verb_has_an_example() {
    let mut root = definition();
    root.build();
    let mut commands = Vec::new();
    every_command(&root, "treecast", &mut commands);
    for (path, command) in commands.iter().filter(|(_, command)| !command.has_subcommands()) {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = after.split_once("Examples:\n").unwrap_or_default().1;
        assert!(examples.contains(&path.replace('-', " ")), "`{path} --help` shows no example");
    }
}

#[test]
fn reasons_have_the_documented_exit_codes() {
    use RefusalCode as Code;
    let codes = [
        (Code::NotFound, 3),
        (Code::Exists, 1),
        (Code::Invalid, 2),
        (Code::TooLarge, 65),
        (Code::Quota, 75),
        (Code::NoRoom, 75),
        (Code::NotReady, 75),
        (Code::Limit, 75),
        (Code::ProducerForgotten, 1),
        (Code::Removed, 3),
        (Code::NotPermitted, 77),
        (Code::Stopping, 75),
    ];
    for (code, exit) in codes {
        assert_eq!(exit_of_refusal(code) as u8, exit, "{code:?}");
        let failure = Failure::from(ClientError::Refused(Refusal::new(code, "no")));
        assert_eq!(failure.exit() as u8, exit, "{code:?}");
    }
    let io = |kind| io::Error::new(kind, "no");
    let file = Failure::File { what: "read", path: "x".into(), source: io(io::ErrorKind::NotFound) };
    assert_eq!(file.exit(), Exit::BadFile);
    assert_eq!(Failure::Nothing.exit() as u8, 3);
    assert_eq!(Failure::Usage(String::new()).exit() as u8, 2);
    assert_eq!(Failure::Deadline("late").exit() as u8, 124);
    assert_eq!(Failure::from(ClientError::Deadline).exit() as u8, 124);
    assert_eq!(Failure::from(io(io::ErrorKind::StorageFull)).exit() as u8, 1);
}

#[test]
fn what_the_system_forbids_is_77_and_names_the_path() {
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let path = || PathBuf::from("/var/lib/treecast");
    let log = || LogError::File { action: "open", file: "LOCK".to_owned(), source: Arc::new(denied()) };
    let failures = [
        Failure::File { what: "open", path: path(), source: denied() },
        Failure::Log { path: path(), source: log() },
        Failure::from(StartError::Data { path: path(), source: denied() }),
        Failure::from(StartError::Log { path: path(), source: log() }),
    ];
    for failure in failures {
        assert_eq!(failure.exit(), Exit::NotPermitted, "{failure}");
        assert!(failure.to_string().contains("/var/lib/treecast"), "{failure}");
    }
    let locked = LogError::Locked { holder: "7".to_owned() };
    let locked = Failure::from(StartError::Log { path: path(), source: locked });
    assert_eq!(locked.exit(), Exit::TryAgain);
    let said = locked.to_string();
    assert!(said.contains("/var/lib/treecast") && said.contains("in use by process 7"), "{said}");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let failure = Failure::from(io::Error::new(io::ErrorKind::BrokenPipe, "gone"));
    assert_eq!(failure.exit(), Exit::Done);
    assert!(!failure.is_worth_telling());
    assert!(!Failure::Nothing.is_worth_telling());
    assert!(Failure::Missing("x".to_owned()).is_worth_telling());
}

#[test]
fn every_exit_code_is_in_the_help() {
    let help = definition().render_long_help().to_string();
    for exit in [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::NothingThere,
        Exit::BadFile,
        Exit::Unreachable,
        Exit::TryAgain,
        Exit::NotPermitted,
        Exit::Deadline,
    ] {
        let line = format!("{:>5}  ", exit as u8);
        assert!(help.lines().any(|found| found.starts_with(&line)), "{exit:?}");
    }
}

#[test]
fn a_level_that_was_not_reached_and_a_duration_that_is_none_are_told_in_the_words_of_the_user() {
    use crate::wire::frame::AckLevel;
    let told = ClientError::Unreached { reached: AckLevel::Accepted }.to_string();
    assert!(told.starts_with("the message is accepted, and no more can be told: fewer relays"), "{told}");
    let told = super::values::millis("soon").unwrap_err();
    assert_eq!(told, "expected a whole number before \"soon\"; write it like `30s` or `2h30m`");
}

#[test]
fn who_cannot_join_ends_with_the_reason_of_it() {
    let join = |source| Failure::from(StartError::Join { address: "127.0.0.1:1".to_owned(), source });
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let away = ClientError::Unreachable { address: "127.0.0.1:1".to_owned(), source: Arc::new(refused) };
    assert_eq!(join(away).exit(), Exit::Unreachable);
    let unknown = Refusal::new(RefusalCode::NotFound, "relay g is not in topology 3, which is in force");
    assert_eq!(join(ClientError::Refused(unknown)).exit(), Exit::NothingThere);
}
