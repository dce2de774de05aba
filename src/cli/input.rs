//! Input from files and standard input, read on a thread of its own: a pipe
//! that says nothing must not stop what is on its way to the relay.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::limits;

use super::exit::Failure;
use super::out::Context;

/// Bytes read at a time. The lines in them are handed over together: one wake-up for many.
const READ_BYTES: usize = 64 * 1024;

/// Batches that wait; then the reader waits too.
const BATCHES: usize = 4;

/// Reads all of a file, or of standard input (`-`), as one message.
///
/// # Errors
/// When it cannot be read, or is larger than any message may be.
pub fn whole(path: &Path) -> Result<Bytes, Failure> {
    let failure = |source| Failure::File { what: "read", path: path.to_owned(), source };
    let max = limits::MESSAGE_BYTES_MAX;
    let mut payload = Vec::new();
    open(path).map_err(failure)?.take(max + 1).read_to_end(&mut payload).map_err(failure)?;
    if payload.len() as u64 > max {
        let name = name(path);
        return Err(Failure::Input(format!(
            "{name} is larger than {max} bytes, the most a message may have"
        )));
    }
    Ok(payload.into())
}

/// All that comes from a file, or from standard input (`-`).
///
/// # Errors
/// When it cannot be read.
pub(super) fn all_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let failure = |source| Failure::File { what: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    open(path).map_err(failure)?.read_to_end(&mut bytes).map_err(failure)?;
    Ok(bytes)
}

/// Asks a person, who is at the terminal, something that is answered with yes or no: anything else is no.
///
/// # Errors
/// When the answer cannot be read.
pub fn says_yes(question: &str, context: &Context) -> Result<bool, Failure> {
    context.notes.note(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    let failure = |source| Failure::Machine { what: "read the answer", source };
    io::stdin().read_line(&mut answer).map_err(failure)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What people call it.
pub(super) fn name(path: &Path) -> Cow<'_, str> {
    if is_standard_input(path) { "standard input".into() } else { path.to_string_lossy() }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if is_standard_input(path) { Ok(Box::new(io::stdin())) } else { Ok(Box::new(File::open(path)?)) }
}

/// Bytes of a regular file, for a progress bar that knows its end.
#[must_use]
pub fn size(path: &Path) -> Option<u64> {
    let data = std::fs::metadata(path).ok()?;
    data.is_file().then_some(data.len())
}

/// Lines as they come.
#[derive(Debug)]
pub struct Lines {
    batches: mpsc::Receiver<Result<Vec<Bytes>, Failure>>,
}

impl Lines {
    /// Begins to read a file, or standard input (`-`).
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failure = |source| Failure::File { what: "read", path: path.to_owned(), source };
        let input = BufReader::with_capacity(READ_BYTES, open(path).map_err(failure)?);
        let (send, batches) = mpsc::channel(BATCHES);
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || read_lines(input, path, &send));
        Ok(Self { batches })
    }

    /// The lines that are there, without their line ends; waits for at least
    /// one. Nothing at the end.
    ///
    /// # Errors
    /// When reading fails, or a line is longer than any message may be.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Vec<Bytes>, Failure>> {
        self.batches.recv().await
    }
}

fn read_lines(mut input: impl BufRead, path: PathBuf, send: &mpsc::Sender<Result<Vec<Bytes>, Failure>>) {
    let (mut unfinished, mut read) = (Vec::new(), 0);
    loop {
        let batch = match next_batch(&mut input, &mut unfinished) {
            Ok(batch) if batch.is_empty() => return,
            Ok(batch) => {
                read += batch.len();
                Ok(batch)
            }
            Err(source) if source.kind() == io::ErrorKind::FileTooLarge => {
                Err(Failure::Input(format!("line {} of {} {source}", read + 1, name(&path))))
            }
            Err(source) => Err(Failure::File { what: "read", path: path.clone(), source }),
        };
        let failed = batch.is_err();
        if send.blocking_send(batch).is_err() || failed {
            return;
        }
    }
}

/// All lines that can be had with one read, waiting for at least one. Empty at
/// the end of the input. One allocation holds all lines of a read.
fn next_batch(input: &mut impl BufRead, unfinished: &mut Vec<u8>) -> io::Result<Vec<Bytes>> {
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let length = available.len();
        if length == 0 {
            let last = std::mem::take(unfinished);
            return Ok(if last.is_empty() { Vec::new() } else { vec![last.into()] });
        }
        let end = available.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let (ended, rest) = available.split_at(end);
        let first = ended.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        keep(unfinished, ended.get(..first).unwrap_or_default())?;
        let mut lines = Vec::new();
        if !ended.is_empty() {
            lines.push(std::mem::take(unfinished).into());
            let mut block = Bytes::copy_from_slice(ended.get(first + 1..).unwrap_or_default());
            while let Some(at) = block.iter().position(|byte| *byte == b'\n') {
                lines.push(block.split_to(at));
                block.advance(1);
            }
        }
        keep(unfinished, rest)?;
        input.consume(length);
        if !lines.is_empty() {
            return Ok(lines);
        }
    }
}

fn keep(unfinished: &mut Vec<u8>, part: &[u8]) -> io::Result<()> {
    let max = limits::MESSAGE_BYTES_MAX as usize;
    if unfinished.len() + part.len() > max {
        let text = format!("is longer than {max} bytes, the most a message may have");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    unfinished.extend_from_slice(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &[u8], buffer: usize) -> Vec<Vec<u8>> {
        let mut input = BufReader::with_capacity(buffer, text);
        let (mut lines, mut unfinished) = (Vec::new(), Vec::new());
        loop {
            let batch = next_batch(&mut input, &mut unfinished).unwrap();
            if batch.is_empty() {
                return lines;
            }
            lines.extend(batch.iter().map(|line| line.to_vec()));
        }
    }

    #[test]
    fn lines_come_out_whole_whatever_the_buffer() {
        let text = b"one\n\nthree is longer\nlast without end";
        let expected: Vec<&[u8]> = vec![b"one", b"", b"three is longer", b"last without end"];
        for buffer in [1, 2, 3, 5, 8, 100] {
            assert_eq!(lines_of(text, buffer), expected, "buffer of {buffer}");
        }
        assert_eq!(lines_of(b"", 8), Vec::<Vec<u8>>::new());
        assert_eq!(lines_of(b"\n", 8), vec![b"".to_vec()]);
    }

    #[test]
    fn many_short_lines_are_handed_over_in_batches() {
        let text = b"x\n".repeat(READ_BYTES);
        let mut input = BufReader::with_capacity(READ_BYTES, &text[..]);
        let first = next_batch(&mut input, &mut Vec::new()).unwrap();
        assert_eq!(first.len(), READ_BYTES / 2);
        assert_eq!(lines_of(&text, READ_BYTES).len(), READ_BYTES);
    }

    #[test]
    fn a_line_longer_than_any_message_is_refused() {
        let text = vec![b'x'; limits::MESSAGE_BYTES_MAX as usize + 1];
        let error = next_batch(&mut &text[..], &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_bad_file() {
        let failure = whole(Path::new("/nonexistent/file")).unwrap_err();
        assert_eq!(failure.exit(), super::super::exit::Exit::BadFile);
    }
}
