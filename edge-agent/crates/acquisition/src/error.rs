//! Why a description of a tag or a connection is refused.

use std::time::Duration;

use thiserror::Error;

/// A description that cannot work. The texts name the value, what is allowed and the way out; the
/// caller adds which tag or machine it belongs to.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AcquisitionError {
    /// The table holds bits, the format needs registers.
    #[error("format {format} cannot be read from a {table}: it holds single bits; use format bool")]
    BitTable {
        /// The format as configured.
        format: String,
        /// The table as configured.
        table: &'static str,
    },
    /// The bit number is not 0 to 15.
    #[error("bit {bit} does not exist in a register: use 0 (least significant) to 15")]
    BitNumber {
        /// The bit number as configured.
        bit: u8,
    },
    /// A text too short or too long for one request.
    #[error("a text of {registers} registers cannot be read: use 1 to {max}")]
    TextLength {
        /// The length as configured.
        registers: u16,
        /// The longest text.
        max: u16,
    },
    /// A word order that makes no sense for the format.
    #[error(
        "word order {order} has no meaning for a text: use abcd, or badc where each register holds its \
         second character first"
    )]
    TextOrder {
        /// The order as configured.
        order: &'static str,
    },
    /// The value would reach beyond the last address.
    #[error(
        "address {address} with {quantity} registers or bits reaches beyond the last address 65535; the \
         address counts from 0"
    )]
    BeyondTable {
        /// The zero-based address.
        address: u16,
        /// How many registers or bits the value takes.
        quantity: u16,
    },
    /// A scale that maps everything to one value or to nothing.
    #[error("scale {scale} is not usable: use a finite number other than 0")]
    Scale {
        /// The scale as configured.
        scale: f64,
    },
    /// An offset that is no number.
    #[error("offset {offset} is not usable: use a finite number")]
    Offset {
        /// The offset as configured.
        offset: f64,
    },
    /// A scale or offset where there is no number.
    #[error("format {format} has no scale, no offset and no range: leave them out")]
    ScaledText {
        /// The format as configured.
        format: String,
    },
    /// A data type that the format does not give.
    #[error("format {format} does not give data type {data_type}: use {allowed}")]
    TypeMismatch {
        /// The format as configured.
        format: String,
        /// The data type as configured.
        data_type: &'static str,
        /// The data types it gives.
        allowed: &'static str,
    },
    /// A time outside its range.
    #[error("{what} of {value:?} is out of range: use {min:?} to {max:?}")]
    Time {
        /// Which time, for example `poll_interval`.
        what: &'static str,
        /// As configured.
        value: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// No or too many tags on one connection.
    #[error("{count} tags on one connection: use 1 to {max}")]
    TagCount {
        /// As configured.
        count: usize,
        /// The most.
        max: usize,
    },
    /// A host that is empty or holds a port, a path or blanks.
    #[error("host {host:?} is not a host: use a name or an IP address, without port and scheme")]
    Host {
        /// As configured.
        host: String,
    },
    /// A number outside its range.
    #[error("{what} of {value} is out of range: use {min} to {max}")]
    Number {
        /// Which number, for example `max_registers`.
        what: &'static str,
        /// As configured.
        value: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A serial device that is no path.
    #[error(
        "device {device:?} is not a device file: use a path such as /dev/serial/by-id/usb-…, which stays the \
         same when adapters are replugged"
    )]
    Device {
        /// As configured, cut to 200 characters.
        device: String,
    },
    /// Unit 0 on a serial line.
    #[error("unit id 0 is the broadcast address of a serial line, which nobody answers: use 1 to 247")]
    Broadcast,
    /// A value that cannot be written.
    #[error("{value:?} cannot be written: {problem}")]
    Write {
        /// The value.
        value: String,
        /// Why.
        problem: &'static str,
    },
    /// A range that no value can lie in.
    #[error("range {low} to {high} is not usable: use two finite numbers, the lower one first")]
    Range {
        /// As configured.
        low: f64,
        /// As configured.
        high: f64,
    },
    /// A deadband of a report that no value can be held against.
    #[error("a deadband of {deadband} is not usable: use 0 (every change) or a positive number")]
    ReportDeadband {
        /// As configured.
        deadband: f64,
    },
    /// The port is 0.
    #[error("port 0 cannot be connected to: use 1 to 65535, usually 502")]
    Port,
    /// A value that does not fit one request.
    #[error("a value of {quantity} registers does not fit one request of at most {max}")]
    WiderThanRequest {
        /// How many registers or bits the value takes.
        quantity: u16,
        /// What one request may ask for.
        max: u16,
    },
    /// An endpoint that is no OPC UA TCP address.
    #[error("endpoint {endpoint:?} is not usable: {problem}; use opc.tcp://host:port/path")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A text that is no node id.
    #[error(
        "node id {text:?} is not usable: {problem}; write ns=2;s=Name, nsu=urn:vendor:model;s=Name or \
         ns=2;i=1001"
    )]
    Node {
        /// As configured, cut to 200 characters.
        text: String,
        /// What is wrong.
        problem: &'static str,
    },
}
