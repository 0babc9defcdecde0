//! What can be wrong with an API server, for those who must bear it.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ApiFault {
    /// Watches answer 200 and end at once.
    EndAtOnce,
    /// Every version is too old: an ERROR event in a 200 stream, as API servers do.
    GoneAsEvent,
    /// Every version is too old: HTTP status 410, as seen of proxies and lists.
    GoneAsStatus,
    /// No answer at all.
    Silent,
    /// 200, and then nothing: no events, no bookmarks.
    SilentAfterHead,
    /// This status for every request.
    Status {
        code: u16,
        retry_after: Option<Duration>,
    },
    /// 403 to requests for pods with one of these verbs.
    NoRight {
        verbs: &'static [&'static str],
    },
    /// Watches answer 200 with one ERROR event of this code.
    ErrorEvent {
        code: u16,
    },
    /// 200 with something that is not Kubernetes.
    Garbage,
    /// Streams break off within a line; lists within an object.
    Truncated,
    /// Streams come in small pieces with pauses between them.
    Slow,
    /// 422 to sendInitialEvents, as servers before 1.27.
    NoStreamingLists,
    /// sendInitialEvents is ignored: objects come, the mark of their end never does.
    EndlessInitialEvents,
    NoBookmarks,
    /// One object in every list that cannot be read.
    BadObject,
    /// Every event is sent twice.
    Duplicates,
}
