use proptest::prelude::*;

use super::*;
use crate::id::{Index, ProducerId, ProducerSequence, Sequence, StreamNumber, WallTime};

#[test]
fn a_frame_comes_out_only_when_it_is_whole() {
    let mut bytes = BytesMut::new();
    FrameHeader { kind: FrameKind::Put, tag: 7, body_bytes: 3 }.encode(&mut bytes);
    bytes.put_slice(b"abc");
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
    bytes.put_bytes(0, 11);
    assert!(matches!(take_frame(&mut bytes), Err(FrameError::TooLong { .. })));
}

#[test]
fn a_body_at_the_bound_is_taken_and_one_byte_more_is_not() {
    for kind in [FrameKind::Put, FrameKind::Ack, FrameKind::Ping] {
        let max = kind.body_bytes_max();
        let mut bytes = BytesMut::new();
        FrameHeader { kind, tag: 0, body_bytes: max }.encode(&mut bytes);
        assert!(FrameHeader::decode(&bytes).is_ok());
        bytes.clear();
        FrameHeader { kind, tag: 0, body_bytes: max + 1 }.encode(&mut bytes);
        assert!(matches!(FrameHeader::decode(&bytes), Err(FrameError::TooLong { .. })));
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

    let done = PutDone { put: 1, first: Sequence(2), repeats: 3, level: AckLevel::Inserted };
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
}
