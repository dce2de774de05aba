//! MQTT 3.1.1 with QoS 1: publishes answered by `PUBACK`, and persistent
//! sessions subscribed with QoS 1.
//!
//! Every subscription's session is made and left before the clock starts, so
//! that present and absent subscribers begin the same way: they come back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::Server;
use super::dialogue::{Dialogue, broken};
use crate::load::Workload;
use crate::load::codec::{Codec, Events, Link, Target};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS_1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const DISCONNECT: u8 = 0xe0;

/// Bridges connect when the brokers have started: how long a message may take, and how many are put.
const BRIDGE_TRY: Duration = Duration::from_millis(200);
const BRIDGE_TRIES: u32 = 150;

/// An MQTT broker.
pub(crate) struct Mqtt {
    server: Server,
    subscriptions: u32,
}

impl Mqtt {
    /// Names the server; nothing is sent.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, subscriptions: 0 }
    }

    fn topic(&self) -> String {
        format!("load/{}", self.server.run)
    }

    /// Connects, with an id for a session that stays and without for one that
    /// goes.
    fn connect(&self, address: SocketAddr, id: Option<u32>) -> io::Result<Dialogue> {
        let mut dialogue = Dialogue::connect(address)?;
        let name = id.map_or(String::new(), |index| format!("load-{}-{index}", self.server.run));
        let is_clean = u8::from(id.is_none());
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        // Protocol level 4 (3.1.1), flags, no keepalive.
        body.extend_from_slice(&[4, is_clean << 1, 0, 0]);
        text(&mut body, &name);
        dialogue.send(packet(CONNECT, &body))?;
        expect(&mut dialogue, CONNACK, |body| body.get(1) == Some(&0))?;
        Ok(dialogue)
    }

    /// Puts messages on another topic until one is at the end of the line.
    fn wait_for_bridges(&self) -> io::Result<()> {
        let topic = format!("first/{}", self.server.run);
        let mut end = self.connect(self.server.end(), None)?;
        subscribe(&mut end, &topic)?;
        let mut first = self.connect(self.server.address, None)?;
        let mut body = Vec::new();
        text(&mut body, &topic);
        body.extend_from_slice(b"first");
        end.is_silent_after(BRIDGE_TRY)?;
        for _ in 0..BRIDGE_TRIES {
            first.send(packet(PUBLISH, &body))?;
            match expect(&mut end, PUBLISH, |_| true) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                arrived => return arrived,
            }
        }
        Err(io::Error::other("what is put at one end of the line does not come to the other"))
    }
}

impl Target for Mqtt {
    fn prepare(&mut self, workload: &Workload) -> io::Result<()> {
        if !self.server.line.is_empty() {
            self.wait_for_bridges()?;
        }
        // Without a subscription a broker stores nothing.
        self.subscriptions = if workload.has_subscriptions() { workload.subscriptions } else { 1 };
        for index in 0..self.subscriptions {
            let mut dialogue = self.connect(self.server.end(), Some(index))?;
            subscribe(&mut dialogue, &self.topic())?;
            dialogue.send(packet(DISCONNECT, &[]))?;
        }
        Ok(())
    }

    fn publisher(&self) -> io::Result<Link> {
        let mut topic = Vec::new();
        text(&mut topic, &self.topic());
        self.connect(self.server.address, None)?.into_link(MqttCodec { topic, next_id: 1, subscription: 0 })
    }

    fn subscribers(&self) -> io::Result<Vec<Link>> {
        let open = |index| {
            let codec = MqttCodec { topic: Vec::new(), next_id: 1, subscription: index as usize };
            self.connect(self.server.end(), Some(index))?.into_link(codec)
        };
        (0..self.subscriptions).map(open).collect()
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids.clone()
    }
}

struct MqttCodec {
    /// The topic as it travels, behind its length.
    topic: Vec<u8>,
    /// The packet id of the next put, never 0.
    next_id: u16,
    subscription: usize,
}

impl Codec for MqttCodec {
    fn put(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.push(PUBLISH_QOS_1);
        remaining_length(out, self.topic.len() + 2 + payload.len());
        out.extend_from_slice(&self.topic);
        out.extend_from_slice(&self.next_id.to_be_bytes());
        out.extend_from_slice(payload);
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
    }

    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, events: &mut dyn Events) -> io::Result<usize> {
        let mut taken = 0;
        while let Some((first, body, length)) = next_packet(&input[taken..])? {
            taken += length;
            match first & 0xf0 {
                PUBACK => events.acked(1),
                PUBLISH => {
                    let (id, payload) = publish(body).ok_or_else(|| broken("a short publish", body))?;
                    events.delivered(self.subscription, payload);
                    out.extend_from_slice(&[PUBACK, 2, id[0], id[1]]);
                }
                _ => return Err(broken(&format!("a packet {first:#x} nobody asked for"), body)),
            }
        }
        Ok(taken)
    }
}

/// Subscribes with QoS 1.
fn subscribe(dialogue: &mut Dialogue, topic: &str) -> io::Result<()> {
    let mut body = vec![0, 1];
    text(&mut body, topic);
    body.push(1);
    dialogue.send(packet(SUBSCRIBE, &body))?;
    expect(dialogue, SUBACK, |body| body.get(2) == Some(&1))
}

/// Packet id and payload of a publish with QoS 1.
fn publish(body: &[u8]) -> Option<(&[u8; 2], &[u8])> {
    let (topic_bytes, rest) = body.split_first_chunk()?;
    let (_, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*topic_bytes)))?;
    rest.split_first_chunk()
}

/// Waits for a packet of a kind and insists on what its body says.
fn expect(dialogue: &mut Dialogue, kind: u8, is_right: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    dialogue.answer(|bytes| match next_packet(bytes)? {
        None => Ok(None),
        Some((first, body, length)) if first == kind && is_right(body) => Ok(Some(((), length))),
        Some((first, body, _)) => {
            Err(broken(&format!("a packet {first:#x} instead of {kind:#x} and consent"), body))
        }
    })
}

/// First byte, body and whole length of the first packet of `input`.
fn next_packet(input: &[u8]) -> io::Result<Option<(u8, &[u8], usize)>> {
    let Some((first, rest)) = input.split_first() else { return Ok(None) };
    let mut length = 0;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let body_at = index + 2;
            return Ok(input.get(body_at..body_at + length).map(|body| (*first, body, body_at + length)));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(broken("a length that does not end", rest)) }
}

fn remaining_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![first];
    remaining_length(&mut whole, body.len());
    whole.extend_from_slice(body);
    whole
}

/// A string behind its length.
fn text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names here are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
