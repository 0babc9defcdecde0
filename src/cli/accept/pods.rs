//! What the pods of the run say of themselves: whose container each run was, what is still awaited, and what stands in the way.
//! Pure: objects of the API server go in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cli::accept::note::Note;
use crate::cli::accept::score::Truth;
use crate::core::visible;

/// Pods and runs that are remembered: a podgate on each node of the largest clusters, and an hour of runs with room.
const PODS_MAX: usize = 8_192;
const RUNS_MAX: usize = 8_192;
/// Characters of somebody else's text that are shown.
const TEXT_MAX: usize = 400;
/// The label that says what a pod is for.
pub const PART: &str = "podgate.io/part";
/// What a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodPurpose {
    Podgate,
    Sink,
    Crashing,
    Rolling,
}

impl PodPurpose {
    pub fn name(self) -> &'static str {
        match self {
            PodPurpose::Podgate => "podgate",
            PodPurpose::Sink => "sink",
            PodPurpose::Crashing => "crashing",
            PodPurpose::Rolling => "rolling",
        }
    }

    fn of(pod: &Value) -> Option<PodPurpose> {
        let label = pod["metadata"]["labels"][PART].as_str()?;
        [PodPurpose::Podgate, PodPurpose::Sink, PodPurpose::Crashing, PodPurpose::Rolling]
            .into_iter()
            .find(|part| part.name() == label)
    }

    fn sends(self) -> bool {
        matches!(self, PodPurpose::Crashing | PodPurpose::Rolling)
    }
}

/// Senders that have to run before the time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitedRuns {
    pub crashing: usize,
    pub rolling: usize,
}

#[derive(Clone, Debug)]
struct Pod {
    name: String,
    part: PodPurpose,
    /// Empty until it is scheduled.
    node: String,
    ready: bool,
    /// Its first container has begun at least once.
    started: bool,
    trouble: String,
}

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub struct Pods {
    /// By uid; those that are gone are left out.
    there: BTreeMap<String, Pod>,
    /// By nonce.
    pub truths: BTreeMap<String, Truth>,
}

impl Pods {
    /// A pod as a list or an event shows it; `gone` when the event says that it was deleted.
    pub fn see(&mut self, pod: &Value, gone: bool) {
        let (Some(part), Some(uid)) = (PodPurpose::of(pod), pod["metadata"]["uid"].as_str()) else { return };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if part.sends() {
            self.learn(name, pod);
        }
        if gone {
            self.there.remove(uid);
        } else if self.there.len() < PODS_MAX || self.there.contains_key(uid) {
            self.there.insert(uid.to_owned(), read(name, part, pod));
        }
    }

    /// A whole list: what is not in it is gone.
    pub fn listed(&mut self, pods: &[Value]) {
        let uids: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).collect();
        self.there.retain(|uid, _| uids.contains(uid.as_str()));
        pods.iter().for_each(|pod| self.see(pod, false));
    }

    /// Nonces of runs that have ended, with the id beside them.
    fn learn(&mut self, name: &str, pod: &Value) {
        for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let count = status["restartCount"].as_u64().unwrap_or(0);
            for state in ["state", "lastState"] {
                let end = &status[state]["terminated"];
                let (Some(id), Some(message)) = (bare_id(end), end["message"].as_str()) else { continue };
                // The run before the present one, unless the dead one stands in both places.
                let is_current = state == "state" || bare_id(status) == Some(id);
                let restart = if is_current { count } else { count.saturating_sub(1) };
                if let Some(note) = Note::read(message) {
                    self.note(name, id, restart, note);
                }
            }
        }
    }

    fn note(&mut self, pod: &str, id: &str, restart: u64, note: Note) {
        if self.truths.len() >= RUNS_MAX && !self.truths.contains_key(&note.nonce) {
            return;
        }
        let agrees = note.cgroup.as_deref().is_none_or(|cgroup| cgroup == id);
        let Note { nonce, accepted, given_up, .. } = note;
        let truth = Truth { id: agrees.then(|| id.to_owned()), pod: pod.to_owned(), restart, accepted, given_up };
        let known = self.truths.entry(nonce).or_insert_with(|| truth.clone());
        if known.id != truth.id {
            known.id = None;
        }
    }

    /// What is not there yet of a run that works, a line each. Empty: every sender runs, and podgate on its node is ready.
    pub fn awaited(&self, wanted: AwaitedRuns) -> Vec<String> {
        let mut awaited = Vec::new();
        let of = |part: PodPurpose| self.there.values().filter(move |pod| pod.part == part);
        for (part, count) in
            [(PodPurpose::Sink, 1), (PodPurpose::Crashing, wanted.crashing), (PodPurpose::Rolling, wanted.rolling)]
        {
            let works = |pod: &&Pod| if part.sends() { pod.started } else { pod.ready };
            let working = of(part).filter(works).count();
            if working < count {
                let name = part.name();
                awaited.push(format!("{working} of {count} pods of {name} run"));
                awaited.extend(of(part).filter(|pod| !works(pod)).map(Pod::shown));
            }
        }
        let nodes: BTreeSet<&str> = self.there.values().filter(|pod| pod.part.sends()).map(|pod| &*pod.node).collect();
        for node in nodes.into_iter().filter(|node| !node.is_empty()) {
            let mut here = of(PodPurpose::Podgate).filter(|pod| pod.node == node);
            if !here.clone().any(|pod| pod.ready) {
                awaited.push(format!("podgate is not ready on node {node}, where a sender runs"));
                awaited.extend(here.by_ref().map(Pod::shown));
            }
        }
        awaited
    }

    /// Senders that are not gone.
    pub fn senders(&self) -> Vec<String> {
        self.there.values().filter(|pod| pod.part.sends()).map(Pod::shown).collect()
    }
}

