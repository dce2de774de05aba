//! Commands in processes of their own.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    /// What it wrote to standard error.
    pub(crate) said: String,
}

/// A command that speaks to the relay at `address`.
pub(crate) fn command(address: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
    command.args(words).args(["--relay", address]).stdin(Stdio::null());
    command
}

/// A process that runs. Killed when it is dropped, halted or not: a test that fails leaves none.
pub(crate) struct Running(Child);

impl Running {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the command runs"))
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a command to its end.
pub(crate) fn run(address: &str, words: &[&str]) -> Done {
    let output = command(address, words).output().expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Done { code: output.status.code(), output: text(output.stdout), said: text(output.stderr) }
}

/// Runs a command that must succeed, and gives what it wrote.
#[track_caller]
pub(crate) fn good(address: &str, words: &[&str]) -> String {
    let done = run(address, words);
    assert_eq!(done.code, Some(0), "{words:?}: {done:?}");
    done.output
}

/// What a command says to programs.
#[track_caller]
pub(crate) fn json(address: &str, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    serde_json::from_str(&good(address, &words)).expect("one object")
}
