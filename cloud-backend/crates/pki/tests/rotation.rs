//! Replacing issuer and root, over real files and real TLS handshakes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pki::{CertificateAuthority, Error, IssuedIdentity, IssuedServer, ROOT_KEY_FILE};
use plant_model::{GatewayId, TenantId};
use protocol::EnrolmentCode;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, Stream};
use service_kit::Clock;
use tls_kit::{Identity, Pinned, Roots, TlsTime, Trust, Versions};

const HOUR: Duration = Duration::from_secs(3_600);

/// A gateway as it was enrolled or renewed last: its files.
struct Gateway {
    folder: tempfile::TempDir,
}

impl Gateway {
    fn of(authority: &CertificateAuthority) -> Self {
        let (tenant, gateway) =
            (TenantId::new("acme").expect("valid"), GatewayId::new("hall-2").expect("valid"));
        let issued = authority.issue_gateway(&tenant, &gateway, HOUR).expect("issued");
        let gateway = Self { folder: tempfile::tempdir().expect("a folder") };
        gateway.take(&issued);
        gateway
    }

    fn take(&self, issued: &IssuedIdentity) {
        fs::write(self.path("ca.crt"), &issued.root_pem).expect("written");
        let pem = format!("{}{}", issued.key_pem.secret(), issued.certificate.chain_pem);
        fs::write(self.path("gateway.pem"), pem).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether backend and gateway accept each other.
    fn reaches(&self, authority: &CertificateAuthority, server: &IssuedServer) -> bool {
        let trust = Trust::Roots(Roots::from_file(&self.path("ca.crt")).expect("roots"));
        let pem = self.path("gateway.pem");
        let identity = Identity::from_files(&pem, &pem).expect("both are in it");
        reaches(trust, Some(identity), authority, server)
    }
}

fn server(authority: &CertificateAuthority) -> IssuedServer {
    authority.issue_server(&["localhost"]).expect("issued")
}

fn reaches(
    trust: Trust,
    identity: Option<Identity>,
    authority: &CertificateAuthority,
    server: &IssuedServer,
) -> bool {
    let tls = if identity.is_some() { authority.server_tls(server) } else { authority.enrolment_tls(server) };
    let tls = Arc::new(tls.expect("a valid configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept()?;
        let mut connection = ServerConnection::new(tls).expect("a valid configuration");
        Stream::new(&mut connection, &mut socket).read_exact(&mut [0; 4])
    });
    let client = tls_kit::client(trust, identity, TlsTime::of(Clock::start()), Versions::Only13);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(client.expect("fits"), name).expect("a valid configuration");
    let mut socket = TcpStream::connect(address).expect("it listens");
    let written = Stream::new(&mut connection, &mut socket).write_all(b"ping");
    drop(socket);
    serving.join().expect("the server does not panic").is_ok() && written.is_ok()
}

fn opened(directory: &Path) -> CertificateAuthority {
    CertificateAuthority::open_or_create(directory).expect("opens")
}

#[test]
fn a_new_issuer_is_noticed_by_nobody() {
    let scratch = tempfile::tempdir().expect("a folder");
    let directory = scratch.path();
    let before = opened(directory);
    let (gateway, old_server) = (Gateway::of(&before), server(&before));
    let after = CertificateAuthority::rotate_issuer(directory).expect("rotated");
    assert!(
        !before.is_current(directory).expect("readable") && after.is_current(directory).expect("readable")
    );
    assert_eq!(after.root_pem(), before.root_pem());
    assert!(gateway.reaches(&after, &server(&after)) && gateway.reaches(&after, &old_server));
    assert!(Gateway::of(&after).reaches(&before, &old_server), "a server that has not noticed yet");
}

#[test]
fn a_new_root_reaches_gateways_one_by_one_and_the_old_one_goes_when_none_needs_it() {
    let scratch = tempfile::tempdir().expect("a folder");
    let directory = scratch.path();
    let before = opened(directory);
    let (gateway, old_server) = (Gateway::of(&before), server(&before));
    let overlap = CertificateAuthority::rotate_root(directory).expect("rotated");
    let renewed = Gateway::of(&overlap);
    assert_eq!(overlap.roots_der().count(), 2);
    assert_eq!(overlap.roots_der().nth(1), Some(before.root_der()), "the newest first");
    // Who knows only the old root, who knows both, a server that has not noticed, and one that has.
    for (gateway, what) in [(&gateway, "not renewed"), (&renewed, "renewed")] {
        assert!(gateway.reaches(&overlap, &server(&overlap)), "{what}, and the server is new");
        assert!(gateway.reaches(&before, &old_server), "{what}, and the server is old");
    }
    let status = CertificateAuthority::status(directory).expect("readable");
    assert_eq!((status.roots.len(), status.root_key_is_here), (2, true));

    let retired = CertificateAuthority::retire_root(directory).expect("retired");
    assert_eq!(retired.roots_der().collect::<Vec<_>>(), [overlap.root_der()]);
    assert!(renewed.reaches(&retired, &server(&retired)));
    assert!(!gateway.reaches(&retired, &server(&retired)), "nobody vouches for it any more");
    assert!(Gateway::of(&retired).reaches(&retired, &server(&retired)));
    assert!(opened(directory).is_current(directory).expect("readable"));
}

#[test]
fn a_code_of_before_a_rotation_is_trust_until_the_old_root_goes() {
    let scratch = tempfile::tempdir().expect("a folder");
    let directory = scratch.path();
    let code = EnrolmentCode::new(opened(directory).root_der(), [7; 9]);
    let by_code = |authority: &CertificateAuthority| {
        let code = code.clone();
        reaches(Trust::Pinned(Pinned::new(move |der| code.pins(der))), None, authority, &server(authority))
    };
    assert!(by_code(&opened(directory)));
    assert!(by_code(&CertificateAuthority::rotate_root(directory).expect("rotated")));
    assert!(!by_code(&CertificateAuthority::retire_root(directory).expect("retired")));
}

#[test]
fn a_rotation_without_the_roots_key_or_during_another_changes_nothing() {
    let scratch = tempfile::tempdir().expect("a folder");
    let directory = scratch.path();
    let authority = opened(directory);
    let error = CertificateAuthority::retire_root(directory).expect_err("one root");
    assert!(matches!(error, Error::NothingToRetire { .. }), "{error}");
    fs::rename(directory.join(ROOT_KEY_FILE), scratch.path().join("in-the-safe")).expect("moved");
    for rotate in [CertificateAuthority::rotate_issuer, CertificateAuthority::rotate_root] {
        let error = rotate(directory).expect_err("no key").to_string();
        assert!(error.contains(ROOT_KEY_FILE) && error.contains("bring it back"), "{error}");
    }
    assert!(authority.is_current(directory).expect("readable"));

    fs::rename(scratch.path().join("in-the-safe"), directory.join(ROOT_KEY_FILE)).expect("moved");
    let overlap = CertificateAuthority::rotate_root(directory).expect("rotated");
    for rotate in [CertificateAuthority::rotate_issuer, CertificateAuthority::rotate_root] {
        let error = rotate(directory).expect_err("two roots");
        assert!(matches!(error, Error::Overlap { .. }), "{error}");
    }
    assert!(overlap.is_current(directory).expect("readable"));
}

#[test]
fn f11_every_key_of_an_authority_is_its_owners_alone_also_after_rotations() {
    let scratch = tempfile::tempdir().expect("a folder");
    let directory = scratch.path().join("pki");
    opened(&directory);
    CertificateAuthority::rotate_issuer(&directory).expect("rotated");
    CertificateAuthority::rotate_root(&directory).expect("rotated");
    CertificateAuthority::retire_root(&directory).expect("retired");
    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut keys = 0;
    for entry in fs::read_dir(&directory).expect("readable") {
        let path = entry.expect("readable").path();
        let is_key = fs::read_to_string(&path).expect("text").contains("PRIVATE KEY");
        keys += usize::from(is_key);
        assert_eq!(mode(&path), if is_key { 0o600 } else { 0o644 }, "{}", path.display());
    }
    assert_eq!(keys, 2, "of the root and of the issuer");
}
