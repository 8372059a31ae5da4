//! What somebody without a certificate may send: bodies of enrolment and renewal, codes, certificate requests; and the
//! configuration that a gateway reads. Fed with bytes that nobody meant, for `FUZZ_SECONDS` (1 when not set) from
//! `FUZZ_SEED` (1 when not set). A certificate request is changed inside its PEM most of the time.

use std::time::{Duration, Instant};

use pki::CertificateAuthority;
use plant_model::{GatewayId, TenantId};
use protocol::{
    Configuration, ConfigurationFiles, ConfigurationVersion, EnrolmentCode, EnrolmentRequest, RenewalRequest,
    SignedConfiguration,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

fn setting(name: &str, default: u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    std::env::var(name).map_or(default, parse)
}

/// Some changes in a row of bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..[1, 1, 1, 2, 3, 6][rng.random_range(0..6)] {
        let at = rng.random_range(0..=bytes.len());
        let to = rng.random_range(at..=bytes.len().min(at + 32));
        match rng.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            3 if at < bytes.len() => bytes[at] = [0, 1, 0x7F, 0x80, 0x84, 0xFF][rng.random_range(0..6)],
            // A length of the largest kind.
            4 => drop(bytes.splice(at..at, [0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF])),
            5 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            _ => drop(bytes.drain(at..to)),
        }
    }
    bytes.truncate(pki::REQUEST_BYTES_MAX);
}

fn pem_of(der: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned();
    for (n, group) in der.chunks(3).enumerate() {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for symbol in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * symbol) & 63).expect("six bits");
            text.push(if symbol > group.len() { '=' } else { char::from(LETTERS[index]) });
        }
        if n % 16 == 15 {
            text.push('\n');
        }
    }
    text + "\n-----END CERTIFICATE REQUEST-----\n"
}

/// Requests as gateways make them, and greedier ones, DER.
fn requests() -> Vec<Vec<u8>> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let plain = rcgen::CertificateParams::default();
    let mut greedy = rcgen::CertificateParams::new(vec!["backend".to_owned()]).expect("parameters");
    greedy.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    [plain, greedy].iter().map(|p| p.serialize_request(&key).expect("signed").der().to_vec()).collect()
}

/// Only what is signed with its own key gets a certificate.
fn one_request(authority: &CertificateAuthority, der: &[u8]) -> bool {
    let (tenant, gateway) = (TenantId::new("acme").expect("valid"), GatewayId::new("hall-1").expect("valid"));
    let issued = authority.sign_request(&tenant, &gateway, &pem_of(der), Duration::from_secs(60));
    if issued.is_ok() {
        let (_, request) = X509CertificationRequest::from_der(der).expect("what was signed can be read");
        request.verify_signature().expect("what was signed is signed with its own key");
    }
    issued.is_ok()
}

fn bodies(request_pem: &str, signed: &SignedConfiguration) -> Vec<Vec<u8>> {
    let code = EnrolmentCode::new(b"root", [7; 9]);
    let (certificate_request, agent_version) = (request_pem.to_owned(), "1".to_owned());
    let renewal = RenewalRequest { certificate_request, agent_version };
    let enrolment = EnrolmentRequest {
        code: code.clone(),
        certificate_request: request_pem.to_owned(),
        agent_version: "1".to_owned(),
        expected: Some("acme/hall-1".to_owned()),
    };
    let json = |body: serde_json::Result<Vec<u8>>| body.expect("JSON");
    vec![
        json(serde_json::to_vec(&renewal)),
        json(serde_json::to_vec(&enrolment)),
        json(serde_json::to_vec(signed)),
        code.to_string().into_bytes(),
    ]
}

/// Whether anything was read; what is read is what would be written.
fn one_body(authority: &CertificateAuthority, body: &[u8]) -> bool {
    let enrolment = serde_json::from_slice::<EnrolmentRequest>(body);
    let renewal = serde_json::from_slice::<RenewalRequest>(body);
    let requests = [
        enrolment.as_ref().ok().map(|e| &e.certificate_request),
        renewal.as_ref().ok().map(|r| &r.certificate_request),
    ];
    let (tenant, gateway) = (TenantId::new("acme").expect("valid"), GatewayId::new("hall-1").expect("valid"));
    for request in requests.into_iter().flatten() {
        let _ = authority.sign_request(&tenant, &gateway, request, Duration::from_secs(60));
    }
    let configuration = serde_json::from_slice::<SignedConfiguration>(body);
    if let Ok(read) = &configuration {
        let again = serde_json::to_vec(read).expect("JSON");
        assert_eq!(serde_json::from_slice::<SignedConfiguration>(&again).expect("its own"), *read);
    }
    let code = String::from_utf8_lossy(body).parse::<EnrolmentCode>();
    if let Ok(code) = &code {
        assert_eq!(code.to_string().parse().as_ref(), Ok(code));
    }
    enrolment.is_ok() || renewal.is_ok() || configuration.is_ok() || code.is_ok()
}

fn signed(authority: &CertificateAuthority, directory: &std::path::Path) -> SignedConfiguration {
    let files = [("press.toml".to_owned(), "version = 1\n".to_owned())];
    let configuration = Configuration {
        tenant: TenantId::new("acme").expect("valid"),
        gateway: GatewayId::new("hall-1").expect("valid"),
        version: ConfigurationVersion::new(3).expect("valid"),
        files: ConfigurationFiles::new(files).expect("valid"),
        accept_drift: None,
    };
    let signer = pki::ConfigurationSigner::new(directory);
    let signature = signer.sign(authority, configuration.signed_text().as_bytes()).expect("signs");
    SignedConfiguration { configuration, signer: signature.chain_pem, signature: signature.signature }
}

#[test]
fn no_bytes_from_a_stranger_make_a_parser_panic_and_no_foreign_key_is_certified() {
    let (seconds, seed) = (setting("FUZZ_SECONDS", 1), setting("FUZZ_SEED", 1));
    let folder = tempfile::tempdir().expect("a folder");
    let authority = CertificateAuthority::open_or_create(folder.path()).expect("made");
    let requests = requests();
    let bodies = bodies(&pem_of(&requests[0]), &signed(&authority, folder.path()));
    assert!(requests.iter().all(|der| one_request(&authority, der)), "unchanged they are certified");
    assert!(bodies.iter().all(|body| one_body(&authority, body)), "unchanged they are read");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut executions, mut refused) = (0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end || executions < 100 {
        let mut der = requests[rng.random_range(0..requests.len())].clone();
        mutate(&mut der, &mut rng);
        let mut body = bodies[rng.random_range(0..bodies.len())].clone();
        mutate(&mut body, &mut rng);
        refused += u64::from(!one_request(&authority, &der)) + u64::from(!one_body(&authority, &body));
        executions += 2;
    }
    eprintln!("{executions} inputs from seed {seed}, {refused} refused");
    assert!(refused > executions / 4, "most changes break what they change");
}
