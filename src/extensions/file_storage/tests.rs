//! The log over a disk that holds its syncs up or fails them: what a sender hears, and when.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::*;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::component::ComponentId;
use crate::core::stage::durable::{DurableLog, LogEntry};
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::wal::disk::LogFile;

/// What becomes of syncs.
#[derive(Default)]
struct Rule {
    fails: AtomicBool,
    held: Mutex<bool>,
    free: Condvar,
}

impl Rule {
    fn hold(&self, held: bool) {
        *self.held.lock().expect("no panic") = held;
        self.free.notify_all();
    }

    fn sync(&self) -> io::Result<()> {
        let mut held = self.held.lock().expect("no panic");
        while *held {
            held = self.free.wait(held).expect("no panic");
        }
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::other("EIO")) } else { Ok(()) }
    }
}

struct Ruled(LogFolder, Arc<Rule>);
struct RuledFile(Box<dyn LogFile>, Arc<Rule>);

impl LogDisk for Ruled {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        self.0.list()
    }
    fn create(&mut self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(RuledFile(self.0.create(name)?, self.1.clone())))
    }
    fn open(&mut self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.0.open(name)
    }
    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.0.cut(name, length)
    }
    fn unlink(&mut self, name: &str) -> io::Result<()> {
        self.0.unlink(name)
    }
    fn sync_folder(&mut self) -> io::Result<()> {
        self.0.sync_folder()
    }
    fn lock(&mut self) -> io::Result<Option<Box<dyn Send>>> {
        self.0.lock()
    }
}

impl LogFile for RuledFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(offset, bytes)
    }
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, into)
    }
    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.1.sync()?;
        self.0.sync()
    }
    fn length(&mut self) -> io::Result<u64> {
        self.0.length()
    }
}

/// An open log over such a disk, and the folder.
async fn opened() -> (FileStorage, Arc<Rule>, tempfile::TempDir) {
    let (folder, rule): (_, Arc<Rule>) = (tempfile::tempdir().expect("a folder"), Arc::default());
    let id = ComponentId::parse("file_storage").expect("an id");
    let host = Host::new(Budget::unlimited());
    let cx = BuildContext { id, path: "extensions::file_storage".to_owned(), host };
    let directory = folder.path().to_owned();
    let settings = StorageSettings {
        directory: directory.clone(),
        create_directory: false,
        permissions: 0o750,
        max_bytes: 64 << 20,
        reserve: 0,
        durability: Durability::Group,
        compress_after: None,
    };
    let ruled = rule.clone();
    let disk = move || -> Box<dyn LogDisk> { Box::new(Ruled(LogFolder::at(&directory), ruled.clone())) };
    let storage = FileStorage::new(&cx, settings, Box::new(disk));
    storage.open().await.expect("opened");
    (storage, rule, folder)
}

async fn append(storage: &FileStorage) -> Result<(), ConsumeError> {
    let scope = ScopeGroup { items: vec![Bytes::from_static(b"12345678")].into(), ..ScopeGroup::default() };
    let envelope = Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None };
    let (origin, ticket) = (Origin::internal(UnixNanos(1)), Ticket::free());
    let entry =
        LogEntry { taker: "t", signal: Signal::Logs, envelope: &envelope, items: 1, origin: &origin, ticket: &ticket };
    storage.append(entry).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_success_before_the_sync_has_returned() {
    let (storage, rule, _folder) = opened().await;
    rule.hold(true);
    let mut appended = Box::pin(append(&storage));
    assert!(timeout(Duration::from_millis(300), &mut appended).await.is_err(), "the sync has not returned");
    rule.hold(false);
    assert_eq!(appended.await, Ok(()));
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_refuses_retryably_and_takes_again_when_it_works() {
    let (storage, rule, _folder) = opened().await;
    assert_eq!(append(&storage).await, Ok(()));
    rule.fails.store(true, Ordering::SeqCst);
    let refused = append(&storage).await.expect_err("not on disk");
    assert!(matches!(&refused, ConsumeError::Refused { reason: Reason::UNAVAILABLE, after: Some(_), .. }), "{refused}");
    assert!(storage.trouble().is_some_and(|why| why.contains("cannot write")), "readiness says so");
    rule.fails.store(false, Ordering::SeqCst);
    let works = async {
        while append(&storage).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), works).await.expect("the next segment works");
    let at_ease = async {
        while storage.trouble().is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), at_ease).await.expect("readiness says so");
    storage.close().await;
    let late = append(&storage).await.expect_err("closed");
    assert!(late.is_retryable(), "{late}");
}
