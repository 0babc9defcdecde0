//! The store against a plain list of what it should hold, and its promises about memory.

use super::*;

/// A run of spans with these lengths, all bytes `fill`.
fn wire(lengths: &[usize], fill: u8) -> Vec<u8> {
    let mut out = Vec::new();
    lengths.iter().for_each(|length| write::bytes(&mut out, 2, &vec![fill; *length]));
    out
}

fn append(store: &mut SpanStore, owner: u32, previous: RunAt, wire: &[u8]) -> RunAt {
    let spans = spans_of(wire).count() as u32;
    let header =
        RunHeader { previous, owner, group: owner + 1, scope: 2, spans, has_states: owner % 2 == 1, length: 0 };
    store.append(header, wire.len(), |out| out.extend_from_slice(wire))
}

/// The runs of a chain, latest first.
fn chain(store: &SpanStore, last: RunAt) -> Vec<Vec<u8>> {
    let mut runs = Vec::new();
    let mut at = last;
    while !at.is_none() {
        runs.push(store.wire(at).to_vec());
        at = store.header(at).previous;
    }
    runs
}

fn free_chain(store: &mut SpanStore, last: RunAt) {
    let mut at = last;
    while !at.is_none() {
        at = store.free(at).previous;
    }
}

fn compact(store: &mut SpanStore, heads: &mut [(u32, RunAt)], links: usize) -> bool {
    let mut links = links;
    let Some(chunk) = store.sparse_chunk() else { return false };
    for owner in store.owners(chunk) {
        if let Some((_, last)) = heads.iter_mut().find(|(known, _)| *known == owner) {
            *last = store.move_out(chunk, *last, &mut links);
        }
    }
    true
}

#[test]
fn a_run_reads_back_as_it_came() {
    let mut store = SpanStore::new(0);
    let first = append(&mut store, 7, RunAt::NONE, &wire(&[5, 0, 300], 1));
    let second = append(&mut store, 7, first, &wire(&[9], 2));
    let header = store.header(first);
    assert_eq!((header.owner, header.group, header.scope, header.spans), (7, 8, 2, 3));
    assert_eq!(store.spans(first).map(<[u8]>::len).collect::<Vec<_>>(), [5, 0, 300]);
    assert_eq!(chain(&store, second), [wire(&[9], 2), wire(&[5, 0, 300], 1)]);
    assert_eq!(store.live(), run_cost(wire(&[5, 0, 300], 1).len() as u64) + run_cost(wire(&[9], 2).len() as u64));
    assert!(store.invariants());
}

#[test]
fn a_large_run_has_a_chunk_of_its_own_that_goes_with_it() {
    let mut store = SpanStore::new(u64::MAX);
    let small = append(&mut store, 1, RunAt::NONE, &wire(&[10], 1));
    let large = append(&mut store, 2, RunAt::NONE, &wire(&[900_000], 2));
    assert_ne!(small.chunk, large.chunk);
    assert!(store.capacity() < 900_000 + 100 + CHUNK_BYTES as u64);
    store.free(large);
    assert_eq!(store.capacity(), CHUNK_BYTES as u64, "not kept for reuse: no other run fits it so well");
    assert!(store.invariants());
}

/// Fills `chunks` chunks with runs of traces of their own and returns them.
fn fill(store: &mut SpanStore, chunks: usize) -> Vec<(u32, RunAt)> {
    let wire = wire(&[1000; 4], 3);
    let runs = chunks * (CHUNK_BYTES / run_cost(wire.len() as u64) as usize);
    (0..runs as u32).map(|owner| (owner, append(store, owner, RunAt::NONE, &wire))).collect()
}

#[test]
fn empty_chunks_are_reused_and_what_nothing_needs_is_given_back_by_halves() {
    let mut store = SpanStore::new(100 * CHUNK_BYTES as u64);
    let runs = fill(&mut store, 33);
    let full = store.capacity();
    runs.iter().for_each(|(_, at)| _ = store.free(*at));
    assert_eq!((store.live(), store.capacity()), (0, full), "kept");
    let runs = fill(&mut store, 33);
    assert_eq!(store.capacity(), full, "and used again");
    runs.iter().for_each(|(_, at)| _ = store.free(*at));
    store.thin_out();
    assert_eq!(store.capacity(), full, "all of them were in use a moment ago");
    let mut capacities = Vec::new();
    for _ in 0..6 {
        store.thin_out();
        capacities.push(store.capacity() / CHUNK_BYTES as u64);
        assert!(store.invariants());
    }
    assert_eq!(capacities, [17, 9, 5, 5, 5, 5], "down to a few and the current one");
}

