//! How an audit event becomes a log record, as the keys of its receivers say.

use crate::config::check::Section;

/// Events that are remembered: at 2,000 a second those of a minute, longer than the API server waits before it sends again.
const DUPLICATES_WINDOW: usize = 120_000;
const DUPLICATES_WINDOW_MAX: usize = 2_000_000;
const DATASET: &str = "kubernetes.audit";
const NAMESPACE: &str = "default";

/// What becomes the body of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventBody {
    Map,
    Json,
    Absent,
}

/// What names the data stream of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceFrom {
    /// The same for all.
    Fixed,
    /// The namespace of the object that was asked for.
    Object,
    User,
}

/// `data_stream.dataset` and `data_stream.namespace` of each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRoute {
    pub dataset: String,
    pub from: NamespaceFrom,
    /// For all, or for events that have nothing else.
    pub namespace: String,
}

/// How an event becomes a log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventForm {
    pub body: EventBody,
    pub stream: Option<StreamRoute>,
}

impl EventForm {
    /// Reads `body` and `data_stream`.
    pub fn check(section: &Section<'_>) -> EventForm {
        let bodies = [("map", EventBody::Map), ("json", EventBody::Json), ("none", EventBody::Absent)];
        EventForm {
            body: section.choice("body", &bodies).unwrap_or(EventBody::Map),
            stream: section.section("data_stream").map(check_stream),
        }
    }
}

/// Reads `duplicates_window`.
pub fn check_window(section: &Section<'_>) -> usize {
    let window = section.usize("duplicates_window").unwrap_or(DUPLICATES_WINDOW);
    if window > DUPLICATES_WINDOW_MAX {
        let message = format!("{window} events would take {} MB", window / 20_000);
        section.invalid::<()>("duplicates_window", message, "at most 2000000; 0 lets every event pass");
    }
    window
}

fn check_stream(section: Section<'_>) -> StreamRoute {
    let froms = [("fixed", NamespaceFrom::Fixed), ("namespace", NamespaceFrom::Object), ("user", NamespaceFrom::User)];
    let text = |key: &str, default: &str| {
        section.string(key).filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    let route = StreamRoute {
        dataset: text("dataset", DATASET),
        from: section.choice("from", &froms).unwrap_or(NamespaceFrom::Fixed),
        namespace: text("namespace", NAMESPACE),
    };
    section.finish();
    route
}
