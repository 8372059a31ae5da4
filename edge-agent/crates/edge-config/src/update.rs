//! `[update]`: whether the backend may have this agent updated, and how that is asked for (SPEC section 14).

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use agent_update::Policy;
use protocol::UpdateChannel;

use crate::section::Section;

/// Where the installer keeps its journal, unless it is told otherwise. The folder is root's.
pub const UPDATE_RESULT_FILE: &str = "/var/lib/edge-agent-update/result.json";

/// How the agent is updated. The default is: not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateConfig {
    /// Whether the backend says which version runs.
    pub is_enabled: bool,
    /// What is taken, and when.
    pub policy: Policy,
    /// Where requests are left; `None` for `update/request.json` beside the buffer.
    pub request_file: Option<PathBuf>,
    /// Where the installer says what became of them.
    pub result_file: PathBuf,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        let (policy, result_file) = (Policy::default(), PathBuf::from(UPDATE_RESULT_FILE));
        Self { is_enabled: false, policy, request_file: None, result_file }
    }
}

pub(crate) fn update(section: &mut Section<'_>) -> Option<UpdateConfig> {
    let is_enabled = section.flag("enabled").unwrap_or(false);
    let channel: Option<UpdateChannel> = optional(section, "channel", "a channel such as stable");
    let maintenance =
        optional(section, "maintenance", "a stretch of the day, HH:MM-HH:MM, such as 22:00-05:00");
    let request_file = path(section, "request_file");
    let result_file = path(section, "result_file").unwrap_or_else(|| PathBuf::from(UPDATE_RESULT_FILE));
    let policy = Policy { channel: channel.unwrap_or_default(), maintenance };
    Some(UpdateConfig { is_enabled, policy, request_file, result_file })
}

fn optional<T: FromStr<Err: Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    allowed: &str,
) -> Option<T> {
    if section.has(key) { section.parsed(key, allowed) } else { None }
}

fn path(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let text = section.text(key)?;
    if !text.starts_with('/') {
        section.problem(key, "an absolute path is needed: the installer runs in another folder");
    }
    Some(text.into())
}

/// What an update needs: the backend that wants it, and the interface by which a new version is judged.
pub(crate) fn check(root: &mut Section<'_>, update: &UpdateConfig, is_reachable: bool, is_shown: bool) {
    if update.is_enabled && !is_reachable {
        let told = "enabled = true needs uplink.renewal_url, the address of the backend's API for gateways; \
                    `edge-agent enrol` writes it";
        root.problem("update", told);
    }
    if update.is_enabled && !is_shown {
        let told = "enabled = true needs [status] listen, by which the installer sees whether a new version does well";
        root.problem("update", told);
    }
}

#[cfg(test)]
mod tests {
    use crate::{AgentConfig, ConfigErrors};

    const UPLINK: &str = "[uplink]\nhost = \"h\"\nca_file = \"ca\"\ncertificate_file = \"g\"\nkey_file = \"g\"\n\
        renewal_url = \"https://h\"\n[status]\nlisten = \"127.0.0.1:9180\"\n";

    fn load(agent: &str) -> Result<AgentConfig, ConfigErrors> {
        let folder = tempfile::tempdir().expect("a folder");
        let base = "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n[buffer]\npath = \"b\"\n";
        std::fs::write(folder.path().join("agent.toml"), format!("{base}{agent}")).expect("written");
        crate::load_agent(folder.path())
    }

    #[test]
    fn the_backend_updates_no_agent_unless_that_is_enabled() {
        let none = load("").expect("good").update;
        assert_eq!((none.is_enabled, none.policy.channel.as_str()), (false, "stable"));
        assert_eq!(load("[update]\n").expect("good").update, none);
        let text = format!(
            "{UPLINK}[update]\nenabled = true\nchannel = \"beta\"\nmaintenance = \"22:00-05:00\"\n\
             request_file = \"/run/r\"\nresult_file = \"/run/s\"\n"
        );
        let on = load(&text).expect("good").update;
        assert_eq!((on.is_enabled, on.policy.channel.as_str()), (true, "beta"));
        assert_eq!(on.policy.maintenance.map(|stretch| stretch.to_string()).as_deref(), Some("22:00-05:00"));
        assert_eq!((on.request_file, on.result_file), (Some("/run/r".into()), "/run/s".into()));
    }

    #[test]
    fn what_cannot_be_is_told_with_its_line_and_what_is_missing_too() {
        for (table, told) in [
            ("channel = \"Beta\"", "is no channel"),
            ("maintenance = \"late\"", "22:00-05:00"),
            ("request_file = \"update/request\"", "absolute"),
            ("result_file = \"r\"", "absolute"),
            ("url = \"h\"", "url"),
        ] {
            let error = load(&format!("[update]\n{table}\n")).expect_err(table).to_string();
            assert!(error.contains(told) && error.contains("agent.toml:7"), "{table}: {error}");
        }
        let error = load("[update]\nenabled = true\n").expect_err("no uplink").to_string();
        assert!(error.contains("renewal_url") && error.contains("[status] listen"), "{error}");
    }
}
