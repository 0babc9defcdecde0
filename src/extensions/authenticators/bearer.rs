//! `bearertokenauth`: a fixed token in a header, checked by receivers and sent by exporters.
//!
//! ```yaml
//! bearertokenauth:
//!   scheme: Bearer
//!   filename: /etc/podgate/tokens
//! ```
//!
//! Receivers take each of the tokens; exporters send the first. A file holds a token on each line and is read again when
//! it changes.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::config::check::Section;
use crate::config::value::secret::Secret;
use crate::core::data::origin::{Identity, Origin};
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::auth::{AuthFault, AuthSide, AuthVerdict, Checking, ClientAuth, ServerAuth};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::extensions::authenticators::credential_file::{FileWatches, read};
use crate::extensions::authenticators::digest::{SecretDigest, position};
use crate::extensions::authenticators::report::CheckCounts;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "bearertokenauth",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "checks and sends a fixed token, by configuration or from a file that may change",
        example: "scheme: Bearer\nfilename: /etc/podgate/tokens\n",
    },
    check,
};

/// Every request is compared with all of them.
const TOKENS_MAX: usize = 1_000;

/// What the configuration says.
#[derive(Clone, Debug)]
struct Settings {
    header: HeaderName,
    /// Before the token and a blank; empty sends the token alone.
    scheme: String,
    tokens: Vec<Secret>,
    file: Option<PathBuf>,
}

struct Plan(Settings);

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let keys = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let header = keys.string("header").filter(|name| !name.is_empty());
    let header = match header.as_deref().map(HeaderName::try_from) {
        None => Some(AUTHORIZATION),
        Some(Ok(header)) => Some(header),
        Some(Err(_)) => keys.invalid("header", "this is no header name", "a name such as Authorization"),
    };
    let scheme = keys.string("scheme").unwrap_or_else(|| "Bearer".to_owned());
    if HeaderValue::try_from(&scheme).is_err() || scheme.contains(char::is_whitespace) {
        keys.invalid::<()>("scheme", "the scheme cannot be sent", "one word such as Bearer, or an empty text");
    }
    let one = keys.string("token").filter(|token| !token.is_empty());
    let several = keys.strings("tokens").unwrap_or_default();
    let file = keys.string("filename").filter(|path| !path.is_empty()).map(PathBuf::from);
    if one.is_some() && !several.is_empty() {
        keys.error("tokens", code::CONFLICT, "`tokens` beside `token`", Some("keep one of the two"));
    }
    if file.is_some() && (one.is_some() || !several.is_empty()) {
        let key = if one.is_some() { "token" } else { "tokens" };
        keys.warn(key, code::IGNORED_KEY, format!("`{key}` has no effect beside `filename`"), Some("remove it"));
    }
    if file.is_none() && one.is_none() && several.is_empty() && keys.node("tokens").is_none_or(Node::is_null) {
        keys.missing::<()>("token", "one of `token`, `tokens` and `filename`");
    }
    let key = if one.is_some() { "token" } else { "tokens" };
    let tokens: Vec<String> = one.into_iter().chain(several).collect();
    if file.is_none() && (keys.node(key).is_some() || !tokens.is_empty()) {
        // Why, but never what: the text is a secret.
        if let Err(why) = Tokens::of(&tokens, &scheme) {
            keys.invalid::<()>(key, why, "tokens without blanks");
        }
    }
    keys.finish();
    let tokens = tokens.into_iter().map(Secret::new).collect();
    header.map(|header| Box::new(Plan(Settings { header, scheme, tokens, file })) as _)
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        let checked = Arc::new(CheckCounts::new(&cx.host.stats, &cx.id.to_string()));
        Arc::new(BearerExtension { settings: self.0.clone(), files: FileWatches::new(&cx), cx, checked })
    }

    fn authenticates(&self) -> &[AuthSide] {
        &[AuthSide::Server, AuthSide::Client]
    }
}

/// The tokens in use.
struct Tokens {
    known: Vec<SecretDigest>,
    /// What exporters send.
    sent: HeaderValue,
}

impl Tokens {
    /// Says why where they cannot be used, without showing one.
    fn of<T: AsRef<str>>(tokens: &[T], scheme: &str) -> Result<Tokens, String> {
        let Some(first) = tokens.first() else { return Err("there is no token".to_owned()) };
        if tokens.len() > TOKENS_MAX {
            return Err(format!("{} tokens are more than {TOKENS_MAX}", tokens.len()));
        }
        let unfit = |token: &str| token.is_empty() || token.bytes().any(|byte| !(0x21..=0x7e).contains(&byte));
        if let Some(at) = tokens.iter().position(|token| unfit(token.as_ref())) {
            return Err(format!("token {} is empty, or holds a blank or another letter than ASCII's", at + 1));
        }
        let text = match scheme {
            "" => first.as_ref().to_owned(),
            scheme => format!("{scheme} {}", first.as_ref()),
        };
        let mut sent = HeaderValue::try_from(text).map_err(|_| "the token cannot be sent".to_owned())?;
        sent.set_sensitive(true);
        let known = tokens.iter().map(|token| SecretDigest::of(token.as_ref().as_bytes())).collect();
        Ok(Tokens { known, sent })
    }

    /// A token on each line; empty lines are none.
    fn of_file(text: &str, scheme: &str) -> Result<Tokens, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Tokens::of(&lines, scheme).map_err(|why| format!("filename: {why}"))
    }
}

