//! Requests to the API server for one run: create, patch, delete, read, and the watch of its pods. Bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cli::accept::objects::{LABEL, Object, Stage};
use crate::cli::accept::pods::{Pods, short};
use crate::kube::client::{Answer, Api, Form, Verb};
use crate::kube::decode::{LineSplitter, Piece};

const ANSWER_WAIT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// A watch is ended by the server after this and begun anew.
const WATCH_SECONDS: u32 = 240;
/// A watch gives a bookmark about once a minute.
const QUIET_MAX: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_secs(1);
/// Without one answer about the pods for this long the run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Why a request did not do what it should.
#[derive(Debug)]
pub enum Fault {
    /// The server refused: its code and its words.
    Refused { code: u16, message: String },
    /// No answer, or none that can be read.
    Silent(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Refused { code, message } => write!(f, "{code}: {}", short(message)),
            Fault::Silent(why) => f.write_str(&short(why)),
        }
    }
}

impl Fault {
    pub fn is(&self, wanted: u16) -> bool {
        matches!(self, Fault::Refused { code, .. } if *code == wanted)
    }
}

pub struct Cluster {
    pub api: Api,
}

impl Cluster {
    pub async fn get(&self, path: &str) -> Result<Value, Fault> {
        in_time(self.api.get(path, Form::Whole)).await
    }

    pub async fn create(&self, object: &Object) -> Result<Value, Fault> {
        in_time(self.api.post(&object.collection, object.body.to_string())).await
    }

    /// A merge patch.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Value, Fault> {
        in_time(self.api.send_body(Verb::Patch, path, patch.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, Fault> {
        in_time(self.api.send_body(Verb::Delete, path, String::new())).await
    }
}

async fn in_time(asked: impl Future<Output = Result<Answer, String>>) -> Result<Value, Fault> {
    let whole = async {
        let mut answer = asked.await?;
        let body = answer.whole(ANSWER_BYTES_MAX).await?;
        Ok::<_, String>((answer.status, body))
    };
    let answered = timeout(ANSWER_WAIT, whole).await;
    let (status, body) = answered
        .unwrap_or_else(|_| Err(format!("the API server did not answer within {} s", ANSWER_WAIT.as_secs())))
        .map_err(Fault::Silent)?;
    let body: Result<Value, _> = serde_json::from_slice(&body);
    match (status, body) {
        (200..=299, Ok(body)) => Ok(body),
        (200..=299, Err(error)) => Err(Fault::Silent(format!("the API server's answer is no JSON: {error}"))),
        (code, body) => {
            let message = body.ok().and_then(|body| body["message"].as_str().map(str::to_owned));
            Err(Fault::Refused { code, message: message.unwrap_or_else(|| "no reason given".to_owned()) })
        }
    }
}

/// Follows the pods of a run. Whoever waits for something waits here, so that no event is left lying.
pub struct Eyes<'a> {
    cluster: &'a Cluster,
    list: String,
    pub pods: Pods,
    watch: Option<Answer>,
    lines: LineSplitter,
    /// What the watch goes on from: an end that is shown between two watches is not missed. `None`: from a list.
    version: Option<String>,
    heard: Instant,
}

impl<'a> Eyes<'a> {
    pub fn new(cluster: &'a Cluster, stage: &Stage) -> Eyes<'a> {
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
            return Err(format!("nothing was heard of the pods for {seconds} s: {fault}"));
        }
        sleep(AGAIN).await;
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Fault> {
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
        let answer =
            opened.unwrap_or_else(|_| Err("the watch was not opened in time".to_owned())).map_err(Fault::Silent)?;
        if answer.status != 200 {
            return Err(Fault::Refused {
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
