//! What is wrong with what the operator wrote: every fault with its code, its
//! place, the value that was wrong and what would have been right.
//!
//! Faults are collected, never thrown one by one. They are shown in the order
//! of the text, for a terminal by [`Faults::render`] and as plain rows by
//! [`Faults::rows`]. Codes are stable: a code is never reused for something
//! else.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What was written cannot be used.
    Error,
    /// What was written can be used, but is probably not what was meant.
    Warning,
}

/// Declares [`Code`] once: variant, stable text, severity and meaning.
macro_rules! codes {
    ($($variant:ident = $text:literal, $severity:ident, $meaning:literal;)+) => {
        /// What kind of fault it is. `T` codes are about the topology, `G`
        /// codes about a graph that becomes one, `C` codes about the
        /// configuration of one relay.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`: ", $meaning, ".")] $variant,)+
        }

        impl Code {
            /// Every code there is, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable text of the code, such as `T002`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// How bad a fault of this kind is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// What the code means, in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

codes! {
    Syntax = "T001", Error, "the text is not TOML";
    UnknownKey = "T002", Error, "a key that does not exist";
    WrongType = "T003", Error, "a value of the wrong type";
    MissingKey = "T004", Error, "a key that must be there is missing";
    BadValue = "T005", Error, "a value that cannot be taken";
    UnsupportedVersion = "T006", Error, "a file version that is missing or not supported";
    BadName = "T007", Error, "a name that breaks the rules for names";
    BadAddress = "T008", Error, "an address that neighbours cannot connect to";
    DuplicateAddress = "T009", Error, "two relays with one address";
    BadKey = "T010", Error, "a public key that cannot be read";
    DuplicateKey = "T011", Error, "two relays with one public key";
    UnknownRelay = "T012", Error, "a link to a relay that is not in the file";
    SelfLink = "T013", Error, "a link from a relay to itself";
    DuplicateLink = "T014", Error, "two links between the same relays";
    CostOutOfRange = "T015", Error, "a link cost outside its range";
    Islands = "T016", Warning, "relays that cannot reach each other";
    UnknownHome = "T017", Error, "a queue whose home is not in the file";
    UnreachableHome = "T018", Warning, "a queue whose home cannot be reached by all relays";
    DeadLetterLoop = "T019", Error, "dead letters that come back to where they came from";
    NameTaken = "T020", Error, "a group and a queue with one name";
    NoEffect = "T021", Warning, "a setting that has no effect";
    TooLarge = "T022", Error, "a file that is too large, or has too many relays";
    DeadLetterOrder = "T023", Error, "a group that takes dead letters and keeps the order of producers";
    Repeated = "T024", Error, "a table or a key that is there twice";
    SharedData = "T025", Warning, "two relays of one host with one data directory";
    PerhapsOneAddress = "T026", Warning, "two relays whose addresses may be one";
    NotGraphMl = "G001", Error, "the text is not GraphML";
    MissingAttribute = "G002", Error, "a node or an edge without what it must have";
    UnknownNode = "G003", Error, "an edge to a node that does not exist";
    DuplicateNode = "G004", Error, "two nodes with one id";
    BadNumber = "G005", Error, "a cost or a length that is no number";
    TooManyNodes = "G006", Error, "a graph with more nodes than a network may have relays";
    Renamed = "G007", Warning, "a node whose relay is not called as its label";
    DroppedLoop = "G008", Warning, "an edge from a node to itself, which is left out";
    DroppedParallel = "G009", Warning, "a second edge between two nodes, of which the cheaper stays";
    UnknownPlace = "G010", Warning, "a node of which it is not known where it is";
    GraphIslands = "G011", Warning, "nodes that cannot reach each other";
    NotRead = "G012", Warning, "a part of a GraphML file that is not read";
    CostChanged = "G013", Warning, "a cost that no link can have, in whose place another one stands";
    Directions = "G014", Warning, "edges with directions, which links have not";
    NoName = "C001", Error, "no name for this relay";
    UnknownSelf = "C002", Error, "this relay is not in the topology";
    BadListen = "C003", Error, "an address that cannot be listened on";
    Insecure = "C004", Error, "an address that others can reach, without protection";
    NoDataDir = "C005", Error, "no place for the data";
    BadDataDir = "C006", Error, "a data directory that cannot be used";
    BadSetting = "C007", Error, "a setting of this relay that cannot be taken";
    MessageTooLarge = "C008", Error, "a group whose messages do not fit this relay's segments";
    NeedsFlag = "C009", Warning, "a relay that starts only with a flag";
}

/// A half-open range of bytes in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    code: Code,
    message: String,
    suggestion: Option<String>,
    span: Option<Span>,
}

impl Fault {
    /// A fault that has no place in a text, until [`Fault::at`] gives it one.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), suggestion: None, span: None }
    }

    /// The same fault, at `span`.
    pub(crate) fn at(self, span: impl Into<Span>) -> Self {
        Self { span: Some(span.into()), ..self }
    }

    /// The same fault with advice, when there is some.
    pub(crate) fn suggest(self, suggestion: Option<String>) -> Self {
        Self { suggestion, ..self }
    }

    /// What kind of fault it is.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What was wrong and what would have been right.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was probably meant.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }
}

