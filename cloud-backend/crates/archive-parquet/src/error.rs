//! From the errors of libraries to those of the port.

use std::fmt::Display;

use tiering::ArchiveError;

/// Bytes that are not what was written.
pub(crate) fn damaged(path: &str, detail: &(impl Display + ?Sized)) -> ArchiveError {
    ArchiveError::Damaged { path: path.to_owned(), detail: detail.to_string() }
}

/// What the object store said.
pub(crate) fn of_store(path: &str, error: object_store::Error) -> ArchiveError {
    let path = path.to_owned();
    if matches!(error, object_store::Error::NotFound { .. }) {
        ArchiveError::Missing { path }
    } else if matches!(error, object_store::Error::AlreadyExists { .. }) {
        ArchiveError::Exists { path }
    } else {
        ArchiveError::Unavailable { path, cause: Box::new(error) }
    }
}

/// Runs what computes for longer than a task may. A panic of a library at bytes that nobody meant is damage of the object.
pub(crate) async fn blocking<T: Send + 'static>(
    path: &str,
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(damaged(path, &error)))
}
