use super::*;
use crate::id::{Index, Sequence, StreamNumber, WallTime};
use crate::wire::frame::AckLevel;

fn queue() -> (Arc<OutQueue>, OutReceiver, Arc<Progress>) {
    let progress = Arc::new(Progress::new(Arc::new(Notify::new())));
    let (queue, receiver) = OutQueue::new(SessionId(1), Arc::clone(&progress));
    (queue, receiver, progress)
}

pub(crate) fn deliver(bytes: usize) -> Outgoing {
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

fn answer(request: u64) -> Outgoing {
    Outgoing::Answer { request, answer: Box::new(Ok(Reply::Done)) }
}

fn push(queue: &OutQueue, items: Vec<Outgoing>) {
    queue.push(&mut Staged { items, ..Staged::default() }, 0);
}

#[test]
fn things_keep_their_order_and_answers_to_puts_overtake() {
    let (queue, mut receiver, _) = queue();
    push(&queue, vec![deliver(10), answer(1), deliver(20)]);
    let done = PutDone { put: 1, first: Sequence(1), repeats: 0, level: AckLevel::Accepted, has_more: false };
    queue.push(&mut Staged { dones: vec![done], ..Staged::default() }, 0);
    queue.pong(&[9]);
    let mut batch = OutBatch::default();
    assert!(receiver.try_receive(&mut batch));
    assert_eq!(batch.pongs, [9]);
    assert_eq!(batch.dones, [done]);
    assert_eq!(batch.items, [deliver(10), answer(1), deliver(20)]);
    assert!(!receiver.try_receive(&mut batch));
}

#[test]
fn a_batch_is_bounded_in_bytes_and_in_slices() {
    let (queue, mut receiver, _) = queue();
    push(&queue, vec![deliver(limits::WRITE_BYTES_MAX / 2); 3]);
    let mut batch = OutBatch::default();
    receiver.try_receive(&mut batch);
    assert_eq!(batch.items.len(), 2);
    receiver.try_receive(&mut batch);
    assert_eq!(batch.items.len(), 1);
    push(&queue, vec![deliver(limits::WRITE_COPY_BYTES_MAX); 200]);
    receiver.try_receive(&mut batch);
    assert_eq!(batch.items.len(), LARGE_ITEMS_MAX);
}

#[test]
fn what_was_written_is_a_latest_value_and_wakes_the_driver_only_when_it_paused() {
    let (queue, mut receiver, progress) = queue();
    let mut changed = Vec::new();
    push(&queue, vec![deliver(100); 2]);
    let mut batch = OutBatch::default();
    receiver.try_receive(&mut batch);
    receiver.wrote(&batch);
    receiver.wrote(&OutBatch { deliver_bytes: 1, ..OutBatch::default() });
    progress.take(&mut changed);
    assert_eq!(changed, [SessionId(1)], "named once");
    assert_eq!(queue.take_written(), batch.deliver_bytes + 1);
    assert!(!lock(&queue.state).tell_when_less);
    push(&queue, vec![deliver(limits::SESSION_OUT_BYTES_MAX)]);
    assert!(lock(&queue.state).tell_when_less);
    receiver.try_receive(&mut batch);
    receiver.wrote(&batch);
    assert!(!lock(&queue.state).tell_when_less, "the driver was told");
}

#[test]
fn a_close_comes_last_and_nothing_after_it() {
    let (queue, mut receiver, _) = queue();
    push(&queue, vec![answer(1)]);
    queue.close("first".to_owned());
    queue.close("second".to_owned());
    push(&queue, vec![answer(2)]);
    let mut batch = OutBatch::default();
    assert!(receiver.try_receive(&mut batch));
    assert_eq!(batch.items, [answer(1)]);
    assert_eq!(batch.close.as_deref(), Some("first"));
    push(&queue, vec![answer(3)]);
    queue.pong(&[1]);
    assert!(!receiver.try_receive(&mut batch));
}

#[test]
fn answers_that_nobody_reads_close_the_session() {
    let (queue, mut receiver, _) = queue();
    let mut pushed = 0;
    while lock(&queue.state).close.is_none() {
        push(&queue, (0..1000).map(answer).collect());
        pushed += 1;
        assert!(pushed < 1000, "never closed");
    }
    assert!(queue.is_crowded() || lock(&queue.state).items.is_empty());
    let mut batch = OutBatch::default();
    assert!(receiver.try_receive(&mut batch));
    assert!(batch.close.expect("it closes").contains("not read"));
}

#[test]
fn answers_to_puts_that_nobody_reads_hold_the_session_back_and_close_it_in_the_end() {
    let (queue, mut receiver, _) = queue();
    let done = PutDone { put: 1, first: Sequence(1), repeats: 0, level: AckLevel::Accepted, has_more: false };
    let push = || queue.push(&mut Staged { dones: vec![done; 10_000], ..Staged::default() }, 0);
    let mut batch = OutBatch::default();
    (0..5).for_each(|_| push());
    assert!(queue.is_crowded());
    assert!(receiver.try_receive(&mut batch));
    assert_eq!((batch.dones.len(), queue.is_crowded()), (50_000, false));
    for _ in 0..100 {
        push();
    }
    assert!(receiver.try_receive(&mut batch));
    assert!(batch.dones.len() * size_of::<PutDone>() <= limits::SESSION_CONTROL_BYTES_LAST);
    assert!(batch.close.as_deref().expect("it closes").contains("not read"));
}

#[tokio::test]
async fn a_crowded_session_waits_until_its_answers_are_taken() {
    let (queue, mut receiver, _) = queue();
    push(&queue, (0..4000).map(answer).collect());
    assert!(queue.is_crowded());
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.has_room().await }
    });
    let mut batch = OutBatch::default();
    while receiver.try_receive(&mut batch) {}
    waiting.await.unwrap();
}

#[test]
fn a_queue_without_a_receiver_swallows() {
    let (queue, receiver, _) = queue();
    drop(receiver);
    push(&queue, vec![deliver(100)]);
    assert!(lock(&queue.state).items.is_empty());
}

/// A frame of 16 MiB to a neighbour, counted as in the core.
fn said(count: usize) -> Vec<Outgoing> {
    let buckets = LinkMessage::Buckets(vec![0; 2 << 20]);
    vec![Outgoing::Link(Box::new(buckets)); count]
}

#[test]
fn p12_what_a_neighbour_does_not_take_ends_its_link_before_it_fills_the_memory() {
    let progress = Arc::new(Progress::new(Arc::new(Notify::new())));
    let (queue, mut receiver) = OutQueue::for_link(SessionId(1), Arc::clone(&progress));
    // However much is said at once, as when a link comes up, it is waited for.
    push(&queue, said(20));
    push(&queue, said(1));
    assert_eq!(queue.has_overflowed(), None);
    let mut batch = OutBatch::default();
    while receiver.try_receive(&mut batch) {
        receiver.wrote(&batch);
    }
    // Twice as much, which is taken as it comes, is not too much.
    for _ in 0..40 {
        push(&queue, said(1));
        receiver.try_receive(&mut batch);
        receiver.wrote(&batch);
    }
    assert_eq!(queue.has_overflowed(), None);
    for _ in 0..100 {
        push(&queue, said(1));
    }
    let waited = queue.has_overflowed().expect("it takes nothing");
    assert!(waited <= limits::LINK_WAITING_BYTES_LAST + 22 * (16 << 20), "{waited} bytes");
    assert!(lock(&queue.state).items.is_empty(), "and nothing of it is kept");
    assert!(!receiver.try_receive(&mut batch));
}
