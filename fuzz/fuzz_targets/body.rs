#![no_main]

use libfuzzer_sys::fuzz_target;
use treecast::wire::body::{Answer, ClientHello, Close, Notice, RelayHello, Request, decode, encode};

macro_rules! judge {
    ($data:ident, $($body:ty),*) => {{ $(
        if let Ok(body) = decode::<$body>($data) {
            assert_eq!(decode::<$body>(&encode(&body)).ok().as_ref(), Some(&body));
        }
    )* }};
}

fuzz_target!(|data: &[u8]| judge!(data, ClientHello, RelayHello, Request, Answer, Notice, Close));
