//! Sessions and tenants.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person signs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// The user name.
    pub(crate) username: String,
    /// The password.
    pub(crate) password: String,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Runs the installation; sees all tenants.
    PlatformOperator,
    /// Sees everything of one tenant.
    Manager,
}

/// A tenant that the user may see.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantName {
    /// Its id.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) name: String,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// The user name.
    pub(crate) username: String,
    /// The user's name for people.
    pub(crate) display_name: String,
    /// What the user may do.
    pub(crate) role: Role,
    /// The tenants that the user may see.
    pub(crate) tenants: Vec<TenantName>,
}

/// A tenant at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) name: String,
    /// Gateways registered.
    pub(crate) gateways: u64,
    /// Machines configured on them.
    pub(crate) machines: u64,
    /// Alarms active now.
    pub(crate) active_alarms: u64,
}
