//! What of a text is not TOML or stands there twice, and the tree of the rest.
//!
//! The parser recovers from a fault by a guess, which a line further may be wrong: a header behind one that is
//! not closed is taken for a part of it, a line that is no more than a word ends the file. So the broken lines are
//! taken out, each place staying what it is, and what is left is parsed again: in most files it is TOML, and is
//! judged as the operator wrote it.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::super::faults::{Code, Fault};
use super::super::name::check_name;
use super::Reader;
use crate::units::shorten;

/// What is told where links are written as a table.
pub(in super::super) const LINK_ADVICE: &str = "links have no name: write [[link]]";

/// Keys whose values are `true` or `false`.
const FLAGS: &[&str] = &["allow_islands", "insecure", "transit"];
/// Keys whose values are whole numbers.
const COUNTS: &[&str] = &[
    "version",
    "max_children",
    "max_count",
    "history_count",
    "quota_count",
    "subscription_quota_count",
    "max_deliver",
];
/// Keys whose values are lists, each with one.
const LISTS: &[(&str, &str)] =
    &[("between", "[\"north\", \"south\"]"), ("backoff", "[\"1s\", \"10s\"]"), ("at", "[48.2, 16.37]")];
/// The tables that there are. Those of the first have no name.
const KINDS: [&str; 4] = ["link", "relay", "group", "queue"];
/// Keys of the file itself that are no tables.
const FILE_VALUES: &[&str] = &["version", "allow_islands", "insecure"];

impl Reader {
    /// Adds every place where the text is not TOML and all that is there twice. Gives the tree of what is left;
    /// `sound` holds the text of that.
    pub(in super::super) fn tree<'t>(&mut self, text: &'t str, sound: &'t mut [String; 3]) -> DeTable<'t> {
        let [closed, once, twice] = sound;
        let (mut root, mut errors) = DeTable::parse_recoverable(text);
        if !errors.iter().all(is_repeat) && self.open_lists() {
            *closed = self.without_broken_lines(text);
            (root, errors) = DeTable::parse_recoverable(closed);
        }
        if !errors.iter().all(is_repeat) {
            let mut is_beheaded = false;
            for error in errors.iter().filter(|error| !is_repeat(error)) {
                is_beheaded |= self.syntax(error);
            }
            // Behind a header that is not closed the parser takes the next one for a part of it.
            self.repeats(&errors, !is_beheaded);
            *once = self.without_broken_lines(text);
            let (rest, left) = DeTable::parse_recoverable(once);
            self.is_torn = !left.iter().all(is_repeat);
            if self.is_torn {
                return root.into_inner();
            }
            (root, errors) = (rest, left);
        }
        if self.repeats(&errors, true) {
            *twice = self.without_broken_lines(text);
            let (rest, left) = DeTable::parse_recoverable(twice);
            if left.iter().all(is_repeat) {
                root = rest;
                self.repeats(&left, true);
            }
        }
        root.into_inner()
    }

    /// The text with blanks for all that stands in broken lines.
    fn without_broken_lines(&self, text: &str) -> String {
        let mut left = String::with_capacity(text.len());
        for (line, number) in text.split_inclusive('\n').zip(1..) {
            if self.broken_lines.contains(&number) {
                left.extend(line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            } else {
                left.push_str(line);
            }
        }
        left
    }

    /// Adds a place where the text is not TOML. Whether that is a header, so that what follows is of no table.
    fn syntax(&mut self, error: &Error) -> bool {
        let span = error.span().unwrap_or(0..0);
        let line = self.faults.line_of(span.start);
        if !self.broken_lines.insert(line) {
            return false;
        }
        self.is_broken = true;
        self.may_lack_relays = self.may_lack_relays || self.may_be_relay(line);
        let text = self.faults.line_text(line);
        let (advice, is_header) = (syntax_advice(text), Header::of(text).is_some() || was_header(text));
        self.faults.push(Fault::new(Code::Syntax, error.message()).suggest(advice).at(span));
        if is_header {
            self.break_section(line);
        }
        is_header
    }

    /// Whether a broken line may have been a relay, or the header of one.
    pub(super) fn may_be_relay(&self, line: usize) -> bool {
        let text = self.faults.line_text(line);
        if let Some(header) = Header::of(text) {
            return header.kind.is_none_or(|kind| kind == "relay");
        }
        let Some(key) = text.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_bare(key)) else {
            return true;
        };
        let above = (1..line).rev().find_map(|line| Header::of(self.faults.line_text(line)));
        match above {
            None => !FILE_VALUES.contains(&key),
            Some(Header { kind: Some("relay"), has_name, .. }) => !has_name,
            Some(Header { kind, .. }) => kind.is_none(),
        }
    }

