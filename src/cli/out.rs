//! Where a verb writes: data to standard output, all else to standard error.
//!
//! Nothing else in the crate writes to either.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;

use crate::topology::{Colour, Faults};

use super::exit::Failure;
use super::{Global, Output};

/// Bytes gathered before they are written: a thousand small messages then cost one system call.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a verb needs beside its own arguments.
#[derive(Debug)]
pub struct Context {
    /// The options that every verb takes.
    pub global: Global,
    /// Standard output.
    pub out: Out,
    /// Standard error.
    pub notes: Notes,
}

impl Context {
    /// Writes to this process's own standard output and error.
    #[must_use]
    pub fn of_process(global: Global) -> Self {
        let out = Out::new(Box::new(io::stdout()), global.output, wants_colour(io::stdout().is_terminal()));
        let notes =
            Notes { colour: wants_colour(io::stderr().is_terminal()), terminal: io::stderr().is_terminal() };
        Self { global, out, notes }
    }

    /// Whether data is written for people.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.global.output == Output::Text
    }
}

/// Colours only for a person who looks and who did not ask for none.
fn wants_colour(terminal: bool) -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    terminal && !dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Standard output, or what stands for it in a test.
pub struct Out {
    inner: io::BufWriter<Box<dyn Write + Send>>,
    format: Output,
    colour: bool,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out")
            .field("format", &self.format)
            .field("colour", &self.colour)
            .finish_non_exhaustive()
    }
}

impl Out {
    /// Writes data in `format` to `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Write + Send>, format: Output, colour: bool) -> Self {
        Self { inner: io::BufWriter::with_capacity(BUFFER_BYTES, inner), format, colour }
    }

    /// How data is written.
    #[must_use]
    pub fn format(&self) -> Output {
        self.format
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }

    /// Writes a line of text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.inner, "{line}")
    }

    /// Writes one object on a line of its own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.inner, "{value}")
    }

    /// Writes what was gathered: after this, the reader has it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    /// The last flush.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// A heading, bold where colours are.
    #[must_use]
    pub fn heading(&self, text: &str) -> String {
        paint(self.colour, Style::new().bold(), text)
    }

    /// Something good, green where colours are.
    #[must_use]
    pub fn good(&self, text: &str) -> String {
        paint(self.colour, AnsiColor::Green.on_default(), text)
    }

    /// Something bad, red where colours are.
    #[must_use]
    pub fn bad(&self, text: &str) -> String {
        paint(self.colour, AnsiColor::Red.on_default().bold(), text)
    }
}

fn paint(colour: bool, style: Style, text: &str) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Standard error: what a person should know and no program should parse.
/// When it cannot be written there is nobody left to tell.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    colour: bool,
    terminal: bool,
}

impl Notes {
    /// Notes without colour, for tests.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false, terminal: false }
    }

    /// Whether a person looks, so that a progress bar makes sense.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Whether colours are wanted.
    #[must_use]
    pub fn has_colour(self) -> bool {
        self.colour
    }

    /// Something worth knowing.
    pub fn note(self, text: impl fmt::Display) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Something that may be wrong.
    pub fn warning(self, text: impl fmt::Display) {
        let word = paint(self.colour, AnsiColor::Yellow.on_default().bold(), "warning:");
        let _ = writeln!(io::stderr(), "{word} {text}");
    }

    /// Faults of what an operator wrote, each in its place.
    pub fn faults(self, faults: &Faults) {
        let colour = if self.colour { Colour::On } else { Colour::Off };
        let _ = write!(io::stderr(), "{}", faults.render(colour));
    }

    /// Why the verb failed, and what can be done.
    pub fn error(self, failure: &Failure) {
        if let Failure::Config { faults, .. } = failure {
            return self.faults(faults);
        }
        let word = paint(self.colour, AnsiColor::Red.on_default().bold(), "error:");
        let _ = writeln!(io::stderr(), "{word} {failure}");
        if let Some(advice) = failure.advice() {
            let word = paint(self.colour, Style::new().bold(), "help:");
            let _ = writeln!(io::stderr(), "{word} {advice}");
        }
    }
}
