//! A Modbus TCP server of a few lines, written against the specification and not against our driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came. For a single write the quantity is the value.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) unit: u8,
    pub(crate) function: u8,
    pub(crate) address: u16,
    pub(crate) quantity: u16,
    /// The registers of a write of several.
    pub(crate) words: Vec<u16>,
}

impl Asked {
    fn of(unit: u8, pdu: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        let words = pdu.get(6..).unwrap_or_default().chunks_exact(2);
        let words = words.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        Self { unit, function: pdu[0], address: word(1), quantity: word(3), words }
    }

    /// Answers with registers that hold what `value` says.
    pub(crate) fn registers(&self, value: impl Fn(u16) -> u16) -> Vec<u8> {
        let mut pdu = vec![self.function, u8::try_from(self.quantity * 2).expect("at most 125")];
        pdu.extend((0..self.quantity).flat_map(|n| value(self.address + n).to_be_bytes()));
        pdu
    }

    pub(crate) fn exception(&self, code: u8) -> Vec<u8> {
        vec![self.function | 0x80, code]
    }

    /// Confirms a write.
    pub(crate) fn confirmation(&self) -> Vec<u8> {
        let [a, b] = self.address.to_be_bytes();
        let [c, d] = self.quantity.to_be_bytes();
        vec![self.function, a, b, c, d]
    }
}

type Script = dyn Fn(Asked) -> Option<Vec<u8>> + Send + Sync;

/// Registers or coils by address.
pub(crate) type Memory = Arc<Mutex<HashMap<u16, u16>>>;

/// Answers what its script says, and nothing where the script says nothing.
pub(crate) struct TestServer {
    pub(crate) port: u16,
}

impl TestServer {
    pub(crate) async fn start(script: impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script)));
            }
        });
        Self { port }
    }

    /// Answers holding registers; others have no such address.
    pub(crate) async fn registers<const N: usize>(registers: [(u16, u16); N]) -> Self {
        Self::memory(registers).await.0
    }

    /// The same, and they can be written; coils lie in the same places.
    pub(crate) async fn memory<const N: usize>(registers: [(u16, u16); N]) -> (Self, Memory) {
        let memory: Memory = Arc::new(Mutex::new(HashMap::from(registers)));
        let inside = Arc::clone(&memory);
        let server = Self::start(move |asked| Some(answer(&asked, &mut inside.lock().expect("unpoisoned"))));
        (server.await, memory)
    }
}

pub(crate) fn answer(asked: &Asked, memory: &mut HashMap<u16, u16>) -> Vec<u8> {
    let quantity = if matches!(asked.function, 5 | 6) { 1 } else { asked.quantity };
    if !(0..quantity).all(|n| memory.contains_key(&(asked.address + n))) {
        return asked.exception(2);
    }
    match asked.function {
        1 => vec![1, 1, u8::from(memory[&asked.address] != 0)],
        3 => asked.registers(|address| memory[&address]),
        5 => {
            memory.insert(asked.address, u16::from(asked.quantity == 0xFF00));
            asked.confirmation()
        }
        6 => {
            memory.insert(asked.address, asked.quantity);
            asked.confirmation()
        }
        16 => {
            memory.extend((asked.address..).zip(asked.words.iter().copied()));
            asked.confirmation()
        }
        _ => asked.exception(1),
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>) {
    let mut header = [0; 7];
    while stream.read_exact(&mut header).await.is_ok() {
        let mut pdu = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) - 1];
        if stream.read_exact(&mut pdu).await.is_err() {
            return;
        }
        let Some(answer) = script(Asked::of(header[6], &pdu)) else { continue };
        let length = u16::try_from(answer.len() + 1).expect("short").to_be_bytes();
        let frame = [&header[..4], &length, &header[6..], &answer].concat();
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}
