//! What another server says of credentials, remembered for a while: senders come with each request, and that server is asked
//! once.
//!
//! Strangers choose what is asked: few questions run at once, few requests wait for one, who was let in is remembered apart from
//! who was not, and after a failure nobody is asked for a moment. Credentials are kept as marks by a key that only this process
//! has.

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lru::LruCache;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::core::backoff::{Doubling, within};
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusBoard};
use crate::core::stage::auth::{AuthFault, AuthVerdict, Checking};
use crate::core::stage::factory::BuildContext;
use crate::extensions::authenticators::asking::terms::AskingTerms;
use crate::extensions::authenticators::report::CheckCounts;

/// Questions under way.
const ASKED_AT_ONCE: usize = 16;
/// Requests that wait for an answer; others hear that they may come again.
const WAITING_MAX: usize = 256;
/// Refusals that are remembered, at most.
const REFUSED_MAX: NonZeroUsize = NonZeroUsize::new(1_024).expect("1,024 is not zero");
/// Short: who was just given the right is let in soon.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Between two questions of a server that does not answer.
const PAUSE: Doubling = Doubling { first: Duration::from_millis(250), longest: Duration::from_secs(5) };

/// Stands for a credential with all that its verdict rests on.
pub type AskedMark = [u8; 32];

/// An answer, and for how long it holds.
pub struct AskedVerdict {
    pub verdict: AuthVerdict,
    pub lasts: Duration,
}

type Remembered = Mutex<LruCache<AskedMark, (AuthVerdict, Instant)>>;

/// How the server did of late.
#[derive(Default)]
struct Trouble {
    failures: u32,
    until: Option<Instant>,
}

/// The verdicts of one authenticator.
pub struct CredentialVerdicts {
    terms: AskingTerms,
    key: hmac::Key,
    // Locked for a look.
    accepted: Remembered,
    refused: Remembered,
    /// Who asks about a credential; the others wait for the same answer. As many as there are places to wait.
    flights: Mutex<HashMap<AskedMark, Arc<tokio::sync::Mutex<()>>>>,
    running: Semaphore,
    waiting: Semaphore,
    // Locked for a look.
    trouble: Mutex<Trouble>,
    path: String,
    status: Arc<StatusBoard>,
    checked: Arc<CheckCounts>,
}

impl CredentialVerdicts {
    /// Those of an extension that starts.
    pub fn of(terms: AskingTerms, cx: &BuildContext) -> Result<CredentialVerdicts, StartError> {
        let checked = CheckCounts::new(&cx.host.stats, &cx.id.to_string());
        CredentialVerdicts::new(terms, &cx.path, &cx.host.status, checked).map_err(|message| StartError {
            component: cx.path.clone(),
            message,
            help: None,
        })
    }

