//! The corpora of `make fuzz`, replayed through the same functions: what was once found stays found.

#![expect(clippy::unwrap_used, reason = "what a test crate's helpers unwrap ends that test, as it should")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

#[path = "otlp/arbitrary.rs"]
mod arbitrary;
#[path = "edge_fuzz/seeds.rs"]
mod seeds;
#[path = "../fuzz/targets/mod.rs"]
mod targets;

/// Far above what any input takes; a hang must fail here and not in CI's patience.
const INPUT_MAX: Duration = Duration::from_secs(20);

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

/// `UPDATE=1` writes them.
#[test]
fn every_target_begins_with_seeds_that_reach_its_inside() {
    for (target, _) in targets::ALL {
        let seeds = seeds::of(target);
        assert!(seeds.len() >= 3, "{target} has {} seeds", seeds.len());
        let folder = corpus(target);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            seeds
                .iter()
                .enumerate()
                .for_each(|(at, seed)| std::fs::write(folder.join(format!("seed-{at:02}")), seed).unwrap());
        }
        let files = files(&folder);
        for (at, seed) in seeds.iter().enumerate() {
            assert_eq!(files.get(&format!("seed-{at:02}")), Some(seed), "{target} {at}: UPDATE=1 rewrites it");
        }
    }
}

macro_rules! replay {
    ($($test:ident $target:literal)*) => {
        $(#[test]
        fn $test() {
            replay($target);
        })*

        #[test]
        fn no_target_is_forgotten() {
            let replayed = [$($target),*];
            assert_eq!(targets::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>(), replayed);
        }
    };
}

replay! {
    requests_replay "request"
    items_replay "item"
    json_replays "json"
    json_against_protobuf_replays "json_differential"
    frames_replay "frames"
    grpc_calls_replay "grpc"
    http_heads_replay "http"
    gzip_replays "gzip"
    zstd_replays "zstd"
    deflate_replays "deflate"
    packing_replays "pack"
    snappy_replays "snappy"
    framed_snappy_replays "snappy_framed"
    yaml_replays "yaml"
    ottl_replays "ottl"
    audit_replays "audit"
    lines_replay "lines"
    journal_replays "journal"
}

fn replay(name: &str) {
    let target = targets::ALL.iter().find(|(known, _)| *known == name).unwrap().1;
    for (file, data) in files(&corpus(name)) {
        let begun = Instant::now();
        let outcome = std::panic::catch_unwind(|| target(&data));
        assert!(outcome.is_ok(), "fuzz/corpus/{name}/{file} breaks a promise");
        assert!(begun.elapsed() < INPUT_MAX, "fuzz/corpus/{name}/{file} took {:?}", begun.elapsed());
    }
}
