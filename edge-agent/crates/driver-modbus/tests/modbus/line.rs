//! The driver on RTU: a pseudo terminal for a serial line, and RTU frames in a TCP stream.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use acquisition::{ModbusAddress, ModbusConnection, Parity, SerialLine};
use plant_model::{Quality, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_serial::{SerialPort, SerialStream};

use crate::support::{Running, Told, holding, parameters};

/// Opening the line must not make it the terminal of the tests.
const O_NOCTTY: i32 = 0o400;

/// A read request as it came over the line.
#[derive(Debug, Clone, Copy)]
struct Asked {
    unit: u8,
    function: u8,
    address: u16,
    quantity: u16,
}

impl Asked {
    /// The right answer: each register holds its address plus a thousand times its unit.
    fn answer(&self) -> Vec<u8> {
        let mut body = vec![self.unit, self.function, u8::try_from(self.quantity * 2).expect("short")];
        for n in 0..self.quantity {
            body.extend((self.address + n + 1000 * u16::from(self.unit)).to_be_bytes());
        }
        sealed(body)
    }
}

fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let mut sum = 0xFFFF_u16;
    for byte in &body {
        sum ^= u16::from(*byte);
        for _ in 0..8 {
            sum = if sum % 2 == 1 { (sum / 2) ^ 0xA001 } else { sum / 2 };
        }
    }
    body.extend(sum.to_le_bytes());
    body
}

/// What the other end does with a request.
enum Reply {
    Send(Vec<u8>),
    Late(Duration, Vec<u8>),
    Silence,
}

async fn serve(mut line: impl AsyncRead + AsyncWrite + Unpin, mut script: impl FnMut(usize, Asked) -> Reply) {
    let mut request = [0; 8];
    let mut number = 0;
    while line.read_exact(&mut request).await.is_ok() {
        let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let asked = Asked { unit: request[0], function: request[1], address: word(2), quantity: word(4) };
        assert_eq!(sealed(request[..6].to_vec()), request, "a whole request with its checksum");
        let bytes = match script(number, asked) {
            Reply::Send(bytes) => bytes,
            Reply::Late(after, bytes) => {
                tokio::time::sleep(after).await;
                bytes
            }
            Reply::Silence => Vec::new(),
        };
        number += 1;
        if line.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// A serial line whose device file is a link, as those under `/dev/serial/by-id` are.
struct Line {
    folder: tempfile::TempDir,
    task: JoinHandle<()>,
    /// Keeps the pseudo terminal alive while nobody has it open.
    _held: File,
}

impl Line {
    fn start(script: impl FnMut(usize, Asked) -> Reply + Send + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (task, held) = plug(&folder.path().join("adapter"), script);
        Self { folder, task, _held: held }
    }

    fn device(&self) -> PathBuf {
        self.folder.path().join("adapter")
    }

    /// Pulls the adapter; what is left is a link to nowhere.
    async fn pull(self) -> tempfile::TempDir {
        self.task.abort();
        let _ = self.task.await;
        self.folder
    }

    fn replug(folder: tempfile::TempDir, script: impl FnMut(usize, Asked) -> Reply + Send + 'static) -> Self {
        std::fs::remove_file(folder.path().join("adapter")).expect("the old link");
        let (task, held) = plug(&folder.path().join("adapter"), script);
        Self { folder, task, _held: held }
    }

    fn unit(&self, unit_id: u8, timeout_ms: u64, interval_ms: u64) -> ModbusConnection {
        let device = self.device().to_str().expect("a plain path").to_owned();
        let line =
            SerialLine { device, baud_rate: 115_200, parity: Parity::None, data_bits: 8, stop_bits: 1 };
        let tags = vec![holding(100, interval_ms), holding(500, interval_ms)];
        ModbusConnection::new(parameters(ModbusAddress::Rtu(line), unit_id, timeout_ms), tags).expect("valid")
    }
}

fn plug(
    link: &std::path::Path,
    script: impl FnMut(usize, Asked) -> Reply + Send + 'static,
) -> (JoinHandle<()>, File) {
    let (far, near) = SerialStream::pair().expect("a pseudo terminal");
    let name = near.name().expect("a name");
    // The library locks the line for itself; a plain handle keeps it alive all the same.
    let held = File::options().read(true).write(true).custom_flags(O_NOCTTY).open(&name).expect("the line");
    drop(near);
    std::os::unix::fs::symlink(name, link).expect("a link");
    (tokio::spawn(serve(far, script)), held)
}

fn assert_own_values(told: &Told, unit: i64) {
    for reading in told.readings.iter().filter(|r| r.sample.value.is_some()) {
        let address = if reading.tag.0 == 0 { 100 } else { 500 };
        assert_eq!(reading.sample.value, Some(Value::Int(unit * 1000 + address)), "unit {unit}: {reading:?}");
    }
}

#[tokio::test]
async fn units_of_a_serial_line_are_read_each_with_its_own_values() {
    let line = Line::start(|_, asked| Reply::Send(asked.answer()));
    let units = (1..=3).map(|unit| line.unit(unit, 1000, 100)).collect();
    let mut machines = Running::start_all(units);
    for (unit, machine) in (1..).zip(&mut machines) {
        let told = machine.until("four values", |told| told.good() >= 4).await;
        assert_own_values(&told, unit);
        assert_eq!(machine.counters.polls_failed.total(), 0);
    }
    machines.remove(0).stop().await;
}

#[tokio::test]
async fn b4_a_late_answer_on_a_line_is_never_taken_for_the_next_one() {
    let limit = Duration::from_millis(300);
    let line = Line::start(move |number, asked| match number {
        4 => Reply::Late(limit * 6 / 5, asked.answer()),
        _ => Reply::Send(asked.answer()),
    });
    let mut machine = Running::start(line.unit(1, 300, 100));
    machine.until("the time-out", |told| told.readings.iter().any(|r| !r.sample.quality.is_good())).await;
    let before = machine.told().good();
    let told = machine.until("values after it", |told| told.good() >= before + 6).await;
    assert_own_values(&told, 1);
    let lost: Vec<_> = told.readings.iter().filter(|r| !r.sample.quality.is_good()).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].sample.quality, Quality::BAD_TIMEOUT);
    assert_eq!(machine.counters.connects.get(), 1, "the line stays open");
    assert_eq!(machine.counters.stale_frames_dropped.get(), 1);
    machine.stop().await;
}

