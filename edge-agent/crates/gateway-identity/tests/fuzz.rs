//! What a backend answers and what lies in the files of an identity, as nobody would write it: answers to enrolment
//! and renewal, roots, certificates with their key. Fed with changed bytes for `FUZZ_SECONDS` (1 when not set) from
//! `FUZZ_SEED` (1 when not set). Whatever it is, the agent says what it lacks and goes on.

use std::time::{Duration, Instant};

use gateway_identity::IdentityFiles;
use protocol::{Certified, Enrolment};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rcgen::{CertificateParams, KeyPair};
use service_kit::Clock;
use tls_kit::{Identity, Roots, TlsTime, Trust, Versions};

fn setting(name: &str, default: u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    std::env::var(name).map_or(default, parse)
}

/// Some changes in a text.
fn mutate(text: &str, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..[1, 1, 1, 2, 3, 6][rng.random_range(0..6)] {
        let at = rng.random_range(0..=bytes.len());
        let to = rng.random_range(at..=bytes.len().min(at + 64));
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            3 => drop(bytes.splice(at..at, *b"-----BEGIN CERTIFICATE-----\n")),
            4 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            _ => drop(bytes.drain(at..to)),
        }
    }
    bytes
}

/// Whether this would be an identity that connections can be tried with.
fn is_usable(files: &IdentityFiles, certificate: &[u8], roots: &[u8]) -> bool {
    std::fs::write(&files.certificate, certificate).expect("written");
    let times = files.times();
    let trust = Roots::from_pem(roots, &files.roots);
    let identity = Identity::from_files(&files.certificate, &files.certificate);
    let (Ok(_), Ok(trust), Ok(identity)) = (times, trust, identity) else { return false };
    let time = TlsTime::of(Clock::start());
    tls_kit::client(Trust::Roots(trust), Some(identity), time, Versions::Only13).is_ok()
}

#[test]
fn no_answer_and_no_file_of_an_identity_makes_the_agent_panic() {
    let (seconds, seed) = (setting("FUZZ_SECONDS", 1), setting("FUZZ_SEED", 1));
    let folder = tempfile::tempdir().expect("a folder");
    let files = IdentityFiles::in_folder(folder.path());
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["a".to_owned()]).expect("parameters");
    let roots = certificate.self_signed(&key).expect("a certificate").pem();
    let identity = format!("{}{roots}", key.serialize_pem());
    let certified = Certified { certificate: roots.clone(), roots: roots.clone(), expires_at: 1, now: 1 };
    let certified = serde_json::to_string(&certified).expect("JSON");
    let enrolment = certified.replacen('{', "{\"tenant\":\"acme\",\"gateway\":\"g\",\"mqtt_port\":1,", 1);
    assert!(serde_json::from_str::<Certified>(&certified).is_ok());
    assert!(serde_json::from_str::<Enrolment>(&enrolment).is_ok());
    assert!(is_usable(&files, identity.as_bytes(), roots.as_bytes()), "unchanged");

    let mut rng = StdRng::seed_from_u64(seed);
    let (mut executions, mut refused) = (0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end || executions < 100 {
        let _ = serde_json::from_slice::<Enrolment>(&mutate(&enrolment, &mut rng));
        if let Ok(read) = serde_json::from_slice::<Certified>(&mutate(&certified, &mut rng)) {
            let _ = is_usable(&files, read.certificate.as_bytes(), read.roots.as_bytes());
        }
        refused += u64::from(!match rng.random() {
            true => is_usable(&files, &mutate(&identity, &mut rng), roots.as_bytes()),
            false => is_usable(&files, identity.as_bytes(), &mutate(&roots, &mut rng)),
        });
        executions += 3;
    }
    eprintln!("{executions} inputs from seed {seed}, {refused} identities refused");
    assert!(refused > executions / 6, "most changes break what they change");
}
