use protocol::{ConfigurationFiles, ConfigurationVersion, FilesDigest};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
    SigningKey as _, date_time_ymd,
};

use super::*;

/// 2026-09-21.
const BUILT_AT: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// An installation: a root, an issuer below it.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    issuer_pem: String,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params
}

impl Authority {
    fn new() -> Self {
        let (root_key, issuer_key) = (key(), key());
        let root: Certificate = authority_params().self_signed(&root_key).expect("a root");
        let above = Issuer::new(authority_params(), root_key);
        let mut params = authority_params();
        params.distinguished_name.push(rcgen::DnType::CommonName, "issuer");
        let issuer_pem = params.signed_by(&issuer_key, &above).expect("an issuer").pem();
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = IdentityFiles::in_folder(folder.path());
        std::fs::write(&files.roots, root.pem()).expect("roots");
        Self { folder, issuer: Issuer::new(params, issuer_key), issuer_pem }
    }

    /// A signer that is good in these years.
    fn signer(&self, uri: &str, years: std::ops::Range<i32>) -> (KeyPair, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let key = key();
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        (key, leaf + &self.issuer_pem)
    }

    fn signed_in(&self, years: std::ops::Range<i32>) -> SignedConfiguration {
        signed(&configuration(), &self.signer(CONFIGURATION_SIGNER_URI, years))
    }

    /// The gateway hall-3 of acme, at this time.
    fn gateway(&self, clock: Clock) -> Verifier {
        Verifier {
            tenant: TenantId::new("acme").expect("an id"),
            gateway: GatewayId::new("hall-3").expect("an id"),
            files: IdentityFiles::in_folder(self.folder.path()),
            clock,
            floor: BUILT_AT,
        }
    }
}

fn configuration() -> Configuration {
    Configuration {
        tenant: TenantId::new("acme").expect("an id"),
        gateway: GatewayId::new("hall-3").expect("an id"),
        version: ConfigurationVersion::new(7).expect("above 0"),
        files: ConfigurationFiles::new([("press.toml", "id = \"press\"\n".to_owned())]).expect("fits"),
        accept_drift: None,
    }
}

fn signed(configuration: &Configuration, (key, signer): &(KeyPair, String)) -> SignedConfiguration {
    let signature = key.sign(configuration.signed_text().as_bytes()).expect("signs");
    SignedConfiguration { configuration: configuration.clone(), signer: signer.clone(), signature }
}

fn knows(micros: i64) -> Clock {
    let clock = Clock::start_kept();
    clock.keep(Some(Timestamp::from_micros(micros)));
    clock
}

/// A gateway that knows the time, 2027.
fn awake() -> Clock {
    knows(1_800_000_000_000_000)
}

#[test]
fn a_configuration_that_the_authority_signed_for_this_gateway_is_taken_as_it_was_signed() {
    let ours = Authority::new();
    let verified = ours.gateway(awake()).verify(ours.signed_in(2026..2036)).expect("good");
    assert_eq!(verified, configuration());
}

#[test]
fn whatever_was_changed_on_the_way_no_longer_fits_the_signature() {
    let ours = Authority::new();
    let good = ours.signed_in(2026..2036);
    let with = |configuration| SignedConfiguration { configuration, ..good.clone() };
    let files = ConfigurationFiles::new([("press.toml", "id = \"other\"\n".to_owned())]).expect("fits");
    let mut cut = good.clone();
    cut.signature.pop();
    let changed = [
        with(Configuration { files, ..configuration() }),
        with(Configuration { version: ConfigurationVersion::new(8).expect("above 0"), ..configuration() }),
        with(Configuration { accept_drift: Some(FilesDigest([1; 32])), ..configuration() }),
        cut,
    ];
    for changed in changed {
        let refused = ours.gateway(awake()).verify(changed);
        assert!(matches!(refused, Err(SignatureError::Signature(_))), "{refused:?}");
    }
}

#[test]
fn a_configuration_of_another_gateway_is_refused_by_name() {
    let ours = Authority::new();
    let other = Configuration { gateway: GatewayId::new("hall-4").expect("an id"), ..configuration() };
    let signer = ours.signer(CONFIGURATION_SIGNER_URI, 2026..2036);
    let refused = ours.gateway(awake()).verify(signed(&other, &signer)).expect_err("not ours");
    assert_eq!(refused.to_string(), "the configuration is for acme/hall-4, this gateway is acme/hall-3");
}

#[test]
fn a_signer_of_another_authority_or_with_another_purpose_or_none_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let foreign = ours.gateway(awake()).verify(theirs.signed_in(2026..2036));
    assert!(matches!(foreign, Err(SignatureError::Chain(_))), "{foreign:?}");
    let gateway = signed(&configuration(), &ours.signer("urn:mfp:gateway:acme:hall-3", 2026..2036));
    let purpose = ours.gateway(awake()).verify(gateway);
    assert!(matches!(purpose, Err(SignatureError::Purpose)), "{purpose:?}");
    for nothing in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let none = SignedConfiguration { signer: nothing.to_owned(), ..ours.signed_in(2026..2036) };
        let none = ours.gateway(awake()).verify(none);
        assert!(matches!(none, Err(SignatureError::NoSigner | SignatureError::Chain(_))), "{none:?}");
    }
}

#[test]
fn e5_a_signer_that_ended_before_the_floor_is_refused_whatever_the_clock_says() {
    let ours = Authority::new();
    let behind = knows(1_600_000_000_000_000);
    for clock in [Clock::start_kept(), behind] {
        let refused = ours.gateway(clock).verify(ours.signed_in(2021..2024));
        assert!(matches!(refused, Err(SignatureError::Chain(_))), "{refused:?}");
        assert!(ours.gateway(clock).verify(ours.signed_in(2021..2036)).is_ok());
    }
}

#[test]
fn e5_a_signer_from_after_the_floor_says_that_the_clock_is_behind_unless_the_time_is_known() {
    let ours = Authority::new();
    assert!(ours.gateway(Clock::start_kept()).verify(ours.signed_in(2090..2095)).is_ok());
    let refused = ours.gateway(awake()).verify(ours.signed_in(2090..2095));
    assert!(matches!(refused, Err(SignatureError::Chain(_))), "{refused:?}");
}
