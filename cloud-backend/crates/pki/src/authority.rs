//! Opening the authority: the root that is trusted and the issuer that signs (X.509 v3, RFC 5280).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tls_kit::KeyPem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Error;
use crate::files::{Found, PairFiles, PemPair};
use crate::issue::{DAY, cannot_issue, common_name_of, new_key, set_serial, set_validity};
use crate::rotation::finish;

/// The root outlives the machines it serves; replacing it reaches gateways only while they are connected.
const ROOT_LIFETIME: Duration = DAY.saturating_mul(7_305);
/// The issuer is replaced without anybody noticing, as long as the root's key is at hand.
const ISSUER_LIFETIME: Duration = DAY.saturating_mul(1_826);
/// With less than this left a new issuer is made at a start: what it signs must not outlive it.
const ISSUER_RENEWAL: Duration = DAY.saturating_mul(731);

/// The certificate authority of this installation.
pub struct CertificateAuthority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) issuer_pem: String,
    pub(crate) issuer_expires_at: SystemTime,
    pub(crate) root_pem: String,
    /// The newest first.
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl CertificateAuthority {
    /// Opens the authority kept in `directory`, or makes one if there is none at all.
    ///
    /// # Errors
    /// Files are incomplete, damaged or of two different authorities, or the directory cannot be read or
    /// written. A root that exists is never replaced.
    pub fn open_or_create(directory: &Path) -> Result<Self, Error> {
        finish(directory)?;
        let (root, issuer) = (Root::open_or_create(directory)?, PairFiles::issuer(directory));
        let found = match issuer.find()? {
            Found::Pair(pair) => Some(pair),
            Found::CertificateOnly(_) => return Err(issuer.key_is_missing()),
            Found::Nothing => None,
        };
        let opened = found.map(|pair| Self::from_pair(&issuer, pair, &root)).transpose()?;
        match (opened, &root.issuer) {
            // While a root is replaced, the issuer is below both; it is new.
            (Some(opened), Some(key)) if opened.is_old() && root.certificates.len() == 1 => {
                Self::make_issuer(&issuer, &root, key)
            }
            (Some(opened), _) => Ok(opened),
            (None, Some(key)) => Self::make_issuer(&issuer, &root, key),
            (None, None) => {
                Err(Error::NoIssuer { issuer: issuer.certificate, root_key: PairFiles::root(directory).key })
            }
        }
    }

    fn make_issuer(files: &PairFiles, root: &Root, key: &Signer) -> Result<Self, Error> {
        let pair = new_issuer(&[key]).map_err(cannot_issue("the issuer's certificate"))?;
        files.store(&pair)?;
        Self::from_pair(files, pair, root)
    }

    fn from_pair(files: &PairFiles, pair: PemPair, root: &Root) -> Result<Self, Error> {
        let (certificate, issuer) = issuer_of(files, &pair)?;
        let foreign = || Error::ForeignIssuer { issuer: files.certificate.clone(), root: root.path.clone() };
        let parsed = parse(&certificate).ok_or_else(foreign)?;
        let trusted = root.certificates.first().and_then(parse).ok_or_else(foreign)?;
        parsed.verify_signature(Some(trusted.public_key())).map_err(|_| foreign())?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self {
            issuer,
            issuer_pem: pair.certificate,
            issuer_expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            root_pem: root.pem.clone(),
            roots: root.certificates.clone(),
        })
    }

    fn is_old(&self) -> bool {
        self.issuer_expires_at < SystemTime::now() + ISSUER_RENEWAL
    }

    /// The certificates of all roots that are trusted, PEM, the newest first. Public.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The certificates of all roots that are trusted, DER, the newest first; there is one at least. Public.
    pub fn roots_der(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(AsRef::as_ref)
    }

    /// The newest root's certificate, DER. Public.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        self.roots.first().map_or(&[], AsRef::as_ref)
    }

    /// Until when the issuer can sign. With the root's key at hand it is replaced long before, at a start.
    #[must_use]
    pub const fn issuer_expires_at(&self) -> SystemTime {
        self.issuer_expires_at
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

/// A certificate of an authority with its key.
pub(crate) type Signer = Issuer<'static, KeyPair>;

/// What everybody trusts.
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) pem: String,
    /// The newest first; there is one at least.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Of the newest; `None` while its key is kept elsewhere.
    pub(crate) issuer: Option<Signer>,
}