/// One fault as plain values, for output that is read by programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The stable code, such as `T002`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The name of the text, where the fault has a place in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What was wrong and what would have been right.
    pub message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// Whether rendered faults carry colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours, for a terminal.
    On,
    /// Plain text.
    Off,
}

/// All faults of one text, in the order of the text, with the text itself so
/// that they can be shown in place.
///
/// At most [`FAULTS_MAX`] are kept, errors before warnings, since an error is
/// why the text is refused; the rest are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    list: Vec<Fault>,
    errors: usize,
    warnings: usize,
}

impl Faults {
    /// No faults yet in `text`, which is shown to the operator as `name`.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { name: harmless(name), text: text.to_owned(), line_starts, ..Self::default() }
    }

    /// Adds a fault in its place.
    pub(crate) fn push(&mut self, fault: Fault) {
        match fault.code.severity() {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        let is_error = |fault: &Fault| fault.code.severity() == Severity::Error;
        if self.list.len() >= FAULTS_MAX
            && is_error(&fault)
            && let Some(last) = self.list.iter().rposition(|known| !is_error(known))
        {
            self.list.remove(last);
        }
        if self.list.len() < FAULTS_MAX {
            let key = |fault: &Fault| fault.span.map(|span| span.start);
            let place = self.list.partition_point(|other| key(other) <= key(&fault));
            self.list.insert(place, fault);
        }
    }

    /// The number of the line that holds byte `at`, from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= at).max(1)
    }

    /// How many lines the text has.
    pub(crate) fn line_count(&self) -> usize {
        self.line_starts.len()
    }

    /// The text of a line without its end. Lines are counted from 1; of one
    /// that does not exist nothing.
    pub(crate) fn line_text(&self, line: usize) -> &str {
        let start = self.line_start(line);
        let rest = self.text.get(start..).unwrap_or_default();
        let text = rest.split('\n').next().unwrap_or_default();
        text.strip_suffix('\r').unwrap_or(text)
    }

    /// The text of a place.
    pub(crate) fn text_of(&self, place: std::ops::Range<usize>) -> &str {
        self.text.get(place).unwrap_or_default()
    }

    /// The byte at which a line begins.
    pub(crate) fn line_start(&self, line: usize) -> usize {
        let known = line.checked_sub(1).and_then(|index| self.line_starts.get(index));
        known.copied().unwrap_or(self.text.len())
    }

    /// Whether further errors are counted but not kept.
    pub(crate) fn is_full_of_errors(&self) -> bool {
        self.errors >= FAULTS_MAX
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors + self.warnings == 0
    }

    /// How many errors there are, also those that are not kept.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// How many warnings there are, also those that are not kept.
    #[must_use]
    pub fn warning_count(&self) -> usize {
        self.warnings
    }

    /// How many faults are counted but not kept, because there were more than
    /// [`FAULTS_MAX`].
    #[must_use]
    pub fn omitted_count(&self) -> usize {
        self.errors + self.warnings - self.list.len()
    }

    /// The faults that are kept, in the order of the text; those without a
    /// place come first.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// The faults that are kept as plain rows, in the same order.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.list.iter().map(|fault| self.row(fault)).collect()
    }

    /// The faults for a reader at a terminal: each with the line it is on, the
    /// wrong text underlined and what was probably meant; then the counts.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::On => Renderer::styled(),
            Colour::Off => Renderer::plain(),
        };
        let mut shown = String::new();
        for fault in &self.list {
            shown.push_str(&self.render_one(&renderer, fault));
            shown.push_str("\n\n");
        }
        if !self.is_empty() {
            shown.push_str(&self.summary());
            shown.push('\n');
        }
        shown
    }

    fn render_one(&self, renderer: &Renderer, fault: &Fault) -> String {
        let level = match fault.code.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(fault.message.as_str()).id(fault.code.as_str());
        let mut group = annotate_snippets::Group::with_title(title);
        if let Some(place) = fault.span.map(|span| self.place(span)) {
            group = if place.line_text.len() > LINE_SHOWN_BYTES_MAX {
                let origin = Origin::path(self.name.as_str());
                group.element(origin.line(place.line).char_column(place.column))
            } else {
                let underlined = AnnotationKind::Primary.span(place.within);
                let snippet = Snippet::source(harmless(place.line_text)).path(self.name.as_str());
                group.element(snippet.line_start(place.line).annotation(underlined))
            };
        }
        if let Some(suggestion) = fault.suggestion() {
            group = group.element(Level::HELP.message(suggestion));
        }
        renderer.render(&[group])
    }

    /// `2 errors, 1 warning`, and how many of them were not shown.
    fn summary(&self) -> String {
        let count = |number: usize, what: &str| match number {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{number} {what}s")),
        };
        let parts = [count(self.errors, "error"), count(self.warnings, "warning")];
        let mut summary = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        if self.omitted_count() > 0 {
            summary.push_str(&format!(" ({} not shown)", self.omitted_count()));
        }
        summary
    }

    fn row(&self, fault: &Fault) -> Row {
        let place = fault.span.map(|span| self.place(span));
        Row {
            code: fault.code.as_str(),
            severity: fault.code.severity(),
            file: place.as_ref().map(|_| self.name.clone()),
            line: place.as_ref().map(|place| place.line),
            column: place.as_ref().map(|place| place.column),
            message: fault.message.clone(),
            suggestion: fault.suggestion.clone(),
        }
    }

    /// Where `span` begins, and what of it is on that line.
    fn place(&self, span: Span) -> Place<'_> {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let line = self.line_of(start);
        let (line_start, line_text) = (self.line_start(line), self.line_text(line));
        let from = start.saturating_sub(line_start).min(line_text.len());
        let to = end.saturating_sub(line_start).min(line_text.len());
        let column = line_text.get(..from).map_or(0, |before| before.chars().count()) + 1;
        Place { line, column, line_text, within: from..to }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Colour::Off).trim_end())
    }
}

