//! Lists that are not closed.
//!
//! To the parser all that follows belongs to the list, and it blames the next headers for not being parts of one.
//! No list of a topology holds a header or a key with its value: where such a line follows, the list has ended.

use super::Reader;
use super::syntax::{Header, is_bare};
use crate::topology::faults::{Code, Fault};
use crate::units::shorten;

/// A list that is open at the end of a line.
struct Open {
    line: usize,
    /// The byte of its bracket in that line, and the one behind what the line says.
    from: usize,
    to: usize,
    depth: usize,
}

/// How a line leaves a list.
struct Left {
    depth: usize,
    /// The byte behind what the line says; a comment says nothing.
    to: usize,
}

impl Reader {
    /// Adds every list that is not closed, and takes its lines for broken. Whether there is one.
    pub(super) fn open_lists(&mut self) -> bool {
        let mut open: Option<Open> = None;
        let mut found = false;
        for line in 1..=self.faults.line_count() {
            let text = self.faults.line_text(line).to_owned();
            if let Some(list) = open.take_if(|_| begins_anew(&text)) {
                self.open_list(&list, line - 1);
                found = true;
            }
            let from = if open.is_some() { Some(0) } else { list_of(&text) };
            let Some(from) = from else { continue };
            // What holds more than values in one line each is left to the parser.
            let depth = open.as_ref().map_or(0, |list| list.depth);
            let Some(left) = walk(&text, from, depth) else { return found };
            open = match open {
                _ if left.depth == 0 => None,
                Some(list) => Some(Open { depth: left.depth, ..list }),
                None => Some(Open { line, from, to: left.to, depth: left.depth }),
            };
        }
        // One that goes on to the end of the file may have been anything: of that the parser tells.
        found
    }

    fn open_list(&mut self, list: &Open, last: usize) {
        let text = self.faults.line_text(list.line);
        let said = text.get(..list.to).unwrap_or(text).trim();
        let is_more = |line: &usize| !is_silent(self.faults.line_text(*line));
        let advice = match (list.line + 1..=last).rev().find(is_more) {
            None if shorten(said) == said && !said.contains(char::is_control) => format!("close it: {said}]"),
            None => "close it with ] at the end of the line".to_owned(),
            Some(line) => format!("close it with ] at the end of line {line}"),
        };
        let start = self.faults.line_start(list.line);
        let place = start + list.from..start + list.to;
        self.may_lack_relays |= self.may_be_relay(list.line);
        self.is_broken = true;
        self.broken_lines.extend(list.line..=last);
        let fault = Fault::new(Code::Syntax, "the list is not closed, expected `]`");
        self.faults.push(fault.suggest(Some(advice)).at(place));
    }
}

fn is_silent(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Whether a line can be no part of a list.
fn begins_anew(line: &str) -> bool {
    let is_header = Header::of(line).is_some_and(|header| header.kind.is_some());
    is_header || line.split_once('=').is_some_and(|(key, _)| is_bare(key.trim()))
}

/// Where in a line the list begins that is the value of its key.
fn list_of(line: &str) -> Option<usize> {
    let (key, value) = line.split_once('=')?;
    let is_list = is_bare(key.trim()) && value.trim_start().starts_with('[');
    is_list.then(|| line.len() - value.trim_start().len())
}

/// Goes through a line of a list from a byte on. None: it holds a table, or a text that does not end there.
fn walk(line: &str, from: usize, mut depth: usize) -> Option<Left> {
    let mut to = from;
    let mut letters = line.get(from..)?.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '#' => break,
            '{' => return None,
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                let mut is_escaped = false;
                letters.find(|(_, inner)| {
                    let is_end = *inner == letter && !is_escaped;
                    is_escaped = *inner == '\\' && letter == '"' && !is_escaped;
                    is_end
                })?;
            }
            _ => {}
        }
        if !letter.is_whitespace() {
            to = from + at + letter.len_utf8();
        }
        if matches!(letter, '"' | '\'') {
            to = from + letters.offset();
        }
    }
    Some(Left { depth, to })
}
