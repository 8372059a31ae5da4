//! Writes beside polls, against a server that keeps registers and notices requests that overlap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use acquisition::{ModbusConnection, RegisterFormat, RegisterTable, TagIndex};
use driver_modbus::{WriteOutcome, WriteRequest, Writer, write_queue};
use plant_model::{MachineId, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Running, holding, parameters, tag, tcp};

/// Holding registers 0 to 9. Register 7 is only written with others (function 16), 8 takes every write and stays as
/// it is; 9 refuses writes.
#[derive(Default)]
struct Device {
    registers: [AtomicU16; 10],
    overlaps: AtomicU64,
    writes: AtomicU64,
}

impl Device {
    fn word(&self, at: u16) -> u16 {
        self.registers[usize::from(at)].load(Ordering::Relaxed)
    }

    fn set(&self, at: u16, word: u16) {
        if at != 8 {
            self.registers[usize::from(at)].store(word, Ordering::Relaxed);
        }
    }

    /// The answer to a PDU.
    fn answer(&self, pdu: &[u8]) -> Vec<u8> {
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        let (function, start) = (pdu[0], word(1));
        if function != 3 {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        match function {
            3 => {
                let words = (start..start + word(3)).flat_map(|at| self.word(at).to_be_bytes());
                [vec![3, pdu[4] * 2], words.collect()].concat()
            }
            6 | 16 if start == 9 => vec![function | 0x80, 4],
            6 if start == 7 => vec![0x86, 1],
            6 => {
                self.set(start, word(3));
                pdu.to_vec()
            }
            16 => {
                (0..word(3)).for_each(|n| self.set(start + n, word(6 + 2 * usize::from(n))));
                pdu[..5].to_vec()
            }
            other => vec![other | 0x80, 1],
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut header = [0; 7];
        while stream.read_exact(&mut header).await.is_ok() {
            let mut pdu = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) - 1];
            stream.read_exact(&mut pdu).await.expect("a whole request");
            tokio::time::sleep(Duration::from_millis(5)).await;
            // Whatever has come by now was sent before this answer.
            if stream.try_read(&mut [0; 1]).is_ok() {
                self.overlaps.fetch_add(1, Ordering::Relaxed);
            }
            let answer = self.answer(&pdu);
            let length = u16::try_from(answer.len() + 1).expect("short").to_be_bytes();
            let frame = [&header[..4], &length, &header[6..], &answer].concat();
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}

/// A device, its driver and a writer: tags 0 to 2 are registers 0, 8 and 9, tag 3 is a 32-bit number
/// at 2, tag 4 an input register, tag 5 register 7.
async fn started() -> (Arc<Device>, Running, Writer) {
    let device = Arc::new(Device::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let served = Arc::clone(&device);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&served).serve(stream));
        }
    });
    let wide = tag(RegisterTable::HoldingRegister, 2, RegisterFormat::U32, 20);
    let input = tag(RegisterTable::InputRegister, 0, RegisterFormat::U16, 3_600_000);
    let tags = vec![holding(0, 20), holding(8, 20), holding(9, 20), wide, input, holding(7, 20)];
    let connection = ModbusConnection::new(parameters(tcp(address), 1, 1000), tags).expect("valid");
    let (writer, queue) = write_queue();
    (device, Running::start_with(vec![connection], queue).remove(0), writer)
}

fn request(tag: u16, value: i64) -> WriteRequest {
    let machine = MachineId::new("press-1").expect("valid");
    WriteRequest { machine, tag: TagIndex(tag), value: Value::Int(value) }
}

#[tokio::test]
async fn b10_writes_during_polling_never_overlap_and_are_read_back() {
    let (device, mut machine, writer) = started().await;
    machine.until("values", |told| told.good() >= 4).await;
    for round in 1..=20 {
        let outcomes =
            tokio::join!(writer.write(request(0, round)), writer.write(request(3, round * 100_000)));
        assert_eq!(outcomes, (WriteOutcome::Written, WriteOutcome::Written), "{round}");
    }
    machine
        .until("the last value", |told| told.last(3).is_some_and(|l| l.0 == Some(Value::Int(2_000_000))))
        .await;
    assert_eq!(device.overlaps.load(Ordering::Relaxed), 0);
    assert_eq!(device.writes.load(Ordering::Relaxed), 40, "each write is made once");
    assert_eq!(machine.counters.polls_failed.timeout.get(), 0);
    machine.stop().await;
}

#[tokio::test]
async fn b10_what_a_device_does_not_keep_or_refuses_is_said() {
    let (_device, mut machine, writer) = started().await;
    machine.until("values", |told| told.good() >= 4).await;
    assert_eq!(writer.write(request(1, 5)).await, WriteOutcome::Differs { read_back: Some(Value::Int(0)) });
    for (tag, value, reason) in
        [(2, 5, "exception 04"), (0, 70_000, "does not fit"), (4, 1, "only be read"), (77, 1, "no such tag")]
    {
        let WriteOutcome::Refused { reason: said } = writer.write(request(tag, value)).await else {
            panic!("tag {tag} was not refused")
        };
        assert!(said.contains(reason), "{said}");
    }
    let foreign = WriteRequest { machine: MachineId::new("other").expect("valid"), ..request(0, 1) };
    assert!(matches!(writer.write(foreign).await, WriteOutcome::Refused { .. }));
    machine.stop().await;
    assert!(
        matches!(writer.write(request(0, 1)).await, WriteOutcome::Refused { .. }),
        "the driver has ended"
    );
}

#[tokio::test]
async fn a_device_without_the_function_for_one_register_is_written_with_the_one_for_several() {
    let (device, mut machine, writer) = started().await;
    machine.until("values", |told| told.good() >= 4).await;
    assert_eq!(writer.write(request(5, 77)).await, WriteOutcome::Written);
    assert_eq!(device.word(7), 77);
    machine.stop().await;
}
