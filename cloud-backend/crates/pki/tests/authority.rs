//! The authority over real files and real TLS handshakes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pki::{
    CertificateAuthority, Error, ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE, IssuedIdentity,
    ROOT_CERTIFICATE_FILE, ROOT_KEY_FILE,
};
use plant_model::{GatewayId, TenantId};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::GeneralName;

const HOUR: Duration = Duration::from_secs(3_600);

fn authority(directory: &Path) -> CertificateAuthority {
    CertificateAuthority::open_or_create(directory).expect("a new or complete directory opens")
}

fn identity(authority: &CertificateAuthority) -> IssuedIdentity {
    let tenant = TenantId::new("acme").expect("valid");
    let gateway = GatewayId::new("hall-2").expect("valid");
    authority.issue_gateway(&tenant, &gateway, HOUR).expect("issuing works")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

#[test]
fn an_authority_opened_again_is_the_same_authority() {
    let directory = scratch();
    let first = authority(&directory.path().join("deep/pki"));
    let second = authority(&directory.path().join("deep/pki"));
    assert_eq!(first.root_pem(), second.root_pem());
    let server = second.issue_server(&["localhost"]).expect("issued");
    let result = handshake(&first, &server, Some(&identity(&second)), &first);
    assert_eq!(result.expect("both halves trust each other"), "ping");
}

#[test]
fn the_key_files_are_readable_by_their_owner_only() {
    let directory = scratch();
    authority(directory.path());
    for name in [ROOT_KEY_FILE, ISSUER_KEY_FILE] {
        let mode = fs::metadata(directory.path().join(name)).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let names: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
    assert_eq!(names.len(), 4, "no partial file is left: {names:?}");
}

#[test]
fn the_root_key_may_be_taken_away_and_everything_but_a_new_issuer_works() {
    let directory = scratch();
    let first = authority(directory.path());
    fs::rename(directory.path().join(ROOT_KEY_FILE), directory.path().join("in-the-safe")).expect("moved");
    let second = authority(directory.path());
    let server = second.issue_server(&["localhost"]).expect("issued");
    assert!(handshake(&second, &server, Some(&identity(&second)), &first).is_ok());

    for name in [ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE] {
        fs::remove_file(directory.path().join(name)).expect("exists");
    }
    let error = CertificateAuthority::open_or_create(directory.path()).expect_err("nothing to sign with");
    assert!(matches!(error, Error::NoIssuer { .. }), "{error}");
    fs::rename(directory.path().join("in-the-safe"), directory.path().join(ROOT_KEY_FILE)).expect("moved");
    let third = authority(directory.path());
    assert!(
        handshake(&third, &server, Some(&identity(&first)), &third).is_ok(),
        "old certificates stay good"
    );
}

#[test]
fn an_issuer_of_another_root_is_refused() {
    let (one, other) = (scratch(), scratch());
    authority(one.path());
    authority(other.path());
    for name in [ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE] {
        fs::copy(other.path().join(name), one.path().join(name)).expect("copied");
    }
    let error = CertificateAuthority::open_or_create(one.path()).expect_err("foreign");
    assert!(matches!(error, Error::ForeignIssuer { .. }), "{error}");
}

#[test]
fn half_a_pair_is_an_error_that_names_both_files_and_changes_nothing() {
    let halves = [
        (ROOT_CERTIFICATE_FILE, ROOT_KEY_FILE),
        (ISSUER_KEY_FILE, ISSUER_CERTIFICATE_FILE),
        (ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE),
    ];
    for (removed, kept) in halves {
        let directory = scratch();
        authority(directory.path());
        let before = fs::read(directory.path().join(kept)).expect("exists");
        fs::remove_file(directory.path().join(removed)).expect("exists");
        let error = CertificateAuthority::open_or_create(directory.path()).expect_err("incomplete");
        assert!(matches!(error, Error::Incomplete { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(removed) && message.contains(kept) && message.contains("backup"),
            "{message}"
        );
        assert_eq!(fs::read(directory.path().join(kept)).expect("still there"), before);
        assert!(!directory.path().join(removed).exists());
    }
}

#[test]
fn a_pair_of_two_authorities_is_refused() {
    let (one, other) = (scratch(), scratch());
    authority(one.path());
    authority(other.path());
    fs::copy(other.path().join(ROOT_KEY_FILE), one.path().join(ROOT_KEY_FILE)).expect("copied");
    let error = CertificateAuthority::open_or_create(one.path()).expect_err("mismatch");
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[test]
fn a_truncated_file_is_refused_by_name() {
    for name in [ROOT_KEY_FILE, ROOT_CERTIFICATE_FILE, ISSUER_KEY_FILE, ISSUER_CERTIFICATE_FILE] {
        let directory = scratch();
        authority(directory.path());
        let path = directory.path().join(name);
        let content = fs::read(&path).expect("exists");
        fs::write(&path, &content[..content.len() / 2]).expect("written");
        let error = CertificateAuthority::open_or_create(directory.path()).expect_err("truncated");
        assert!(matches!(error, Error::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_gateway_certificate_carries_its_identity_and_may_only_be_a_client() {
    let directory = scratch();
    let issued = identity(&authority(directory.path()));
    let (_, pem) = parse_x509_pem(issued.certificate.chain_pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("X.509");
    let names = certificate.subject_alternative_name().expect("one extension").expect("present");
    assert_eq!(names.value.general_names, [GeneralName::URI("urn:mfp:acme:hall-2")]);
    assert_eq!(certificate.subject().to_string(), "CN=acme/hall-2");
    let usage = certificate.extended_key_usage().expect("one extension").expect("present");
    assert!(usage.value.client_auth && !usage.value.server_auth && !usage.value.any);
    assert!(!certificate.is_ca());
    let left = certificate.validity().time_to_expiration().expect("valid now");
    assert!((3_500..=3_600).contains(&left.whole_seconds()), "{left}");
}

#[test]
fn a_name_that_is_no_host_is_refused_by_name() {
    let directory = scratch();
    let error =
        authority(directory.path()).issue_server(&["localhost", "fabrik-süd"]).expect_err("not ASCII");
    assert!(error.to_string().contains("fabrik-süd"), "{error}");
}

#[test]
fn a_server_reached_by_address_is_trusted() {
    let directory = scratch();
    let authority = authority(directory.path());
    let server = authority.issue_server(&["10.1.2.3", "localhost", "::1"]).expect("issued");
    let (_, pem) = parse_x509_pem(server.chain_pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("X.509");
    let names = certificate.subject_alternative_name().expect("one extension").expect("present");
    let addresses = names.value.general_names.iter().filter(|name| matches!(name, GeneralName::IPAddress(_)));
    assert_eq!(addresses.count(), 2);
}

#[test]
fn a_client_without_a_certificate_or_with_a_foreign_one_is_refused() {
    let (directory, foreign) = (scratch(), scratch());
    let authority = authority(directory.path());
    let foreign = CertificateAuthority::open_or_create(foreign.path()).expect("made");
    let server = authority.issue_server(&["localhost"]).expect("issued");
    assert!(handshake(&authority, &server, Some(&identity(&authority)), &authority).is_ok());
    assert!(handshake(&authority, &server, None, &authority).is_err());
    assert!(handshake(&authority, &server, Some(&identity(&foreign)), &authority).is_err());
    assert!(handshake(&authority, &server, Some(&identity(&authority)), &foreign).is_err());
}

/// A request for a key of its own, asking for names and rights that it must not get.
fn greedy_request() -> (rcgen::KeyPair, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    let uri = "urn:mfp:globex:hall-1".try_into().expect("ASCII");
    params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let request = params.serialize_request(&key).expect("signed").pem().expect("PEM");
    (key, request)
}

fn sign(
    authority: &CertificateAuthority,
    request: &str,
    life: Duration,
) -> Result<pki::IssuedCertificate, Error> {
    let tenant = TenantId::new("acme").expect("valid");
    let gateway = GatewayId::new("hall-2").expect("valid");
    authority.sign_request(&tenant, &gateway, request, life)
}

#[test]
fn a_request_gets_a_certificate_for_its_key_and_nothing_else_that_it_asks_for() {
    let directory = scratch();
    let authority = authority(directory.path());
    let (key, request) = greedy_request();
    let issued = sign(&authority, &request, HOUR).expect("signed");
    let (_, pem) = parse_x509_pem(issued.chain_pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("X.509");
    let names = certificate.subject_alternative_name().expect("one extension").expect("present");
    assert_eq!(names.value.general_names, [GeneralName::URI("urn:mfp:acme:hall-2")]);
    let usage = certificate.extended_key_usage().expect("one extension").expect("present");
    assert!(usage.value.client_auth && !usage.value.server_auth);
    assert_eq!(certificate.raw_serial_as_string().replace(':', ""), issued.serial);
    let left = issued.expires_at.duration_since(std::time::SystemTime::now()).expect("in the future");
    assert!(left <= HOUR && left > HOUR - Duration::from_secs(60), "{left:?}");

    let other = sign(&authority, &request, HOUR).expect("signed again");
    assert_ne!(other.serial, issued.serial);
    let identity = IssuedIdentity {
        certificate: issued,
        key_pem: tls_kit::KeyPem::new(key.serialize_pem()),
        root_pem: authority.root_pem().to_owned(),
    };
    let server = authority.issue_server(&["localhost"]).expect("issued");
    assert!(handshake(&authority, &server, Some(&identity), &authority).is_ok());
}

#[test]
fn garbage_and_forged_requests_are_refused_with_the_reason() {
    let directory = scratch();
    let authority = authority(directory.path());
    let (_, request) = greedy_request();
    let reason = |request: &str| sign(&authority, request, HOUR).expect_err("refused").to_string();
    assert!(reason("hello").contains("not a certificate request in PEM"));
    assert!(reason(&"x".repeat(pki::REQUEST_BYTES_MAX + 1)).contains("at most 8192"));
    // A changed letter somewhere in the middle breaks the signature or the form.
    for position in [80, request.len() / 2, request.len() - 60] {
        let letter = if request.as_bytes()[position] == b'A' { "B" } else { "A" };
        let mut forged = request.clone();
        forged.replace_range(position..=position, letter);
        assert!(sign(&authority, &forged, HOUR).is_err(), "a change at {position} is noticed");
    }
}

#[test]
fn an_expired_certificate_opens_the_gateways_api_and_nothing_else_and_a_foreign_one_opens_nothing() {
    let (directory, foreign) = (scratch(), scratch());
    let authority = authority(directory.path());
    let foreign = CertificateAuthority::open_or_create(foreign.path()).expect("made");
    let server = authority.issue_server(&["localhost"]).expect("issued");
    let expired = |authority: &CertificateAuthority| {
        let (tenant, gateway) = (TenantId::new("acme").expect("valid"), GatewayId::new("g").expect("valid"));
        authority.issue_gateway(&tenant, &gateway, Duration::ZERO).expect("issued")
    };
    let api = |client| {
        let config = authority.enrolment_tls(&server).expect("a valid configuration");
        handshake_with(config, client, &authority)
    };
    let (ours, theirs) = (expired(&authority), expired(&foreign));
    thread::sleep(Duration::from_millis(1_100));
    assert!(handshake(&authority, &server, Some(&ours), &authority).is_err());
    assert!(api(Some(&ours)).is_ok());
    assert!(api(None).is_ok(), "a gateway that enrols has none");
    assert!(api(Some(&theirs)).is_err());
}

/// What the server read from a client that trusts `trusted` and presents `client`.
fn handshake(
    authority: &CertificateAuthority,
    server: &pki::IssuedServer,
    client: Option<&IssuedIdentity>,
    trusted: &CertificateAuthority,
) -> std::io::Result<String> {
    let config = authority.server_tls(server).expect("a valid configuration");
    handshake_with(config, client, trusted)
}

fn handshake_with(
    config: ServerConfig,
    client: Option<&IssuedIdentity>,
    trusted: &CertificateAuthority,
) -> std::io::Result<String> {
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = thread::spawn(move || -> std::io::Result<String> {
        let (mut socket, _) = listener.accept()?;
        let mut connection = ServerConnection::new(config).expect("a valid configuration");
        let mut text = [0; 4];
        Stream::new(&mut connection, &mut socket).read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    });
    let mut socket = TcpStream::connect(address)?;
    let config = Arc::new(client_tls(client, trusted));
    let name = ServerName::try_from("localhost").expect("a DNS name");
    let mut connection = ClientConnection::new(config, name).expect("a valid configuration");
    let written = Stream::new(&mut connection, &mut socket).write_all(b"ping");
    drop(socket);
    let read = serving.join().expect("the server does not panic");
    written.and(read)
}

fn client_tls(client: Option<&IssuedIdentity>, trusted: &CertificateAuthority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(trusted.root_pem().as_bytes()).expect("PEM");
    roots.add(root).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots);
    match client {
        None => builder.with_no_client_auth(),
        Some(issued) => builder
            .with_client_auth_cert(
                CertificateDer::pem_slice_iter(issued.certificate.chain_pem.as_bytes())
                    .collect::<Result<_, _>>()
                    .expect("PEM"),
                PrivateKeyDer::from_pem_slice(issued.key_pem.secret().as_bytes()).expect("PEM"),
            )
            .expect("key and certificate fit"),
    }
}
