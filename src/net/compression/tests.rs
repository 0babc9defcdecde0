//! Every encoding against good, large, lying and damaged bodies, with the budget watched.

use std::io::Write;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::*;
use crate::core::data::budget::Budget;

const MIB: u64 = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy_frames(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

fn encode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Identity => bytes.to_vec(),
        Encoding::Gzip => gzip(bytes),
        Encoding::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Encoding::Deflate => zlib(bytes),
        Encoding::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        Encoding::SnappyFramed => snappy_frames(bytes),
    }
}

async fn inflate(encoding: Encoding, body: Vec<u8>, limit: u64) -> Result<Vec<u8>, InflateError> {
    let budget = Budget::new(256 * MIB, 256 * MIB);
    inflate_within(&budget, encoding, body, limit).await
}

async fn inflate_within(
    budget: &Arc<Budget>,
    encoding: Encoding,
    body: Vec<u8>,
    limit: u64,
) -> Result<Vec<u8>, InflateError> {
    let ticket = budget.take(body.len() as u64).unwrap();
    let gathered = Gathered { bytes: Bytes::from(body), ticket };
    let inflated = Inflater::new(1).inflate(encoding, gathered, limit).await;
    if let Ok(inflated) = &inflated {
        assert_eq!(budget.used(), inflated.bytes.len() as u64, "the ticket covers the decoded body alone");
    }
    let bytes = inflated.map(|inflated| inflated.bytes.to_vec());
    assert_eq!(budget.used(), 0, "everything was given back");
    bytes
}

fn text(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(b'a'..=b'h')).collect()
}

const ALL: [Encoding; 5] =
    [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::Snappy, Encoding::SnappyFramed];

#[tokio::test]
async fn every_encoding_gives_back_what_went_in_at_any_size() {
    for encoding in ALL {
        for length in [0, 1, 1000, 64 << 10, (64 << 10) + 1, 300_000, 5_000_000] {
            let bytes = text(length);
            let inflated = inflate(encoding, encode(encoding, &bytes), 64 * MIB).await;
            assert!(inflated.as_ref() == Ok(&bytes), "{encoding:?} {length}");
        }
    }
    let raw = raw_deflate(&text(100_000));
    assert_eq!(inflate(Encoding::Deflate, raw, MIB).await.unwrap(), text(100_000));
}

#[tokio::test]
async fn a_body_exactly_at_the_limit_passes_and_one_byte_more_does_not() {
    for encoding in ALL {
        let bytes = text(200_000);
        assert!(inflate(encoding, encode(encoding, &bytes), 200_000).await.is_ok(), "{encoding:?}");
        let over = inflate(encoding, encode(encoding, &bytes), 199_999).await;
        assert_eq!(over, Err(InflateError::TooLarge { limit: 199_999 }), "{encoding:?}");
    }
}

#[tokio::test]
async fn a_bomb_is_stopped_by_its_ratio_before_it_takes_the_budget() {
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
        let bomb = encode(encoding, &vec![0; 60 << 20]);
        let budget = Budget::new(20 * MIB, 20 * MIB);
        assert_eq!(inflate_within(&budget, encoding, bomb, 64 * MIB).await, Err(InflateError::Ratio), "{encoding:?}");
        assert!(budget.peak() <= 9 * MIB, "{encoding:?} took {}", budget.peak());
    }
}

#[tokio::test]
async fn growth_beyond_the_budget_is_refused_not_rejected() {
    for encoding in ALL {
        let budget = Budget::new(5 * MIB, 5 * MIB);
        let body = encode(encoding, &text(4 << 20));
        let answer = inflate_within(&budget, encoding, body, 64 * MIB).await.map(|bytes| bytes.len());
        assert!(matches!(answer, Err(InflateError::OverBudget(_))), "{encoding:?} {answer:?}");
    }
}

#[tokio::test]
async fn all_members_of_a_gzip_body_are_read() {
    for (members, part) in [(2, 10), (2, 100_000), (1_000, 100), (3, 0)] {
        let part = text(part);
        let body = gzip(&part).repeat(members);
        assert_eq!(inflate(Encoding::Gzip, body, MIB).await.unwrap(), part.repeat(members), "{members}");
    }
    let empty = gzip(b"").repeat(10_001);
    assert!(matches!(inflate(Encoding::Gzip, empty, MIB).await, Err(InflateError::Corrupt("gzip", _))));
}

