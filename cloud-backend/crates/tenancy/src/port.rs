//! The store that tenancy needs.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;

use plant_model::{GatewayId, TenantId, Timestamp};
use thiserror::Error;

use crate::{
    EnrolmentRefusal, GatewayCertificate, Invitation, SessionRecord, Tenant, TokenDigest, User, UserName,
};

/// What a port answers: a future that can be sent between threads.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the store did not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached or refuses to work; trying again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// What the store holds cannot be understood.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// There already is one.
    #[error("{kind} {id} already exists")]
    AlreadyExists {
        /// What.
        kind: &'static str,
        /// Which.
        id: String,
    },
    /// There is none.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// What.
        kind: &'static str,
        /// Which.
        id: String,
    },
}

/// Durable tenants, gateways, users and sessions. A write is durable when its future is ready.
pub trait TenancyStore: Send + Sync {
    /// All tenants, by id.
    fn tenants(&self) -> PortFuture<'_, Result<Vec<Tenant>, StoreError>>;

    /// One tenant.
    fn tenant<'a>(&'a self, id: &'a TenantId) -> PortFuture<'a, Result<Option<Tenant>, StoreError>>;

    /// Adds a tenant and the place for its data.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`].
    fn add_tenant(&self, tenant: Tenant) -> PortFuture<'_, Result<(), StoreError>>;

    /// The registered gateways of a tenant, by id; none for an unknown tenant.
    fn registered_gateways<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<GatewayId>, StoreError>>;

    /// Registers a gateway.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the tenant, [`StoreError::AlreadyExists`].
    fn add_gateway(&self, tenant: TenantId, gateway: GatewayId) -> PortFuture<'_, Result<(), StoreError>>;

    /// Invites a gateway, and registers it if it is new. Earlier invitations of the same gateway that were
    /// not used end.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the tenant.
    fn invite(&self, invitation: Invitation) -> PortFuture<'_, Result<(), StoreError>>;

    /// The invitation of a code, used and expired ones too.
    fn find_invitation(&self, code: TokenDigest) -> PortFuture<'_, Result<Option<Invitation>, StoreError>>;

    /// Uses an invitation and notes the certificate that was issued for it; the gateway's earlier
    /// certificates are revoked: the hardware was replaced, or the key is lost. All of it or nothing.
    fn enrol(
        &self,
        code: TokenDigest,
        certificate: GatewayCertificate,
    ) -> PortFuture<'_, Result<Result<(), EnrolmentRefusal>, StoreError>>;

    /// Notes a certificate that a gateway was given.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the gateway.
    fn add_certificate(&self, certificate: GatewayCertificate) -> PortFuture<'_, Result<(), StoreError>>;

    /// The certificates of a gateway, the newest first; at most [`CERTIFICATES_MAX`].
    fn certificates<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Vec<GatewayCertificate>, StoreError>>;

    /// Revokes all certificates of a gateway that are not yet, and its unused invitations; answers how many
    /// certificates there were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the gateway.
    fn revoke_gateway(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        now: Timestamp,
    ) -> PortFuture<'_, Result<u64, StoreError>>;

    /// The serial numbers of certificates that are revoked and whose end is after `now`.
    fn revoked_serials(&self, now: Timestamp) -> PortFuture<'_, Result<Vec<String>, StoreError>>;

    /// The user of a name.
    fn find_user<'a>(&'a self, name: &'a UserName) -> PortFuture<'a, Result<Option<User>, StoreError>>;

    /// Adds a user.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the tenant of its role, [`StoreError::AlreadyExists`].
    fn add_user(&self, user: User) -> PortFuture<'_, Result<(), StoreError>>;

    /// Adds a session. A user keeps at most [`SESSIONS_PER_USER_MAX`] of them; the oldest go.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the user.
    fn add_session(&self, session: SessionRecord) -> PortFuture<'_, Result<(), StoreError>>;

    /// The session of a token, expired or not, with its user.
    fn find_session(
        &self,
        token: TokenDigest,
    ) -> PortFuture<'_, Result<Option<(SessionRecord, User)>, StoreError>>;

    /// Ends a session; says nothing when there is none.
    fn remove_session(&self, token: TokenDigest) -> PortFuture<'_, Result<(), StoreError>>;

    /// Removes the sessions that are no longer good and answers how many there were.
    fn expire_sessions(&self, now: Timestamp) -> PortFuture<'_, Result<u64, StoreError>>;
}

/// Certificates of one gateway that are told: two years of monthly renewals.
pub const CERTIFICATES_MAX: u32 = 24;

/// Most sessions one user has at a time: more than anyone has devices, few enough that logging in
/// again and again does not fill the store.
pub const SESSIONS_PER_USER_MAX: u32 = 50;
