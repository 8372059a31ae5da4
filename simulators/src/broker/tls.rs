//! Both ends of TLS: a server of an authority made for this run, and the client the server behind knows.

use std::{io, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    version::TLS13,
};

/// As whom to dial the server.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// A server's configuration, and the authority by which clients know it, PEM.
pub(super) fn server(names: &[String]) -> io::Result<(Arc<ServerConfig>, String)> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = CertifiedIssuer::self_signed(authority, key_pair()?).map_err(io::Error::other)?;
    let key = key_pair()?;
    let leaf = CertificateParams::new(names.to_vec()).map_err(io::Error::other)?;
    let leaf = leaf.signed_by(&key, &issuer).map_err(io::Error::other)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .map_err(io::Error::other)?;
    Ok((Arc::new(config), issuer.pem()))
}

fn key_pair() -> io::Result<KeyPair> {
    KeyPair::generate().map_err(io::Error::other)
}

/// The configuration of a client with a certificate; the files are read now.
pub(super) fn client(credentials: &Credentials) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(&credentials.ca)? {
        roots.add(authority).map_err(io::Error::other)?;
    }
    let key = PrivateKeyDer::from_pem_file(&credentials.key)
        .map_err(|e| io::Error::other(format!("{}: {e}", credentials.key.display())))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&credentials.certificate)?, key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

fn certificates(path: &PathBuf) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| io::Error::other(format!("{}: {e}", path.display())))
}
