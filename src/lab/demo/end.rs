//! The receiving end: an OTLP/HTTP sink that compares every container.id with the truth.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::core::data::payload::Group;
use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::lab::demo::marks::SpanMarks;
use crate::lab::demo::truth::{IdVerdict, Runs, Stamp, read_span_id};
use crate::net::pages::page::{PageFn, PageRequest, PageResponse};
use crate::otlp::attributes::attributes;
use crate::otlp::walk::AnyValue;
use crate::otlp::{envelope, span};

/// Applications of the watcher that are named; further ones are counted together.
const GUESTS_MAX: usize = 8;

/// Spans by how their container.id compares with the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DemoScore {
    pub right: u64,
    pub wrong: u64,
    pub missing: u64,
}

impl DemoScore {
    fn count(&mut self, verdict: IdVerdict) {
        match verdict {
            IdVerdict::Right => self.right += 1,
            IdVerdict::Wrong => self.wrong += 1,
            IdVerdict::Missing => self.missing += 1,
        }
    }
}

/// So many slots of a run are remembered: more than the widest window shows.
const SLOTS_MAX: usize = 1_200;
/// Runs whose spans are remembered.
const RUNS_SHOWN_MAX: usize = 256;

/// What the spans of one run were given, by the time at which they were made.
#[derive(Clone, Debug, Default)]
pub struct RunTally {
    pub podgate: DemoScore,
    pub collector: DemoScore,
    pub slots: BTreeMap<u64, Slot>,
}

/// Spans of one run and one slot of time.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub podgate: DemoScore,
    pub collector: DemoScore,
    /// The run that the rule named in place of the true one, latest.
    pub named: u32,
}

/// A span that the Collector's rule gets wrong and podgate right.
#[derive(Clone, Debug)]
pub struct Contrast {
    pub service: String,
    pub stamp: Stamp,
    /// When the span was made.
    pub at: UnixNanos,
}

/// Everything that arrived so far.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    pub spans: u64,
    pub podgate: DemoScore,
    /// The Collector's rule on the same spans.
    pub collector: DemoScore,
    /// The latest resource that was given a container.id, as key and value.
    pub example: Vec<(String, String)>,
    /// Applications that the demo did not start, by service.
    pub guests: BTreeMap<String, Guest>,
    /// The latest wrong id with the true one: never to be seen.
    pub wrong_example: Option<(String, String)>,
    /// By the number of the run that made the spans.
    pub by_run: HashMap<u32, RunTally>,
    pub contrast: Option<Contrast>,
}

impl Arrived {
    fn mark(&mut self, stamp: Stamp, verdict: IdVerdict, at: UnixNanos) {
        if self.by_run.len() >= RUNS_SHOWN_MAX && !self.by_run.contains_key(&stamp.run) {
            // Numbers are given in order: the smallest is the oldest.
            let oldest = self.by_run.keys().min().copied();
            oldest.and_then(|oldest| self.by_run.remove(&oldest));
        }
        let tally = self.by_run.entry(stamp.run).or_default();
        tally.podgate.count(verdict);
        tally.collector.count(stamp.collector);
        let slot = tally.slots.entry(SpanMarks::slot(at)).or_default();
        slot.podgate.count(verdict);
        slot.collector.count(stamp.collector);
        if stamp.collector == IdVerdict::Wrong {
            slot.named = stamp.named;
        }
        if tally.slots.len() > SLOTS_MAX {
            tally.slots.pop_first();
        }
    }
}

/// An application of whoever watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Guest {
    pub spans: u64,
    /// What its latest resource was given.
    pub container_id: Option<String>,
}

pub struct DemoEnd {
    runs: Arc<Runs>,
    /// Pods that the demo sends for.
    pods: HashSet<String>,
    // Short, never across an await.
    seen: Mutex<Arrived>,
}

impl DemoEnd {
    pub fn new(runs: Arc<Runs>, pods: HashSet<String>) -> Arc<DemoEnd> {
        Arc::new(DemoEnd { runs, pods, seen: Mutex::default() })
    }

    pub fn seen(&self) -> Arrived {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.seen.locked()
    }

    /// Pages for `net::pages::serve`: POST /v1/traces.
    pub fn pages(self: &Arc<DemoEnd>) -> PageFn {
        let end = self.clone();
        Arc::new(move |request| Box::pin(std::future::ready(end.answer(request))))
    }

    fn answer(&self, request: PageRequest) -> PageResponse {
        if request.path != "/v1/traces" {
            return PageResponse::text(404, "only traces end here");
        }
        let Ok(envelope) = envelope::decode(request.body) else { return PageResponse::text(400, "not OTLP") };
        envelope.groups.iter().for_each(|group| self.take(group));
        PageResponse::full(200, "application/x-protobuf", Bytes::new())
    }

