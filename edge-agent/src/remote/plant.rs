//! The machines and the uplink of a running agent, as a trial sees them.

use std::sync::Arc;

use remote_configuration::Health;
use uplink_mqtt::UplinkCounters;

use super::keeper::{LoadError, Plant};
use crate::board::Board;
use crate::reload::{ReloadError, Reloader};

/// What a trial needs of the running agent.
pub(crate) struct RunningPlant {
    pub reloader: Arc<Reloader>,
    pub board: Board,
    pub uplink: Arc<UplinkCounters>,
}

impl Plant for RunningPlant {
    async fn load(&self) -> Result<(), LoadError> {
        match self.reloader.reload().await {
            Ok(_) => Ok(()),
            Err(ReloadError::Stopping) => Err(LoadError::Stopping),
            Err(error) => Err(LoadError::Refused(error.problems().join("\n"))),
        }
    }

    fn health(&self) -> Health {
        let shown = self.board.shown();
        let machines = shown.machines.iter().map(|machine| {
            let (is_up, reason) = machine.link();
            (machine.id.to_string(), (!is_up).then_some(reason))
        });
        let is_away = !self.uplink.is_connected();
        Health { machines: machines.collect(), uplink: is_away.then(|| self.uplink.last_error()) }
    }
}
