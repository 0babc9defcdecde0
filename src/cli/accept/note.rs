//! What a sender leaves behind for each of its runs: the message with which its container ends, and who it is by its cgroup.
//!
//! A process cannot know its own container.id on cgroup v2. So it draws a nonce, sends it with everything, and writes it to
//! its termination message, which the kubelet puts beside the container's id into the pod's status: there both stand together.

use serde::{Deserialize, Serialize};

use crate::core::data::payload::Signal;

/// The signals that are sent and scored.
pub const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];
/// Hexadecimal digits of a nonce.
const NONCE_DIGITS: usize = 16;
/// Hexadecimal digits of a container's id, at containerd, CRI-O and dockerd.
const ID_DIGITS: usize = 64;

/// One number for each signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalCounts {
    pub traces: u64,
    pub metrics: u64,
    pub logs: u64,
}

impl SignalCounts {
    pub fn of(&self, signal: Signal) -> u64 {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
            Signal::Profiles => 0,
        }
    }

    pub fn add(&mut self, signal: Signal, items: u64) {
        let place = match signal {
            Signal::Traces => &mut self.traces,
            Signal::Metrics => &mut self.metrics,
            Signal::Logs => &mut self.logs,
            Signal::Profiles => return,
        };
        *place = place.saturating_add(items);
    }
}

/// The termination message of one run. The kubelet reads 4,096 bytes of it; this takes some 200.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub nonce: String,
    /// Items that podgate answered with success.
    pub accepted: SignalCounts,
    /// Items that were given up: the run's queue was full, or podgate refused them for good.
    pub given_up: SignalCounts,
    /// The container's id as the process's own cgroup tells it, where it does: a second witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

impl Note {
    pub fn new(nonce: u64, cgroup: Option<String>) -> Note {
        Note { nonce: format!("{nonce:0NONCE_DIGITS$x}"), cgroup, ..Note::default() }
    }

    /// `None` for every other message, such as the last lines of a log.
    pub fn read(message: &str) -> Option<Note> {
        serde_json::from_str(message.trim()).ok().filter(|note: &Note| is_nonce(&note.nonce))
    }

    pub fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

pub fn is_nonce(text: &str) -> bool {
    text.len() == NONCE_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The id in /proc/self/cgroup, as container runtimes name the last part of the path (`cri-containerd-ID.scope`, `ID`).
/// `None` where the process sees the root of a cgroup namespace, which is usual on cgroup v2.
pub fn cgroup_id(text: &str) -> Option<String> {
    let lasts = text.lines().filter_map(|line| line.rsplit('/').next());
    lasts.flat_map(|last| last.split(|letter: char| !letter.is_ascii_alphanumeric())).find_map(|word| {
        let is_id = word.len() == ID_DIGITS && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| word.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_nothing_else_is_taken_for_one() {
        let mut note = Note::new(7, Some("ab".repeat(32)));
        note.accepted.add(Signal::Logs, 3);
        note.accepted.add(Signal::Profiles, 3);
        assert_eq!(Note::read(&format!("{}\n", note.text())), Some(note.clone()));
        assert!(note.text().len() < 4096 && note.nonce == "0000000000000007");
        assert_eq!(Note::new(u64::MAX, None).nonce, "ffffffffffffffff");
        for message in ["", "panic: out of memory", "{}", r#"{"nonce": "x", "accepted": {}, "given_up": {}}"#] {
            assert_eq!(Note::read(message), None, "{message}");
        }
    }

    #[test]
    fn a_cgroup_tells_the_id_where_its_path_is_seen_and_never_that_of_a_node_around_it() {
        let (id, node) = ("0123456789abcdef".repeat(4), "fe".repeat(32));
        for path in [
            format!("0::/kubepods.slice/kubepods-pod6f1c.slice/cri-containerd-{id}.scope"),
            format!("12:cpu:/kubepods/burstable/pod6f1c/{id}\n1:name=systemd:/kubepods/burstable/pod6f1c/{id}"),
            format!("0::/docker/{node}/kubelet/kubepods/pod6f1c/{id}"),
            format!("0::/kubepods.slice/crio-{id}.scope"),
        ] {
            assert_eq!(cgroup_id(&path), Some(id.clone()), "{path}");
        }
        for path in ["", "0::/", "0::/system.slice/cron.service", &format!("0::/docker/{node}/init.scope")] {
            assert_eq!(cgroup_id(path), None, "{path}");
        }
    }
}
