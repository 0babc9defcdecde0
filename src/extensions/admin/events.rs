//! Server-sent events for the page (`/v1/events`): a snapshot a second, made once for everybody who looks, by nobody when
//! nobody does. Streams are few, short-lived and never waited for: one that does not keep up is ended, and its browser comes
//! again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::core::report::routes::{PageQuery, Routes};
use crate::core::time::UnixNanos;
use crate::extensions::admin::lanes::LaneBook;

/// Streams at a time.
const STREAMS_MAX: usize = 8;
/// A browser comes again by itself when its stream has ended.
const STREAM_LIFE: Duration = Duration::from_secs(600);
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);
/// Events that one stream may owe its reader.
const EVENTS_WAITING_MAX: usize = 4;
/// The longest event; a longer page is left out and said to be.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// What a snapshot shows beside the lanes: the name there, and the page.
const SHOWN: [(&str, &str); 4] =
    [("status", "/v1/status"), ("balance", "/v1/balance"), ("flow", "/v1/flow"), ("sampling", "/v1/sampling")];
/// Of `/v1/stats` the page shows this: resources with and without container.id.
const SHOWN_STATS: &str = "podgate_k8s_container_id_resources";

/// Where streams are asked for.
#[derive(Clone)]
pub struct EventDoor {
    joining: mpsc::Sender<mpsc::Sender<Bytes>>,
}

/// The other end, for the task that owns the streams.
pub struct Events {
    joining: mpsc::Receiver<mpsc::Sender<Bytes>>,
    routes: Arc<Routes>,
    streams: Vec<EventStream>,
    lanes: LaneBook,
    /// The latest snapshot, for who comes between two of them.
    latest: Option<Bytes>,
}

struct EventStream {
    events: mpsc::Sender<Bytes>,
    until: Instant,
}

pub fn events(routes: &Arc<Routes>) -> (EventDoor, Events) {
    let (asking, joining) = mpsc::channel(STREAMS_MAX);
    let events =
        Events { joining, routes: routes.clone(), streams: Vec::new(), lanes: LaneBook::default(), latest: None };
    (EventDoor { joining: asking }, events)
}

impl EventDoor {
    /// A new stream; `None` when the owner is gone. Where there are too many, it ends at once.
    pub fn open(&self) -> Option<mpsc::Receiver<Bytes>> {
        let (events, stream) = mpsc::channel(EVENTS_WAITING_MAX);
        self.joining.try_send(events).ok()?;
        Some(stream)
    }
}

impl Events {
    /// Until told to stop. While nobody looks it waits for somebody, and keeps nothing.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.look_after() => {}
            }
        }
    }

    /// From the first stream to the end of the last.
    async fn look_after(&mut self) {
        let Some(first) = self.joining.recv().await else { return std::future::pending().await };
        self.join(first);
        let mut turns = interval(SNAPSHOT_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.streams.is_empty() {
            tokio::select! {
                biased;
                _ = turns.tick() => self.turn(),
                Some(next) = self.joining.recv() => self.join(next),
            }
        }
        (self.lanes, self.latest) = (LaneBook::default(), None);
    }

    fn join(&mut self, events: mpsc::Sender<Bytes>) {
        self.streams.retain(|stream| !stream.events.is_closed());
        if self.streams.len() >= STREAMS_MAX {
            let why = json!({ "error": format!("{STREAMS_MAX} pages are open already: close one") });
            // The stream is new and has room.
            let _ = events.try_send(event("full", &why));
            return;
        }
        // What was made last, at once; the first stream of all waits for the first turn, which is now.
        let mut picture = b"retry: 2000\n\n".to_vec();
        if let Some(snapshot) = &self.latest {
            picture.extend_from_slice(&event("lanes", &self.lanes.whole()));
            picture.extend_from_slice(snapshot);
        }
        let _ = events.try_send(picture.into());
        self.streams.push(EventStream { events, until: Instant::now() + STREAM_LIFE });
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.streams.retain(|stream| stream.until > now && !stream.events.is_closed());
        if self.streams.is_empty() {
            return;
        }
        let runs = page(&self.routes, "/v1/runs");
        let changed = self.lanes.update(&runs);
        let lanes = match (&self.latest, changed) {
            (None, _) => Some(event("lanes", &self.lanes.whole())),
            (Some(_), changed) => changed.map(|changed| event("lanes", &changed)),
        };
        let snapshot = event("snapshot", &snapshot(&self.routes, &runs, UnixNanos::now()));
        self.streams.retain(|stream| {
            lanes.iter().chain([&snapshot]).try_for_each(|event| stream.events.try_send(event.clone())).is_ok()
        });
        self.latest = Some(snapshot);
    }
}

fn page(routes: &Routes, path: &str) -> Value {
    routes.find(path).map_or(Value::Null, |answer| answer(&PageQuery::new()).body)
}

fn snapshot(routes: &Routes, runs: &Value, now: UnixNanos) -> Value {
    let mut shown: serde_json::Map<String, Value> =
        SHOWN.into_iter().map(|(name, path)| (name.to_owned(), page(routes, path))).collect();
    let stats = page(routes, "/v1/stats");
    let of = stats.as_array().into_iter().flatten().filter(|row| row["name"] == SHOWN_STATS && row["value"] != 0.0);
    shown.insert(
        "identities".to_owned(),
        of.map(|row| json!({ "labels": row["labels"], "value": row["value"] })).collect(),
    );
    // How old what the lanes show may be changes by itself, so it is not a part of them.
    let age = |(processor, told): (&String, &Value)| (processor.clone(), told["view_age_seconds"].clone());
    shown.insert(
        "views".to_owned(),
        Value::Object(runs["processors"].as_object().into_iter().flatten().map(age).collect()),
    );
    shown.insert("at_ms".to_owned(), (now.0 / 1_000_000).into());
    shown.into()
}

