//! The program as a whole: real processes, real TLS and MQTT, real SQLite files.

mod commands;
mod delivery;
mod event_time;
mod configuration;
mod ledger;
mod load;
mod operation;
mod support;
