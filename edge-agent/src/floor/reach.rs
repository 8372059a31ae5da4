//! What commands to the gateway reach on the floor.

use acquisition::TagIndex;
use plant_model::{MachineId, TagId};

use super::{DRIVERS_STOP, Floor};
use crate::lines::Line;
use crate::outputs::Writer;
use crate::task::join_all;

/// Where a tag lies that commands may write, and what writes to its machine now.
pub(crate) struct Writable {
    pub tag: TagIndex,
    pub writer: Option<Writer>,
}

impl Floor {
    /// A tag, if commands may write it.
    pub(crate) fn writable(&self, machine: &MachineId, tag: &TagId) -> Option<Writable> {
        let named = &self.config.as_ref()?.commands.write_tags;
        let found = named.iter().find(|t| t.machine == *machine && t.id == *tag)?;
        Some(Writable { tag: found.tag, writer: self.writers.of(machine) })
    }

    /// Serves the line on which a machine is read anew: another connection, and a new plan of requests. Says which
    /// machines are on it; `None` if there is no such machine.
    pub(crate) async fn rescan(&mut self, machine: &MachineId) -> Option<Vec<MachineId>> {
        let config = self.config.take()?;
        let plans = std::mem::take(&mut self.plans);
        let found = plans.read_with(machine);
        if let Some((line, _)) = &found {
            let gone: Vec<_> = self.lines.remove(line).into_iter().map(|running| running.task).collect();
            if !join_all(gone, DRIVERS_STOP).await {
                tracing::warn!(machine.id = %machine, "its connection did not end in time and was cut");
            }
            self.start_lines(&config, &plans);
            self.writers.replace(plans.writers(&self.lines));
        }
        (self.config, self.plans) = (Some(config), plans);
        found.map(|(_, machines): (Line, _)| machines)
    }
}