/// One event; its data stands on one line, because JSON has none of its own.
fn event(name: &str, data: &Value) -> Bytes {
    let mut text = data.to_string();
    if text.len() > EVENT_BYTES_MAX {
        text =
            json!({ "error": format!("this event takes {} bytes, more than a page is sent", text.len()) }).to_string();
    }
    Bytes::from(format!("event: {name}\ndata: {text}\n\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::core::report::routes::Page;
    use crate::core::stage::tasks::Tasks;

    struct Rig {
        door: EventDoor,
        asked: Arc<AtomicUsize>,
        stop: watch::Sender<bool>,
        owner: tokio::task::JoinHandle<()>,
    }

    /// An owner whose lanes are counted when they are asked for, and change each time.
    fn rig() -> Rig {
        let (routes, asked) = (Arc::new(Routes::default()), Arc::new(AtomicUsize::new(0)));
        let counting = asked.clone();
        let answer = move |_: &PageQuery| {
            let runs = counting.fetch_add(1, Ordering::Relaxed);
            let lanes = json!([{ "uid": "u", "container": "app", "runs": runs }]);
            Page::ok(json!({ "processors": { "k8s_attributes": { "lanes": lanes, "view_age_seconds": 3 } } }))
        };
        routes.add("/v1/runs", "counted", Arc::new(answer));
        let (door, events) = events(&routes);
        let stop = watch::Sender::new(false);
        let owner = Arc::new(Tasks::default()).spawn_idle("events", events.run(stop.subscribe()));
        Rig { door, asked, stop, owner }
    }

    async fn next(stream: &mut mpsc::Receiver<Bytes>) -> String {
        let event = stream.recv().await.expect("the stream goes on");
        String::from_utf8(event.to_vec()).expect("text")
    }

    /// All until the first snapshot.
    async fn picture(stream: &mut mpsc::Receiver<Bytes>) -> String {
        let mut seen = next(stream).await;
        while !seen.contains("event: snapshot") {
            seen += &next(stream).await;
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_a_second_is_made_once_for_all_who_look_and_by_nobody_when_nobody_does() {
        let rig = rig();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(rig.asked.load(Ordering::Relaxed), 0, "nobody looks");
        let (mut first, mut second) = (rig.door.open().expect("open"), rig.door.open().expect("open"));
        for stream in [&mut first, &mut second] {
            let picture = picture(stream).await;
            assert!(picture.contains("event: lanes\ndata: {") && picture.contains("\"whole\":true"), "{picture}");
            assert!(picture.contains("event: snapshot\ndata: {") && picture.ends_with("\n\n"), "{picture}");
            assert!(picture.contains("\"views\":{\"k8s_attributes\":3}"), "{picture}");
        }
        let before = rig.asked.load(Ordering::Relaxed);
        for _ in 0..5 {
            for stream in [&mut first, &mut second] {
                assert!(next(stream).await.contains("\"whole\":false"), "what changed");
                assert!(next(stream).await.starts_with("event: snapshot"));
            }
        }
        assert_eq!(rig.asked.load(Ordering::Relaxed) - before, 5, "five seconds, two streams");
        drop((first, second));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let left = rig.asked.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(rig.asked.load(Ordering::Relaxed), left, "nobody looks any more");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_eight_and_the_ninth_is_told_so_and_ends() {
        let rig = rig();
        let mut open = Vec::new();
        for _ in 0..STREAMS_MAX {
            let mut stream = rig.door.open().expect("a place");
            let picture = picture(&mut stream).await;
            assert!(picture.starts_with("retry: 2000\n\nevent: lanes\ndata: {\"facts\""), "{picture}");
            open.push(stream);
        }
        let mut ninth = rig.door.open().expect("it is told");
        assert_eq!(
            next(&mut ninth).await,
            "event: full\ndata: {\"error\":\"8 pages are open already: close one\"}\n\n"
        );
        assert_eq!(ninth.recv().await, None);
        open.pop();
        let mut again = rig.door.open().expect("a place");
        assert!(next(&mut again).await.starts_with("retry: 2000\n\n"), "a place that was given back is taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_by_its_age_by_the_stop_and_when_it_is_not_read() {
        let rig = rig();
        let mut read = rig.door.open().expect("open");
        let mut unread = rig.door.open().expect("open");
        let begun = Instant::now();
        while read.recv().await.is_some() {}
        let lived = begun.elapsed();
        assert!((STREAM_LIFE..STREAM_LIFE + SNAPSHOT_EVERY * 2).contains(&lived), "{lived:?}");
        let mut waiting = 0;
        while unread.recv().await.is_some() {
            waiting += 1;
        }
        assert_eq!(waiting, EVENTS_WAITING_MAX, "it was ended when it owed so many");
        let mut last = rig.door.open().expect("open");
        rig.stop.send_replace(true);
        rig.owner.await.expect("ends");
        while last.recv().await.is_some() {}
    }

    #[test]
    fn an_event_beyond_the_bound_says_so_instead() {
        let event = event("lanes", &json!("x".repeat(EVENT_BYTES_MAX)));
        let text = String::from_utf8_lossy(&event);
        assert!(text.len() < 200 && text.contains("more than a page is sent"), "{text}");
    }
}
