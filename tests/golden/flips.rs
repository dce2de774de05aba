//! No change of a frame on its way goes unseen: every bit and every pair of bytes of every
//! golden frame.

use bytes::BytesMut;
use treecast::wire::frame::{
    DeliverHead, Frame, FrameKind, LinkCopyHead, LinkDeliverHead, LinkRunHead, PutHead, take_frame,
};
use xxhash_rust::xxh3::xxh3_64;

use super::files;

/// The frame that the bytes begin with, if a receiver takes it for one.
fn received(bytes: &[u8]) -> Result<Option<Frame>, String> {
    let frame = take_frame(&mut BytesMut::from(bytes)).map_err(|error| error.to_string())?;
    let records = match &frame {
        Some(Frame { kind: FrameKind::Put, body, .. }) => {
            let (head, records) = PutHead::decode(body.clone()).map_err(|error| error.to_string())?;
            Some((head.body_hash, records))
        }
        Some(Frame { kind: FrameKind::Deliver, body, .. }) => {
            let (head, records) = DeliverHead::decode(body.clone()).map_err(|error| error.to_string())?;
            Some((head.records_hash, records))
        }
        Some(Frame { kind: FrameKind::LinkRun, body, .. }) => {
            let (head, records) = LinkRunHead::decode(body.clone()).map_err(|error| error.to_string())?;
            Some((head.header.body_hash, records))
        }
        Some(Frame { kind: FrameKind::LinkDeliver, tag, body }) => {
            let (head, records) =
                LinkDeliverHead::decode(*tag, body.clone()).map_err(|error| error.to_string())?;
            Some((head.deliver.records_hash, records))
        }
        Some(Frame { kind: FrameKind::LinkCopy, body, .. }) => {
            let (head, records) = LinkCopyHead::decode(body.clone()).map_err(|error| error.to_string())?;
            Some((head.header.body_hash, records))
        }
        _ => None,
    };
    match records {
        Some((hash, records)) if hash != xxh3_64(&records) => Err("the hash of the records".to_owned()),
        _ => Ok(frame),
    }
}

/// Whether a receiver finds that a frame was changed. Packed records have bits that say nothing: the
/// other half of the last token of a block, say. Who unpacks them has the same records, hash and all.
fn is_found(name: &str, whole: &[u8], changed: &[u8]) -> bool {
    let unpacked = |bytes: &[u8]| match received(bytes) {
        Ok(Some(Frame { kind: FrameKind::LinkRun, tag, body })) => {
            LinkRunHead::decode(body).ok().map(|run| (tag, run))
        }
        Ok(_) | Err(_) => None,
    };
    received(changed).is_err() || (name == "link-run-lz4.bin" && unpacked(whole) == unpacked(changed))
}

/// Every golden frame, with its file's name.
fn frames() -> Vec<(String, Vec<u8>)> {
    let names = files::list("wire").into_iter().filter(|name| !name.starts_with("run-"));
    let frames: Vec<_> = names.map(|name| (name.clone(), files::read(&format!("wire/{name}")))).collect();
    for (name, bytes) in &frames {
        assert!(matches!(received(bytes), Ok(Some(_))), "{name} is not right itself");
    }
    assert!(frames.len() >= 50, "only {} frames", frames.len());
    frames
}

#[test]
fn every_flipped_bit_is_found() {
    for (name, whole) in frames() {
        let mut bytes = whole.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(is_found(&name, &whole, &bytes), "{name}: bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_swap_of_two_bytes_is_found() {
    for (name, whole) in frames() {
        let mut bytes = whole.clone();
        for first in 0..bytes.len() {
            for second in first + 1..bytes.len() {
                if bytes[first] != bytes[second] {
                    bytes.swap(first, second);
                    assert!(is_found(&name, &whole, &bytes), "{name}: bytes {first} and {second}");
                    bytes.swap(first, second);
                }
            }
        }
    }
}
