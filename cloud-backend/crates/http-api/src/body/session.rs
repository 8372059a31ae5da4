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

/// What a user is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Runs the installation; sees all tenants.
    PlatformOperator,
    /// Sees everything of one tenant.
    Manager,
}

/// Something that not every user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Permission {
    /// Acknowledge, shelve and reset alarms, and take them out of service.
    OperateAlarms,
    /// Change the configuration of gateways.
    Configure,
    /// Ask gateways for what changes nothing in the plant.
    OperateGateways,
    /// Write to machines, restart and update gateways.
    ControlGateways,
    /// Create tenants, users and gateways.
    Administer,
}

impl Permission {
    /// What the role allows.
    pub(crate) fn of(role: &tenancy::Role) -> Vec<Self> {
        let all = [
            (Self::OperateAlarms, tenancy::Permission::OperateAlarms),
            (Self::Configure, tenancy::Permission::Configure),
            (Self::OperateGateways, tenancy::Permission::OperateGateways),
            (Self::ControlGateways, tenancy::Permission::ControlGateways),
            (Self::Administer, tenancy::Permission::Administer),
        ];
        all.into_iter().filter(|(_, needed)| role.allows(*needed)).map(|(shown, _)| shown).collect()
    }
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
    /// What the user is.
    pub(crate) role: Role,
    /// What the user may do beside looking.
    pub(crate) permissions: Vec<Permission>,
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
