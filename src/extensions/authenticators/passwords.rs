//! Checking passwords without letting senders keep the processor busy: a check of bcrypt runs beside the workers, few at
//! once, and its outcome is remembered for a while.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use lru::LruCache;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::core::data::origin::Identity;
use crate::core::lock::Locked;
use crate::core::stage::auth::{AuthFault, AuthVerdict, Checking, ServerAuth};
use crate::extensions::authenticators::bearer::behind_scheme;
use crate::extensions::authenticators::htpasswd::Users;
use crate::extensions::authenticators::report::CheckCounts;
use crate::otlp::json::base64;

/// Checks of bcrypt at once: each takes a core for as long as its cost says.
const CHECKS_AT_ONCE: usize = 2;
/// Requests that wait for a check; others hear that they may ask again.
const WAITING_MAX: usize = 64;
const WAIT: Duration = Duration::from_secs(5);
/// Outcomes that are remembered, of each kind apart, so that wrong passwords push no right one out.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(1_024).expect("1,024 is not zero");
const RIGHT_FOR: Duration = Duration::from_secs(300);
/// Short: a user whose password was just set is let in soon.
const WRONG_FOR: Duration = Duration::from_secs(10);

/// Stands for a user with a password, by a key that no other process has.
type CredentialMark = [u8; 32];

/// The users of one moment, with what is known of them. Others take the place of all of it.
struct Current {
    users: Users,
    // Locked for a look.
    right: Mutex<LruCache<CredentialMark, Instant>>,
    wrong: Mutex<LruCache<CredentialMark, Instant>>,
}

impl Current {
    fn new(users: Users) -> Current {
        let empty = || Mutex::new(LruCache::new(REMEMBERED_MAX));
        Current { users, right: empty(), wrong: empty() }
    }

    fn remembered(&self, mark: &CredentialMark, now: Instant) -> Option<bool> {
        let is_in = |marks: &Mutex<LruCache<CredentialMark, Instant>>| {
            marks.locked().get(mark).is_some_and(|until| *until > now)
        };
        if is_in(&self.right) { Some(true) } else { is_in(&self.wrong).then_some(false) }
    }

    fn remember(&self, mark: CredentialMark, right: bool, now: Instant) {
        let (marks, for_so_long) = if right { (&self.right, RIGHT_FOR) } else { (&self.wrong, WRONG_FOR) };
        marks.locked().put(mark, now + for_so_long);
    }
}

struct Credential {
    user: String,
    password: String,
}

/// The check of `basicauth`.
pub struct Passwords {
    current: ArcSwap<Current>,
    key: hmac::Key,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    checked: Arc<CheckCounts>,
}

impl Passwords {
    pub fn new(users: Users, checked: Arc<CheckCounts>) -> Result<Passwords, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(Passwords {
            current: ArcSwap::from_pointee(Current::new(users)),
            key,
            running: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            checked,
        })
    }

    /// Takes other users; what was remembered of the ones before is forgotten.
    pub fn renew(&self, users: Users) {
        self.current.store(Arc::new(Current::new(users)));
    }

    fn mark(&self, credential: &Credential) -> CredentialMark {
        let text = format!("{}:{}", credential.user, credential.password);
        let mut mark = [0; 32];
        mark.copy_from_slice(hmac::sign(&self.key, text.as_bytes()).as_ref());
        mark
    }

    async fn ask(&self, current: Arc<Current>, credential: Credential, mark: CredentialMark) -> AuthVerdict {
        let busy = || AuthFault::Unavailable("too many passwords are being checked".to_owned());
        let user = credential.user.clone();
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let running = timeout(WAIT, self.running.clone().acquire_owned()).await;
        let place = running.map_err(|_| busy())?.map_err(|_| busy())?;
        // Another request with the same password may have been checked meanwhile.
        if let Some(right) = current.remembered(&mark, Instant::now()) {
            return judged(&current.users, &user, right);
        }
        // It keeps its place to the end, also when the sender has gone.
        let asked = current.clone();
        let work = spawn_blocking(move || {
            let _place = place;
            let right = asked.users.knows(&credential.user, &credential.password);
            asked.remember(mark, right, Instant::now());
            right
        });
        let right = work.await.map_err(|_| busy())?;
        judged(&current.users, &user, right)
    }
}

fn judged(users: &Users, user: &str, right: bool) -> AuthVerdict {
    if !right {
        return Err(refused("the user or the password is wrong"));
    }
    Ok(Arc::new(Identity {
        subject: user.into(),
        tells_senders: users.len() > 1,
        attributes: vec![("username", user.to_owned())],
    }))
}

fn refused(message: &str) -> AuthFault {
    let challenge = HeaderValue::from_static("Basic realm=\"podgate\", charset=\"UTF-8\"");
    AuthFault::Unauthenticated { message: message.to_owned(), challenge }
}

/// The credential that a request shows (RFC 7617, 2).
fn shown(headers: &HeaderMap) -> Result<Credential, AuthFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let value = first.ok_or_else(|| refused("the header authorization is missing"))?;
    if second.is_some() {
        return Err(refused("the header authorization is there more than once"));
    }
    let text = behind_scheme(value.as_bytes(), "Basic");
    let text = text.ok_or_else(|| refused("the header authorization does not begin with \"Basic\""))?;
    let mut bytes = Vec::new();
    let decoded = base64::decode(&mut bytes, text).and_then(|()| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(|| refused("the credential is not base64 of a text"))?;
    let (user, password) = decoded.split_once(':').ok_or_else(|| refused("the credential has no colon"))?;
    Ok(Credential { user: user.to_owned(), password: password.to_owned() })
}

impl ServerAuth for Passwords {
    fn check<'a>(&'a self, headers: &'a HeaderMap) -> Checking<'a> {
        let credential = match shown(headers) {
            Ok(credential) => credential,
            Err(fault) => return Checking::Known(self.checked.count(Err(fault))),
        };
        let (current, mark) = (self.current.load_full(), self.mark(&credential));
        let known = match current.remembered(&mark, Instant::now()) {
            None if current.users.is_quick() => Some(current.users.knows(&credential.user, &credential.password)),
            known => known,
        };
        if let Some(right) = known {
            return Checking::Known(self.checked.count(judged(&current.users, &credential.user, right)));
        }
        Checking::Asks(Box::pin(async move { self.checked.count(self.ask(current, credential, mark).await) }))
    }
}
