//! Golden files: the bytes of everything that is released, kept for ever.
//!
//! `tests/golden/` holds one file per thing that travels or rests: each frame
//! with each body, a run, a whole data directory and a cold segment. The tests encode the same
//! values again and compare every byte, and decode the files and compare the
//! values. A new thing gets its file with
//!
//! ```text
//! TREECAST_GOLDEN=write cargo test --all-features --test golden
//! ```
//!
//! which writes what is missing and never changes what is there: a file that
//! differs is a format that changed. Then either the change is a mistake, or the
//! format gets a new version, and the old file stays beside the new one.

#![expect(clippy::unwrap_used, reason = "in a test a step that fails is a failed test")]

mod golden {
    #[cfg(feature = "sim")]
    mod cold;
    mod disk;
    mod document;
    #[cfg(feature = "sim")]
    mod dumper;
    mod files;
    mod flips;
    mod links;
    mod network;
    #[cfg(feature = "sim")]
    mod scene;
    mod trace;
    mod values;
    mod wire;
}
