//! `edge-agent diag`: one file for support, without secrets.
//!
//! Only `agent.toml` and `machines.d/*.toml` are taken from the configuration, never a file they name;
//! all text passes [`redacted`]. What cannot be had is told in its place: a file with holes is worth
//! more than none.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::redact::redacted;
use super::{Found, check, local, physics, runtime};
use crate::cli::DiagArguments;

/// The end of a log that is taken: what led to the trouble, not its history.
const LOG_BYTES_MAX: usize = 1 << 20;

/// A folder of machines is no longer than this.
const MACHINES_MAX: usize = 1_000;

pub(crate) fn run(arguments: &DiagArguments) -> Result<Found> {
    let parts = collect(arguments)?;
    write(&arguments.out, &parts)?;
    print(&format!(
        "{} written, {} parts, secrets removed; look into it before you send it\n",
        arguments.out.display(),
        parts.len()
    ));
    Ok(Found::Something)
}

#[expect(clippy::print_stdout, reason = "the result of a command line tool")]
fn print(text: &str) {
    print!("{text}");
}

/// What can be said in one message: version, check of the configuration, state. Whoever asks is far away, so the texts
/// of the configuration stay here.
pub(crate) fn summary(config: &Path, status: String) -> String {
    let checked = match edge_config::load(config) {
        Ok(config) => check::text(&physics::compute(&config)),
        Err(errors) => format!("{errors}\n"),
    };
    let parts = [("about", about()), ("check", checked), ("status", status)];
    let text: String = parts.into_iter().map(|(name, text)| format!("== {name}\n{text}\n")).collect();
    redacted(&text)
}

type Part = (String, String);

fn collect(arguments: &DiagArguments) -> Result<Vec<Part>> {
    let mut parts = vec![("about.txt".to_owned(), about())];
    for path in config_files(&arguments.config) {
        let name = path.strip_prefix(&arguments.config).unwrap_or(&path).display().to_string();
        parts.push((format!("config/{name}"), text_of(&path)));
    }
    let loaded = edge_config::load(&arguments.config);
    let checked = match &loaded {
        Ok(config) => check::text(&physics::compute(config)),
        Err(errors) => format!("{errors}\n"),
    };
    parts.push(("check.txt".to_owned(), checked));
    let configured = loaded.ok().and_then(|config| config.status.listen);
    let address = arguments.status.or(configured.filter(|a| a.port() != 0));
    for (name, path) in
        [("status.json", "/status"), ("machines.json", "/machines"), ("readyz.txt", "/readyz")]
    {
        let answer = match address {
            Some(address) => runtime()?.block_on(local::get(address, path)),
            None => Err(anyhow::anyhow!(
                "there is no status interface; configure [status] listen or give --status"
            )),
        };
        let text =
            answer.map_or_else(|e| format!("{e:#}\n"), |body| String::from_utf8_lossy(&body).into_owned());
        parts.push((name.to_owned(), text));
    }
    if let Some(log) = &arguments.log_file {
        parts.push(("log.txt".to_owned(), end_of(log)));
    }
    Ok(parts.into_iter().map(|(name, text)| (name, redacted(&text))).collect())
}

fn about() -> String {
    let system = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|e| format!("{path}: {e}\n"));
    format!(
        "edge-agent {} {} {}\n\n{}\n{}\n{}",
        crate::version::running(),
        std::env::consts::ARCH,
        std::env::consts::OS,
        system("/proc/version"),
        system("/etc/os-release"),
        system("/proc/meminfo").lines().take(3).collect::<Vec<_>>().join("\n")
    )
}

fn config_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join("agent.toml")];
    let entries = std::fs::read_dir(folder.join("machines.d")).into_iter().flatten().filter_map(Result::ok);
    let machines = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml"));
    files.extend(machines.take(MACHINES_MAX));
    files.sort();
    files
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}\n", path.display()))
}

fn end_of(path: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_BYTES_MAX as u64)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        // The first line is cut, and half a secret is not recognised.
        Ok(bytes) if bytes.len() == LOG_BYTES_MAX => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
        }
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("{}: {error}\n", path.display()),
    }
}

/// Readable by its owner only: it names hosts and machines.
fn write(path: &Path, parts: &[Part]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| {
        format!("cannot create {}; choose a new name in a folder that you may write to", path.display())
    })?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive
            .append_data(&mut header, format!("edge-agent-diag/{name}"), text.as_bytes())
            .with_context(|| format!("cannot add {name} to {}", path.display()))?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    const KEY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";

    fn unpacked(path: &Path) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path).expect("there")));
        let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.expect("whole");
            let name = entry.path().expect("a path").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (name.trim_start_matches("edge-agent-diag/").to_owned(), text)
        };
        archive.entries().expect("an archive").map(entry).collect()
    }

    #[test]
    fn f7_the_file_for_support_holds_the_configuration_and_no_key_material() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("machines.d")).expect("created");
        let agent = format!(
            "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n# {KEY}\n[buffer]\npath = \"b\"\npassword = \"hunter2\"\n"
        );
        std::fs::write(path("agent.toml"), agent).expect("written");
        let machine = "version = 1\nid = \"lathe\"\n[opcua]\nendpoint = \"opc.tcp://joe:hunter2@h:4840\"\n";
        std::fs::write(path("machines.d/lathe.toml"), machine).expect("written");
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n");
        std::fs::write(path("gateway.key"), &pem).expect("written");
        std::fs::write(path("agent.log"), format!("started\n{pem}stopped\n")).expect("written");
        let arguments = DiagArguments {
            config: folder.path().to_owned(),
            out: path("out.tar.gz"),
            status: None,
            log_file: Some(path("agent.log")),
        };
        run(&arguments).expect("written");
        let parts = unpacked(&arguments.out);
        assert!(parts["config/agent.toml"].contains("tenant = \"acme\""), "{parts:#?}");
        assert!(parts["check.txt"].contains("buffer.password = (removed)"), "{parts:#?}");
        assert_eq!(parts["log.txt"], "started\n(removed)\nstopped\n");
        assert!(parts["status.json"].contains("there is no status interface"), "{parts:#?}");
        for (name, text) in &parts {
            assert!(!name.contains("key"), "{name}");
            for secret in [KEY, "hunter2", "BEGIN"] {
                assert!(!text.contains(secret), "{secret} is in {name}: {text}");
            }
        }
        let error = run(&arguments).expect_err("a file is never overwritten").to_string();
        assert!(error.contains("choose a new name"), "{error}");
    }
}
