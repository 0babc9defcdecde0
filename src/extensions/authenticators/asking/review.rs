//! TokenReview: what is asked about a service account's token, and what the API server's answer means. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::core::data::origin::Identity;
use crate::core::stage::auth::AuthFault;
use crate::otlp::json::base64;

/// Tokens of service accounts have one to two kilobytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// What a token says of itself, unproven: enough to not ask about what can be no good token.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Claims {
    audiences: Vec<String>,
    /// Seconds since 1970.
    ends: Option<u64>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    aud: OneOrMany,
    exp: Option<serde_json::Number>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// Of a token in JWT's form (RFC 7519); the error is what the sender hears.
    pub fn of(token: &[u8]) -> Result<Claims, &'static str> {
        const NONE: &str = "the token is none of a service account";
        if token.len() > TOKEN_BYTES_MAX {
            return Err(NONE);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NONE);
        };
        let mut bytes = Vec::new(); // granted: part of a head, which is bounded
        base64::decode(&mut bytes, payload).ok_or(NONE)?;
        let payload: Payload = serde_json::from_slice(&bytes).map_err(|_| NONE)?;
        let audiences = match payload.aud {
            OneOrMany::None => Vec::new(),
            OneOrMany::One(audience) => vec![audience], // granted: as above
            OneOrMany::Many(audiences) => audiences,
        };
        Ok(Claims { audiences, ends: payload.exp.and_then(|ends| ends.as_u64()) })
    }

    /// Whether it is meant for one of these.
    pub fn is_for(&self, audiences: &[String]) -> bool {
        self.audiences.iter().any(|audience| audiences.contains(audience))
    }

    /// For how long a verdict holds: until the token's end, at most `ttl`. The API server's clock decides when that is, so an end
    /// that is past here counts for a moment.
    pub fn lasts(&self, now: u64, ttl: Duration) -> Duration {
        let left = self.ends.map_or(ttl, |ends| Duration::from_secs(ends.saturating_sub(now)));
        left.max(Duration::from_secs(1)).min(ttl)
    }
}

/// The body of the question.
pub fn question(token: &str, audiences: &[String]) -> String {
    let spec = json!({ "token": token, "audiences": audiences });
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec }).to_string()
}

#[derive(Deserialize)]
struct Review {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    audiences: Vec<String>,
    error: String,
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: std::collections::BTreeMap<String, Vec<String>>,
}

/// Who of the cluster is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetIn {
    pub audiences: Vec<String>,
    /// Empty: all.
    pub namespaces: Vec<String>,
    /// `namespace/name`; empty: all.
    pub service_accounts: Vec<String>,
    /// Refuses tokens that are bound to no pod.
    pub pods_only: bool,
}

/// What the answer of a 200 or 201 means; the outer error is why that cannot be told.
pub fn verdict(body: &[u8], let_in: &LetIn) -> Result<Result<Identity, AuthFault>, String> {
    let review: Review =
        serde_json::from_slice(body).map_err(|_| "the answer of the API server is no TokenReview".to_owned())?;
    let Status { authenticated, audiences, error, user } = review.status;
    if !authenticated {
        if !error.is_empty() {
            tracing::debug!(
                cause = error.chars().take(200).collect::<String>(),
                "a token is not taken by the API server"
            );
        }
        return Ok(Err(unauthenticated("the API server does not know the token")));
    }
    // A server that does not look at audiences says none: the token may be for anybody.
    if !audiences.iter().any(|audience| let_in.audiences.contains(audience)) {
        return Ok(Err(unauthenticated("the token is for another audience")));
    }
    let account = user.username.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let Some((namespace, name)) = account.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())) else {
        return Ok(Err(AuthFault::Forbidden("the token is none of a service account".to_owned())));
    };
    let forbidden = |why: &str| Ok(Err(AuthFault::Forbidden(why.to_owned())));
    if !let_in.namespaces.is_empty() && !let_in.namespaces.contains(&namespace) {
        return forbidden("the service account's namespace is not among `namespaces`");
    }
    if !let_in.service_accounts.is_empty() && !let_in.service_accounts.contains(&format!("{namespace}/{name}")) {
        return forbidden("the service account is not among `service_accounts`");
    }
    let one = |key: &str| match user.extra.get(key).map(Vec::as_slice) {
        Some([one]) if !one.is_empty() => Some(one.clone()),
        _ => None,
    };
    let (pod, uid) = (one(POD_NAME), one(POD_UID));
    if let_in.pods_only && uid.is_none() {
        return forbidden("the token is bound to no pod");
    }
    let subject = pod.as_ref().map_or_else(|| user.username.clone(), |pod| format!("{namespace}/{pod}"));
    let mut attributes = vec![("username", user.username), ("namespace", namespace), ("service_account", name)];
    attributes.extend(pod.map(|pod| ("pod_name", pod)));
    attributes.extend(uid.map(|uid| ("pod_uid", uid)));
    Ok(Ok(Identity { subject: subject.into(), tells_senders: true, attributes }))
}

