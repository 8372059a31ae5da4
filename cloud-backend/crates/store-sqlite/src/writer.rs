//! The one thread that writes, and how it is asked.
//!
//! Commands that wait together for the same file go into one transaction, each under its own savepoint:
//! one that is refused does not disturb the others, one that fails takes the whole transaction with it,
//! and then none of them is answered with success. The transaction is committed before anyone is
//! answered.
//!
//! What is dropped leaves free pages. A few are kept for what comes next, and the others are given back to the system
//! while nobody waits, in steps of some milliseconds.
//!
//! A file that was moved or replaced under the writer takes no acknowledgement with it: after each commit the
//! name must still lead to the file that was written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;

use plant_model::TenantId;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::SqliteError;
use crate::error::Fault;
use crate::file::{FileId, Files};

/// Commands that may wait. More would only wait longer: the writer is the bottleneck by design, and a
/// full queue makes the askers wait in their turn.
const QUEUE_MAX: usize = 256;

/// Most commands in one transaction: enough to share a sync, few enough to keep the first from waiting.
const GROUP_MAX: usize = 64;

/// Files that the writer keeps open: two or three descriptors each.
const OPEN_FILES_MAX: usize = 128;

/// Free pages that stay in a file, 4 MiB: sealing frees and needs as many every minute.
const FREE_PAGES_KEPT: i64 = 1_024;

/// Which file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Control,
    Tenant(TenantId),
}

enum Step {
    Keep,
    Undo,
    Abandon,
}

/// A command with the type of its result forgotten.
trait Job: Send {
    fn run(&mut self, connection: &Connection) -> Step;
    /// Answers; `commit` says whether the transaction was committed.
    fn finish(self: Box<Self>, commit: &Result<(), Arc<Fault>>);
}

struct Command<T, W> {
    work: Option<W>,
    result: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, W> Job for Command<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, connection: &Connection) -> Step {
        let Some(work) = self.work.take() else { return Step::Undo };
        let result = work(connection);
        let step = match &result {
            Ok(_) => Step::Keep,
            Err(fault) if fault.spares_the_transaction() => Step::Undo,
            Err(_) => Step::Abandon,
        };
        self.result = Some(result);
        step
    }

    fn finish(self: Box<Self>, commit: &Result<(), Arc<Fault>>) {
        let answer = match (self.result, commit) {
            (Some(Err(fault)), _) => Err(fault),
            (Some(result), Ok(())) => result,
            (_, Err(shared)) => Err(Fault::Transaction(Arc::clone(shared))),
            (None, Ok(())) => Err(Fault::Stopped),
        };
        // Whoever asked may have gone; the work is done all the same.
        let _ = self.reply.send(answer);
    }
}

type Message = (Target, Box<dyn Job>);

/// The handle of the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it; `known` are the files that are there.
    pub(crate) fn start(files: Files, known: HashSet<Target>) -> Result<Self, SqliteError> {
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let path = files.path(&Target::Control);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || Loop { files, open: HashMap::new(), known, loose: BTreeSet::new() }.run(inbox))
            .map_err(SqliteError::file("cannot start the writer of", &path))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Has the work done in a transaction and answers after its commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        target: Target,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let command = Command { work: Some(work), result: None, reply };
        let queue = self.queue.as_ref().ok_or(Fault::Stopped)?;
        queue.send((target, Box::new(command))).await.map_err(|_| Fault::Stopped)?;
        answer.await.map_err(|_| Fault::Stopped)?
    }
}

impl Drop for Writer {
    /// Waits for what was asked, at most the queue.
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|t| t.join().is_err()) {
            tracing::error!("the writer of the store ended with a panic");
        }
    }
}

struct Loop {
    files: Files,
    open: HashMap<Target, (Connection, FileId)>,
    /// Files that were there: one of them that is missing is a fault, and not a tenant that nobody knows.
    known: HashSet<Target>,
    /// Files with more free pages than they keep.
    loose: BTreeSet<Target>,
}

