//! End to end: real processes, real protocols, real faults.

mod alarm_commands;
mod alarm_flood;
mod alarm_late_answer;
mod alarm_latency;
mod alarm_restart;
mod backlog;
mod bad_input;
mod demo;
mod faults;
mod own_alarms;

use std::net::{Ipv4Addr, SocketAddr};

use factory_tests::factory::PlantOptions;

/// Any free port of this host.
fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

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