/// With the challenge of bearer tokens (RFC 6750, 3).
pub fn unauthenticated(message: &str) -> AuthFault {
    AuthFault::Unauthenticated { message: message.to_owned(), challenge: http::HeaderValue::from_static("Bearer") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Vec<u8> {
        let mut text = b"e30.".to_vec();
        base64::encode(&mut text, payload.as_bytes());
        text.extend_from_slice(b".c2ln");
        text
    }

    #[test]
    fn a_token_says_for_whom_it_is_and_until_when() {
        let ttl = Duration::from_secs(60);
        let claims = Claims::of(&token(r#"{"aud":["podgate","x"],"exp":1000}"#)).unwrap();
        assert!(claims.is_for(&["podgate".to_owned()]) && !claims.is_for(&["other".to_owned()]) && !claims.is_for(&[]));
        let seconds = [900, 970, 999, 1_000, 2_000].map(|now| claims.lasts(now, ttl).as_secs());
        assert_eq!(seconds, [60, 30, 1, 1, 1]);
        assert!(Claims::of(&token(r#"{"aud":"podgate"}"#)).unwrap().is_for(&["podgate".to_owned()]));
        assert_eq!(Claims::of(&token("{}")).unwrap().lasts(5, ttl), ttl);
        let long = [b"a".repeat(TOKEN_BYTES_MAX), b"..".to_vec()].concat();
        for wrong in [&b""[..], b"opaque", b"a.b", b"a.!!.c", b"e30.e30.e30.e30", b"e30.W10.x", &long] {
            assert!(Claims::of(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    fn answer(authenticated: bool, audiences: &str, user: &str) -> String {
        format!(
            r#"{{"kind":"TokenReview","status":{{"authenticated":{authenticated},"audiences":{audiences},"user":{user}}}}}"#
        )
    }

    const WEB: &str = r#"{"username":"system:serviceaccount:shop:web","uid":"u","extra":{"authentication.kubernetes.io/pod-name":["web-1"],
        "authentication.kubernetes.io/pod-uid":["uid-1"],"authentication.kubernetes.io/node-name":["n"]}}"#;

    fn let_in() -> LetIn {
        LetIn { audiences: vec!["podgate".to_owned()], ..LetIn::default() }
    }

    #[test]
    fn a_pods_token_tells_its_pod_and_one_without_a_pod_its_account() {
        let identity = verdict(answer(true, r#"["podgate"]"#, WEB).as_bytes(), &let_in()).unwrap().unwrap();
        let told =
            ["subject", "namespace", "service_account", "pod_name", "pod_uid"].map(|name| identity.attribute(name));
        assert_eq!(told, [Some("shop/web-1"), Some("shop"), Some("web"), Some("web-1"), Some("uid-1")]);
        let account = r#"{"username":"system:serviceaccount:shop:web"}"#;
        let body = answer(true, r#"["podgate"]"#, account);
        let identity = verdict(body.as_bytes(), &let_in()).unwrap().unwrap();
        assert_eq!(identity.attribute("subject"), Some("system:serviceaccount:shop:web"));
        assert_eq!(identity.attribute("pod_uid"), None);
        let pods_only = LetIn { pods_only: true, ..let_in() };
        assert!(matches!(verdict(body.as_bytes(), &pods_only), Ok(Err(AuthFault::Forbidden(_)))));
    }

    #[test]
    fn who_is_not_known_hears_another_word_than_who_is_not_let_in() {
        let unauthenticated = [
            answer(false, "[]", "{}"),
            answer(false, r#"["podgate"]"#, WEB),
            answer(true, r#"["other"]"#, WEB),
            answer(true, "[]", WEB),
            r#"{"status":{}}"#.to_owned(),
        ];
        for body in unauthenticated {
            let told = verdict(body.as_bytes(), &let_in());
            assert!(matches!(told, Ok(Err(AuthFault::Unauthenticated { .. }))), "{body}");
        }
        let list = |text: &str| vec![text.to_owned()];
        let others = [
            (LetIn { namespaces: list("bank"), ..let_in() }, WEB),
            (LetIn { service_accounts: list("bank/web"), ..let_in() }, WEB),
            (let_in(), r#"{"username":"admin"}"#),
            (let_in(), r#"{"username":"system:serviceaccount:shop"}"#),
        ];
        for (let_in, user) in others {
            let told = verdict(answer(true, r#"["podgate"]"#, user).as_bytes(), &let_in);
            assert!(matches!(told, Ok(Err(AuthFault::Forbidden(_)))), "{let_in:?} {user}");
        }
        for let_in in
            [LetIn { namespaces: list("shop"), ..let_in() }, LetIn { service_accounts: list("shop/web"), ..let_in() }]
        {
            assert!(verdict(answer(true, r#"["podgate"]"#, WEB).as_bytes(), &let_in).unwrap().is_ok());
        }
        for body in ["", "{}", "[]", "<html>"] {
            assert!(verdict(body.as_bytes(), &let_in()).is_err(), "{body}");
        }
    }
}
