//! The commands beside `serve`.

use std::io::{BufRead as _, Write as _};

use anyhow::{Context as _, bail};
use plant_model::TenantId;
use rand::TryRngCore as _;
use serde_json::json;
use tenancy::{PasswordHash, Role, Tenant, User, UserName};

use crate::cli::{DataArgs, UserAddArgs};
use crate::data::DataDir;

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
    let store = DataDir::open(data)?.store().await?;
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
    let store = DataDir::open(&args.data)?.store().await?;
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

/// The first line of standard input.
pub(crate) fn read_password() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Tells the outcome of a command.
pub(crate) fn answer(json: bool, body: &serde_json::Value, text: &str) -> anyhow::Result<()> {
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
