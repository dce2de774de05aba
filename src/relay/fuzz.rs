//! What a fuzzer throws at the decoders of the relay's own state (F53).

use bytes::Bytes;

use super::saved::Shard;
use super::state::State;

/// Takes bytes for a change of state, and for a part of a snapshot.
pub fn state(bytes: &[u8]) {
    let _ = State::decode(Bytes::copy_from_slice(bytes));
    let Ok(shard) = Shard::decode(bytes) else { return };
    for group in shard.groups {
        let _ = group.restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f53_what_fuzzing_has_found_is_refused() {
        // A cursor whose window reaches beyond the last index.
        let mut floor = vec![0xFF; 9];
        floor.push(1);
        let cursor = [&[2, 1, 1][..], &floor, &[1, 0, 0], &[0; 7], &[1], &[0; 8], &[0]].concat();
        assert!(State::decode(Bytes::from(cursor)).is_err());
    }
}
