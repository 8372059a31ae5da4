//! One connection, to one machine or to many behind it: asks for a block and checks the answer.

use std::sync::Arc;
use std::time::Duration;

use acquisition::{Counter, ModbusAddress, Parity, PollBlock, RegisterTable, SerialLine};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_modbus::client::{Client as _, Context, rtu, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{Error, Request, Response, Slave};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::error::ModbusError;
use crate::line_filter::LineFilter;
use crate::stale_filter::StaleFilter;

/// What a connection may take, name look-up included: far beyond any plant network, and short enough
/// that a machine that was switched on is read soon.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// RTU answers carry no number. After a request without an answer the line is left alone as long as
/// the answer was awaited, but not longer than this, so that a late one passes by.
const QUIET_MAX: Duration = Duration::from_millis(500);

/// A connection that can be asked.
pub(crate) struct Client {
    context: Context,
    /// Frames that were no answer to the last request.
    dropped: Arc<Counter>,
    dropped_before: u64,
    framing: Framing,
}

enum Framing {
    /// Every frame has a number.
    Numbered,
    /// RTU; on a serial line its speed is known.
    Bare(Option<SerialLine>),
}

impl Client {
    pub(crate) async fn connect(address: &ModbusAddress) -> Result<Self, ModbusError> {
        let dropped = Arc::new(Counter::default());
        let (context, framing) = match address {
            ModbusAddress::Tcp { host, port } => {
                let filter = StaleFilter::new(tcp_stream(host, *port).await?, Arc::clone(&dropped));
                (tcp::attach(filter), Framing::Numbered)
            }
            ModbusAddress::RtuOverTcp { host, port } => {
                let filter = LineFilter::new(tcp_stream(host, *port).await?, Arc::clone(&dropped));
                (rtu::attach(filter), Framing::Bare(None))
            }
            ModbusAddress::Rtu(line) => {
                let filter = LineFilter::new(open(line)?, Arc::clone(&dropped));
                (rtu::attach(filter), Framing::Bare(Some(line.clone())))
            }
        };
        Ok(Self { context, dropped, dropped_before: 0, framing })
    }

    /// How many frames were dropped since this was called last.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.dropped_before, self.dropped.get());
        self.dropped_before - before
    }

    /// Reads a block: one word for each register or bit, as many as asked for.
    pub(crate) async fn read(
        &mut self,
        unit_id: u8,
        block: &PollBlock,
        limit: Duration,
    ) -> Result<Vec<u16>, ModbusError> {
        let on_wire = self.on_wire(block.quantity);
        words(self.call(unit_id, request(block), limit + on_wire).await?, block)
    }

    /// Sends a request; the answer is that of the unit, but not yet checked against the request.
    pub(crate) async fn call(
        &mut self,
        unit_id: u8,
        request: Request<'_>,
        limit: Duration,
    ) -> Result<Response, ModbusError> {
        self.context.set_slave(Slave(unit_id));
        match timeout(limit, self.context.call(request)).await {
            Err(_) => {
                if matches!(self.framing, Framing::Bare(_)) {
                    sleep(limit.min(QUIET_MAX)).await;
                }
                Err(ModbusError::Timeout { limit })
            }
            Ok(Err(Error::Transport(cause))) => Err(ModbusError::Transport { cause }),
            Ok(Err(Error::Protocol(error))) => Err(ModbusError::Answer { problem: error.to_string() }),
            Ok(Ok(Err(code))) => Err(ModbusError::Exception { code }),
            Ok(Ok(Ok(response))) => Ok(response),
        }
    }

    /// How long a request and its answer travel.
    pub(crate) fn on_wire(&self, quantity: u16) -> Duration {
        match &self.framing {
            Framing::Bare(Some(line)) => line.duration_of(8 + 5 + 2 * u32::from(quantity)),
            Framing::Bare(None) | Framing::Numbered => Duration::ZERO,
        }
    }
}

async fn tcp_stream(host: &str, port: u16) -> Result<TcpStream, ModbusError> {
    let failed = |cause| ModbusError::Connect { host: host.to_owned(), port, cause };
    let late = |_| ModbusError::ConnectDeadline { host: host.to_owned(), port, limit: CONNECT_LIMIT };
    let stream =
        timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await.map_err(late)?.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

fn open(line: &SerialLine) -> Result<SerialStream, ModbusError> {
    let failed =
        |cause: tokio_serial::Error| ModbusError::Open { device: line.device.clone(), cause: cause.into() };
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits =
        if line.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One };
    let builder = tokio_serial::new(&line.device, line.baud_rate)
        .parity(parity)
        .stop_bits(stop_bits)
        .data_bits(tokio_serial::DataBits::Eight);
    let stream = SerialStream::open(&builder).map_err(failed)?;
    stream.clear(ClearBuffer::All).map_err(failed)?;
    Ok(stream)
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
