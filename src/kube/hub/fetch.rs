//! Single GETs: refreshed pods, owners, namespaces and nodes. Few at a time, at a bounded rate, each on its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use super::contact::Answered;
use super::feed::Update;
use super::paths::encode;
use crate::core::tasks::Pulse;
use crate::kube::client::{Api, Form};
use crate::kube::decode::{ApiStatus, Decoder, Keep, Related, api_status};
use crate::kube::owners::{Found, Shelf, Want, plural};
use crate::kube::watch::{Cause, Verb};

/// One GET, from request to its last byte.
pub const WAIT: Duration = Duration::from_secs(10);
const AT_ONCE_MAX: usize = 4;
const OBJECT_BYTES_MAX: usize = 8 << 20;
/// Five a second with bursts of ten, as the Collector's own client is bounded.
const REFILL: Duration = Duration::from_millis(200);
const BURST: u32 = 10;
/// A read that failed is repeated, by one task at a time, until the server answers: first after this, later less often.
const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_MAX: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Fetcher {
    api: Arc<Api>,
    keep: Keep,
    shared: Arc<Shared>,
    updates: mpsc::Sender<Update>,
}

/// Permits that come back with time.
struct Bucket {
    tokens: u32,
    refilled: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let periods = now.duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if self.tokens.saturating_add(periods) >= BURST {
            (self.tokens, self.refilled) = (BURST, now);
        } else {
            self.tokens += periods;
            self.refilled += REFILL * periods;
        }
    }
}

impl Fetcher {
    pub fn new(api: Arc<Api>, keep: Keep, shared: Arc<Shared>, updates: mpsc::Sender<Update>) -> Fetcher {
        Fetcher { api, keep, shared, updates }
    }