    /// `path` is the extension's, for the status and the log.
    fn new(
        terms: AskingTerms,
        path: &str,
        status: &Arc<StatusBoard>,
        checked: CheckCounts,
    ) -> Result<CredentialVerdicts, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(CredentialVerdicts {
            terms,
            key: key.map_err(|_| "the system gives no random numbers".to_owned())?,
            accepted: Mutex::new(LruCache::new(terms.capacity)),
            refused: Mutex::new(LruCache::new(REFUSED_MAX.min(terms.capacity))),
            flights: Mutex::default(),
            running: Semaphore::new(ASKED_AT_ONCE),
            waiting: Semaphore::new(WAITING_MAX),
            trouble: Mutex::default(),
            path: path.to_owned(),
            status: status.clone(),
            checked: Arc::new(checked),
        })
    }

    /// The mark of all these texts, in this order.
    pub fn mark<'t>(&self, texts: impl Iterator<Item = &'t [u8]>) -> AskedMark {
        let mut context = hmac::Context::with_key(&self.key);
        for text in texts {
            // With its length, so that no two lists come to one text.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text);
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }

    /// A verdict that nobody has to be asked for.
    pub fn known<'a>(&self, verdict: AuthVerdict) -> Checking<'a> {
        Checking::Known(self.checked.count(verdict))
    }

    /// The remembered verdict, or that of `ask`; its error is why there is no answer.
    pub fn check<'a, F>(&'a self, mark: AskedMark, ask: impl FnOnce() -> F + Send + 'a) -> Checking<'a>
    where
        F: Future<Output = Result<AskedVerdict, String>> + Send + 'a,
    {
        if let Some(verdict) = self.remembered(&mark, Instant::now()) {
            return self.known(verdict);
        }
        Checking::Asks(Box::pin(async move { self.checked.count(self.ask(mark, ask).await) }))
    }

    async fn ask<F>(&self, mark: AskedMark, ask: impl FnOnce() -> F) -> AuthVerdict
    where
        F: Future<Output = Result<AskedVerdict, String>>,
    {
        let busy = || AuthFault::Unavailable("too many credentials are being checked".to_owned());
        let deadline = Instant::now() + self.terms.timeout;
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let flight = Flight::board(&self.flights, mark);
        let _first = timeout_at(deadline, flight.turn.lock()).await.map_err(|_| busy())?;
        // Whoever asked before may have brought the answer, or found the server away.
        if let Some(verdict) = self.remembered(&mark, Instant::now()) {
            return verdict;
        }
        if self.trouble.locked().until.is_some_and(|until| Instant::now() < until) {
            return Err(away());
        }
        let _place = timeout_at(deadline, self.running.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
        let told = match timeout_at(deadline, ask()).await {
            Ok(told) => told,
            Err(_) => Err(format!("no answer within {:?}", self.terms.timeout)),
        };
        match told {
            Ok(told) => {
                self.well();
                self.remember(mark, &told, Instant::now());
                told.verdict
            }
            Err(why) => {
                self.failed(&why, fastrand::f64());
                Err(away())
            }
        }
    }

    fn remembered(&self, mark: &AskedMark, now: Instant) -> Option<AuthVerdict> {
        let of = |memory: &Remembered| {
            let mut memory = memory.locked();
            let found = memory.get(mark).filter(|(_, until)| *until > now).map(|(verdict, _)| verdict.clone());
            if found.is_none() {
                memory.pop(mark);
            }
            found
        };
        of(&self.accepted).or_else(|| of(&self.refused))
    }

    fn remember(&self, mark: AskedMark, told: &AskedVerdict, now: Instant) {
        let (memory, lasts) = match &told.verdict {
            Ok(_) => (&self.accepted, told.lasts),
            Err(AuthFault::Unavailable(_)) => return,
            Err(_) => (&self.refused, told.lasts.min(REFUSED_FOR)),
        };
        memory.locked().put(mark, (told.verdict.clone(), now + lasts));
    }

    fn well(&self) {
        let before = std::mem::take(&mut *self.trouble.locked());
        if before.failures > 0 {
            tracing::info!(component = %self.path, "credentials can be checked again");
            self.status.set(&self.path, State::Ok, "");
        }
    }

    fn failed(&self, why: &str, random: f64) {
        let first = {
            let mut trouble = self.trouble.locked();
            trouble.until = Some(Instant::now() + within(PAUSE.after(trouble.failures), random));
            trouble.failures = trouble.failures.saturating_add(1);
            trouble.failures == 1
        };
        self.status.set(&self.path, State::Degraded, format!("credentials cannot be checked: {why}"));
        if first {
            tracing::warn!(component = %self.path, cause = %why, "credentials cannot be checked; senders that are not known hear that they may come again");
        }
    }
}

/// Why is for the log: who is not known here shall not learn what stands behind.
fn away() -> AuthFault {
    AuthFault::Unavailable("the credential cannot be checked now".to_owned())
}

/// A request's part in a question; the last one to leave clears the place.
struct Flight<'a> {
    flights: &'a Mutex<HashMap<AskedMark, Arc<tokio::sync::Mutex<()>>>>,
    mark: AskedMark,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Flight<'a> {
    fn board(flights: &'a Mutex<HashMap<AskedMark, Arc<tokio::sync::Mutex<()>>>>, mark: AskedMark) -> Flight<'a> {
        let turn = flights.locked().entry(mark).or_default().clone();
        Flight { flights, mark, turn }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.locked();
        // Given back under the lock, so that of two that leave at once the last one sees it.
        drop(std::mem::take(&mut self.turn));
        if flights.get(&self.mark).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            flights.remove(&self.mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::sleep;

    use super::*;
    use crate::core::data::origin::Identity;
    use crate::core::report::stats::Stats;

    fn verdicts(capacity: usize) -> CredentialVerdicts {
        let terms = AskingTerms {
            capacity: NonZeroUsize::new(capacity).unwrap(),
            ttl: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
        };
        CredentialVerdicts::new(terms, "extensions::x", &Arc::default(), CheckCounts::new(&Stats::default(), "x"))
            .unwrap()
    }

    fn let_in() -> AuthVerdict {
        Ok(Arc::new(Identity { subject: "ann".into(), tells_senders: true, attributes: Vec::new() }))
    }

    fn told(verdict: AuthVerdict) -> Result<AskedVerdict, String> {
        Ok(AskedVerdict { verdict, lasts: Duration::from_secs(30) })
    }

    async fn come(
        verdicts: &CredentialVerdicts,
        text: &str,
        asked: &AtomicU32,
        answer: Result<AskedVerdict, String>,
    ) -> AuthVerdict {
        let mark = verdicts.mark([text.as_bytes()].into_iter());
        let ask = || async move {
            asked.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(100)).await;
            answer
        };
        match verdicts.check(mark, ask) {
            Checking::Known(verdict) => verdict,
            Checking::Asks(asking) => asking.await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_with_one_credential_ask_once_until_the_answer_is_old() {
        let (verdicts, asked) = (verdicts(8), AtomicU32::new(0));
        let all = (0..50).map(|_| come(&verdicts, "a", &asked, told(let_in())));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        sleep(Duration::from_secs(29)).await;
        assert!(come(&verdicts, "a", &asked, told(let_in())).await.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        sleep(Duration::from_secs(2)).await;
        assert!(come(&verdicts, "a", &asked, told(let_in())).await.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(verdicts.flights.locked().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_remembered_shortly_and_push_nobody_out_who_is_known() {
        let (verdicts, asked) = (verdicts(4), AtomicU32::new(0));
        assert!(come(&verdicts, "known", &asked, told(let_in())).await.is_ok());
        let no = || Err(AuthFault::Forbidden("no".to_owned()));
        for at in 0..100 {
            let verdict = come(&verdicts, &format!("stranger {at}"), &asked, told(no())).await;
            assert!(matches!(verdict, Err(AuthFault::Forbidden(_))));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 101);
        assert!(come(&verdicts, "stranger 99", &asked, told(no())).await.is_err());
        assert!(come(&verdicts, "known", &asked, told(no())).await.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 101);
        sleep(REFUSED_FOR + Duration::from_millis(1)).await;
        assert!(come(&verdicts, "stranger 99", &asked, told(let_in())).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_left_alone_for_a_moment_and_its_fault_is_not_the_senders() {
        let (verdicts, asked) = (verdicts(8), AtomicU32::new(0));
        for at in 0..200 {
            let verdict = come(&verdicts, &format!("{at}"), &asked, Err("kanari.internal refused".to_owned())).await;
            let Err(AuthFault::Unavailable(said)) = verdict else { panic!("it is no refusal of the sender") };
            assert!(!said.contains("kanari"), "{said}");
            sleep(Duration::from_millis(10)).await;
        }
        let asked_for = asked.load(Ordering::Relaxed);
        assert!((3..10).contains(&asked_for), "{asked_for} questions in 2 s");
        assert_eq!(verdicts.status.all()["extensions::x"].state, State::Degraded);
        sleep(PAUSE.longest).await;
        assert!(come(&verdicts, "0", &asked, told(let_in())).await.is_ok(), "an unanswered question is not remembered");
        assert_eq!(verdicts.status.all()["extensions::x"].state, State::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_in_bounds_and_a_known_sender_does_not_wait_behind_them() {
        let (verdicts, asked) = (verdicts(1_000), AtomicU32::new(0));
        assert!(come(&verdicts, "known", &asked, told(let_in())).await.is_ok());
        let names: Vec<String> = (0..1_000).map(|at| format!("stranger {at}")).collect();
        let strangers = names.iter().map(|name| come(&verdicts, name, &asked, told(let_in())));
        let honest = async {
            let begun = Instant::now();
            assert!(come(&verdicts, "known", &asked, told(let_in())).await.is_ok());
            begun.elapsed()
        };
        let (strangers, waited) = tokio::join!(futures_util::future::join_all(strangers), honest);
        let turned_away = strangers.iter().filter(|verdict| verdict.is_err()).count();
        assert_eq!((turned_away, waited), (1_000 - WAITING_MAX, Duration::ZERO));
        assert!(verdicts.flights.locked().is_empty());
    }
}