#[test]
fn no_more_empty_chunks_are_kept_than_allowed_and_none_when_memory_is_wanted() {
    let mut store = SpanStore::new(10 * CHUNK_BYTES as u64);
    fill(&mut store, 40).iter().for_each(|(_, at)| _ = store.free(*at));
    assert_eq!(store.capacity(), 11 * CHUNK_BYTES as u64);
    assert_eq!(store.shed(3 * CHUNK_BYTES as u64 - 1), 3 * CHUNK_BYTES as u64);
    assert_eq!(store.shed(u64::MAX), 7 * CHUNK_BYTES as u64);
    assert_eq!((store.shed(1), store.capacity()), (0, CHUNK_BYTES as u64));
    assert!(store.invariants());
}

#[test]
fn thinly_used_chunks_are_emptied_until_little_is_unused() {
    let mut store = SpanStore::new(0);
    let runs = fill(&mut store, 40);
    let (mut left, freed): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(owner, _)| owner % 8 == 0);
    assert!(store.sparse_chunk().is_none(), "nothing to do while all is used");
    freed.iter().for_each(|(_, at)| _ = store.free(*at));
    let before = store.capacity();
    let mut moves = 0;
    while compact(&mut store, &mut left, usize::MAX) {
        moves += 1;
        assert!(store.invariants() && moves < 1000);
    }
    let most = store.live() + store.live() / 8 + (SPARE_CHUNKS_MIN + 2) as u64 * CHUNK_BYTES as u64;
    assert!(store.capacity() <= most && most < before / 2, "{} of {before}, {} live", store.capacity(), store.live());
    assert!(left.iter().all(|(_, at)| chain(&store, *at) == [wire(&[1000; 4], 3)]));
}

#[test]
fn a_chain_too_long_to_follow_at_once_stays_whole() {
    let mut store = SpanStore::new(0);
    let filling = fill(&mut store, 3);
    let mut last = RunAt::NONE;
    for number in 0..100 {
        last = append(&mut store, 9_999, last, &wire(&[100], number));
        append(&mut store, 5_000_000, RunAt::NONE, &wire(&[3000], 0));
    }
    let expected = chain(&store, last);
    filling.iter().for_each(|(_, at)| _ = store.free(*at));
    for chunk in 0..8 {
        for mut links in [0, 1, 7, 50] {
            last = store.move_out(chunk, last, &mut links);
            assert_eq!(chain(&store, last), expected);
            assert!(store.invariants());
        }
    }
}

#[test]
fn it_agrees_with_a_plain_list_whatever_comes_goes_and_moves() {
    let mut rng = fastrand::Rng::with_seed(23);
    let mut store = SpanStore::new(2 * CHUNK_BYTES as u64);
    let mut heads: Vec<(u32, RunAt)> = Vec::new();
    let mut expected: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut owners = 0;
    for round in 0..20_000u32 {
        match rng.u8(0..10) {
            0..=5 => {
                let lengths: Vec<usize> = (0..rng.usize(1..6)).map(|_| rng.usize(0..3000)).collect();
                let run = wire(&lengths, round as u8);
                if heads.is_empty() || rng.u8(0..3) == 0 {
                    owners += 1;
                    heads.push((owners, RunAt::NONE));
                    expected.push(Vec::new());
                }
                let at = rng.usize(..heads.len());
                heads[at].1 = append(&mut store, heads[at].0, heads[at].1, &run);
                expected[at].insert(0, run);
            }
            6..=7 if heads.len() > 50 => {
                let at = rng.usize(..heads.len());
                free_chain(&mut store, heads.swap_remove(at).1);
                expected.swap_remove(at);
            }
            8 => _ = compact(&mut store, &mut heads, rng.usize(0..200)),
            _ => store.thin_out(),
        }
        if round % 500 == 0 {
            assert!(store.invariants(), "seed 23, round {round}");
            for ((_, last), expected) in heads.iter().zip(&expected) {
                assert_eq!(chain(&store, *last), *expected, "seed 23, round {round}");
            }
        }
    }
    heads.iter().for_each(|(_, last)| free_chain(&mut store, *last));
    assert_eq!(store.live(), 0);
    assert!(store.invariants());
}
