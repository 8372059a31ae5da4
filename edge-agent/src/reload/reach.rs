//! What commands to the gateway reach on the floor that is in use.

use plant_model::{MachineId, TagId};

use super::Reloader;
use crate::floor::Writable;

/// Why a machine is not reached.
pub(crate) const STOPPING: &str = "the agent is stopping";

impl Reloader {
    /// A tag, if commands may write it by the configuration in use.
    pub(crate) async fn writable(&self, machine: &MachineId, tag: &TagId) -> Result<Writable, String> {
        let floor = self.floor.lock().await;
        let floor = floor.as_ref().ok_or(STOPPING)?;
        floor.writable(machine, tag).ok_or_else(|| {
            format!(
                "{machine}/{tag} may not be written by command: name it in write_tags of [commands] in agent.toml if \
                 it may"
            )
        })
    }

    /// Connects to a machine anew, and to those that share its line; says which these are.
    pub(crate) async fn rescan(&self, machine: &MachineId) -> Result<Vec<MachineId>, String> {
        let mut floor = self.floor.lock().await;
        let floor = floor.as_mut().ok_or(STOPPING)?;
        floor.rescan(machine).await.ok_or_else(|| format!("this gateway has no machine {machine}"))
    }
}
