//! Work that waits for files, beside the task of a receiver.

use tokio::task::spawn_blocking;

/// Does `work` on a blocking thread. A panic in it is the task's.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Taken off the runtime's list because it shuts down: so does the caller.
        Err(Err(_)) => std::future::pending().await,
    }
}
