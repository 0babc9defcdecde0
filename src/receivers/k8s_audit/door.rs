//! One request of the API server: who it is, its body, and the answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{Method, Request, Response};

use crate::core::data::origin::{Identity, Origin, Transport};
use crate::core::stage::auth::{AuthSlot, Checking, ServerAuth};
use crate::core::time::UnixNanos;
use crate::net::compression::Encoding;
use crate::net::server::accept::{Responding, Service};
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::RequestBody;
use crate::receivers::k8s_audit::answer::Untaken;
use crate::receivers::k8s_audit::intake::AuditIntake;

/// What all requests of the receiver share.
pub struct AuditDoor {
    pub intake: AuditIntake,
    pub path: String,
    pub bytes_max: u64,
    pub auth: Option<Arc<AuthSlot<dyn ServerAuth>>>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct AuditService(pub Arc<AuditDoor>);

impl Service for AuditService {
    fn respond(&self, request: Request<RequestBody>) -> Responding {
        let door = self.0.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            let peer = body.connection().peer;
            let taken = AssertUnwindSafe(door.take(&head, &mut body)).catch_unwind().await;
            door.intake.counts.requests.add(1);
            match taken.unwrap_or(Err(Untaken::Panicked)) {
                Ok(()) => Response::new(AnswerBody::empty()),
                Err(why) => {
                    door.intake.counts.untaken(&why, peer);
                    body.discard(door.bytes_max);
                    why.response()
                }
            }
        })
    }

    fn overloaded(&self, request: Request<RequestBody>) -> Responding {
        let why = Untaken::later("there is no memory for this connection's requests now");
        self.0.intake.counts.untaken(&why, request.body().connection().peer);
        Box::pin(std::future::ready(why.response()))
    }
}

impl AuditDoor {
    async fn take(&self, head: &Parts, body: &mut RequestBody) -> Result<(), Untaken> {
        if head.uri.path() != self.path {
            let shown: String = head.uri.path().chars().take(100).collect();
            return Err(Untaken::NotFound(format!("nothing is at {shown:?}; audit events go to {}", self.path)));
        }
        if head.method != Method::POST {
            return Err(Untaken::NotPost);
        }
        let identity = self.admit(head).await?;
        let name = head.headers.get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let name = name.unwrap_or_default();
        let unknown = || Untaken::Encoding(format!("encoding {name:?} is not known here"));
        let encoding = Encoding::parse(&name).ok_or_else(unknown)?;
        // What is longer than the whole budget would be told to come again for ever.
        let bytes_max = self.bytes_max.min(self.intake.host.budget.soft());
        let gathered = body.gather(bytes_max).await?;
        let connection = body.connection();
        let mut origin =
            Origin::new(connection.peer, connection.number, connection.accepted_at, UnixNanos::now(), Transport::Http);
        origin.identity = identity;
        self.intake.take(encoding, gathered, origin, bytes_max).await
    }

    async fn admit(&self, head: &Parts) -> Result<Option<Arc<Identity>>, Untaken> {
        let Some(slot) = &self.auth else { return Ok(None) };
        let starting = || Untaken::later("the authenticator has not started");
        let authenticator = slot.current().ok_or_else(starting)?;
        let verdict = match authenticator.check(&head.headers) {
            Checking::Known(verdict) => verdict,
            Checking::Asks(asking) => asking.await,
        };
        Ok(Some(verdict?))
    }
}
