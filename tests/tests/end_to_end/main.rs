//! End to end: real processes, real protocols, real faults.

mod alarm_commands;
mod alarm_flood;
mod alarm_late_answer;
mod alarm_latency;
mod alarm_restart;
mod authority;
mod backlog;
mod bad_input;
mod broker_faults;
mod chaos;
mod clock;
mod demo;
mod enrolment;
mod external_broker;
mod faults;
mod gateway_commands;
mod ingest;
#[path = "../../../cloud-backend/tests/backend/mosquitto.rs"]
mod mosquitto;
mod outages;
mod own_alarms;
mod reload;
mod remote_configuration;
mod scene;
mod secrets;
mod updates;
mod updates_rollout;

use factory_tests::factory::{PlantOptions, any_port};

/// A small plant: two machines of each protocol, commits every 300 ms.
fn small_plant() -> PlantOptions {
    PlantOptions::small("acme", "ACME", 7)
}
