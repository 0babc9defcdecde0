//! Names that a kubelet may write and names that it never would; a folder that changes as a node's does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::folder::Folder;
use super::names::{PodFolder, link_id, log_number, target};
use super::*;

const UID: &str = "8461c26d-fa60-490f-8b41-96a0b4d346d9";

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A node's `/var/log`.
struct Node {
    root: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["pods", "containers"] {
            fs::create_dir(root.path().join(folder)).expect("made");
        }
        Node { root }
    }

    fn log(&self, pod: &str, uid: &str, container: &str, number: i64) -> String {
        let folder = format!("shop_{pod}_{uid}");
        let path = self.root.path().join("pods").join(&folder).join(container);
        fs::create_dir_all(&path).expect("made");
        fs::write(path.join(format!("{number}.log")), "").expect("written");
        folder
    }

    /// As the kubelet sees it: its own path, not that of our mount.
    #[expect(clippy::too_many_arguments, reason = "the parts of one name")]
    fn link(&self, pod: &str, uid: &str, container: &str, number: i64, id: &str) -> String {
        let name = format!("{pod}_shop_{container}-{id}.log");
        let to = format!("/var/log/pods/shop_{pod}_{uid}/{container}/{number}.log");
        symlink(to, self.root.path().join("containers").join(&name)).expect("linked");
        name
    }

    fn folder(&self) -> Folder {
        Folder::new(self.root.path().to_owned())
    }
}

fn runs(change: &LogChange) -> (Vec<(i64, &str)>, bool) {
    let logs = change.logs.as_ref().expect("something is there");
    (logs.runs.iter().map(|run| (run.number, &run.id[..4])).collect(), logs.complete)
}

proptest! {
    #[test]
    fn what_a_kubelet_writes_reads_back_to_what_it_wrote(
        pod in "[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", namespace in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?",
        container in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", id in "[0-9a-f]{64}", number in 0i64..1_000_000,
    ) {
        let folder = format!("{namespace}_{pod}_{UID}");
        let read = PodFolder::parse(&folder).expect("a folder");
        prop_assert_eq!((read.namespace, read.pod, read.uid), (&*namespace, &*pod, UID));
        let name = format!("{pod}_{namespace}_{container}-{id}.log");
        prop_assert_eq!(link_id(&name, &read, &container), Some(&*id));
        let path = format!("/var/log/pods/{folder}/{container}/{number}.log");
        prop_assert_eq!(target(Path::new(&path)), Some((&*folder, &*container, number)));
        // A name that is too long is cut, and its id with it.
        let cut = format!("{}.log", &name[..name.len() - 4 - 7]);
        prop_assert_eq!(link_id(&cut, &read, &container), None);
    }

    #[test]
    fn no_name_makes_the_parser_panic_or_leave_the_folder(name in ".{0,300}", path in "(/|\\.\\.|pods|a_b_c|x|[0-9]{1,30}\\.log){0,12}") {
        let folder = PodFolder { namespace: "a", pod: "b", uid: "c" };
        prop_assert_eq!(link_id(&name, &folder, "x").map(str::len).unwrap_or(64), 64);
        if let Some((folder, container, number)) = target(Path::new(&path)) {
            prop_assert!(!path.contains(".."));
            prop_assert!(!folder.contains('/') && !container.contains('/') && number >= 0);
        }
        let _ = PodFolder::parse(&name);
        prop_assert!(log_number(&name).is_none_or(|number| number >= 0));
    }
}

#[test]
fn rotated_logs_and_foreign_files_are_no_runs() {
    assert_eq!((log_number("0.log"), log_number("12.log")), (Some(0), Some(12)));
    for name in ["0.log.20261129-120000", "0.log.20261129-120000.gz", "-1.log", "+1.log", ".log", "a.log", "0.txt"] {
        assert_eq!(log_number(name), None, "{name}");
    }
    assert_eq!(target(Path::new("/var/log/pods/../etc/x/0.log")), None);
    assert_eq!(target(Path::new("/etc/a_b_c/x/0.log")), None);
}

#[test]
fn underscores_in_a_pods_name_belong_to_the_pod() {
    let read = PodFolder::parse("shop_we_ird.pod_8461").expect("a folder");
    assert_eq!((read.namespace, read.pod, read.uid), ("shop", "we_ird.pod", "8461"));
    assert_eq!((PodFolder::parse("shop_x"), PodFolder::parse("__"), PodFolder::parse("a_.._b")), (None, None, None));
}

