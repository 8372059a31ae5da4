//! What a start finds of a change that did not come to its end: it is brought to one, before the files are loaded.

use std::path::Path;

use anyhow::Result;
use remote_configuration::{Record, Work};

use super::book::Book;
use super::check::check;
use super::folder::Folder;

/// Brings the machine files to one set: the new one, if it can be loaded and the agent was not started too often with
/// it, else the one before. May itself be killed anywhere.
pub(crate) fn recover(root: &Path) {
    // Without an agent.toml nobody knows where the record is; what then runs is a copy of all files.
    let Ok(config) = edge_config::load_agent(root) else { return };
    if let Err(error) = finish(root, &Book::of(&config)) {
        tracing::error!(error = ?error, "a change of the machine files that was interrupted cannot be finished yet");
    }
}

fn finish(root: &Path, book: &Book) -> Result<()> {
    let (mut record, folder) = (book.load()?, Folder::of(root));
    if *record.work() == Work::None {
        return Ok(());
    }
    record.started();
    book.save(&record)?;
    write(&record, &folder)?;
    if let Work::Applying(_) | Work::Trial(_) = record.work()
        && let Err(why) = check(root, &folder.read()?)
    {
        record.undo(why);
        book.save(&record)?;
        write(&record, &folder)?;
    }
    record.written();
    tracing::warn!(
        work = name(record.work()),
        "a change of the machine files was interrupted; they are one set again"
    );
    book.save(&record)
}

fn write(record: &Record, folder: &Folder) -> Result<()> {
    let changes = record.pending(&folder.read()?);
    changes.iter().try_for_each(|change| folder.make(change))?;
    Ok(folder.sync()?)
}

const fn name(work: &Work) -> &'static str {
    match work {
        Work::Trial(_) => "trial",
        Work::None | Work::Applying(_) | Work::Undoing(_) => "former files",
    }
}
