//! The API over real HTTP, on a real store.

mod access;
mod openapi;
mod reading;
mod support;
