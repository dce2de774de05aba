//! One page of the manual, from the definition of a command.
//!
//! `clap_mangen` writes what it knows: names, options, subcommands. What a
//! command says behind its options (`after_help`) is laid out by hand, and
//! would be filled to one paragraph; here each part gets a section of its own
//! and keeps its lines.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;

/// Headings of help texts, and the sections that manuals have for them.
const SECTIONS: [(&str, &str); 6] = [
    ("Examples:", "EXAMPLES"),
    ("A quick tour:", "EXAMPLES"),
    ("Exit codes:", "EXIT STATUS"),
    ("Environment:", "ENVIRONMENT"),
    ("Modes:", "MODES"),
    ("Columns:", "COLUMNS"),
];

/// Text that belongs under no heading.
const NOTES: &str = "NOTES";

/// The definition as the manual tells it: without `help`, which has no page.
#[must_use]
pub fn definition() -> Command {
    let mut command = without_help(super::definition());
    command.build();
    command
}

fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes the page of a command that was built.
///
/// # Errors
/// When it cannot be written.
pub fn page(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(command.clone()).source(format!("treecast {}", env!("CARGO_PKG_VERSION")));
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    for alias in command.get_visible_aliases() {
        writeln!(out, ".PP\nAlso called \\fB{}\\fR.", escaped(alias))?;
    }
    man.render_options_section(out)?;
    if command.has_subcommands() {
        subcommands(command, out)?;
    }
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for (section, text) in sections(&text) {
        writeln!(out, ".SH \"{section}\"")?;
        let body = if section == NOTES { filled(&text) } else { kept(&text) };
        out.write_all(body.as_bytes())?;
    }
    if command.get_version().is_some() {
        man.render_version_section(out)?;
    }
    Ok(())
}

fn subcommands(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, ".SH SUBCOMMANDS")?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let also: Vec<&str> = sub.get_visible_aliases().collect();
        let also = if also.is_empty() { String::new() } else { format!(" (also: {})", also.join(", ")) };
        let page = format!("{name}-{}(1)", sub.get_name());
        writeln!(out, ".TP\n{}\n{}", escaped(&page), escaped(&format!("{about}{also}")))?;
    }
    Ok(())
}

/// The parts of a help text with the sections that they belong to, in order.
fn sections(text: &str) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut section = NOTES;
    for line in text.lines() {
        if let Some((_, name)) = SECTIONS.iter().find(|(heading, _)| *heading == line) {
            section = name;
            found.push((section, String::new()));
            continue;
        }
        if !line.is_empty() && !line.starts_with(' ') {
            section = NOTES;
        }
        match found.iter_mut().rev().find(|(known, _)| *known == section) {
            Some((_, part)) => *part += &format!("{line}\n"),
            None => found.push((section, format!("{line}\n"))),
        }
    }
    // A section that a manual has once may come from two headings.
    found.dedup_by(|second, first| {
        second.0 == first.0 && {
            first.1 += &second.1;
            true
        }
    });
    found.retain(|(_, text)| !text.trim().is_empty());
    found
}

/// Line by line as it was written, without the indent that all lines have.
fn kept(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let indent =
        lines.iter().filter(|line| !line.is_empty()).map(|line| line.len() - line.trim_start().len());
    let indent = indent.min().unwrap_or(0);
    let lines = lines.iter().map(|line| escaped(line.get(indent..).unwrap_or_default()) + "\n");
    format!(".nf\n{}.fi\n", lines.collect::<String>())
}

/// Paragraphs.
fn filled(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { ".PP\n".to_owned() } else { escaped(line) + "\n" };
    text.trim().lines().map(line).collect()
}

/// Nothing in it means anything to the formatter.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the command that these words lead to.
    fn page_of(words: &[&str]) -> String {
        let root = definition();
        let command = words.iter().fold(&root, |command, word| command.find_subcommand(word).unwrap());
        let mut bytes = Vec::new();
        page(command, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_part_has_its_section_and_keeps_its_lines() {
        let page = page_of(&[]);
        for section in ["EXAMPLES", "EXIT STATUS", "ENVIRONMENT"] {
            assert_eq!(page.matches(&format!(".SH \"{section}\"\n.nf\n")).count(), 1, "{section}: {page}");
        }
        assert!(page.contains("TREECAST_RELAY") && !page.contains("EXTRA"), "{page}");
        assert!(page.contains("\n 69  no relay can be reached"), "{page}");
        let put = page_of(&["put"]);
        assert!(put.contains(".SH \"EXAMPLES\"\n.nf\ntreecast put news \\(aqhello\\(aq\n"), "{put}");
        assert!(put.contains("TREECAST_RELAY"), "{put}");
    }

    #[test]
    fn aliases_are_told_and_help_has_no_page() {
        assert!(page_of(&["put"]).contains("Also called \\fBpublish\\fR."));
        let root = page_of(&[]);
        assert!(root.contains("(also: subscribe)"), "{root}");
        assert!(!root.contains("\\-help(1)") && !page_of(&["group"]).contains("\\-help(1)"));
    }

    #[test]
    fn text_between_the_headings_is_notes() {
        let text = "First.\n\nExamples:\n  a\n  b\n\nSecond.";
        let expected =
            vec![("NOTES", "First.\n\nSecond.\n".to_owned()), ("EXAMPLES", "  a\n  b\n\n".to_owned())];
        assert_eq!(sections(text), expected);
    }
}
