//! Single questions to a Modbus TCP address, for the technician's tools: no plan, no sink, no retry.
//!
//! A probe keeps one connection as long as it works and makes a new one with the next question after
//! it failed. An answer that comes after its deadline is dropped, not taken for the next one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use acquisition::RegisterTable;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context, tcp};
use tokio_modbus::slave::SlaveContext as _;
use tokio_modbus::{Request, Response, Slave};

use crate::stale_filter::StaleFilter;

/// What a connection may take, name look-up included.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// There is no connection.
    #[error("cannot connect to {host} port {port}: {cause}; check power, cable, address and firewall")]
    Connect {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// What the system said.
        cause: io::Error,
    },
    /// Nothing came.
    #[error("no answer from unit {unit} within {limit:?}; check the unit id, or allow more time")]
    Timeout {
        /// The unit asked.
        unit: u8,
        /// What was allowed.
        limit: Duration,
    },
    /// The machine refused.
    #[error("unit {unit} refused with exception {code:02X}: {}", meaning(*code))]
    Exception {
        /// The unit asked.
        unit: u8,
        /// The exception code (Modbus Application Protocol V1.1b3, chapter 7).
        code: u8,
    },
    /// The connection broke.
    #[error("the connection failed: {cause}")]
    Transport {
        /// What the system said.
        cause: io::Error,
    },
    /// Something else than an answer came.
    #[error("the answer of unit {unit} does not fit the request: {problem}")]
    Answer {
        /// The unit asked.
        unit: u8,
        /// What is wrong with it.
        problem: String,
    },
}

/// What an exception means and what to do about it.
#[must_use]
pub const fn meaning(code: u8) -> &'static str {
    match code {
        0x01 => "it does not know this function; try another table",
        0x02 => "it has no such register; try another address (40001 of a manual is holding register 0)",
        0x03 => "it does not allow this quantity; ask for fewer registers",
        0x04 => "it reports a failure of its own; look at its display or log",
        0x05 | 0x06 => "it is busy; ask again later",
        0x0A => "the gateway has no path to this unit; check its routing table",
        0x0B => "the gateway got no answer from this unit; check wiring, unit id and baud rate behind it",
        _ => "an exception of the manufacturer; see the manual",
    }
}

/// An address that can be asked.
pub struct Probe {
    host: String,
    port: u16,
    limit: Duration,
    context: Option<Context>,
}

impl Probe {
    /// Connects with the first question. `limit` is what one answer may take.
    #[must_use]
    pub fn new(host: &str, port: u16, limit: Duration) -> Self {
        Self { host: host.to_owned(), port, limit, context: None }
    }

    /// Reads registers or bits: one word for each, as many as asked for.
    ///
    /// # Errors
    /// Why there is no answer. After a failed connection the next question makes a new one.
    pub async fn read(
        &mut self,
        unit: u8,
        table: RegisterTable,
        start: u16,
        quantity: u16,
    ) -> Result<Vec<u16>, ProbeError> {
        let mut context = match self.context.take() {
            Some(context) => context,
            None => self.connect().await?,
        };
        context.set_slave(Slave(unit));
        let outcome = match timeout(self.limit, context.call(request(table, start, quantity))).await {
            Err(_) => Err(ProbeError::Timeout { unit, limit: self.limit }),
            Ok(Err(tokio_modbus::Error::Transport(cause))) => return Err(ProbeError::Transport { cause }),
            Ok(Err(tokio_modbus::Error::Protocol(error))) => {
                return Err(ProbeError::Answer { unit, problem: error.to_string() });
            }
            Ok(Ok(Err(code))) => Err(ProbeError::Exception { unit, code: code.into() }),
            Ok(Ok(Ok(response))) => {
                words(response, quantity).map_err(|problem| ProbeError::Answer { unit, problem })
            }
        };
        self.context = Some(context);
        outcome
    }

    async fn connect(&self) -> Result<Context, ProbeError> {
        let failed = |cause| ProbeError::Connect { host: self.host.clone(), port: self.port, cause };
        let late =
            |_| failed(io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {CONNECT_LIMIT:?}")));
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(late)?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(tcp::attach(StaleFilter::new(stream, Arc::default())))
    }
}

const fn request(table: RegisterTable, start: u16, quantity: u16) -> Request<'static> {
    match table {
        RegisterTable::Coil => Request::ReadCoils(start, quantity),
        RegisterTable::DiscreteInput => Request::ReadDiscreteInputs(start, quantity),
        RegisterTable::HoldingRegister => Request::ReadHoldingRegisters(start, quantity),
        RegisterTable::InputRegister => Request::ReadInputRegisters(start, quantity),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum with many kinds nobody asks for")]
fn words(response: Response, quantity: u16) -> Result<Vec<u16>, String> {
    let words = match response {
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
            // Bits come in whole bytes.
            let mut words: Vec<u16> = bits.into_iter().map(u16::from).collect();
            words.truncate(usize::from(quantity));
            words
        }
        Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => words,
        other => return Err(format!("it is of another kind: {other:?}")),
    };
    if words.len() == usize::from(quantity) {
        Ok(words)
    } else {
        Err(format!("{} registers or bits came, {quantity} belong to the request", words.len()))
    }
}