impl std::error::Error for Faults {}

/// Where a fault begins. `within` is its part of `line_text`, in bytes.
struct Place<'f> {
    line: usize,
    column: usize,
    line_text: &'f str,
    within: std::ops::Range<usize>,
}

/// The same text without C1 control characters, which some terminals obey and
/// the renderer lets pass (it replaces the others). What stands in their place
/// has as many bytes, so that spans stay right.
fn harmless(text: &str) -> String {
    text.replace(|c| matches!(c, '\u{80}'..='\u{9f}'), "·")
}

/// The most faults that are kept: 200, more than anyone reads at once, and a
/// bound on the output for a file that is wrong all over.
pub const FAULTS_MAX: usize = 200;
/// A longer line is named but not shown.
const LINE_SHOWN_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        let texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let mut unique = texts.clone();
        unique.dedup();
        assert_eq!(texts, unique);
        assert!(Code::ALL.iter().all(|code| !code.meaning().is_empty()));
    }

    #[test]
    fn a_fault_is_placed_by_line_and_character() {
        let mut faults = Faults::new("a.toml", "ä = 1\r\nöö = zz\n");
        faults.push(Fault::new(Code::BadValue, "second").at(15..17));
        faults.push(Fault::new(Code::Islands, "first").at(0..2).suggest(Some("try".to_owned())));
        let rows = faults.rows();
        assert_eq!((rows[0].line, rows[0].column, rows[0].severity), (Some(1), Some(1), Severity::Warning));
        assert_eq!((rows[1].line, rows[1].column), (Some(2), Some(6)));
        assert_eq!((faults.error_count(), faults.warning_count()), (1, 1));
        assert!(faults.to_string().contains("a.toml:2:6"), "{faults}");
        assert!(faults.to_string().ends_with("1 error, 1 warning"), "{faults}");
    }

    #[test]
    fn any_place_can_be_shown() {
        for text in ["", "\n", "\r\n", "é", "\u{1b}[31m\t\u{200b}", "a\nb"] {
            for start in 0..6 {
                for end in 0..6 {
                    let mut faults = Faults::new("a", text);
                    faults.push(Fault::new(Code::BadValue, "x").at(start..end));
                    assert!(!faults.render(Colour::On).is_empty());
                    assert!(!faults.render(Colour::Off).contains('\u{1b}'));
                    assert_eq!(faults.rows().len(), 1);
                }
            }
        }
    }

    #[test]
    fn more_faults_than_anyone_reads_are_counted() {
        let mut faults = Faults::new("a", "x");
        for _ in 0..=FAULTS_MAX {
            faults.push(Fault::new(Code::BadValue, "x").at(0..1));
        }
        assert_eq!((faults.rows().len(), faults.omitted_count()), (FAULTS_MAX, 1));
        assert!(faults.to_string().ends_with("201 errors (1 not shown)"));
    }

    #[test]
    fn errors_are_kept_before_warnings() {
        let mut faults = Faults::new("a", "x\ny");
        for _ in 0..FAULTS_MAX {
            faults.push(Fault::new(Code::Islands, "only a warning").at(0..1));
        }
        faults.push(Fault::new(Code::BadValue, "why it cannot be used").at(2..3));
        assert_eq!((faults.rows().len(), faults.omitted_count()), (FAULTS_MAX, 1));
        assert!(faults.to_string().contains("why it cannot be used"), "{faults}");
        faults.push(Fault::new(Code::Islands, "one more warning").at(0..1));
        assert_eq!((faults.rows().len(), faults.omitted_count()), (FAULTS_MAX, 2));
        assert!(faults.to_string().contains("why it cannot be used"), "{faults}");
    }

    #[test]
    fn a_very_long_line_is_named_but_not_shown() {
        let text = "x".repeat(LINE_SHOWN_BYTES_MAX + 1);
        let mut faults = Faults::new("a", &text);
        faults.push(Fault::new(Code::BadValue, "bad").at(7..9));
        assert_eq!(faults.to_string(), "error[T005]: bad\n--> a:1:8\n\n1 error");
    }
}
