//! One connection to a machine: asks for a block and checks the answer.

use std::sync::Arc;
use std::time::Duration;

use acquisition::{DriverCounters, ModbusConnection, PollBlock, RegisterTable};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context, tcp};
use tokio_modbus::{Error, Request, Response, Slave};

use crate::error::ModbusError;
use crate::stale_filter::StaleFilter;

/// What a connection may take, name look-up included: far beyond any plant network, and short enough
/// that a machine that was switched on is read soon.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// A connection that can be asked.
pub(crate) struct Client {
    context: Context,
    limit: Duration,
}

impl Client {
    pub(crate) async fn connect(
        connection: &ModbusConnection,
        counters: Arc<DriverCounters>,
    ) -> Result<Self, ModbusError> {
        let (host, port) = (connection.host(), connection.port());
        let failed = |cause| ModbusError::Connect { host: host.to_owned(), port, cause };
        let late = |_| ModbusError::ConnectDeadline { host: host.to_owned(), port, limit: CONNECT_LIMIT };
        let stream =
            timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await.map_err(late)?.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let unit = Slave(connection.unit_id());
        let context = tcp::attach_slave(StaleFilter::new(stream, counters), unit);
        Ok(Self { context, limit: connection.timeout() })
    }

    /// Reads a block: one word for each register or bit, as many as asked for.
    pub(crate) async fn read(&mut self, block: &PollBlock) -> Result<Vec<u16>, ModbusError> {
        match timeout(self.limit, self.context.call(request(block))).await {
            Err(_) => Err(ModbusError::Timeout { limit: self.limit }),
            Ok(Err(Error::Transport(cause))) => Err(ModbusError::Transport { cause }),
            Ok(Err(Error::Protocol(error))) => Err(ModbusError::Answer { problem: error.to_string() }),
            Ok(Ok(Err(code))) => Err(ModbusError::Exception { code }),
            Ok(Ok(Ok(response))) => words(response, block),
        }
    }
}

fn request(block: &PollBlock) -> Request<'static> {
    match block.table {
        RegisterTable::Coil => Request::ReadCoils(block.start, block.quantity),
        RegisterTable::DiscreteInput => Request::ReadDiscreteInputs(block.start, block.quantity),
        RegisterTable::HoldingRegister => Request::ReadHoldingRegisters(block.start, block.quantity),
        RegisterTable::InputRegister => Request::ReadInputRegisters(block.start, block.quantity),
    }
}

/// The library accepts answers that are too short or too long; real machines send them.
fn words(response: Response, block: &PollBlock) -> Result<Vec<u16>, ModbusError> {
    let quantity = usize::from(block.quantity);
    match (response, block.table) {
        (Response::ReadCoils(bits), RegisterTable::Coil)
        | (Response::ReadDiscreteInputs(bits), RegisterTable::DiscreteInput) => {
            check_quantity(bits.len(), quantity.next_multiple_of(8))?;
            Ok(bits.into_iter().take(quantity).map(u16::from).collect())
        }
        (Response::ReadHoldingRegisters(words), RegisterTable::HoldingRegister)
        | (Response::ReadInputRegisters(words), RegisterTable::InputRegister) => {
            check_quantity(words.len(), quantity)?;
            Ok(words)
        }
        (other, _) => Err(ModbusError::Answer { problem: format!("it is of another kind: {other:?}") }),
    }
}

fn check_quantity(came: usize, asked: usize) -> Result<(), ModbusError> {
    if came == asked {
        return Ok(());
    }
    Err(ModbusError::Answer {
        problem: format!("{came} registers or bits came, {asked} belong to the request"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(table: RegisterTable, quantity: u16) -> PollBlock {
        PollBlock { table, start: 0, quantity, tags: Vec::new(), poll_interval: Duration::from_secs(1) }
    }

    #[test]
    fn bits_are_cut_to_what_was_asked_after_whole_bytes_were_checked() {
        let bits: Vec<bool> = (0..16).map(|n| n % 3 == 0).collect();
        let coils = block(RegisterTable::Coil, 10);
        let read = words(Response::ReadCoils(bits.clone()), &coils).expect("two bytes for ten bits");
        assert_eq!(read, [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]);
        assert!(words(Response::ReadCoils(bits[..8].to_vec()), &coils).is_err(), "one byte for ten bits");
        let inputs = block(RegisterTable::DiscreteInput, 10);
        assert!(words(Response::ReadCoils(bits), &inputs).is_err(), "an answer from another table");
    }
}
