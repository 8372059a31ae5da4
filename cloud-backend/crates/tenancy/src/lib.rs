//! Who owns what and who may see it: tenants, their gateways and who may become one, users, roles, sessions.
//!
//! What gateways are configured with, and what they say about it, is here as well.
//!
//! Decisions only. The clock, the password hash function, the random numbers and the database belong
//! to the callers; what is durable goes through [`TenancyStore`] and
//! [`ConfigurationStore`]. A user reaches either one tenant or
//! the whole installation, and [`Role`] is the only place that says which.

mod configuration;
mod difference;
mod enrolment;
mod lockout;
mod port;
mod role;
mod user;

pub use configuration::{
    CONFIGURATION_VERSIONS_KEPT, ConfigurationConflict, ConfigurationEntry, ConfigurationProblem,
    ConfigurationStanding, ConfigurationStore, MachineCheck, NewConfiguration, ReceivedReport, Rollout,
    StoredConfiguration,
};
pub use difference::{FileChange, FileDifference, difference};
pub use enrolment::{
    EnrolmentRefusal, GatewayCertificate, Invitation, RENEWAL_GRACE, RenewalRefusal, check_renewal,
    needs_older_root,
};
pub use lockout::{LoginGuard, TooManyAttempts};
pub use port::{CERTIFICATES_MAX, PortFuture, SESSIONS_PER_USER_MAX, StoreError, TenancyStore};
pub use role::{Permission, Role};
pub use user::{PasswordHash, SessionRecord, Tenant, TokenDigest, User, UserName, UserNameError};