    /// Adds what is there twice, tables only if that is wanted. Whether a table was lost by that, or a list.
    fn repeats(&mut self, errors: &[Error], with_tables: bool) -> bool {
        let mut is_lost = false;
        let mut has_link_tables = None;
        for error in errors.iter().filter(|error| is_repeat(error)) {
            let span = error.span().unwrap_or(0..0);
            let line = self.faults.line_of(span.start);
            let header = Header::of(self.faults.line_text(line));
            if header.is_some() && !with_tables {
                continue;
            }
            // A list and a table cannot both be there, and of links the list is right.
            let is_link = header.is_some_and(|header| header.kind == Some("link"));
            if is_link && *has_link_tables.get_or_insert_with(|| self.link_tables()) {
                is_lost = true;
            } else if self.broken_lines.insert(line) {
                is_lost |= self.repeat(line, span, header);
            }
        }
        self.is_broken |= is_lost;
        is_lost
    }

    /// Adds that what stands at `span` in a line is there already. Whether that is a table which is written in
    /// another way there, so that the parser kept one of the two.
    fn repeat(&mut self, line: usize, span: Range<usize>, header: Option<Header>) -> bool {
        let first = if self.faults.is_full_of_errors() { None } else { self.first_of(line, span.end) };
        self.is_broken |= first.is_none();
        let known = first.map(|first| format!("the first one is in line {first}: ")).unwrap_or_default();
        let advice = header.map_or("keep one of them".to_owned(), Header::repeat_advice);
        let is_opening = first.is_some() || header.is_some();
        let text = self.faults.line_text(line);
        let is_same = first.is_some_and(|first| opening(self.faults.line_text(first)) == opening(text));
        let is_lost = header.is_some() && !is_same;
        let what = if is_opening { opening(text) } else { self.faults.text_of(span.clone()) };
        let fault = Fault::new(Code::Repeated, format!("{} is there twice", shorten(what)));
        self.faults.push(fault.suggest(Some(format!("{known}{advice}"))).at(span));
        if let Some(header) = header {
            // What follows a list that is no list may be its relays.
            self.may_lack_relays |= header.is_list && !header.has_name && header.kind == Some("relay");
            self.break_section(line);
        }
        is_lost
    }

    /// Adds every header that makes a table of the links. Whether there is one.
    fn link_tables(&mut self) -> bool {
        let is_table = |header: Header| header.kind == Some("link") && !header.is_list;
        let is_there = |line: &usize| Header::of(self.faults.line_text(*line)).is_some_and(is_table);
        let tables: Vec<usize> = (1..=self.faults.line_count()).filter(is_there).collect();
        self.is_broken |= !tables.is_empty();
        for &line in &tables {
            if self.broken_lines.insert(line) {
                let (start, text) = (self.faults.line_start(line), self.faults.line_text(line));
                let begin = start + text.len() - text.trim_start().len();
                let place = begin..begin + opening(text).len();
                let message = "link of the file is a table, must be a list of tables";
                let fault = Fault::new(Code::WrongType, message).suggest(Some(LINK_ADVICE.to_owned()));
                self.faults.push(fault.at(place));
                self.break_section(line);
            }
        }
        !tables.is_empty()
    }

    /// Where the table or key with which a line begins stands for the first time; none when that is not
    /// seen by its text, or what ends at byte `end` of the file is not what the line begins with.
    fn first_of(&self, line: usize, end: usize) -> Option<usize> {
        let of = |line: usize| opening(self.faults.line_text(line));
        let wanted = of(line);
        if end > self.faults.line_start(line) + self.faults.line_text(line).find(wanted)? + wanted.len() {
            return None;
        }
        let is_header = wanted.starts_with('[');
        let before = (1..line).rev();
        let in_section = before.take_while(|&at| is_header || !of(at).starts_with('['));
        in_section
            .filter(|&at| is_header == of(at).starts_with('[') && inside(of(at)) == inside(wanted))
            .last()
    }

    /// What follows a broken header belongs to a table that nobody knows: it is
    /// not judged, up to the next header.
    fn break_section(&mut self, header: usize) {
        let is_body = |line: &usize| {
            *line <= self.faults.line_count() && Header::of(self.faults.line_text(*line)).is_none()
        };
        let body: Vec<usize> = (header + 1..).take_while(is_body).collect();
        self.broken_lines.extend(body);
    }
}

