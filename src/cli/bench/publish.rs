//! The publishers of a run: each a task with a connection of its own.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::client::{Client, Message, Publisher, PublisherOptions};
use crate::id::ProducerSequence;

use super::super::ask;
use super::super::exit::Failure;
use super::Plan;
use super::pace::Pace;
use super::tally::{Latencies, Stamp};

/// One put of so many has its way to the ack measured; all of them when the window is small.
const SAMPLE: u64 = 16;

/// Bytes that payloads are cut from at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// A publisher that is connected and waits for the start.
#[derive(Debug)]
pub(super) struct Load {
    publisher: Publisher,
    _client: Client,
    number: u64,
    share: u64,
    window: usize,
    size: usize,
    sample: u64,
    rate: Option<f64>,
    filler: Bytes,
    buffer: BytesMut,
}

impl Load {
    /// Connects. With a rate (messages a second) it is an open loop.
    pub(super) async fn connect(plan: &Plan, number: u64, rate: Option<f64>) -> Result<Self, Failure> {
        let client = ask::connect(&plan.relay).await?;
        let options = PublisherOptions {
            window_messages: usize::try_from(plan.window).unwrap_or(usize::MAX),
            ..PublisherOptions::default()
        };
        Ok(Self {
            publisher: client.publisher(plan.group.clone(), options).await?,
            _client: client,
            number,
            share: plan.share(number),
            window: usize::try_from(plan.window).unwrap_or(usize::MAX),
            size: plan.size,
            sample: if plan.window <= SAMPLE { 1 } else { SAMPLE },
            rate,
            filler: Bytes::from(vec![b'x'; plan.size]),
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
        })
    }

    /// Puts its share, and waits until all of it is confirmed. Gives the ways from put to ack.
    pub(super) async fn run(mut self, start: Instant) -> Result<Latencies, Failure> {
        let mut latencies = Latencies::new(start);
        match self.rate {
            None => self.as_fast_as_confirmed(&mut latencies).await?,
            Some(rate) => self.at_a_rate(rate, &latencies).await?,
        }
        self.publisher.close().await?;
        Ok(latencies)
    }

    async fn as_fast_as_confirmed(&mut self, latencies: &mut Latencies) -> Result<(), Failure> {
        let mut waiting: VecDeque<(ProducerSequence, u64)> = VecDeque::new();
        for counter in 0..self.share {
            if waiting.len() >= self.window {
                // Only the way counts, not the wait for the put before it.
                self.publisher.wait_answered(waiting[0].0).await?;
                self.confirm(&mut waiting, latencies);
            }
            let is_sample = counter % self.sample == 0;
            let sent_ns = is_sample.then(|| latencies.now_ns());
            let message = self.message(counter, sent_ns);
            let put = self.publisher.put_unacked(message).await?;
            waiting.extend(sent_ns.map(|sent_ns| (put, sent_ns)));
            if is_sample {
                self.confirm(&mut waiting, latencies);
            }
        }
        while let Some((put, _)) = waiting.front() {
            self.publisher.wait_answered(*put).await?;
            self.confirm(&mut waiting, latencies);
        }
        Ok(())
    }

    fn confirm(&self, waiting: &mut VecDeque<(ProducerSequence, u64)>, latencies: &mut Latencies) {
        let answered = self.publisher.answered();
        if waiting.front().is_none_or(|(put, _)| *put >= answered) {
            return;
        }
        let now_ns = latencies.now_ns();
        while let Some((_, sent_ns)) = waiting.pop_front_if(|(put, _)| *put < answered) {
            latencies.record(sent_ns, now_ns);
        }
    }

    /// Each message counts from the moment at which it was due, so that the
    /// time in which it could not be sent is part of what is measured.
    async fn at_a_rate(&mut self, rate: f64, clock: &Latencies) -> Result<(), Failure> {
        let machine = |source| Failure::Machine { what: "beat at a fixed rate", source };
        let mut pace = Pace::start(rate).map_err(machine)?;
        let begun_ns = clock.now_ns();
        let mut counter = 0;
        while counter < self.share {
            let beats = pace.beats().await.map_err(machine)?;
            for _ in 0..beats.min(self.share - counter) {
                let due_ns = begun_ns + (counter + 1) * pace.interval_ns();
                let message = self.message(counter, Some(due_ns));
                self.publisher.put_unacked(message).await?;
                counter += 1;
            }
        }
        Ok(())
    }

    fn message(&mut self, counter: u64, sent_ns: Option<u64>) -> Message {
        let stamp = Stamp { publisher: self.number, counter, sent_ns };
        Message::new(stamp.payload(self.size, &self.filler, &mut self.buffer))
    }
}
