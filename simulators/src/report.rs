//! What the control interface and tests learn about a running plant. The counters' meaning is part of the contract.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::Serialize;

use crate::{
    kind::{Kind, Protocol},
    mode::Mode,
    value::Value,
};

/// What one machine has produced since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Produced {
    /// Modbus: read requests answered with values (garbage and exceptions do not count).
    pub reads_served: u64,
    /// Modbus: answered reads that covered `scan_count`, which therefore equals this number.
    pub scan_reads: u64,
    /// Modbus: answered reads that covered `fast_count`, which therefore equals this number.
    pub fast_reads: u64,
    /// Modbus: tags wholly covered by answered reads, summed over the reads.
    pub tag_values_served: u64,
    /// Modbus: write requests that were obeyed.
    pub writes_obeyed: u64,
    /// Modbus: requests answered with an exception, for whatever reason.
    pub exceptions_answered: u64,
    /// Value changes of all tags since start; the value at start is not a change.
    pub changes: u64,
    /// OPC UA: value changes since the first monitored item of their tag was created.
    pub changes_since_subscribed: u64,
    /// OPC UA: monitored items created; each is sent the value it finds.
    pub initial_values: u64,
    /// OPC UA: notifications owed to subscribers: one per created item, and one per change and item alive.
    pub notifications_due: u64,
}

impl Produced {
    pub(crate) fn add(&mut self, other: &Self) {
        self.reads_served += other.reads_served;
        self.scan_reads += other.scan_reads;
        self.fast_reads += other.fast_reads;
        self.tag_values_served += other.tag_values_served;
        self.writes_obeyed += other.writes_obeyed;
        self.exceptions_answered += other.exceptions_answered;
        self.changes += other.changes;
        self.changes_since_subscribed += other.changes_since_subscribed;
        self.initial_values += other.initial_values;
        self.notifications_due += other.notifications_due;
    }
}

/// One machine at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineReport {
    /// Identifier.
    pub id: String,
    /// Kind of machine.
    pub kind: Kind,
    /// Protocol.
    pub protocol: Protocol,
    /// Address of its listener, unless it hangs on a serial line.
    pub address: Option<SocketAddr>,
    /// What a client dials: `host:port`, an `opc.tcp` URL, or a serial device.
    pub endpoint: String,
    /// The line it shares with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Modbus: its unit id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_id: Option<u8>,
    /// Modbus: registers that it answers with exception 2 although they are in its map.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub illegal_registers: BTreeSet<u16>,
    /// How it behaves on the wire.
    #[serde(flatten)]
    pub mode: Mode,
    /// Model ticks done since start.
    pub ticks: u64,
    /// Instant of the last value change in microseconds since the Unix epoch.
    pub last_change_at_us: i64,
    /// Counters.
    pub produced: Produced,
}

/// A line that machines share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LineReport {
    /// Identifier.
    pub id: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// What a client dials: `host:port`, or a serial device.
    pub endpoint: String,
    /// How it behaves on the wire.
    #[serde(flatten)]
    pub mode: Mode,
    /// The machines on it.
    pub machines: Vec<String>,
    /// Requests that arrived whole, to whatever unit.
    pub requests: u64,
    /// Requests that were not answered.
    pub unanswered: u64,
    /// Bytes that belonged to no request.
    pub dropped_bytes: u64,
}

/// One machine with all its tags.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineDetail {
    /// The machine at a glance.
    #[serde(flatten)]
    pub machine: MachineReport,
    /// Its tags.
    pub tags: Vec<TagReport>,
}

/// One tag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TagReport {
    /// Identifier.
    pub id: &'static str,
    /// Value now.
    pub value: Value,
    /// Instant at which this value became visible, in microseconds since the Unix epoch.
    pub changed_at_us: i64,
    /// Whether the control holds the value.
    pub held: bool,
    /// Modbus: answered reads that covered the whole tag.
    pub reads_served: u64,
    /// Value changes since start.
    pub changes: u64,
    /// OPC UA: value changes since the first monitored item of this tag was created.
    pub changes_since_subscribed: u64,
    /// OPC UA: monitored items created.
    pub initial_values: u64,
    /// OPC UA: notifications owed to subscribers.
    pub notifications_due: u64,
    /// OPC UA: monitored items alive now.
    pub monitored_items: u64,
}

/// The whole plant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the plant.
    pub plant: String,
    /// Seed of its models.
    pub seed: u64,
    /// Whether the models stand still.
    pub paused: bool,
    /// Number of machines.
    pub machines: usize,
    /// Sum over the Modbus machines.
    pub modbus: Produced,
    /// Sum over the OPC UA machines.
    pub opcua: Produced,
    /// Now on the simulator's wall clock, in microseconds since the Unix epoch.
    pub now_us: i64,
}
