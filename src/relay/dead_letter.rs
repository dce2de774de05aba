//! Messages that could not be delivered: into the group's dead-letter group, with the reason.

use bytes::{Bytes, BytesMut};

use super::Relay;
use super::delivery::DeadLetter;
use super::input::Now;
use super::producer::Novelty;
use super::stream::Draft;
use crate::id::{GroupName, ProducerId, ProducerSequence, Sequence, write_message_id};
use crate::limits;
use crate::wire::run::{Record, Records, RunKind};

impl Relay {
    /// Puts a dead message into the dead-letter group, if its group has one. A
    /// crash between this and the cursor's next write repeats it; the producer
    /// sequence, which is the message's index, then makes it a repeat. Messages die in
    /// any order, so a producer stands for few indexes only: its gaps are never too many.
    pub(super) fn bury(&mut self, now: Now, dead: DeadLetter) {
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let Some(group) = self.groups.get_mut(dead.key.group) else { return };
        let Some(target) = group.settings.dead_letter.clone() else { return };
        let Some(place) = group.find(dead.key.number) else { return };
        let subscription = &group.subscriptions[place];
        // A subscription that was made again, or that goes through the same messages once more
        // after a seek, may bury them once more. Numbers and indexes are of this relay and its disk:
        // others bury other messages under the same ones.
        let source = format!(
            "dead-letter/{me}/{storage}/{}/{}/{}/{}/{}",
            group.name,
            group.incarnation,
            subscription.number.0,
            subscription.replayed,
            dead.index.0 / INDEXES_PER_PRODUCER
        );
        // It is remembered as long as others, and makes room first: there are many of them.
        let producer = ProducerId::passing(ProducerId::from_name(&source).0);
        let producer = (producer, ProducerSequence(dead.index.0));
        let sequence = Sequence(dead.run.run.header.first.0 + (dead.index.0 - dead.run.first_index.0));
        let mut id = String::new();
        if let Some(stream) = group.streams.iter().find(|s| s.number == dead.run.stream) {
            let boot = (stream.epoch.counter, stream.epoch.nonce);
            write_message_id(&mut id, (&stream.origin, &group.name), boot, sequence)
                .expect("a string takes all");
        }
        let reasons = [
            ("treecast-dead-reason", dead.death.as_str().to_owned()),
            ("treecast-dead-group", group.name.to_string()),
            ("treecast-dead-subscription", subscription.name.to_string()),
            ("treecast-dead-attempts", dead.attempts.to_string()),
            ("treecast-dead-sequence", sequence.to_string()),
            ("treecast-dead-id", id),
        ];
        let Ok(target) = GroupName::new(&target) else { return };
        let Some(body) = with_headers(&dead.record, &reasons) else { return };
        let number = self.group_or_make(now, &target);
        let Some(group) = self.groups.get_mut(number) else { return };
        let producers = &mut group.traffic().producers;
        if producers.novelty(producer.0, producer.1, 1) == Novelty::Repeat {
            return;
        }
        let has_subject = dead.run.run.header.has_subject;
        let draft = Draft {
            kind: RunKind::Data,
            count: 1,
            has_ttl: false,
            has_subject,
            body_hash: xxhash_rust::xxh3::xxh3_64(&body),
            producer: Some(producer),
            body,
        };
        group.traffic().books.put += 1;
        self.append_data(now, number, draft, None, false);
    }
}

/// Indexes whose dead letters have one producer id: half as many gaps, at the most.
const INDEXES_PER_PRODUCER: u64 = 64;

const _: () = assert!(INDEXES_PER_PRODUCER as usize / 2 <= limits::PRODUCER_RANGES_MAX);

/// The record with more headers and without a time to live. Headers of its own give way
/// when there is no room for both, and one says so. `None` when it cannot be read.
fn with_headers(record: &[u8], more: &[(&str, String)]) -> Option<Bytes> {
    let record = Records::new(record).next()?.ok()?;
    let mut reasons = BytesMut::new();
    for (key, value) in more {
        Record::encode_header(&mut reasons, key, value.as_bytes());
    }
    let mut headers = BytesMut::from(record.headers);
    if headers.len() + reasons.len() > limits::HEADERS_BYTES_MAX {
        headers.clear();
        let dropped = record.headers.len().to_string();
        Record::encode_header(&mut headers, "treecast-dead-headers-dropped-bytes", dropped.as_bytes());
    }
    headers.extend_from_slice(&reasons);
    let mut body = BytesMut::new();
    Record { ttl_ms: None, headers: &headers, ..record }.encode(&mut body);
    Some(body.freeze())
}
