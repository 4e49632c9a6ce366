//! The library's own tokio runtime: the engine's tasks and all asynchronous exports run here.
//!
//! A foreign executor polls an exported future on whatever thread it likes, and Kotlin drops the future when its coroutine is
//! cancelled. So exports only hand their work over and wait: dropping the wait leaves the work alone.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

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

/// As [`run`], for work that blocks its thread.
pub(crate) async fn run_blocking(work: impl FnOnce() + Send + 'static) -> Result<(), SottoError> {
    runtime()?.spawn_blocking(work).await.map_err(|_| SottoError::panicked())
}

fn runtime() -> Result<&'static Runtime, SottoError> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(WORKERS).thread_name("sotto").enable_all().build().ok()
    });
    made.as_ref().ok_or_else(SottoError::without_threads)
}
