//! From a configured server to all that a session needs: the endpoint with the configured protection
//! and no other, the certificates on both sides, and the user.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use acquisition::{OpcUaConnection, OpcUaSecurity, OpcUaUser, ServerTrust};
use opcua::client::{ClientConfig, IdentityToken};
use opcua::core::comms::url::hostname_port_from_url;
use opcua::crypto::{CertificateStore, X509};
use opcua::sync::RwLock;
use opcua::types::{ByteString, EndpointDescription};

use crate::certificate::{Certificate, CertificateError};
use crate::connector::DEFAULT_PORT;
use crate::discovery::find_endpoint;
use crate::error::OpcUaError;
use crate::identity::{Identity, write_new};
use crate::trust::{self, Grounds};

/// The longest password, in bytes; a longer file is not a password file.
const PASSWORD_BYTES_MAX: usize = 1024;

/// A server and how it is entered.
#[derive(Debug, Clone)]
pub struct Access {
    /// The address, `opc.tcp://…`.
    pub endpoint: String,
    /// The protection; anything less is refused.
    pub security: OpcUaSecurity,
    /// Who logs in; nobody is anonymous.
    pub user: Option<OpcUaUser>,
}

/// What a session is made of.
pub(crate) struct Entrance {
    pub(crate) endpoint: EndpointDescription,
    pub(crate) store: Arc<RwLock<CertificateStore>>,
    pub(crate) user: IdentityToken,
    /// Whether the server shows the certificates of its issuers behind its own.
    pub(crate) shows_chain: bool,
}

impl From<&OpcUaConnection> for Access {
    fn from(connection: &OpcUaConnection) -> Self {
        Self {
            endpoint: connection.endpoint().to_owned(),
            security: connection.security().clone(),
            user: connection.user().cloned(),
        }
    }
}

impl Access {
    /// Asks the server for its endpoints and prepares everything for a session under the name of
    /// `machine`.
    pub(crate) async fn enter(
        &self,
        config: &ClientConfig,
        identity: &Arc<Identity>,
        machine: &str,
    ) -> Result<Entrance, OpcUaError> {
        let endpoint = find_endpoint(config, self).await?;
        let (access, identity, machine) = (self.clone(), Arc::clone(identity), machine.to_owned());
        // Files are read, and a key may have to be made.
        let prepared = tokio::task::spawn_blocking(move || access.prepare(endpoint, &identity, &machine));
        prepared.await.expect("it does not panic, and the runtime ends after its tasks")
    }

    fn prepare(
        &self,
        mut endpoint: EndpointDescription,
        identity: &Identity,
        machine: &str,
    ) -> Result<Entrance, OpcUaError> {
        let user = self.user.as_ref().map_or(Ok(IdentityToken::Anonymous), identity_token)?;
        let mut shows_chain = false;
        let store = match &self.security {
            OpcUaSecurity::None => no_certificates(),
            OpcUaSecurity::Protected { trust, .. } => {
                let own = identity.load_or_make()?;
                let chain = check_server(&endpoint, trust, identity.offered_file(machine).as_deref())?;
                shows_chain = chain.len() > 1;
                let server = &chain[0];
                // The library takes a single certificate only.
                endpoint.server_certificate = ByteString::from(server.der());
                let folder = identity.trusted_folder(machine);
                trust_only(&folder, server)?;
                let (mut store, _, _) = CertificateStore::new_with_x509_data(
                    &folder,
                    false,
                    Some(&own.certificate),
                    Some(&own.key),
                    None::<opcua::crypto::X509Data>,
                );
                // Dates and names were checked; the library finds a name only in the first place.
                store.set_skip_verify_certs(true);
                store
            }
        };
        Ok(Entrance { endpoint, store: Arc::new(RwLock::new(store)), user, shows_chain })
    }
}

/// A store without certificates: nothing is read or written.
pub(crate) fn no_certificates() -> CertificateStore {
    CertificateStore::new(Path::new("/nonexistent"))
}

fn identity_token(user: &OpcUaUser) -> Result<IdentityToken, OpcUaError> {
    let failed = |problem: String| OpcUaError::Password { file: user.password_file.clone(), problem };
    let content = std::fs::read_to_string(&user.password_file).map_err(|error| failed(error.to_string()))?;
    let password = content.trim_end_matches(['\r', '\n']);
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(failed(format!("it has more than {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(IdentityToken::new_user_name(user.name.clone(), password))
}

/// The certificate of the server with those of its issuers, if it is trusted, valid, and its own.
/// Never empty.
fn check_server(
    endpoint: &EndpointDescription,
    trust: &ServerTrust,
    offered: Option<&Path>,
) -> Result<Vec<Certificate>, OpcUaError> {
    let url = || endpoint.endpoint_url.to_string();
    let wrong = |cause: CertificateError| OpcUaError::ServerCertificate { endpoint: url(), cause };
    let chain = Certificate::chain(endpoint.server_certificate.as_ref()).map_err(wrong)?;
    let (shown, now) = (&chain[0], SystemTime::now());
    let Some(grounds) = trust::grounds(&chain, trust, now)? else {
        let fix = how_to_trust(shown, trust, offered);
        return Err(OpcUaError::Untrusted { endpoint: url(), certificate: shown.describe(), fix });
    };
    shown.check_time(now).map_err(wrong)?;
    shown.check_application_uri(endpoint.server.application_uri.as_ref()).map_err(wrong)?;
    shown.check_key().map_err(wrong)?;
    if grounds == Grounds::Issued {
        // Every machine of the plant may have one by the same authority.
        shown.check_host(&host(endpoint.endpoint_url.as_ref())).map_err(|cause| {
            let fix = how_to_trust(shown, trust, offered);
            OpcUaError::ForeignHost { endpoint: url(), cause, fix }
        })?;
    }
    Ok(chain)
}

/// Keeps what the server shows, to be compared and trusted.
fn how_to_trust(shown: &Certificate, trust: &ServerTrust, offered: Option<&Path>) -> String {
    let kept = offered.filter(|offered| write_new(offered, shown.der(), 0o644).is_ok());
    match (kept, trust) {
        (Some(offered), ServerTrust::Certificate(pin)) => {
            format!("copy {} to {}", offered.display(), pin.display())
        }
        (Some(offered), ServerTrust::Folder(folder)) => {
            format!("copy {} into {}", offered.display(), folder.display())
        }
        (None, trust) => format!(
            "put it to {}; `edge-agent doctor opcua --save-certificate` writes it to a file",
            trust.path().display()
        ),
    }
}

/// The host in an address, without the brackets of IPv6.
pub(crate) fn host(url: &str) -> String {
    let host = hostname_port_from_url(url, DEFAULT_PORT).map(|(host, _)| host).unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Makes a folder in which the library finds this certificate to trust and no other.
fn trust_only(folder: &Path, server: &Certificate) -> Result<(), OpcUaError> {
    let failed = |problem: String| OpcUaError::TrustFile { file: folder.to_owned(), problem };
    let io = |error: std::io::Error| failed(error.to_string());
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(io)?;
    }
    std::fs::create_dir_all(folder.join("rejected")).map_err(io)?;
    let x509 = X509::from_der(server.der()).map_err(|error| failed(error.to_string()))?;
    let name = CertificateStore::cert_file_name(&x509);
    write_new(&folder.join("trusted").join(name), server.der(), 0o644).map_err(io)
}
