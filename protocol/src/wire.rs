//! The protobuf messages, as in `mfp.proto` (SPEC section 9). Private: the public types are parsed.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Body {
    #[prost(sint64, tag = "1")]
    pub committed_at_us: i64,
    #[prost(message, optional, tag = "10")]
    pub samples: Option<Columns>,
    #[prost(message, repeated, tag = "11")]
    pub transitions: Vec<Transition>,
    #[prost(message, repeated, tag = "12")]
    pub records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Columns {
    #[prost(sint64, tag = "1")]
    pub base_time: i64,
    #[prost(uint32, tag = "2")]
    pub time_unit_us: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub axis_length: Vec<u32>,
    #[prost(sint64, repeated, tag = "4")]
    pub axis_time: Vec<i64>,
    #[prost(bytes = "vec", tag = "5")]
    pub axis_flags: Vec<u8>,
    #[prost(sint64, repeated, tag = "6")]
    pub axis_source: Vec<i64>,
    #[prost(sint32, repeated, tag = "10")]
    pub series: Vec<i32>,
    #[prost(sint32, repeated, tag = "11")]
    pub axis: Vec<i32>,
    #[prost(bytes = "vec", tag = "12")]
    pub kind: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    pub flags: Vec<u8>,
    #[prost(bytes = "vec", tag = "20")]
    pub bools: Vec<u8>,
    #[prost(sint64, repeated, tag = "21")]
    pub ints: Vec<i64>,
    #[prost(bytes = "vec", tag = "22")]
    pub f64_planes: Vec<u8>,
    #[prost(bytes = "vec", tag = "23")]
    pub f32_planes: Vec<u8>,
    #[prost(string, repeated, tag = "24")]
    pub texts: Vec<String>,
    #[prost(uint32, repeated, tag = "25")]
    pub text_index: Vec<u32>,
    #[prost(uint32, repeated, tag = "26")]
    pub quality_runs: Vec<u32>,
    #[prost(uint32, repeated, tag = "27")]
    pub null_runs: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "any_value::Kind", tags = "1, 2, 3, 4")]
    pub kind: Option<any_value::Kind>,
}

pub(crate) mod any_value {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(bool, tag = "1")]
        Bool(bool),
        #[prost(sint64, tag = "2")]
        Int(i64),
        #[prost(double, tag = "3")]
        Float(f64),
        #[prost(string, tag = "4")]
        Text(String),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Transition {
    #[prost(string, tag = "1")]
    pub machine: String,
    #[prost(string, tag = "2")]
    pub alarm: String,
    #[prost(string, tag = "3")]
    pub tag: String,
    #[prost(uint64, tag = "4")]
    pub occurrence: u64,
    #[prost(string, tag = "5")]
    pub from: String,
    #[prost(string, tag = "6")]
    pub to: String,
    #[prost(string, tag = "7")]
    pub cause: String,
    #[prost(string, tag = "8")]
    pub priority: String,
    #[prost(message, optional, tag = "9")]
    pub value: Option<AnyValue>,
    #[prost(double, tag = "10")]
    pub limit: f64,
    #[prost(sint64, tag = "11")]
    pub value_at_us: i64,
    #[prost(sint64, tag = "12")]
    pub decided_at_us: i64,
    #[prost(string, tag = "13")]
    pub message: String,
    #[prost(uint32, optional, tag = "14")]
    pub flags: Option<u32>,
    #[prost(sint64, optional, tag = "15")]
    pub shelved_until_us: Option<i64>,
    #[prost(sint64, optional, tag = "16")]
    pub review_at_us: Option<i64>,
    #[prost(bool, tag = "17")]
    pub no_limit: bool,
    #[prost(double, tag = "18")]
    pub deadband: f64,
    #[prost(bool, tag = "19")]
    pub first_out: bool,
    #[prost(message, optional, tag = "20")]
    pub operation: Option<Operation>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operation {
    #[prost(string, tag = "1")]
    pub command: String,
    #[prost(string, tag = "2")]
    pub actor: String,
    #[prost(string, tag = "3")]
    pub comment: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(oneof = "record::Kind", tags = "1, 2, 3")]
    pub kind: Option<record::Kind>,
}

