//! Invitations and certificates of gateways; the port is tenancy's, in [`crate::control`].

use plant_model::{GatewayId, TenantId, Timestamp};
use rusqlite::{Connection, Row, params};
use tenancy::{CERTIFICATES_MAX, EnrolmentRefusal, GatewayCertificate, Invitation, TokenDigest};

use crate::codec::{Columns, execute, row, rows};
use crate::control::require_tenant;
use crate::error::Fault;

pub(crate) fn invite(c: &Connection, invitation: &Invitation) -> Result<(), Fault> {
    let (tenant, gateway) = (invitation.tenant.as_str(), invitation.gateway.as_str());
    require_tenant(c, &invitation.tenant)?;
    let register =
        "INSERT INTO gateway (tenant, gateway, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    execute(c, register, params![tenant, gateway, invitation.created_at.micros()])?;
    withdraw_invitations(c, &invitation.tenant, &invitation.gateway)?;
    let sql = "INSERT INTO invitation (code_sha256, tenant, gateway, created_at, expires_at, used_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let code = invitation.code_sha256.0.as_slice();
    let (created_at, expires_at) = (invitation.created_at.micros(), invitation.expires_at.micros());
    let used_at = invitation.used_at.map(Timestamp::micros);
    execute(c, sql, params![code, tenant, gateway, created_at, expires_at, used_at])?;
    Ok(())
}

/// What was used stays, so that a code that is tried again is told from one that never was.
fn withdraw_invitations(c: &Connection, tenant: &TenantId, gateway: &GatewayId) -> Result<(), Fault> {
    let sql = "DELETE FROM invitation WHERE tenant = ?1 AND gateway = ?2 AND used_at IS NULL";
    execute(c, sql, [tenant.as_str(), gateway.as_str()])?;
    Ok(())
}

pub(crate) fn find_invitation(c: &Connection, code: TokenDigest) -> Result<Option<Invitation>, Fault> {
    let sql =
        "SELECT tenant, gateway, created_at, expires_at, used_at FROM invitation WHERE code_sha256 = ?1";
    row(c, sql, [code.0.as_slice()], |r| {
        Ok(Invitation {
            code_sha256: code,
            tenant: r.parsed(0)?,
            gateway: r.parsed(1)?,
            created_at: r.time(2)?,
            expires_at: r.time(3)?,
            used_at: time_if_any(r, 4)?,
        })
    })
}

/// The invitation is looked at again: two gateways may have come with the same code.
pub(crate) fn enrol(
    c: &Connection,
    code: TokenDigest,
    certificate: &GatewayCertificate,
) -> Result<Result<(), EnrolmentRefusal>, Fault> {
    let now = certificate.issued_at;
    let Some(invitation) = find_invitation(c, code)? else { return Ok(Err(EnrolmentRefusal::Unknown)) };
    if let Err(refusal) = invitation.check(now) {
        return Ok(Err(refusal));
    }
    let sql = "UPDATE invitation SET used_at = ?2 WHERE code_sha256 = ?1";
    execute(c, sql, params![code.0.as_slice(), now.micros()])?;
    revoke_certificates(c, &certificate.tenant, &certificate.gateway, now)?;
    add_certificate(c, certificate)?;
    Ok(Ok(()))
}

pub(crate) fn add_certificate(c: &Connection, certificate: &GatewayCertificate) -> Result<(), Fault> {
    require_gateway(c, &certificate.tenant, &certificate.gateway)?;
    let sql = "INSERT INTO gateway_certificate (serial, tenant, gateway, issued_at, expires_at, revoked_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let added = params![
        certificate.serial,
        certificate.tenant.as_str(),
        certificate.gateway.as_str(),
        certificate.issued_at.micros(),
        certificate.expires_at.micros(),
        certificate.revoked_at.map(Timestamp::micros)
    ];
    execute(c, sql, added)?;
    Ok(())
}

pub(crate) fn certificates(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<Vec<GatewayCertificate>, Fault> {
    let sql = "SELECT serial, issued_at, expires_at, revoked_at FROM gateway_certificate
               WHERE tenant = ?1 AND gateway = ?2 ORDER BY issued_at DESC, serial LIMIT ?3";
    rows(c, sql, params![tenant.as_str(), gateway.as_str(), CERTIFICATES_MAX], |r| {
        Ok(GatewayCertificate {
            tenant: tenant.clone(),
            gateway: gateway.clone(),
            serial: r.text(0)?,
            issued_at: r.time(1)?,
            expires_at: r.time(2)?,
            revoked_at: time_if_any(r, 3)?,
        })
    })
}

pub(crate) fn revoke_gateway(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<u64, Fault> {
    require_gateway(c, tenant, gateway)?;
    withdraw_invitations(c, tenant, gateway)?;
    revoke_certificates(c, tenant, gateway, now)
}

fn revoke_certificates(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<u64, Fault> {
    let sql = "UPDATE gateway_certificate SET revoked_at = ?3
               WHERE tenant = ?1 AND gateway = ?2 AND revoked_at IS NULL";
    Ok(execute(c, sql, params![tenant.as_str(), gateway.as_str(), now.micros()])? as u64)
}

pub(crate) fn revoked_serials(c: &Connection, now: Timestamp) -> Result<Vec<String>, Fault> {
    let sql = "SELECT serial FROM gateway_certificate WHERE revoked_at IS NOT NULL AND expires_at > ?1 ORDER BY serial";
    rows(c, sql, [now.micros()], |r| r.text(0))
}

pub(crate) fn require_gateway(c: &Connection, tenant: &TenantId, gateway: &GatewayId) -> Result<(), Fault> {
    let sql = "SELECT 1 FROM gateway WHERE tenant = ?1 AND gateway = ?2";
    row(c, sql, [tenant.as_str(), gateway.as_str()], |_| Ok(()))?
        .ok_or_else(|| Fault::NotFound { kind: "gateway", id: format!("{tenant}/{gateway}") })
}

fn time_if_any(r: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Fault> {
    let micros: Option<i64> = r.get(column)?;
    Ok(micros.map(Timestamp::from_micros))
}
