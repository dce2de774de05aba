//! NATS JetStream: a file-backed stream with one replica, publishes that ask
//! for the stream's ack, and durable push consumers whose messages are acked
//! one by one.
//!
//! Acks of one stream come in the order of its publishes on one connection,
//! so one inbox serves them all and counting tells which put is meant.

use std::io;
use std::net::SocketAddr;
use std::str;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::Server;
use super::dialogue::{Dialogue, broken};
use crate::load::Workload;
use crate::load::codec::{Codec, Events, Link, Target};

/// Subscription ids on a connection: answers to its publishes, and deliveries.
const ANSWERS: &str = "1";
const DELIVERIES: &str = "2";

/// How long mirrors may take to begin.
const MIRROR_WAIT_MS: u64 = 30_000;

/// How long a server is waited for before it is asked again.
const LINK_TRY_MS: u64 = 100;

/// A JetStream server.
pub(crate) struct Nats {
    server: Server,
    subscriptions: u32,
}

impl Nats {
    /// Names the server; nothing is sent.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, subscriptions: 0 }
    }

    fn stream(&self) -> String {
        format!("load-{}", self.server.run)
    }

    fn subject(&self) -> String {
        format!("load.{}", self.server.run)
    }

    /// Makes the stream, and a mirror at each server behind; gives the way to the last one.
    fn make_streams(&self) -> io::Result<Asker> {
        let (stream, subject) = (self.stream(), self.subject());
        let create = format!("STREAM.CREATE.{stream}");
        let config = json!({
            "name": stream, "subjects": [subject], "storage": "file", "retention": "limits",
            "num_replicas": 1, "max_msgs": -1, "max_bytes": -1,
        });
        let open = |address| Asker::new(self.connect(address)?);
        let mut end = open(self.server.address)?;
        end.ask(&create, &config)?;
        for (place, address) in self.server.line.iter().enumerate() {
            let api = format!("$JS.l{place}.API");
            open(*address)?.wait_for_neighbour(&api)?;
            end = open(*address)?;
            let deliver = format!("mirror.{}.{place}", self.server.run);
            let mirror = json!({
                "name": stream, "storage": "file", "retention": "limits", "num_replicas": 1, "max_msgs": -1,
                "max_bytes": -1, "mirror": { "name": stream, "external": { "api": api, "deliver": deliver } },
            });
            end.ask(&create, &mirror)?;
        }
        if !self.server.line.is_empty() {
            self.wait_for_mirrors(&mut end)?;
        }
        Ok(end)
    }

    /// Puts one message, and waits until it is at the end of the line: mirrors take a while to begin.
    fn wait_for_mirrors(&self, end: &mut Asker) -> io::Result<()> {
        let mut first = self.connect(self.server.address)?;
        first.send(format!("PUB {} 5\r\nfirst\r\n", self.subject()))?;
        sync(&mut first)?;
        let what = format!("STREAM.INFO.{}", self.stream());
        for _ in 0..MIRROR_WAIT_MS / LINK_TRY_MS {
            let info = end.ask(&what, &json!({}))?;
            if info.pointer("/state/messages").and_then(serde_json::Value::as_u64) > Some(0) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(LINK_TRY_MS));
        }
        Err(io::Error::other("what is put at one end of the line does not come to the other"))
    }

    fn delivery_subject(&self, index: u32) -> String {
        format!("deliver.{}.{index}", self.server.run)
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Dialogue> {
        let mut dialogue = Dialogue::connect(address)?;
        wait_for(&mut dialogue, "INFO")?;
        dialogue.send("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false}\r\n")?;
        sync(&mut dialogue)?;
        Ok(dialogue)
    }
}

/// Waits until the server has seen everything sent before.
fn sync(dialogue: &mut Dialogue) -> io::Result<()> {
    dialogue.send("PING\r\n")?;
    wait_for(dialogue, "PONG")
}

/// Takes frames until one with this verb. A ping among them stays without an
/// answer, which a server bears for minutes.
fn wait_for(dialogue: &mut Dialogue, verb: &str) -> io::Result<()> {
    let is_it = |bytes: &[u8]| {
        let found = next_frame(bytes)?;
        Ok(found.map(|(frame, taken)| (matches!(frame, Frame::Other(line) if line.starts_with(verb)), taken)))
    };
    while !dialogue.answer(is_it)? {}
    Ok(())
}

/// A connection on which questions are asked. Its inbox is its own: servers of a line pass answers on
/// to whoever listens.
struct Asker {
    dialogue: Dialogue,
    inbox: String,
}

impl Asker {
    fn new(mut dialogue: Dialogue) -> io::Result<Self> {
        let inbox = format!("_INBOX.ask.{}", dialogue.local_port()?);
        dialogue.send(format!("SUB {inbox} {ANSWERS}\r\n"))?;
        Ok(Self { dialogue, inbox })
    }

    /// Asks the JetStream API for something and insists that it was done.
    fn ask(&mut self, what: &str, body: &serde_json::Value) -> io::Result<serde_json::Value> {
        let (body, inbox) = (body.to_string(), &self.inbox);
        self.dialogue.send(format!("PUB $JS.API.{what} {inbox} {}\r\n{body}\r\n", body.len()))?;
        let answer = loop {
            if let Some(payload) = self.dialogue.answer(message)? {
                break payload;
            }
        };
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        match answer.get("error") {
            Some(error) => Err(io::Error::other(format!("{what}: {error}"))),
            None => Ok(answer),
        }
    }

