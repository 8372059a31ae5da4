//! The archive against the port that it implements: in a folder, and behind the S3 protocol.

mod damage;
mod encryption;
mod round_trip;
mod s3;
mod support;
