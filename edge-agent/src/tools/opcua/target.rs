//! From options or a machine file to a server and the way into it.
//!
//! Nothing is assumed: without options a session is neither protected nor of a user, and that is said;
//! with a policy, the certificate to trust must be named as well.

use std::path::Path;
use std::sync::Arc;

use acquisition::{OpcUaSecurity, OpcUaUser, SecurityMode, SecurityPolicy, ServerTrust};
use anyhow::{Context as _, Result, bail};
use driver_opcua::{Access, Identity, Probe};
use edge_config::Connection;
use tempfile::TempDir;

use crate::cli::{ModeName, OpcUaTarget, PolicyName};

/// A server, the way into it, and who asks.
pub(super) struct Target {
    pub(super) access: Access,
    identity: Arc<Identity>,
    /// Whether the identity is the agent's own.
    is_agent: bool,
    /// Whether a way in was chosen, and not merely left open.
    pub(super) is_chosen: bool,
    /// Holds what the library wants as files; removed at the end.
    _work: TempDir,
}

impl Target {
    pub(super) fn of(arguments: &OpcUaTarget) -> Result<Self> {
        let access = match (&arguments.machine, &arguments.endpoint) {
            (Some(machine), _) => configured(&arguments.config, machine)?,
            (None, Some(endpoint)) => {
                Access { endpoint: endpoint.clone(), security: security(arguments)?, user: user(arguments) }
            }
            (None, None) => bail!("an address is missing: --endpoint opc.tcp://host:port, or --machine"),
        };
        let work = tempfile::tempdir().context("cannot make a temporary folder")?;
        let identity = match &arguments.identity {
            Some(folder) => Identity::borrow(folder, work.path())?,
            None => Identity::throw_away(work.path()),
        };
        let is_agent = arguments.identity.is_some();
        let is_chosen =
            arguments.machine.is_some() || arguments.security_policy.is_some() || arguments.user.is_some();
        Ok(Self { access, identity: Arc::new(identity), is_agent, is_chosen, _work: work })
    }

    /// An open session.
    pub(super) async fn open(&self) -> Result<Probe> {
        let endpoint = &self.access.endpoint;
        self.try_open().await.with_context(|| {
            format!("cannot open a session; `edge-agent doctor opcua --endpoint {endpoint}` shows what the server offers")
        })
    }

    pub(super) async fn try_open(&self) -> Result<Probe, driver_opcua::ProbeError> {
        tell(&self.access, self.is_agent);
        Probe::open(&self.access, &self.identity).await
    }

    /// Protection and user, for people.
    pub(super) fn describe(&self) -> String {
        let user =
            self.access.user.as_ref().map_or("anonymous".to_owned(), |user| format!("user {}", user.name));
        match &self.access.security {
            OpcUaSecurity::None => format!("no protection, {user}"),
            OpcUaSecurity::Protected { policy, mode, .. } => {
                format!("{} with {}, {user}", policy.name(), mode.name())
            }
        }
    }
}

/// What a person must know before reading the result.
fn tell(access: &Access, is_agent: bool) {
    match (&access.security, is_agent) {
        (OpcUaSecurity::None, _) => tracing::warn!(
            "the session is not protected{}: everybody on the network can read and change what it carries; \
             --security-policy or --machine chooses a protection",
            if access.user.is_none() { ", and anonymous" } else { "" }
        ),
        (OpcUaSecurity::Protected { .. }, false) => tracing::warn!(
            "this session shows a certificate made for it alone (urn:edge-agent:tool): a server that examines its \
             clients refuses it; --identity names the agent's own, which is what the server must trust"
        ),
        (OpcUaSecurity::Protected { .. }, true) => {}
    }
}

fn configured(folder: &Path, machine: &str) -> Result<Access> {
    let config = edge_config::load(folder)?;
    let Some(found) = config.machines.iter().find(|m| m.id.as_str() == machine) else {
        let known: Vec<_> = config.machines.iter().map(|m| m.id.as_str()).collect();
        bail!("there is no machine {machine:?} in {}; there are: {}", folder.display(), known.join(", "));
    };
    match &found.connection {
        Connection::OpcUa(connection) => Ok(Access::from(connection)),
        Connection::Gateway => bail!("the gateway itself is no OPC UA server; name a machine"),
        Connection::Modbus(_) => bail!("the machine {machine:?} speaks Modbus; use `edge-agent read modbus`"),
    }
}