#[tokio::test]
async fn gzip_that_lies_or_is_followed_by_garbage_is_corrupt() {
    let good = gzip(&text(10_000));
    let with_tail = |tail: &[u8]| [good.as_slice(), tail].concat();
    let lying = |at: usize, value: u8| {
        let mut body = good.clone();
        let at = body.len() - at;
        body[at] ^= value;
        body
    };
    for (name, body) in [
        ("trailing garbage", with_tail(b"garbage")),
        ("a damaged second member", with_tail(&good[..good.len() - 1])),
        ("length too small", lying(4, 1)),
        ("length huge", lying(1, 0x7f)),
        ("checksum", lying(8, 1)),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("head alone", good[..10].to_vec()),
        ("empty", Vec::new()),
        ("not gzip", text(100)),
    ] {
        let answer = inflate(Encoding::Gzip, body, MIB).await;
        let answer = answer.map(|bytes| bytes.len());
        assert!(matches!(answer, Err(InflateError::Corrupt("gzip", _))), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn damaged_bodies_of_every_encoding_are_corrupt_or_caught_by_the_receiver_and_never_panic() {
    let seed = 42;
    let mut random = fastrand::Rng::with_seed(seed);
    for encoding in ALL {
        let good = encode(encoding, &text(3_000));
        for round in 0..300 {
            let mut body = good.clone();
            for _ in 0..=random.usize(..3) {
                let at = random.usize(..body.len());
                body[at] = random.u8(..);
            }
            body.truncate(random.usize(..=body.len()));
            let answer = inflate(encoding, body, MIB).await;
            assert!(!matches!(answer, Err(InflateError::OverBudget(_))), "{encoding:?} seed {seed} round {round}");
        }
    }
}

#[tokio::test]
async fn a_snappy_block_that_claims_gigabytes_allocates_nothing() {
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let budget = Budget::new(MIB, MIB);
    let answer = inflate_within(&budget, Encoding::Snappy, claim.to_vec(), u64::MAX).await;
    assert!(matches!(answer, Err(InflateError::Ratio)), "{answer:?}");
    assert!(budget.peak() < 100);
}

#[test]
fn encodings_are_told_by_name_in_any_case_and_lists_are_unknown() {
    for (name, encoding) in [
        ("", Some(Encoding::Identity)),
        ("GZIP", Some(Encoding::Gzip)),
        ("x-snappy-framed", Some(Encoding::SnappyFramed)),
        ("gzip, gzip", None),
        ("br", None),
    ] {
        assert_eq!(Encoding::parse(name), encoding, "{name}");
    }
}

#[tokio::test]
async fn short_bodies_of_every_encoding_pass_long_ones_that_wait() {
    let inflater = Inflater::new(1);
    let budget = Budget::unlimited();
    let gathered = |bytes: Vec<u8>| Gathered { bytes: Bytes::from(bytes), ticket: budget.take(0).unwrap() };
    let (long, short) = (encode(Encoding::Gzip, &text(20 << 20)), text(60 << 10));
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::Snappy, Encoding::SnappyFramed] {
        let mut bombs: FuturesUnordered<_> =
            (0..8).map(|_| inflater.inflate(Encoding::Gzip, gathered(long.clone()), 64 << 20)).collect();
        let mut honest = std::pin::pin!(inflater.inflate(encoding, gathered(encode(encoding, &short)), 64 << 20));
        tokio::select! {
            biased;
            _ = bombs.next() => panic!("{encoding:?}: a long body ended first"),
            inflated = &mut honest => assert_eq!(inflated.unwrap().bytes, short),
        }
    }
}

#[tokio::test]
async fn what_waits_for_a_place_holds_one_step_and_no_window_it_asked_for() {
    let inflater = Inflater::new(1);
    let budget = Budget::unlimited();
    let long = text(20 << 20);
    // Another body has the place.
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let mut other = Box::pin(inflater.aside.run(u64::MAX, move || waits.recv().is_ok()));
    assert!(futures_util::poll!(&mut other).is_pending());
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::SnappyFramed] {
        let body = Bytes::from(encode(encoding, &long));
        let mut waiting: FuturesUnordered<_> = (0..50)
            .map(|_| {
                let gathered = Gathered { bytes: body.clone(), ticket: budget.take(0).unwrap() };
                inflater.inflate(encoding, gathered, 64 << 20)
            })
            .collect();
        // Each is polled once.
        let first = futures_util::poll!(waiting.next());
        assert!(first.is_pending());
        assert!(budget.used() <= 50 * (320 << 10), "{encoding:?}: {} bytes", budget.used());
        drop(waiting);
        assert_eq!(budget.used(), 0);
    }
    done.send(()).unwrap();
    assert!(other.await);
}
