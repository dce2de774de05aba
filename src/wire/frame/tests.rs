use bytes::BufMut;
use proptest::prelude::*;

use super::*;
use crate::id::{Index, ProducerId, ProducerSequence, Sequence, StreamNumber, WallTime};

#[test]
fn a_frame_comes_out_only_when_it_is_whole() {
    let mut bytes = BytesMut::new();
    append_frame(&mut bytes, FrameKind::Put, 7, b"abc");
    let whole = bytes.clone();
    for length in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..length]);
        assert_eq!(take_frame(&mut part), Ok(None), "{length} bytes");
        assert_eq!(part.len(), length);
    }
    let frame = take_frame(&mut bytes).unwrap().unwrap();
    assert_eq!(frame, Frame { kind: FrameKind::Put, tag: 7, body: Bytes::from_static(b"abc") });
    assert!(bytes.is_empty());
}

#[test]
fn a_length_over_the_bound_is_refused_before_the_body_is_there() {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(u32::MAX);
    bytes.put_u8(FrameKind::Put as u8);
    bytes.put_bytes(0, 15);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    assert!(matches!(take_frame(&mut bytes), Err(FrameError::TooLong { .. })));
}

#[test]
fn a_body_at_the_bound_is_taken_and_one_byte_more_is_not() {
    for kind in [FrameKind::Put, FrameKind::Ack, FrameKind::Ping] {
        let max = kind.body_bytes_max();
        let mut bytes = BytesMut::new();
        FrameHeader { kind, tag: 0, body_bytes: max, body_checksum: 0 }.encode(&mut bytes);
        assert!(FrameHeader::decode(&bytes).is_ok());
        bytes.clear();
        FrameHeader { kind, tag: 0, body_bytes: max + 1, body_checksum: 0 }.encode(&mut bytes);
        assert!(matches!(FrameHeader::decode(&bytes), Err(FrameError::TooLong { .. })));
    }
}

#[test]
fn the_checksum_is_the_crc_32_of_everybody() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_changed_length_is_found_before_the_body_is_waited_for() {
    let mut bytes = BytesMut::new();
    append_frame(&mut bytes, FrameKind::Ack, 0, &[0; 32]);
    bytes[2] ^= 1;
    bytes.truncate(FRAME_HEADER_BYTES);
    assert!(matches!(take_frame(&mut bytes), Err(FrameError::Checksum { part: "header", .. })));
}

/// Only their hash covers records; everything before them is covered by the checksums.
#[test]
fn the_checksum_of_a_put_or_a_delivery_ends_where_its_records_begin() {
    for (kind, head) in [(FrameKind::Put, PUT_HEAD_BYTES), (FrameKind::Deliver, DELIVER_HEAD_BYTES)] {
        let mut whole = BytesMut::new();
        append_frame(&mut whole, kind, 1, &[1; 100]);
        let mut in_parts = BytesMut::new();
        append_frame_with(&mut in_parts, kind, 1, 100 - head, |out| out.put_bytes(1, head));
        in_parts.put_bytes(1, 100 - head);
        assert_eq!(whole, in_parts);
        for place in FRAME_HEADER_BYTES..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x80;
            let is_found = matches!(take_frame(&mut changed), Err(FrameError::Checksum { part: "body", .. }));
            assert_eq!(is_found, place < FRAME_HEADER_BYTES + head, "{kind:?} changed at {place}");
        }
    }
}

#[test]
fn fixed_parts_come_back_as_they_were() {
    let put = PutHead {
        put: 1,
        producer: Some((ProducerId(2), ProducerSequence(3))),
        lowest_unanswered: ProducerSequence(2),
        body_hash: 5,
        level: AckLevel::Consumed,
        copies: 0,
        transient: true,
        age_seconds: 9,
    };
    let mut bytes = BytesMut::new();
    put.encode(&mut bytes);
    bytes.put_slice(b"rest");
    assert_eq!(PutHead::decode(bytes.freeze()), Ok((put, Bytes::from_static(b"rest"))));

    let deliver = DeliverHead {
        first_index: Index(1),
        first: Sequence(2),
        count: 3,
        stream: StreamNumber(4),
        accepted: WallTime(5),
        records_hash: 6,
        attempt: 7,
    };
    let mut bytes = BytesMut::new();
    deliver.encode(&mut bytes);
    assert_eq!(DeliverHead::decode(bytes.freeze()), Ok((deliver, Bytes::new())));

    let done = PutDone { put: 1, first: Sequence(2), repeats: 3, level: AckLevel::Inserted, has_more: false };
    let mut bytes = BytesMut::new();
    done.encode(&mut bytes);
    done.encode(&mut bytes);
    assert_eq!(PutDone::decode_list(bytes.freeze()), Ok(vec![done, done]));

    let ack = Ack { handle: 1, kind: AckKind::Nack, from: Index(2), to: Index(3), delay_ms: 4 };
    let mut bytes = BytesMut::new();
    ack.encode(&mut bytes);
    assert_eq!(Ack::decode_list(bytes.freeze()), Ok(vec![ack]));

    let credit = Credit { handle: 1, total: 2 };
    let mut bytes = BytesMut::new();
    credit.encode(&mut bytes);
    assert_eq!(Credit::decode_list(bytes.freeze()), Ok(vec![credit]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = take_frame(&mut BytesMut::from(&bytes[..]));
        let body = Bytes::from(bytes);
        let _ = PutHead::decode(body.clone());
        let _ = PutDone::decode_list(body.clone());
        let _ = DeliverHead::decode(body.clone());
        let _ = Ack::decode_list(body.clone());
        let _ = Credit::decode_list(body);
    }

    /// A CRC finds every change that lies within as many bits as it has.
    #[test]
    fn a_frame_that_was_changed_within_32_bits_is_none(
        tag: u64,
        body in prop::collection::vec(any::<u8>(), 0..2000),
        place: prop::sample::Index,
        change in 1..=u32::MAX,
        shift in 0..8_u32,
    ) {
        let mut bytes = BytesMut::new();
        append_frame(&mut bytes, FrameKind::Request, tag, &body);
        let place = place.index(bytes.len() - 4);
        let change = (u64::from(change) << shift).to_le_bytes();
        bytes.put_u8(0);
        bytes[place..].iter_mut().zip(&change[..5]).for_each(|(byte, change)| *byte ^= change);
        let found = take_frame(&mut bytes);
        prop_assert!(matches!(found, Err(FrameError::Checksum { .. })), "{found:?}");
    }
}