impl Loop {
    fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        while let Some(first) = self.next(&mut inbox) {
            let mut groups: BTreeMap<Target, Vec<Box<dyn Job>>> = BTreeMap::new();
            groups.entry(first.0).or_default().push(first.1);
            for _ in 1..GROUP_MAX {
                let Ok((target, job)) = inbox.try_recv() else { break };
                groups.entry(target).or_default().push(job);
            }
            for (target, mut jobs) in groups {
                let commit = self.transact(&target, &mut jobs).map_err(Arc::new);
                if commit.is_err() {
                    // Whatever state the connection is in, the next command begins with a fresh one.
                    self.open.remove(&target);
                }
                jobs.into_iter().for_each(|job| job.finish(&commit));
            }
        }
    }

    /// The next command; until it comes, space is given back.
    fn next(&mut self, inbox: &mut mpsc::Receiver<Message>) -> Option<Message> {
        while let Some(target) = self.loose.pop_first() {
            match inbox.try_recv() {
                Err(mpsc::error::TryRecvError::Empty) => {}
                received => {
                    self.loose.insert(target);
                    return received.ok();
                }
            }
            match self.connection(&target).and_then(give_back) {
                Ok(true) => drop(self.loose.insert(target)),
                Ok(false) => {}
                // It is tried again after the next commit; until then the space is there to be used again.
                Err(fault) => tracing::debug!(%fault, "free space was not given back"),
            }
        }
        inbox.blocking_recv()
    }

    fn transact(&mut self, target: &Target, jobs: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        let connection = self.connection(target)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let outcome = run_all(connection, jobs).and_then(|()| Ok(connection.execute_batch("COMMIT")?));
        match outcome {
            Ok(()) => {
                if free_pages(connection)? > FREE_PAGES_KEPT {
                    self.loose.insert(target.clone());
                }
                self.still_there(target)
            }
            Err(fault) => {
                // It fails when SQLite rolled back by itself; the connection is dropped in any case.
                let _ = connection.execute_batch("ROLLBACK");
                Err(fault)
            }
        }
    }

    fn connection(&mut self, target: &Target) -> Result<&Connection, Fault> {
        if !self.open.contains_key(target) {
            if !self.known.contains(target) {
                self.files.require(target)?;
            }
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.clear();
            }
            let connection = self.files.open_for_writing(target)?;
            let id = self.files.id(target)?;
            self.open.insert(target.clone(), (connection, id));
            self.known.insert(target.clone());
        }
        self.open.get(target).map(|(connection, _)| connection).ok_or(Fault::Stopped)
    }

    /// What was committed is in the file that the next start will open.
    fn still_there(&self, target: &Target) -> Result<(), Fault> {
        let written = self.open.get(target).map(|(_, id)| *id);
        if written == Some(self.files.id(target)?) { Ok(()) } else { Err(self.files.moved(target).into()) }
    }
}

fn free_pages(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?)
}

/// Gives back a MiB. Answers whether there is more.
fn give_back(connection: &Connection) -> Result<bool, Fault> {
    let before = free_pages(connection)?;
    if before <= FREE_PAGES_KEPT {
        return Ok(false);
    }
    // Every row is a page: a statement that is not read to its end frees one.
    let mut statement = connection.prepare("PRAGMA incremental_vacuum(256)")?;
    let mut pages = statement.query([])?;
    while pages.next()?.is_some() {}
    let after = free_pages(connection)?;
    // A file of before that was too large to be rewritten gives nothing back.
    Ok(after < before && after > FREE_PAGES_KEPT)
}

fn run_all(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), Fault> {
    for job in jobs {
        connection.execute_batch("SAVEPOINT command")?;
        match job.run(connection) {
            Step::Keep => connection.execute_batch("RELEASE command")?,
            Step::Undo => connection.execute_batch("ROLLBACK TO command; RELEASE command")?,
            Step::Abandon => return Err(Fault::Neighbour),
        }
    }
    Ok(())
}
