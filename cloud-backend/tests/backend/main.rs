//! The program as a whole: real processes, real TLS and MQTT, real SQLite files.

mod attacks;
mod brokers;
mod commands;
mod configuration;
mod delivery;
mod event_time;
mod ledger;
mod load;
mod mosquitto;
mod operation;
mod support;
mod tiers;
mod updates;
