//! `doctor opcua`: what a server offers, what is wrong with its certificates, and whether a session can
//! be opened.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use driver_opcua::EndpointReport;
use serde::Serialize;

use super::super::table::{Cell, Paint, Table, Tone};
use super::super::{Found, Output, print, runtime};
use super::target::Target;
use crate::cli::DoctorOpcUaArguments;

#[derive(Debug, Serialize)]
struct Doctor {
    endpoint: String,
    endpoints: Vec<Endpoint>,
    hints: Vec<String>,
    /// Only if a way in was chosen.
    session: Option<Session>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    url: String,
    protection: String,
    certificate: Option<String>,
    /// What makes a protected session impossible.
    problems: Vec<String>,
    hints: Vec<String>,
}

/// The attempt to open a session.
#[derive(Debug, Serialize)]
struct Session {
    /// Protection and user.
    with: String,
    opened: bool,
    problem: Option<String>,
}

pub(crate) fn doctor(arguments: &DoctorOpcUaArguments) -> Result<Found> {
    let target = Target::of(&arguments.target)?;
    let (found, session) = runtime()?.block_on(async {
        let found = driver_opcua::endpoints(&target.access.endpoint).await?;
        let session = if target.is_chosen { Some(attempt(&target).await) } else { None };
        anyhow::Ok((found, session))
    })?;
    if let Some(file) = &arguments.save_certificate {
        save(&found, file)?;
    }
    let doctor = diagnose(&target.access.endpoint, &found, session);
    print(Output::json(arguments.json), &doctor, write_doctor)?;
    if doctor.endpoints.is_empty() {
        return Ok(Found::Nothing);
    }
    match &doctor.session {
        Some(session) if !session.opened => bail!("no session with {}", session.with),
        Some(_) | None => Ok(Found::Something),
    }
}

async fn attempt(target: &Target) -> Session {
    let problem = match target.try_open().await {
        Ok(probe) => {
            probe.close().await;
            None
        }
        Err(error) => Some(error.to_string()),
    };
    Session { with: target.describe(), opened: problem.is_none(), problem }
}

/// Never over another file: it may be the pin of another machine.
fn save(found: &[EndpointReport], file: &Path) -> Result<()> {
    let certificate =
        found.iter().filter_map(|endpoint| endpoint.certificate.as_ref()).find(|c| !c.der.is_empty());
    let Some(certificate) = certificate else { bail!("the server shows no certificate that could be saved") };
    let written = std::fs::File::create_new(file).and_then(|mut out| out.write_all(&certificate.der));
    written.with_context(|| format!("cannot write the certificate to {}", file.display()))?;
    tracing::info!(file = %file.display(), certificate = %certificate.holder,
        "saved; compare the thumbprint with the machine's before it is trusted");
    Ok(())
}

fn diagnose(endpoint: &str, found: &[EndpointReport], session: Option<Session>) -> Doctor {
    let mut hints = Vec::new();
    if found.is_empty() {
        hints.push("the server offers no endpoint: enable one in its configuration".to_owned());
    }
    if found.iter().any(|e| e.url.trim_end_matches('/') != endpoint.trim_end_matches('/')) {
        hints.push(
            "the server announces another address than the one asked; the agent keeps to the configured one"
                .to_owned(),
        );
    }
    if session.is_none() && !found.is_empty() {
        hints.push(
            "no session was tried: --security-policy (none, for one without protection) or --machine chooses one"
                .to_owned(),
        );
    }
    let endpoints = found.iter().map(endpoint_of).collect();
    Doctor { endpoint: endpoint.to_owned(), endpoints, hints, session }
}

fn endpoint_of(found: &EndpointReport) -> Endpoint {
    let shown = found.certificate.clone();
    let (problems, hints) = shown.map(|shown| (shown.problems, shown.hints)).unwrap_or_default();
    Endpoint {
        url: found.url.clone(),
        protection: found.protection.clone(),
        certificate: found.certificate.as_ref().map(|certificate| certificate.holder.clone()),
        problems,
        hints,
    }
}

/// A server shows the same certificate at each of its endpoints: what is said of it is said once.
fn once(doctor: &Doctor, texts: fn(&Endpoint) -> &Vec<String>) -> BTreeSet<&String> {
    doctor.endpoints.iter().flat_map(texts).collect()
}

fn write_doctor(out: &mut dyn Write, paint: Paint, doctor: &Doctor) -> std::io::Result<()> {
    writeln!(out, "{}: {} endpoints", doctor.endpoint, doctor.endpoints.len())?;
    let mut table = Table::new(&["address", "protection", "certificate"]);
    for e in &doctor.endpoints {
        table.row([
            Cell::from(&e.url),
            (&e.protection).into(),
            e.certificate.as_deref().unwrap_or("-").into(),
        ]);
    }
    table.write(out, paint)?;
    for problem in once(doctor, |endpoint| &endpoint.problems) {
        writeln!(out, "{} {problem}", paint.text(Tone::Bad, "problem:"))?;
    }
    for hint in once(doctor, |endpoint| &endpoint.hints).into_iter().chain(&doctor.hints) {
        writeln!(out, "{} {hint}", paint.text(Tone::Warning, "hint:"))?;
    }
    match &doctor.session {
        None => Ok(()),
        Some(Session { with, problem: None, .. }) => {
            writeln!(out, "{} opened with {with}", paint.text(Tone::Good, "session:"))
        }
        Some(Session { with, problem: Some(problem), .. }) => {
            writeln!(out, "{} not opened with {with}: {problem}", paint.text(Tone::Bad, "session:"))
        }
    }
}

#[cfg(test)]
mod tests {
    use driver_opcua::ShownCertificate;

    use super::*;

    fn report() -> EndpointReport {
        EndpointReport {
            url: "opc.tcp://plc:4840".to_owned(),
            protection: "Basic256Sha256/Sign for Anonymous".to_owned(),
            certificate: Some(ShownCertificate {
                holder: "CN=plc".to_owned(),
                der: vec![1, 2, 3],
                problems: vec!["the certificate has expired".to_owned()],
                ..ShownCertificate::default()
            }),
        }
    }

    fn refused() -> Option<Session> {
        let with = "no protection, anonymous".to_owned();
        Some(Session { with, opened: false, problem: Some("why".to_owned()) })
    }

    #[test]
    fn f7_certificate_problems_are_told_once_and_a_foreign_address_is_explained() {
        let mut out = Vec::new();
        let doctor = diagnose("opc.tcp://10.0.0.1:4840", &[report(), report()], refused());
        write_doctor(&mut out, Paint::Plain, &doctor).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.matches("problem: the certificate has expired").count(), 1, "{text}");
        assert!(text.contains("hint: the server announces another address"), "{text}");
        assert!(text.contains("session: not opened with no protection, anonymous: why"), "{text}");
    }

    #[test]
    fn a_certificate_is_saved_once_and_never_over_another_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("plc.der");
        save(&[report()], &file).expect("written");
        assert_eq!(std::fs::read(&file).expect("there"), [1, 2, 3]);
        let error = save(&[report()], &file).expect_err("it exists").to_string();
        assert!(error.contains("plc.der"), "{error}");
    }
}
