//! What the backend is told of the machines.

use std::sync::Arc;

use edge_config::MachineConfig;
use protocol::{Catalogue, CatalogueMachine, CatalogueTag, Epoch};

use crate::board::MachineBoard;

/// The catalogue of machines; `boards` know the numbers of their tags.
pub(crate) fn catalogue(epoch: Epoch, machines: &[MachineConfig], boards: &[Arc<MachineBoard>]) -> Catalogue {
    let machine = |(m, board): (&MachineConfig, &Arc<MachineBoard>)| CatalogueMachine {
        id: m.id.clone(),
        name: m.name.clone(),
        kind: m.kind.clone(),
        protocol: m.connection.protocol().to_owned(),
        tags: m
            .tags
            .iter()
            .zip(board.all_series())
            .map(|(tag, series)| CatalogueTag {
                series: *series,
                definition: tag.definition.clone(),
                role: tag.role,
            })
            .collect(),
        alarms: m.alarms.clone(),
    };
    Catalogue { epoch, machines: machines.iter().zip(boards).map(machine).collect() }
}
