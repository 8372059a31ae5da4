//! Roles and what they allow.

use plant_model::TenantId;

/// Something a route of the API does. A route without a permission does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See which tenants there are, of those the role reaches.
    ListTenants,
    /// See gateways, machines, tags and samples.
    ReadFleet,
    /// See alarms and their journal.
    ReadAlarms,
    /// Acknowledge, shelve, reset alarms, and what else a person does to them.
    OperateAlarms,
    /// See what gateways are configured with, and what they say about it.
    ReadConfiguration,
    /// Change the configuration of gateways.
    Configure,
    /// Ask gateways for what changes nothing in the plant: diagnostics, batches again, a look for a configuration, a
    /// new connection to a machine.
    OperateGateways,
    /// Write to machines by command, restart and update gateways.
    ControlGateways,
    /// See what arrived and what is missing.
    ReadLedger,
    /// Create tenants, users and gateways.
    Administer,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; 10] = [
        Self::ListTenants,
        Self::ReadFleet,
        Self::ReadAlarms,
        Self::OperateAlarms,
        Self::ReadConfiguration,
        Self::Configure,
        Self::OperateGateways,
        Self::ControlGateways,
        Self::ReadLedger,
        Self::Administer,
    ];
}

/// What a user is to the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Runs the installation; reaches every tenant.
    PlatformOperator,
    /// Runs the plants of one tenant and sees nothing else.
    Manager {
        /// The tenant.
        tenant: TenantId,
    },
}

impl Role {
    /// The name used in the store and in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PlatformOperator => "platform-operator",
            Self::Manager { .. } => "manager",
        }
    }

    /// The inverse of [`Self::name`]; `None` when the name is unknown or does not go with the tenant.
    #[must_use]
    pub fn from_parts(name: &str, tenant: Option<TenantId>) -> Option<Self> {
        match (name, tenant) {
            ("platform-operator", None) => Some(Self::PlatformOperator),
            ("manager", Some(tenant)) => Some(Self::Manager { tenant }),
            _ => None,
        }
    }

    /// Whether the role allows something, for the tenants it reaches.
    #[must_use]
    pub const fn allows(&self, permission: Permission) -> bool {
        match (self, permission) {
            (
                Self::PlatformOperator | Self::Manager { .. },
                Permission::ListTenants
                | Permission::ReadFleet
                | Permission::ReadAlarms
                | Permission::OperateAlarms
                | Permission::ReadConfiguration
                | Permission::Configure
                | Permission::OperateGateways
                | Permission::ReadLedger,
            )
            | (Self::PlatformOperator, Permission::ControlGateways | Permission::Administer) => true,
            (Self::Manager { .. }, Permission::ControlGateways | Permission::Administer) => false,
        }
    }

    /// Whether a tenant's data may be shown to the role at all.
    #[must_use]
    pub fn reaches(&self, tenant: &TenantId) -> bool {
        self.tenant().is_none_or(|own| own == tenant)
    }

    /// The only tenant the role reaches; `None` when it reaches all.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::PlatformOperator => None,
            Self::Manager { tenant } => Some(tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).expect("valid")
    }

    #[test]
    fn a_manager_reaches_the_own_tenant_only() {
        let role = Role::Manager { tenant: tenant("acme") };
        assert!(role.reaches(&tenant("acme")));
        assert!(!role.reaches(&tenant("acme-2")));
        assert!(Role::PlatformOperator.reaches(&tenant("acme")));
    }

    #[test]
    fn only_a_platform_operator_administers_and_controls_gateways() {
        let manager = Role::Manager { tenant: tenant("acme") };
        for permission in Permission::ALL {
            assert!(Role::PlatformOperator.allows(permission), "{permission:?}");
            let is_higher = matches!(permission, Permission::Administer | Permission::ControlGateways);
            assert_eq!(manager.allows(permission), !is_higher, "{permission:?}");
        }
    }

    #[test]
    fn a_role_comes_back_from_its_name_only_with_the_right_tenant() {
        for role in [Role::PlatformOperator, Role::Manager { tenant: tenant("acme") }] {
            assert_eq!(Role::from_parts(role.name(), role.tenant().cloned()), Some(role));
        }
        assert_eq!(Role::from_parts("manager", None), None);
        assert_eq!(Role::from_parts("platform-operator", Some(tenant("acme"))), None);
        assert_eq!(Role::from_parts("root", None), None);
    }
}
