//! The agent and its tools against servers that nobody here wrote: pymodbus and asyncua; and the archive, read
//! by DuckDB and pyarrow.
//!
//! Each test runs one Python process. The expected values are computed there, with `struct` and by
//! hand, so that a mistake shared by our encoder and our decoder cannot pass. `cargo xtask test` makes the
//! virtual environment with the pinned packages (`requirements.txt`); without it these tests fail.

mod agent;
mod archive;
mod modbus;
mod opcua;
mod server;
mod tools;
