#![no_main]

use libfuzzer_sys::fuzz_target;
use treecast::wire::run::{BodySummary, RUN_HEADER_BYTES, Records, RunHeader};

// The records of a run, then its header with the hash made right.
fuzz_target!(|data: &[u8]| {
    let summary = BodySummary::of(data);
    let mut records = Records::new(data);
    let mut count = 0;
    while let Some(Ok(record)) = records.next() {
        assert!(record.payload.len() <= data.len());
        assert!(record.headers().count() <= data.len());
        count += 1;
    }
    if let Ok(summary) = summary {
        assert_eq!((summary.count, records.rest()), (count, 0));
    }
    let mut passed = Records::new(data);
    while passed.rest() > 0 && passed.pass().is_ok() {}
    if let Some(header) = data.get(..RUN_HEADER_BYTES) {
        let mut header = header.to_vec();
        let hash = xxhash_rust::xxh3::xxh3_64(&header[..RUN_HEADER_BYTES - 8]);
        header[RUN_HEADER_BYTES - 8..].copy_from_slice(&hash.to_le_bytes());
        if let Ok(decoded) = RunHeader::decode(&header) {
            assert!(decoded.end() > decoded.first);
            assert_eq!(RunHeader::decode(&decoded.encode()), Ok(decoded));
        }
    }
});
