//! Writing of tags by command: off for every tag that the configuration does not name, through the driver that reads
//! the machine (in its order and at its pace), read back, and kept in a journal before and after.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acquisition::WriteOutcome;
use plant_model::{CommandId, MachineId, TagId, Value};
use serde::Serialize;

use crate::floor::Writable;
use crate::reload::Reloader;
use crate::tools::journal::Journal;

/// The name of the journal beside the buffer; the tools write to the same one.
const JOURNAL: &str = "writes.jsonl";

/// A value on its way to a machine, and on whose behalf.
pub(crate) struct WriteTag<'a> {
    pub machine: &'a MachineId,
    pub tag: &'a TagId,
    pub value: &'a Value,
    pub id: &'a CommandId,
    pub actor: &'a str,
    pub comment: &'a str,
}

/// A line of the journal.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    machine: String,
    tag: String,
    value: String,
    command: String,
    actor: String,
    comment: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Writes tags by command.
pub(crate) struct WriteDesk {
    reloader: Arc<Reloader>,
    journal: PathBuf,
}

impl WriteDesk {
    /// `folder`: where the journal is kept.
    pub(crate) fn new(reloader: Arc<Reloader>, folder: &Path) -> Self {
        Self { reloader, journal: folder.join(JOURNAL) }
    }

    /// Whether a tag may be written.
    pub(crate) async fn admits(&self, machine: &MachineId, tag: &TagId) -> Result<(), String> {
        self.reloader.writable(machine, tag).await.map(|_| ())
    }

    /// Writes a value and reads it back.
    pub(crate) async fn write(&self, wanted: WriteTag<'_>) -> Result<String, String> {
        let Writable { tag, writer } = self.reloader.writable(wanted.machine, wanted.tag).await?;
        let writer = writer.ok_or_else(|| format!("nothing writes to {} at present", wanted.machine))?;
        let begun = Entry {
            machine: wanted.machine.to_string(),
            tag: wanted.tag.to_string(),
            value: wanted.value.to_string(),
            command: wanted.id.to_string(),
            actor: wanted.actor.to_owned(),
            comment: wanted.comment.to_owned(),
            outcome: "begun",
            reason: None,
        };
        self.note(begun.clone()).await.map_err(|error| format!("nothing was written: {error}"))?;
        let outcome = writer.write(wanted.machine, tag, wanted.value.clone()).await;
        let (ended, answer) = judge(outcome, &begun);
        if let Err(error) = self.note(ended).await {
            tracing::error!(
                error,
                "the value was sent to the machine, and the journal of writes has only its beginning"
            );
        }
        answer
    }

    async fn note(&self, entry: Entry) -> Result<(), String> {
        let path = self.journal.clone();
        let noted = move || Journal::open(&path).and_then(|mut journal| journal.add(&entry));
        let noted = tokio::task::spawn_blocking(noted).await.map_err(|error| error.to_string())?;
        noted.map_err(|error| format!("{error:#}"))
    }
}

/// What the journal and the answer say of it.
fn judge(outcome: WriteOutcome, begun: &Entry) -> (Entry, Result<String, String>) {
    let Entry { machine, tag, value, .. } = begun;
    let (outcome, reason, answer) = match outcome {
        WriteOutcome::Written => {
            ("written", None, Ok(format!("{machine}/{tag} was written, and reads {value}")))
        }
        WriteOutcome::Differs { read_back } => {
            let read = read_back.map_or_else(|| "no value".to_owned(), |value| value.to_string());
            let told = format!("the machine took {value} for {machine}/{tag} and reads {read}");
            ("differs", Some(told.clone()), Err(told))
        }
        WriteOutcome::Refused { reason } => {
            ("refused", Some(reason.clone()), Err(format!("nothing was written: {reason}")))
        }
        WriteOutcome::Unknown { reason } => {
            let told = format!(
                "nobody knows whether {machine}/{tag} was written ({reason}); read it before writing again"
            );
            ("unknown", Some(reason), Err(told))
        }
    };
    (Entry { outcome, reason, ..begun.clone() }, answer)
}
