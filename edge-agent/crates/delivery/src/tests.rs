use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const EPOCH: Epoch = Epoch::from_u64(9);

fn seq(n: u64) -> Sequence {
    Sequence::from_u64(n)
}

fn held(stream: StreamId, oldest: u64, next: u64) -> StreamRange {
    StreamRange { stream, oldest: seq(oldest), next: seq(next) }
}

fn ack(stream: StreamId, through: u64) -> CumulativeAck {
    CumulativeAck { epoch: EPOCH, stream, committed_through: seq(through) }
}

const NOW: Monotonic = Monotonic::from_micros(0);

/// Ten batches of telemetry, one alarm; window 4.
fn delivery() -> Delivery {
    let settings = Settings { window: 4, stall: Duration::from_secs(10) };
    Delivery::new(
        settings,
        EPOCH,
        [held(StreamId::Alarm, 1, 2), held(StreamId::Diagnostic, 1, 1), held(StreamId::Telemetry, 1, 11)],
    )
}

fn greet(delivery: &mut Delivery, telemetry: u64) {
    delivery.handle_connected(NOW);
    delivery.handle_ack(ack(StreamId::Alarm, 0), NOW);
    delivery.handle_ack(ack(StreamId::Diagnostic, 0), NOW);
    delivery.handle_ack(ack(StreamId::Telemetry, telemetry), NOW);
}

fn send_all(delivery: &mut Delivery) -> Vec<(StreamId, u64)> {
    let mut out = Vec::new();
    while let Some((stream, sequence)) = delivery.next_to_send() {
        delivery.handle_sent(stream, sequence, NOW);
        out.push((stream, sequence.as_u64()));
    }
    out
}

#[test]
fn nothing_is_sent_before_every_watermark_is_known() {
    let mut d = delivery();
    assert_eq!(d.next_to_send(), None);
    d.handle_connected(NOW);
    d.handle_ack(ack(StreamId::Alarm, 0), NOW);
    d.handle_ack(ack(StreamId::Telemetry, 0), NOW);
    assert_eq!(d.next_to_send(), None);
    d.handle_ack(ack(StreamId::Diagnostic, 0), NOW);
    assert!(d.is_streaming());
    assert_eq!(d.next_to_send(), Some((StreamId::Alarm, seq(1))));
}

#[test]
fn alarms_go_first_and_each_stream_keeps_its_window() {
    let mut d = delivery();
    greet(&mut d, 0);
    let telemetry = |n| (StreamId::Telemetry, n);
    assert_eq!(
        send_all(&mut d),
        [(StreamId::Alarm, 1), telemetry(1), telemetry(2), telemetry(3), telemetry(4)]
    );
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 2), NOW), AckOutcome::Committed(seq(2)));
    assert_eq!(send_all(&mut d), [telemetry(5), telemetry(6)]);
    d.handle_held(held(StreamId::Alarm, 1, 3));
    assert_eq!(d.next_to_send(), Some((StreamId::Alarm, seq(2))));
}

#[test]
fn sending_resumes_where_the_backend_says_it_stands() {
    let mut d = delivery();
    greet(&mut d, 7);
    assert_eq!(
        send_all(&mut d),
        [(StreamId::Alarm, 1), (StreamId::Telemetry, 8), (StreamId::Telemetry, 9), (StreamId::Telemetry, 10)]
    );
}

#[test]
fn a_lost_connection_sends_again_what_was_not_acknowledged() {
    let mut d = delivery();
    greet(&mut d, 0);
    send_all(&mut d);
    d.handle_disconnected();
    assert_eq!(d.next_to_send(), None);
    greet(&mut d, 3);
    assert_eq!(d.next_to_send(), Some((StreamId::Alarm, seq(1))));
    assert!(send_all(&mut d).contains(&(StreamId::Telemetry, 4)));
}

#[test]
fn a_backend_restored_from_an_older_backup_gets_the_rest_again() {
    let mut d = delivery();
    greet(&mut d, 9);
    d.handle_disconnected();
    d.handle_connected(NOW);
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 2), NOW), AckOutcome::Regressed(seq(2)));
    greet_rest(&mut d);
    assert!(send_all(&mut d).contains(&(StreamId::Telemetry, 3)));
}

fn greet_rest(d: &mut Delivery) {
    d.handle_ack(ack(StreamId::Alarm, 0), NOW);
    d.handle_ack(ack(StreamId::Diagnostic, 0), NOW);
}

