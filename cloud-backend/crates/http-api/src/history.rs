//! Queries over all tiers, away from the threads that serve: decoding takes processor time.

use std::sync::Arc;
use std::time::Instant as Clock;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use history::{Budget, HistoryError, Prices, Reader, Report, Subject, Tiers};
use plant_model::{TenantId, Timestamp};
use tiering::{Archive, TierStore};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Most queries at a time: each may hold some 50 MB, and more than the processors do not finish sooner. Others wait.
const QUERIES_MAX: usize = 4;

/// The tiers that queries read.
#[derive(Clone)]
pub struct History {
    store: Arc<dyn TierStore>,
    archive: Arc<dyn Archive>,
    permits: Arc<Semaphore>,
}

impl History {
    /// Of a store and the archive beside it.
    #[must_use]
    pub fn new(store: Arc<dyn TierStore>, archive: Arc<dyn Archive>) -> Self {
        Self { store, archive, permits: Arc::new(Semaphore::new(QUERIES_MAX)) }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|error| Problem::internal(error.to_string()))
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: Question,
        work: impl AsyncFnOnce(Reader<'_>) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<(T, std::time::Duration), Problem> {
        let (history, permit, began) = (self.clone(), self.permit().await?, Clock::now());
        let runtime = Handle::current();
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            runtime.block_on(async {
                let reader = history.open(question).await?;
                work(reader).await
            })
        });
        let answer = answer.await.map_err(|error| Problem::internal(error.to_string()))?;
        Ok((answer?, began.elapsed()))
    }

    /// Begins something that goes on by itself, and does not wait for it.
    pub(crate) async fn begin(
        &self,
        question: Question,
        work: impl AsyncFnOnce(Result<Reader<'_>, HistoryError>) + Send + 'static,
    ) -> Result<(), Problem> {
        let (history, permit, runtime) = (self.clone(), self.permit().await?, Handle::current());
        drop(tokio::task::spawn_blocking(move || {
            let _permit = permit;
            runtime.block_on(async { work(history.open(question).await).await });
        }));
        Ok(())
    }

    async fn open(&self, question: Question) -> Result<Reader<'_>, HistoryError> {
        let tiers = Tiers { store: &*self.store, archive: &*self.archive };
        Reader::open(tiers, question.subject, question.range, question.budget).await
    }
}

/// Of what is asked, and what it may take.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) subject: Subject,
    pub(crate) range: std::ops::Range<Timestamp>,
    pub(crate) budget: Budget,
}

impl Question {
    pub(crate) const fn tenant(&self) -> &TenantId {
        &self.subject.tenant
    }
}

/// What headers say of an answer.
pub(crate) fn headers(report: &Report, took: std::time::Duration) -> HeaderMap {
    let mut tiers: Vec<&str> = report.layers.iter().map(|layer| layer.tier()).collect();
    tiers.dedup();
    let cost = report.cost(&Prices::STANDARD);
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: String| {
        // Names and numbers only: never no value of a header.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("x-tiers", tiers.join(", "));
    add("x-cost-estimate", format!("{cost} USD; requests={}; bytes={}", report.requests, report.bytes));
    add("server-timing", format!("query;dur={:.3}", took.as_secs_f64() * 1e3));
    headers
}
