//! What an authenticator counts, by outcome.

use std::sync::Arc;

use crate::core::report::stats::{Counter, Stats};
use crate::core::stage::auth::{AuthFault, AuthVerdict};

/// Checks of one authenticator.
pub struct CheckCounts {
    accepted: Arc<Counter>,
    unauthenticated: Arc<Counter>,
    forbidden: Arc<Counter>,
    unavailable: Arc<Counter>,
}

impl CheckCounts {
    pub fn new(stats: &Stats, id: &str) -> CheckCounts {
        let outcome = |outcome| {
            let help = "Requests whose sender was checked, by authenticator and outcome.";
            stats.counter("podgate_authenticator_checks", help, &[("authenticator", id), ("outcome", outcome)])
        };
        CheckCounts {
            accepted: outcome("accepted"),
            unauthenticated: outcome("unauthenticated"),
            forbidden: outcome("forbidden"),
            unavailable: outcome("unavailable"),
        }
    }

    pub fn count(&self, admission: AuthVerdict) -> AuthVerdict {
        let counter = match &admission {
            Ok(_) => &self.accepted,
            Err(AuthFault::Unauthenticated { .. }) => &self.unauthenticated,
            Err(AuthFault::Forbidden(_)) => &self.forbidden,
            Err(AuthFault::Unavailable(_)) => &self.unavailable,
        };
        counter.add(1);
        admission
    }
}
