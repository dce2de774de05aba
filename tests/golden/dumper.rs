//! A reader of segments that was written from `docs/protocol.md` alone and
//! shares no code with the engine: what it finds must be what the engine finds.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// An entry of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dumped {
    Run { group: u32, first_index: u64, kind: u8, count: u32, body: Vec<u8> },
    State(Vec<u8>),
}

/// One block.
pub(crate) struct Block {
    pub(crate) first: u64,
    pub(crate) entries: Vec<Dumped>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let field: [u8; N] = bytes[at..at + N].try_into().unwrap();
    field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn salt(epoch: u64, place: usize) -> u64 {
    let place = (place as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) ^ place
}

/// All blocks of a segment in use, hash-checked.
pub(crate) fn blocks(segment: &[u8]) -> Vec<Block> {
    assert_eq!((&segment[..4], number::<2>(segment, 4)), (&b"TCSG"[..], 1));
    assert_eq!(number::<8>(segment, 504), xxh3_64(&segment[..504]));
    if number::<2>(segment, 6) == 0 {
        return Vec::new();
    }
    let epoch = number::<8>(segment, 40);
    let (mut lsn, mut entry, mut previous) =
        (number::<8>(segment, 48), number::<8>(segment, 56), number::<8>(segment, 64));
    let mut blocks = Vec::new();
    // A cold segment has its header twice.
    let is_cold = number::<2>(segment, 6) == 2;
    let mut at = if is_cold { 1024 } else { 512 };
    assert!(!is_cold || segment[..512] == segment[512..1024]);
    while at + 96 <= segment.len() && &segment[at..at + 4] == b"TCBK" {
        let header = &segment[at..at + 96];
        assert_eq!(number::<8>(header, 88), xxh3_64_with_seed(&header[..88], salt(epoch, at)));
        assert_eq!((number::<2>(header, 4), number::<8>(header, 8)), (1, epoch));
        assert_eq!(number::<8>(header, 16), at as u64);
        assert_eq!((number::<8>(header, 24), number::<8>(header, 32)), (lsn, previous));
        assert_eq!(number::<8>(header, 40), entry);
        let (count, bytes) = (number::<4>(header, 48), number::<4>(header, 52) as usize);
        let (entries, hashes) = entries(segment, (at + 96, at + bytes), epoch);
        assert_eq!((entries.len() as u64, number::<8>(header, 56)), (count, xxh3_64(&hashes)));
        blocks.push(Block { first: entry, entries });
        (lsn, entry, previous) = (lsn + 1, entry + count, number::<8>(header, 88));
        at += bytes.next_multiple_of(512);
    }
    blocks
}

/// The entries between two places, and their hashes one behind the other.
fn entries(segment: &[u8], (mut at, end): (usize, usize), epoch: u64) -> (Vec<Dumped>, Vec<u8>) {
    let mut found = Vec::new();
    let mut hashes = Vec::new();
    while at < end {
        let head = &segment[at..];
        if head[0] == 1 {
            assert_eq!(number::<8>(head, 120), xxh3_64_with_seed(&head[..120], salt(epoch, at)));
            let run = &head[40..120];
            assert_eq!(number::<8>(run, 72), xxh3_64(&run[..72]));
            let body = head[128..128 + number::<4>(run, 8) as usize].to_vec();
            assert_eq!(number::<8>(run, 24), xxh3_64(&body));
            hashes.extend_from_slice(&head[120..128]);
            at += 128 + body.len();
            found.push(Dumped::Run {
                group: u32::try_from(number::<4>(head, 4)).unwrap(),
                first_index: number::<8>(head, 16),
                kind: run[1],
                count: u32::try_from(number::<4>(run, 4)).unwrap(),
                body,
            });
        } else {
            assert_eq!(head[0], 2, "a kind of entry that the document does not name");
            let body = head[16..16 + number::<4>(head, 4) as usize].to_vec();
            assert_eq!(number::<8>(head, 8), xxh3_64_with_seed(&body, salt(epoch, at)));
            hashes.extend_from_slice(&head[8..16]);
            at += 16 + body.len();
            found.push(Dumped::State(body));
        }
    }
    assert_eq!(at, end, "entries end where their block says");
    (found, hashes)
}
