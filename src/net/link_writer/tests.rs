use std::task::{Context, Poll};

use super::*;
use crate::id::{Index, Sequence, SessionId, StreamNumber, WallTime};
use crate::net::outgoing::{OutQueue, Progress, Staged};
use crate::wire::body::Reply;
use crate::wire::frame::{AckLevel, DeliverHead, Frame, PutDone, take_frame};

/// Takes at most so many bytes per write, and counts writes.
struct Slow {
    bytes: BytesMut,
    per_write: usize,
    writes: usize,
    slices_max: usize,
}

impl Slow {
    fn new(per_write: usize) -> Self {
        Self { bytes: BytesMut::new(), per_write, writes: 0, slices_max: 0 }
    }

    fn frames(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| take_frame(&mut self.bytes).unwrap()).collect()
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.per_write);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        self.slices_max = self.slices_max.max(slices.len());
        let mut left = self.per_write;
        for slice in slices {
            let taken = slice.len().min(left);
            self.bytes.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(self.per_write - left))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn deliver(bytes: usize) -> Outgoing {
    let head = DeliverHead {
        first_index: Index(1),
        first: Sequence(1),
        count: 1,
        stream: StreamNumber(1),
        accepted: WallTime(0),
        records_hash: 0,
        attempt: 1,
    };
    Outgoing::Deliver { handle: 1, head, records: Bytes::from(vec![7; bytes]) }
}

fn batch() -> OutBatch {
    let done =
        |put| PutDone { put, first: Sequence(put), repeats: 0, level: AckLevel::Accepted, has_more: false };
    OutBatch {
        pings: vec![4],
        pongs: vec![1, 2],
        dones: vec![done(1), done(2), done(3)],
        items: vec![
            deliver(5000),
            deliver(10),
            Outgoing::Answer { request: 4, answer: Box::new(Ok(Reply::Done)) },
            deliver(4000),
        ],
        deliver_bytes: 0,
        has_more: false,
        close: Some("done".to_owned()),
    }
}

#[tokio::test]
async fn a_batch_is_one_write_of_few_slices() {
    let mut stream = Slow::new(usize::MAX);
    let mut encoder = Encoder::default();
    encoder.batch(&batch());
    encoder.write(&mut stream).await.unwrap();
    assert_eq!((stream.writes, stream.slices_max), (1, 5));
    let kinds: Vec<_> = stream.frames().iter().map(|frame| frame.kind).collect();
    let expected = [
        FrameKind::Ping,
        FrameKind::Pong,
        FrameKind::Pong,
        FrameKind::PutAnswer,
        FrameKind::Deliver,
        FrameKind::Deliver,
        FrameKind::Answer,
        FrameKind::Deliver,
        FrameKind::Close,
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn writes_that_take_a_part_are_continued() {
    let mut whole = Slow::new(usize::MAX);
    let mut encoder = Encoder::default();
    encoder.batch(&batch());
    encoder.write(&mut whole).await.unwrap();
    for per_write in [1, 7, 64, 5000] {
        let mut stream = Slow::new(per_write);
        encoder.batch(&batch());
        encoder.write(&mut stream).await.unwrap();
        assert_eq!(stream.bytes, whole.bytes, "{per_write} bytes per write");
    }
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_an_error() {
    let mut encoder = Encoder::default();
    encoder.batch(&batch());
    let error = encoder.write(&mut Slow::new(0)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[tokio::test]
async fn put_answers_are_cut_at_the_bound_of_a_frame() {
    let done = PutDone { put: 1, first: Sequence(1), repeats: 0, level: AckLevel::Accepted, has_more: false };
    let mut encoder = Encoder::default();
    encoder.batch(&OutBatch { dones: vec![done; DONES_MAX + 1], ..OutBatch::default() });
    let mut stream = Slow::new(usize::MAX);
    encoder.write(&mut stream).await.unwrap();
    let counts: Vec<_> = stream.frames().iter().map(|frame| frame.body.len() / PUT_DONE_BYTES).collect();
    assert_eq!(counts, [DONES_MAX, 1]);
}

#[tokio::test]
async fn the_writer_ends_after_the_close() {
    let progress = std::sync::Arc::new(Progress::new(std::sync::Arc::default()));
    let (queue, mut receiver) = OutQueue::new(SessionId(1), progress);
    queue.push(&mut Staged { items: vec![deliver(3000); 100], ..Staged::default() }, 0);
    queue.close("bye".to_owned());
    let mut stream = Slow::new(usize::MAX);
    run(&mut stream, &mut receiver, None).await.unwrap();
    assert!(stream.slices_max <= limits::WRITE_SLICES_MAX);
    let frames = stream.frames();
    assert_eq!(frames.len(), 101);
    assert_eq!(frames.last().map(|frame| frame.kind), Some(FrameKind::Close));
}

/// What was put would overtake what is to be delivered, if each batch let others work.
#[tokio::test]
async fn much_is_written_in_one_go_and_others_have_their_turn_when_its_time_is_over() {
    for (time, expected) in [(Duration::from_secs(3600), 1), (Duration::ZERO, 4)] {
        let progress = std::sync::Arc::new(Progress::new(std::sync::Arc::default()));
        let (queue, mut receiver) = OutQueue::new(SessionId(1), progress);
        queue.push(&mut Staged { items: vec![deliver(limits::WRITE_BYTES_MAX); 4], ..Staged::default() }, 0);
        queue.close("bye".to_owned());
        let mut stream = Slow::new(usize::MAX);
        let mut writing = std::pin::pin!(run_in(&mut stream, &mut receiver, None, || Slice::of(time)));
        let mut turns = 0;
        poll_fn(|context| {
            turns += 1;
            writing.as_mut().poll(context).map(Result::unwrap)
        })
        .await;
        assert_eq!(turns, expected, "in slices of {time:?}");
    }
}
