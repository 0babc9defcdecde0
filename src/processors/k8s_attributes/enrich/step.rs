//! How far a question to the ledger came.

use crate::core::time::UnixNanos;
use crate::kube::ledger::Absence;

/// One step of the way.
pub enum ResolveStep<T> {
    Done(Result<T, Absence>),
    NotAsked,
    /// Until then, or until the cluster changes.
    Wait(UnixNanos),
}
