//! The files of a configuration folder as they were at one moment, so that what is checked is what is used and kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::problem::{ConfigErrors, Report};
use crate::section::{self, Document};
use crate::{AgentConfig, MachineConfig, Problem, agent, check_lines, check_unique, machine, rates};

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The folder with a file for each machine.
const MACHINES: &str = "machines.d";

/// What is said of a folder without machines.
pub(crate) const NO_FILES: &str = "holds no .toml file; one file for each machine belongs here";

/// The text of `agent.toml` and of the machine files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    folder: PathBuf,
    /// By the path below the folder.
    texts: BTreeMap<String, String>,
    /// What could not be read.
    unreadable: Vec<Problem>,
}

impl Sources {
    /// Reads a folder. What cannot be read is told by [`Self::config`].
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let (report, mut texts) = (Report::default(), BTreeMap::new());
        for path in machine_files(&folder.join(MACHINES), &report) {
            let name = path.file_name().map(|name| format!("{MACHINES}/{}", name.to_string_lossy()));
            texts.extend(name.zip(read(&path, &report)));
        }
        texts.extend(read(&folder.join(agent::FILE), &report).map(|text| (agent::FILE.to_owned(), text)));
        Self { folder: folder.to_owned(), texts, unreadable: report.problems() }
    }

    /// The files of a folder from texts that were kept, by their paths below it.
    #[must_use]
    pub const fn kept(folder: PathBuf, texts: BTreeMap<String, String>) -> Self {
        Self { folder, texts, unreadable: Vec::new() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The texts, by their paths below the folder.
    #[must_use]
    pub const fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// The configuration that they are.
    ///
    /// # Errors
    /// Every problem of every file, in the order of files and lines.
    pub fn config(&self) -> Result<AgentConfig, ConfigErrors> {
        let report = Report::default();
        self.unreadable.iter().cloned().for_each(|problem| report.push(problem));
        let mut machines: Vec<(PathBuf, MachineConfig)> = Vec::new();
        for (name, text) in self.texts.iter().filter(|(name, _)| *name != agent::FILE) {
            let path = self.folder.join(name);
            machines.extend(parse(&path, text, &report, machine::parse).map(|machine| (path, machine)));
        }
        check_unique(&machines, &report);
        check_lines(&machines, &report);
        let mut machines: Vec<_> = machines.into_iter().map(|(_, machine)| machine).collect();
        let (path, is_complete) = (self.folder.join(agent::FILE), report.is_empty());
        let build = |root: &mut section::Section<'_>| agent::parse(root, &mut machines, is_complete);
        let agent = self.texts.get(agent::FILE).and_then(|text| parse(&path, text, &report, build));
        report.finish(agent.map(|mut agent| {
            agent.machines = machines;
            agent.raised = rates::raise(&mut agent);
            agent
        }))
    }
}

fn machine_files(folder: &Path, report: &Report) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            report.file(folder, format!("cannot be read: {error}; one file for each machine belongs here"));
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        report.file(folder, NO_FILES.to_owned());
    }
    paths
}

pub(crate) fn read(path: &Path, report: &Report) -> Option<String> {
    let size = std::fs::metadata(path).map(|m| m.len());
    let text = match size {
        Ok(size) if size > FILE_BYTES_MAX => {
            report.file(path, format!("has {size} bytes; at most {FILE_BYTES_MAX} are read"));
            return None;
        }
        Ok(_) => std::fs::read_to_string(path),
        Err(error) => Err(error),
    };
    text.map_err(|error| report.file(path, format!("cannot be read: {error}"))).ok()
}

pub(crate) fn parse<T>(
    path: &Path,
    text: &str,
    report: &Report,
    build: impl FnOnce(&mut section::Section<'_>) -> Option<T>,
) -> Option<T> {
    let document = Document::parse(path, text, report)?;
    let mut root = document.root();
    let built = build(&mut root);
    root.finish();
    built
}
