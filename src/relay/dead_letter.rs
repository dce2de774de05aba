//! Messages that could not be delivered: into the group's dead-letter group, with the reason.

use bytes::{Bytes, BytesMut};

use super::Relay;
use super::delivery::DeadLetter;
use super::input::Now;
use super::producer::Novelty;
use super::stream::Draft;
use crate::id::{GroupName, ProducerId, ProducerSequence};
use crate::wire::run::{Record, Records, RunKind};

impl Relay {
    /// Puts a dead message into the dead-letter group, if its group has one. A
    /// crash between this and the cursor's next write repeats it; the producer
    /// sequence, which is the message's index, then makes it a repeat.
    pub(super) fn bury(&mut self, now: Now, dead: DeadLetter) {
        let Some(group) = self.groups.get_mut(dead.key.group) else { return };
        let Some(target) = group.settings.dead_letter.clone() else { return };
        let Some(place) = group.find(dead.key.number) else { return };
        let subscription = &group.subscriptions[place];
        let source = format!("dead-letter/{}/{}/{}", group.name, group.incarnation, subscription.name);
        let producer = (ProducerId::from_name(&source), ProducerSequence(dead.index.0));
        let lowest = ProducerSequence(subscription.cursor.floor().0.min(dead.index.0));
        let sequence = dead.run.run.header.first.0 + (dead.index.0 - dead.run.first_index.0);
        let reasons = [
            ("treecast-dead-reason", dead.death.as_str().to_owned()),
            ("treecast-dead-group", group.name.to_string()),
            ("treecast-dead-subscription", subscription.name.to_string()),
            ("treecast-dead-attempts", dead.attempts.to_string()),
            ("treecast-dead-sequence", sequence.to_string()),
        ];
        let Ok(target) = GroupName::new(&target) else { return };
        let Some(body) = with_headers(&dead.record, &reasons) else { return };
        let number = self.group_or_make(now, &target);
        let Some(group) = self.groups.get_mut(number) else { return };
        let producers = &mut group.traffic().producers;
        if producers.novelty(producer.0, producer.1, 1) == Novelty::Repeat {
            return;
        }
        producers.raise(producer.0, lowest);
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

/// The record with more headers and without a time to live. `None` when it cannot be read.
fn with_headers(record: &[u8], more: &[(&str, String)]) -> Option<Bytes> {
    let record = Records::new(record).next()?.ok()?;
    let mut headers = BytesMut::from(record.headers);
    for (key, value) in more {
        Record::encode_header(&mut headers, key, value.as_bytes());
    }
    let mut body = BytesMut::new();
    Record { ttl_ms: None, headers: &headers, ..record }.encode(&mut body);
    Some(body.freeze())
}
