//! The protobuf messages of heads and rollups. Lists are columns over the tags; where a list has
//! entries for some tags only, it says which.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Head {
    /// Epochs of the batches, ascending, and how many batches of each.
    #[prost(fixed64, repeated, tag = "1")]
    pub epoch: Vec<u64>,
    #[prost(uint32, repeated, tag = "2")]
    pub epoch_sources: Vec<u32>,
    /// Sequences, within an epoch the difference to the one before.
    #[prost(uint64, repeated, tag = "3")]
    pub sequence: Vec<u64>,
    /// Which of the batches are thinned.
    #[prost(uint32, repeated, tag = "4")]
    pub thinned: Vec<u32>,
    /// Lists of runs: how many runs each has; of each run the batch, as the difference to the one before, and how many
    /// samples.
    #[prost(uint32, repeated, tag = "5")]
    pub list_runs: Vec<u32>,
    #[prost(uint32, repeated, tag = "6")]
    pub run_source: Vec<u32>,
    #[prost(uint32, repeated, tag = "7")]
    pub run_samples: Vec<u32>,

    /// How the frame lies in the body: twice its length, and one more if it is compressed.
    #[prost(uint32, tag = "10")]
    pub frame_stored: u32,
    /// Numbers of the tags, each as the difference to the one before.
    #[prost(uint32, repeated, tag = "11")]
    pub tag: Vec<u32>,
    #[prost(bytes = "vec", tag = "12")]
    pub kind: Vec<u8>,
    /// Which list of runs.
    #[prost(uint32, repeated, tag = "13")]
    pub list: Vec<u32>,
    /// As of the frame.
    #[prost(uint32, repeated, tag = "14")]
    pub stored: Vec<u32>,

    #[prost(message, optional, tag = "20")]
    pub statistics: Option<Statistics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rollups {
    /// From whose minute the times count.
    #[prost(sint64, tag = "1")]
    pub origin_us: i64,
    /// Numbers of the tags, each as the difference to the one before.
    #[prost(uint32, repeated, tag = "2")]
    pub tag: Vec<u32>,
    #[prost(bytes = "vec", tag = "3")]
    pub kind: Vec<u8>,
    #[prost(message, optional, tag = "20")]
    pub statistics: Option<Statistics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Statistics {
    /// Samples that are counted, and how many of them are not good.
    #[prost(uint64, repeated, tag = "1")]
    pub count: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub not_good: Vec<u64>,
    /// See `statistics::flag`.
    #[prost(bytes = "vec", tag = "3")]
    pub flags: Vec<u8>,
    /// First and last instant, of tags with the flag, in microseconds from the start of the minute.
    #[prost(sint64, repeated, tag = "4")]
    pub bounds: Vec<i64>,
    /// Columns: first and last reading of each tag that has one; the series is the index of the tag.
    #[prost(bytes = "vec", tag = "5")]
    pub ends: Vec<u8>,
    /// Columns: smallest and largest reading, of numbers.
    #[prost(bytes = "vec", tag = "6")]
    pub extremes: Vec<u8>,
    /// Of analog tags.
    #[prost(double, repeated, tag = "7")]
    pub sum: Vec<f64>,
    #[prost(double, repeated, tag = "8")]
    pub integral: Vec<f64>,
    /// Of analog tags with the flag.
    #[prost(uint64, repeated, tag = "9")]
    pub known_us: Vec<u64>,
    /// Of counters.
    #[prost(double, repeated, tag = "10")]
    pub increase: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub resets: Vec<u64>,
    /// Of states with the flag: how many, columns of the states, their times, the time in others.
    #[prost(uint32, repeated, tag = "12")]
    pub state_count: Vec<u32>,
    #[prost(bytes = "vec", tag = "13")]
    pub state: Vec<u8>,
    #[prost(uint64, repeated, tag = "14")]
    pub state_us: Vec<u64>,
    #[prost(uint64, repeated, tag = "15")]
    pub other_us: Vec<u64>,
}
