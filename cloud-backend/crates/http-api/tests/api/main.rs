//! The API over real HTTP, on a real store.

mod access;
mod commands;
mod configuration;
mod gateway_commands;
mod history;
mod openapi;
mod reading;
mod rollouts;
mod support;
