use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn header() -> RunHeader {
    RunHeader {
        kind: RunKind::Data,
        has_ttl: false,
        has_subject: true,
        count: 3,
        body_bytes: 30,
        first: Sequence(7),
        body_hash: 1,
        chain: 2,
        accepted: WallTime(3),
        producer: Some((ProducerId(4), ProducerSequence(5))),
    }
}

#[test]
fn a_header_comes_back_as_it_was() {
    let header = header();
    assert_eq!(RunHeader::decode(&header.encode()), Ok(header));
    assert_eq!(header.end(), Sequence(10));
}

#[test]
fn every_flipped_bit_of_a_header_is_found() {
    let good = header().encode();
    for bit in 0..good.len() * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(RunHeader::decode(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn the_headers_of_a_stream_form_a_chain() {
    let first = header();
    let same = RunHeader { chain: first.hash(), ..first };
    let other = RunHeader { body_hash: 9, ..first };
    assert_ne!(first.hash(), other.hash());
    assert_ne!(first.hash(), same.hash());
}

#[test]
fn a_record_without_extras_costs_five_bytes() {
    let mut body = BytesMut::new();
    Record { payload: &[0; 16], ..Record::default() }.encode(&mut body);
    assert_eq!(body.len(), 21);
}

#[test]
fn a_body_without_records_is_refused() {
    assert_eq!(BodySummary::of(&[]), Err(RunError::Count { announced: 0, found: 0 }));
}

#[test]
fn a_subject_over_its_limit_is_refused() {
    let subject = "s".repeat(limits::SUBJECT_BYTES_MAX + 1);
    let mut body = BytesMut::new();
    Record { subject: Some(&subject), ..Record::default() }.encode(&mut body);
    assert!(matches!(BodySummary::of(&body), Err(RunError::TooLong { part: "subject", .. })));
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(
        records in prop::collection::vec(
            (
                prop::option::of(any::<u64>()),
                prop::option::of("[a-z/]{0,40}"),
                prop::collection::vec(("[a-z]{0,9}", prop::collection::vec(any::<u8>(), 0..9)), 0..3),
                prop::collection::vec(any::<u8>(), 0..99),
            ),
            1..20,
        )
    ) {
        let mut body = BytesMut::new();
        for (ttl_ms, subject, headers, payload) in &records {
            let mut encoded = BytesMut::new();
            for (key, value) in headers {
                Record::encode_header(&mut encoded, key, value);
            }
            let subject = subject.as_deref();
            Record { ttl_ms: *ttl_ms, subject, headers: &encoded, payload }.encode(&mut body);
        }
        let summary = BodySummary::of(&body).unwrap();
        prop_assert_eq!(summary.count as usize, records.len());
        for (found, (ttl_ms, subject, headers, payload)) in Records::new(&body).zip(&records) {
            let found = found.unwrap();
            prop_assert_eq!(found.ttl_ms, *ttl_ms);
            prop_assert_eq!(found.subject, subject.as_deref());
            prop_assert_eq!(found.payload, &payload[..]);
            let back: Vec<_> = found.headers().map(|(k, v)| (k.to_owned(), v.to_vec())).collect();
            prop_assert_eq!(&back, headers);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = BodySummary::of(&bytes);
        let _ = RunHeader::decode(&bytes);
    }
}
