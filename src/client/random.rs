//! Random numbers: for names that must not meet again, and for delays that must not fall together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use crate::id::ProducerId;

/// A producer id that nobody else has, for one that ends with its process.
pub(super) fn producer() -> ProducerId {
    let mut bytes = [0; 16];
    // Without the system's source the standard library's seeds, which are drawn
    // per process, still keep ids of different processes apart.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        let half = || RandomState::new().hash_one(std::process::id());
        bytes = (u128::from(half()) << 64 | u128::from(half())).to_le_bytes();
    }
    ProducerId::passing(u128::from_le_bytes(bytes))
}

/// Between half of `delay` and all of it.
pub(super) fn jitter(delay: Duration) -> Duration {
    let share = RandomState::new().hash_one(0u8) % 1024;
    delay / 2 + delay.mul_f64(share as f64 / 2048.0)
}
