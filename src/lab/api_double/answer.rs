//! Requests to answers: which object, list or watch a path means, and which fault stands in between.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fault::ApiFault;
use super::{objects, stream};
use crate::lab::api_double::query::PodQuery;
use crate::lab::api_double::sandbox::Sandbox;
use crate::net::pages::page::{PageBody, PageRequest, PageResponse};

pub async fn answer(sandbox: &std::sync::Arc<Sandbox>, request: PageRequest) -> PageResponse {
    let query: Vec<String> = request.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    sandbox.noted(format!("{}?{}", request.path, query.join("&")));
    let (fault, token) = {
        let conduct = sandbox.conduct();
        (conduct.fault, conduct.token.clone())
    };
    let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some() && given.map(str::trim) != token.as_deref() {
        return failure(401, "Unauthorized", "Unauthorized");
    }
    match fault {
        Some(ApiFault::Silent) => return pending().await,
        Some(ApiFault::Status { code, retry_after }) => return refused(&request, code, retry_after),
        Some(ApiFault::NoRight { verbs }) if verbs.contains(&verb(&request)) => return refused(&request, 403, None),
        Some(ApiFault::GoneAsStatus) => {
            return failure(410, "Expired", "The resourceVersion for the provided list is too old.");
        }
        Some(ApiFault::Garbage) => {
            return PageResponse::full(200, "text/html", Bytes::from_static(b"<html>\nhello\n</html>\n"));
        }
        _ => {}
    }
    let Some(selection) = collection(&request) else { return single(sandbox, &request.path) };
    if request.query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
        return watch(sandbox, &request, selection, fault);
    }
    list(sandbox, &request, &selection, fault)
}

/// As roles spell it; empty for what is not about pods.
fn verb(request: &PageRequest) -> &'static str {
    let pods = request.path.split('/').any(|part| part == "pods");
    match (pods, collection(request), request.query.contains_key("watch")) {
        (false, ..) => "",
        (true, None, _) => "get",
        (true, Some(_), true) => "watch",
        (true, Some(_), false) => "list",
    }
}

/// The pods that a path and its selectors mean; `None` when it is not a collection of pods.
fn collection(request: &PageRequest) -> Option<PodQuery> {
    let rest = request.path.strip_prefix("/api/v1/")?;
    let namespace = match rest {
        "pods" => None,
        _ => Some(rest.strip_prefix("namespaces/")?.strip_suffix("/pods").filter(|name| !name.contains('/'))?),
    };
    let fields = request.query.get("fieldSelector").map_or("", String::as_str);
    let field = |key: &str| fields.split(',').find_map(|field| field.strip_prefix(key)).map(str::to_owned);
    let (node, name) = (field("spec.nodeName="), field("metadata.name="));
    Some(PodQuery { namespace: namespace.map(str::to_owned), node, name })
}

fn single(sandbox: &Sandbox, path: &str) -> PageResponse {
    let cluster = sandbox.cluster();
    let pod = path.strip_prefix("/api/v1/namespaces/").and_then(|rest| rest.split_once("/pods/"));
    let object = match pod {
        Some((namespace, name)) => cluster.pod(namespace, name),
        None => cluster.other(path).cloned().or_else(|| cluster.others(path)),
    };
    match object {
        Some(object) => PageResponse::json(200, &object),
        None => failure(404, "NotFound", "not found"),
    }
}

fn list(sandbox: &Sandbox, request: &PageRequest, selection: &PodQuery, fault: Option<ApiFault>) -> PageResponse {
    let cluster = sandbox.cluster();
    let number = |key: &str| request.query.get(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    if number("resourceVersion") > cluster.version() {
        return failure(504, "Timeout", "Timeout: Too large resource version");
    }
    // A page token is the version of the list and how many objects came before.
    let token = request.query.get("continue").and_then(|token| token.split_once('.'));
    let token = token.and_then(|(version, skip)| Some((version.parse::<u64>().ok()?, skip.parse::<usize>().ok()?)));
    let (version, skip) = token.unwrap_or((cluster.version(), 0));
    if token.is_some() && cluster.is_too_old(version) {
        return failure(410, "Expired", "The provided continue parameter is too old");
    }
    let limit = usize::try_from(number("limit")).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let matching = cluster.pods().filter(|(pod, _)| selection.takes(&pod.namespace, &pod.node, &pod.name));
    let mut items: Vec<Value> = matching.map(|(_, object)| object).skip(skip).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    if fault == Some(ApiFault::BadObject) {
        items.push(json!({ "metadata": { "name": "bad", "uid": 7 }, "spec": "no" }));
    }
    let rest = if more { format!("{version}.{}", skip + limit) } else { String::new() };
    let list = json!({
        "kind": "PodList", "apiVersion": "v1",
        "metadata": { "resourceVersion": version.to_string(), "continue": rest }, "items": items,
    });
    let mut text = list.to_string();
    if fault == Some(ApiFault::Truncated) {
        text.truncate(text.len() * 2 / 3);
    }
    PageResponse::full(200, "application/json", Bytes::from(text))
}

fn watch(
    sandbox: &std::sync::Arc<Sandbox>,
    request: &PageRequest,
    selection: PodQuery,
    fault: Option<ApiFault>,
) -> PageResponse {
    let wants = |key: &str| request.query.get(key).map(String::as_str);
    let initial = wants("sendInitialEvents") == Some("true");
    if initial && fault == Some(ApiFault::NoStreamingLists) {
        return failure(
            422,
            "Invalid",
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        );
    }
    if initial && wants("resourceVersionMatch") != Some("NotOlderThan") {
        return failure(422, "Invalid", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    let version = wants("resourceVersion").unwrap_or("");
    let Ok(from) = format!("0{version}").parse::<u64>() else {
        return failure(500, "", "resourceVersion: Invalid value");
    };
    let timeout =
        wants("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).map_or(1_800, |seconds: u64| seconds);
    let plan = stream::Plan {
        selection,
        from,
        initial: initial || from == 0,
        bookmarks: wants("allowWatchBookmarks") == Some("true") && fault != Some(ApiFault::NoBookmarks),
        timeout: Duration::from_secs(timeout),
        fault,
    };
    let (lines, body) = mpsc::channel(64);
    let mut streams = sandbox.streams();
    while streams.try_join_next().is_some() {}
    streams.spawn(stream::run(sandbox.clone(), plan, lines));
    PageResponse { status: 200, content_type: "application/json", headers: Vec::new(), body: PageBody::Stream(body) }
}

fn refused(request: &PageRequest, code: u16, retry_after: Option<Duration>) -> PageResponse {
    let verb = if request.query.contains_key("watch") { "watch" } else { "list" };
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized".to_owned()),
        403 => (
            "Forbidden",
            format!(
                "pods is forbidden: User \"system:serviceaccount:otel:gateway\" cannot {verb} resource \"pods\" in API group \"\" at the cluster scope"
            ),
        ),
        429 => ("TooManyRequests", "too many requests, please try again later".to_owned()),
        code => ("InternalError", format!("answer {code}")),
    };
    let mut answer = failure(code, reason, &message);
    if let Some(after) = retry_after {
        answer.headers.push(("retry-after", after.as_secs().to_string()));
    }
    answer
}

fn failure(code: u16, reason: &str, message: &str) -> PageResponse {
    PageResponse::json(code, &objects::status(code, reason, message))
}
