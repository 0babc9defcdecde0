//! `k8s_token_review`: receivers take the tokens that the kubelet projects into pods, which the API server is asked about
//! (TokenReview). A token tells which pod sends.
//!
//! ```yaml
//! k8s_token_review:
//!   audiences: [podgate]
//!   cache: {ttl: 60s, capacity: 10000}
//! ```

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use tokio::time::Instant;

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::auth::{AuthSide, Checking, ServerAuth};
use crate::core::stage::commands::access::Access;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::core::time::UnixNanos;
use crate::extensions::authenticators::asking::review::{Claims, LetIn, question, unauthenticated, verdict};
use crate::extensions::authenticators::asking::terms::{AskingTerms, shown_credential};
use crate::extensions::authenticators::asking::verdicts::{AskedVerdict, CredentialVerdicts};
use crate::kube::client::{Api, Credentials};
use crate::kube::probe::ApiServer;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "k8s_token_review",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "checks the tokens of pods by asking the API server, and knows the pod by its token",
        example: "audiences: [podgate]\ncache: {ttl: 60s, capacity: 10000}\n",
    },
    check,
};

/// A token for this audience is worth nothing elsewhere.
const AUDIENCE_DEFAULT: &str = "podgate";
const TERMS: AskingTerms = AskingTerms {
    capacity: NonZeroUsize::new(10_000).expect("10,000 is not zero"),
    // How long a deleted pod's token is still taken.
    ttl: Duration::from_secs(60),
    timeout: Duration::from_secs(5),
};
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// An answer repeats the token.
const ANSWER_BYTES_MAX: usize = 256 << 10;

#[derive(Clone, Debug)]
struct Settings {
    api: Credentials,
    let_in: LetIn,
    terms: AskingTerms,
}

struct Plan(Settings);

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let keys = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let api = api(&keys);
    let audiences = keys.strings("audiences").unwrap_or_else(|| vec![AUDIENCE_DEFAULT.to_owned()]);
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        let expected =
            "a list such as [podgate]; a token without an audience of ours could be used against the API server";
        keys.invalid::<()>("audiences", "tokens must be made for somebody", expected);
    }
    let service_accounts = keys.strings("service_accounts").unwrap_or_default();
    if let Some(odd) =
        service_accounts.iter().find(|account| account.split('/').filter(|part| !part.is_empty()).count() != 2)
    {
        keys.invalid::<()>("service_accounts", format!("{odd:?} names no service account"), "namespace/name");
    }
    let namespaces = keys.strings("namespaces").unwrap_or_default();
    let pods_only = keys.bool("pods_only").unwrap_or(false);
    let terms = AskingTerms::check(&keys, TERMS, |_| {});
    keys.finish();
    let let_in = LetIn { audiences, namespaces, service_accounts, pods_only };
    Some(Box::new(Plan(Settings { api, let_in, terms })))
}

fn api(keys: &Section<'_>) -> Credentials {
    let context = keys.string("context").filter(|context| !context.is_empty());
    let kinds = [("serviceAccount", 0), ("kubeConfig", 1), ("none", 2)];
    let kind = keys.choice("auth_type", &kinds).unwrap_or(0);
    if context.is_some() && kind != 1 {
        keys.warn("context", code::LINT, "`context` is read with `auth_type: kubeConfig` only", None);
    }
    match (keys.string("api_server").filter(|url| !url.is_empty()), kind) {
        (Some(url), _) => Credentials::Url(url),
        (None, 1) => Credentials::KubeConfig { context, file: None },
        (None, 2) => Credentials::None,
        (None, _) => Credentials::ServiceAccount,
    }
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        Arc::new(ReviewExtension { settings: self.0.clone(), cx })
    }

    fn authenticates(&self) -> &[AuthSide] {
        &[AuthSide::Server]
    }

    fn access(&self) -> Vec<Access> {
        let reason = "k8s_token_review: the tokens that senders show".to_owned();
        let (group, resource) = ("authentication.k8s.io", "tokenreviews");
        vec![Access { group, resource, verbs: &["create"], namespaces: Vec::new(), reason }]
    }

    fn probe(&self) -> Option<Box<dyn Probe>> {
        Some(Box::new(ApiServer::new(self.0.api.clone(), self.access())))
    }
}

/// Checks tokens by asking.
struct Reviews {
    settings: Settings,
    api: Api,
    verdicts: CredentialVerdicts,
}

fn shown(headers: &HeaderMap) -> Result<&str, String> {
    let (_, token) = shown_credential(headers, "Bearer")?;
    std::str::from_utf8(token).map_err(|_| "the token is none of a service account".to_owned())
}

impl Reviews {
    async fn ask(&self, token: &str, claims: Claims) -> Result<AskedVerdict, String> {
        let mut answer = self.api.post(REVIEWS, question(token, &self.settings.let_in.audiences)).await?;
        match answer.status {
            200 | 201 => {}
            401 => {
                // The token of podgate's own is read again.
                self.api.renew();
                return Err("the API server does not know podgate's own credentials (401)".to_owned());
            }
            403 => {
                let rule = "{apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}";
                return Err(format!(
                    "no right to create tokenreviews (403); add to the rules of podgate's role: {rule}"
                ));
            }
            other => return Err(format!("the API server answers {other}")),
        }
        let body = answer.whole(ANSWER_BYTES_MAX).await?;
        let verdict = verdict(&body, &self.settings.let_in)?.map(Arc::new);
        let now = UnixNanos::now().0 / 1_000_000_000;
        Ok(AskedVerdict { verdict, lasts: claims.lasts(now, self.settings.terms.ttl) })
    }
}

impl ServerAuth for Reviews {
    fn check<'a>(&'a self, headers: &'a HeaderMap) -> Checking<'a> {
        let refuse = |why: &str| self.verdicts.known(Err(unauthenticated(why)));
        let token = match shown(headers) {
            Ok(token) => token,
            Err(why) => return refuse(&why),
        };
        // Whom the token is not for is not asked, so that the API server hears nothing of most strangers.
        let claims = match Claims::of(token.as_bytes()) {
            Ok(claims) if claims.is_for(&self.settings.let_in.audiences) => claims,
            Ok(_) => return refuse("the token is for another audience"),
            Err(why) => return refuse(why),
        };
        let mark = self.verdicts.mark(std::iter::once(token.as_bytes()));
        self.verdicts.check(mark, move || self.ask(token, claims))
    }
}

struct ReviewExtension {
    settings: Settings,
    cx: BuildContext,
}

impl Component for ReviewExtension {
    /// Asks nobody: an API server that is away must not keep the gateway from starting.
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (host, id) = (&self.cx.host, self.cx.id.to_string());
            let verdicts = CredentialVerdicts::of(self.settings.terms, &self.cx)?;
            let api = Api::within(&host.outside, self.settings.api.clone());
            host.authenticators.serve(&id, Arc::new(Reviews { settings: self.settings.clone(), api, verdicts }));
            host.status.set(&self.cx.path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, _: Instant) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
