//! Which files a configuration comes from, and whether they are other ones now. A volume of a ConfigMap changes by a link
//! that is turned to another folder, so it is the file at the end of all links that is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use tokio::task::spawn_blocking;

use crate::cli::sources::ConfigArgs;
use crate::core::node::{Node, Value};

/// Device, inode, time of the last change in nanoseconds, and size; `None` while there is no such file.
type FileIdentity = Option<(u64, u64, i128, u64)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIdentities(BTreeMap<String, FileIdentity>);

impl FileIdentities {
    /// Before they are read, so that what changes meanwhile is seen later.
    pub fn look(args: &ConfigArgs) -> FileIdentities {
        FileIdentities::of(paths(args, None))
    }

    /// And the files that its values came from.
    pub fn and_of(mut self, tree: Option<&Node>) -> FileIdentities {
        let mut brought_in = Vec::new();
        tree.into_iter().for_each(|tree| brought(tree, &mut brought_in));
        self.0.extend(FileIdentities::of(brought_in).0);
        self
    }

    fn of(paths: Vec<String>) -> FileIdentities {
        FileIdentities(
            paths.into_iter().map(|path| (identity(&path), path)).map(|(identity, path)| (path, identity)).collect(),
        )
    }

    /// Told once for each change.
    pub async fn have_changed(&mut self, args: &ConfigArgs, tree: Option<&Node>) -> bool {
        let paths = paths(args, tree);
        // A volume may hang.
        let Ok(now) = spawn_blocking(move || FileIdentities::of(paths)).await else { return false };
        let changed = now != *self;
        *self = now;
        changed
    }
}

fn identity(path: &str) -> FileIdentity {
    let of = |path: &str| fs::metadata(path).ok();
    // MANIFEST#KEY is a part of a file.
    let found = of(path).or_else(|| of(path.rsplit_once('#')?.0))?;
    let changed = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Some((found.dev(), found.ino(), changed, found.size()))
}

fn paths(args: &ConfigArgs, tree: Option<&Node>) -> Vec<String> {
    let other = |source: &str| source.starts_with("env:") || source.starts_with("yaml:");
    let named = args.config.iter().filter(|source| !other(source));
    let mut paths: Vec<String> =
        named.map(|source| source.strip_prefix("file:").unwrap_or(source).to_owned()).collect();
    tree.into_iter().for_each(|tree| brought(tree, &mut paths));
    paths
}

/// Files that values come from (`${file:path}`).
fn brought(node: &Node, paths: &mut Vec<String>) {
    let texts = node.expression.as_deref().unwrap_or_default().split("${file:").skip(1);
    paths.extend(texts.filter_map(|rest| rest.split_once('}')).map(|(path, _)| path.to_owned()));
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|entry| brought(&entry.value, paths)),
        Value::List(items) => items.iter().for_each(|item| brought(item, paths)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// As the kubelet does it: the file is a link through a link, and the second one is replaced by a rename.
    #[tokio::test]
    async fn a_link_that_is_turned_and_a_file_that_is_written_are_seen_once_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("config.yaml"), "the same length").expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/config.yaml", at("config.yaml")).expect("linked");
        let args = ConfigArgs { config: vec![at("config.yaml").display().to_string()], ..ConfigArgs::default() };
        let mut files = FileIdentities::look(&args);
        assert!(!files.have_changed(&args, None).await);
        symlink("..2", at("..new")).expect("linked");
        fs::rename(at("..new"), at("..data")).expect("turned");
        assert!(files.have_changed(&args, None).await, "the link leads elsewhere");
        assert!(!files.have_changed(&args, None).await, "once");
        fs::write(at("..2").join("config.yaml"), "longer than it was").expect("written");
        assert!(files.have_changed(&args, None).await, "the file is another");
    }
}
