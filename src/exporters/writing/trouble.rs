//! Why a medium did not take a record, and what the reader of the log can do about it.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use crate::sending::report::condition::Trouble;

pub fn of(error: &Error) -> Trouble {
    let cure = match error.kind() {
        ErrorKind::StorageFull => "free space there, or let `rotation` keep less",
        ErrorKind::QuotaExceeded => "raise the quota of podgate's user, or let `rotation` keep less",
        ErrorKind::FileTooLarge => "raise the limit of file size (ulimit -f), or set `rotation`",
        ErrorKind::BrokenPipe => "nobody reads it any more: restart podgate with a reader, or remove the exporter",
        ErrorKind::PermissionDenied => "let podgate's user write there",
        ErrorKind::ReadOnlyFilesystem => "mount it writable",
        ErrorKind::NotFound => "make the directory again",
        _ => "look at the disk, its mount, or the reader of the pipe",
    };
    Trouble { code: error.kind().to_string(), message: error.to_string(), cure: Some(cure.to_owned()) }
}

pub fn hanging(after: Duration) -> Trouble {
    Trouble {
        code: "hanging".to_owned(),
        message: format!("a write has not returned for {} s", after.as_secs()),
        cure: Some("look at the disk, the network file system, or the reader of the pipe".to_owned()),
    }
}