/// What is to be seen of the header of a table in its line, be it broken or not.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// Which of [`KINDS`] it is.
    pub(super) kind: Option<&'static str>,
    has_name: bool,
    is_list: bool,
}

impl Header {
    /// The header with which a line begins.
    pub(super) fn of(line: &str) -> Option<Self> {
        let line = line.trim_start();
        if !line.starts_with('[') {
            return None;
        }
        let inside = inside(opening(line));
        let (kind, name) = inside.split_once('.').unwrap_or((inside, ""));
        let kind = KINDS.into_iter().find(|known| *known == kind.trim_end());
        Some(Self { kind, has_name: !name.is_empty(), is_list: line.starts_with("[[") })
    }

    /// What to do about a table that is there already.
    fn repeat_advice(self) -> String {
        match self.kind {
            Some("link") => "write every link as [[link]]".to_owned(),
            Some(kind) if self.is_list && !self.has_name => {
                format!("{kind}s are tables: write [{kind}.NAME]")
            }
            Some(kind) if self.is_list => {
                format!("{kind}s are tables, [{kind}.NAME]: give this one another name, or make them one")
            }
            _ if self.has_name => "give this one another name, or make them one".to_owned(),
            _ => "make them one".to_owned(),
        }
    }
}

/// Whether the parser says that something is there twice.
fn is_repeat(error: &Error) -> bool {
    error.message().starts_with("duplicate key")
}

/// The header of a table, or the key, with which a line begins.
fn opening(line: &str) -> &str {
    let line = line.trim();
    if !line.starts_with('[') {
        return line.find('=').map_or(line, |end| line[..end].trim_end());
    }
    let mut quote = None;
    let end = line.char_indices().find(|(_, letter)| match (quote, letter) {
        (None, ']') => true,
        (None, '"' | '\'') => {
            quote = Some(*letter);
            false
        }
        (Some(open), letter) if open == *letter => {
            quote = None;
            false
        }
        _ => false,
    });
    let Some((end, _)) = end else { return line };
    let is_list = line.starts_with("[[") && line[end..].starts_with("]]");
    &line[..end + if is_list { 2 } else { 1 }]
}

/// What stands between the brackets of a header; a key as it is.
fn inside(opening: &str) -> &str {
    opening.trim_matches(['[', ']']).trim()
}

/// Whether a line without its first bracket, or without both, was a header.
fn was_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let word = line.split(['.', ']']).next().unwrap_or_default();
    !line.contains('=') && (line.ends_with(']') || KINDS.contains(&word))
}

pub(super) fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Advice for a line that is not TOML: a header, or of the form `key = bare words`.
fn syntax_advice(line: &str) -> Option<String> {
    if let Some(Header { kind: Some(kind), has_name: true, is_list: false }) = Header::of(line) {
        return name_advice(kind, opening(line));
    }
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    let (key, value) = (key.trim(), value.trim_end_matches(','));
    if !is_bare(key) || value.is_empty() || value.contains(['"', '\'', '[', '{', '=']) {
        return None;
    }
    let word = value.to_lowercase();
    if FLAGS.contains(&key) {
        return Some(match word.as_str() {
            "yes" | "on" | "true" => format!("write {key} = true"),
            "no" | "off" | "false" => format!("write {key} = false"),
            _ => format!("write {key} = true or {key} = false"),
        });
    }
    if COUNTS.contains(&key) {
        return Some(format!("{key} is a whole number: write {key} = 1"));
    }
    if let Some((_, list)) = LISTS.iter().find(|(known, _)| *known == key) {
        return Some(format!("{key} is a list: write {key} = {list}"));
    }
    let is_table = KINDS.contains(&key);
    (!is_table).then(|| format!("texts stand in quotes: {} = {:?}", shorten(key), shorten(value)))
}

/// Advice for a header whose name has letters that stand in quotes only.
fn name_advice(kind: &str, opening: &str) -> Option<String> {
    let (_, name) = inside(opening).split_once('.')?;
    let name = name.trim();
    let is_plain = name.split('.').all(is_bare) || name.split('.').any(str::is_empty);
    if is_plain || !opening.ends_with(']') || name.contains(['"', '\'', '[']) {
        return None;
    }
    Some(match check_name(name) {
        Ok(()) => format!("such a name stands in quotes: [{kind}.{:?}]", shorten(name)),
        Err(fault) => format!("this name {fault}"),
    })
}
