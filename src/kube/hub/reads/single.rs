//! One pod, asked for anew: by get where that is allowed, else by a list or by a streaming list of its name alone.
//!
//! Without a version of ours all three are answered from the store, so each proves what the pod was when it was asked for
//! (Kubernetes API concepts, "Semantics for get and list" and "Streaming lists"). Lists cost the server more, so get is
//! tried again from time to time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use crate::kube::client::{ApiAnswer, Form};
use crate::kube::decode::{
    ApiStatus, DecodedPod, Decoder, Event, Keep, LineSplitter, ListSplitter, Piece, Undecodable, api_status,
};
use crate::kube::hub::paths::{encode, one_pod};
use crate::kube::hub::reads::fetcher::{Fetcher, OBJECT_BYTES_MAX, WAIT};
use crate::kube::hub::reads::pod_requests::PodRequest;
use crate::kube::watch::WatchCause;

/// What the store said of one pod.
pub enum PodReading {
    Pod(Box<DecodedPod>),
    Absent,
    /// Something that cannot be read, or a "not found" that is not the API server's.
    Unclear,
}

/// How a request for one pod failed.
enum Fault {
    Status(ApiStatus),
    /// It was opened, and what it was opened for did not come.
    NoMark,
    NoAnswer,
}

impl Fetcher {
    /// Asks the store for one pod. The error is 403 when no way is allowed, and has the code 0 when there was no answer.
    pub(crate) async fn ask_store(&self, namespace: &str, name: &str) -> Result<PodReading, ApiStatus> {
        let ways = &self.shared.ways;
        let mut denied = None;
        for at in ways.first.load(Ordering::Relaxed)..3 {
            let way = PodRequest::ALL[usize::from(at)];
            match self.ask_by(way, namespace, name).await {
                Err(Fault::Status(status)) if status.code == 403 => denied = Some(status),
                // A server that does not know streaming lists refuses them, or never says where their objects end.
                Err(Fault::Status(status)) if way == PodRequest::Stream && status.refuses_streaming() => {}
                Err(Fault::NoMark) if !ways.streams.load(Ordering::Relaxed) => {}
                Err(Fault::Status(status)) if status.code == 404 && status.reason == "NotFound" => {
                    ways.first.store(at, Ordering::Relaxed);
                    return Ok(PodReading::Absent);
                }
                Err(Fault::Status(status)) if status.code == 404 => return Ok(PodReading::Unclear),
                Err(Fault::Status(status)) => return Err(status),
                Err(Fault::NoMark | Fault::NoAnswer) => return Err(ApiStatus::default()),
                Ok(reading) => {
                    ways.first.store(at, Ordering::Relaxed);
                    ways.streams.fetch_or(way == PodRequest::Stream, Ordering::Relaxed);
                    return Ok(reading);
                }
            }
        }
        Err(denied.unwrap_or(ApiStatus { code: 403, ..ApiStatus::default() }))
    }

    async fn ask_by(&self, way: PodRequest, namespace: &str, name: &str) -> Result<PodReading, Fault> {
        let path = match way {
            PodRequest::Get => format!("/api/v1/namespaces/{}/pods/{}", encode(namespace), encode(name)),
            PodRequest::List => one_pod(namespace, name, None),
            PodRequest::Stream => one_pod(namespace, name, Some(WAIT)),
        };
        let asked = timeout(WAIT, self.open(&path)).await.unwrap_or(Err(Fault::NoAnswer));
        let read = match asked {
            Ok(answer) => {
                let body = timeout(WAIT, read(way, answer, self.keep.clone())).await;
                body.unwrap_or(Err(if way == PodRequest::Stream { Fault::NoMark } else { Fault::NoAnswer }))
            }
            Err(fault) => Err(fault),
        };
        let outcome = match &read {
            Ok(_) => "ok",
            Err(Fault::Status(status)) => WatchCause::of(status, way.verb()).label(),
            Err(Fault::NoMark) => WatchCause::Silent.label(),
            Err(Fault::NoAnswer) => "unreachable",
        };
        self.shared.tell.requested(way.verb(), outcome);
        if matches!(&read, Err(Fault::Status(status)) if status.code == 401) {
            self.api.renew();
        }
        read.map(|reading| {
            reading.unwrap_or_else(|_undecodable| {
                self.shared.tell.undecodable(1);
                PodReading::Unclear
            })
        })
    }

    async fn open(&self, path: &str) -> Result<ApiAnswer, Fault> {
        let mut answer = self.api.get(path, Form::Whole).await.map_err(|_| Fault::NoAnswer)?;
        if answer.status == 200 {
            return Ok(answer);
        }
        Err(Fault::Status(api_status(&answer.error_body().await, answer.status)))
    }
}

fn found_pod(seen: DecodedPod) -> PodReading {
    PodReading::Pod(Box::new(seen))
}

/// The body of a 200.
async fn read(way: PodRequest, mut answer: ApiAnswer, keep: Keep) -> Result<Result<PodReading, Undecodable>, Fault> {
    let mut decoder = Decoder::new(keep);
    if way == PodRequest::Stream {
        return first_events(&mut answer, &mut decoder).await;
    }
    let body = answer.whole(OBJECT_BYTES_MAX).await.map_err(|_| Fault::NoAnswer)?;
    if way == PodRequest::Get {
        return Ok(decoder.pod(&body).map(found_pod));
    }
    let (mut list, mut found) = (ListSplitter::default(), Ok(PodReading::Absent));
    list.push(&body, &mut |piece| {
        found = match piece {
            Piece::Object(item) => decoder.pod(item).map(found_pod),
            Piece::TooLarge => Err(Undecodable("the pod is too large".to_owned())),
        };
    });
    Ok(list.finish().and(found))
}

/// A streaming list up to the mark that says that all objects were sent.
async fn first_events(answer: &mut ApiAnswer, decoder: &mut Decoder) -> Result<Result<PodReading, Undecodable>, Fault> {
    let mut lines = LineSplitter::with_limit(OBJECT_BYTES_MAX);
    let (mut found, mut end) = (Ok(PodReading::Absent), None);
    while end.is_none() {
        let chunk = answer.chunk().await.ok_or(Fault::NoMark)?.map_err(|_| Fault::NoAnswer)?;
        lines.push(&chunk, &mut |piece| {
            let Piece::Object(line) = piece else {
                found = Err(Undecodable("the pod is too large".to_owned()));
                return;
            };
            match decoder.line(line) {
                _ if end.is_some() => {}
                Ok(Event::Applied(seen)) => found = Ok(found_pod(seen)),
                Ok(Event::Deleted { .. }) => found = Ok(PodReading::Absent),
                Ok(Event::Bookmark { initial_events_end: true, .. }) => end = Some(Ok(())),
                Ok(Event::Bookmark { .. }) => {}
                Ok(Event::Error(status)) => end = Some(Err(Fault::Status(status))),
                Ok(Event::Skipped { fault, .. }) | Err(fault) => found = Err(fault),
            }
        });
    }
    end.unwrap_or(Err(Fault::NoMark)).map(|()| found)
}

/// After a right was denied it is asked for again, first after this, later less often.
pub const RIGHT_AGAIN_FIRST: Duration = Duration::from_secs(2);
pub const RIGHT_AGAIN_MAX: Duration = Duration::from_secs(30);
