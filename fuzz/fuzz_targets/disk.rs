#![no_main]

use libfuzzer_sys::fuzz_target;

// Bytes as a block, a segment's header, a footer, `IDENT` and a snapshot.
fuzz_target!(|data: &[u8]| treecast::log::fuzz::raw(data));
