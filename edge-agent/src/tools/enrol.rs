//! `edge-agent enrol`: from a one-time code to a gateway that can deliver.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge_config::AgentConfig;
use gateway_identity::{Enrolled, EnrolmentOrder, IdentityFiles};
use jiff::Timestamp as Rfc3339;
use plant_model::Timestamp;
use serde::Serialize;
use service_kit::Clock;
use tls_kit::TlsTime;

use super::{Found, Output, print};
use crate::cli::EnrolArguments;
use crate::time::first_look;

/// A clock that is further off is worth a word: certificates and samples depend on it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug, Serialize)]
struct Report {
    tenant: String,
    gateway: String,
    certificate_expires_at: String,
    identity: PathBuf,
    config: PathBuf,
    /// Whether agent.toml was made.
    config_made: bool,
    /// What must be put into an agent.toml that was there, if it lacks it.
    config_lacks: Option<String>,
    /// How far this gateway's clock is from the backend's.
    clock_off_s: i64,
}

pub(crate) fn run(arguments: &EnrolArguments) -> Result<Found> {
    let path = arguments.config.join("agent.toml");
    let configured = if path.exists() { Some(edge_config::load_agent(&arguments.config)?) } else { None };
    let files = match &configured {
        Some(config) => files_of(config, arguments)?,
        None => IdentityFiles::in_folder(&absolute(&arguments.state)?.join("identity")),
    };
    let clock = Clock::start_kept();
    let floor = first_look(clock, Timestamp::default()).floor();
    let order = EnrolmentOrder {
        code: arguments.code.clone(),
        expected: configured.as_ref().map(|config| format!("{}/{}", config.tenant, config.gateway)),
        agent_version: crate::version::running().to_owned(),
        time: TlsTime { clock, floor },
    };
    // Files that cannot be written must be found out before the code is used up.
    files.prepare()?;
    let enrolled = super::runtime()?.block_on(gateway_identity::enrol(&arguments.cloud, order, &files))?;
    if configured.is_none() {
        make_config(&path, &enrolled, &files, &absolute(&arguments.state)?)?;
    }
    print(Output::json(arguments.json), &report(&enrolled, &files, &path, configured.as_ref()), write)?;
    Ok(Found::Something)
}

/// Where an agent that is configured already looks for its identity.
fn files_of(config: &AgentConfig, arguments: &EnrolArguments) -> Result<IdentityFiles> {
    let Some(uplink) = &config.uplink else {
        return Ok(IdentityFiles::in_folder(&absolute(&arguments.state)?.join("identity")));
    };
    if uplink.certificate_file != uplink.key_file {
        bail!(
            "{}: uplink.certificate_file and uplink.key_file are two files; an enrolled gateway has one for both, \
             which is renewed by itself: set both to the same path and renewal_url = {:?}",
            arguments.config.join("agent.toml").display(),
            arguments.cloud
        );
    }
    Ok(IdentityFiles { certificate: uplink.certificate_file.clone(), roots: uplink.ca_file.clone() })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

fn make_config(path: &Path, enrolled: &Enrolled, files: &IdentityFiles, state: &Path) -> Result<()> {
    let machines = path.with_file_name("machines.d");
    let failed = |path: &Path| format!("cannot make {}", path.display());
    std::fs::create_dir_all(&machines).with_context(|| failed(&machines))?;
    let text = format!(
        "version = 1\ntenant = \"{}\"\ngateway = \"{}\"\n\n{}\n[buffer]\npath = {}\n\n\
         [remote]\nconfiguration = true\n\n[status]\nlisten = \"127.0.0.1:9180\"\n",
        enrolled.tenant,
        enrolled.gateway,
        uplink_section(enrolled, files),
        quoted(&state.join("buffer.db"))
    );
    // A file that somebody made meanwhile is not written over.
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| failed(path))
}

fn uplink_section(enrolled: &Enrolled, files: &IdentityFiles) -> String {
    let (roots, identity) = (quoted(&files.roots), quoted(&files.certificate));
    format!(
        "[uplink]\nhost = \"{}\"\nport = {}\nca_file = {roots}\ncertificate_file = {identity}\nkey_file = {identity}\n\
         renewal_url = \"{}\"\n",
        enrolled.host, enrolled.port, enrolled.cloud
    )
}

/// A path as TOML; one that is no text cannot be configured anyway.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn report(
    enrolled: &Enrolled,
    files: &IdentityFiles,
    path: &Path,
    configured: Option<&AgentConfig>,
) -> Report {
    let off = Clock::start().wall().micros().saturating_sub(enrolled.now.micros());
    let fits =
        |config: &AgentConfig| config.uplink.as_ref().is_some_and(|uplink| uplink.renewal_url.is_some());
    let lacks = configured.is_some_and(|config| !fits(config));
    Report {
        tenant: enrolled.tenant.to_string(),
        gateway: enrolled.gateway.to_string(),
        certificate_expires_at: instant(enrolled.expires_at),
        identity: files.certificate.clone(),
        config: path.to_owned(),
        config_made: configured.is_none(),
        config_lacks: lacks.then(|| uplink_section(enrolled, files)),
        clock_off_s: off / 1_000_000,
    }
}

fn write(out: &mut dyn Write, _: super::table::Paint, report: &Report) -> std::io::Result<()> {
    writeln!(out, "this gateway is {}/{}", report.tenant, report.gateway)?;
    writeln!(
        out,
        "certificate: good until {}, renewed by itself; in {}",
        report.certificate_expires_at,
        report.identity.display()
    )?;
    if report.clock_off_s.unsigned_abs() > CLOCK_TOLERANCE.as_secs() {
        let way = if report.clock_off_s > 0 { "ahead of" } else { "behind" };
        let seconds = report.clock_off_s.unsigned_abs();
        writeln!(out, "the clock of this gateway is {seconds} s {way} the backend's: is it set by NTP?")?;
    }
    match (&report.config_lacks, report.config_made) {
        (Some(section), _) => {
            writeln!(out, "put this into {} and restart the agent:\n\n{section}", report.config.display())
        }
        (None, true) => writeln!(
            out,
            "configuration: {}; put one file for each machine into {}, then `edge-agent check`",
            report.config.display(),
            report.config.with_file_name("machines.d").display()
        ),
        (None, false) => writeln!(out, "configuration: {} as it was", report.config.display()),
    }
}

fn instant(at: Timestamp) -> String {
    Rfc3339::from_microsecond(at.micros()).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}
