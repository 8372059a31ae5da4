//! The installer's files.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use agent_update::{Journal, Request};
use anyhow::{Context as _, Result, bail};
use service_kit::{remove_if_present, sync_folder};

use crate::cli::UpdateInstallArguments;
use crate::update::{read_bounded, replace};

/// Where the request lies, and the journal with what belongs to it.
pub(super) struct Book {
    request: PathBuf,
    result: PathBuf,
    /// Two at once would undo what the other does. It is given back when the program ends, however that is.
    _lock: File,
}

impl Book {
    pub(super) fn open(arguments: &UpdateInstallArguments) -> Result<Self> {
        let (request, result) = (arguments.request.clone(), arguments.result.clone());
        let folder = result.parent().unwrap_or(Path::new("")).to_owned();
        let path = folder.join("lock");
        let open = || {
            DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
            File::options().create(true).append(true).mode(0o600).open(&path)
        };
        let lock = open().with_context(|| {
            format!(
                "cannot open {}: the installer must be allowed to write there; it is to be run by root",
                path.display()
            )
        })?;
        if let Err(error) = lock.try_lock() {
            bail!("{}: {error}; another installer is at work", path.display());
        }
        Ok(Self { request, result, _lock: lock })
    }

    /// What was done last, or is under way.
    pub(super) fn journal(&self) -> Result<Option<Journal>> {
        let told = || {
            let path = self.result.display();
            format!(
                "cannot read {path}, which says whether an update is under way; nothing is done before it is removed"
            )
        };
        let bytes = read_bounded(&self.result, Journal::read_max()).with_context(told)?;
        bytes.map(|bytes| Journal::parse(&bytes)).transpose().with_context(told)
    }

    /// What is not noted is not done.
    pub(super) fn save(&self, journal: &Journal) -> Result<()> {
        replace(&self.result, &serde_json::to_vec(journal)?, 0o644).with_context(|| {
            format!(
                "cannot write {}; the update goes on from its last step when it can",
                self.result.display()
            )
        })
    }

    /// What the agent asks for. What is no request is removed, so that nobody is called for it again.
    pub(super) fn request(&self) -> Result<Option<Request>> {
        let read = || -> Result<Option<Request>> {
            let bytes = read_bounded(&self.request, Request::read_max())?;
            Ok(bytes.map(|bytes| Request::parse(&bytes)).transpose()?)
        };
        let told = || format!("nothing is installed on the word of {}", self.request.display());
        let read = read().with_context(told);
        if read.is_err() {
            self.drop_request()?;
        }
        read
    }

    pub(super) fn drop_request(&self) -> Result<()> {
        remove_if_present(&self.request).with_context(|| format!("cannot remove {}", self.request.display()))
    }

    /// The request is taken, if it is still this one. What else lies there is no reason to stop halfway.
    pub(super) fn clear_request(&self, taken: &Journal) -> Result<()> {
        match self.request() {
            Ok(Some(waiting)) if waiting.desired() == taken.request.desired() => self.drop_request(),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(error = ?error, "what lies in the place of the request is no request");
                Ok(())
            }
        }
    }

    fn copy(&self) -> PathBuf {
        self.result.with_file_name("installer")
    }

    /// Keeps this program, so that it can end what it begins.
    pub(super) fn keep_copy(&self) -> Result<()> {
        let (copy, draft) = (self.copy(), self.result.with_file_name("installer.draft"));
        let write = || -> std::io::Result<()> {
            remove_if_present(&draft)?;
            let mut file = File::options().write(true).create_new(true).mode(0o755).open(&draft)?;
            std::io::copy(&mut File::open("/proc/self/exe")?, &mut file)?;
            file.flush()?;
            file.sync_all()?;
            drop(file);
            std::fs::rename(&draft, &copy)?;
            sync_folder(&copy)
        };
        write().with_context(|| {
            format!("nothing is installed: cannot keep a copy of this program in {}", copy.display())
        })
    }

    pub(super) fn forget_copy(&self) -> Result<()> {
        let copy = self.copy();
        remove_if_present(&copy).with_context(|| format!("cannot remove {}", copy.display()))
    }
}
