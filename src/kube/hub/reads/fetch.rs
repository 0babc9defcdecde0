//! Single GETs: refreshed pods, owners, namespaces and nodes. Few at a time; what was known before at a bounded rate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::core::lock::Locked;
use crate::core::stage::tasks::Pulse;
use crate::kube::client::{Api, Form};
use crate::kube::decode::{ApiStatus, Decoder, Keep, Related, api_status};
use crate::kube::hub::feed::Update;
use crate::kube::hub::reachability::Answered;
use crate::kube::hub::reads::fetcher::{Fetcher, OBJECT_BYTES_MAX, WAIT};
use crate::kube::hub::reads::related;
use crate::kube::hub::reads::related::{Job, WantQueue};
use crate::kube::hub::reads::rights::Right;
use crate::kube::hub::reads::single::{PodReading, RIGHT_AGAIN_FIRST, RIGHT_AGAIN_MAX};
use crate::kube::hub::shared::{HubShared, WantQueues};
use crate::kube::owners::{FetchResult, WantedObject};
use crate::kube::watch::{Verb, WatchCause};

const AT_ONCE_MAX: usize = 8;
/// Objects that were never asked for are read without waiting for their turn by the clock, FIRSTS_AT_ONCE at a time.
const FIRSTS_AT_ONCE: usize = 8;
const FIRSTS_MAX: usize = 8_192;

