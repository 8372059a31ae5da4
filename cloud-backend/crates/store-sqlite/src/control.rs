//! Tenants, gateways, users and sessions: the port of tenancy.

use plant_model::{GatewayId, TenantId, Timestamp};
use rusqlite::{Connection, Row, params};
use service_kit::Clock;
use tenancy::{
    EnrolmentRefusal, GatewayCertificate, Invitation, PasswordHash, PortFuture, Role, SESSIONS_PER_USER_MAX,
    SessionRecord, StoreError, TenancyStore, Tenant, TokenDigest, User, UserName,
};

use crate::SqliteStore;
use crate::codec::{Columns, execute, row, rows};
use crate::enrolment;
use crate::error::Fault;
use crate::file::Files;
use crate::writer::Target;

impl SqliteStore {
    pub(crate) async fn control<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.readers.read(Target::Control, work).await?)
    }

    pub(crate) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.writer.write(Target::Control, work).await?)
    }
}

impl TenancyStore for SqliteStore {
    fn tenants(&self) -> PortFuture<'_, Result<Vec<Tenant>, StoreError>> {
        Box::pin(self.control(tenants))
    }

    fn tenant<'a>(&'a self, id: &'a TenantId) -> PortFuture<'a, Result<Option<Tenant>, StoreError>> {
        let id = id.clone();
        Box::pin(self.control(move |c| {
            row(c, "SELECT id, name FROM tenant WHERE id = ?1", [id.as_str()], read_tenant)
        }))
    }

    fn add_tenant(&self, tenant: Tenant) -> PortFuture<'_, Result<(), StoreError>> {
        let files = self.files.clone();
        let now = Clock::start().wall();
        Box::pin(self.change(move |c| add_tenant(c, &files, &tenant, now)))
    }

    fn registered_gateways<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<GatewayId>, StoreError>> {
        let tenant = tenant.clone();
        Box::pin(self.control(move |c| gateways(c, &tenant)))
    }

    fn add_gateway(&self, tenant: TenantId, gateway: GatewayId) -> PortFuture<'_, Result<(), StoreError>> {
        let now = Clock::start().wall();
        Box::pin(self.change(move |c| add_gateway(c, &tenant, &gateway, now)))
    }

    fn invite(&self, invitation: Invitation) -> PortFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |c| enrolment::invite(c, &invitation)))
    }

    fn find_invitation(&self, code: TokenDigest) -> PortFuture<'_, Result<Option<Invitation>, StoreError>> {
        Box::pin(self.control(move |c| enrolment::find_invitation(c, code)))
    }

    fn enrol(
        &self,
        code: TokenDigest,
        certificate: GatewayCertificate,
    ) -> PortFuture<'_, Result<Result<(), EnrolmentRefusal>, StoreError>> {
        Box::pin(self.change(move |c| enrolment::enrol(c, code, &certificate)))
    }

    fn add_certificate(&self, certificate: GatewayCertificate) -> PortFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |c| enrolment::add_certificate(c, &certificate)))
    }

    fn certificates<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Vec<GatewayCertificate>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        Box::pin(self.control(move |c| enrolment::certificates(c, &tenant, &gateway)))
    }

    fn revoke_gateway(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        now: Timestamp,
    ) -> PortFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.change(move |c| enrolment::revoke_gateway(c, &tenant, &gateway, now)))
    }

    fn revoked_serials(&self, now: Timestamp) -> PortFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.control(move |c| enrolment::revoked_serials(c, now)))
    }

    fn find_user<'a>(&'a self, name: &'a UserName) -> PortFuture<'a, Result<Option<User>, StoreError>> {
        let name = name.clone();
        let sql = "SELECT name, display_name, role, tenant, password_hash FROM user WHERE name = ?1";
        Box::pin(self.control(move |c| row(c, sql, [name.as_str()], |r| read_user(r, 0))))
    }

    fn add_user(&self, user: User) -> PortFuture<'_, Result<(), StoreError>> {
        let now = Clock::start().wall();
        Box::pin(self.change(move |c| add_user(c, &user, now)))
    }

    fn add_session(&self, session: SessionRecord) -> PortFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |c| add_session(c, &session)))
    }

    fn find_session(
        &self,
        token: TokenDigest,
    ) -> PortFuture<'_, Result<Option<(SessionRecord, User)>, StoreError>> {
        Box::pin(self.control(move |c| find_session(c, token)))
    }

    fn remove_session(&self, token: TokenDigest) -> PortFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |c| {
            execute(c, "DELETE FROM session WHERE token_sha256 = ?1", [token.0.as_slice()])?;
            Ok(())
        }))
    }

    fn expire_sessions(&self, now: Timestamp) -> PortFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.change(move |c| {
            let removed = execute(c, "DELETE FROM session WHERE expires_at <= ?1", [now.micros()])?;
            Ok(removed as u64)
        }))
    }
}

