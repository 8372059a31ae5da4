//! What signs configurations, over real files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pki::{CertificateAuthority, ConfigurationSigner, ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE, Signature};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::pem::Pem;
use x509_parser::prelude::GeneralName;

const TEXT: &[u8] = b"mfp configuration 1\n";

fn authority(directory: &Path) -> CertificateAuthority {
    CertificateAuthority::open_or_create(directory).expect("a new or complete directory opens")
}

/// As a gateway does it: the chain up to the root, then the signature. Answers the serial of the signer.
fn verify(signed: &Signature, text: &[u8], root: &CertificateAuthority) -> Result<String, String> {
    let pems: Vec<Pem> = [signed.chain_pem.as_bytes(), root.root_pem().as_bytes()]
        .into_iter()
        .flat_map(|pem| Pem::iter_from_buffer(pem).map(|pem| pem.expect("PEM")))
        .collect();
    let chain: Vec<_> = pems.iter().map(|pem| pem.parse_x509().expect("a certificate")).collect();
    assert_eq!(chain.len(), 3, "signer, issuer, root");
    for pair in chain.windows(2) {
        pair[0].verify_signature(Some(pair[1].public_key())).map_err(|e| e.to_string())?;
    }
    let names = chain[0].subject_alternative_name().expect("readable").expect("there").value;
    assert_eq!(names.general_names, [GeneralName::URI("urn:mfp:configuration")]);
    let key = &chain[0].public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
    key.verify(text, &signed.signature).map_err(|_| "the signature does not fit".to_owned())?;
    Ok(chain[0].raw_serial_as_string())
}

#[test]
fn a_signature_leads_to_the_root_and_fits_its_text_only() {
    let (directory, other) = (tempfile::tempdir().expect("scratch"), tempfile::tempdir().expect("scratch"));
    let authority_here = authority(directory.path());
    let signed = ConfigurationSigner::new(directory.path()).sign(&authority_here, TEXT).expect("signs");
    verify(&signed, TEXT, &authority_here).expect("good");
    assert!(verify(&signed, b"mfp configuration 2\n", &authority_here).is_err());
    assert!(verify(&signed, TEXT, &authority(other.path())).is_err());
}

#[test]
fn the_signer_stays_over_a_restart_and_its_key_is_its_owners() {
    let directory = tempfile::tempdir().expect("scratch");
    let authority = authority(directory.path());
    let serial = || {
        let signed = ConfigurationSigner::new(directory.path()).sign(&authority, TEXT).expect("signs");
        verify(&signed, TEXT, &authority).expect("good")
    };
    assert_eq!(serial(), serial());
    let mode = fs::metadata(directory.path().join("signer.key")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 6, "no partial file is left");
}

#[test]
fn a_signer_that_is_lost_damaged_or_of_another_issuer_is_made_anew() {
    let directory = tempfile::tempdir().expect("scratch");
    let path = |name: &str| directory.path().join(name);
    let sign = |authority: &CertificateAuthority| {
        let signed = ConfigurationSigner::new(directory.path()).sign(authority, TEXT).expect("signs");
        verify(&signed, TEXT, authority).expect("good")
    };
    let first = authority(directory.path());
    let mut seen = vec![sign(&first)];
    fs::remove_file(path("signer.crt")).expect("there");
    seen.push(sign(&first));
    fs::remove_file(path("signer.key")).expect("there");
    seen.push(sign(&first));
    fs::write(path("signer.key"), "no key").expect("writes");
    seen.push(sign(&first));
    let kept = ConfigurationSigner::new(directory.path());
    kept.sign(&first, TEXT).expect("signs");
    for name in [ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE] {
        fs::remove_file(path(name)).expect("there");
    }
    let second = authority(directory.path());
    let signed = kept.sign(&second, TEXT).expect("signs");
    seen.push(verify(&signed, TEXT, &second).expect("under the new issuer"));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "a new one each time");
}
