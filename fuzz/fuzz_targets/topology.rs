#![no_main]

use libfuzzer_sys::fuzz_target;
use treecast::topology::Topology;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Topology::parse("fuzz.toml", text) {
        Ok(checked) => drop(checked.topology),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
});
