//! Invitations and certificates of gateways; the port is tenancy's, in [`crate::control`].

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, TenantId, Timestamp};
use tenancy::{CERTIFICATES_MAX, EnrolmentRefusal, GatewayCertificate, Invitation, TokenDigest};
use tokio_postgres::Row;

use crate::codec::{Columns, execute, row, rows};
use crate::control::require_tenant;
use crate::error::Fault;

/// Adds a gateway to the tenant unless it is there; answers whether 1 or 0 came.
pub(crate) async fn register(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<u64, Fault> {
    let sql = "INSERT INTO gateway (tenant, gateway, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    execute(t, sql, &[&tenant.as_str(), &gateway.as_str(), &now.micros()]).await
}

pub(crate) async fn invite(t: &Transaction<'_>, invitation: &Invitation) -> Result<(), Fault> {
    let (tenant, gateway) = (&invitation.tenant, &invitation.gateway);
    require_tenant(t, tenant).await?;
    register(t, tenant, gateway, invitation.created_at).await?;
    withdraw_invitations(t, tenant, gateway).await?;
    let sql = "INSERT INTO invitation (code_sha256, tenant, gateway, created_at, expires_at, used_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let code = invitation.code_sha256.0.as_slice();
    let (created_at, expires_at) = (invitation.created_at.micros(), invitation.expires_at.micros());
    let used_at = invitation.used_at.map(Timestamp::micros);
    execute(t, sql, &[&code, &tenant.as_str(), &gateway.as_str(), &created_at, &expires_at, &used_at])
        .await?;
    Ok(())
}

/// What was used stays, so that a code that is tried again is told from one that never was.
async fn withdraw_invitations(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<(), Fault> {
    let sql = "DELETE FROM invitation WHERE tenant = $1 AND gateway = $2 AND used_at IS NULL";
    execute(t, sql, &[&tenant.as_str(), &gateway.as_str()]).await?;
    Ok(())
}

pub(crate) async fn find_invitation(
    t: &Transaction<'_>,
    code: TokenDigest,
) -> Result<Option<Invitation>, Fault> {
    let sql =
        "SELECT tenant, gateway, created_at, expires_at, used_at FROM invitation WHERE code_sha256 = $1";
    row(t, sql, &[&code.0.as_slice()], |r| {
        Ok(Invitation {
            code_sha256: code,
            tenant: r.parsed(0)?,
            gateway: r.parsed(1)?,
            created_at: r.time(2)?,
            expires_at: r.time(3)?,
            used_at: r.optional_time(4)?,
        })
    })
    .await
}

/// The invitation is looked at again: two gateways may have come with the same code. They take turns, being of one
/// tenant.
pub(crate) async fn enrol(
    t: &Transaction<'_>,
    code: TokenDigest,
    certificate: &GatewayCertificate,
) -> Result<Result<(), EnrolmentRefusal>, Fault> {
    let now = certificate.issued_at;
    let Some(invitation) = find_invitation(t, code).await? else {
        return Ok(Err(EnrolmentRefusal::Unknown));
    };
    if let Err(refusal) = invitation.check(now) {
        return Ok(Err(refusal));
    }
    let sql = "UPDATE invitation SET used_at = $2 WHERE code_sha256 = $1";
    execute(t, sql, &[&code.0.as_slice(), &now.micros()]).await?;
    revoke_certificates(t, &certificate.tenant, &certificate.gateway, now).await?;
    add_certificate(t, certificate).await?;
    Ok(Ok(()))
}

pub(crate) async fn add_certificate(
    t: &Transaction<'_>,
    certificate: &GatewayCertificate,
) -> Result<(), Fault> {
    let (tenant, gateway) = (&certificate.tenant, &certificate.gateway);
    require_gateway(t, tenant, gateway).await?;
    let sql = "INSERT INTO gateway_certificate (serial, tenant, gateway, issued_at, expires_at, revoked_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let (issued_at, expires_at) = (certificate.issued_at.micros(), certificate.expires_at.micros());
    let revoked_at = certificate.revoked_at.map(Timestamp::micros);
    let serial = &certificate.serial;
    execute(t, sql, &[serial, &tenant.as_str(), &gateway.as_str(), &issued_at, &expires_at, &revoked_at])
        .await?;
    Ok(())
}

pub(crate) async fn certificates(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<Vec<GatewayCertificate>, Fault> {
    let sql = "SELECT serial, issued_at, expires_at, revoked_at FROM gateway_certificate
               WHERE tenant = $1 AND gateway = $2 ORDER BY issued_at DESC, serial LIMIT $3";
    let read = |r: &Row| {
        Ok(GatewayCertificate {
            tenant: tenant.clone(),
            gateway: gateway.clone(),
            serial: r.text(0)?.to_owned(),
            issued_at: r.time(1)?,
            expires_at: r.time(2)?,
            revoked_at: r.optional_time(3)?,
        })
    };
    rows(t, sql, &[&tenant.as_str(), &gateway.as_str(), &i64::from(CERTIFICATES_MAX)], read).await
}

pub(crate) async fn revoke_gateway(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<u64, Fault> {
    require_gateway(t, tenant, gateway).await?;
    withdraw_invitations(t, tenant, gateway).await?;
    revoke_certificates(t, tenant, gateway, now).await
}

async fn revoke_certificates(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<u64, Fault> {
    let sql = "UPDATE gateway_certificate SET revoked_at = $3
               WHERE tenant = $1 AND gateway = $2 AND revoked_at IS NULL";
    execute(t, sql, &[&tenant.as_str(), &gateway.as_str(), &now.micros()]).await
}

pub(crate) async fn revoked_serials(t: &Transaction<'_>, now: Timestamp) -> Result<Vec<String>, Fault> {
    let sql = "SELECT serial FROM gateway_certificate WHERE revoked_at IS NOT NULL AND expires_at > $1 ORDER BY serial";
    rows(t, sql, &[&now.micros()], |r| Ok(r.text(0)?.to_owned())).await
}

pub(crate) async fn require_gateway(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<(), Fault> {
    let sql = "SELECT 1 FROM gateway WHERE tenant = $1 AND gateway = $2";
    row(t, sql, &[&tenant.as_str(), &gateway.as_str()], |_| Ok(()))
        .await?
        .ok_or_else(|| Fault::NotFound { kind: "gateway", id: format!("{tenant}/{gateway}") })
}
