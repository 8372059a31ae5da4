//! The wire contract between a gateway and the backend. `SPEC.md` beside this crate is normative; each
//! module names the section it implements.
//!
//! Nothing here does I/O, reads a clock or keeps state. Every decoder takes bytes from outside: it
//! checks every length before it uses it, stops at the limits of [`limits`], and answers with a
//! [`DecodeError`] that says what was wrong.

mod batch;
mod catalogue;
mod columns;
mod command;
mod configuration;
mod container;
mod control;
mod definition;
mod diagnostic;
mod enrolment;
mod error;
mod instruction;
mod journal;
pub mod limits;
mod live;
mod placing;
mod stream;
mod topic;
mod update;
mod version;
mod wire;

pub use batch::{Batch, BatchBody, BatchHeader, Detail, HEADER_BYTES};
pub use catalogue::{Catalogue, CatalogueMachine, CatalogueTag, GATEWAY_ID, TagRole};
pub use columns::{ApartColumns, ColumnFrame, SeriesId, SeriesSamples, samples_from_bytes, samples_to_bytes};
pub use command::{Command, CommandOutcome, CommandResult};
pub use configuration::{
    CONFIGURATION_PATH, CONFIGURATION_SIGNER_URI, Configuration, ConfigurationError, ConfigurationFiles,
    ConfigurationReport, ConfigurationState, ConfigurationVersion, DriftChange, DriftedFile, FileName,
    FilesDigest, REPORT_PATH, SignedConfiguration,
};
pub use control::{CumulativeAck, Hello, StreamRange};
pub use diagnostic::{ClockChange, ClockRecord, DiagnosticRecord, Dropped, Gap, LossReason};
pub use enrolment::{
    Certified, CodeError, ENROL_PATH, Enrolment, EnrolmentCode, EnrolmentRequest, IDENTITY_PATH, Identity,
    RENEW_PATH, RenewalRequest,
};
pub use error::DecodeError;
pub use instruction::{GatewayCommand, GatewayVerb, Instruction};
pub use live::{Live, MachineLink};
pub use placing::Certainty;
pub use stream::{Epoch, Sequence, StreamId};
pub use topic::{Channel, Topic, TopicError};
pub use update::{
    ChannelError, DesiredUpdate, UPDATE_PATH, UPDATE_REPORT_PATH, UpdateChannel, UpdateReport,
    UpdateRevision, UpdateState,
};
pub use version::{AgentVersion, VersionError};
