//! `gateway add|invite|list|revoke`.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp as Rfc3339;
use pki::IssuedIdentity;
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::EnrolmentCode;
use rollouts::UpdateStanding;
use serde_json::json;
use service_kit::Clock;
use tenancy::{GatewayCertificate, Invitation, TokenDigest};

use crate::admin::{answer, print};
use crate::certifier::timestamp;
use crate::cli::{GatewayAddArgs, GatewayArgs, GatewayInviteArgs, GatewayListArgs};
use crate::data::DataDir;
use crate::rollout_command::{Row, standing_json};
use crate::store::Store;

/// How long the certificate of `gateway add` is good: it may lie in a cupboard for a season first.
const CARRIED_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The store, after a look whether there is such a tenant.
async fn store_of(data: &DataDir, tenant: &TenantId) -> anyhow::Result<Arc<dyn Store>> {
    let store = data.store().await?;
    if store.tenant(tenant).await?.is_none() {
        bail!("there is no tenant {tenant}; add it with `cloud-backend tenant add {tenant} --name NAME`");
    }
    Ok(store)
}

/// `gateway add`
pub(crate) async fn add(args: GatewayAddArgs) -> anyhow::Result<()> {
    let GatewayAddArgs { which: GatewayArgs { tenant, gateway, data, json }, out } = args;
    let data = DataDir::open(&data)?;
    let store = store_of(&data, &tenant).await?;
    if store.registered_gateways(&tenant).await?.contains(&gateway) {
        bail!(
            "gateway {gateway} of tenant {tenant} already exists; replace its certificate with `cloud-backend gateway invite`"
        );
    }
    let identity = data.authority()?.issue_gateway(&tenant, &gateway, CARRIED_LIFETIME)?;
    write_identity(&out, &identity)?;
    store.add_gateway(tenant.clone(), gateway.clone()).await?;
    let certificate = GatewayCertificate {
        tenant: tenant.clone(),
        gateway: gateway.clone(),
        serial: identity.certificate.serial,
        issued_at: Clock::start().wall(),
        expires_at: timestamp(identity.certificate.expires_at),
        revoked_at: None,
    };
    store.add_certificate(certificate).await?;
    let body = json!({ "tenant": tenant.as_str(), "gateway": gateway.as_str(), "out": out });
    let out = out.display();
    let text = format!(
        "gateway {gateway} of tenant {tenant} added; bring ca.crt, gateway.crt and gateway.key from {out} to it"
    );
    answer(json, &body, &text)
}

/// Writes the three files; none may exist, so that no gateway loses its key by a slip of the hand.
fn write_identity(out: &Path, identity: &IssuedIdentity) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let files = [
        ("ca.crt", identity.root_pem.as_str(), 0o644),
        ("gateway.crt", identity.certificate.chain_pem.as_str(), 0o644),
        ("gateway.key", identity.key_pem.secret(), 0o600),
    ];
    if let Some((name, ..)) = files.iter().find(|(name, ..)| out.join(name).exists()) {
        bail!("{} already exists; give --out an empty directory", out.join(name).display());
    }
    for (name, content, mode) in files {
        let path = out.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        file.write_all(content.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// `gateway invite`
pub(crate) async fn invite(args: GatewayInviteArgs) -> anyhow::Result<()> {
    let GatewayInviteArgs { which: GatewayArgs { tenant, gateway, data, json }, valid } = args;
    let data = DataDir::open(&data)?;
    let store = store_of(&data, &tenant).await?;
    let code = EnrolmentCode::new(data.authority()?.root_der(), rand::random());
    let now = Clock::start().wall();
    let expires_at = now.plus(valid);
    let invitation = Invitation {
        code_sha256: TokenDigest(code.digest()),
        tenant: tenant.clone(),
        gateway: gateway.clone(),
        created_at: now,
        expires_at,
        used_at: None,
    };
    store.invite(invitation).await?;
    let until = instant(expires_at);
    let body = json!({
        "tenant": tenant.as_str(), "gateway": gateway.as_str(), "code": code.to_string(), "expires_at": until,
    });
    let text = format!(
        "code for gateway {gateway} of tenant {tenant}, good once and until {until}:\n\n  {code}\n\n\
         on the gateway: edge-agent enrol --cloud https://THIS-HOST:8884 --code {code}"
    );
    answer(json, &body, &text)
}

/// `gateway list`
pub(crate) async fn list(args: GatewayListArgs) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data)?;
    let store = store_of(&data, &args.tenant).await?;
    let now = Clock::start().wall();
    let mut updates: HashMap<_, _> = store.update_standings(&args.tenant).await?.into_iter().collect();
    let mut gateways = Vec::new();
    for gateway in store.registered_gateways(&args.tenant).await? {
        let newest = store.certificates(&args.tenant, &gateway).await?.into_iter().next();
        let update = updates.remove(&gateway).unwrap_or_default();
        gateways.push((gateway, newest, update));
    }
    if args.json {
        let rows: Vec<_> =
            gateways.iter().map(|(gateway, newest, update)| row_json(gateway, newest, update, now)).collect();
        return print(&format!("{}\n", json!(rows)));
    }
    let mut text = format!(
        "{:<24} {:<10} {:<20} {:<16} {:<10} {:<16} {:<12} serial\n",
        "gateway", "state", "certificate ends", "runs", "channel", "desired", "update"
    );
    for (gateway, newest, update) in &gateways {
        let (end, serial) =
            newest.as_ref().map_or(("-".to_owned(), "-"), |c| (instant(c.expires_at), &c.serial));
        let Row { running, channel, desired, state: updating, .. } = Row::of(update);
        text.push_str(&format!(
            "{gateway:<24} {:<10} {end:<20} {running:<16} {channel:<10} {desired:<16} {updating:<12} {serial}\n",
            state(newest.as_ref(), now)
        ));
    }
    print(&text)
}

fn row_json(
    gateway: &GatewayId,
    newest: &Option<GatewayCertificate>,
    update: &UpdateStanding,
    now: Timestamp,
) -> serde_json::Value {
    json!({
        "gateway": gateway.as_str(),
        "state": state(newest.as_ref(), now),
        "certificate": newest.as_ref().map(|c| json!({
            "serial": c.serial,
            "issued_at": instant(c.issued_at),
            "expires_at": instant(c.expires_at),
            "revoked_at": c.revoked_at.map(instant),
        })),
        "update": standing_json(update),
    })
}

fn state(newest: Option<&GatewayCertificate>, now: Timestamp) -> &'static str {
    match newest {
        None => "invited",
        Some(certificate) if certificate.revoked_at.is_some() => "revoked",
        Some(certificate) if certificate.expires_at <= now => "expired",
        Some(_) => "enrolled",
    }
}

/// `gateway revoke`
pub(crate) async fn revoke(args: GatewayArgs) -> anyhow::Result<()> {
    let GatewayArgs { tenant, gateway, data, json } = args;
    let store = store_of(&DataDir::open(&data)?, &tenant).await?;
    let count = store.revoke_gateway(tenant.clone(), gateway.clone(), Clock::start().wall()).await?;
    let body = json!({ "tenant": tenant.as_str(), "gateway": gateway.as_str(), "revoked": count });
    let text = format!(
        "gateway {gateway} of tenant {tenant}: {count} certificates revoked; its connections end within seconds, \
         what it sent stays"
    );
    answer(json, &body, &text)
}

pub(crate) fn instant(at: Timestamp) -> String {
    Rfc3339::from_microsecond(at.micros()).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}