#[test]
fn a_run_is_known_by_its_link_and_a_log_without_a_link_says_that_one_is_coming() {
    let node = Node::new();
    let mut folder = node.folder();
    node.log("cart-1", UID, "app", 0);
    node.link("cart-1", UID, "app", 0, &id('a'));
    let changes = folder.scan().expect("readable");
    assert_eq!(changes.last().map(runs), Some((vec![(0, "aaaa")], true)));
    assert_eq!((&*changes[0].pod, &*changes[0].container, folder.len()), (UID, "app", 1));
    assert_eq!(folder.scan().expect("readable"), [], "nothing is new");
    // The next run: its log is made before it starts.
    let place = node.log("cart-1", UID, "app", 1);
    let coming = folder.container(&place, "app").expect("a change");
    assert_eq!(runs(&coming), (vec![(0, "aaaa")], false));
    let link = node.link("cart-1", UID, "app", 1, &id('b'));
    let started = folder.link(&link).expect("a change");
    assert_eq!(runs(&started), (vec![(0, "aaaa"), (1, "bbbb")], true));
    let run = &started.logs.as_ref().expect("runs").runs[1];
    assert!(run.from <= run.to && run.to <= UnixNanos::now());
}

#[test]
fn what_is_removed_is_forgotten_and_told() {
    let node = Node::new();
    let mut folder = node.folder();
    let place = node.log("cart-1", UID, "app", 0);
    let link = node.link("cart-1", UID, "app", 0, &id('a'));
    folder.scan().expect("readable");
    fs::remove_file(node.root.path().join("containers").join(&link)).expect("removed");
    assert_eq!(folder.link(&link).map(|change| runs(&change).1), Some(false));
    fs::remove_dir_all(node.root.path().join("pods").join(&place)).expect("removed");
    let gone = folder.pod(&place);
    assert_eq!((gone.len(), gone[0].logs.clone(), folder.len()), (1, None, 0));
    assert_eq!(folder.pods().count(), 0);
}

#[test]
fn a_link_without_a_log_or_out_of_the_folder_is_nothing() {
    let node = Node::new();
    let mut folder = node.folder();
    node.link("cart-1", UID, "app", 0, &id('a'));
    let outside = format!("cart-1_shop_app-{}.log", id('b'));
    symlink("/var/log/pods/../../etc/shadow/0.log", node.root.path().join("containers").join(outside)).expect("linked");
    // A file of somebody else in place of a link.
    fs::write(node.root.path().join("containers").join("readme.log"), "").expect("written");
    assert_eq!(folder.scan().expect("readable"), []);
    assert!(folder.is_empty());
}

#[test]
fn a_log_that_was_rotated_does_not_make_its_container_younger() {
    let node = Node::new();
    let mut folder = node.folder();
    let place = node.log("cart-1", UID, "app", 0);
    node.link("cart-1", UID, "app", 0, &id('a'));
    folder.scan().expect("readable");
    let path = node.root.path().join("pods").join(&place).join("app");
    fs::rename(path.join("0.log"), path.join("0.log.20261129-120000")).expect("rotated");
    assert_eq!(folder.container(&place, "app").map(|change| runs(&change).1), Some(false), "for a moment");
    fs::write(path.join("0.log"), "").expect("written");
    let rotated = folder.container(&place, "app").expect("a change");
    assert_eq!(runs(&rotated), (vec![(0, "aaaa")], true));
    let again = node.folder().scan().expect("readable").pop().and_then(|change| change.logs).expect("runs");
    assert!(again.runs[0].from <= again.runs[0].to);
}

#[test]
fn of_two_links_of_one_number_the_later_is_the_newer_run() {
    let node = Node::new();
    let mut folder = node.folder();
    node.log("cart-1", UID, "app", 0);
    node.link("cart-1", UID, "app", 0, &id('b'));
    std::thread::sleep(std::time::Duration::from_millis(10));
    node.link("cart-1", UID, "app", 0, &id('a'));
    let change = folder.scan().expect("readable").pop().expect("a change");
    assert_eq!(runs(&change), (vec![(0, "bbbb"), (0, "aaaa")], true));
}
