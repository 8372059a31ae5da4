//! Hands a request to a task that is busy with other things: it is taken up in time, or never.
//!
//! Whoever comes first decides: the task that takes it up, or the asker that gives it up. So what was meant
//! now never happens later, and of what was taken up the asker hears how it ended, or that nobody knows.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// An asker and the inbox of the task; at most `waiting_max` requests wait.
#[must_use]
pub fn handover<Q, A>(waiting_max: usize) -> (Asker<Q, A>, Inbox<Q, A>) {
    let (sender, receiver) = mpsc::channel(waiting_max.max(1));
    (Asker(sender), Inbox(Some(receiver)))
}

/// Hands requests over.
#[derive(Debug)]
pub struct Asker<Q, A>(mpsc::Sender<Request<Q, A>>);

impl<Q, A> Clone for Asker<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// How long an asker waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until it is taken up.
    pub begin: Duration,
    /// From then on, until it is answered.
    pub done: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Too many requests wait; nothing happened.
    Full,
    /// The task has ended; nothing happened.
    Ended,
    /// It was not taken up in time, and never will be.
    GivenUp,
    /// The task ended while it was at it.
    Cut,
    /// It was taken up, and nothing was heard of it in time.
    Silent,
}

impl<Q, A> Asker<Q, A> {
    /// Asks, and waits.
    ///
    /// # Errors
    /// There is no answer; the error says whether it may have happened.
    pub async fn ask(&self, request: Q, patience: Patience) -> Result<A, NoAnswer> {
        let (answer, mut answered) = oneshot::channel();
        let is_decided = Arc::new(AtomicBool::new(false));
        let request = Request { what: request, answer, is_decided: Arc::clone(&is_decided) };
        self.0.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => NoAnswer::Full,
            TrySendError::Closed(_) => NoAnswer::Ended,
        })?;
        let mut told = timeout(patience.begin, &mut answered).await;
        if told.is_err() {
            if !is_decided.swap(true, Ordering::AcqRel) {
                return Err(NoAnswer::GivenUp);
            }
            told = timeout(patience.done, &mut answered).await;
        }
        match told {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if is_decided.load(Ordering::Acquire) => Err(NoAnswer::Cut),
            Ok(Err(_)) => Err(NoAnswer::Ended),
            Err(_) => Err(NoAnswer::Silent),
        }
    }
}

/// A request that waits.
#[derive(Debug)]
pub struct Request<Q, A> {
    what: Q,
    answer: oneshot::Sender<A>,
    is_decided: Arc<AtomicBool>,
}

impl<Q, A> Request<Q, A> {
    /// What is to be done and where to say how it ended. `None` if nobody waits for it any more: then it must
    /// not be done.
    #[must_use]
    pub fn begin(self) -> Option<(Q, Reply<A>)> {
        let may = !self.answer.is_closed() && !self.is_decided.swap(true, Ordering::AcqRel);
        may.then_some((self.what, Reply(self.answer)))
    }

    /// Answers it without doing anything.
    pub fn decline(self, answer: A) {
        if let Some((_, reply)) = self.begin() {
            reply.tell(answer);
        }
    }
}

/// Takes the answer to one request.
#[derive(Debug)]
pub struct Reply<A>(oneshot::Sender<A>);

impl<A> Reply<A> {
    /// Says how it ended.
    pub fn tell(self, answer: A) {
        // Whoever asked may have stopped waiting.
        let _ = self.0.send(answer);
    }
}

/// The end of the task. Without askers nothing ever comes.
#[derive(Debug)]
pub struct Inbox<Q, A>(Option<mpsc::Receiver<Request<Q, A>>>);

impl<Q, A> Default for Inbox<Q, A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<Q, A> Inbox<Q, A> {
    /// The next request; waits for ever if nobody can send one. Can be cancelled without loss.
    pub async fn next(&mut self) -> Request<Q, A> {
        if let Some(receiver) = &mut self.0 {
            if let Some(request) = receiver.recv().await {
                return request;
            }
            self.0 = None;
        }
        pending().await
    }

    /// The next request, if one waits.
    pub fn try_next(&mut self) -> Option<Request<Q, A>> {
        self.0.as_mut()?.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_its_asker_gave_up_or_dropped_is_not_taken_up() {
        let (asker, mut inbox) = handover::<u8, u8>(2);
        let late = asker.ask(1, Patience { begin: SHORT, done: LONG }).await;
        assert_eq!(late, Err(NoAnswer::GivenUp));
        assert!(inbox.next().await.begin().is_none());

        let dropped = timeout(SHORT, asker.ask(1, Patience { begin: LONG, done: LONG })).await;
        assert!(dropped.is_err());
        assert!(inbox.try_next().is_some_and(|request| request.begin().is_none()));
    }

    #[tokio::test]
    async fn what_was_taken_up_is_waited_for() {
        let (asker, mut inbox) = handover::<u8, u8>(1);
        let task = async {
            let (what, reply) = inbox.next().await.begin().expect("it waits");
            tokio::time::sleep(Duration::from_millis(100)).await;
            reply.tell(what + 1);
        };
        let patience = Patience { begin: Duration::from_millis(50), done: LONG };
        assert_eq!(tokio::join!(asker.ask(1, patience), task).0, Ok(2));
    }

    #[tokio::test]
    async fn an_end_before_and_after_it_was_taken_up_are_told_apart() {
        let patience = Patience { begin: Duration::from_millis(50), done: Duration::from_millis(50) };
        let (asker, mut inbox) = handover::<u8, u8>(1);
        let cut = async { drop(inbox.next().await.begin()) };
        assert_eq!(tokio::join!(asker.ask(1, patience), cut).0, Err(NoAnswer::Cut));
        let lost = async { drop(inbox.next().await) };
        assert_eq!(tokio::join!(asker.ask(1, patience), lost).0, Err(NoAnswer::Ended));
        let hung = async {
            let begun = inbox.next().await.begin();
            tokio::time::sleep(Duration::from_millis(150)).await;
            drop(begun);
        };
        assert_eq!(tokio::join!(asker.ask(1, patience), hung).0, Err(NoAnswer::Silent));
        drop(inbox);
        assert_eq!(asker.ask(1, patience).await, Err(NoAnswer::Ended));
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let (asker, mut inbox) = handover::<u8, u8>(1);
        let patience = Patience { begin: SHORT, done: LONG };
        assert_eq!(asker.ask(1, patience).await, Err(NoAnswer::GivenUp));
        assert_eq!(asker.ask(2, patience).await, Err(NoAnswer::Full));
        assert!(inbox.try_next().is_some());
        assert!(Inbox::<u8, u8>::default().try_next().is_none());
    }
}
