//! `pki status|rotate-issuer|rotate-root|retire-root`.

use std::fmt::Write as _;

use anyhow::bail;
use pki::{AuthorityCertificate, AuthorityStatus, CertificateAuthority};
use serde_json::{Value, json};
use service_kit::Clock;
use tenancy::{GatewayCertificate, needs_older_root};

use crate::admin::answer;
use crate::certifier::timestamp;
use crate::cli::{PkiArgs, PkiCommand};
use crate::data::DataDir;
use crate::gateways::instant;

/// Gateways that a person is told of by name; of the others, how many there are.
const NAMED_MAX: usize = 50;

/// Does what the command says.
pub(crate) async fn run(command: PkiCommand) -> anyhow::Result<()> {
    let (PkiCommand::Status(args)
    | PkiCommand::RotateIssuer(args)
    | PkiCommand::RotateRoot(args)
    | PkiCommand::RetireRoot(args)) = &command;
    let PkiArgs { data, json } = args;
    let (data, json) = (DataDir::open(data)?, *json);
    let done = match command {
        PkiCommand::Status(_) => "",
        PkiCommand::RotateIssuer(_) => {
            data.with_pki(CertificateAuthority::rotate_issuer)?;
            "a new issuer signs from now on; what the old one signed stays good"
        }
        PkiCommand::RotateRoot(_) => {
            data.with_pki(CertificateAuthority::rotate_root)?;
            "a new root is trusted beside the old one; gateways get it with their next certificate"
        }
        PkiCommand::RetireRoot(_) => {
            retire(&data).await?;
            "the older root is trusted no more; codes that were made before the new one are worth nothing"
        }
    };
    let status = data.with_pki(CertificateAuthority::status)?;
    let waiting = waiting(&data, &status).await?;
    answer(json, &status_json(&status, &waiting), &status_text(done, &status, &waiting))
}

async fn retire(data: &DataDir) -> anyhow::Result<()> {
    let status = data.with_pki(CertificateAuthority::status)?;
    let waiting = waiting(data, &status).await?;
    if status.roots.len() > 1 && !waiting.is_empty() {
        bail!(
            "{} gateways still need the older root; it stays:\n{}\nThey are renewed by themselves after two thirds of \
             the life of their certificates, and counted until what they had before has ended. Revoke a gateway that \
             does not come back (`cloud-backend gateway revoke`)",
            waiting.len(),
            list(&waiting)
        );
    }
    data.with_pki(CertificateAuthority::retire_root).map(drop)
}

/// The newest certificates of the gateways that need a root which is older than the newest.
async fn waiting(data: &DataDir, status: &AuthorityStatus) -> anyhow::Result<Vec<GatewayCertificate>> {
    let Some(newest) = status.roots.first().filter(|_| status.roots.len() > 1) else { return Ok(Vec::new()) };
    let (store, now) = (data.store().await?, Clock::start().wall());
    let mut waiting = Vec::new();
    for tenant in store.tenants().await? {
        for gateway in store.registered_gateways(&tenant.id).await? {
            let certificates = store.certificates(&tenant.id, &gateway).await?;
            if needs_older_root(&certificates, timestamp(newest.made_at), now) {
                waiting.extend(certificates.into_iter().next());
            }
        }
    }
    Ok(waiting)
}

fn list(waiting: &[GatewayCertificate]) -> String {
    let mut text = String::new();
    for certificate in waiting.iter().take(NAMED_MAX) {
        let GatewayCertificate { tenant, gateway, issued_at, expires_at, .. } = certificate;
        let (issued, ends) = (instant(*issued_at), instant(*expires_at));
        let _ = writeln!(text, "  {tenant}/{gateway:<24} certificate of {issued}, good until {ends}");
    }
    if waiting.len() > NAMED_MAX {
        let _ = writeln!(text, "  and {} more", waiting.len() - NAMED_MAX);
    }
    text
}

fn status_text(done: &str, status: &AuthorityStatus, waiting: &[GatewayCertificate]) -> String {
    let mut text = String::new();
    if !done.is_empty() {
        let _ = writeln!(text, "{done}\n");
    }
    for (n, root) in status.roots.iter().enumerate() {
        let what = if n == 0 { "root" } else { "older root" };
        let _ = writeln!(text, "{}", line(what, root));
    }
    let _ = writeln!(text, "{}", line("issuer", &status.issuer));
    let key = if status.root_key_is_here { "is here; it may be kept off line" } else { "is kept elsewhere" };
    let _ = write!(text, "the root's key {key}");
    match (status.roots.len() > 1, waiting.is_empty()) {
        (false, _) => {}
        (true, true) => {
            text.push_str("\nno gateway needs the older root: `cloud-backend pki retire-root` ends it")
        }
        (true, false) => {
            let _ = write!(text, "\ngateways that need the older root:\n{}", list(waiting).trim_end());
        }
    }
    text
}

fn line(what: &str, certificate: &AuthorityCertificate) -> String {
    let at = |at| instant(timestamp(at));
    let AuthorityCertificate { serial, made_at, expires_at } = certificate;
    format!("{what:<11} {serial}  made {}  ends {}", at(*made_at), at(*expires_at))
}

fn status_json(status: &AuthorityStatus, waiting: &[GatewayCertificate]) -> Value {
    let certificate = |c: &AuthorityCertificate| {
        let at = |at| instant(timestamp(at));
        json!({ "serial": c.serial, "made_at": at(c.made_at), "expires_at": at(c.expires_at) })
    };
    let gateway = |c: &GatewayCertificate| {
        json!({
            "tenant": c.tenant.as_str(),
            "gateway": c.gateway.as_str(),
            "issued_at": instant(c.issued_at),
            "expires_at": instant(c.expires_at),
        })
    };
    json!({
        "roots": status.roots.iter().map(certificate).collect::<Vec<_>>(),
        "issuer": certificate(&status.issuer),
        "root_key_is_here": status.root_key_is_here,
        "gateways_that_need_the_older_root": waiting.iter().map(gateway).collect::<Vec<_>>(),
    })
}
