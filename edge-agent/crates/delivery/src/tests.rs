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
    CumulativeAck {
        epoch: EPOCH,
        stream,
        committed_through: seq(through),
        missing_through: None,
        last_checksum: None,
    }
}

const NOW: Monotonic = Monotonic::from_micros(0);

/// Ten batches of telemetry, one alarm; window 4.
fn delivery() -> Delivery {
    let settings = Settings { window: 4, ..Settings::default() };
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
    while let Some((stream, sequence)) = delivery.next_to_send(NOW) {
        delivery.handle_sent(stream, sequence, 1_000, NOW);
        out.push((stream, sequence.as_u64()));
    }
    out
}

/// All ten are acknowledged.
fn delivered() -> Delivery {
    let mut d = delivery();
    greet(&mut d, 10);
    d.handle_sent(StreamId::Alarm, seq(1), 1_000, NOW);
    d.handle_ack(ack(StreamId::Alarm, 1), NOW);
    assert_eq!((d.next_to_send(NOW), d.backlog()), (None, 0));
    d
}

fn replay(first: u64, last: u64) -> Replay {
    Replay { stream: StreamId::Telemetry, first: seq(first), last: seq(last) }
}

#[test]
fn what_is_asked_for_again_goes_window_by_window_when_nothing_else_is_due_and_moves_no_watermark() {
    let (mut d, telemetry) = (delivered(), |n| (StreamId::Telemetry, n));
    d.handle_replay(replay(2, 99), NOW);
    assert_eq!(send_all(&mut d), [2, 3, 4, 5].map(telemetry), "four are a window");
    d.handle_held(held(StreamId::Telemetry, 1, 12));
    d.handle_held(held(StreamId::Alarm, 1, 3));
    assert_eq!(send_all(&mut d), [(StreamId::Alarm, 2), telemetry(11)], "what is new goes first");
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 10), NOW), AckOutcome::Known);
    assert_eq!(send_all(&mut d), [6, 7, 8, 9].map(telemetry));
    let stalled = NOW.plus(Duration::from_secs(10));
    assert_eq!(d.poll_timeout(), Some(stalled), "an answer may be lost");
    d.handle_ack(ack(StreamId::Telemetry, 11), NOW);
    assert_eq!(send_all(&mut d), [telemetry(10)], "up to what was acknowledged when it was asked for");
    d.handle_ack(ack(StreamId::Telemetry, 11), NOW);
    assert_eq!((d.next_to_send(NOW), d.backlog()), (None, 1), "an alarm is still under way");
}

#[test]
fn what_is_asked_for_again_and_no_longer_held_is_left_out_and_what_lies_behind_it_is_not_sent() {
    let mut d = delivered();
    d.handle_held(held(StreamId::Telemetry, 5, 11));
    d.handle_replay(replay(1, 7), NOW);
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Telemetry, seq(5))), "the oldest that is held");
    assert!(d.handle_found(StreamId::Telemetry, seq(5), seq(7)), "a hole within the range");
    d.handle_replay(replay(1, 7), NOW);
    assert!(!d.handle_found(StreamId::Telemetry, seq(5), seq(8)), "the next one is behind it");
    assert_eq!(d.next_to_send(NOW), None);
    d.handle_replay(replay(11, 20), NOW);
    assert_eq!(d.next_to_send(NOW), None, "nothing of it was sent before");
}

#[test]
fn an_answer_that_does_not_come_ends_no_replay_and_a_lost_connection_does() {
    let mut d = delivered();
    d.handle_replay(replay(1, 6), NOW);
    assert_eq!(send_all(&mut d).len(), 4);
    let stalled = NOW.plus(Duration::from_secs(10));
    assert_eq!(d.handle_timeout(stalled), TimeoutOutcome::Wait);
    assert_eq!(d.next_to_send(stalled), Some((StreamId::Telemetry, seq(5))));
    d.handle_disconnected();
    greet(&mut d, 10);
    d.handle_ack(ack(StreamId::Alarm, 1), NOW);
    assert_eq!(d.next_to_send(NOW).filter(|(stream, _)| *stream == StreamId::Telemetry), None);
}

#[test]
fn nothing_is_sent_before_every_watermark_is_known() {
    let mut d = delivery();
    assert_eq!(d.next_to_send(NOW), None);
    d.handle_connected(NOW);
    d.handle_ack(ack(StreamId::Alarm, 0), NOW);
    d.handle_ack(ack(StreamId::Telemetry, 0), NOW);
    assert_eq!(d.next_to_send(NOW), None);
    d.handle_ack(ack(StreamId::Diagnostic, 0), NOW);
    assert!(d.is_streaming());
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Alarm, seq(1))));
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
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Alarm, seq(2))));
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
    assert_eq!(d.next_to_send(NOW), None);
    greet(&mut d, 3);
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Alarm, seq(1))));
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

/// The backend holds the row up to `through` and asks for what lies behind it up to `missing`.
fn asks(through: u64, missing: u64) -> CumulativeAck {
    CumulativeAck { missing_through: Some(seq(missing)), ..ack(StreamId::Telemetry, through) }
}

#[test]
fn a_range_that_the_backend_asks_for_is_sent_again_at_once_and_nothing_else_is() {
    let mut d = delivery();
    greet(&mut d, 0);
    send_all(&mut d);
    // Of 1 to 4, 2 and 3 went astray.
    assert_eq!(d.handle_ack(asks(1, 3), NOW), AckOutcome::Committed(seq(1)));
    let telemetry = |n| (StreamId::Telemetry, n);
    assert_eq!(send_all(&mut d), [telemetry(2), telemetry(3), telemetry(5)], "4 is still under way");
    assert_eq!(d.handle_ack(ack(StreamId::Telemetry, 4), NOW), AckOutcome::Committed(seq(4)));
    assert_eq!(send_all(&mut d), [telemetry(6), telemetry(7), telemetry(8)]);
}

