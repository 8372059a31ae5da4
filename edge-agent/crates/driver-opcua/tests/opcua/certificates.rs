//! Keys and certificates of servers, good and bad.

use std::path::{Path, PathBuf};

use opcua::crypto::PrivateKey;
use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};

/// A key by name. It takes seconds to make one, so it is kept beside the build for the next test.
pub(crate) fn key_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let key = PrivateKey::new(2048).expect("a key");
        let key = KeyPair::try_from(key.to_der().expect("encodes").as_bytes()).expect("the same key");
        let draft = path.with_extension(format!("{}", std::process::id()));
        std::fs::write(&draft, key.serialize_pem()).expect("writable");
        std::fs::rename(&draft, &path).expect("renamed");
    }
    path
}

/// How a server's certificate is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
    OtherApplication,
}

/// Writes a certificate for the key of the server to `path`.
pub(crate) fn make(path: &Path, application_uri: &str, flaw: Flaw) {
    let pem = std::fs::read_to_string(key_file("server")).expect("just made");
    let key = KeyPair::from_pem(&pem).expect("a key");
    let uri = if flaw == Flaw::OtherApplication { "urn:somebody-else" } else { application_uri };
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "lathe");
    // The name of the host comes first, as some makers do.
    parameters.subject_alt_names = vec![
        SanType::DnsName("lathe".try_into().expect("a name")),
        SanType::URI(uri.try_into().expect("a URI")),
    ];
    parameters.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
    ];
    let end = if flaw == Flaw::Expired { 2021 } else { 2099 };
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(end, 1, 1));
    let certificate = parameters.self_signed(&key).expect("a certificate");
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, certificate.der()).expect("writable");
}