impl Root {
    pub(crate) fn open_or_create(directory: &Path) -> Result<Self, Error> {
        let files = PairFiles::root(directory);
        match files.find()? {
            Found::Pair(pair) => Self::from_pair(directory, &pair),
            Found::CertificateOnly(pem) => {
                let certificates = Self::certificates_of(&files.certificate, &pem)?;
                Ok(Self { path: files.certificate, pem, certificates, issuer: None })
            }
            Found::Nothing => {
                let pair = new_root().map_err(cannot_issue("the root certificate"))?;
                files.store(&pair)?;
                Self::from_pair(directory, &pair)
            }
        }
    }

    pub(crate) fn from_pair(directory: &Path, pair: &PemPair) -> Result<Self, Error> {
        let files = PairFiles::root(directory);
        let (_, issuer) = issuer_of(&files, pair)?;
        let certificates = Self::certificates_of(&files.certificate, &pair.certificate)?;
        Ok(Self {
            path: files.certificate,
            pem: pair.certificate.clone(),
            certificates,
            issuer: Some(issuer),
        })
    }

    pub(crate) fn certificates_of(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found: Option<Vec<_>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|found| found.ok().filter(|certificate| parse(certificate).is_some()))
            .collect();
        let unreadable = || unreadable(path, "a certificate in PEM");
        found.filter(|found| !found.is_empty()).ok_or_else(unreadable)
    }
}

/// A key for an issuer, with a certificate from each of these roots.
pub(crate) fn new_issuer(roots: &[&Signer]) -> Result<PemPair, rcgen::Error> {
    let key = new_key()?;
    let mut certificates = String::new();
    for root in roots {
        let params = authority_params("mfp installation issuer", ISSUER_LIFETIME, 0);
        certificates.push_str(&params.signed_by(&key, root)?.pem());
    }
    Ok(PemPair { certificate: certificates, key: KeyPem::new(key.serialize_pem()) })
}

pub(crate) fn new_root() -> Result<PemPair, rcgen::Error> {
    let key = new_key()?;
    let params = authority_params("mfp installation authority", ROOT_LIFETIME, 1);
    Ok(PemPair { certificate: params.self_signed(&key)?.pem(), key: KeyPem::new(key.serialize_pem()) })
}

/// An authority below which there are at most `depth` further authorities.
fn authority_params(name: &str, lifetime: Duration, depth: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params, lifetime);
    set_serial(&mut params);
    params.distinguished_name = common_name_of(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn issuer_of(
    files: &PairFiles,
    pair: &PemPair,
) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), Error> {
    let key =
        KeyPair::from_pem(pair.key.secret()).map_err(|_| unreadable(&files.key, "a private key in PEM"))?;
    let certificate = certificate_of(files, &pair.certificate)?;
    let no_authority = || unreadable(&files.certificate, "a certificate of an authority");
    if parse(&certificate).ok_or_else(no_authority)?.public_key().raw != key.subject_public_key_info() {
        return Err(Error::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() });
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| no_authority())?;
    Ok((certificate, issuer))
}

fn certificate_of(files: &PairFiles, pem: &str) -> Result<CertificateDer<'static>, Error> {
    let unreadable = || unreadable(&files.certificate, "a certificate in PEM");
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unreadable())?;
    parse(&certificate).map(|_| ()).ok_or_else(unreadable)?;
    Ok(certificate)
}

pub(crate) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(certificate).ok().map(|(_, certificate)| certificate)
}

fn unreadable(path: &Path, expected: &'static str) -> Error {
    Error::Unreadable { path: path.to_owned(), expected }
}