/// Twenty a second, in bursts of fifty: a proof is of one pod, and after a start every process of a node is seen for the
/// first time.
const REFILL: Duration = Duration::from_millis(50);
const BURST: u32 = 50;
/// A read that failed is repeated, by one task at a time, until the server answers: first after this, later less often.
const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_MAX: Duration = Duration::from_secs(10);
/// When nothing was heard for this long a pod is read, though nobody asked: an outage in which nobody asks would not be
/// noticed, and the first answer after it would be believed while kubelets still have to write what they could not. One
/// that lasts for three seconds longer than this is noticed always.
const HEARTBEAT: Duration = Duration::from_secs(5);

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
    pub fn new(api: Arc<Api>, keep: Keep, shared: Arc<HubShared>, updates: mpsc::Sender<Update>) -> Fetcher {
        Fetcher { api, keep, shared, updates }
    }

    pub async fn run(self, wanted: WantQueues, mut stop: watch::Receiver<bool>, pulse: Arc<Pulse>) {
        let WantQueues { mut first, mut again } = wanted;
        let (mut under_way, mut firsts) = (JoinSet::new(), JoinSet::new());
        pulse.waits_for("objects to ask the API server for");
        let mut bucket = Bucket { tokens: BURST, refilled: Instant::now() };
        let mut queue = WantQueue::default();
        let mut more = Vec::new();
        under_way.spawn(self.clone().find_out_rights());
        under_way.spawn(self.clone().keep_in_touch());
        loop {
            let now = Instant::now();
            bucket.refill(now);
            pulse.beat();
            while firsts.len() < FIRSTS_AT_ONCE
                && let Some(job) = queue.take()
            {
                let fetcher = self.clone();
                firsts.spawn(async move { fetcher.carry_out(job).await });
            }
            // Two more for the tasks that find out about rights and outages.
            let open = under_way.len() < AT_ONCE_MAX + 2 && bucket.tokens > 0;
            let wake = if bucket.tokens == 0 { bucket.refilled + REFILL } else { now + Pulse::INTERVAL / 2 };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                want = again.recv(), if open => {
                    let Some(want) = want else { return };
                    bucket.tokens -= 1;
                    let fetcher = self.clone();
                    under_way.spawn(async move { fetcher.fetch(want).await });
                }
                count = first.recv_many(&mut more, FIRSTS_MAX), if queue.waiting() < FIRSTS_MAX => {
                    if count == 0 {
                        return;
                    }
                    more.drain(..).for_each(|want| queue.push(want));
                }
                Some(_ended) = under_way.join_next() => {}
                Some(_ended) = firsts.join_next() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn carry_out(self, job: Job) {
        match job {
            Job::One(want) => self.fetch(want).await,
            Job::List { path, wants } => {
                // Without the right to list, or with too much to read, each is read by itself.
                for want in self.list(&path, wants).await {
                    self.clone().fetch(want).await;
                }
            }
        }
    }

    /// One read of some pod after the first list: whether single pods may be read is better known before it matters. What
    /// is denied is asked again, because rights change by hand, and because a server that has just started knows nobody's.
    async fn find_out_rights(self) {
        let mut synced = self.shared.synced.subscribe();
        if synced.wait_for(|synced| *synced).await.is_err() {
            return;
        }
        let mut changed = self.shared.generation.subscribe();
        let mut pause = RIGHT_AGAIN_FIRST;
        loop {
            let some_pod = self.shared.published.load().pods().find(|entry| entry.removed_at.is_none()).cloned();
            let Some(entry) = some_pod else {
                if changed.changed().await.is_err() {
                    return;
                }
                continue;
            };
            self.shared.ways.forget();
            let pod = &entry.pod;
            self.pod(&pod.uid, &pod.namespace, &pod.name).await;
            if !self.is_restricted() {
                self.shared.denied.notified().await;
                pause = RIGHT_AGAIN_FIRST;
            }
            sleep(pause).await;
            pause = (pause * 2).min(RIGHT_AGAIN_MAX);
        }
    }

    /// Reads some pod whenever nothing was heard of the store for long. By the detour of a list it would cost the server
    /// too much.
    async fn keep_in_touch(self) {
        let mut synced = self.shared.synced.subscribe();
        if synced.wait_for(|synced| *synced).await.is_err() {
            return;
        }
        loop {
            let heard = self.shared.told().max(self.shared.contact().answered_since());
            let due = heard.map_or_else(Instant::now, |heard| heard + HEARTBEAT);
            if due > Instant::now() {
                sleep_until(due).await;
                continue;
            }
            let some_pod = self.shared.published.load().pods().find(|entry| entry.removed_at.is_none()).cloned();
            if let Some(entry) = some_pod.filter(|_| !self.is_restricted()) {
                let pod = &entry.pod;
                self.pod(&pod.uid, &pod.namespace, &pod.name).await;
            }
            // Nodes that were started together do not ask together for ever.
            sleep(HEARTBEAT + HEARTBEAT.mul_f64(fastrand::f64() / 10.0)).await;
        }
    }

    /// Single pods are read by a detour, or not at all.
    fn is_restricted(&self) -> bool {
        self.shared.ways.is_detour() || self.shared.contact().is_mute()
    }

    async fn fetch(self, want: WantedObject) {
        if let WantedObject::Pod { uid, namespace, name } = &want {
            self.pod(uid, namespace, name).await;
            return;
        }
        let (path, right) = (related::path(&want), related::right(&want));
        let found = self.related(&path, &right).await;
        self.settle(&want, found);
    }

    /// Puts what was found where it is looked for. An owner of the same name but another uid is not it.
    pub fn settle(&self, want: &WantedObject, found: FetchResult) {
        let shelves = &self.shared.shelves;
        let (shelf, key) = match want {
            WantedObject::Pod { .. } => return,
            WantedObject::Owner { owner, .. } => (&shelves.owners, &*owner.uid),
            WantedObject::Namespace(name) => (&shelves.namespaces, &**name),
            WantedObject::Node(name) => (&shelves.nodes, &**name),
        };
        let found = match (want, found) {
            (WantedObject::Owner { owner, .. }, FetchResult::Object(object)) if object.uid != owner.uid => {
                FetchResult::Absent
            }
            (_, found) => found,
        };
        shelf.settle(key, found, Instant::now());
        self.shared.bump();
    }

    async fn pod(&self, uid: &Arc<str>, namespace: &str, name: &str) {
        let (mut pause, mut probes) = (PROBE_FIRST, false);
        loop {
            probes |= self.read_pod(uid, namespace, name).await;
            if !probes || !self.still_doubted() {
                break;
            }
            sleep(pause + pause.mul_f64(fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PROBE_MAX);
            if !self.still_doubted() {
                break;
            }
        }
        let mut refreshes = self.shared.refreshes.locked();
        refreshes.insert(uid.clone(), Instant::now());
    }

    fn still_doubted(&self) -> bool {
        let alive = self.shared.alive(Instant::now());
        self.shared.contact().still_doubted(alive)
    }

    /// Reads one pod; true when it failed and is to be read again.
    async fn read_pod(&self, uid: &Arc<str>, namespace: &str, name: &str) -> bool {
        let asked = Instant::now();
        self.shared.contact().asked(asked);
        let answer = self.ask_store(namespace, name).await;
        let how = match &answer {
            Ok(_) => Answered::ByStore,
            Err(status) if status.code == 403 => Answered::Forbidden,
            Err(status) if (400..500).contains(&status.code) => Answered::ByServer,
            Err(_) => Answered::Failed,
        };
        let probes = self.shared.contact().answered(asked, how, Instant::now());
        self.tell_of_right(how, namespace, name);
        let update = match answer {
            Ok(PodReading::Pod(seen)) if seen.pod.uid == *uid => Some(Update::Fetched { seen: *seen, asked }),
            Ok(PodReading::Pod(seen)) => {
                let _ = self.updates.send(Update::Absent(uid.clone())).await;
                Some(Update::Fetched { seen: *seen, asked })
            }
            Ok(PodReading::Absent) => Some(Update::Absent(uid.clone())),
            Ok(PodReading::Unclear) | Err(_) => None,
        };
        if let Some(update) = update {
            // Without a feed there is nobody left to tell.
            let _ = self.updates.send(update).await;
        }
        probes
    }

    fn tell_of_right(&self, how: Answered, namespace: &str, name: &str) {
        let right = Right { group: String::new(), resource: "pods".to_owned() };
        let detour = self.shared.ways.is_detour();
        let lost = match how {
            Answered::Forbidden => {
                "containers that restart are told apart by what the watch brings alone, so that more of their container.id is left out"
            }
            Answered::ByStore if detour => {
                "single pods are asked for by lists of one name instead, which cost the API server more"
            }
            Answered::ByStore => return self.shared.tell.rights.granted(&right),
            Answered::ByServer | Answered::Failed => return,
        };
        self.shared.tell.rights.denied(right, &format!("/api/v1/namespaces/{namespace}/pods/{name}"), lost);
        self.shared.denied.notify_one();
    }

    async fn related(&self, path: &str, right: &Right) -> FetchResult {
        let answer = self.get(path, Form::MetadataOnly).await;
        let found = match answer {
            Ok(body) => match Decoder::new(self.keep.clone()).related(&body) {
                Ok(object) => FetchResult::Object(Arc::<Related>::new(object)),
                Err(_) => {
                    self.shared.tell.undecodable(1);
                    FetchResult::Failed
                }
            },
            Err(status) if status.code == 404 => FetchResult::Absent,
            Err(status) if status.code == 403 => FetchResult::Forbidden,
            Err(_) => FetchResult::Failed,
        };
        match found {
            FetchResult::Forbidden => {
                self.shared.tell.rights.denied(right.clone(), path, "attributes that come from them are left out");
            }
            FetchResult::Object(_) | FetchResult::Absent => self.shared.tell.rights.granted(right),
            FetchResult::Failed => {}
        }
        self.shared.tell.object(&right.resource, &found);
        found
    }

    /// The body of a 200; anything else as a status, with code 0 when there was no answer.
    pub async fn get(&self, path: &str, form: Form) -> Result<Vec<u8>, ApiStatus> {
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
            Ok(Err(status)) => WatchCause::of(status, Verb::Get).label(),
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
