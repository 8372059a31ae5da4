//! The gateway's own application certificate (OPC UA Part 6, 6.2.2) and where its files lie.
//!
//! ```text
//! <folder>/own/key.pem              RSA 3072, PKCS #8, readable by the agent only
//! <folder>/own/certificate.der      self-signed; what a server must be told to trust
//! <folder>/offered/<machine>.der    what a server showed that is not trusted
//! <folder>/trusted/<machine>/       what the library is told to trust
//! ```
//!
//! The key is made once, at the first connection that needs it. It is never made again by itself: a
//! new key would be refused by every server that was told to trust the old one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opcua::crypto::PrivateKey;
use plant_model::GatewayId;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};

use crate::certificate::{Certificate, CertificateError};
use crate::error::OpcUaError;
use crate::probe::ProbeError;

/// The name of a tool among applications.
const TOOL: &str = "tool";

/// Enough until after 2030 (NIST SP 800-57); allowed by every policy that is offered.
const KEY_BITS: u32 = 3072;

/// So long a certificate is valid: a machine outlives several gateways, and every renewal needs a
/// person at each server.
const VALID_YEARS: i32 = 10;

/// A key for one look at a server need not last.
const THROW_AWAY_KEY_BITS: u32 = 2048;

/// The certificate of the gateway, and the folders of everything that concerns certificates.
#[derive(Debug)]
pub struct Identity {
    /// Holds key and certificate.
    own: PathBuf,
    /// Holds what the library is told to trust.
    trusted: PathBuf,
    /// Keeps what servers show.
    offered: Option<PathBuf>,
    name: String,
    application_uri: String,
    /// How long a key to make; `None` if none may be made.
    key_bits: Option<u32>,
    /// Held while the key is made, which takes seconds: all connections wait for the same one.
    making: Mutex<()>,
}

/// The files of the gateway's certificate.
#[derive(Debug, Clone)]
pub(crate) struct OwnFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Identity {
    /// The identity of a gateway whose files lie in `folder`. Nothing is read or made yet.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "it is what the identity is about")]
    pub fn new(folder: PathBuf, gateway: GatewayId) -> Self {
        Self {
            own: folder.join("own"),
            trusted: folder.join("trusted"),
            offered: Some(folder.join("offered")),
            name: gateway.to_string(),
            application_uri: uri(gateway.as_str()),
            key_bits: Some(KEY_BITS),
            making: Mutex::new(()),
        }
    }

    /// The identity of an agent, borrowed by a tool: `folder` is the agent's, and nothing in it is
    /// changed; `work` is a folder of the tool.
    ///
    /// # Errors
    /// The agent has no certificate there, or it cannot be read.
    pub fn borrow(folder: &Path, work: &Path) -> Result<Self, ProbeError> {
        let mut identity = Self::throw_away(work);
        identity.own = folder.join("own");
        identity.key_bits = None;
        let files = identity.files();
        let failed =
            |file: &Path, problem: String| OpcUaError::AgentCertificate { file: file.to_owned(), problem };
        let certificate = Certificate::read(&files.certificate)
            .map_err(|error| failed(&files.certificate, error.to_string()))?;
        fs::File::open(&files.key).map_err(|error| failed(&files.key, error.to_string()))?;
        identity.application_uri = certificate
            .application_uri()
            .ok_or_else(|| failed(&files.certificate, "names no application".to_owned()))?
            .to_owned();
        Ok(identity)
    }

    /// An identity for one look at a server, made in `work` when it is needed. A server that examines
    /// its clients does not know it.
    #[must_use]
    pub fn throw_away(work: &Path) -> Self {
        Self {
            own: work.join("own"),
            trusted: work.join("trusted"),
            offered: None,
            name: TOOL.to_owned(),
            application_uri: uri(TOOL),
            key_bits: Some(THROW_AWAY_KEY_BITS),
            making: Mutex::new(()),
        }
    }

    /// The URI by which servers know this application; it is part of the certificate.
    #[must_use]
    pub fn application_uri(&self) -> &str {
        &self.application_uri
    }

    /// The file that servers must be told to trust; it exists after the first protected connection.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.files().certificate
    }

    fn files(&self) -> OwnFiles {
        OwnFiles { certificate: self.own.join("certificate.der"), key: self.own.join("key.pem") }
    }

    pub(crate) fn offered_file(&self, machine: &str) -> Option<PathBuf> {
        Some(self.offered.as_ref()?.join(format!("{machine}.der")))
    }

    pub(crate) fn trusted_folder(&self, machine: &str) -> PathBuf {
        self.trusted.join(machine)
    }

    /// The certificate, made if there is none. Blocks for seconds when it is made.
    pub(crate) fn load_or_make(&self) -> Result<OwnFiles, OpcUaError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files();
        match (files.key.exists(), files.certificate.exists()) {
            (true, true) => {}
            (false, true) => return Err(own(&files.key, "the private key is missing".to_owned())),
            (has_key, false) => {
                let Some(bits) = self.key_bits else {
                    return Err(own(&files.certificate, "the certificate is missing".to_owned()));
                };
                // A key without certificate is what a stop in between leaves behind.
                let key = if has_key { read_key(&files.key)? } else { make_key(&files.key, bits)? };
                make_certificate(&files.certificate, &key, &self.application_uri, &self.name)?;
            }
        }
        self.check(&files)?;
        Ok(files)
    }

    fn check(&self, files: &OwnFiles) -> Result<(), OpcUaError> {
        let refused = |error: CertificateError| own(&files.certificate, error.to_string());
        let certificate = Certificate::read(&files.certificate).map_err(refused)?;
        certificate.check_time(SystemTime::now()).map_err(refused)?;
        certificate.check_application_uri(&self.application_uri).map_err(refused)
    }
}