    pub async fn run(self, mut wants: mpsc::Receiver<Want>, mut stop: watch::Receiver<bool>, pulse: Arc<Pulse>) {
        let mut under_way = JoinSet::new();
        let mut bucket = Bucket { tokens: BURST, refilled: Instant::now() };
        loop {
            let now = Instant::now();
            bucket.refill(now);
            pulse.beat();
            let open = under_way.len() < AT_ONCE_MAX && bucket.tokens > 0;
            let wake = if bucket.tokens == 0 { bucket.refilled + REFILL } else { now + Pulse::INTERVAL / 2 };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                want = wants.recv(), if open => {
                    let Some(want) = want else { return };
                    bucket.tokens -= 1;
                    let fetcher = self.clone();
                    under_way.spawn(async move { fetcher.fetch(want).await });
                }
                Some(_ended) = under_way.join_next() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn fetch(self, want: Want) {
        match &want {
            Want::Pod { uid, namespace, name } => self.pod(uid, namespace, name).await,
            Want::Owner { owner, namespace } => {
                let found = self.related(&owner_path(&owner.api_version, &owner.kind, &owner.name, namespace)).await;
                let found = match found {
                    Found::Object(object) if object.uid != owner.uid => Found::Absent,
                    found => found,
                };
                self.settle(&self.shared.shelves.owners, &owner.uid, found);
            }
            Want::Namespace(name) => {
                let found = self.related(&format!("/api/v1/namespaces/{}", encode(name))).await;
                self.settle(&self.shared.shelves.namespaces, name, found);
            }
            Want::Node(name) => {
                let found = self.related(&format!("/api/v1/nodes/{}", encode(name))).await;
                self.settle(&self.shared.shelves.nodes, name, found);
            }
        }
    }

    fn settle(&self, shelf: &Shelf, key: &str, found: Found) {
        shelf.settle(key, found, Instant::now());
        self.shared.bump();
    }

    async fn pod(&self, uid: &Arc<str>, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{}/pods/{}", encode(namespace), encode(name));
        let (mut pause, mut probes) = (PROBE_FIRST, false);
        loop {
            probes |= self.read_pod(uid, &path).await;
            if !probes || !self.still_doubted() {
                break;
            }
            sleep(pause + pause.mul_f64(fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PROBE_MAX);
            if !self.still_doubted() {
                break;
            }
        }
        let mut refreshes = self.shared.refreshes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        refreshes.insert(uid.clone(), Instant::now());
    }

    fn still_doubted(&self) -> bool {
        let alive = self.shared.alive();
        self.shared.contact().still_doubted(alive)
    }

    /// Reads one pod; true when it failed and is to be read again.
    async fn read_pod(&self, uid: &Arc<str>, path: &str) -> bool {
        let asked = Instant::now();
        self.shared.contact().asked(asked);
        let answer = self.get(path, Form::Whole).await;
        let how = match &answer {
            Ok(_) => Answered::ByStore,
            Err(status) if status.code == 404 => Answered::ByStore,
            Err(status) if (400..500).contains(&status.code) => Answered::ByServer,
            Err(_) => Answered::Failed,
        };
        let probes = self.shared.contact().answered(asked, how, Instant::now());
        let update = match answer {
            Ok(body) => match Decoder::new(self.keep.clone()).pod(&body) {
                Ok(seen) if seen.pod.uid == *uid => Some(Update::Fetched(seen)),
                Ok(successor) => {
                    let _ = self.updates.send(Update::Absent(uid.clone())).await;
                    Some(Update::Fetched(successor))
                }
                Err(_) => {
                    self.shared.tell.undecodable(1);
                    None
                }
            },
            Err(status) if status.code == 404 && status.reason == "NotFound" => Some(Update::Absent(uid.clone())),
            Err(_) => None,
        };
        if let Some(update) = update {
            // Without a feed there is nobody left to tell.
            let _ = self.updates.send(update).await;
        }
        probes
    }

    async fn related(&self, path: &str) -> Found {
        match self.get(path, Form::MetadataOnly).await {
            Ok(body) => match Decoder::new(self.keep.clone()).related(&body) {
                Ok(object) => Found::Object(Arc::<Related>::new(object)),
                Err(_) => {
                    self.shared.tell.undecodable(1);
                    Found::Failed
                }
            },
            Err(status) if status.code == 404 => Found::Absent,
            Err(status) if status.code == 403 => {
                tracing::debug!(path, message = %status.message, "no right to get an object");
                Found::Forbidden
            }
            Err(_) => Found::Failed,
        }
    }

    /// The body of a 200; anything else as a status, with code 0 when there was no answer.
    async fn get(&self, path: &str, form: Form) -> Result<Vec<u8>, ApiStatus> {
        let asked = async {
            let mut answer = self.api.get(path, form).await?;
            if answer.status != 200 {
                return Ok(Err(api_status(&answer.error_body().await, answer.status)));
            }
            answer.whole(OBJECT_BYTES_MAX).await.map(Ok)
        };
        let silent = || Err("no answer".to_owned());
        let answered: Result<Result<Vec<u8>, ApiStatus>, String> =
            timeout(WAIT, asked).await.unwrap_or_else(|_| silent());
        let outcome = match &answered {
            Ok(Ok(_)) => "ok",
            Ok(Err(status)) => Cause::of(status, Verb::Get).label(),
            Err(_) => "unreachable",
        };
        self.shared.tell.requested(Verb::Get, outcome);
        match answered {
            Ok(Err(status)) if status.code == 401 => {
                self.api.renew();
                Err(status)
            }
            Ok(answer) => answer,
            Err(message) => Err(ApiStatus { message, ..ApiStatus::default() }),
        }
    }
}

/// `apps/v1` ReplicaSet `web-1` in `shop` -> `/apis/apps/v1/namespaces/shop/replicasets/web-1`.
fn owner_path(api_version: &str, kind: &str, name: &str, namespace: &str) -> String {
    let group: Vec<String> = api_version.split('/').map(encode).collect();
    let root = if group.len() == 1 { "/api" } else { "/apis" };
    let (namespace, resource, name) = (encode(namespace), encode(&plural(kind)), encode(name));
    // The one cluster-wide owner of pods: mirror pods belong to their node.
    if kind == "Node" {
        return format!("{root}/{}/{resource}/{name}", group.join("/"));
    }
    format!("{root}/{}/namespaces/{namespace}/{resource}/{name}", group.join("/"))
}