pub(crate) fn tenants(c: &Connection) -> Result<Vec<Tenant>, Fault> {
    rows(c, "SELECT id, name FROM tenant ORDER BY id", [], read_tenant)
}

pub(crate) fn gateways(c: &Connection, tenant: &TenantId) -> Result<Vec<GatewayId>, Fault> {
    let sql = "SELECT gateway FROM gateway WHERE tenant = ?1 ORDER BY gateway";
    rows(c, sql, [tenant.as_str()], |r| r.parsed(0))
}

fn read_tenant(r: &Row<'_>) -> Result<Tenant, Fault> {
    Ok(Tenant { id: r.parsed(0)?, name: r.text(1)? })
}

fn read_user(r: &Row<'_>, from: usize) -> Result<User, Fault> {
    let tenant: Option<String> = r.get(from + 3)?;
    let tenant =
        tenant.map(|t| TenantId::new(&t)).transpose().map_err(|e| Fault::unreadable("a user", &e))?;
    let name = r.text(from)?;
    Ok(User {
        role: r.word(from + 2, |word| Role::from_parts(word, tenant))?,
        name: UserName::new(&name).map_err(|e| Fault::unreadable("a user", &e))?,
        display_name: r.text(from + 1)?,
        password_hash: PasswordHash::from_phc(r.text(from + 4)?),
    })
}

/// The file comes first: a tenant that is listed has one. A file without a tenant is found again when
/// the tenant is added again.
fn add_tenant(c: &Connection, files: &Files, tenant: &Tenant, now: Timestamp) -> Result<(), Fault> {
    let sql = "INSERT INTO tenant (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let added = execute(c, sql, params![tenant.id.as_str(), tenant.name, now.micros()])?;
    if added == 0 {
        return Err(Fault::AlreadyExists { kind: "tenant", id: tenant.id.to_string() });
    }
    let target = Target::Tenant(tenant.id.clone());
    files.create(&target)?;
    files.open_checked(&target)?;
    Ok(())
}

pub(crate) fn require_tenant(c: &Connection, tenant: &TenantId) -> Result<(), Fault> {
    row(c, "SELECT 1 FROM tenant WHERE id = ?1", [tenant.as_str()], |_| Ok(()))?
        .ok_or_else(|| Fault::NotFound { kind: "tenant", id: tenant.to_string() })
}

fn add_gateway(c: &Connection, tenant: &TenantId, gateway: &GatewayId, now: Timestamp) -> Result<(), Fault> {
    require_tenant(c, tenant)?;
    let sql = "INSERT INTO gateway (tenant, gateway, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    match execute(c, sql, params![tenant.as_str(), gateway.as_str(), now.micros()])? {
        0 => Err(Fault::AlreadyExists { kind: "gateway", id: format!("{tenant}/{gateway}") }),
        _ => Ok(()),
    }
}

fn add_user(c: &Connection, user: &User, now: Timestamp) -> Result<(), Fault> {
    let tenant = user.role.tenant();
    tenant.map_or(Ok(()), |t| require_tenant(c, t))?;
    let sql = "INSERT INTO user (name, display_name, role, tenant, password_hash, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let added = execute(
        c,
        sql,
        params![
            user.name.as_str(),
            user.display_name,
            user.role.name(),
            tenant.map(TenantId::as_str),
            user.password_hash.as_phc(),
            now.micros()
        ],
    )?;
    match added {
        0 => Err(Fault::AlreadyExists { kind: "user", id: user.name.to_string() }),
        _ => Ok(()),
    }
}

fn add_session(c: &Connection, session: &SessionRecord) -> Result<(), Fault> {
    let user = session.user.as_str();
    row(c, "SELECT 1 FROM user WHERE name = ?1", [user], |_| Ok(()))?
        .ok_or_else(|| Fault::NotFound { kind: "user", id: user.to_owned() })?;
    let insert = "INSERT INTO session (token_sha256, user, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)";
    let token = session.token_sha256.0.as_slice();
    execute(c, insert, params![token, user, session.created_at.micros(), session.expires_at.micros()])?;
    let trim = "DELETE FROM session WHERE user = ?1 AND token_sha256 NOT IN
                (SELECT token_sha256 FROM session WHERE user = ?1 ORDER BY created_at DESC, token_sha256 LIMIT ?2)";
    execute(c, trim, params![user, SESSIONS_PER_USER_MAX])?;
    Ok(())
}

fn find_session(c: &Connection, token: TokenDigest) -> Result<Option<(SessionRecord, User)>, Fault> {
    let sql = "SELECT s.created_at, s.expires_at, u.name, u.display_name, u.role, u.tenant, u.password_hash
               FROM session s JOIN user u ON u.name = s.user WHERE s.token_sha256 = ?1";
    row(c, sql, [token.0.as_slice()], |r| {
        let user = read_user(r, 2)?;
        let session = SessionRecord {
            token_sha256: token,
            user: user.name.clone(),
            created_at: r.time(0)?,
            expires_at: r.time(1)?,
        };
        Ok((session, user))
    })
}
