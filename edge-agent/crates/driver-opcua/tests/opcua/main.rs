//! The driver against a real server, well-behaved, killed, frozen, narrow and strange. The names of
//! the tests begin with the field case they prove.

mod browse;
mod call;
mod certificates;
mod chain;
mod clock;
mod limits;
mod narrow;
mod security;
mod session;
mod support;
mod values;
mod write;
