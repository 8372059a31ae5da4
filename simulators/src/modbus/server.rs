//! The Modbus TCP server of a machine.
//!
//! Serves function code 3 (read holding registers) to unit 1 and answers everything else with the exception the
//! specification asks for. Modes that only bend bytes or connections (refuse, reset, garbage) are done before it, by
//! the machine's front.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::sleep};
use tokio_modbus::{
    ExceptionCode, Request, Response, SlaveRequest,
    server::{Service, tcp::Server},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::RegisterMap;
use crate::{machine::Machine, mode::Mode};

/// The only unit that answers; others get exception 11, as from a gateway without such a device.
pub(crate) const UNIT_ID: u8 = 1;
/// Most registers one request may read (Modbus Application Protocol 1.1b3, 6.3).
const QUANTITY_MAX: u16 = 125;
/// Pause before accepting again after the listener failed, for example for lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

type Answer = Result<Option<Response>, ExceptionCode>;

/// Serves until the token is cancelled.
pub(crate) async fn serve(machine: Arc<Machine>, listener: TcpListener, shutdown: CancellationToken) {
    let service = Arc::new(Registers { map: RegisterMap::of(machine.kind()), machine });
    let server = Server::new(listener);
    let on_connected = |stream, _| {
        let service = Arc::clone(&service);
        async move { io::Result::Ok(Some((service, stream))) }
    };
    // The server ends its connections itself when its future is dropped.
    shutdown
        .run_until_cancelled(async {
            loop {
                if let Err(error) = server.serve(&on_connected, |_| {}).await {
                    warn!(machine.id = service.machine.id(), %error, "cannot accept a Modbus connection, trying again");
                }
                sleep(ACCEPT_RETRY).await;
            }
        })
        .await;
}

struct Registers {
    machine: Arc<Machine>,
    map: RegisterMap,
}

impl Service for Registers {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        match self.machine.mode() {
            Mode::Slow { delay_ms } => {
                let (machine, map) = (Arc::clone(&self.machine), self.map.clone());
                Box::pin(async move {
                    sleep(Duration::from_millis(u64::from(delay_ms))).await;
                    answer(&machine, &map, &request)
                })
            }
            Mode::Silent => Box::pin(std::future::ready(Ok(None))),
            Mode::Exception { exception } => {
                self.machine.exception_answered();
                Box::pin(std::future::ready(Err(ExceptionCode::new(exception))))
            }
            Mode::Healthy | Mode::Refuse | Mode::Reset | Mode::Garbage => {
                Box::pin(std::future::ready(answer(&self.machine, &self.map, &request)))
            }
        }
    }
}

fn answer(machine: &Machine, map: &RegisterMap, request: &SlaveRequest<'_>) -> Answer {
    let registers = range(map, request).map(|(start, quantity)| {
        // Garbage hides the values from the reader, so it does not count as served.
        let values = match machine.mode() {
            Mode::Garbage => machine.values(),
            Mode::Healthy
            | Mode::Slow { .. }
            | Mode::Silent
            | Mode::Refuse
            | Mode::Reset
            | Mode::Exception { .. } => machine.serve_read(&map.covered(start, quantity)),
        };
        let start = usize::from(start);
        map.registers(&values)[start..start + usize::from(quantity)].to_vec()
    });
    if registers.is_err() {
        machine.exception_answered();
    }
    registers.map(|registers| Some(Response::ReadHoldingRegisters(registers)))
}

/// Address and quantity of a read that the map can answer.
fn range(map: &RegisterMap, request: &SlaveRequest<'_>) -> Result<(u16, u16), ExceptionCode> {
    if request.slave != UNIT_ID {
        return Err(ExceptionCode::GatewayTargetDevice);
    }
    let Request::ReadHoldingRegisters(start, quantity) = request.request else {
        return Err(ExceptionCode::IllegalFunction);
    };
    if !(1..=QUANTITY_MAX).contains(&quantity) {
        return Err(ExceptionCode::IllegalDataValue);
    }
    match start.checked_add(quantity) {
        Some(end) if end <= map.length() => Ok((start, quantity)),
        Some(_) | None => Err(ExceptionCode::IllegalDataAddress),
    }
}
