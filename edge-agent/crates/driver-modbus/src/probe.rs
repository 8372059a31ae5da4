//! Single questions to a Modbus address, for the technician's tools: no plan, no sink, no retry. The
//! carrier makes no difference: Modbus TCP, RTU in a TCP stream, or RTU on a serial line.
//!
//! A probe keeps one connection as long as it works and makes a new one with the next question after
//! it failed. An answer that comes after its deadline is dropped, not taken for the next one.

use std::io;
use std::time::Duration;

use acquisition::{ModbusAddress, PollBlock, Quirks, RegisterTable};
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::error::ModbusError;
use crate::write::Prepared;

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// There is no connection.
    #[error("cannot connect to {address}: {cause}; check power, cable, address and firewall")]
    Connect {
        /// Name or address, and the port.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The serial line cannot be used.
    #[error("cannot open {device}: {cause}; {}", way_out(cause))]
    Open {
        /// The device file.
        device: String,
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

impl ProbeError {
    /// Whether there is nothing to ask: no connection, no line.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Open { .. })
    }

    fn of(unit: u8, error: ModbusError) -> Self {
        match error {
            ModbusError::ConnectDeadline { host, port, limit } => {
                let cause = io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {limit:?}"));
                Self::Connect { address: format!("{host} port {port}"), cause }
            }
            ModbusError::Connect { host, port, cause } => {
                Self::Connect { address: format!("{host} port {port}"), cause }
            }
            ModbusError::Open { device, cause } => Self::Open { device, cause },
            ModbusError::Timeout { limit } => Self::Timeout { unit, limit },
            ModbusError::Exception { code } => Self::Exception { unit, code: code.into() },
            ModbusError::Transport { cause } => Self::Transport { cause },
            ModbusError::Answer { problem } => Self::Answer { unit, problem },
        }
    }
}

fn way_out(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        return "add your user to the group of the device (sudo usermod -aG dialout NAME) and sign in again";
    }
    "`edge-agent scan serial` lists the devices; a busy one is held by another program, which may be the agent"
}

/// What an exception means and what to do about it.
#[must_use]
pub const fn meaning(code: u8) -> &'static str {
    match code {
        0x01 => "it does not know this function; try another table",
        0x02 => "it has no such register; try another address (40001 of a manual is holding register 0)",
        0x03 => "it does not allow this quantity or value; ask for fewer registers, write another value",
        0x04 => "it reports a failure of its own; look at its display or log",
        0x05 | 0x06 => "it is busy; ask again later",
        0x0A => "the gateway has no path to this unit; check its routing table",
        0x0B => "the gateway got no answer from this unit; check wiring, unit id and baud rate behind it",
        _ => "an exception of the manufacturer; see the manual",
    }
}

/// An address that can be asked.
pub struct Probe {
    address: ModbusAddress,
    limit: Duration,
    pauses: Quirks,
    client: Option<Client>,
}

impl Probe {
    /// Connects with the first question. `limit` is what one answer may take; on a serial line the
    /// time that it travels comes on top.
    #[must_use]
    pub fn new(address: ModbusAddress, limit: Duration) -> Self {
        Self { address, limit, pauses: Quirks::default(), client: None }
    }

    /// The same for a device that needs pauses after a connect and between requests.
    #[must_use]
    pub fn with_pauses_of(self, quirks: &Quirks) -> Self {
        Self { pauses: *quirks, ..self }
    }

    /// Where it asks.
    #[must_use]
    pub const fn address(&self) -> &ModbusAddress {
        &self.address
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
        let limit = self.limit;
        let outcome = self.client(unit).await?.read(unit, &block(table, start, quantity), limit).await;
        self.judged(unit, outcome)
    }

    /// Asks whether a unit is there, with one holding register. Use it where the next question goes to
    /// another unit: a late answer cannot be taken for that one, and no time is spent to let it pass.
    ///
    /// # Errors
    /// As [`Self::read`]; an exception is an answer all the same.
    pub async fn knock(&mut self, unit: u8) -> Result<(), ProbeError> {
        let limit = self.limit;
        let travel = match &self.address {
            // 8 characters there and 7 back.
            ModbusAddress::Rtu(line) => line.duration_of(15),
            ModbusAddress::Tcp { .. } | ModbusAddress::RtuOverTcp { .. } => Duration::ZERO,
        };
        let block = block(RegisterTable::HoldingRegister, 0, 1);
        let asked = self.client(unit).await?.read(unit, &block, limit);
        let outcome = timeout(limit + travel, asked).await.unwrap_or(Err(ModbusError::Timeout { limit }));
        self.judged(unit, outcome).map(|_| ())
    }

    /// Writes one coil, one register or several: function codes 5, 6 and 16. A device that does not know
    /// 6 has written nothing; it is asked with 16.
    ///
    /// # Errors
    /// [`ProbeError::Exception`] and the errors of connecting mean that nothing was written; after the
    /// others nobody knows before it is read again.
    pub async fn write(
        &mut self,
        unit: u8,
        table: RegisterTable,
        start: u16,
        words: Vec<u16>,
    ) -> Result<(), ProbeError> {
        let limit = self.limit;
        let quantity = u16::try_from(words.len()).unwrap_or(u16::MAX);
        let prepared = Prepared::of_words(block(table, start, quantity), words);
        let outcome = prepared.send(self.client(unit).await?, unit, limit).await;
        let is_unknown = outcome.as_ref().is_err_and(ModbusError::is_unknown_function);
        let outcome = match prepared.as_several() {
            Some(several) if is_unknown => several.send(self.client(unit).await?, unit, limit).await,
            Some(_) | None => outcome,
        };
        self.judged(unit, outcome)
    }

    /// Ends the connection; the next question makes a new one.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    async fn client(&mut self, unit: u8) -> Result<&mut Client, ProbeError> {
        let pause = match (&self.client, &self.address) {
            (None, _) => self.pauses.pause_after_connect,
            (Some(_), ModbusAddress::Rtu(line)) => self.pauses.pause_between_requests.max(line.frame_gap()),
            (Some(_), _) => self.pauses.pause_between_requests,
        };
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.address).await.map_err(|error| ProbeError::of(unit, error))?,
        };
        let client = self.client.insert(client);
        sleep(pause).await;
        Ok(client)
    }

    /// A connection that brought anything but an answer, a refusal or nothing is not used again.
    fn judged<T>(&mut self, unit: u8, outcome: Result<T, ModbusError>) -> Result<T, ProbeError> {
        outcome.map_err(|error| {
            if matches!(error, ModbusError::Transport { .. } | ModbusError::Answer { .. }) {
                self.client = None;
            }
            ProbeError::of(unit, error)
        })
    }
}

fn block(table: RegisterTable, start: u16, quantity: u16) -> PollBlock {
    PollBlock { table, start, quantity, tags: Vec::new(), poll_interval: Duration::ZERO }
}
