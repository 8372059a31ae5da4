//! `broker configure mosquitto`, and the folder that it writes.
//!
//! ```text
//! mosquitto.conf           what Mosquitto is started with
//! acl                      who may publish and read where
//! ca.crt, server.crt/.key  whom it trusts, and as whom it is known
//! names                    for which server.crt is, one a line
//! revoked.crl              what opens nothing
//! mosquitto.pid            written by Mosquitto
//! ```
//!
//! `serve --broker-dir` keeps certificates and list up to date, with the authority and before they end.
//!
//! The rules rest on two facts: the common name of a gateway's certificate is `TENANT/GATEWAY`, which is just how its
//! topics begin; and Mosquitto takes it for user name and client id alike, whatever a client says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pki::{BACKEND_NAME, CertificateAuthority};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::{Channel, Topic};
use serde_json::json;
use service_kit::{sync_folder, write_synced};
use tracing::warn;

use crate::admin::answer;
use crate::cli::MosquittoArgs;
use crate::data::DataDir;

const LIST_FILE: &str = "revoked.crl";
const NAMES_FILE: &str = "names";
const PID_FILE: &str = "mosquitto.pid";

/// How long the broker's certificate is good. `serve` renews it long before, with those of its own servers.
const SERVER_LIFETIME: Duration = Duration::from_secs(397 * 24 * 3_600);

