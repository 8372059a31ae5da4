//! End to end: real processes, real protocols, real faults.

mod alarm_commands;
mod bad_input;
mod broker_faults;
mod chaos;
mod clock;
mod demo;
mod faults;
mod ingest;
mod outages;
mod scene;

use std::net::{Ipv4Addr, SocketAddr};

use factory_tests::factory::PlantOptions;

/// Any free port of this host.
fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A small plant: two machines of each protocol, commits every 300 ms.
fn small_plant() -> PlantOptions {
    PlantOptions::small("acme", "ACME", 7)
}
