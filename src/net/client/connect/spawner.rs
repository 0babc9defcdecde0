//! Tasks that live as long as the client whose connections they serve.

use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use crate::core::lock::Locked;

/// Runs connection tasks; they end with their client.
#[derive(Clone, Default)]
pub struct Spawner(Arc<Mutex<JoinSet<()>>>);

impl Spawner {
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.locked();
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Ends every task and waits for them.
    pub async fn end(&self) {
        let mut set = std::mem::take(&mut *self.0.locked());
        set.shutdown().await;
    }
}