impl Pod {
    fn shown(&self) -> String {
        let node = if self.node.is_empty() { "no node" } else { &self.node };
        format!("  {} ({node}): {}", self.name, self.trouble)
    }
}

fn read(name: &str, part: PodPurpose, pod: &Value) -> Pod {
    let condition = |kind: &str| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions
            .filter(|condition| condition["type"] == kind)
            .map(|condition| condition["status"] == "True")
            .next_back()
    };
    let status = &pod["status"]["containerStatuses"][0];
    Pod {
        name: name.to_owned(),
        part,
        node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        ready: condition("Ready") == Some(true) && pod["metadata"]["deletionTimestamp"].is_null(),
        started: bare_id(status).is_some(),
        trouble: trouble(pod),
    }
}

/// Without the runtime's scheme: `containerd://4f1c...`.
fn bare_id(status: &Value) -> Option<&str> {
    let id = status["containerID"].as_str()?;
    Some(id.rsplit("://").next().unwrap_or(id)).filter(|id| !id.is_empty())
}

/// Why a pod is not what it should be, in the words of whoever wrote its status.
fn trouble(pod: &Value) -> String {
    let status = &pod["status"];
    let container = &status["containerStatuses"][0];
    let said = |of: &Value| match (of["reason"].as_str(), of["message"].as_str().map(str::trim)) {
        (Some(reason), Some(message)) if !message.is_empty() => Some(format!("{reason}: {message}")),
        (Some(reason), _) => Some(reason.to_owned()),
        (None, message) => message.filter(|message| !message.is_empty()).map(str::to_owned),
    };
    let dead = ["state", "lastState"].iter().map(|state| &container[*state]["terminated"]).find(|end| end.is_object());
    let failed = dead.filter(|end| end["exitCode"] != 0).map(|end| {
        let message = end["message"].as_str().map(str::trim).filter(|message| Note::read(message).is_none());
        format!("ended with exit code {}: {}", end["exitCode"], message.unwrap_or_default())
    });
    let conditions = || status["conditions"].as_array().into_iter().flatten();
    let unmet = conditions()
        .filter(|condition| condition["status"] == "False")
        .find_map(|condition| said(condition).filter(|_| condition["message"].is_string()));
    let parts = [said(&container["state"]["waiting"]), failed, said(status), unmet];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let phase = status["phase"].as_str().unwrap_or("no phase").to_owned();
    let whole = if parts.is_empty() { phase } else { format!("{phase}; {}", parts.join("; ")) };
    short(&whole)
}

