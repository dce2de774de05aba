//! Redis Streams: pipelined `XADD` to one key, and one consumer group with one
//! consumer for each subscription.
//!
//! A subscription asks for its next messages and acks those it has in one
//! write, `XACK` then `XREADGROUP`, so an ack costs no round trip. A read that
//! finds nothing waits at the server.

use std::io::{self, Write};

use super::Server;
use super::dialogue::{Dialogue, broken};
use crate::load::Workload;
use crate::load::codec::{Codec, Events, Link, Target};

/// A Redis server.
pub(crate) struct Redis {
    server: Server,
    subscriptions: u32,
    window: u32,
}

impl Redis {
    /// Names the server; nothing is sent.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, subscriptions: 0, window: 0 }
    }

    fn key(&self) -> String {
        // Short: it travels with every put.
        format!("{:x}", self.server.run)
    }

    fn connect(&self) -> io::Result<Dialogue> {
        Dialogue::connect(self.server.address)
    }
}

impl Target for Redis {
    fn prepare(&mut self, workload: &Workload) -> io::Result<()> {
        self.subscriptions = if workload.has_subscriptions() { workload.subscriptions } else { 0 };
        self.window = workload.window;
        let mut dialogue = self.connect()?;
        let (key, mut out) = (self.key(), Vec::new());
        for index in 0..self.subscriptions {
            let group = format!("s{index}");
            command(&mut out, &[b"XGROUP", b"CREATE", key.as_bytes(), group.as_bytes(), b"$", b"MKSTREAM"]);
            dialogue.send(&out)?;
            out.clear();
            dialogue.answer(|bytes| match whole_value(bytes)? {
                Some(length) if bytes.starts_with(b"+OK") => Ok(Some(((), length))),
                Some(_) => Err(broken("XGROUP CREATE", bytes)),
                None => Ok(None),
            })?;
        }
        Ok(())
    }

    fn publisher(&self) -> io::Result<Link> {
        let key = self.key();
        let mut put = Vec::new();
        command(&mut put, &[b"XADD", key.as_bytes(), b"*", b"m", b""]);
        // The payload, here of length 0, is written at every put.
        put.truncate(put.len() - b"$0\r\n\r\n".len());
        self.connect()?.into_link(RedisCodec { put, ack: Vec::new(), read: Vec::new(), subscription: 0 })
    }

    fn subscribers(&self) -> io::Result<Vec<Link>> {
        let (key, count) = (self.key(), self.window.to_string());
        let open = |index| {
            let group = format!("s{index}");
            let (key, group, mut read) = (key.as_bytes(), group.as_bytes(), Vec::new());
            let words: &[&[u8]] =
                &[b"XREADGROUP", b"GROUP", group, b"c", b"COUNT", count.as_bytes(), b"BLOCK", b"0"];
            command(&mut read, &[words, &[b"STREAMS", key, b">"]].concat());
            let mut ack = Vec::new();
            for word in [b"XACK".as_slice(), key, group] {
                bulk(&mut ack, word);
            }
            let mut dialogue = self.connect()?;
            dialogue.send(&read)?;
            dialogue.into_link(RedisCodec { put: Vec::new(), ack, read, subscription: index as usize })
        };
        (0..self.subscriptions).map(open).collect()
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids.clone()
    }
}

struct RedisCodec {
    /// An `XADD` up to its payload.
    put: Vec<u8>,
    /// An `XACK` behind its count of words and up to its ids.
    ack: Vec<u8>,
    /// A whole `XREADGROUP`.
    read: Vec<u8>,
    subscription: usize,
}

impl Codec for RedisCodec {
    fn put(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.put);
        bulk(out, payload);
    }

    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, events: &mut dyn Events) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(length) = whole_value(&input[taken..])? {
            let value = &input[taken..taken + length];
            taken += length;
            match value[0] {
                b'$' => events.acked(1),
                b'*' => {
                    self.deliver(value, out, events)?;
                    out.extend_from_slice(&self.read);
                }
                b':' => {}
                _ => return Err(broken("the server says", value)),
            }
        }
        Ok(taken)
    }
}

impl RedisCodec {
    /// Hands on the messages of one read and acks them:
    /// `[[key, [[id, [field, payload]], …]]]`, or nothing.
    fn deliver(&self, value: &[u8], out: &mut Vec<u8>, events: &mut dyn Events) -> io::Result<()> {
        let mut reader = Reader { rest: value };
        if reader.count()? < 1 {
            return Ok(());
        }
        reader.count()?;
        reader.text()?;
        let messages = reader.count()?;
        write_count(out, '*', 3 + messages);
        out.extend_from_slice(&self.ack);
        for _ in 0..messages {
            reader.count()?;
            bulk(out, reader.text()?);
            reader.count()?;
            reader.text()?;
            events.delivered(self.subscription, reader.text()?);
        }
        Ok(())
    }
}

fn write_count(out: &mut Vec<u8>, kind: char, count: i64) {
    write!(out, "{kind}{count}\r\n").expect("a vector takes all bytes");
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    write_count(out, '$', i64::try_from(bytes.len()).expect("a slice is shorter than i64::MAX"));
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    write_count(out, '*', i64::try_from(words.len()).expect("a slice is shorter than i64::MAX"));
    words.iter().for_each(|word| bulk(out, word));
}

/// Reads values that are known to be whole, or asks whether they are.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The rest of a line behind its kind, none if the line is not whole.
    fn line(&mut self) -> Option<(u8, &'a [u8])> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        let (kind, text) = line.split_first()?;
        Some((*kind, text.trim_ascii_end()))
    }

    fn skip(&mut self, length: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(skipped)
    }

    /// Skips one value with all it holds; none if it is not whole.
    fn skip_value(&mut self) -> io::Result<Option<()>> {
        let mut values = 1;
        while values > 0 {
            values -= 1;
            let Some((kind, text)) = self.line() else { return Ok(None) };
            let length = if matches!(kind, b'$' | b'*') { number(text)? } else { 0 };
            if kind == b'*' {
                values += length.max(0);
            } else if kind == b'$' && length >= 0 && self.skip(length as usize + 2).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// The number in the next line.
    fn count(&mut self) -> io::Result<i64> {
        let (_, text) = self.line().ok_or_else(|| broken("a value ends early", self.rest))?;
        number(text)
    }

    /// The next bulk string.
    fn text(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.count()?).map_err(|_| broken("a null", self.rest))?;
        let text = self.skip(length + 2).ok_or_else(|| broken("a value ends early", self.rest))?;
        Ok(&text[..length])
    }
}

fn number(text: &[u8]) -> io::Result<i64> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| broken("not a number", text))
}

/// The length of the first value of `input`, none if it is not whole.
fn whole_value(input: &[u8]) -> io::Result<Option<usize>> {
    let mut reader = Reader { rest: input };
    let whole = reader.skip_value()?;
    Ok(whole.map(|()| input.len() - reader.rest.len()))
}
