#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use treecast::wire::frame::{
    Ack, Credit, DeliverHead, FrameHeader, FrameKind, PutDone, PutHead, append_frame, take_frame,
};

// A stream of frames: as it is, and with the first bytes as the body of a frame of each kind.
fuzz_target!(|data: &[u8]| {
    let _ = FrameHeader::decode(data);
    let mut stream = BytesMut::from(data);
    while let Ok(Some(frame)) = take_frame(&mut stream) {
        assert!(frame.body.len() <= frame.kind.body_bytes_max());
    }
    let body = Bytes::copy_from_slice(data);
    let _ = PutHead::decode(body.clone());
    let _ = PutDone::decode_list(body.clone());
    let _ = DeliverHead::decode(body.clone());
    let _ = Ack::decode_list(body.clone());
    let _ = Credit::decode_list(body);
    for kind in [FrameKind::Put, FrameKind::Deliver, FrameKind::Ack, FrameKind::Request] {
        if data.len() > kind.body_bytes_max() {
            continue;
        }
        let mut bytes = BytesMut::new();
        append_frame(&mut bytes, kind, 1, data);
        let frame = take_frame(&mut bytes).expect("what was encoded is a frame").expect("and whole");
        assert_eq!((frame.kind, &frame.body[..], bytes.len()), (kind, data, 0));
    }
});
