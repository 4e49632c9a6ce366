use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Denied;

/// A step's result, here already or on its way from another thread.
///
/// The step runs to its end whether or not anybody still waits for this.
#[must_use = "the step runs by itself, but only its answer says whether it happened"]
pub struct Answer<T>(State<T>);

enum State<T> {
    Here(Option<Result<T, Denied>>),
    Coming(oneshot::Receiver<Result<T, Denied>>),
}

impl<T> Answer<T> {
    /// A result that is known now.
    pub const fn ready(result: Result<T, Denied>) -> Self {
        Self(State::Here(Some(result)))
    }

    /// A result that will be sent.
    pub(crate) const fn coming(receiver: oneshot::Receiver<Result<T, Denied>>) -> Self {
        Self(State::Coming(receiver))
    }
}

impl<T: Unpin> Future for Answer<T> {
    type Output = Result<T, Denied>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Here(result) => Poll::Ready(result.take().unwrap_or(Err(Denied::Unavailable))),
            // The sender is dropped only when the store is being closed.
            State::Coming(receiver) => {
                Pin::new(receiver).poll(context).map(|result| result.unwrap_or(Err(Denied::Unavailable)))
            }
        }
    }
}
