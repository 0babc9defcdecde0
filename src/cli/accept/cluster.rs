//! Requests to the API server for one run: create, patch, delete, read, and the watch of its pods. Bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cli::accept::objects::{LABEL, ObjectParts, PlannedObject};
use crate::cli::accept::pods::{Pods, short};
use crate::kube::client::{Api, ApiAnswer, Form, WriteVerb};
use crate::kube::decode::{LineSplitter, Piece};

const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// A list of the pods of the largest clusters, with a podgate on each of 5,000 nodes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A watch is ended by the server after this and begun anew.
const WATCH_SECONDS: u32 = 240;
/// A watch gives a bookmark about once a minute.
const QUIET_MAX: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_secs(1);
/// Without one answer about the pods for this long the run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Why a request did not do what it should.
#[derive(Debug)]
pub enum ApiRefusal {
    /// The server refused: its code and its words.
    Refused { code: u16, message: String },
    /// No answer, or none that can be read.
    Silent(String),
}

impl std::fmt::Display for ApiRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ApiRefusal::Refused { code, message } => write!(f, "{code}: {}", short(message)),
            ApiRefusal::Silent(why) => f.write_str(&short(why)),
        }
    }
}

impl ApiRefusal {
    pub fn is(&self, wanted: u16) -> bool {
        matches!(self, ApiRefusal::Refused { code, .. } if *code == wanted)
    }
}

pub struct AcceptCluster {
    pub api: Api,
}

impl AcceptCluster {
    pub async fn get(&self, path: &str) -> Result<Value, ApiRefusal> {
        in_time(self.api.get(path, Form::Whole)).await
    }

    pub async fn create(&self, object: &PlannedObject) -> Result<Value, ApiRefusal> {
        in_time(self.api.post(&object.collection, object.body.to_string())).await
    }

