//! The commands beside `serve`.

use std::fs::OpenOptions;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pki::IssuedIdentity;
use plant_model::{GatewayId, TenantId};
use rand::TryRngCore as _;
use serde_json::json;
use tenancy::{PasswordHash, Role, TenancyStore, Tenant, User, UserName};

use crate::cli::{DataArgs, GatewayAddArgs, UserAddArgs};
use crate::data::DataDir;

/// How long a gateway's certificate is good. There is no renewal yet: it must outlast a season in a cupboard.
const GATEWAY_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3_600);

/// `tenant add`
pub(crate) async fn add_tenant(
    id: TenantId,
    name: String,
    data: &DataArgs,
    json: bool,
) -> anyhow::Result<()> {
    if name.trim().is_empty() {
        bail!("the name of tenant {id} is empty; give --name a name for people");
    }
    let store = DataDir::open(&data.dir)?.store().await?;
    store.add_tenant(Tenant { id: id.clone(), name: name.clone() }).await?;
    answer(json, &json!({ "tenant": id.as_str(), "name": name }), &format!("tenant {id} added"))
}

/// `user add`
pub(crate) async fn add_user(args: UserAddArgs) -> anyhow::Result<()> {
    let name = UserName::new(&args.name)?;
    let role = args.tenant.map_or(Role::PlatformOperator, |tenant| Role::Manager { tenant });
    let generated = if args.generate { Some(generate_password()?) } else { None };
    let password = match &generated {
        Some(password) => password.clone(),
        None => read_password()?,
    };
    let hash = tokio::task::spawn_blocking(move || http_api::hash_password(&password)).await??;
    let store = DataDir::open(&args.data.dir)?.store().await?;
    let user = User {
        display_name: args.display_name.unwrap_or_else(|| name.to_string()),
        name: name.clone(),
        role: role.clone(),
        password_hash: PasswordHash::from_phc(hash),
    };
    store.add_user(user).await?;
    let mut text = format!("user {name} added ({})", role.name());
    let mut body = json!({ "user": name.as_str(), "role": role.name() });
    if let Some(password) = generated {
        text.push_str(&format!("\npassword: {password}"));
        body["password"] = password.into();
    }
    answer(args.json, &body, &text)
}

/// 120 bits in groups that can be read out on the telephone: no letters that look alike.
fn generate_password() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz123456789";
    let mut bytes = [0_u8; 24];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).context("the system gave no random bytes")?;
    let letters: Vec<char> = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    Ok(letters.chunks(6).map(String::from_iter).collect::<Vec<_>>().join("-"))
}

fn read_password() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// `gateway add`
pub(crate) async fn add_gateway(args: GatewayAddArgs) -> anyhow::Result<()> {
    let GatewayAddArgs { tenant, gateway, out, data, json } = args;
    let data = DataDir::open(&data.dir)?;
    let store = data.store().await?;
    let tenancy: &dyn TenancyStore = &*store;
    if tenancy.tenant(&tenant).await?.is_none() {
        bail!("there is no tenant {tenant}; add it with `cloud-backend tenant add {tenant} --name NAME`");
    }
    if tenancy.registered_gateways(&tenant).await?.contains(&gateway) {
        bail!("gateway {gateway} of tenant {tenant} already exists");
    }
    let identity = data.authority()?.issue_gateway(&tenant, &gateway, GATEWAY_LIFETIME)?;
    write_identity(&out, &identity)?;
    tenancy.add_gateway(tenant.clone(), gateway.clone()).await?;
    let body = json!({ "tenant": tenant.as_str(), "gateway": gateway.as_str(), "out": out });
    answer(json, &body, &told(&tenant, &gateway, &out))
}

fn told(tenant: &TenantId, gateway: &GatewayId, out: &Path) -> String {
    let out = out.display();
    format!(
        "gateway {gateway} of tenant {tenant} added; bring ca.crt, gateway.crt and gateway.key from {out} to it"
    )
}

/// Writes the three files; none may exist, so that no gateway loses its key by a slip of the hand.
fn write_identity(out: &Path, identity: &IssuedIdentity) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let files = [
        ("ca.crt", &identity.ca_pem, 0o644),
        ("gateway.crt", &identity.certificate_pem, 0o644),
        ("gateway.key", &identity.key_pem, 0o600),
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

fn answer(json: bool, body: &serde_json::Value, text: &str) -> anyhow::Result<()> {
    if json { print(&format!("{body}\n")) } else { print(&format!("{text}\n")) }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_long_and_never_the_same() {
        let (a, b) = (generate_password().expect("random"), generate_password().expect("random"));
        assert_eq!((a.len(), a.matches('-').count()), (27, 3));
        assert_ne!(a, b);
    }
}