fn uri(name: &str) -> String {
    format!("urn:edge-agent:{name}")
}

fn own(file: &Path, problem: String) -> OpcUaError {
    OpcUaError::OwnCertificate { file: file.to_owned(), problem }
}

fn read_key(path: &Path) -> Result<KeyPair, OpcUaError> {
    let text = fs::read_to_string(path).map_err(|error| own(path, error.to_string()))?;
    KeyPair::from_pem(&text).map_err(|error| own(path, error.to_string()))
}

fn make_key(path: &Path, bits: u32) -> Result<KeyPair, OpcUaError> {
    let failed = |problem: String| own(path, problem);
    let key = PrivateKey::new(bits).map_err(|error| failed(error.to_string()))?;
    let der = key.to_der().map_err(|error| failed(error.to_string()))?;
    let key = KeyPair::try_from(der.as_bytes()).map_err(|error| failed(error.to_string()))?;
    write_new(path, key.serialize_pem().as_bytes(), 0o600).map_err(|error| failed(error.to_string()))?;
    Ok(key)
}

fn make_certificate(path: &Path, key: &KeyPair, uri: &str, name: &str) -> Result<(), OpcUaError> {
    let failed = |error: rcgen::Error| own(path, error.to_string());
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, format!("edge-agent {name}"));
    // Some servers look for the URI in the first place only.
    parameters.subject_alt_names = vec![
        SanType::URI(uri.try_into().map_err(failed)?),
        SanType::DnsName(name.try_into().map_err(failed)?),
    ];
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    // A server whose clock is behind must not find it to lie in the future.
    let year = year(Certificate::believable(SystemTime::now()));
    parameters.not_before = date_time_ymd(year - 1, 1, 1);
    parameters.not_after = date_time_ymd(year + VALID_YEARS, 1, 1);
    let certificate = parameters.self_signed(key).map_err(failed)?;
    write_new(path, certificate.der(), 0o644).map_err(|error| own(path, error.to_string()))
}

/// The year, give or take a day at its ends.
fn year(time: SystemTime) -> i32 {
    const YEAR: Duration = Duration::from_secs(31_556_952);
    let years = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / YEAR.as_secs();
    1970 + i32::try_from(years).unwrap_or(0)
}

/// Written under another name first, so that the file is there whole or not at all.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("draft");
    if draft.exists() {
        fs::remove_file(&draft)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn c9_the_certificate_is_made_once_with_a_key_only_its_owner_can_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = || GatewayId::new("gateway-7").expect("valid");
        let identity = Identity::new(folder.path().to_owned(), gateway());
        let files = identity.load_or_make().expect("made");
        let mode = fs::metadata(&files.key).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let first = fs::read(&files.certificate).expect("there");

        let again = Identity::new(folder.path().to_owned(), gateway());
        again.load_or_make().expect("read");
        assert_eq!(fs::read(&files.certificate).expect("there"), first, "never made again by itself");

        fs::remove_file(&files.certificate).expect("there");
        let key = fs::read(&files.key).expect("there");
        again.load_or_make().expect("completed with the key that is there");
        assert_eq!(fs::read(&files.key).expect("there"), key);

        fs::remove_file(&files.key).expect("there");
        let error = again.load_or_make().expect_err("half an identity").to_string();
        assert!(error.contains("private key is missing") && error.contains("key.pem"), "{error}");
    }

    #[test]
    fn the_year_follows_the_clock() {
        assert_eq!(year(UNIX_EPOCH), 1970);
        assert_eq!(year(UNIX_EPOCH + Duration::from_secs(1_800_000_000)), 2027);
    }

    #[test]
    fn c9_the_certificate_has_every_usage_that_a_strict_server_demands_and_the_uri_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::throw_away(folder.path());
        let files = identity.load_or_make().expect("made");
        let certificate = Certificate::read(&files.certificate).expect("readable");
        assert_eq!((certificate.check_usage(), certificate.check_key()), (Ok(()), Ok(())));
        assert_eq!(certificate.check_host("tool"), Ok(()));
        let der = fs::read(&files.certificate).expect("there");
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("parses");
        let names = parsed.subject_alternative_name().expect("one").expect("there");
        let first = &names.value.general_names[0];
        assert!(matches!(first, x509_parser::prelude::GeneralName::URI("urn:edge-agent:tool")), "{first:?}");
        let usage = parsed.key_usage().expect("one").expect("there").value;
        assert!(usage.key_cert_sign(), "a self-signed one signs itself");
        let extended = parsed.extended_key_usage().expect("one").expect("there").value;
        assert!(extended.client_auth && extended.server_auth);
    }

    #[test]
    fn c9_a_tool_borrows_the_identity_of_an_agent_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (agent, work) = (folder.path().join("agent"), folder.path().join("work"));
        let error = Identity::borrow(&agent, &work).expect_err("there is none").to_string();
        assert!(error.contains("certificate.der") && error.contains("folder of a running agent"), "{error}");

        let made = Identity::throw_away(&agent).load_or_make().expect("made");
        let identity = Identity::borrow(&agent, &work).expect("there");
        assert_eq!(identity.application_uri(), "urn:edge-agent:tool");
        assert_eq!(identity.certificate_file(), made.certificate);
        fs::remove_file(&made.certificate).expect("there");
        identity.load_or_make().expect_err("it makes none");
        assert!(!made.certificate.exists() && identity.trusted_folder("m").starts_with(&work));
    }
}
