//! The driver against real TCP servers, well-behaved and not.

mod dead;
mod line;
mod shared;
mod support;
mod timing;
mod write;
mod write_beside;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use acquisition::{LinkState, RegisterFormat, RegisterTable};
use plant_model::{Quality, Value};
use support::{Asked, Reply, Running, Scripted, connection, holding, tag};
use tokio::net::TcpListener;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response};

/// A machine as the library serves it: input registers count the reads, coils alternate, holding
/// registers hold their addresses, and nothing lies at 9000 and above.
#[derive(Clone, Default)]
struct Machine {
    reads: Arc<AtomicU16>,
}

impl Service for Machine {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum with many kinds nobody asks for")]
    fn call(&self, request: Request<'static>) -> Self::Future {
        std::future::ready(match request {
            Request::ReadHoldingRegisters(9000.., _) => Err(ExceptionCode::IllegalDataAddress),
            Request::ReadHoldingRegisters(start, n) => {
                Ok(Response::ReadHoldingRegisters((start..start + n).collect()))
            }
            Request::ReadInputRegisters(_, n) => {
                let count = self.reads.fetch_add(1, Ordering::Relaxed);
                Ok(Response::ReadInputRegisters(vec![count; usize::from(n)]))
            }
            Request::ReadCoils(start, n) => {
                Ok(Response::ReadCoils((start..start + n).map(|a| a % 2 == 1).collect()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

async fn library_server(machine: Machine) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let connected = async |stream, _| Ok(Some((machine.clone(), stream)));
        Server::new(listener).serve(&connected, |_| ()).await
    });
    address
}

#[tokio::test]
async fn every_table_is_read_and_every_tag_gets_its_own_value() {
    let address = library_server(Machine::default()).await;
    let tags = vec![
        holding(7, 50),
        tag(RegisterTable::HoldingRegister, 20, RegisterFormat::U32, 50),
        tag(RegisterTable::Coil, 3, RegisterFormat::Bool, 50),
        tag(RegisterTable::Coil, 4, RegisterFormat::Bool, 50),
    ];
    let mut driver = Running::start(connection(address, 2000, tags));
    let told = driver.until("a value of each tag", |told| (0..4).all(|t| told.last(t).is_some())).await;
    let values = [Value::Int(7), Value::Int(20 << 16 | 21), Value::Bool(true), Value::Bool(false)];
    for (index, value) in (0..).zip(values) {
        assert_eq!(told.last(index), Some((Some(value), Quality::GOOD)), "tag {index}");
    }
    assert_eq!(told.links, [LinkState::Up]);
    driver.stop().await;
}

#[tokio::test]
async fn the_samples_of_one_request_share_one_time_in_whole_milliseconds() {
    let address = library_server(Machine::default()).await;
    let mut driver = Running::start(connection(address, 2000, vec![holding(0, 50), holding(1, 50)]));
    let told = driver.until("three polls", |told| told.readings.len() >= 6).await;
    driver.stop().await;
    let mut last = (0, 0);
    for pair in told.readings.chunks(2) {
        let at = (pair[0].sample.gateway_timestamp.micros(), pair[0].received_at.micros());
        assert_eq!(at, (pair[1].sample.gateway_timestamp.micros(), pair[1].received_at.micros()));
        assert_eq!(at.0 % 1000, 0);
        assert_eq!(pair[0].sample.source_timestamp, None);
        assert!(at > last, "{at:?} follows {last:?}");
        last = at;
    }
}

#[tokio::test]
async fn what_was_scheduled_is_acquired_or_accounted_for_and_nothing_twice() {
    let machine = Machine::default();
    let address = library_server(machine.clone()).await;
    let count = |ms| tag(RegisterTable::InputRegister, 0, RegisterFormat::U16, ms);
    let mut driver = Running::start(connection(address, 2000, vec![count(20), holding(0, 100)]));
    driver.until("20 polls", |told| told.of(0).count() >= 20 && told.of(1).count() >= 2).await;
    let counters = Arc::clone(&driver.counters);
    let told = driver.stop().await;

    let read: Vec<i64> = told
        .of(0)
        .map(|r| match r.sample.value {
            Some(Value::Int(n)) => n,
            _ => panic!("{r:?}"),
        })
        .collect();
    assert_eq!(read, (0..i64::from(machine.reads.load(Ordering::Relaxed))).collect::<Vec<_>>());
    assert_eq!(counters.acquired_samples.get(), told.readings.len() as u64);
    assert_eq!(counters.polls_failed.total(), 0);
    assert_eq!(
        counters.scheduled_samples.get(),
        counters.acquired_samples.get() + counters.missed_ticks.get()
    );
    assert_eq!((counters.connects.get(), counters.disconnects.get()), (1, 1));
}

#[tokio::test]
async fn b5_one_illegal_address_costs_only_its_own_tag() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Scripted::start(move |_, asked| {
        log.lock().expect("unpoisoned").push((asked.address, asked.quantity));
        let lacks = (asked.address..asked.address + asked.quantity).contains(&13);
        Reply::Send(if lacks { asked.frame(&[asked.function | 0x80, 2]) } else { asked.answer() })
    })
    .await;
    let tags = (0..20).map(|address| holding(address, 50)).collect();
    let mut driver = Running::start(connection(server.address, 2000, tags));
    let others = |told: &support::Told| (0..20).filter(|t| *t != 13).all(|t| told.of(t).count() >= 3);
    let told = driver.until("three values of every other tag", others).await;
    assert_eq!(told.last(13), Some((None, Quality::BAD_CONFIGURATION_ERROR)));
    assert_eq!(told.of(13).count(), 1, "it is said once");
    for index in (0..20).filter(|t| *t != 13) {
        assert!(told.of(index).all(|r| r.sample.value == Some(Value::Int(i64::from(index)))), "tag {index}");
    }
    assert_eq!(driver.counters.connects.get(), 1, "an exception keeps the connection");
    assert!(driver.counters.last_error().contains("exception 02"), "{}", driver.counters.last_error());
    driver.stop().await;
    let seen = seen.lock().expect("unpoisoned");
    assert_eq!(
        seen[seen.len() - 2..].iter().copied().collect::<HashSet<_>>(),
        HashSet::from([(0, 13), (14, 6)])
    );
}

#[tokio::test]
async fn b7_a_device_failure_is_told_apart_from_a_gateway_without_a_path() {
    for (code, quality) in [(4, 0x808B_0000), (0x0A, 0x8031_0000), (0x0B, 0x800A_0000)] {
        let server =
            Scripted::start(move |_, asked| Reply::Send(asked.frame(&[asked.function | 0x80, code]))).await;
        let mut driver = Running::start(connection(server.address, 2000, vec![holding(0, 50)]));
        let told = driver.until("the refusal", |told| !told.readings.is_empty()).await;
        assert_eq!(told.readings[0].sample.quality.status_code(), quality, "exception {code}");
        driver.until_counted("more requests", |c| c.polls_failed.exception.get() >= 3).await;
        assert_eq!(driver.counters.connects.get(), 1, "exception {code} keeps the connection");
        driver.stop().await;
    }
}

#[tokio::test]
async fn a_busy_machine_keeps_its_last_value_as_uncertain() {
    let busy = |asked: &Asked| Reply::Send(asked.frame(&[asked.function | 0x80, 6]));
    let server = Scripted::start(move |number, asked| match number {
        1 => Reply::Send(asked.answer()),
        _ => busy(&asked),
    })
    .await;
    let mut driver = Running::start(connection(server.address, 2000, vec![holding(5, 50)]));
    let told = driver.until("busy, a value, busy", |told| told.readings.len() >= 3).await;
    let seen: Vec<_> =
        told.readings.iter().map(|r| (r.sample.value.clone(), r.sample.quality)).take(3).collect();
    let (five, uncertain) = (Some(Value::Int(5)), Quality::UNCERTAIN_LAST_USABLE_VALUE);
    assert_eq!(
        seen,
        [(None, Quality::BAD_WAITING_FOR_INITIAL_DATA), (five.clone(), Quality::GOOD), (five, uncertain)]
    );
    driver.stop().await;
}

/// Two blocks of equal length, so that an answer to one would fit the other.
fn two_blocks() -> Vec<acquisition::ModbusTag> {
    vec![holding(100, 50), holding(1000, 50)]
}

fn assert_no_value_is_another_tags(told: &support::Told) {
    for reading in told.readings.iter().filter(|r| r.sample.value.is_some()) {
        let address = if reading.tag.0 == 0 { 100 } else { 1000 };
        assert_eq!(reading.sample.value, Some(Value::Int(address)), "{reading:?}");
    }
}

#[tokio::test]
async fn b4_a_late_answer_is_never_taken_for_the_next_one() {
    let mut withheld = Vec::new();
    let server = Scripted::start(move |number, asked| {
        if number == 4 {
            withheld = asked.answer();
            return Reply::Silence;
        }
        Reply::Send([std::mem::take(&mut withheld), asked.answer()].concat())
    })
    .await;
    let mut driver = Running::start(connection(server.address, 400, two_blocks()));
    driver.until("good values before", |told| told.good() >= 4).await;
    driver.until_counted("the time-out", |c| c.polls_failed.timeout.get() == 1).await;
    let before = driver.counters.polls_ok.get();
    driver.until_counted("polls after it", |c| c.polls_ok.get() >= before + 8).await;
    let counters = Arc::clone(&driver.counters);
    let told = driver.stop().await;
    assert_no_value_is_another_tags(&told);
    assert_eq!(counters.stale_frames_dropped.get(), 1);
    assert_eq!(counters.connects.get(), 1, "one lost answer does not cost the connection");
    let lost: Vec<_> = told.readings.iter().filter(|r| !r.sample.quality.is_good()).collect();
    assert_eq!(lost.len(), 1, "the tag of the lost request turned bad once: {lost:?}");
    assert_eq!(lost[0].sample.quality, Quality::BAD_TIMEOUT);
}

#[tokio::test]
async fn b4_a_device_that_once_takes_1_2_time_outs_is_read_right_from_the_next_poll_on() {
    let server = Scripted::start(move |number, asked| match number {
        4 => Reply::Late(Duration::from_millis(360), asked.answer()),
        _ => Reply::Send(asked.answer()),
    })
    .await;
    let mut driver = Running::start(connection(server.address, 300, two_blocks()));
    driver.until_counted("the time-out", |c| c.polls_failed.timeout.get() >= 1).await;
    let before = driver.counters.polls_ok.get();
    driver.until_counted("polls after it", |c| c.polls_ok.get() >= before + 8).await;
    let told = driver.until("both good", |t| (0..2).all(|n| t.last(n).is_some_and(|l| l.1.is_good()))).await;
    assert_no_value_is_another_tags(&told);
    assert!(driver.counters.stale_frames_dropped.get() >= 1, "{:?}", driver.counters);
    assert_eq!(driver.counters.connects.get(), 1, "{:?}", driver.counters);
    driver.stop().await;
}

/// A connection whose soft deadline lies at 150 ms and the hard one at 5 s.
fn patient(address: SocketAddr, timeout_ms: u64) -> acquisition::ModbusConnection {
    let mut parameters = support::parameters(support::tcp(address), 1, timeout_ms);
    parameters.quirks.soft_deadline = Some(Duration::from_millis(150));
    acquisition::ModbusConnection::new(parameters, vec![holding(7, 50)]).expect("valid")
}

#[tokio::test]
async fn a_machine_slower_than_the_soft_deadline_keeps_being_read_and_says_so() {
    let late = |asked: Asked| Reply::Late(Duration::from_millis(180), asked.answer());
    let server = Scripted::start(move |_, asked| late(asked)).await;
    let mut driver = Running::start(patient(server.address, 5_000));
    let uncertain = |r: &acquisition::Reading| r.sample.quality == Quality::UNCERTAIN_LAST_USABLE_VALUE;
    let told = driver.until("two doubts", |told| told.of(0).filter(|r| uncertain(r)).count() >= 2).await;
    assert!(told.readings[0].sample.quality.is_good(), "there is nothing to doubt before the first value");
    for pair in told.readings.windows(2) {
        assert!(!(uncertain(&pair[0]) && uncertain(&pair[1])), "said once a request: {pair:?}");
        assert!(pair[0].sample.gateway_timestamp <= pair[1].sample.gateway_timestamp, "in order: {pair:?}");
    }
    assert!(told.readings.iter().all(|r| r.sample.value == Some(Value::Int(7))), "the last value is kept");
    let counters = Arc::clone(&driver.counters);
    driver.stop().await;
    assert_eq!((counters.polls_failed.total(), counters.connects.get()), (0, 1));
    assert!(counters.late_answers.get() >= 2);
}

#[tokio::test]
async fn only_the_hard_deadline_gives_a_request_up() {
    let server = Scripted::start(|number, asked| match number {
        0 => Reply::Send(asked.answer()),
        _ => Reply::Silence,
    })
    .await;
    let mut driver = Running::start(patient(server.address, 400));
    let told = driver.until("the loss", support::Told::is_down).await;
    let seen: Vec<_> =
        told.readings.iter().take(3).map(|r| (r.sample.value.clone(), r.sample.quality)).collect();
    let seven = Some(Value::Int(7));
    let uncertain = Quality::UNCERTAIN_LAST_USABLE_VALUE;
    assert_eq!(seen, [(seven.clone(), Quality::GOOD), (seven, uncertain), (None, Quality::BAD_TIMEOUT)]);
    assert_eq!(told.readings.len(), 3, "a lost tag is not doubted");
    driver.stop().await;
}

/// Lets one request in ten pass wrongly and expects a new connection, good data before and after, and
/// never a wrong value.
async fn survives(what: &str, wrong: impl Fn(&Asked) -> Reply + Send + 'static) -> (support::Told, Running) {
    let server = Scripted::start(
        move |number, asked| {
            if number == 4 { wrong(&asked) } else { Reply::Send(asked.answer()) }
        },
    )
    .await;
    let mut driver = Running::start(connection(server.address, 2000, two_blocks()));
    driver.until(what, support::Told::is_down).await;
    let told = driver
        .until("good data again", |told| told.is_up() && told.last(1).is_some_and(|l| l.1.is_good()))
        .await;
    assert_no_value_is_another_tags(&told);
    let up_down_up = told.links.iter().map(|l| *l == LinkState::Up).collect::<Vec<_>>();
    assert_eq!(up_down_up, [true, false, true], "{what}");
    assert_eq!(driver.counters.connects.get(), 2, "{what}");
    (told, driver)
}

fn bad_qualities(told: &support::Told) -> Vec<(u16, Quality)> {
    let bad = told.readings.iter().filter(|r| !r.sample.quality.is_good());
    bad.map(|r| (r.tag.0, r.sample.quality)).collect()
}

#[tokio::test]
async fn answers_that_do_not_fit_end_the_connection_and_turn_every_tag_bad_once() {
    type Wrong = fn(&Asked) -> Vec<u8>;
    let wrong: [(&str, Wrong); 6] = [
        ("one register too few", |asked| asked.registers(0)),
        ("one register too many", |asked| asked.registers(asked.quantity + 1)),
        ("another function code", |asked| asked.frame(&[4, 2, 0, 0])),
        ("another unit", |asked| {
            let mut frame = asked.answer();
            frame[6] = 9;
            frame
        }),
        ("an odd number of bytes", |asked| asked.frame(&[3, 1, 0])),
        ("garbage", |_| vec![0xFF; 32]),
    ];
    for (what, bytes) in wrong {
        let (told, driver) = survives(what, move |asked| Reply::Send(bytes(asked))).await;
        let undecodable = Quality::BAD_DECODING_ERROR;
        assert_eq!(bad_qualities(&told), [(0, undecodable), (1, undecodable)], "{what}");
        assert_eq!(driver.counters.polls_failed.decode.get(), 1, "{what}");
        driver.stop().await;
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_is_made_anew() {
    let (told, driver) = survives("closed", |_| Reply::Close).await;
    let failed = Quality::BAD_COMMUNICATION_ERROR;
    assert_eq!(bad_qualities(&told), [(0, failed), (1, failed)]);
    assert_eq!(driver.counters.polls_failed.transport.get(), 1);
    assert!(
        driver.counters.last_error().contains("closed the connection"),
        "{}",
        driver.counters.last_error()
    );
    driver.stop().await;
}

#[tokio::test]
async fn an_answer_in_single_bytes_is_an_answer() {
    let server = Scripted::start(|_, asked| Reply::Trickle(asked.answer())).await;
    let mut driver = Running::start(connection(server.address, 2000, two_blocks()));
    let told = driver.until("four values", |told| told.good() >= 4).await;
    assert_no_value_is_another_tags(&told);
    assert_eq!(driver.counters.polls_failed.total(), 0);
    driver.stop().await;
}

#[tokio::test]
async fn a_machine_that_refuses_connections_is_reported_once_and_read_when_it_appears() {
    // No other test listens at this host, so that nobody takes the port meanwhile.
    let listener = TcpListener::bind("127.0.0.9:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let mut driver = Running::start(connection(address, 2000, two_blocks()));
    driver.until("the refusal", support::Told::is_down).await;
    driver.until_counted("the reason", |c| !c.last_error().is_empty()).await;
    assert_eq!(
        driver.counters.scheduled_samples.get(),
        0,
        "nothing is scheduled before the first connection"
    );

    let listener = TcpListener::bind(address).await.expect("the port is still free");
    tokio::spawn(async move {
        let connected = async |stream, _| Ok(Some((Machine::default(), stream)));
        Server::new(listener).serve(&connected, |_| ()).await
    });
    let told = driver.until("values", |told| told.is_up() && told.good() >= 2).await;
    let not_connected = Quality::BAD_NOT_CONNECTED;
    assert_eq!(bad_qualities(&told), [(0, not_connected), (1, not_connected)]);
    driver.stop().await;
}

#[tokio::test]
async fn three_requests_without_an_answer_end_the_connection() {
    let server = Scripted::start(|_, _| Reply::Silence).await;
    let mut driver = Running::start(connection(server.address, 100, two_blocks()));
    let told = driver.until("the loss", support::Told::is_down).await;
    let counters = Arc::clone(&driver.counters);
    driver.stop().await;
    assert_eq!(counters.polls_failed.timeout.get() % 3, 0);
    assert!(bad_qualities(&told).iter().all(|(_, q)| *q == Quality::BAD_TIMEOUT));
    let lost: HashSet<u16> = told.readings.iter().map(|r| r.tag.0).collect();
    assert_eq!((told.readings.len(), lost.len()), (2, 2), "each tag turned bad once");
}

#[tokio::test]
async fn what_falls_due_without_a_connection_is_counted_as_missed() {
    let server = Scripted::start(|number, asked| match number {
        0 | 1 => Reply::Send(asked.answer()),
        _ => Reply::Close,
    })
    .await;
    let driver = Running::start(connection(server.address, 2000, two_blocks()));
    driver.until_counted("missed instants", |c| c.missed_ticks.get() >= 10).await;
    let counters = Arc::clone(&driver.counters);
    driver.stop().await;
    let ticks = counters.scheduled_samples.get() / 2;
    let polled = ticks - counters.missed_ticks.get();
    assert_eq!(
        polled,
        1 + counters.polls_failed.total(),
        "one good round, and one request for each connection"
    );
    assert_eq!(counters.acquired_samples.get(), 2);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_machine_longer_than_one_request() {
    let server = Scripted::start(|_, _| Reply::Silence).await;
    let driver = Running::start(connection(server.address, 700, two_blocks()));
    driver.until_counted("the connection", |c| c.connects.get() == 1).await;
    driver.until_counted("a request under way", |c| c.scheduled_samples.get() > 0).await;
    let begun = std::time::Instant::now();
    driver.stop().await;
    assert!(
        begun.elapsed() < Duration::from_millis(1300),
        "{:?} with two requests of 700 ms due",
        begun.elapsed()
    );
}
