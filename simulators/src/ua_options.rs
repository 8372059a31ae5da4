//! What the OPC UA server of a machine offers beyond the plain endpoint: protection, a user, a certificate
//! that is wrong, and a crowd of nodes.

use std::path::{Path, PathBuf};

use opcua::{
    crypto::{PrivateKey, SecurityPolicy},
    server::{ServerBuilder, ServerEndpoint, ServerUserToken},
    types::MessageSecurityMode,
};
use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use serde::Deserialize;

/// Bits of a server's key: the fewest that all policies allow, because making one takes time.
const KEY_BITS: u32 = 2048;
/// Beyond this the address space of one machine takes gigabytes.
pub(crate) const EXTRA_NODES_MAX: u32 = 200_000;
/// The library's name for nobody in particular.
const ANONYMOUS: &str = "ANONYMOUS";
const USER: &str = "user";

/// Options of a machine that speaks OPC UA. The default is a plain endpoint for anonymous users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UaOptions {
    /// The only protection that is offered; nothing plain then.
    pub security: Option<UaSecurity>,
    /// The only user that is let in; nobody anonymous then.
    pub user: Option<UaUser>,
    /// How the certificate is wrong.
    pub certificate: UaCertificate,
    /// Nodes `extra_0` and so on beside the tags, each with its number as value; at most 200,000.
    pub extra_nodes: u32,
}

/// Policy and mode of a protected endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UaSecurity {
    /// The algorithms.
    pub policy: UaPolicy,
    /// What they do.
    pub mode: UaMode,
}

/// The algorithms of a protected endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UaPolicy {
    /// `Basic256Sha256`.
    Basic256Sha256,
    /// `Aes128_Sha256_RsaOaep`.
    #[serde(rename = "aes128_sha256_rsa_oaep")]
    Aes128Sha256RsaOaep,
    /// `Aes256_Sha256_RsaPss`.
    #[serde(rename = "aes256_sha256_rsapss")]
    Aes256Sha256RsaPss,
}

/// What a protected endpoint does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UaMode {
    /// Signs them.
    Sign,
    /// Signs and encrypts them.
    SignAndEncrypt,
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UaUser {
    /// The name.
    pub name: String,
    /// The password, in plain: it is a simulator's.
    pub password: String,
}

/// A certificate and its flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UaCertificate {
    /// None.
    #[default]
    Good,
    /// Valid until 2021.
    Expired,
    /// Names another application.
    OtherApplication,
}

/// Lets a server offer what the options say. Its key and certificate are made in `folder`, which takes seconds.
pub(crate) fn apply(
    builder: ServerBuilder,
    options: &UaOptions,
    application_uri: &str,
    folder: &Path,
) -> Result<ServerBuilder, String> {
    let mut builder = builder.trust_client_certs(true);
    let token = if options.user.is_some() { USER } else { ANONYMOUS };
    if let Some(user) = &options.user {
        builder = builder.add_user_token(USER, ServerUserToken::user_pass(&user.name, &user.password));
    }
    let (policy, mode) = match &options.security {
        None => (SecurityPolicy::None, MessageSecurityMode::None),
        Some(security) => {
            let (certificate, key) = make_certificate(options.certificate, application_uri, folder)?;
            builder = builder.certificate_path(certificate).private_key_path(key);
            protection(security)
        }
    };
    builder.config_mut().endpoints.clear();
    Ok(builder.add_endpoint("only", ServerEndpoint::new("/", policy, mode, &[token.to_owned()])))
}

fn protection(security: &UaSecurity) -> (SecurityPolicy, MessageSecurityMode) {
    let policy = match security.policy {
        UaPolicy::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
        UaPolicy::Aes128Sha256RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
        UaPolicy::Aes256Sha256RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
    };
    let mode = match security.mode {
        UaMode::Sign => MessageSecurityMode::Sign,
        UaMode::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
    };
    (policy, mode)
}

fn make_certificate(
    flaw: UaCertificate,
    application_uri: &str,
    folder: &Path,
) -> Result<(PathBuf, PathBuf), String> {
    let (certificate_file, key_file) = (folder.join("certificate.der"), folder.join("key.pem"));
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let key = PrivateKey::new(KEY_BITS).map_err(|error| error.to_string())?;
    let der = key.to_der().map_err(|error| error.to_string())?;
    let key = KeyPair::try_from(der.as_bytes()).map_err(|error| error.to_string())?;
    let certificate = parameters(flaw, application_uri)
        .and_then(|parameters| parameters.self_signed(&key))
        .map_err(|error| error.to_string())?;
    std::fs::write(&key_file, key.serialize_pem()).map_err(|error| error.to_string())?;
    std::fs::write(&certificate_file, certificate.der()).map_err(|error| error.to_string())?;
    Ok((certificate_file, key_file))
}

fn parameters(flaw: UaCertificate, application_uri: &str) -> Result<CertificateParams, rcgen::Error> {
    let uri =
        if flaw == UaCertificate::OtherApplication { "urn:another:application" } else { application_uri };
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, application_uri);
    parameters.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    parameters.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    let end = if flaw == UaCertificate::Expired { 2021 } else { 2099 };
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(end, 1, 1));
    Ok(parameters)
}
