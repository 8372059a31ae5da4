//! How the way to the server is protected: what the URI says of TLS.
//!
//! Either there is no TLS, or the server shows a certificate of an authority in `sslrootcert` for the name in the URI:
//! encryption towards nobody knows whom is not offered.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use service_kit::Clock;
use tls_kit::{Roots, TlsTime, Trust, Versions};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::PostgresError;

/// What protects the way to the server.
#[derive(Clone)]
pub(crate) enum Protection {
    /// Nothing of ours.
    None,
    /// TLS.
    Tls {
        connector: MakeRustlsConnect,
        /// The file with the authorities.
        authority: PathBuf,
    },
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Tls { authority, .. } => f.debug_tuple("Tls").field(authority).finish(),
        }
    }
}

/// Reads what a URI says of TLS, and answers it as the client of PostgreSQL understands it.
pub(crate) fn read(uri: &str) -> Result<(String, Protection), PostgresError> {
    let Some((address, query)) = uri.split_once('?').filter(|_| uri.contains("://")) else {
        return Ok((uri.to_owned(), Protection::None));
    };
    let (mut mode, mut authority, mut rest) = (None, None, Vec::new());
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => authority = Some(decoded(value)?),
            _ => rest.push(parameter),
        }
    }
    let protection = match (mode, authority) {
        (Some("verify-full" | "require"), Some(authority)) => protection(authority)?,
        (Some(mode @ ("verify-full" | "require")), None) => {
            return Err(PostgresError::Uri(format!(
                "sslmode={mode} needs sslrootcert=FILE, the authority of the server's certificate: what the system \
                 trusts does not count here"
            )));
        }
        (_, Some(_)) => {
            return Err(PostgresError::Uri("sslrootcert needs sslmode=verify-full beside it".to_owned()));
        }
        (Some("disable" | "prefer") | None, None) => Protection::None,
        (Some(other), None) => {
            return Err(PostgresError::Uri(format!(
                "sslmode={other} is not known here; allowed are verify-full, require and disable"
            )));
        }
    };
    let mode = if matches!(protection, Protection::Tls { .. }) { Some("require") } else { mode };
    let mode = mode.map(|mode| format!("sslmode={mode}"));
    let query: Vec<&str> = rest.into_iter().chain(mode.as_deref()).collect();
    Ok((format!("{address}?{}", query.join("&")), protection))
}

fn decoded(value: &str) -> Result<PathBuf, PostgresError> {
    let path = percent_decode_str(value).decode_utf8();
    let path = path.map_err(|e| PostgresError::Uri(format!("sslrootcert is no path: {e}")))?;
    Ok(PathBuf::from(path.as_ref()))
}

fn protection(authority: PathBuf) -> Result<Protection, PostgresError> {
    let config = configuration(&authority).map_err(|e| PostgresError::Authority(e.into()))?;
    Ok(Protection::Tls { connector: MakeRustlsConnect::new(config), authority })
}

fn configuration(authority: &Path) -> Result<rustls::ClientConfig, tls_kit::TlsError> {
    let trust = Trust::Roots(Roots::from_file(authority)?);
    let config = tls_kit::client(trust, None, TlsTime::of(Clock::start()), Versions::With12)?;
    Ok(config.as_ref().clone())
}

/// Whether the server was not believed to be the one that it should be.
pub(crate) fn is_distrust(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // What an I/O error was made of is not among its sources.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = error.downcast_ref().or_else(|| inner.and_then(|e| e.downcast_ref()));
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_uri_says_of_tls_is_complete_or_refused() {
        for (uri, expected) in [
            ("postgres://a@h/d?sslmode=require", "needs sslrootcert=FILE"),
            ("postgres://a@h/d?sslmode=verify-full", "needs sslrootcert=FILE"),
            ("postgres://a@h/d?sslrootcert=%2Fca.crt", "needs sslmode=verify-full"),
            ("postgres://a@h/d?sslmode=disable&sslrootcert=%2Fca.crt", "needs sslmode=verify-full"),
            ("postgres://a@h/d?sslmode=verify-ca", "allowed are verify-full"),
            ("postgres://a@h/d?sslmode=verify-full&sslrootcert=%2Fnonexistent%2Fca.crt", "authority"),
        ] {
            let error = read(uri).expect_err(uri);
            assert!(error.to_string().contains(expected), "{uri}: {error}");
        }
        let plain = "postgres://a@h/d?sslmode=disable&application_name=x";
        let (rewritten, protection) = read(plain).expect("no TLS");
        assert_eq!(rewritten, "postgres://a@h/d?application_name=x&sslmode=disable");
        assert!(matches!(protection, Protection::None), "{protection:?}");
    }
}
