//! How long a write waits beside units that are slow or silent, on the connection of the polls and on its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acquisition::{AfterRead, ModbusConnection, ModbusConnectionParameters, Quirks, TagIndex};
use driver_modbus::{WriteOutcome, WriteQueue, WriteRequest, Writer, run_writes, write_queue};
use plant_model::{MachineId, Value};
use service_kit::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Asked, Reply, Running, Scripted, holding, parameters, tcp};

/// Unit 1 keeps its register 0; what the others do is up to the test.
struct Neighbours {
    server: Scripted,
    register: Arc<AtomicU16>,
    writes: Arc<AtomicUsize>,
    /// How often another unit was asked.
    others: watch::Receiver<usize>,
}

impl Neighbours {
    async fn start(other: fn(&Asked) -> Reply) -> Self {
        let (register, writes) = (Arc::new(AtomicU16::new(0)), Arc::new(AtomicUsize::new(0)));
        let (asked_others, others) = watch::channel(0);
        let (word, count) = (Arc::clone(&register), Arc::clone(&writes));
        let server = Scripted::start(move |_, asked| match (asked.unit, asked.function) {
            (1, 6) => {
                word.store(asked.quantity, Ordering::Relaxed);
                count.fetch_add(1, Ordering::Relaxed);
                let [high, low] = asked.quantity.to_be_bytes();
                Reply::Send(asked.frame(&[6, 0, 0, high, low]))
            }
            (1, _) => {
                let [high, low] = word.load(Ordering::Relaxed).to_be_bytes();
                Reply::Send(asked.frame(&[3, 2, high, low]))
            }
            (_, _) => {
                asked_others.send_modify(|count| *count += 1);
                other(&asked)
            }
        })
        .await;
        Self { server, register, writes, others }
    }

    /// Waits until another unit was asked once more.
    async fn other_asked(&mut self) {
        let before = *self.others.borrow();
        let asked = self.others.wait_for(|count| *count > before);
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("in time").expect("it serves");
    }
}

fn unit(address: SocketAddr, unit_id: u8, interval_ms: u64) -> ModbusConnection {
    ModbusConnection::new(parameters(tcp(address), unit_id, 1_000), vec![holding(0, interval_ms)])
        .expect("valid")
}

fn press() -> MachineId {
    MachineId::new("press-1").expect("valid")
}

async fn write(writer: &Writer, value: i64) -> (WriteOutcome, Duration) {
    let begun = Instant::now();
    let request = WriteRequest { machine: press(), tag: TagIndex(0), value: Value::Int(value) };
    (writer.write(request).await, begun.elapsed())
}

/// The connection for writes of unit 1.
fn own(address: SocketAddr) -> (Writer, CancellationToken, JoinHandle<()>) {
    let ((writer, queue), stop) = (write_queue(), CancellationToken::new());
    let task = tokio::spawn(run_writes(unit(address, 1, 50), press(), queue, Clock::start(), stop.clone()));
    (writer, stop, task)
}

#[tokio::test]
async fn d7_writes_wait_for_the_request_under_way_and_for_no_other() {
    let slow = |asked: &Asked| Reply::Late(Duration::from_millis(400), asked.answer());
    let mut plant = Neighbours::start(slow).await;
    let (writer, queue) = write_queue();
    let address = plant.server.address;
    let mut machines = Running::start_with(vec![unit(address, 1, 50), unit(address, 2, 50)], queue);
    machines[1].until("values of the slow one", |told| told.good() >= 1).await;
    plant.other_asked().await;
    let begun = Instant::now();
    let outcomes = tokio::join!(
        write(&writer, 1),
        write(&writer, 2),
        write(&writer, 3),
        write(&writer, 4),
        write(&writer, 5)
    );
    assert_eq!((&outcomes.0.0, &outcomes.4.0), (&WriteOutcome::Written, &WriteOutcome::Written));
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
    assert_eq!(plant.register.load(Ordering::Relaxed), 5, "in their order");
    machines.remove(0).stop().await;
}

#[tokio::test]
async fn d7_a_write_on_a_connection_of_its_own_does_not_wait_for_a_silent_neighbour() {
    let mut plant = Neighbours::start(|_| Reply::Silence).await;
    let address = plant.server.address;
    let (shared, queue) = write_queue();
    let mut machines = Running::start_with(vec![unit(address, 1, 50), unit(address, 2, 50)], queue);
    let (own, stop, task) = own(address);
    plant.other_asked().await;
    let ((held_up, waited), (at_once, took)) = tokio::join!(write(&shared, 1), write(&own, 2));
    eprintln!("beside a silent unit: {waited:?} on the shared connection, {took:?} on its own");
    assert_eq!((held_up, at_once), (WriteOutcome::Written, WriteOutcome::Written));
    assert!(took < Duration::from_millis(500) && waited > took, "{took:?} {waited:?}");
    stop.cancel();
    task.await.expect("it ends");
    machines.remove(0).stop().await;
}

#[tokio::test]
async fn d7_a_write_that_nobody_waits_for_any_more_is_not_made() {
    let mut plant = Neighbours::start(|_| Reply::Silence).await;
    let (writer, queue) = write_queue();
    let address = plant.server.address;
    let mut machines = Running::start_with(vec![unit(address, 1, 50), unit(address, 2, 50)], queue);
    plant.other_asked().await;
    let dropped = tokio::time::timeout(Duration::from_millis(20), write(&writer, 7)).await;
    assert!(dropped.is_err(), "the line is taken");
    let (outcome, _) = write(&writer, 8).await;
    assert_eq!((outcome, plant.writes.load(Ordering::Relaxed)), (WriteOutcome::Written, 1));
    machines.remove(0).stop().await;
}

#[tokio::test]
async fn d7_a_write_that_is_not_answered_is_unknown_and_the_next_has_a_new_connection() {
    let mut silent = true;
    let server = Scripted::start(move |_, asked| match (std::mem::take(&mut silent), asked.function) {
        (true, _) => Reply::Silence,
        (false, 6) => Reply::Send(asked.frame(&[6, 0, 0, 0, 2])),
        (false, _) => Reply::Send(asked.frame(&[3, 2, 0, 2])),
    })
    .await;
    let (writer, stop, task) = own(server.address);
    let (outcome, took) = write(&writer, 1).await;
    assert!(matches!(&outcome, WriteOutcome::Unknown { .. }), "{outcome:?}");
    assert!((1_000..3_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(write(&writer, 2).await.0, WriteOutcome::Written);
    stop.cancel();
    task.await.expect("it ends");
    assert!(matches!(write(&writer, 3).await.0, WriteOutcome::Refused { .. }), "the task has ended");
}

#[tokio::test]
async fn d7_a_device_that_wants_its_connection_back_is_written_between_its_polls() {
    let plant = Neighbours::start(|_| Reply::Silence).await;
    let quirks = Quirks { after_read: AfterRead::Close, ..Quirks::default() };
    let address = plant.server.address;
    let parameters = ModbusConnectionParameters { quirks, ..parameters(tcp(address), 1, 1_000) };
    let connection = ModbusConnection::new(parameters, vec![holding(0, 3_600_000)]).expect("valid");
    let (writer, queue): (Writer, WriteQueue) = write_queue();
    let machine = Running::start_with(vec![connection], queue).remove(0);
    for value in 1..=2 {
        let (outcome, took) = write(&writer, value).await;
        assert_eq!(outcome, WriteOutcome::Written);
        assert!(took < Duration::from_secs(3), "{took:?}");
        machine.until_counted("the connection back", |c| c.disconnects.get() == c.connects.get()).await;
    }
    machine.stop().await;
}
