//! Who adds credentials to an exporter's requests; one place for all exporters.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use crate::core::data::origin::{Origin, Transport};
use crate::core::stage::auth::{AuthSlot, Authenticators, ClientAuth};
use crate::net::client::failure::CallFailure;

/// The authenticator of an exporter, when it has one.
#[derive(Clone, Default)]
pub struct RequestCredentials {
    slot: Option<(String, Arc<AuthSlot<dyn ClientAuth>>)>,
}

impl RequestCredentials {
    /// `id` as the exporter's `auth` names it.
    pub fn of(id: Option<&str>, known: &Authenticators) -> RequestCredentials {
        RequestCredentials { slot: id.map(|id| (id.to_owned(), known.client(id))) }
    }

    /// The headers of one request beside its `own`, or why it cannot be sent. Without an authenticator there are none.
    pub async fn headers(
        &self,
        own: &HeaderMap,
        origin: Option<&Origin>,
        deadline: Instant,
    ) -> Result<Option<HeaderMap>, CallFailure> {
        let Some((id, slot)) = &self.slot else { return Ok(None) };
        let lacks = |why: &str| CallFailure::NoCredential { authenticator: id.clone(), why: why.to_owned() };
        let authenticator = slot.current().ok_or_else(|| lacks("it has not started"))?;
        // What was merged or made here is nobody's, but for headers that all of its senders had.
        let is_senders = |origin: &&Origin| origin.transport != Transport::Internal || !origin.headers.is_empty();
        let origin = origin.filter(is_senders);
        match timeout_at(deadline, authenticator.headers(own, origin, deadline)).await {
            Ok(headers) => headers.map(Some).map_err(|why| lacks(&why)),
            Err(_) => Err(lacks("it did not answer within the request's time")),
        }
    }

    /// The next hop refused the credential of a request (401, UNAUTHENTICATED). True where there is an authenticator: it
    /// may have another one soon.
    pub fn refused(&self) -> bool {
        let authenticator = self.slot.as_ref().and_then(|(_, slot)| slot.current());
        authenticator.iter().for_each(|authenticator| authenticator.refused());
        self.slot.is_some()
    }
}