#[test]
fn a_backend_that_asks_over_and_over_is_answered_once_a_second() {
    let mut d = delivery();
    greet(&mut d, 0);
    send_all(&mut d);
    d.handle_ack(asks(1, 3), NOW);
    assert_eq!(send_all(&mut d).len(), 3);
    d.handle_ack(asks(1, 3), NOW.plus(Duration::from_millis(900)));
    assert_eq!(send_all(&mut d), []);
    d.handle_ack(asks(1, 3), NOW.plus(Duration::from_secs(1)));
    assert_eq!(send_all(&mut d), [(StreamId::Telemetry, 2), (StreamId::Telemetry, 3)]);
}

#[test]
fn a_range_that_is_held_no_more_or_was_never_sent_is_not_sent_again() {
    let mut d = delivery();
    greet(&mut d, 0);
    send_all(&mut d);
    d.handle_held(held(StreamId::Telemetry, 4, 11));
    d.handle_ack(asks(1, 3), NOW);
    assert_eq!(send_all(&mut d).first(), Some(&(StreamId::Telemetry, 5)), "1 to 3 are gone, 4 is under way");
    let mut d = delivery();
    greet(&mut d, 0);
    assert_eq!(d.handle_ack(asks(0, 9), NOW), AckOutcome::Known);
    assert_eq!(send_all(&mut d)[1], (StreamId::Telemetry, 1));
}

#[test]
fn a_backend_that_does_not_answer_hello_is_left() {
    let mut d = delivery();
    d.handle_connected(NOW);
    d.handle_ack(ack(StreamId::Alarm, 0), NOW);
    assert_eq!(d.handle_timeout(d.poll_timeout().expect("waiting")), TimeoutOutcome::Reconnect);
}

/// A gateway with nothing but telemetry, 999 batches of it.
fn backlogged(settings: Settings) -> Delivery {
    let telemetry = held(StreamId::Telemetry, 1, 1_000);
    let mut d = Delivery::new(
        settings,
        EPOCH,
        [held(StreamId::Alarm, 1, 1), held(StreamId::Diagnostic, 1, 1), telemetry],
    );
    greet(&mut d, 0);
    d
}

#[test]
fn a11_an_alarm_waits_behind_no_more_than_a_second_of_a_slow_link() {
    let settings = Settings::default();
    let mut d = backlogged(settings);
    let mut bytes = 0;
    while let Some((stream, sequence)) = d.next_to_send(NOW) {
        d.handle_sent(stream, sequence, 9_000, NOW);
        bytes += 9_000;
    }
    assert!(bytes < settings.window_bytes + 9_000, "{bytes} are under way");
    d.handle_held(held(StreamId::Alarm, 1, 2));
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Alarm, seq(1))), "telemetry under way does not block it");
    d.handle_sent(StreamId::Alarm, seq(1), 100, NOW);
    // A batch larger than the window goes alone.
    d.handle_ack(ack(StreamId::Telemetry, 4), NOW);
    d.handle_sent(StreamId::Telemetry, seq(5), 1 << 20, NOW);
    assert_eq!(d.next_to_send(NOW), None);
    d.handle_ack(ack(StreamId::Telemetry, 5), NOW);
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Telemetry, seq(6))));
}

#[test]
fn a11_a_drain_keeps_to_its_rate_and_alarms_do_not_wait_for_it() {
    let rate = NonZeroU64::new(10_000);
    let mut d = backlogged(Settings { telemetry_bytes_per_second: rate, ..Settings::default() });
    let (mut now, mut sent) = (NOW, 0_u64);
    while now < NOW.plus(Duration::from_secs(20)) {
        while let Some((stream, sequence)) = d.next_to_send(now) {
            d.handle_sent(stream, sequence, 2_000, now);
            sent += 2_000;
            d.handle_ack(ack(StreamId::Telemetry, sequence.as_u64()), now);
        }
        let due = d.poll_timeout().expect("the rate opens again");
        assert!(due > now, "it would spin");
        now = due;
    }
    assert!((200_000..=215_000).contains(&sent), "{sent} bytes in 20 s at 10,000 a second");
    d.handle_held(held(StreamId::Alarm, 1, 2));
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Alarm, seq(1))));
}

#[test]
fn a_hole_in_the_row_takes_no_place_in_the_window() {
    let mut d = backlogged(Settings { window: 4, ..Settings::default() });
    d.handle_held(held(StreamId::Telemetry, 1, 100_010));
    // The store holds 1 and then nothing before 100,001: it answers with what comes next.
    d.handle_sent(StreamId::Telemetry, seq(1), 1_000, NOW);
    d.handle_sent(StreamId::Telemetry, seq(100_001), 1_000, NOW);
    assert_eq!(d.next_to_send(NOW), Some((StreamId::Telemetry, seq(100_002))));
}

#[test]
fn a13_a_batch_that_the_transport_refuses_blocks_nothing() {
    let mut d = backlogged(Settings { window: 4, ..Settings::default() });
    d.handle_refused(StreamId::Telemetry, seq(1));
    let sent = send_all(&mut d);
    assert_eq!((sent.len(), sent[0]), (4, (StreamId::Telemetry, 2)));
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
            Settings { window: 4, ..Settings::default() },
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
            if let Some((stream, sequence)) = d.next_to_send(now) {
                d.handle_sent(stream, sequence, 1_000, now);
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
