//! The kernel's word that something changed in a folder (inotify), so that nothing has to be looked for.
//!
//! Folders are watched, never files. Where the kernel gives no watch, or on another system, the caller looks at intervals.

use std::collections::HashMap;

/// Folders that are watched at once: two for each container of a full node, and room.
#[cfg(target_os = "linux")]
const WATCHES_MAX: usize = 8_192;

/// What was rung for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// A link of this name came or went.
    Link(String),
    /// Something in this pod's folder, or the folder itself.
    Pod(String),
    /// A log in this container's folder.
    Container(String, String),
    /// Too much at once, or a root folder is gone: look at everything.
    All,
}

/// Which folder a watch is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchedFolder {
    Links,
    Pods,
    Pod(String),
    Container(String, String),
}

/// Watches by their number in the kernel.
pub struct Alarm {
    #[cfg(target_os = "linux")]
    queue: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    places: HashMap<i32, WatchedFolder>,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::path::Path;

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use rustix::io::Errno;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{Alarm, HashMap, Rung, WATCHES_MAX, WatchedFolder};

    impl Alarm {
        /// Needs a tokio runtime. Fails where the user has too many of them already.
        // The sound successor is an unsafe function: it wants a descriptor that is not closed before it is dropped, and an
        // owned one is not.
        #[expect(deprecated, reason = "an owned descriptor keeps its number until it is dropped")]
        pub fn new() -> std::io::Result<Alarm> {
            let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            Ok(Alarm { queue: AsyncFd::with_interest(queue, Interest::READABLE)?, places: HashMap::new() })
        }

        /// Watches a folder for names that come and go; one that is watched already stays so. False when the kernel
        /// watches no more, or when the folder is gone.
        pub fn watch(&mut self, path: &Path, place: WatchedFolder) -> bool {
            if self.places.len() >= WATCHES_MAX {
                return false;
            }
            let what = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
            match inotify::add_watch(self.queue.get_ref(), path, what) {
                Ok(number) => {
                    self.places.insert(number, place);
                    true
                }
                Err(_) => false,
            }
        }

        /// Waits for the next changes. Safe to drop and call again.
        pub async fn ring(&mut self) -> Vec<Rung> {
            loop {
                // A queue that cannot be polled any more: the caller's intervals remain.
                let Ok(mut ready) = self.queue.readable().await else { return std::future::pending().await };
                let rung = drain(self.queue.get_ref(), &mut self.places);
                ready.clear_ready();
                if !rung.is_empty() {
                    return rung;
                }
            }
        }
    }

    /// Everything that is in the queue, each place once.
    fn drain(queue: &std::os::fd::OwnedFd, places: &mut HashMap<i32, WatchedFolder>) -> Vec<Rung> {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(queue, &mut buffer);
        let mut rung: Vec<Rung> = Vec::new();
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return rung,
            };
            let flags = event.events();
            let name = event.file_name().and_then(|name| name.to_str().ok());
            let one = match places.get(&event.wd()) {
                _ if flags.contains(ReadFlags::QUEUE_OVERFLOW) => Some(Rung::All),
                Some(WatchedFolder::Links | WatchedFolder::Pods) if flags.contains(ReadFlags::IGNORED) => {
                    Some(Rung::All)
                }
                Some(WatchedFolder::Links) => name.map(|name| Rung::Link(name.to_owned())),
                Some(WatchedFolder::Pods) => name.map(|name| Rung::Pod(name.to_owned())),
                Some(WatchedFolder::Pod(folder)) => Some(Rung::Pod(folder.clone())),
                Some(WatchedFolder::Container(folder, container)) => {
                    Some(Rung::Container(folder.clone(), container.clone()))
                }
                None => None,
            };
            if flags.contains(ReadFlags::IGNORED) {
                places.remove(&event.wd());
            }
            if rung.last() != one.as_ref() {
                rung.extend(one);
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub fn new() -> std::io::Result<Alarm> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub fn watch(&mut self, _path: &std::path::Path, _place: WatchedFolder) -> bool {
        false
    }

    pub async fn ring(&mut self) -> Vec<Rung> {
        std::future::pending().await
    }
}
