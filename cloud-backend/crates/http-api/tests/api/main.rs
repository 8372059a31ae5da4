//! The API over real HTTP, on a real store.

mod access;
mod commands;
mod configuration;
mod openapi;
mod reading;
mod support;
