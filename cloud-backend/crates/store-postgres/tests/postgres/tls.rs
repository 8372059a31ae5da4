//! TLS with a real server: whoever the named authority certified under the name in the URI, and nobody else.

use std::path::{Path, PathBuf};

use fleet::FleetStore as _;
use protocol::StreamId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use store_postgres::{PostgresError, PostgresStore};

use crate::conformance::fixture::*;
use crate::{Server, runtime};

/// Ports that are tried: those that nobody gets without asking for them by number.
fn ports() -> impl Iterator<Item = u16> {
    (0..100).map(|_| rand::random_range(10_000..30_000))
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A server whose certificate, of an authority in `right.crt`, is for the name localhost. `wrong.crt` is another one.
struct Protected {
    server: Server,
    port: u16,
    directory: tempfile::TempDir,
}

impl Protected {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let right = authority("right");
        for (name, authority) in [("right.crt", right.pem()), ("wrong.crt", authority("wrong").pem())] {
            std::fs::write(directory.path().join(name), authority).expect("written");
        }
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &right).expect("a certificate");
        let mut server = Server::start();
        server.database("plant");
        let port = server.start_with_tls(&certificate.pem(), &key.serialize_pem(), ports());
        Self { server, port, directory }
    }

    fn authority(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn uri(&self, host: &str, mode: &str, authority: &str) -> String {
        let file = self.authority(authority).display().to_string().replace('/', "%2F");
        format!("postgres://backend@{host}:{}/plant?sslmode={mode}&sslrootcert={file}", self.port)
    }

    fn refused(&self, uri: &str) -> PostgresError {
        runtime().block_on(PostgresStore::open(uri)).expect_err("it must not open")
    }
}

#[test]
fn a_server_that_the_named_authority_certified_is_spoken_to_in_tls_only() {
    let protected = Protected::start();
    for mode in ["verify-full", "require"] {
        let uri = protected.uri("localhost", mode, "right.crt");
        runtime().block_on(async {
            let store = PostgresStore::open(&uri).await.expect("opens");
            if mode == "verify-full" {
                add_tenant(&store).await;
                send(&store, StreamId::Telemetry, [telemetry(1)]).await;
            }
            assert_eq!(store.ledger(&tenant()).await.expect("works").len(), 1);
            let sql = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl
                       JOIN pg_stat_activity USING (pid) WHERE usename = 'backend'";
            let connections = tokio::task::block_in_place(|| protected.server.sql("plant", sql));
            let (protected, clear) = connections.split_once('|').expect("two numbers");
            assert!(protected != "0" && clear == "0", "{connections}");
        });
    }
}

#[test]
fn a_server_of_another_authority_or_another_name_is_refused_before_anything_is_sent() {
    let protected = Protected::start();
    for (host, authority) in [("localhost", "wrong.crt"), ("127.0.0.1", "right.crt")] {
        let error = protected.refused(&protected.uri(host, "verify-full", authority));
        let PostgresError::Untrusted { source, .. } = &error else { panic!("{error:?}") };
        let text = error.to_string();
        let file = protected.authority(authority).display().to_string();
        assert!(text.contains(&file) && text.contains("sslrootcert") && text.contains(host), "{text}");
        assert!(std::error::Error::source(source.as_ref()).is_some(), "the cause is told: {source:?}");
    }
    assert_eq!(protected.server.sql("plant", "SELECT to_regclass('tenant') IS NULL"), "t");
}

#[test]
fn a_server_without_tls_is_not_spoken_to_when_tls_was_asked_for() {
    let mut protected = Protected::start();
    protected.port = protected.server.start_without_tls(ports());
    let error = protected.refused(&protected.uri("localhost", "verify-full", "right.crt"));
    let PostgresError::Unreachable { source, .. } = &error else { panic!("{error:?}") };
    let mut causes = vec![source.to_string()];
    let mut cause = source.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    assert!(causes.iter().any(|cause| cause.contains("TLS")), "{causes:?}");
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    let missing = Path::new("/nonexistent/ca.crt");
    let uri = format!("postgres://backend@localhost/x?sslmode=verify-full&sslrootcert={}", missing.display());
    let error = runtime().block_on(PostgresStore::open(&uri)).expect_err("there is none");
    let PostgresError::Authority(source) = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("/nonexistent/ca.crt"), "{source}");
}
