//! A server whose configuration is replaced while somebody is connected.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use service_kit::Clock;
use tls_kit::{Clients, KeyPem, Roots, ServerTls, TlsTime, Trust, Versions, client, server};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = params.self_signed(&key).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), root_pem }
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.root_pem.as_bytes(), Path::new("the authority")).expect("a root")
    }

    fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["backend".to_owned()]).expect("parameters");
        let chain = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        let key = KeyPem::new(key.serialize_pem());
        server(&chain, &key, self.roots(), Clients::EvenNoneOrExpired).expect("fits")
    }

    fn client(&self) -> Arc<ClientConfig> {
        let time = TlsTime::of(Clock::start());
        client(Trust::Roots(self.roots()), None, time, Versions::Only13).expect("fits")
    }
}

/// A connection without a network.
struct Link {
    client: ClientConnection,
    server: ServerConnection,
}

impl Link {
    fn new(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from("backend").expect("a name");
        let client = ClientConnection::new(client, name).expect("a valid configuration");
        let server = ServerConnection::new(server).expect("a valid configuration");
        let mut link = Self { client, server };
        while link.client.is_handshaking() || link.server.is_handshaking() {
            link.carry();
        }
        link
    }

    fn carry(&mut self) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while self.client.wants_write() {
            self.client.write_tls(&mut up).expect("in memory");
        }
        let mut up = up.as_slice();
        while !up.is_empty() {
            self.server.read_tls(&mut up).expect("in memory");
            self.server.process_new_packets().expect("the server accepts");
        }
        while self.server.wants_write() {
            self.server.write_tls(&mut down).expect("in memory");
        }
        let mut down = down.as_slice();
        while !down.is_empty() {
            self.client.read_tls(&mut down).expect("in memory");
            self.client.process_new_packets().expect("the client accepts");
        }
    }

    fn ping(&mut self) -> [u8; 4] {
        self.client.writer().write_all(b"ping").expect("in memory");
        self.carry();
        let mut read = [0; 4];
        self.server.reader().read_exact(&mut read).expect("it arrived");
        read
    }

    fn certificate(&self) -> Vec<u8> {
        self.client.peer_certificates().expect("shown")[0].to_vec()
    }
}

#[test]
fn a_replaced_configuration_is_used_by_the_next_connection_and_open_ones_stay() {
    let authority = Authority::new();
    let tls = ServerTls::new(authority.server());
    let listener = tls.clone();
    let mut open = Link::new(authority.client(), listener.current());
    assert_eq!(&open.ping(), b"ping");
    tls.replace(authority.server());
    let mut next = Link::new(authority.client(), listener.current());
    assert_ne!(open.certificate(), next.certificate());
    assert_eq!((&open.ping(), &next.ping()), (b"ping", b"ping"));
}
