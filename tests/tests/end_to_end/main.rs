//! End to end: real processes, real protocols, real faults.

mod alarm_commands;
mod bad_input;
mod demo;
mod enrolment;
mod faults;

use factory_tests::factory::{PlantOptions, any_port};

/// A small plant: two machines of each protocol, commits every 300 ms.
fn small_plant() -> PlantOptions {
    let machine = |id: &str, kind: &str, protocol: &str| {
        format!("[[machines]]\nid = \"{id}\"\nkind = \"{kind}\"\nprotocol = \"{protocol}\"\nport = 0\n\n")
    };
    let file = format!(
        "version = 1\nname = \"small\"\nseed = 7\n\n{}{}{}{}",
        machine("mill-1", "cnc-mill", "modbus-tcp"),
        machine("press-1", "hydraulic-press", "modbus-tcp"),
        machine("lathe-1", "lathe", "opcua"),
        machine("furnace-1", "furnace", "opcua"),
    );
    PlantOptions {
        tenant: "acme".to_owned(),
        name: "ACME".to_owned(),
        seed: 7,
        plant_file: Some(file),
        commit_interval_ms: 300,
        dial: None,
    }
}
