//! `[remote]`: what of the configuration may come from the backend (SPEC section 13).

use std::time::Duration;

use crate::section::Section;

/// An hour: a machine that is slower to come back is looked after by people.
const TRIAL_S_MAX: i64 = 3_600;
/// Time for a machine to be connected again, and for an uplink to notice that it is not.
const TRIAL_S: i64 = 120;

/// What may come from the backend. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Whether machine files do.
    pub configuration: bool,
    /// How long new files are watched before they are kept.
    pub trial: Duration,
    /// Whether they may change machines that this gateway writes to.
    pub outputs: bool,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self { configuration: false, trial: Duration::from_secs(TRIAL_S.unsigned_abs()), outputs: false }
    }
}

pub(crate) fn remote(section: &mut Section<'_>) -> Option<RemoteConfig> {
    let configuration = section.flag("configuration").unwrap_or(false);
    let trial = section.integer("trial_s", 1..=TRIAL_S_MAX).unwrap_or(TRIAL_S);
    let outputs = section.flag("outputs").unwrap_or(false);
    Some(RemoteConfig { configuration, trial: Duration::from_secs(trial.unsigned_abs()), outputs })
}

/// Where the backend is asked is where certificates are renewed.
pub(crate) fn check(root: &mut Section<'_>, remote: &RemoteConfig, is_reachable: bool) {
    if remote.configuration && !is_reachable {
        let told = "configuration = true needs uplink.renewal_url, the address of the backend's API for gateways; \
                    `edge-agent enrol` writes it";
        root.problem("remote", told);
    }
}