/// The folder of a Mosquitto.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder that `broker configure` has written.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = Self(path.to_owned());
        if !folder.list().is_file() {
            bail!(
                "{} is no folder of a broker: there is no {LIST_FILE} in it; make it with `cloud-backend broker \
                 configure mosquitto --out {}`",
                path.display(),
                path.display()
            );
        }
        Ok(folder)
    }

    /// The list of revoked certificates.
    pub(crate) fn list(&self) -> PathBuf {
        self.0.join(LIST_FILE)
    }

    /// Replaces the authority's list; those of its earlier issuers stay.
    pub(crate) fn write_list(&self, authority: &CertificateAuthority, list: &str) -> anyhow::Result<()> {
        let present = std::fs::read_to_string(self.list()).unwrap_or_default();
        self.write(LIST_FILE, &format!("{}{list}", authority.earlier_lists(&present)), 0o644)
    }

    /// Certifies the broker anew, for the names that the folder was made for, and lets it trust what the authority
    /// trusts. It takes that up when it is told to read its files again.
    pub(crate) fn certify(&self, authority: &CertificateAuthority) -> anyhow::Result<()> {
        let path = self.0.join(NAMES_FILE);
        let names = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}, and so not renew the broker's certificate; write the folder again with `cloud-backend \
                 broker configure mosquitto`",
                path.display()
            )
        })?;
        let names: Vec<&str> = names.lines().collect();
        let server = authority.issue_server_for(&names, SERVER_LIFETIME)?;
        // Trust in a new root comes before the first certificate from it.
        self.write("ca.crt", authority.root_pem(), 0o644)?;
        self.write("server.key", server.key_pem.secret(), 0o600)?;
        self.write("server.crt", &server.chain_pem, 0o644)
    }

    /// Tells a Mosquitto that runs here to read its files again. Where it runs elsewhere, or may not be signalled,
    /// somebody else has to.
    pub(crate) fn tell_broker(&self) -> anyhow::Result<()> {
        let path = self.0.join(PID_FILE);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let pid: i32 = text
            .trim()
            .parse()
            .ok()
            .filter(|pid| *pid > 1)
            .with_context(|| format!("{} holds no process id: {:?}", path.display(), text.trim()))?;
        // A file of a killed one may name somebody else by now.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "mosquitto"
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGHUP)
        {
            warn!(pid, %error, "the broker cannot be told to read the list of revoked certificates");
        }
        Ok(())
    }

    /// What root writes into the folder of the broker is the broker's: it reads it again as its own user.
    fn give_to_owner(&self, file: &Path) -> std::io::Result<()> {
        let folder = std::fs::metadata(&self.0)?;
        if std::fs::metadata(file)?.uid() == 0 && folder.uid() != 0 {
            chown(file, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> anyhow::Result<()> {
        let (path, partial) = (self.0.join(name), self.0.join(format!("{name}.partial")));
        let written = write_synced(&partial, content.as_bytes(), mode)
            .and_then(|()| self.give_to_owner(&partial))
            .and_then(|()| std::fs::rename(&partial, &path))
            .and_then(|()| sync_folder(&path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `broker configure mosquitto`
pub(crate) async fn configure(args: MosquittoArgs) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data)?;
    let authority = data.authority()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let out = args.out.canonicalize().with_context(|| format!("cannot find {}", args.out.display()))?;
    let folder = Folder(out.clone());
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !args.listen.ip().is_unspecified() {
        names.push(args.listen.ip().to_string());
    }
    names.extend(args.name);
    names.dedup();
    let now = service_kit::Clock::start().wall();
    let revoked = data.store().await?.revoked_serials(now).await?;
    // As of long ago: every list that `serve` makes is newer.
    let list = authority.revocation_list(
        revoked.iter().map(String::as_str),
        SystemTime::now() - Duration::from_secs(3_600),
    )?;
    folder.write(NAMES_FILE, &names.join("\n"), 0o644)?;
    folder.certify(&authority)?;
    folder.write_list(&authority, &list)?;
    folder.write("acl", &access_rules(), 0o644)?;
    folder.write("mosquitto.conf", &configuration(&out, args.listen, &args.user), 0o644)?;
    let out = out.display();
    let text = format!(
        "{out} is written; next:\n\n  chown -R {user}: {out}\n  mosquitto -c {out}/mosquitto.conf\n  cloud-backend serve \
         --broker mqtts://HOST:{port} --broker-dir {out}",
        user = args.user,
        port = args.listen.port()
    );
    answer(args.json, &json!({ "folder": out.to_string() }), &text)
}

/// Who may publish and read where. `%u` is the common name of the client's certificate; a pattern holds for everybody.
fn access_rules() -> String {
    let rule = |channel: Channel| {
        let (gateways, backend) =
            if channel.is_from_gateway() { ("write", "read") } else { ("read", "write") };
        let (prefix, path) = (Topic::PREFIX, channel.path());
        (format!("pattern {gateways} {prefix}%u/{path}\n"), format!("topic {backend} {prefix}+/+/{path}\n"))
    };
    let (patterns, topics): (String, String) = Channel::ALL.into_iter().map(rule).unzip();
    format!(
        "# Written by `cloud-backend broker configure mosquitto`.\n{patterns}user {BACKEND_NAME}\n{topics}"
    )
}

/// The limits, each with its reason, and the one listener. Options of the listener come behind it.
fn configuration(out: &Path, listen: SocketAddr, user: &str) -> String {
    let file = |name: &str| out.join(name).display().to_string();
    let (packet_max, message_max) = (MESSAGE_BYTES_MAX + 512, MESSAGE_BYTES_MAX);
    let options = [
        (
            "# Written by `cloud-backend broker configure mosquitto`; run it again instead of editing.",
            String::new(),
        ),
        ("user", user.to_owned()),
        ("pid_file", file(PID_FILE)),
        ("per_listener_settings", "false".to_owned()),
        ("allow_anonymous", "false".to_owned()),
        ("acl_file", file("acl")),
        ("# Gateways keep what is not acknowledged by the backend: the broker need not.", String::new()),
        ("persistence", "false".to_owned()),
        ("retain_available", "false".to_owned()),
        ("# A session that somebody asks for is not kept for ever.", String::new()),
        ("persistent_client_expiration", "1h".to_owned()),
        ("# A message of 1 MiB, with its topic and header.", String::new()),
        ("message_size_limit", message_max.to_string()),
        ("max_packet_size", packet_max.to_string()),
        (
            "# What the backend has not acknowledged, and what waits for it; beyond, gateways send again.",
            String::new(),
        ),
        ("max_inflight_messages", "512".to_owned()),
        ("max_queued_messages", "4000".to_owned()),
        ("max_queued_bytes", (64 << 20).to_string()),
        ("max_keepalive", "300".to_owned()),
        ("# Acknowledgements are small and awaited.", String::new()),
        ("set_tcp_nodelay", "true".to_owned()),
        ("log_type", "error".to_owned()),
        ("log_type", "warning".to_owned()),
        ("log_type", "notice".to_owned()),
        ("log_type", "information".to_owned()),
        ("", String::new()),
        ("listener", format!("{} {}", listen.port(), listen.ip())),
        ("# 1,000 gateways and the backend.", String::new()),
        ("max_connections", "1001".to_owned()),
        ("cafile", file("ca.crt")),
        ("certfile", file("server.crt")),
        ("keyfile", file("server.key")),
        ("crlfile", file(LIST_FILE)),
        ("tls_version", "tlsv1.3".to_owned()),
        ("require_certificate", "true".to_owned()),
        ("use_identity_as_username", "true".to_owned()),
        (
            "# Behind `listener`: before it, Mosquitto 2.0.11 opens a listener without TLS of its own accord.",
            String::new(),
        ),
        ("use_username_as_clientid", "true".to_owned()),
    ];
    options.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String does not fail.
        let _ = if value.is_empty() { writeln!(text, "{name}") } else { writeln!(text, "{name} {value}") };
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_listener_stand_behind_it() {
        let text = configuration(Path::new("/etc/mfp"), ([0, 0, 0, 0], 8883).into(), "mosquitto");
        let place =
            |option: &str| text.find(&format!("\n{option} ")).unwrap_or_else(|| panic!("no {option}"));
        for option in
            ["cafile", "crlfile", "require_certificate", "use_username_as_clientid", "max_connections"]
        {
            assert!(place(option) > place("listener"), "{option}");
        }
        assert!(
            text.contains("\nlistener 8883 0.0.0.0\n") && text.contains("crlfile /etc/mfp/revoked.crl\n")
        );
    }

    #[test]
    fn a_gateway_publishes_on_its_channels_and_reads_the_backends_and_the_backend_the_other_way_round() {
        let rules = access_rules();
        assert_eq!(rules.lines().filter(|line| line.starts_with("pattern ")).count(), Channel::ALL.len());
        for rule in [
            "pattern write mfp/v1/%u/up/hello",
            "pattern write mfp/v1/%u/res",
            "pattern read mfp/v1/%u/cmd",
            "topic read mfp/v1/+/+/res",
            "topic write mfp/v1/+/+/ack",
        ] {
            assert!(rules.lines().any(|line| line == rule), "{rule} is missing in\n{rules}");
        }
        // A topic rule before the line of the user would hold for nobody.
        assert!(
            rules.find("user backend").is_some_and(|user| rules.find("\ntopic ").is_some_and(|t| user < t))
        );
    }

    #[test]
    fn a_folder_without_a_list_is_refused_with_the_command_that_makes_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Folder::open(folder.path()).expect_err("empty").to_string();
        assert!(error.contains("broker configure mosquitto --out"), "{error}");
    }
}
