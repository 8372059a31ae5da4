//! From a configured server to all that a session needs: the endpoint with the configured protection
//! and no other, the certificates on both sides, and the user.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use acquisition::{OpcUaSecurity, OpcUaUser, ServerTrust};
use opcua::client::{ClientConfig, IdentityToken};
use opcua::crypto::{CertificateStore, X509};
use opcua::sync::RwLock;
use opcua::types::EndpointDescription;

use crate::certificate::{Certificate, CertificateError};
use crate::discovery::find_endpoint;
use crate::error::OpcUaError;
use crate::identity::{Identity, write_new};

/// The longest password, in bytes; a longer file is not a password file.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The most certificates read from a folder of trusted ones.
const TRUSTED_FILES_MAX: usize = 1000;

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
        endpoint: EndpointDescription,
        identity: &Identity,
        machine: &str,
    ) -> Result<Entrance, OpcUaError> {
        let user = self.user.as_ref().map_or(Ok(IdentityToken::Anonymous), identity_token)?;
        let store = match &self.security {
            OpcUaSecurity::None => no_certificates(),
            OpcUaSecurity::Protected { trust, .. } => {
                let own = identity.load_or_make()?;
                let server = check_server(&endpoint, trust, &identity.offered_file(machine))?;
                let folder = identity.trusted_folder(machine);
                trust_only(&folder, &server)?;
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
        Ok(Entrance { endpoint, store: Arc::new(RwLock::new(store)), user })
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

/// The certificate of the server, if it is one that is trusted, valid, and its own.
fn check_server(
    endpoint: &EndpointDescription,
    trust: &ServerTrust,
    offered: &Path,
) -> Result<Certificate, OpcUaError> {
    let url = || endpoint.endpoint_url.to_string();
    let wrong = |cause: CertificateError| OpcUaError::ServerCertificate { endpoint: url(), cause };
    let shown = Certificate::from_der(endpoint.server_certificate.as_ref()).map_err(wrong)?;
    if !is_trusted(&shown, trust)? {
        let kept = write_new(offered, shown.der(), 0o644);
        return Err(OpcUaError::Untrusted {
            endpoint: url(),
            certificate: shown.describe(),
            fix: match (kept, trust) {
                (Ok(()), ServerTrust::Certificate(pin)) => {
                    format!("copy {} to {}", offered.display(), pin.display())
                }
                (Ok(()), ServerTrust::Folder(folder)) => {
                    format!("copy {} into {}", offered.display(), folder.display())
                }
                (Err(_), trust) => format!("put it to {}", trust.path().display()),
            },
        });
    }
    shown.check_time(SystemTime::now()).map_err(wrong)?;
    shown.check_application_uri(endpoint.server.application_uri.as_ref()).map_err(wrong)?;
    Ok(shown)
}

fn is_trusted(shown: &Certificate, trust: &ServerTrust) -> Result<bool, OpcUaError> {
    let failed = |file: &Path, problem: String| OpcUaError::TrustFile { file: file.to_owned(), problem };
    match trust {
        // Before the first commissioning there is no file yet, and that is the way to get it.
        ServerTrust::Certificate(file) if !file.exists() => Ok(false),
        ServerTrust::Certificate(file) => {
            let pinned = Certificate::read(file).map_err(|error| failed(file, error.to_string()))?;
            Ok(pinned.der() == shown.der())
        }
        ServerTrust::Folder(folder) => {
            let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
            let mut files = entries.filter_map(|entry| Some(entry.ok()?.path())).take(TRUSTED_FILES_MAX);
            Ok(files.any(|file| Certificate::read(&file).is_ok_and(|known| known.der() == shown.der())))
        }
    }
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