fn security(arguments: &OpcUaTarget) -> Result<OpcUaSecurity> {
    let policy = match arguments.security_policy {
        None | Some(PolicyName::None) => return unprotected(arguments),
        Some(PolicyName::Basic256Sha256) => SecurityPolicy::Basic256Sha256,
        Some(PolicyName::Aes128Sha256RsaOaep) => SecurityPolicy::Aes128Sha256RsaOaep,
        Some(PolicyName::Aes256Sha256RsaPss) => SecurityPolicy::Aes256Sha256RsaPss,
    };
    let mode = match arguments.security_mode {
        Some(ModeName::Sign) => SecurityMode::Sign,
        Some(ModeName::SignAndEncrypt) | None => SecurityMode::SignAndEncrypt,
    };
    let trust = match (&arguments.server_certificate_file, &arguments.trust_dir) {
        (Some(file), _) => ServerTrust::Certificate(file.clone()),
        (None, Some(folder)) => ServerTrust::Folder(folder.clone()),
        (None, None) => bail!(
            "with a security policy the server's certificate must be trusted: name it with \
             --server-certificate-file, or a folder with --trust-dir; `edge-agent doctor opcua --endpoint {} \
             --save-certificate FILE` writes what the server shows",
            arguments.endpoint.as_deref().unwrap_or_default()
        ),
    };
    Ok(OpcUaSecurity::Protected { policy, mode, trust })
}

/// A certificate that nobody looks at would be false comfort.
fn unprotected(arguments: &OpcUaTarget) -> Result<OpcUaSecurity> {
    let is_useless = arguments.security_mode.is_some()
        || arguments.server_certificate_file.is_some()
        || arguments.trust_dir.is_some();
    if is_useless {
        bail!(
            "--security-policy none contradicts the other options; choose a policy, for example basic256sha256"
        );
    }
    Ok(OpcUaSecurity::None)
}

fn user(arguments: &OpcUaTarget) -> Option<OpcUaUser> {
    let name = arguments.user.clone()?;
    Some(OpcUaUser { name, password_file: arguments.password_file.clone()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> OpcUaTarget {
        OpcUaTarget { endpoint: Some("opc.tcp://h:4840".to_owned()), ..OpcUaTarget::default() }
    }

    #[test]
    fn c10_without_options_nothing_is_protected_and_that_is_what_is_described() {
        let target = Target::of(&arguments()).expect("valid");
        assert_eq!(target.access.security, OpcUaSecurity::None);
        assert_eq!(target.describe(), "no protection, anonymous");
    }

    #[test]
    fn c10_options_that_contradict_one_another_are_refused_with_the_way_out() {
        let policy = Some(PolicyName::Basic256Sha256);
        let no_trust = OpcUaTarget { security_policy: policy, ..arguments() };
        let error = security(&no_trust).expect_err("nothing is trusted").to_string();
        assert!(error.contains("--save-certificate") && error.contains("--trust-dir"), "{error}");
        let useless = OpcUaTarget {
            security_policy: Some(PolicyName::None),
            trust_dir: Some("/x".into()),
            ..arguments()
        };
        assert!(security(&useless).expect_err("no effect").to_string().contains("choose a policy"));
        let good = OpcUaTarget { trust_dir: Some("/x".into()), ..no_trust };
        let OpcUaSecurity::Protected { mode, .. } = security(&good).expect("valid") else {
            panic!("protected")
        };
        assert_eq!(mode, SecurityMode::SignAndEncrypt, "the stronger one where nothing is said");
    }

    #[test]
    fn a_machine_brings_its_own_way_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let machines = folder.path().join("machines.d");
        std::fs::create_dir(&machines).expect("made");
        let agent = "version = 1\ntenant = \"t\"\ngateway = \"g\"\n[buffer]\npath = \"/tmp/b.db\"\n";
        std::fs::write(folder.path().join("agent.toml"), agent).expect("written");
        let tag = "[[tags]]\nid = \"a\"\ndata_type = \"float\"\n";
        let opcua = "[opcua]\nendpoint = \"opc.tcp://h:4840\"\nsecurity_policy = \"basic256sha256\"\n\
                     trust_dir = \"/t\"\nuser = \"u\"\npassword_file = \"/p\"\n";
        let lathe = format!("version = 1\nid = \"lathe\"\n{opcua}{tag}node_id = \"ns=2;s=a\"\n");
        let press = format!(
            "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"h\"\n{tag}holding_register = 0\nformat = \"f32\"\n"
        );
        std::fs::write(machines.join("lathe.toml"), lathe).expect("written");
        std::fs::write(machines.join("press.toml"), press).expect("written");
        let of = |machine: &str| OpcUaTarget {
            machine: Some(machine.to_owned()),
            config: folder.path().to_owned(),
            ..OpcUaTarget::default()
        };
        let target = Target::of(&of("lathe")).expect("valid");
        assert_eq!(target.describe(), "basic256sha256 with sign_and_encrypt, user u");
        let error = |machine: &str| Target::of(&of(machine)).err().expect("wrong").to_string();
        assert!(error("mill").contains("there are: lathe, press"), "{}", error("mill"));
        assert!(error("press").contains("speaks Modbus"), "{}", error("press"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_with_what_to_run_next() {
        let address = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            listener.local_addr().expect("bound")
        };
        let target = OpcUaTarget { endpoint: Some(format!("opc.tcp://{address}")), ..OpcUaTarget::default() };
        let Err(error) = Target::of(&target).expect("valid").open().await else { panic!("nobody is there") };
        assert!(error.to_string().contains("edge-agent doctor opcua"), "{error}");
    }
}
