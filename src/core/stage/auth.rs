//! The seam to authenticators: extensions that check who sends a request, or add a credential to one that goes out.
//!
//! Core knows an authenticator by what it promises; an extension implements it and puts it into its slot when it starts.
//! Who asks holds the slot and not the authenticator, so that one may take another's place while requests flow. An empty
//! slot lets nobody in and sends nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::core::data::origin::{Identity, Origin};
use crate::core::lock::Locked;
use crate::core::stage::component::Task;

/// Which end of a connection an authenticator serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthSide {
    /// Receivers: checks credentials.
    Server,
    /// Exporters: adds credentials.
    Client,
}

impl AuthSide {
    pub fn name(self) -> &'static str {
        match self {
            AuthSide::Server => "server",
            AuthSide::Client => "client",
        }
    }
}

/// Why a request is not let in. No message holds what the sender presented.
#[derive(Clone, Debug)]
pub enum AuthFault {
    /// There is no credential, or it is wrong. The challenge is the value of `WWW-Authenticate` (RFC 9110, 11.6.1).
    Unauthenticated { message: String, challenge: HeaderValue },
    /// The sender is known and lacks the right.
    Forbidden(String),
    /// It cannot be said now; the sender may ask again.
    Unavailable(String),
}

pub type AuthVerdict = Result<Arc<Identity>, AuthFault>;

/// An answer that is there already, or one that takes time.
pub enum Checking<'a> {
    Known(AuthVerdict),
    Asks(Task<'a, AuthVerdict>),
}

/// Checks who sends a request, by its headers alone and before its body is read.
pub trait ServerAuth: Send + Sync {
    /// Bounded in time and in work, whatever the headers hold.
    fn check<'a>(&'a self, headers: &'a HeaderMap) -> Checking<'a>;
}

/// Adds a credential to requests.
pub trait ClientAuth: Send + Sync {
    /// Headers of one request, by the deadline, or why there are none; they take the place of those of the same name among
    /// the exporter's `own`. `origin` is `None` where a request carries the data of several senders.
    fn headers<'a>(
        &'a self,
        own: &'a HeaderMap,
        origin: Option<&'a Origin>,
        deadline: Instant,
    ) -> Task<'a, Result<HeaderMap, String>>;

    /// A next hop refused what was sent: who can get another credential does so before its time.
    fn refused(&self) {}
}

/// Where an authenticator stands once its extension has started.
pub struct AuthSlot<T: ?Sized> {
    current: ArcSwapOption<Arc<T>>,
}

impl<T: ?Sized> AuthSlot<T> {
    pub fn current(&self) -> Option<Arc<T>> {
        self.current.load_full().map(|held| (*held).clone())
    }
}

impl<T: ?Sized> Default for AuthSlot<T> {
    fn default() -> AuthSlot<T> {
        AuthSlot { current: ArcSwapOption::const_empty() }
    }
}

type Slots<T> = Mutex<BTreeMap<String, Arc<AuthSlot<T>>>>;

/// The authenticators of one gateway, by the ids of the configuration.
#[derive(Default)]
pub struct Authenticators {
    // Locked at build and start only.
    servers: Slots<dyn ServerAuth>,
    clients: Slots<dyn ClientAuth>,
}

impl Authenticators {
    pub fn server(&self, id: &str) -> Arc<AuthSlot<dyn ServerAuth>> {
        slot(&self.servers, id)
    }

    pub fn client(&self, id: &str) -> Arc<AuthSlot<dyn ClientAuth>> {
        slot(&self.clients, id)
    }

    /// Who stands in the slots now, for a reload that may not come about.
    pub fn standing(&self) -> AuthStanding {
        AuthStanding { servers: standing(&self.servers), clients: standing(&self.clients) }
    }

    /// Puts everybody back; who came since goes.
    pub fn go_back(&self, before: AuthStanding) {
        go_back(&self.servers, before.servers);
        go_back(&self.clients, before.clients);
    }

    /// From now on requests are checked by this one.
    pub fn serve(&self, id: &str, auth: Arc<dyn ServerAuth>) {
        self.server(id).current.store(Some(Arc::new(auth)));
    }

    /// From now on requests carry this one's credentials.
    pub fn send(&self, id: &str, auth: Arc<dyn ClientAuth>) {
        self.client(id).current.store(Some(Arc::new(auth)));
    }
}

/// Who stood in the slots at one moment.
pub struct AuthStanding {
    servers: BTreeMap<String, Option<Arc<dyn ServerAuth>>>,
    clients: BTreeMap<String, Option<Arc<dyn ClientAuth>>>,
}

fn standing<T: ?Sized>(slots: &Slots<T>) -> BTreeMap<String, Option<Arc<T>>> {
    slots.locked().iter().map(|(id, slot)| (id.clone(), slot.current())).collect()
}

fn go_back<T: ?Sized>(slots: &Slots<T>, mut before: BTreeMap<String, Option<Arc<T>>>) {
    for (id, slot) in slots.locked().iter() {
        slot.current.store(before.remove(id).flatten().map(Arc::new));
    }
}

fn slot<T: ?Sized>(slots: &Slots<T>, id: &str) -> Arc<AuthSlot<T>> {
    slots.locked().entry(id.to_owned()).or_default().clone()
}

impl fmt::Debug for Authenticators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.servers.locked().keys()).entries(self.clients.locked().keys()).finish()
    }
}
