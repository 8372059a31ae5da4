//! `config push|show|diff|history|rollback|export`.

mod arguments;
mod folder;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::limits::TEXT_BYTES_MAX;
use protocol::{ConfigurationFiles, ConfigurationVersion, FilesDigest};
use serde_json::json;
use service_kit::Clock;
use tenancy::{
    ConfigurationEntry, ConfigurationStanding, FileDifference, MachineCheck as _, NewConfiguration,
    StoredConfiguration, difference,
};

use crate::admin::{answer, print};
use crate::data::DataDir;
use crate::gateways::instant;
use crate::machine_check::AgentCheck;
use crate::store::Store;

pub use arguments::{
    ChangeArgs, ConfigArgs, ConfigCommand, DiffArgs, ExportArgs, GatewayName, HistoryArgs, PushArgs,
    RollbackArgs,
};

/// Time for small differences; after it they are still right.
const SMALL_DIFFERENCES: Duration = Duration::from_secs(10);

pub(crate) async fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Push(args) => push(args).await,
        ConfigCommand::Show(args) => show(args).await,
        ConfigCommand::Diff(args) => diff(args).await,
        ConfigCommand::History(args) => history(args).await,
        ConfigCommand::Rollback(args) => rollback(args).await,
        ConfigCommand::Export(args) => export(args).await,
    }
}

/// A gateway and the store that knows it.
struct Subject {
    store: Arc<dyn Store>,
    name: GatewayName,
    standing: ConfigurationStanding,
    json: bool,
}

impl Subject {
    async fn open(args: ConfigArgs) -> anyhow::Result<Self> {
        let ConfigArgs { gateway: name, data, json } = args;
        let store = DataDir::open(&data)?.store().await?;
        let Some(standing) = store.configuration_standing(&name.tenant, &name.gateway).await? else {
            bail!("there is no gateway {name}; invite it with `cloud-backend gateway invite`");
        };
        Ok(Self { store, name, standing, json })
    }

    fn newest(&self) -> Option<ConfigurationVersion> {
        self.standing.desired.as_ref().map(|entry| entry.version)
    }

    /// A version, or the desired one.
    async fn version(&self, version: Option<ConfigurationVersion>) -> anyhow::Result<StoredConfiguration> {
        let found = self.store.configuration(&self.name.tenant, &self.name.gateway, version).await?;
        let what = version.map_or_else(|| "configuration".to_owned(), |version| format!("version {version}"));
        found.with_context(|| {
            format!("gateway {} has no {what} from the cloud; see `cloud-backend config history`", self.name)
        })
    }

    /// Checks, compares, and saves unless it is only tried.
    async fn change(
        &self,
        files: ConfigurationFiles,
        change: ChangeArgs,
        (accept_drift, restores): (Option<FilesDigest>, Option<ConfigurationVersion>),
    ) -> anyhow::Result<()> {
        let ChangeArgs { comment, author, dry_run } = change;
        if comment.len() > TEXT_BYTES_MAX || author.len() > TEXT_BYTES_MAX {
            bail!("--comment and --author may have {TEXT_BYTES_MAX} bytes each");
        }
        let problems = AgentCheck.problems(&files);
        if !problems.is_empty() {
            return self.refuse(&problems);
        }
        let (before, accepted) = match self.newest() {
            Some(_) => {
                let newest = self.version(None).await?;
                (newest.files, newest.entry.accept_drift)
            }
            None => (ConfigurationFiles::default(), None),
        };
        let differences = difference(&before, &files, Instant::now() + SMALL_DIFFERENCES);
        let changes_nothing = self.newest().is_some() && differences.is_empty() && accepted == accept_drift;
        if dry_run || changes_nothing {
            return self.tell(None, &differences);
        }
        let new = NewConfiguration {
            tenant: self.name.tenant.clone(),
            gateway: self.name.gateway.clone(),
            replaces: self.newest(),
            files,
            accept_drift,
            restores,
            author,
            comment,
            created_at: Clock::start().wall(),
        };
        match self.store.save_configuration(new).await? {
            Ok(saved) => self.tell(Some(&saved), &differences),
            Err(_) => bail!("somebody else changed the configuration of {} just now; try again", self.name),
        }
    }

    fn refuse(&self, problems: &[tenancy::ConfigurationProblem]) -> anyhow::Result<()> {
        let mut text = String::new();
        for problem in problems {
            let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            text.push_str(&format!("\n{}{line}: {}", problem.file, problem.message));
        }
        if self.json {
            let rows =
                problems.iter().map(|p| json!({ "file": p.file, "line": p.line, "message": p.message }));
            print(&format!("{}\n", json!({ "saved": false, "problems": rows.collect::<Vec<_>>() })))?;
        }
        bail!("the files have {} mistakes, nothing was changed:{text}", problems.len())
    }

    fn tell(&self, saved: Option<&ConfigurationEntry>, differences: &[FileDifference]) -> anyhow::Result<()> {
        let body = json!({
            "saved": saved.is_some(),
            "desired": saved.map(|entry| entry.version).or(self.newest()),
            "differences": differences.iter().map(difference_json).collect::<Vec<_>>(),
        });
        let text = match saved {
            Some(entry) => format!("version {} of gateway {} saved", entry.version, self.name),
            None if differences.is_empty() => format!("nothing changes at gateway {}", self.name),
            None => "nothing was saved; this would change".to_owned(),
        };
        let changes: String =
            differences.iter().map(|d| format!("\n  {} {}", d.change.name(), d.file)).collect();
        answer(self.json, &body, &format!("{text}{changes}"))
    }
}

