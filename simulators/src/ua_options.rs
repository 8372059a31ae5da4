//! What the OPC UA server of a machine offers beyond the plain endpoint: protection, a user, a certificate
//! that is wrong, and a crowd of nodes.

use std::path::{Path, PathBuf};

use opcua::{
    crypto::{PrivateKey, SecurityPolicy},
    server::{Limits, ServerBuilder, ServerEndpoint, ServerUserToken},
    types::MessageSecurityMode,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use serde::Deserialize;

/// Bits of a server's key: the fewest that all policies allow, because making one takes time.
const KEY_BITS: u32 = 2048;
/// Beyond this the address space of one machine takes gigabytes.
pub(crate) const EXTRA_NODES_MAX: u32 = 200_000;
pub(crate) const EXTRA_FOLDERS_MAX: u32 = 1_000;
/// Names of the files in a server's folder.
const CERTIFICATE_FILE: &str = "certificate.der";
const KEY_FILE: &str = "key.pem";
const AUTHORITY_FILE: &str = "authority.der";
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
    /// Folders over which they are spread evenly; 0 leaves them in the machine's own. At most 1,000.
    pub extra_folders: u32,
    /// What the server takes at once.
    pub limits: UaLimits,
    /// Which filters monitored items may have.
    pub filters: Filters,
    /// What the clock of its source and server timestamps shows.
    pub clock: UaClock,
}

/// What a server takes at once; what is not given is as large as the simulator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UaLimits {
    /// Monitored items in one request to create, change or delete them.
    pub monitored_items_per_call: Option<u32>,
    /// Monitored items of one subscription.
    pub monitored_items_per_subscription: Option<u32>,
    /// Nodes in one read request.
    pub nodes_per_read: Option<u32>,
    /// Nodes in one browse request.
    pub nodes_per_browse: Option<u32>,
    /// References in one browse result; the rest follows by continuation point.
    pub references_per_node: Option<u32>,
    /// Sessions.
    pub sessions: Option<u32>,
    /// Subscriptions of one session.
    pub subscriptions_per_session: Option<u32>,
    /// Bytes of a message.
    pub message_bytes: Option<u32>,
    /// Shortest publishing interval that is granted, in milliseconds.
    pub publishing_interval_ms: Option<u32>,
}

impl UaLimits {
    /// All numbers with their names.
    pub(crate) fn numbers(&self) -> [(&'static str, Option<u32>); 9] {
        [
            ("monitored_items_per_call", self.monitored_items_per_call),
            ("monitored_items_per_subscription", self.monitored_items_per_subscription),
            ("nodes_per_read", self.nodes_per_read),
            ("nodes_per_browse", self.nodes_per_browse),
            ("references_per_node", self.references_per_node),
            ("sessions", self.sessions),
            ("subscriptions_per_session", self.subscriptions_per_session),
            ("message_bytes", self.message_bytes),
            ("publishing_interval_ms", self.publishing_interval_ms),
        ]
    }

    /// Narrows the limits of a server.
    pub(crate) fn narrow(&self, limits: &mut Limits) {
        let set = |limit: &mut usize, number: Option<u32>| {
            if let Some(number) = number {
                *limit = number as usize;
            }
        };
        set(&mut limits.operational.max_monitored_items_per_call, self.monitored_items_per_call);
        set(&mut limits.subscriptions.max_monitored_items_per_sub, self.monitored_items_per_subscription);
        set(&mut limits.operational.max_nodes_per_read, self.nodes_per_read);
        set(&mut limits.operational.max_nodes_per_browse, self.nodes_per_browse);
        set(&mut limits.operational.max_references_per_browse_node, self.references_per_node);
        set(&mut limits.max_sessions, self.sessions);
        set(&mut limits.subscriptions.max_subscriptions_per_session, self.subscriptions_per_session);
        set(&mut limits.max_message_size, self.message_bytes);
        if let Some(interval) = self.publishing_interval_ms {
            limits.subscriptions.min_publishing_interval_ms = f64::from(interval);
        }
    }
}

/// Which filters monitored items may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filters {
    /// All that the server knows.
    #[default]
    All,
    /// None: items with a data change filter are refused with `BadFilterNotAllowed`.
    None,
}

/// What the clock of a machine shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UaClock {
    /// The time.
    #[default]
    Right,
    /// The time since the server started, from 2000-01-01 on: the battery is empty.
    #[serde(rename = "year_2000")]
    Year2000,
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
    /// Good, but signed by an authority whose own certificate lies beside it and is not sent.
    Issued,
}

/// The certificate of a server that is protected, in its folder.
pub(crate) fn certificate_file(options: &UaOptions, folder: &Path) -> Option<PathBuf> {
    options.security.as_ref().map(|_| folder.join(CERTIFICATE_FILE))
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

/// The key and certificate in the folder; made if they are not there, so that a server keeps them over restarts.
fn make_certificate(
    flaw: UaCertificate,
    application_uri: &str,
    folder: &Path,
) -> Result<(PathBuf, PathBuf), String> {
    let (certificate_file, key_file) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
    if certificate_file.exists() && key_file.exists() {
        return Ok((certificate_file, key_file));
    }
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let key = make_key()?;
    let certificate = sign(flaw, application_uri, &key, folder).map_err(|error| error.to_string())?;
    std::fs::write(&key_file, key.serialize_pem()).map_err(|error| error.to_string())?;
    std::fs::write(&certificate_file, certificate.der()).map_err(|error| error.to_string())?;
    Ok((certificate_file, key_file))
}

fn make_key() -> Result<KeyPair, String> {
    let key = PrivateKey::new(KEY_BITS).map_err(|error| error.to_string())?;
    let der = key.to_der().map_err(|error| error.to_string())?;
    KeyPair::try_from(der.as_bytes()).map_err(|error| error.to_string())
}

fn sign(
    flaw: UaCertificate,
    application_uri: &str,
    key: &KeyPair,
    folder: &Path,
) -> Result<Certificate, Box<dyn std::error::Error>> {
    let parameters = parameters(flaw, application_uri)?;
    if flaw != UaCertificate::Issued {
        return Ok(parameters.self_signed(key)?);
    }
    let authority_key = make_key()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Machine simulator authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    std::fs::write(folder.join(AUTHORITY_FILE), authority.self_signed(&authority_key)?.der())?;
    Ok(parameters.signed_by(key, &Issuer::new(authority, authority_key))?)
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