#[test]
fn an_older_acknowledgement_on_the_same_connection_changes_nothing() {
    let mut d = delivery();
    greet(&mut d, 0);
    send_all(&mut d);
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 4), NOW), AckOutcome::Committed(seq(4)));
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 2), NOW), AckOutcome::Known);
    assert_eq!(send_all(&mut d).first(), Some(&(StreamId::Telemetry, 5)));
}

#[test]
fn acknowledgements_of_another_epoch_or_of_the_future_free_nothing() {
    let mut d = delivery();
    greet(&mut d, 0);
    let foreign = CumulativeAck { epoch: Epoch::from_u64(1), ..ack(StreamId::Telemetry, 5) };
    assert_eq!(d.handle_ack(foreign, NOW), AckOutcome::OtherEpoch);
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 11), NOW), AckOutcome::Ahead(seq(11)));
    assert_eq!(d.backlog(), 11);
}

#[test]
fn evicted_batches_are_skipped() {
    let mut d = delivery();
    greet(&mut d, 0);
    d.handle_held(held(StreamId::Telemetry, 6, 11));
    assert_eq!(send_all(&mut d)[1], (StreamId::Telemetry, 6));
}

#[test]
fn without_progress_the_row_is_sent_again_from_the_watermark() {
    let mut d = delivery();
    greet(&mut d, 0);
    send_all(&mut d);
    d.handle_ack(ack(StreamId::Alarm, 1), NOW);
    let due = d.poll_timeout().expect("batches are under way");
    assert_eq!(due, NOW.plus(Duration::from_secs(10)));
    assert_eq!(d.handle_timeout(NOW.plus(Duration::from_secs(9))), TimeoutOutcome::Wait);
    assert_eq!(d.handle_timeout(due), TimeoutOutcome::Resending);
    assert_eq!(send_all(&mut d).first(), Some(&(StreamId::Telemetry, 1)));
}

#[test]
fn a_backend_that_does_not_answer_hello_is_left() {
    let mut d = delivery();
    d.handle_connected(NOW);
    d.handle_ack(ack(StreamId::Alarm, 0), NOW);
    assert_eq!(d.handle_timeout(d.poll_timeout().expect("waiting")), TimeoutOutcome::Reconnect);
}

/// A backend that keeps what it gets and acknowledges the unbroken row.
#[derive(Default)]
struct Backend {
    stored: BTreeSet<u64>,
    duplicates: u64,
}

impl Backend {
    fn watermark(&self) -> u64 {
        (1..).take_while(|n| self.stored.contains(n)).last().unwrap_or(0)
    }

    fn receive(&mut self, sequence: u64) -> u64 {
        if !self.stored.insert(sequence) {
            self.duplicates += 1;
        }
        self.watermark()
    }
}

proptest! {
    /// Two ends on a link that drops, delays and breaks: in the end every batch is stored exactly once,
    /// and nothing was freed that the backend did not hold.
    #[test]
    fn a_lossy_link_loses_nothing(faults in proptest::collection::vec(0_u8..10, 0..300), total in 1_u64..40) {
        let mut now = NOW;
        let mut d = Delivery::new(
            Settings { window: 4, stall: Duration::from_secs(10) },
            EPOCH,
            [held(StreamId::Alarm, 1, 1), held(StreamId::Diagnostic, 1, 1), held(StreamId::Telemetry, 1, total + 1)],
        );
        let mut backend = Backend::default();
        let mut acks: VecDeque<u64> = VecDeque::new();
        let mut faults = faults.into_iter();
        greet(&mut d, 0);
        for _ in 0..20_000 {
            if d.backlog() == 0 { break; }
            now = now.plus(Duration::from_millis(100));
            let fault = faults.next().unwrap_or(9);
            if let Some((stream, sequence)) = d.next_to_send() {
                d.handle_sent(stream, sequence, now);
                if fault != 0 { acks.push_back(backend.receive(sequence.as_u64())); }
            }
            if fault != 1 && let Some(through) = acks.pop_front()
                && let AckOutcome::Committed(freed) = d.handle_ack(ack(StreamId::Telemetry, through), now) {
                prop_assert!(freed.as_u64() <= backend.watermark());
            }
            if fault == 2 { acks.clear(); }
            if fault == 3 {
                d.handle_disconnected();
                acks.clear();
                greet(&mut d, backend.watermark());
            }
            if d.poll_timeout().is_some_and(|due| due <= now) { d.handle_timeout(now); }
        }
        prop_assert_eq!(d.backlog(), 0);
        prop_assert_eq!(backend.stored.len() as u64, total);
    }
}
