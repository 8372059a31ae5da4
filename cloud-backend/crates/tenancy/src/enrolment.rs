//! Who may be a gateway: invitations, and the certificates that were issued.

use std::time::Duration;

use plant_model::{GatewayId, TenantId, Timestamp};

use crate::TokenDigest;

/// How long after its end a certificate still gets a new one: a gateway that lay in a cupboard for two
/// seasons needs no visit.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The right to be enrolled as a gateway, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of the code's secret. The code itself is never stored.
    pub code_sha256: TokenDigest,
    /// Whom the gateway belongs to.
    pub tenant: TenantId,
    /// Which gateway it becomes.
    pub gateway: GatewayId,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is worth nothing.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// Why somebody is not enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentRefusal {
    /// Nobody was invited with this code.
    Unknown,
    /// It was used.
    Used {
        /// When.
        at: Timestamp,
    },
    /// It is too old.
    Expired {
        /// Its end.
        at: Timestamp,
    },
}

impl Invitation {
    /// Whether it is good at `now`.
    ///
    /// # Errors
    /// It was used, or is too old.
    pub fn check(&self, now: Timestamp) -> Result<(), EnrolmentRefusal> {
        match self.used_at {
            Some(at) => Err(EnrolmentRefusal::Used { at }),
            None if now >= self.expires_at => Err(EnrolmentRefusal::Expired { at: self.expires_at }),
            None => Ok(()),
        }
    }
}

/// A certificate that a gateway was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayCertificate {
    /// Whose gateway.
    pub tenant: TenantId,
    /// The gateway.
    pub gateway: GatewayId,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why a gateway gets no new certificate for the one it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalRefusal {
    /// The gateway is not registered (any more).
    NotRegistered,
    /// It was revoked.
    Revoked {
        /// When.
        at: Timestamp,
    },
    /// It ended too long ago.
    TooLate {
        /// Its end.
        at: Timestamp,
    },
}

/// Whether a gateway that presents a certificate with this end gets a new one. `known` is what the store
/// knows of it: nothing after a store was restored from an older backup; the signature is proof enough then.
///
/// # Errors
/// It was revoked, or ended longer than [`RENEWAL_GRACE`] ago.
pub fn check_renewal(
    known: Option<&GatewayCertificate>,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), RenewalRefusal> {
    if let Some(at) = known.and_then(|known| known.revoked_at) {
        return Err(RenewalRefusal::Revoked { at });
    }
    if now > expires_at.plus(RENEWAL_GRACE) {
        return Err(RenewalRefusal::TooLate { at: expires_at });
    }
    Ok(())
}

/// Time for a running server to take up a new root: what it signed before that is not from it.
const TAKEN_UP: Duration = Duration::from_secs(10);

/// Whether a gateway with these certificates, the newest first, may not know a root that was made at `made_at`, or may
/// present a certificate from before it. Who is renewed gets the root first; what was revoked, or ended longer than
/// [`RENEWAL_GRACE`] ago, counts for nothing.
#[must_use]
pub fn needs_older_root(certificates: &[GatewayCertificate], made_at: Timestamp, now: Timestamp) -> bool {
    let is_older = |certificate: &GatewayCertificate| certificate.issued_at < made_at.plus(TAKEN_UP);
    let mut live =
        certificates.iter().filter(|c| c.revoked_at.is_none() && now < c.expires_at.plus(RENEWAL_GRACE));
    let Some(newest) = live.next() else { return false };
    is_older(newest) || live.any(|certificate| is_older(certificate) && now < certificate.expires_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn invitation(used_at: Option<Timestamp>) -> Invitation {
        Invitation {
            code_sha256: TokenDigest([0; 32]),
            tenant: TenantId::new("acme").expect("valid"),
            gateway: GatewayId::new("hall-1").expect("valid"),
            created_at: at(0),
            expires_at: at(100),
            used_at,
        }
    }

    fn certificate(issued_at: i64, expires_at: i64, revoked_at: Option<i64>) -> GatewayCertificate {
        GatewayCertificate {
            tenant: TenantId::new("acme").expect("valid"),
            gateway: GatewayId::new("hall-1").expect("valid"),
            serial: issued_at.to_string(),
            issued_at: at(issued_at),
            expires_at: at(expires_at),
            revoked_at: revoked_at.map(at),
        }
    }

    #[test]
    fn an_invitation_is_good_once_and_until_its_end() {
        assert_eq!(invitation(None).check(at(99)), Ok(()));
        assert_eq!(invitation(None).check(at(100)), Err(EnrolmentRefusal::Expired { at: at(100) }));
        let used = invitation(Some(at(5)));
        assert_eq!(used.check(at(200)), Err(EnrolmentRefusal::Used { at: at(5) }));
    }

    #[test]
    fn a_certificate_is_renewed_after_its_end_for_a_year_and_never_once_revoked() {
        let year = 365 * 24 * 3_600;
        assert_eq!(check_renewal(None, at(100), at(50)), Ok(()));
        assert_eq!(check_renewal(None, at(100), at(100 + year)), Ok(()));
        let late = check_renewal(None, at(100), at(101 + year));
        assert_eq!(late, Err(RenewalRefusal::TooLate { at: at(100) }));
        let revoked = certificate(0, 100, Some(7));
        assert_eq!(check_renewal(Some(&revoked), at(100), at(8)), Err(RenewalRefusal::Revoked { at: at(7) }));
    }

    #[test]
    fn an_older_root_is_needed_until_what_is_from_before_is_replaced_and_over() {
        let made_at = at(1_000);
        let needs =
            |certificates: &[GatewayCertificate], now| needs_older_root(certificates, made_at, at(now));
        let old = certificate(900, 2_000, None);
        assert!(needs(std::slice::from_ref(&old), 1_100), "not renewed");
        assert!(needs(std::slice::from_ref(&old), 3_000), "it may come back and be renewed");
        assert!(!needs(std::slice::from_ref(&old), 2_000 + 365 * 24 * 3_600), "it may not");
        let new = certificate(1_500, 2_600, None);
        assert!(needs(&[new.clone(), old.clone()], 1_999), "nobody knows whether the new one is in use");
        assert!(!needs(&[new.clone(), old], 2_000));
        assert!(!needs(&[new, certificate(900, 2_000, Some(1_400))], 1_501), "enrolled anew");
        assert!(needs(&[certificate(1_009, 3_000, None)], 1_100), "a server may not have taken it up");
        assert!(!needs(&[certificate(900, 2_000, Some(950))], 1_100), "revoked");
        assert!(!needs(&[], 1_100), "invited");
    }
}
