//! Tenants, gateways, users and sessions: the port of tenancy.

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, TenantId, Timestamp};
use service_kit::Clock;
use tenancy::{
    EnrolmentRefusal, GatewayCertificate, Invitation, PasswordHash, PortFuture, Role, SESSIONS_PER_USER_MAX,
    SessionRecord, StoreError, TenancyStore, Tenant, TokenDigest, User, UserName,
};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::codec::{Columns, escaped, execute, row, rows};
use crate::connections::{Scope, Work};
use crate::enrolment;
use crate::error::Fault;

impl PostgresStore {
    pub(crate) fn look<'a, T: Send + 'static>(
        &'a self,
        scope: Scope,
        work: impl for<'t> FnOnce(&'t Transaction<'t>) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, Result<T, StoreError>> {
        Box::pin(async move { Ok(self.readers.read(scope, work).await?) })
    }

    pub(crate) fn change<'a, T: Send + 'static>(
        &'a self,
        scope: Scope,
        work: impl for<'t> FnOnce(&'t Transaction<'t>) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, Result<T, StoreError>> {
        Box::pin(async move { Ok(self.writers.write(scope, work).await?) })
    }
}

impl TenancyStore for PostgresStore {
    fn tenants(&self) -> PortFuture<'_, Result<Vec<Tenant>, StoreError>> {
        self.look(Scope::Platform, |t| {
            Box::pin(rows(t, "SELECT id, name FROM tenant ORDER BY id", &[], read_tenant))
        })
    }

    fn tenant<'a>(&'a self, id: &'a TenantId) -> PortFuture<'a, Result<Option<Tenant>, StoreError>> {
        let id = id.clone();
        self.look(Scope::Control(id.clone()), |t| {
            Box::pin(async move {
                row(t, "SELECT id, name FROM tenant WHERE id = $1", &[&id.as_str()], read_tenant).await
            })
        })
    }

    fn add_tenant(&self, tenant: Tenant) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Platform, |t| Box::pin(async move { add_tenant(t, &tenant).await }))
    }

    fn registered_gateways<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<GatewayId>, StoreError>> {
        let tenant = tenant.clone();
        self.look(Scope::Control(tenant.clone()), |t| Box::pin(async move { gateways(t, &tenant).await }))
    }

    fn add_gateway(&self, tenant: TenantId, gateway: GatewayId) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move { add_gateway(t, &tenant, &gateway).await })
        })
    }

    fn invite(&self, invitation: Invitation) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Control(invitation.tenant.clone()), |t| {
            Box::pin(async move { enrolment::invite(t, &invitation).await })
        })
    }

    fn find_invitation(&self, code: TokenDigest) -> PortFuture<'_, Result<Option<Invitation>, StoreError>> {
        self.look(Scope::Platform, move |t| Box::pin(enrolment::find_invitation(t, code)))
    }

    fn enrol(
        &self,
        code: TokenDigest,
        certificate: GatewayCertificate,
    ) -> PortFuture<'_, Result<Result<(), EnrolmentRefusal>, StoreError>> {
        self.change(Scope::Control(certificate.tenant.clone()), move |t| {
            Box::pin(async move { enrolment::enrol(t, code, &certificate).await })
        })
    }

    fn add_certificate(&self, certificate: GatewayCertificate) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Control(certificate.tenant.clone()), |t| {
            Box::pin(async move { enrolment::add_certificate(t, &certificate).await })
        })
    }

    fn certificates<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Vec<GatewayCertificate>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.look(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move { enrolment::certificates(t, &tenant, &gateway).await })
        })
    }

    fn revoke_gateway(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        now: Timestamp,
    ) -> PortFuture<'_, Result<u64, StoreError>> {
        self.change(Scope::Control(tenant.clone()), move |t| {
            Box::pin(async move { enrolment::revoke_gateway(t, &tenant, &gateway, now).await })
        })
    }

    fn revoked_serials(&self, now: Timestamp) -> PortFuture<'_, Result<Vec<String>, StoreError>> {
        self.look(Scope::Platform, move |t| Box::pin(enrolment::revoked_serials(t, now)))
    }

    fn find_user<'a>(&'a self, name: &'a UserName) -> PortFuture<'a, Result<Option<User>, StoreError>> {
        let name = name.clone();
        self.look(Scope::Platform, |t| {
            Box::pin(async move {
                let sql =
                    "SELECT name, display_name, role, tenant, password_hash FROM app_user WHERE name = $1";
                row(t, sql, &[&name.as_str()], |r| read_user(r, 0)).await
            })
        })
    }

    fn add_user(&self, user: User) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Platform, |t| Box::pin(async move { add_user(t, &user).await }))
    }

    fn add_session(&self, session: SessionRecord) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Platform, |t| Box::pin(async move { add_session(t, &session).await }))
    }

    fn find_session(
        &self,
        token: TokenDigest,
    ) -> PortFuture<'_, Result<Option<(SessionRecord, User)>, StoreError>> {
        self.look(Scope::Platform, move |t| Box::pin(find_session(t, token)))
    }

    fn remove_session(&self, token: TokenDigest) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Platform, move |t| {
            Box::pin(async move {
                let sql = "DELETE FROM session WHERE token_sha256 = $1";
                execute(t, sql, &[&token.0.as_slice()]).await?;
                Ok(())
            })
        })
    }

    fn expire_sessions(&self, now: Timestamp) -> PortFuture<'_, Result<u64, StoreError>> {
        self.change(Scope::Platform, move |t| Box::pin(expire_sessions(t, now)))
    }
}