#[tokio::test]
async fn b9_noise_and_foreign_frames_on_a_line_cost_nobody_a_value() {
    let line = Line::start(|number, asked| {
        let foreign = sealed(vec![42, 3, 2, 0xDE, 0xAD]);
        let noise: Vec<u8> = (0..number % 40).map(|n| u8::try_from(n * 37 % 256).expect("a byte")).collect();
        Reply::Send([noise, foreign.clone(), asked.answer(), foreign].concat())
    });
    let mut machines = Running::start_all(vec![line.unit(1, 2000, 50), line.unit(2, 2000, 50)]);
    for (unit, machine) in (1..).zip(&mut machines) {
        let told = machine.until("thirty values", |told| told.good() >= 30).await;
        assert_own_values(&told, unit);
        assert_eq!(told.good(), told.readings.len());
        assert_eq!((machine.counters.polls_failed.total(), machine.counters.connects.get()), (0, 1));
    }
    machines.remove(0).stop().await;
}

#[tokio::test]
async fn b11_an_adapter_that_was_pulled_is_opened_again_under_its_name() {
    let line = Line::start(|_, asked| Reply::Send(asked.answer()));
    let mut machine = Running::start(line.unit(1, 300, 50));
    machine.until("values", |told| told.good() >= 4).await;
    let folder = line.pull().await;
    machine.until("the loss", Told::is_down).await;
    let before = machine.told().good();
    let _line = Line::replug(folder, |_, asked| Reply::Send(asked.answer()));
    let told = machine.until("values again", |told| told.is_up() && told.good() >= before + 4).await;
    assert_own_values(&told, 1);
    machine.stop().await;
}

#[tokio::test]
async fn a_device_file_that_does_not_exist_is_named_in_the_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = Line::start(|_, _| Reply::Silence);
    let unit = line.unit(1, 300, 50);
    drop(line);
    drop(folder);
    let mut machine = Running::start(unit);
    machine.until("the loss", Told::is_down).await;
    let error = machine.counters.last_error();
    assert!(error.contains("cannot open") && error.contains("adapter"), "{error}");
    machine.stop().await;
}

fn rtu_over_tcp(port: u16, unit_id: u8, timeout_ms: u64) -> ModbusConnection {
    let address = ModbusAddress::RtuOverTcp { host: "127.0.0.1".into(), port };
    let tags = vec![holding(100, 100), holding(500, 100)];
    ModbusConnection::new(parameters(address, unit_id, timeout_ms), tags).expect("valid")
}

#[tokio::test]
async fn b12_a_stream_that_went_dead_without_a_word_is_made_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            tokio::spawn(serve(stream, move |number, asked| {
                if first && number >= 6 { Reply::Silence } else { Reply::Send(asked.answer()) }
            }));
        }
    });
    let mut machines = Running::start_all(vec![rtu_over_tcp(port, 1, 100), rtu_over_tcp(port, 2, 100)]);
    for (unit, machine) in (1..).zip(&mut machines) {
        machine.until("many values, over the death", |told| told.good() >= 30).await;
        assert_own_values(&machine.told(), unit);
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 2, "one new connection was enough");
    machines.remove(0).stop().await;
}
