#![no_main]

use libfuzzer_sys::fuzz_target;

// A footer that lies, with hashes that are right.
fuzz_target!(|data: &[u8]| treecast::log::fuzz::footer(data));
