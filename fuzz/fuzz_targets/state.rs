#![no_main]

use libfuzzer_sys::fuzz_target;

// Changes of the relay's state, and parts of its snapshots.
fuzz_target!(|data: &[u8]| treecast::relay::fuzz::state(data));
