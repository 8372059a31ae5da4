//! Limits of the protocol (SPEC section 8). A decoder refuses what is larger; an encoder never makes it.

/// Largest message on the wire, in bytes. Fits the usual limit of MQTT brokers.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Largest message after decompression, in bytes: bounds the memory that one message can claim.
pub const DECODED_BYTES_MAX: usize = 8 << 20;

/// Most samples in one batch.
pub const BATCH_SAMPLES_MAX: usize = 100_000;

/// Most records (alarm transitions, diagnostic records) in one batch.
pub const BATCH_RECORDS_MAX: usize = 4_096;

/// Most machines in a catalogue.
pub const CATALOGUE_MACHINES_MAX: usize = 1_000;

/// Most tags, over all machines, in a catalogue.
pub const CATALOGUE_TAGS_MAX: usize = 50_000;

/// Most transitions in one live message; what does not fit goes with the next.
pub const LIVE_TRANSITIONS_MAX: usize = 256;

/// Longest name of who gave a command, in bytes.
pub const ACTOR_BYTES_MAX: usize = 128;

/// Longest text for people (names, units, messages, reasons), in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
