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

/// Longest output of a command, in bytes: what a person reads on one screen, not an archive.
pub const OUTPUT_BYTES_MAX: usize = 16 << 10;

/// Most machine files in a configuration: one for each machine of a catalogue.
pub const CONFIGURATION_FILES_MAX: usize = CATALOGUE_MACHINES_MAX;

/// All texts of a configuration together, in bytes.
pub const CONFIGURATION_BYTES_MAX: usize = 1 << 20;

/// Longest name of a machine file, in bytes, without its ending.
pub const CONFIGURATION_NAME_BYTES_MAX: usize = 64;

/// Largest signed configuration as JSON, in bytes: JSON writes a character of a text with two at most, and
/// names and certificates take less than half a MiB.
pub const SIGNED_CONFIGURATION_BYTES_MAX: usize = 2 * CONFIGURATION_BYTES_MAX + (1 << 19);

/// Longest chain of certificates behind a signature, PEM, in bytes; two take 2 KiB.
pub const SIGNER_CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Longest detail of a configuration report, in bytes.
pub const REPORT_DETAIL_BYTES_MAX: usize = 4 * 1024;

/// Longest name of a file, or of a version of the agent, in a configuration report, in bytes: what a file
/// system takes.
pub const REPORT_NAME_BYTES_MAX: usize = 255;

/// Largest configuration report as JSON, in bytes: JSON may write a byte of a name as six.
pub const REPORT_BYTES_MAX: usize = 2 << 20;
