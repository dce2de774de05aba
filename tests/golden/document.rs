//! The dumps in `docs/protocol.md` are the bytes of golden files.
//!
//! A dump is a fenced block whose info string is `hex` and a file's name; each
//! line is an offset, bytes and, behind a semicolon, what they are. Lines
//! follow one another without gaps.

use super::files;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// The offset and the bytes of a line.
fn line(text: &str) -> (usize, Vec<u8>) {
    let (dump, _) = text.split_once(';').unwrap_or((text, ""));
    let mut words = dump.split_whitespace();
    let offset = words.next().unwrap_or_else(|| panic!("a line without an offset: {text:?}"));
    let number =
        |word: &str| usize::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{word:?} in {text:?}"));
    let bytes = words.map(|word| {
        assert_eq!(word.len(), 2, "{word:?} in {text:?}");
        u8::try_from(number(word)).unwrap()
    });
    (number(offset), bytes.collect())
}

#[test]
fn the_dumps_in_the_document_are_those_of_the_files() {
    let mut dumps = 0;
    for block in DOCUMENT.split("\n```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let lines = rest.split("\n```").next().unwrap();
        let golden = files::read(name);
        let mut next = None;
        for text in lines.lines() {
            let (offset, bytes) = line(text);
            assert_eq!(next.unwrap_or(offset), offset, "{name}: {text:?} does not follow the line before it");
            let end = offset + bytes.len();
            assert_eq!(golden.get(offset..end), Some(&bytes[..]), "{name}: {text:?}");
            next = Some(end);
        }
        dumps += 1;
    }
    assert!(dumps >= 3, "a put, a delivery and a block at the least");
}
