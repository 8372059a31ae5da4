//! The archive against the port that it implements: in a folder, and behind the S3 protocol.

mod round_trip;
mod support;