    fn take(&self, group: &Group) {
        let resource = texts(group.resource.as_deref().unwrap_or_default());
        let find = |key: &str| resource.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let spans = group.scopes.iter().flat_map(|scope| scope.items.iter());
        let mut seen = self.lock();
        if !find("k8s.pod.uid").is_some_and(|uid| self.pods.contains(uid)) {
            let service = find("service.name").unwrap_or("unnamed").to_owned();
            let known = seen.guests.len() < GUESTS_MAX || seen.guests.contains_key(&service);
            let guest = seen.guests.entry(if known { service } else { "others".to_owned() }).or_default();
            guest.spans += spans.count() as u64;
            guest.container_id = find("container.id").map(str::to_owned);
            return;
        }
        let written = find("container.id");
        for item in spans {
            let Ok(facts) = span::read(item) else { continue };
            let Some(stamp) = read_span_id(facts.span_id) else { continue };
            let Some(truth) = self.runs.id(stamp.run) else { continue };
            let verdict = IdVerdict::of(written, &truth);
            seen.spans += 1;
            seen.podgate.count(verdict);
            seen.collector.count(stamp.collector);
            let at = UnixNanos(facts.end);
            seen.mark(stamp, verdict, at);
            if verdict == IdVerdict::Right && stamp.collector == IdVerdict::Wrong {
                let service = find("service.name").unwrap_or_default().to_owned();
                seen.contrast = Some(Contrast { service, stamp, at });
            }
            if verdict == IdVerdict::Wrong {
                seen.wrong_example = Some((written.unwrap_or_default().to_owned(), truth.to_string()));
            }
        }
        if written.is_some() {
            seen.example = resource;
        }
    }
}

/// The string attributes of a resource; others are not shown.
fn texts(resource: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let known = attributes(resource).flatten();
    known
        .filter_map(|attribute| match attribute.value {
            AnyValue::Str(value) => Some((text(attribute.key), text(value))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::demo::truth::span_id;
    use crate::lab::loadgen::generate::{GeneratedSpan, Templates, request, resource};

    fn post(end: &DemoEnd, attributes: &[(&str, &str)], span: [u8; 8]) {
        let mut items = Vec::new();
        let (start, finish) = (UnixNanos::from_secs(1), UnixNanos::from_secs(2));
        let facts =
            GeneratedSpan { trace: [7; 16], span, parent: None, start, end: finish, operation: 0, failed: false };
        Templates::default().write(&mut items, &facts, 1);
        let body = request(&[(&resource(attributes), &items)]);
        let (method, path) = ("POST".to_owned(), "/v1/traces".to_owned());
        let request = PageRequest { method, path, query: BTreeMap::new(), headers: Vec::new(), body };
        assert_eq!(end.answer(request).status, 200);
    }

    #[test]
    fn each_span_is_judged_by_the_run_that_its_id_names() {
        let runs = Arc::new(Runs::default());
        let end = DemoEnd::new(runs.clone(), HashSet::from(["uid-1".to_owned()]));
        let (dead, alive) = (runs.number("dead"), runs.number("alive"));
        let pod = ("k8s.pod.uid", "uid-1");
        let stamp = |run, collector, named| Stamp { run, collector, named };
        post(&end, &[pod, ("container.id", "alive")], span_id(1, stamp(alive, IdVerdict::Missing, alive)));
        post(&end, &[pod, ("container.id", "alive")], span_id(2, stamp(dead, IdVerdict::Wrong, alive)));
        post(&end, &[pod], span_id(3, stamp(alive, IdVerdict::Right, alive)));
        post(&end, &[("service.name", "mine")], [1; 8]);
        let seen = end.seen();
        assert_eq!(seen.podgate, DemoScore { right: 1, wrong: 1, missing: 1 });
        assert_eq!(seen.collector, DemoScore { right: 1, wrong: 1, missing: 1 });
        let slots = &seen.by_run[&dead].slots;
        assert_eq!(slots.iter().map(|(slot, mark)| (*slot, mark.named)).collect::<Vec<_>>(), [(8, alive)]);
        assert!(seen.contrast.is_none(), "podgate is wrong there too");
        post(&end, &[pod, ("container.id", "alive")], span_id(4, stamp(alive, IdVerdict::Wrong, dead)));
        assert_eq!(end.seen().contrast.map(|contrast| contrast.stamp.named), Some(dead));
        assert_eq!(seen.wrong_example, Some(("alive".to_owned(), "dead".to_owned())));
        assert_eq!(seen.guests, BTreeMap::from([("mine".to_owned(), Guest { spans: 1, container_id: None })]));
    }
}