pub(crate) async fn expire_sessions(t: &Transaction<'_>, now: Timestamp) -> Result<u64, Fault> {
    execute(t, "DELETE FROM session WHERE expires_at <= $1", &[&now.micros()]).await
}

pub(crate) async fn gateways(t: &Transaction<'_>, tenant: &TenantId) -> Result<Vec<GatewayId>, Fault> {
    let sql = "SELECT gateway FROM gateway WHERE tenant = $1 ORDER BY gateway";
    rows(t, sql, &[&tenant.as_str()], |r| r.parsed(0)).await
}

fn read_tenant(r: &Row) -> Result<Tenant, Fault> {
    Ok(Tenant { id: r.parsed(0)?, name: r.free_text(1)? })
}

fn read_user(r: &Row, from: usize) -> Result<User, Fault> {
    let tenant = r.optional_parsed(from + 3)?;
    Ok(User {
        role: r.word(from + 2, |word| Role::from_parts(word, tenant))?,
        name: UserName::new(r.text(from)?).map_err(|e| Fault::unreadable("a user", &e))?,
        display_name: r.free_text(from + 1)?,
        password_hash: PasswordHash::from_phc(r.text(from + 4)?.to_owned()),
    })
}

async fn add_tenant(t: &Transaction<'_>, tenant: &Tenant) -> Result<(), Fault> {
    let sql = "INSERT INTO tenant (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let now = Clock::system().micros();
    match execute(t, sql, &[&tenant.id.as_str(), &escaped(&tenant.name), &now]).await? {
        0 => Err(Fault::AlreadyExists { kind: "tenant", id: tenant.id.to_string() }),
        _ => Ok(()),
    }
}

pub(crate) async fn require_tenant(t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
    row(t, "SELECT 1 FROM tenant WHERE id = $1", &[&tenant.as_str()], |_| Ok(()))
        .await?
        .ok_or_else(|| Fault::NotFound { kind: "tenant", id: tenant.to_string() })
}

async fn add_gateway(t: &Transaction<'_>, tenant: &TenantId, gateway: &GatewayId) -> Result<(), Fault> {
    require_tenant(t, tenant).await?;
    match enrolment::register(t, tenant, gateway, Clock::system()).await? {
        0 => Err(Fault::AlreadyExists { kind: "gateway", id: format!("{tenant}/{gateway}") }),
        _ => Ok(()),
    }
}

async fn add_user(t: &Transaction<'_>, user: &User) -> Result<(), Fault> {
    let tenant = user.role.tenant();
    if let Some(tenant) = tenant {
        require_tenant(t, tenant).await?;
    }
    let sql = "INSERT INTO app_user (name, display_name, role, tenant, password_hash, created_at)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (name, shown, hash) = (user.name.as_str(), escaped(&user.display_name), user.password_hash.as_phc());
    let (role, tenant, now) = (user.role.name(), tenant.map(TenantId::as_str), Clock::system().micros());
    match execute(t, sql, &[&name, &shown, &role, &tenant, &hash, &now]).await? {
        0 => Err(Fault::AlreadyExists { kind: "user", id: user.name.to_string() }),
        _ => Ok(()),
    }
}

async fn add_session(t: &Transaction<'_>, session: &SessionRecord) -> Result<(), Fault> {
    let user = session.user.as_str();
    row(t, "SELECT 1 FROM app_user WHERE name = $1", &[&user], |_| Ok(()))
        .await?
        .ok_or_else(|| Fault::NotFound { kind: "user", id: user.to_owned() })?;
    let insert = "INSERT INTO session (token_sha256, name, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    let (created_at, expires_at) = (session.created_at.micros(), session.expires_at.micros());
    execute(t, insert, &[&session.token_sha256.0.as_slice(), &user, &created_at, &expires_at]).await?;
    let trim = "DELETE FROM session WHERE name = $1 AND token_sha256 NOT IN
                (SELECT token_sha256 FROM session WHERE name = $1 ORDER BY created_at DESC, token_sha256 LIMIT $2)";
    execute(t, trim, &[&user, &i64::from(SESSIONS_PER_USER_MAX)]).await?;
    Ok(())
}

async fn find_session(
    t: &Transaction<'_>,
    token: TokenDigest,
) -> Result<Option<(SessionRecord, User)>, Fault> {
    let sql = "SELECT s.created_at, s.expires_at, u.name, u.display_name, u.role, u.tenant, u.password_hash
               FROM session s JOIN app_user u ON u.name = s.name WHERE s.token_sha256 = $1";
    row(t, sql, &[&token.0.as_slice()], |r| {
        let user = read_user(r, 2)?;
        let session = SessionRecord {
            token_sha256: token,
            user: user.name.clone(),
            created_at: r.time(0)?,
            expires_at: r.time(1)?,
        };
        Ok((session, user))
    })
    .await
}