/// Checks and sends the tokens that are in use.
struct Bearer {
    header: HeaderName,
    scheme: String,
    id: String,
    tokens: ArcSwap<Tokens>,
    checked: Arc<CheckCounts>,
    challenge: HeaderValue,
}

impl Bearer {
    fn admit(&self, headers: &HeaderMap) -> AuthVerdict {
        let refuse = |message: String| Err(AuthFault::Unauthenticated { message, challenge: self.challenge.clone() });
        let mut values = headers.get_all(&self.header).iter();
        let Some(value) = values.next() else {
            return refuse(format!("the header {} is missing", self.header));
        };
        if values.next().is_some() {
            return refuse(format!("the header {} is there more than once", self.header));
        }
        let Some(token) = behind_scheme(value.as_bytes(), &self.scheme) else {
            return refuse(format!("the header {} does not begin with {:?}", self.header, self.scheme));
        };
        let tokens = self.tokens.load();
        match position(&tokens.known, token) {
            Some(at) => Ok(Arc::new(Identity {
                subject: format!("{}#{}", self.id, at + 1).into(),
                tells_senders: tokens.known.len() > 1,
                attributes: Vec::new(),
            })),
            None => refuse("the token is not known here".to_owned()),
        }
    }
}

/// What follows the scheme (RFC 9110, 11.4: in any case, then blanks).
pub fn behind_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    if scheme.is_empty() {
        return Some(value);
    }
    let (head, rest) = value.split_at_checked(scheme.len())?;
    let token = rest.trim_ascii_start();
    (head.eq_ignore_ascii_case(scheme.as_bytes()) && token.len() < rest.len()).then_some(token)
}

impl ServerAuth for Bearer {
    fn check<'a>(&'a self, headers: &'a HeaderMap) -> Checking<'a> {
        Checking::Known(self.checked.count(self.admit(headers)))
    }
}

impl ClientAuth for Bearer {
    fn headers<'a>(
        &'a self,
        _: &'a HeaderMap,
        _: Option<&'a Origin>,
        _: Instant,
    ) -> Task<'a, Result<HeaderMap, String>> {
        let headers = HeaderMap::from_iter([(self.header.clone(), self.tokens.load().sent.clone())]);
        Box::pin(std::future::ready(Ok(headers)))
    }
}

struct BearerExtension {
    settings: Settings,
    cx: BuildContext,
    checked: Arc<CheckCounts>,
    files: FileWatches,
}

impl BearerExtension {
    /// The tokens at start, with the file's text where there is one.
    async fn first(&self) -> Result<(Tokens, Option<(PathBuf, String)>), String> {
        let Settings { scheme, tokens, file, .. } = &self.settings;
        let Some(file) = file else {
            let tokens: Vec<&str> = tokens.iter().map(Secret::expose).collect();
            return Ok((Tokens::of(&tokens, scheme)?, None));
        };
        let text = read(file, "filename").await?;
        Ok((Tokens::of_file(&text, scheme)?, Some((file.clone(), text))))
    }
}

impl Component for BearerExtension {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (tokens, from_file) = self.first().await.map_err(|message| StartError {
                component: self.cx.path.clone(),
                message,
                help: Some("the file is read when podgate starts; mount the secret that holds it".to_owned()),
            })?;
            let (host, id) = (&self.cx.host, self.cx.id.to_string());
            let Settings { header, scheme, .. } = self.settings.clone();
            let challenge = if scheme.is_empty() { "Bearer" } else { &scheme };
            let challenge = HeaderValue::from_str(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
            let (tokens, checked) = (ArcSwap::from_pointee(tokens), self.checked.clone());
            let bearer = Arc::new(Bearer { header, scheme, id: id.clone(), tokens, checked, challenge });
            host.authenticators.serve(&id, bearer.clone());
            host.authenticators.send(&id, bearer.clone());
            host.status.set(&self.cx.path, State::Ok, "");
            if let Some((file, text)) = from_file {
                let renew = move |text: &str| {
                    bearer.tokens.store(Arc::new(Tokens::of_file(text, &bearer.scheme)?));
                    Ok(())
                };
                self.files.watch(file, "filename", text, renew);
            }
            Ok(())
        })
    }

    fn drain(&self, _: Instant) -> Task<'_, ()> {
        Box::pin(self.files.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case_and_must_be_there() {
        for (value, scheme, token) in [
            ("Bearer abc", "Bearer", Some("abc")),
            ("bEARER  abc", "Bearer", Some("abc")),
            ("Bearerabc", "Bearer", None),
            ("Bearer", "Bearer", None),
            ("Basic abc", "Bearer", None),
            ("", "Bearer", None),
            ("abc", "", Some("abc")),
        ] {
            assert_eq!(behind_scheme(value.as_bytes(), scheme), token.map(str::as_bytes), "{value} {scheme}");
        }
    }

    #[test]
    fn a_file_is_a_token_a_line_and_what_is_no_token_is_told_without_it() {
        let tokens = Tokens::of_file("\none\r\n  two\n\n", "Bearer").ok().unwrap();
        assert_eq!((tokens.known.len(), tokens.sent.to_str().unwrap()), (2, "Bearer one"));
        for (text, why) in [("", "no token"), ("\n \n", "no token"), ("one\nkanari two", "token 2")] {
            let told = Tokens::of_file(text, "Bearer").err().unwrap();
            assert!(told.contains(why) && !told.contains("kanari"), "{told}");
        }
    }
}
