//! The backend's side of TLS with gateways.

use std::path::Path;

use rustls::ServerConfig;
use tls_kit::{Clients, Roots, server};

use crate::{CertificateAuthority, Error, IssuedServer};

impl CertificateAuthority {
    /// The TLS configuration of the MQTT endpoint: a client certificate of this authority is required.
    ///
    /// # Errors
    /// The server certificate does not fit its key or the TLS library refuses it.
    pub fn server_tls(&self, server: &IssuedServer) -> Result<ServerConfig, Error> {
        self.tls(server, Clients::Required)
    }

    /// The TLS configuration of the gateways' API: a gateway that enrols has no certificate yet, and one whose
    /// certificate has expired is let in to ask for a new one. Whoever answers must look at the certificate's end.
    ///
    /// # Errors
    /// As [`Self::server_tls`].
    pub fn enrolment_tls(&self, server: &IssuedServer) -> Result<ServerConfig, Error> {
        self.tls(server, Clients::EvenNoneOrExpired)
    }

    fn tls(&self, issued: &IssuedServer, clients: Clients) -> Result<ServerConfig, Error> {
        let roots = Roots::from_pem(self.root_pem.as_bytes(), Path::new("the authority's roots"))?;
        Ok(server(&issued.chain_pem, &issued.key_pem, roots, clients)?)
    }
}
