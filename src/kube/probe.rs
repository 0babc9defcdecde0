//! What `doctor` asks the API server: whether it answers, whether the rights are there, and whether the clocks agree.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::core::stage::commands::access::Access;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::core::time::UnixNanos;
use crate::kube::client::{Api, ApiAnswer, Credentials};

const WAIT: Duration = Duration::from_secs(10);
const REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Runs are told apart by times of two clocks; statuses have whole seconds.
const CLOCKS_AGREE_SECONDS: i64 = 2;

/// The questions to one API server.
pub struct ApiServer {
    api: Api,
    access: Vec<Access>,
}

impl ApiServer {
    /// Opens nothing yet.
    pub fn new(auth: Credentials, access: Vec<Access>) -> ApiServer {
        ApiServer { api: Api::new(auth), access }
    }

    async fn run(&self) -> ProbeReport {
        let mut findings = Vec::new();
        let mut clock = None;
        for (access, namespace, verb) in questions(&self.access) {
            match self.review(access, namespace, verb).await {
                Ok((answer, date)) => {
                    clock = clock.or(date.map(|date| of_clock(date, UnixNanos::now())));
                    findings.push(of_review(access, namespace, verb, &answer));
                }
                Err(why) => {
                    findings.push(unreachable(&why));
                    break;
                }
            }
        }
        findings.extend(clock);
        ProbeReport { findings, remedies: Vec::new() }
    }

    async fn review(&self, access: &Access, namespace: &str, verb: &str) -> Result<(Value, Option<i64>), String> {
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": access.group, "resource": access.resource,
            }},
        });
        let asked = async {
            let mut answer: ApiAnswer = self.api.post(REVIEW, question.to_string()).await?;
            let (status, date) = (answer.status, answer.date);
            let body = answer.whole(ANSWER_BYTES_MAX).await?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            match status {
                200 | 201 => Ok((body, date)),
                status => Err(format!("it answers {status}: {}", body["message"].as_str().unwrap_or("no reason"))),
            }
        };
        timeout(WAIT, asked).await.unwrap_or_else(|_| Err(format!("no answer within {} s", WAIT.as_secs())))
    }
}

/// One for each verb and namespace; the empty namespace is all of them.
fn questions(access: &[Access]) -> Vec<(&Access, &str, &'static str)> {
    let mut all = Vec::new();
    for one in access {
        let everywhere = [String::new()];
        let namespaces: Vec<&str> = match one.namespaces.is_empty() {
            true => everywhere.iter().map(|_| "").collect(),
            false => one.namespaces.iter().map(String::as_str).collect(),
        };
        for namespace in namespaces {
            all.extend(one.verbs.iter().map(|verb| (one, namespace, *verb)));
        }
    }
    all
}

fn unreachable(why: &str) -> Finding {
    Finding::new(ProbeHealth::Bad, "api server", format!("cannot be asked: {why}")).with_help(
        "without it pods, endpoints and tokens are unknown; is this run where podgate runs, with its service account \
         (auth_type), and does the network allow it?",
    )
}

fn of_review(access: &Access, namespace: &str, verb: &str, answer: &Value) -> Finding {
    let place = if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace}") };
    let what = format!("{verb} {}{place}", access.resource);
    if answer["status"]["allowed"] == true {
        return Finding::new(ProbeHealth::Good, "right", format!("may {what}"));
    }
    let why = answer["status"]["reason"].as_str().filter(|reason| !reason.is_empty());
    let why = why.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Finding::new(ProbeHealth::Bad, "right", format!("may not {what}, which is needed for {}{why}", access.reason))
        .with_help("podgate rbac --config ... prints the role and its binding")
}

/// `date` is the server's, in whole seconds.
fn of_clock(date: i64, now: UnixNanos) -> Finding {
    let own = i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX);
    let ahead = own.saturating_sub(date);
    if ahead.abs() <= CLOCKS_AGREE_SECONDS {
        return Finding::new(ProbeHealth::Good, "clock", "agrees with the API server's to two seconds");
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let message = format!("{} s {side} the API server's", ahead.abs());
    Finding::new(ProbeHealth::Doubtful, "clock", message)
        .with_help("runs of a container are told apart by times: let NTP keep this node and the control plane together")
}

impl Probe for ApiServer {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(self.run())
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("rights are granted with podgate rbac and kubectl".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(namespaces: &[&str]) -> Access {
        Access {
            group: "",
            resource: "pods",
            verbs: &["get", "list", "watch"],
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            reason: "the pods".to_owned(),
        }
    }

    #[test]
    fn every_verb_is_asked_for_in_every_namespace() {
        assert_eq!(questions(&[access(&[])]).len(), 3);
        let asked = [access(&["shop", "web"])];
        let questions = questions(&asked);
        assert_eq!(questions.len(), 6);
        assert!(questions.iter().any(|(_, namespace, verb)| (*namespace, *verb) == ("web", "watch")));
    }

    #[test]
    fn a_right_that_is_missing_is_bad_and_names_what_needs_it() {
        let allowed = json!({"status": {"allowed": true}});
        assert_eq!(of_review(&access(&[]), "", "list", &allowed).health, ProbeHealth::Good);
        let denied = json!({"status": {"allowed": false, "reason": "no RBAC policy matched"}});
        let finding = of_review(&access(&[]), "shop", "watch", &denied);
        assert_eq!(finding.health, ProbeHealth::Bad);
        assert_eq!(
            finding.message,
            "may not watch pods in namespace shop, which is needed for the pods (no RBAC policy matched)"
        );
        assert!(finding.help.is_some_and(|help| help.contains("podgate rbac")));
        assert_eq!(of_review(&access(&[]), "", "list", &Value::Null).health, ProbeHealth::Bad, "no answer is no right");
    }

    #[test]
    fn clocks_that_differ_are_told_with_their_side() {
        let now = UnixNanos::from_secs(1_000);
        assert_eq!(of_clock(998, now).health, ProbeHealth::Good);
        for (date, words) in [(990, "10 s ahead of"), (1_060, "60 s behind")] {
            let finding = of_clock(date, now);
            assert!(finding.health == ProbeHealth::Doubtful && finding.message.contains(words), "{finding:?}");
        }
    }
}