    /// A merge patch.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Value, ApiRefusal> {
        in_time(self.api.send_body(WriteVerb::Patch, path, patch.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, ApiRefusal> {
        in_time(self.api.send_body(WriteVerb::Delete, path, String::new())).await
    }
}

async fn in_time(asked: impl Future<Output = Result<ApiAnswer, String>>) -> Result<Value, ApiRefusal> {
    let whole = async {
        let mut answer = asked.await?;
        let body = answer.whole(ANSWER_BYTES_MAX).await?;
        Ok::<_, String>((answer.status, body))
    };
    let answered = timeout(ANSWER_WAIT, whole).await;
    let (status, body) = answered
        .unwrap_or_else(|_| Err(format!("the API server did not answer within {} s", ANSWER_WAIT.as_secs())))
        .map_err(ApiRefusal::Silent)?;
    let body: Result<Value, _> = serde_json::from_slice(&body);
    match (status, body) {
        (200..=299, Ok(body)) => Ok(body),
        (200..=299, Err(error)) => Err(ApiRefusal::Silent(format!("the API server's answer is not JSON: {error}"))),
        (code, body) => {
            let message = body.ok().and_then(|body| body["message"].as_str().map(str::to_owned));
            Err(ApiRefusal::Refused { code, message: message.unwrap_or_else(|| "no reason given".to_owned()) })
        }
    }
}

/// Follows the pods of a run. Whoever waits for something waits here, so that no event is left lying.
pub struct Eyes<'a> {
    cluster: &'a AcceptCluster,
    list: String,
    pub pods: Pods,
    watch: Option<ApiAnswer>,
    lines: LineSplitter,
    /// What the watch goes on from: an end that is shown between two watches is not missed. `None`: from a list.
    version: Option<String>,
    heard: Instant,
}

impl<'a> Eyes<'a> {
    pub fn new(cluster: &'a AcceptCluster, stage: &ObjectParts) -> Eyes<'a> {
        let list = format!("{}?labelSelector={LABEL}%3D{}", stage.pods_path(), stage.namespace);
        let (pods, lines) = (Pods::default(), LineSplitter::default());
        Eyes { cluster, list, pods, watch: None, lines, version: None, heard: Instant::now() }
    }

    /// Looks until `done` says so of the pods, or until the moment has come: then `false`. The error is about the API server.
    pub async fn until(&mut self, moment: Instant, mut done: impl FnMut(&Pods) -> bool) -> Result<bool, String> {
        loop {
            if done(&self.pods) {
                return Ok(true);
            }
            tokio::select! {
                () = sleep_until(moment) => return Ok(false),
                looked = self.look() => looked?,
            }
        }
    }

    /// The next piece of the watch, or a new one where there is none. May be dropped at any await.
    async fn look(&mut self) -> Result<(), String> {
        let Some(watch) = &mut self.watch else { return self.begin().await };
        match timeout(QUIET_MAX, watch.chunk()).await {
            Ok(Some(Ok(bytes))) => self.hear(&bytes),
            // Ended, cut, or as quiet as only a dead connection is.
            Ok(Some(Err(_)) | None) | Err(_) => self.watch = None,
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), String> {
        let Err(fault) = self.open().await else { return Ok(()) };
        // Whatever it was: the next one begins with a list.
        self.version = None;
        if self.heard.elapsed() > SILENCE_MAX {
            let seconds = SILENCE_MAX.as_secs();
            return Err(format!("no event about the pods arrived for {seconds} s: {fault}"));
        }
        sleep(AGAIN).await;
        Ok(())
    }

    async fn open(&mut self) -> Result<(), ApiRefusal> {
        let version = match &self.version {
            Some(version) => version.clone(),
            None => {
                let list = self.cluster.get(&self.list).await?;
                self.pods.listed(list["items"].as_array().map(Vec::as_slice).unwrap_or_default());
                list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned()
            }
        };
        let options = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}");
        let path = format!("{}&{options}&resourceVersion={version}", self.list);
        let opened = timeout(ANSWER_WAIT, self.cluster.api.get(&path, Form::Whole)).await;
        let answer = opened
            .unwrap_or_else(|_| Err("the watch was not opened in time".to_owned()))
            .map_err(ApiRefusal::Silent)?;
        if answer.status != 200 {
            return Err(ApiRefusal::Refused {
                code: answer.status,
                message: "the watch of the pods was refused".to_owned(),
            });
        }
        self.heard = Instant::now();
        (self.watch, self.lines, self.version) = (Some(answer), LineSplitter::default(), Some(version));
        Ok(())
    }

    fn hear(&mut self, bytes: &Bytes) {
        self.heard = Instant::now();
        let (pods, version, mut ended) = (&mut self.pods, &mut self.version, false);
        self.lines.push(bytes, &mut |piece| {
            let Piece::Object(line) = piece else { return };
            let event: Value = serde_json::from_slice(line).unwrap_or_default();
            let object = &event["object"];
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => pods.see(object, false),
                Some("DELETED") => pods.see(object, true),
                Some("BOOKMARK") => {}
                // A version that is too old, or something that is no event: everything is read anew.
                _ => return ended = true,
            }
            if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
                *version = Some(seen.to_owned());
            }
        });
        if ended {
            (self.watch, self.version) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::cli::accept::note::Note;
    use crate::cli::accept::pods::PART;
    use crate::kube::client::Credentials;
    use crate::net::pages::page;
    use crate::net::pages::page::{PageFn, PageResponse};

    fn pod(name: &str, version: &str, status: Value) -> Value {
        let labels = json!({PART: "rolling"});
        json!({"metadata": {"name": name, "uid": name, "resourceVersion": version, "labels": labels}, "status": status})
    }

    /// The run with this nonce has ended as this container.
    fn ended(nonce: u64, id: &str) -> Value {
        let end = json!({"containerID": format!("containerd://{id}"), "message": Note::new(nonce, None).text(), "exitCode": 1});
        json!({"containerStatuses": [{"containerID": format!("containerd://{id}"), "state": {"terminated": end}}]})
    }

    fn event(kind: &str, object: Value) -> String {
        format!("{}\n", json!({"type": kind, "object": object}))
    }

    /// An API server that answers each request with the next of these bodies, and notes what was asked.
    async fn scripted(bodies: Vec<String>) -> (AcceptCluster, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (notes, bodies) = (asked.clone(), Mutex::new(bodies.into_iter()));
        let pages: PageFn = Arc::new(move |request| {
            let version = request.query.get("resourceVersion").map_or("list", String::as_str);
            notes.lock().unwrap().push(version.to_owned());
            let body = bodies.lock().unwrap().next();
            let status = if body.is_some() { 200 } else { 503 };
            Box::pin(std::future::ready(PageResponse::text(status, body.unwrap_or_default())))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            page::serve(listener, pages, stopped).await;
        });
        (AcceptCluster { api: Api::new(Credentials::Url(url)) }, asked, server)
    }

    fn stage() -> ObjectParts {
        let text = |text: &str| text.to_owned();
        let crash_after = Duration::from_secs(9);
        ObjectParts { namespace: text("x"), run: text("r"), image: text("podgate:1"), crash_after }
    }

    #[tokio::test]
    async fn a_watch_that_ended_goes_on_where_it_was_and_one_that_is_too_old_begins_with_a_list() {
        let list =
            |version: &str, pods: Value| json!({"metadata": {"resourceVersion": version}, "items": pods}).to_string();
        let (cluster, asked, _server) = scripted(vec![
            list("5", json!([pod("a", "4", json!({})), pod("b", "5", json!({}))])),
            event("MODIFIED", pod("a", "7", ended(1, "id-1"))),
            event("DELETED", pod("a", "9", ended(2, "id-2")))
                + &event("BOOKMARK", json!({"metadata": {"resourceVersion": "11"}})),
            event("ERROR", json!({"kind": "Status", "code": 410})),
            list("20", json!([pod("c", "20", json!({}))])),
            event("MODIFIED", pod("c", "21", ended(3, "id-3"))),
        ])
        .await;
        let (stage, limit) = (stage(), Instant::now() + Duration::from_secs(30));
        let mut eyes = Eyes::new(&cluster, &stage);
        assert_eq!(eyes.until(limit, |pods| pods.truths.len() == 3).await, Ok(true));
        assert_eq!(asked.lock().unwrap()[..6], ["list", "5", "7", "11", "list", "20"]);
        let ids: Vec<_> = eyes.pods.truths.values().filter_map(|truth| truth.id.as_deref()).collect();
        assert_eq!((ids, eyes.pods.senders().len()), (vec!["id-1", "id-2", "id-3"], 1), "b was not in the second list");
    }

    #[tokio::test]
    async fn a_moment_that_comes_ends_a_wait_and_a_refusal_is_told_in_the_servers_words() {
        let (cluster, _asked, _server) =
            scripted(vec![json!({"metadata": {"resourceVersion": "1"}}).to_string()]).await;
        let stage = stage();
        let mut eyes = Eyes::new(&cluster, &stage);
        assert_eq!(eyes.until(Instant::now() + Duration::from_millis(200), |_| false).await, Ok(false));
        let fault = cluster.delete("/api/v1/namespaces/x").await.expect_err("the script is over");
        assert!(fault.is(503) && fault.to_string() == "503: no reason given", "{fault}");
    }
}
