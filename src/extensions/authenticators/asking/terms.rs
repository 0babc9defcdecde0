//! What bounds the questions of an authenticator, and how a request shows what is asked about: one place for all who ask.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::config::check::Section;
use crate::extensions::authenticators::bearer::behind_scheme;

const CAPACITY_MAX: usize = 1_000_000;

/// How much is remembered and for how long, and how long an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct AskingTerms {
    pub capacity: NonZeroUsize,
    pub ttl: Duration,
    pub timeout: Duration,
}

impl AskingTerms {
    /// Reads `timeout` and `cache: {capacity, ttl}`; what is not written is as in `default`. `more` reads what else stands
    /// in the cache.
    pub fn check(keys: &Section<'_>, default: AskingTerms, more: impl FnOnce(&Section<'_>)) -> AskingTerms {
        let timeout = keys.duration("timeout").filter(|timeout| !timeout.is_zero()).unwrap_or(default.timeout);
        let Some(cache) = keys.section("cache") else { return AskingTerms { timeout, ..default } };
        let capacity = cache.usize("capacity").map(|entries| NonZeroUsize::new(entries.min(CAPACITY_MAX)));
        if capacity == Some(None) {
            cache.invalid::<()>("capacity", "without room every request would be a question", "a number of 1 or more");
        }
        let ttl = cache.duration("ttl");
        if ttl == Some(Duration::ZERO) {
            let expected = format!("a time such as {}s", default.ttl.as_secs());
            cache.invalid::<()>("ttl", "without time every request would be a question", &expected);
        }
        more(&cache);
        cache.finish();
        AskingTerms {
            capacity: capacity.flatten().unwrap_or(default.capacity),
            ttl: ttl.unwrap_or(default.ttl),
            timeout,
        }
    }
}

/// The header that carries the credential, and the credential behind its scheme. The error is what the sender hears.
pub fn shown_credential<'h>(headers: &'h HeaderMap, scheme: &str) -> Result<(&'h HeaderValue, &'h [u8]), String> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or("the header authorization is missing")?;
    if values.next().is_some() {
        return Err("the header authorization is there more than once".to_owned());
    }
    let credential = behind_scheme(value.as_bytes(), scheme);
    let credential = credential.ok_or_else(|| format!("the header authorization does not begin with {scheme:?}"))?;
    Ok((value, credential))
}
