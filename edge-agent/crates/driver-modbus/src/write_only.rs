//! A connection of its own for writes, which silent or slow neighbours on the connection of the polls cannot
//! hold up.
//!
//! It is made for the first write and closed when it was not needed for [`IDLE_MAX`]: many machines have few
//! connections to give away. After anything but a clean answer it is thrown away, so that a write never
//! meets what is left of the one before.

use std::time::Duration;

use acquisition::{ModbusConnection, WriteOutcome};
use plant_model::MachineId;
use service_kit::Clock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::driver::pause_for;
use crate::error::ModbusError;
use crate::write::{Answer, WriteQueue, WriteRequest, log, make};

/// Longer than the pause between two heartbeats of the usual kind.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Makes the writes of `queue` to the machine `name`, one at a time and each read back, until `shutdown` is
/// cancelled. Only for Modbus TCP: two connections to one serial line would talk at once.
pub async fn run_writes(
    connection: ModbusConnection,
    name: MachineId,
    mut queue: WriteQueue,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let mut own = WriteOnly { connection, name, client: None, clock };
    loop {
        let order = tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(IDLE_MAX), if own.client.is_some() => {
                own.client = None;
                continue;
            }
            order = queue.0.next() => order,
        };
        if let Some((request, answer)) = order.begin() {
            own.write(&request, answer).await;
        }
    }
}

struct WriteOnly {
    connection: ModbusConnection,
    name: MachineId,
    client: Option<Client>,
    clock: Clock,
}

impl WriteOnly {
    async fn write(&mut self, request: &WriteRequest, answer: Answer) {
        let outcome = if request.machine == self.name {
            self.make(request).await
        } else {
            WriteOutcome::refused("there is no such machine here")
        };
        log(request, &outcome);
        answer.tell(outcome);
    }

    async fn make(&mut self, request: &WriteRequest) -> WriteOutcome {
        let mut client = match self.connect().await {
            Ok(client) => client,
            Err(error) => return WriteOutcome::refused(error.to_string()),
        };
        let pause = self.connection.quirks().pause_between_requests;
        let made = make(&mut client, &self.connection, request, pause, self.clock).await;
        let is_clean = match &made.outcome {
            WriteOutcome::Written | WriteOutcome::Differs { .. } | WriteOutcome::Refused { .. } => true,
            WriteOutcome::Unknown { .. } => false,
        };
        self.client = is_clean.then_some(client);
        made.outcome
    }

    async fn connect(&mut self) -> Result<Client, ModbusError> {
        let quirks = self.connection.quirks();
        if let Some(client) = self.client.take() {
            pause_for(quirks.pause_between_requests).await;
            return Ok(client);
        }
        let client = Client::connect(self.connection.address()).await?;
        pause_for(quirks.pause_after_connect).await;
        Ok(client)
    }
}
