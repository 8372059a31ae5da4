//! A Modbus TCP server of a few lines, written against the specification and not against our driver.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A read request as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub unit: u8,
    pub function: u8,
    pub address: u16,
    pub quantity: u16,
}

impl Asked {
    /// Answers with registers that hold what `value` says.
    pub(super) fn registers(&self, value: impl Fn(u16) -> u16) -> Vec<u8> {
        let mut pdu = vec![self.function, u8::try_from(self.quantity * 2).expect("at most 125")];
        pdu.extend((0..self.quantity).flat_map(|n| value(self.address + n).to_be_bytes()));
        pdu
    }

    pub(super) fn exception(&self, code: u8) -> Vec<u8> {
        vec![self.function | 0x80, code]
    }
}

type Script = dyn Fn(Asked) -> Option<Vec<u8>> + Send + Sync;

/// Answers what its script says, and nothing where the script says nothing.
pub(super) struct TestServer {
    pub port: u16,
}

impl TestServer {
    pub(super) async fn start(script: impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
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
    pub(super) async fn registers<const N: usize>(registers: [(u16, u16); N]) -> Self {
        let known = HashMap::from(registers);
        Self::start(move |asked| {
            let all = (0..asked.quantity).all(|n| known.contains_key(&(asked.address + n)));
            Some(if all { asked.registers(|address| known[&address]) } else { asked.exception(2) })
        })
        .await
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let asked = Asked { unit: request[6], function: request[7], address: word(8), quantity: word(10) };
        let Some(pdu) = script(asked) else { continue };
        let length = u16::try_from(pdu.len() + 1).expect("short").to_be_bytes();
        let frame = [&request[..4], &length, &[asked.unit], &pdu].concat();
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}
