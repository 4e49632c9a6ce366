//! The library's own tokio runtime: the engine's tasks and all asynchronous exports run here.
//!
//! A foreign executor polls an exported future on whatever thread it likes, and Kotlin drops the future when its coroutine is
//! cancelled. So exports only hand their work over and wait: dropping the wait leaves the work alone, but where the work is nothing but waiting.

use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::error::SottoError;

/// Two: one for the network while the other waits for the keystore. Database work has threads of its own.
const WORKERS: usize = 2;

/// Runs `work` to its end on the library's runtime and waits for it.
pub(crate) async fn run<T: Send + 'static>(
    work: impl Future<Output = Result<T, SottoError>> + Send + 'static,
) -> Result<T, SottoError> {
    let task = runtime()?.spawn(work);
    // Nothing aborts these tasks: the only way to lose one is a panic inside.
    task.await.unwrap_or_else(|_| Err(SottoError::panicked()))
}

/// As [`run`], for work that changes nothing and may wait for ever: it ends with whoever waits for it.
pub(crate) async fn run_while_awaited<T: Send + 'static>(
    work: impl Future<Output = Result<T, SottoError>> + Send + 'static,
) -> Result<T, SottoError> {
    struct Ends(AbortHandle);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let task = runtime()?.spawn(work);
    let _ends = Ends(task.abort_handle());
    task.await.unwrap_or_else(|_| Err(SottoError::panicked()))
}

/// As [`run`], for work that blocks its thread.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SottoError> {
    runtime()?.spawn_blocking(work).await.map_err(|_| SottoError::panicked())
}

/// The runtime, made when it is first needed. One that could not be made is tried again: threads may be there later.
fn runtime() -> Result<&'static Runtime, SottoError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    if let Some(made) = RUNTIME.get() {
        return Ok(made);
    }
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = RUNTIME.get() {
        return Ok(made);
    }
    let made = Builder::new_multi_thread().worker_threads(WORKERS).thread_name("sotto").enable_all().build();
    Ok(RUNTIME.get_or_init(made.map(|made| || made).map_err(|_| SottoError::without_threads())?))
}

/// Drops what blocks while it is dropped, away from the caller's thread.
pub(crate) fn drop_elsewhere(value: impl Send + 'static) {
    // Without threads there is nothing running that could block.
    if let Ok(runtime) = runtime() {
        runtime.spawn_blocking(move || drop(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{ThreadId, current};

    use super::*;

    struct TellsWhere(Sender<ThreadId>);

    impl Drop for TellsWhere {
        fn drop(&mut self) {
            let _ = self.0.send(current().id());
        }
    }

    #[test]
    fn what_blocks_while_it_is_dropped_is_not_dropped_on_the_callers_thread() {
        let (sender, dropped_on) = channel();
        drop_elsewhere(TellsWhere(sender));
        assert_ne!(dropped_on.recv().unwrap(), current().id());
    }
}
