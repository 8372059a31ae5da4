//! Keys and certificates of servers, good and bad.

use std::path::{Path, PathBuf};

use opcua::crypto::PrivateKey;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};

/// A key by name. It takes seconds to make one, so it is kept beside the build for the next test.
pub(crate) fn key_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let key = PrivateKey::new(2048).expect("a key");
        let key = KeyPair::try_from(key.to_der().expect("encodes").as_bytes()).expect("the same key");
        let draft = path.with_extension(format!("{}", std::process::id()));
        std::fs::write(&draft, key.serialize_pem()).expect("writable");
        // Of tests that make it at the same time, the first one's stays: others may have used it already.
        if let Err(error) = std::fs::hard_link(&draft, &path) {
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
        }
        std::fs::remove_file(&draft).expect("the draft was there");
    }
    path
}

/// How a server's certificate is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
    OtherApplication,
    /// The key must not be used to encrypt data.
    Usage,
}

fn key(name: &str) -> KeyPair {
    let pem = std::fs::read_to_string(key_file(name)).expect("just made");
    KeyPair::from_pem(&pem).expect("a key")
}

fn application(uri: &str, host: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "lathe");
    let host = match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().expect("a name")),
    };
    // The name of the host comes first, as some makers do.
    parameters.subject_alt_names = vec![host, SanType::URI(uri.try_into().expect("a URI"))];
    parameters.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
    ];
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
    parameters
}

fn write(path: &Path, der: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, der).expect("writable");
}

/// Writes a certificate for the key of the server to `path`.
pub(crate) fn make(path: &Path, application_uri: &str, flaw: Flaw) {
    let uri = if flaw == Flaw::OtherApplication { "urn:somebody-else" } else { application_uri };
    let mut parameters = application(uri, "lathe");
    match flaw {
        Flaw::Expired => parameters.not_after = date_time_ymd(2021, 1, 1),
        Flaw::Usage => {
            parameters.key_usages.pop();
        }
        Flaw::None | Flaw::OtherApplication => {}
    }
    write(path, parameters.self_signed(&key("server")).expect("a certificate").der());
}

/// The certificates of a plant: a root, the authority of a line that it vouches for, and a server.
pub(crate) struct Plant {
    pub(crate) root: Vec<u8>,
    pub(crate) line: Vec<u8>,
    pub(crate) server: Vec<u8>,
}

/// Writes a certificate that the authority of the line issued, for the key of the server, to `path`.
pub(crate) fn issue(path: &Path, application_uri: &str, host: &str) -> Plant {
    let authority = |name: &str| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters
    };
    let (root_key, line_key) = (key("root"), key("line"));
    let root = authority("root").self_signed(&root_key).expect("a certificate");
    let root_issuer = Issuer::new(authority("root"), root_key);
    let line = authority("line").signed_by(&line_key, &root_issuer).expect("a certificate");
    let line_issuer = Issuer::new(authority("line"), line_key);
    let server = application(application_uri, host).signed_by(&key("server"), &line_issuer);
    let server = server.expect("a certificate");
    write(path, server.der());
    Plant { root: root.der().to_vec(), line: line.der().to_vec(), server: server.der().to_vec() }
}
