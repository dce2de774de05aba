#![no_main]

use libfuzzer_sys::fuzz_target;
use treecast::wire::body::{decode, encode};
use treecast::wire::link::{Fact, Receipt, Released, StreamNamed, StreamSeen};

macro_rules! judge {
    ($data:ident, $($body:ty),*) => {{ $(
        if let Ok(body) = decode::<$body>($data) {
            assert_eq!(decode::<$body>(&encode(&body)).ok().as_ref(), Some(&body));
        }
    )* }};
}

// What neighbours say has no frames yet; its parts have a form.
fuzz_target!(|data: &[u8]| judge!(data, Vec<Fact>, Vec<Receipt>, Vec<Released>, StreamNamed, Vec<StreamSeen>));
