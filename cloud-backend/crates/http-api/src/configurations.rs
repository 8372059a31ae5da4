//! Changing the configuration of a gateway: checked, compared, saved, in this order; and what that needs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use protocol::{ConfigurationFiles, ConfigurationVersion, FilesDigest};
use tenancy::{
    ConfigurationEntry, ConfigurationProblem, ConfigurationStore, FileDifference, MachineCheck,
    NewConfiguration, StoredConfiguration, difference,
};

use crate::problem::Problem;

/// Time for small differences; after it they are still right.
const SMALL_DIFFERENCES: Duration = Duration::from_secs(2);

/// Where the configurations of gateways are, and who checks them.
#[derive(Clone)]
pub struct Configurations {
    /// The versions and the reports.
    pub store: Arc<dyn ConfigurationStore>,
    /// Looks for mistakes.
    pub check: Arc<dyn MachineCheck>,
}

impl fmt::Debug for Configurations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configurations").finish_non_exhaustive()
    }
}

/// Whether a change is made or only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Save,
    DryRun,
}

/// What a change did.
pub(crate) struct Changed {
    pub(crate) saved: bool,
    pub(crate) desired: Option<ConfigurationEntry>,
    pub(crate) differences: Vec<FileDifference>,
}

impl Configurations {
    /// Makes `new` the next version, unless it has mistakes, changes nothing or is only tried.
    pub(crate) async fn change(&self, new: NewConfiguration, purpose: Purpose) -> Result<Changed, Problem> {
        let newest = self.store.configuration(&new.tenant, &new.gateway, None).await?;
        let version = newest.as_ref().map(|newest| newest.entry.version);
        if version != new.replaces {
            return Err(Problem::configuration_moved(version));
        }
        let (before, accepted) = match &newest {
            Some(newest) => (newest.files.clone(), newest.entry.accept_drift),
            None => (ConfigurationFiles::default(), None),
        };
        let (check, after) = (Arc::clone(&self.check), new.files.clone());
        let looked = tokio::task::spawn_blocking(move || look(&*check, &before, &after)).await;
        let (problems, differences) = looked.map_err(|cause| Problem::internal(cause.to_string()))?;
        if !problems.is_empty() {
            return Err(Problem::configuration_invalid(problems));
        }
        let changes_nothing = newest.is_some() && differences.is_empty() && accepted == new.accept_drift;
        if purpose == Purpose::DryRun || changes_nothing {
            return Ok(Changed { saved: false, desired: newest.map(|n| n.entry), differences });
        }
        let saved = self.store.save_configuration(new).await?;
        let saved = saved.map_err(|conflict| Problem::configuration_moved(conflict.newest))?;
        Ok(Changed { saved: true, desired: Some(saved), differences })
    }

    /// What differs between two versions.
    pub(crate) async fn difference(
        &self,
        before: Option<StoredConfiguration>,
        after: StoredConfiguration,
    ) -> Result<Vec<FileDifference>, Problem> {
        let before = before.map(|stored| stored.files).unwrap_or_default();
        let deadline = Instant::now() + SMALL_DIFFERENCES;
        let told = tokio::task::spawn_blocking(move || difference(&before, &after.files, deadline)).await;
        told.map_err(|cause| Problem::internal(cause.to_string()))
    }
}

/// Takes some milliseconds a hundred files: not for a thread that others wait for.
fn look(
    check: &dyn MachineCheck,
    before: &ConfigurationFiles,
    after: &ConfigurationFiles,
) -> (Vec<ConfigurationProblem>, Vec<FileDifference>) {
    let problems = check.problems(after);
    (problems, difference(before, after, Instant::now() + SMALL_DIFFERENCES))
}

/// The version that the caller saw: `If-Match: "3"`, or `If-None-Match: *` for none (RFC 9110, 13.1).
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<ConfigurationVersion>, Problem> {
    let one = |name: header::HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value.map(|value| value.to_str().unwrap_or_default().trim())),
            (_, Some(_)) => Err(Problem::precondition_required()),
        }
    };
    match (one(header::IF_MATCH)?, one(header::IF_NONE_MATCH)?) {
        (None, Some("*")) => Ok(None),
        (Some(tag), None) => {
            let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let number = number.and_then(|number| number.parse().ok());
            number.map(Some).ok_or_else(Problem::precondition_required)
        }
        _ => Err(Problem::precondition_required()),
    }
}

/// The digest that a caller names.
pub(crate) fn accept_drift(text: Option<&str>) -> Result<Option<FilesDigest>, Problem> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error: protocol::ConfigurationError| Problem::invalid("/accept_drift", error.to_string()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn who_changes_something_says_what_was_seen() {
        let read = |pairs: &[(header::HeaderName, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            precondition(&HeaderMap::from_iter(pairs)).map(|seen| seen.map(ConfigurationVersion::get))
        };
        let (matching, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(read(&[(matching.clone(), "\"3\"")]).ok(), Some(Some(3)));
        assert_eq!(read(&[(none.clone(), "*")]).ok(), Some(None));
        for wrong in ["3", "\"0\"", "*", "\"x\"", "W/\"3\"", "\"3\", \"4\"", ""] {
            assert!(read(&[(matching.clone(), wrong)]).is_err(), "{wrong}");
        }
        assert!(read(&[]).is_err());
        assert!(read(&[(none.clone(), "\"3\"")]).is_err());
        assert!(read(&[(matching, "\"3\""), (none, "*")]).is_err());
    }
}