pub(crate) mod record {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Gap(super::Gap),
        #[prost(message, tag = "2")]
        Dropped(super::Dropped),
        #[prost(message, tag = "3")]
        Clock(super::Clock),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Gap {
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    #[prost(uint64, tag = "2")]
    pub first: u64,
    #[prost(uint64, tag = "3")]
    pub last: u64,
    #[prost(uint64, tag = "4")]
    pub samples: u64,
    #[prost(string, tag = "5")]
    pub reason: String,
    #[prost(sint64, tag = "6")]
    pub at_us: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dropped {
    #[prost(uint64, tag = "1")]
    pub samples: u64,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(sint64, tag = "3")]
    pub from_us: i64,
    #[prost(sint64, tag = "4")]
    pub to_us: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Clock {
    #[prost(string, tag = "1")]
    pub change: String,
    #[prost(sint64, tag = "2")]
    pub from_us: i64,
    #[prost(sint64, tag = "3")]
    pub to_us: i64,
    #[prost(uint64, tag = "4")]
    pub uptime_us: u64,
    #[prost(uint64, tag = "5")]
    pub samples: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    #[prost(uint32, tag = "2")]
    pub schema_max: u32,
    #[prost(string, tag = "3")]
    pub agent_version: String,
    #[prost(message, repeated, tag = "4")]
    pub streams: Vec<Range>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Range {
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    #[prost(uint64, tag = "2")]
    pub oldest: u64,
    #[prost(uint64, tag = "3")]
    pub next: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ack {
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    #[prost(uint32, tag = "2")]
    pub stream: u32,
    #[prost(uint64, tag = "3")]
    pub committed_through: u64,
    #[prost(uint64, tag = "4")]
    pub missing_through: u64,
    #[prost(fixed32, optional, tag = "6")]
    pub last_checksum: Option<u32>,
}

/// What an acknowledgement says beside [`Ack`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AckTime {
    #[prost(sint64, optional, tag = "5")]
    pub told_at_us: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Catalogue {
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    #[prost(message, repeated, tag = "2")]
    pub machines: Vec<Machine>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Machine {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub kind: String,
    #[prost(string, tag = "4")]
    pub protocol: String,
    #[prost(message, repeated, tag = "5")]
    pub tags: Vec<Tag>,
    #[prost(message, repeated, tag = "6")]
    pub alarms: Vec<Alarm>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tag {
    #[prost(uint32, tag = "1")]
    pub series: u32,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub unit: String,
    #[prost(string, tag = "5")]
    pub data_type: String,
    #[prost(string, tag = "6")]
    pub role: String,
    #[prost(message, repeated, tag = "7")]
    pub enumeration: Vec<EnumerationName>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumerationName {
    #[prost(sint64, tag = "1")]
    pub number: i64,
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Alarm {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub tag: String,
    #[prost(string, tag = "3")]
    pub kind: String,
    #[prost(double, tag = "4")]
    pub limit: f64,
    #[prost(double, tag = "5")]
    pub deadband: f64,
    #[prost(uint64, tag = "6")]
    pub on_delay_ms: u64,
    #[prost(uint64, tag = "7")]
    pub off_delay_ms: u64,
    #[prost(string, tag = "8")]
    pub priority: String,
    #[prost(string, tag = "9")]
    pub message: String,
    #[prost(bool, tag = "10")]
    pub latching: bool,
    #[prost(string, tag = "11")]
    pub acknowledge: String,
    #[prost(uint64, tag = "12")]
    pub re_alarm_ms: u64,
    #[prost(string, tag = "13")]
    pub group: String,
    #[prost(string, tag = "14")]
    pub suppress_while: String,
    #[prost(uint64, tag = "15")]
    pub shelve_max_ms: u64,
    #[prost(string, tag = "16")]
    pub from_tag: String,
    #[prost(double, tag = "17")]
    pub setpoint: f64,
    #[prost(uint64, tag = "18")]
    pub window_ms: u64,
    #[prost(message, repeated, tag = "19")]
    pub normal: Vec<AnyValue>,
    #[prost(message, optional, tag = "20")]
    pub normal_bit: Option<NormalBit>,
    #[prost(string, tag = "21")]
    pub expression: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NormalBit {
    #[prost(uint32, tag = "1")]
    pub number: u32,
    #[prost(bool, tag = "2")]
    pub set: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Live {
    #[prost(sint64, tag = "1")]
    pub at_us: i64,
    #[prost(message, optional, tag = "2")]
    pub latest: Option<Columns>,
    #[prost(message, repeated, tag = "3")]
    pub links: Vec<Link>,
    #[prost(message, repeated, tag = "4")]
    pub transitions: Vec<Transition>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Link {
    #[prost(string, tag = "1")]
    pub machine: String,
    #[prost(bool, tag = "2")]
    pub up: bool,
    #[prost(string, tag = "3")]
    pub reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Command {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub machine: String,
    #[prost(string, tag = "3")]
    pub alarm: String,
    #[prost(uint64, tag = "4")]
    pub occurrence: u64,
    #[prost(string, tag = "5")]
    pub verb: String,
    #[prost(uint64, tag = "6")]
    pub shelve_ms: u64,
    #[prost(sint64, optional, tag = "7")]
    pub review_at_us: Option<i64>,
    #[prost(string, tag = "8")]
    pub actor: String,
    #[prost(string, tag = "9")]
    pub comment: String,
    #[prost(sint64, tag = "10")]
    pub issued_at_us: i64,
    #[prost(sint64, tag = "11")]
    pub expires_at_us: i64,
    #[prost(string, tag = "12")]
    pub tag: String,
    #[prost(bool, optional, tag = "13")]
    pub bool_value: Option<bool>,
    #[prost(sint64, optional, tag = "14")]
    pub int_value: Option<i64>,
    #[prost(double, optional, tag = "15")]
    pub float_value: Option<f64>,
    #[prost(string, optional, tag = "16")]
    pub text_value: Option<String>,
    #[prost(uint32, tag = "17")]
    pub stream: u32,
    #[prost(uint64, tag = "18")]
    pub first: u64,
    #[prost(uint64, tag = "19")]
    pub last: u64,
    #[prost(string, tag = "20")]
    pub version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandResult {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub outcome: String,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(bool, tag = "4")]
    pub repeated: bool,
    #[prost(sint64, tag = "5")]
    pub decided_at_us: i64,
    #[prost(string, tag = "6")]
    pub output: String,
}
