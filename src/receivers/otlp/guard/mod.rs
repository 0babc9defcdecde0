//! Who may ask: the authenticators of a door, and pages of other origins (`cors`).
//!
//! Both ports answer both protocols. A door with an authenticator asks it for whatever comes in; one without asks that of
//! the request's protocol, so that a protocol which is locked on its own port is not open on the other.

pub mod cors;

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::core::data::origin::{Identity, Transport};
use crate::core::stage::auth::{AuthFault, AuthSlot, Authenticators, Checking, ServerAuth};
use crate::receivers::otlp::config::Protocols;
use crate::receivers::otlp::fault::RequestFault;

type Slot = Arc<AuthSlot<dyn ServerAuth>>;

/// The authenticators of one door.
pub struct Guard {
    grpc: Option<Slot>,
    http: Option<Slot>,
}

impl Guard {
    /// `own` is the door's; the other ids are the protocols'.
    pub fn new(own: Option<&str>, protocols: &Protocols, known: &Authenticators) -> Guard {
        let slot = |of: &Option<String>| own.or(of.as_deref()).map(|id| known.server(id));
        Guard { grpc: slot(&protocols.grpc_auth), http: slot(&protocols.http_auth) }
    }

    /// Who sends a request, by its head. A preflight carries no credential and no data, so it passes (Fetch, 4.8).
    pub async fn admit(
        &self,
        transport: Transport,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Identity>>, RequestFault> {
        let slot = if transport == Transport::Grpc { &self.grpc } else { &self.http };
        let Some(slot) = slot.as_ref().filter(|_| *method != Method::OPTIONS) else { return Ok(None) };
        let starting = || RequestFault::AuthUnavailable("the authenticator has not started".to_owned());
        let authenticator = slot.current().ok_or_else(starting)?;
        let admission = match authenticator.check(headers) {
            Checking::Known(admission) => admission,
            Checking::Asks(asking) => asking.await,
        };
        admission.map(Some).map_err(RequestFault::from)
    }
}

impl From<AuthFault> for RequestFault {
    fn from(fault: AuthFault) -> RequestFault {
        match fault {
            AuthFault::Unauthenticated { message, challenge } => RequestFault::Unauthenticated { message, challenge },
            AuthFault::Forbidden(message) => RequestFault::Forbidden(message),
            AuthFault::Unavailable(message) => RequestFault::AuthUnavailable(message),
        }
    }
}