    /// Asks until the server before has answered over their link: a mirror that is made earlier
    /// tries again only after a long time.
    fn wait_for_neighbour(mut self, api: &str) -> io::Result<()> {
        self.dialogue.is_silent_after(Duration::from_millis(LINK_TRY_MS))?;
        for _ in 0..MIRROR_WAIT_MS / LINK_TRY_MS {
            self.dialogue.send(format!("PUB {api}.INFO {} 0\r\n\r\n", self.inbox))?;
            match self.dialogue.answer(message) {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("two servers of the line do not find each other"))
    }
}

/// The payload of the next frame, if it is a message.
fn message(bytes: &[u8]) -> io::Result<Option<(Option<Vec<u8>>, usize)>> {
    let found = next_frame(bytes)?;
    Ok(found.map(|(frame, taken)| match frame {
        Frame::Message { payload, .. } => (Some(payload.to_vec()), taken),
        Frame::Other(_) => (None, taken),
    }))
}

impl Target for Nats {
    fn prepare(&mut self, workload: &Workload) -> io::Result<()> {
        self.subscriptions = if workload.has_subscriptions() { workload.subscriptions } else { 0 };
        let mut end = self.make_streams()?;
        let stream = self.stream();
        let from = if self.server.line.is_empty() { "all" } else { "new" };
        for index in 0..self.subscriptions {
            let request = json!({
                "stream_name": stream,
                "config": {
                    "durable_name": format!("s{index}"), "deliver_subject": self.delivery_subject(index),
                    "deliver_policy": from, "ack_policy": "explicit", "max_ack_pending": workload.window,
                },
            });
            end.ask(&format!("CONSUMER.DURABLE.CREATE.{stream}.s{index}"), &request)?;
        }
        Ok(())
    }

    fn publisher(&self) -> io::Result<Link> {
        let mut dialogue = self.connect(self.server.address)?;
        // Its own port makes a publisher's inbox its own.
        let inbox = format!("_INBOX.{}", dialogue.local_port()?);
        dialogue.send(format!("SUB {inbox} {ANSWERS}\r\n"))?;
        sync(&mut dialogue)?;
        dialogue.into_link(NatsCodec { put: format!("PUB {} {inbox} ", self.subject()), subscription: 0 })
    }

    fn subscribers(&self) -> io::Result<Vec<Link>> {
        let open = |index| {
            let mut dialogue = self.connect(self.server.end())?;
            // No sync behind it: deliveries may come before its answer would.
            dialogue.send(format!("SUB {} {DELIVERIES}\r\n", self.delivery_subject(index)))?;
            dialogue.into_link(NatsCodec { put: String::new(), subscription: index as usize })
        };
        (0..self.subscriptions).map(open).collect()
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids.clone()
    }
}

struct NatsCodec {
    /// A publish up to its length.
    put: String,
    subscription: usize,
}

impl Codec for NatsCodec {
    fn put(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.put.as_bytes());
        out.extend_from_slice(payload.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, events: &mut dyn Events) -> io::Result<usize> {
        let mut taken = 0;
        while let Some((frame, length)) = next_frame(&input[taken..])? {
            taken += length;
            match frame {
                Frame::Message { id: ANSWERS, payload, .. } if payload.starts_with(b"{\"stream\"") => {
                    events.acked(1);
                }
                Frame::Message { id: DELIVERIES, reply: Some(reply), payload } => {
                    events.delivered(self.subscription, payload);
                    out.extend_from_slice(b"PUB ");
                    out.extend_from_slice(reply.as_bytes());
                    out.extend_from_slice(b" 0\r\n\r\n");
                }
                Frame::Message { payload, .. } => return Err(broken("refused", payload)),
                Frame::Other("PING") => out.extend_from_slice(b"PONG\r\n"),
                Frame::Other(_) => {}
            }
        }
        Ok(taken)
    }
}

/// One frame from the server.
enum Frame<'a> {
    Message { id: &'a str, reply: Option<&'a str>, payload: &'a [u8] },
    Other(&'a str),
}

/// The first whole frame of `input` and its length.
fn next_frame(input: &[u8]) -> io::Result<Option<(Frame<'_>, usize)>> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = str::from_utf8(&input[..end]).map_err(|_| broken("not a line of text", &input[..end]))?;
    let line = line.trim_end();
    let Some(words) = line.strip_prefix("MSG ") else {
        return match line.starts_with("-ERR") {
            true => Err(broken("the server says", line.as_bytes())),
            false => Ok(Some((Frame::Other(line), end + 1))),
        };
    };
    let mut words = words.split(' ').skip(1);
    let (id, mut reply, mut length) = (words.next().unwrap_or_default(), None, words.next());
    if let Some(last) = words.next() {
        (reply, length) = (length, Some(last));
    }
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| broken("a message without a length", line.as_bytes()))?;
    let payload_at = end + 1;
    let whole = payload_at + length + 2;
    if input.len() < whole {
        return Ok(None);
    }
    Ok(Some((Frame::Message { id, reply, payload: &input[payload_at..payload_at + length] }, whole)))
}