async fn push(args: PushArgs) -> anyhow::Result<()> {
    let PushArgs { folder, which, change, accept_drift } = args;
    let subject = Subject::open(which).await?;
    let files = folder::read(&folder)?;
    let reported = subject.standing.received.as_ref().map(|received| received.report.files_digest);
    let accepted = match (accept_drift, reported) {
        (false, _) => None,
        (true, Some(reported)) => Some(reported),
        (true, None) => {
            bail!("gateway {} has reported nothing yet; push without --accept-drift", subject.name)
        }
    };
    subject.change(files, change, (accepted, None)).await
}

async fn rollback(args: RollbackArgs) -> anyhow::Result<()> {
    let RollbackArgs { version, which, change } = args;
    let subject = Subject::open(which).await?;
    let stored = subject.version(Some(version)).await?;
    subject.change(stored.files, change, (None, Some(version))).await
}

async fn show(args: ConfigArgs) -> anyhow::Result<()> {
    let subject = Subject::open(args).await?;
    let (standing, rollout) = (&subject.standing, subject.standing.rollout().name());
    let report = standing.received.as_ref().map(|received| &received.report);
    let received_at = standing.received.as_ref().map(|received| instant(received.received_at));
    let body = json!({
        "gateway": subject.name.to_string(),
        "rollout": rollout,
        "desired": standing.desired.as_ref().map(entry_json),
        "received_at": received_at,
        "report": report,
    });
    let version = |version: Option<ConfigurationVersion>| version.map_or("-".to_owned(), |v| v.to_string());
    let mut text =
        format!("gateway   {}\nrollout   {rollout}\ndesired   {}\n", subject.name, version(subject.newest()));
    text.push_str(&format!("applied   {}\n", version(report.and_then(|report| report.applied))));
    text.push_str(&format!("reported  {}", received_at.unwrap_or_else(|| "never".to_owned())));
    if let Some(report) = report {
        text.push_str(&format!(" by agent {}: {}", report.agent_version, report.state.as_str()));
        report.drift.iter().for_each(|drifted| text.push_str(&format!("\n  edited there: {}", drifted.file)));
        report.detail.lines().for_each(|line| text.push_str(&format!("\n  {line}")));
    }
    answer(subject.json, &body, &text)
}

async fn diff(args: DiffArgs) -> anyhow::Result<()> {
    let DiffArgs { which, from, to } = args;
    let subject = Subject::open(which).await?;
    let after = subject.version(to).await?;
    let from = from.or_else(|| ConfigurationVersion::new(after.entry.version.get() - 1));
    let before = match from {
        Some(from) => subject.version(Some(from)).await?.files,
        None => ConfigurationFiles::default(),
    };
    let differences = difference(&before, &after.files, Instant::now() + SMALL_DIFFERENCES);
    let body = json!({
        "from": from.map_or(0, ConfigurationVersion::get),
        "to": after.entry.version,
        "differences": differences.iter().map(difference_json).collect::<Vec<_>>(),
    });
    let text: String = differences.iter().map(|difference| difference.unified.as_str()).collect();
    if subject.json { print(&format!("{body}\n")) } else { print(&text) }
}

async fn history(args: HistoryArgs) -> anyhow::Result<()> {
    let subject = Subject::open(args.which).await?;
    let (tenant, gateway) = (&subject.name.tenant, &subject.name.gateway);
    let entries = subject.store.configurations(tenant, gateway, None, args.limit).await?;
    if subject.json {
        let rows: Vec<_> = entries.iter().map(entry_json).collect();
        return print(&format!("{}\n", json!(rows)));
    }
    let mut text = format!("{:>7} {:<20} {:<16} {:>5} comment\n", "version", "saved", "author", "files");
    for entry in &entries {
        let ConfigurationEntry { version, created_at, author, files, comment, restores, .. } = entry;
        let restores = restores.map(|version| format!("(files of {version}) ")).unwrap_or_default();
        text.push_str(&format!(
            "{version:>7} {:<20} {author:<16} {files:>5} {restores}{comment}\n",
            instant(*created_at)
        ));
    }
    print(&text)
}

async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { folder, which, version } = args;
    let subject = Subject::open(which).await?;
    let stored = subject.version(version).await?;
    folder::write(&folder, &stored.files)?;
    let (version, count) = (stored.entry.version, stored.files.len());
    let body =
        json!({ "gateway": subject.name.to_string(), "version": version, "files": count, "folder": folder });
    let text = format!("{count} files of version {version} written to {}", folder.display());
    answer(subject.json, &body, &text)
}

fn difference_json(difference: &FileDifference) -> serde_json::Value {
    json!({ "file": difference.file, "change": difference.change.name(), "unified": difference.unified })
}

fn entry_json(entry: &ConfigurationEntry) -> serde_json::Value {
    json!({
        "version": entry.version,
        "author": entry.author,
        "comment": entry.comment,
        "created_at": instant(entry.created_at),
        "digest": entry.digest,
        "files": entry.files,
        "size_bytes": entry.size_bytes,
        "accept_drift": entry.accept_drift,
        "restores": entry.restores,
    })
}