/// Somebody else's text on one line of bounded length.
pub fn short(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TEXT_MAX).collect();
    visible::escape(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, part: &str, status: Value) -> Value {
        json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {PART: part}},
            "spec": {"nodeName": "node-1"},
            "status": status,
        })
    }

    fn ended(id: &str, note: &Note) -> Value {
        json!({"terminated": {"containerID": format!("containerd://{id}"), "message": note.text(), "exitCode": 1}})
    }

    fn status(id: &str, count: u64, state: Value, last: Value) -> Value {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "sender", "restartCount": count, "containerID": format!("containerd://{id}"), "state": state, "lastState": last}
        ]})
    }

    fn known(pods: &Pods) -> Vec<(&str, Option<&str>, u64)> {
        pods.truths.iter().map(|(nonce, truth)| (&nonce[15..], truth.id.as_deref(), truth.restart)).collect()
    }

    #[test]
    fn the_truth_of_a_run_is_the_id_beside_its_message_in_either_state() {
        let notes: Vec<Note> = (0..4).map(|nonce| Note::new(nonce, None)).collect();
        let mut pods = Pods::default();
        let running = json!({"running": {"startedAt": "2026-11-30T00:00:00Z"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        pods.see(&pod("a", "crashing", status("id-1", 1, running, ended("id-0", &notes[0]))), false);
        pods.see(&pod("a", "crashing", status("id-1", 1, waiting, ended("id-1", &notes[1]))), false);
        pods.see(&pod("a", "crashing", status("id-3", 3, ended("id-3", &notes[3]), ended("id-2", &notes[2]))), true);
        let expected: Vec<_> = [("0", "id-0", 0), ("1", "id-1", 1), ("2", "id-2", 2), ("3", "id-3", 3)].into();
        assert_eq!(known(&pods), expected.into_iter().map(|(nonce, id, n)| (nonce, Some(id), n)).collect::<Vec<_>>());
        assert!(pods.senders().is_empty(), "a deleted pod leaves its truth and nothing else");
    }

    #[test]
    fn a_second_witness_that_disagrees_leaves_no_truth() {
        let mut pods = Pods::default();
        let agreeing = Note::new(1, Some("id-1".to_owned()));
        let disputing = Note::new(2, Some("other".to_owned()));
        pods.see(&pod("a", "rolling", status("id-1", 0, ended("id-1", &agreeing), json!({}))), false);
        pods.see(&pod("b", "rolling", status("id-2", 0, ended("id-2", &disputing), json!({}))), false);
        assert_eq!(known(&pods), [("1", Some("id-1"), 0), ("2", None, 0)]);
        pods.see(&pod("c", "rolling", status("id-9", 0, ended("id-9", &agreeing), json!({}))), false);
        assert_eq!(known(&pods)[0], ("1", None, 0), "one run is not two containers");
    }

    #[test]
    fn pods_of_others_and_messages_of_others_tell_nothing() {
        let mut pods = Pods::default();
        let note = Note::new(1, None);
        let ends = status("id-1", 0, ended("id-1", &note), json!({}));
        pods.see(&pod("a", "sink", ends.clone()), false);
        pods.see(&json!({"metadata": {"name": "b", "uid": "u"}, "status": ends}), false);
        let crash = json!({"terminated": {"containerID": "containerd://x", "message": "panicked", "exitCode": 101}});
        pods.see(&pod("c", "crashing", status("x", 0, crash, json!({}))), false);
        pods.see(&json!("no pod"), false);
        assert!(pods.truths.is_empty());
    }

    fn ready(name: &str, part: &str) -> Value {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let containers = json!([{"containerID": "containerd://x", "state": {"running": {}}}]);
        pod(name, part, json!({"phase": "Running", "conditions": conditions, "containerStatuses": containers}))
    }

    const WANTED: AwaitedRuns = AwaitedRuns { crashing: 1, rolling: 2 };

    #[test]
    fn what_is_awaited_is_told_with_the_words_of_the_pods_status() {
        let mut pods = Pods::default();
        assert_eq!(pods.awaited(WANTED).len(), 3, "{:?}", pods.awaited(WANTED));
        pods.see(&ready("s", "sink"), false);
        let image =
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"nowhere/x:1\""}});
        pods.see(&pod("c", "crashing", json!({"phase": "Pending", "containerStatuses": [{"state": image}]})), false);
        let conditions = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]);
        pods.see(&pod("r", "rolling", json!({"phase": "Pending", "conditions": conditions})), false);
        let seen = pods.awaited(WANTED).join("\n");
        for word in [
            "0 of 1 pods of crashing run",
            "c (node-1): Pending; ImagePullBackOff: Back-off pulling image \"nowhere/x:1\"",
            "0 of 2 pods of rolling run",
            "Unschedulable: 0/3 nodes are available",
            "podgate is not ready on node node-1",
        ] {
            assert!(seen.contains(word), "{word} is not in:\n{seen}");
        }
    }

    #[test]
    fn nothing_is_awaited_once_senders_run_beside_a_ready_podgate_and_other_nodes_do_not_matter() {
        let mut pods = Pods::default();
        for (name, part) in [("s", "sink"), ("c", "crashing"), ("r1", "rolling"), ("r2", "rolling"), ("p1", "podgate")]
        {
            pods.see(&ready(name, part), false);
        }
        let mut elsewhere = pod("p2", "podgate", json!({"phase": "Pending"}));
        elsewhere["spec"]["nodeName"] = json!("node-2");
        pods.see(&elsewhere, false);
        assert!(pods.awaited(WANTED).is_empty(), "{:?}", pods.awaited(WANTED));
        pods.listed(&[ready("s", "sink"), ready("c", "crashing"), ready("r1", "rolling"), ready("r2", "rolling")]);
        assert_eq!(pods.awaited(WANTED), ["podgate is not ready on node node-1, where a sender runs"]);
        assert_eq!(pods.senders().len(), 3);
    }
}
