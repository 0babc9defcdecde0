//! Bodies that are made up come back, whatever their parts and whatever was packed before; codes keep their limits.

use std::io::Read;

use super::*;

fn packed(parts: &[&[u8]], deflater: &mut Deflater) -> Vec<u8> {
    let (mut out, mut sum) = (Vec::new(), Crc::new());
    for part in parts {
        deflater.write(part, &mut sum, &mut out).unwrap();
    }
    deflater.finish(&mut out).unwrap();
    let mut whole = Crc::new();
    parts.iter().for_each(|part| whole.update(part));
    assert_eq!((sum.sum(), sum.amount()), (whole.sum(), whole.amount()), "the sum is that of all parts");
    out
}

fn inflated(packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(packed);
    reader.read_to_end(&mut out).unwrap();
    assert_eq!(reader.total_in(), packed.len() as u64, "bytes behind the end");
    out
}

/// Text that repeats itself by chance: pieces of what was written before, new bytes, and runs of one byte.
fn made_up(random: &mut fastrand::Rng, size: usize) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    let letters = random.u8(1..=255);
    while text.len() < size {
        match random.u8(..4) {
            0 if !text.is_empty() => {
                let from = random.usize(text.len().saturating_sub(40_000)..text.len());
                let length = random.usize(1..=700);
                for at in from..from + length {
                    text.push(text[at]);
                }
            }
            1 => text.extend(std::iter::repeat_n(random.u8(..), random.usize(1..400))),
            _ => text.extend((0..random.usize(1..200)).map(|_| random.u8(..=letters))),
        }
    }
    text.truncate(size);
    text
}

#[test]
fn made_up_bodies_inflate_to_themselves_whatever_their_parts() {
    let seed = std::env::var("PODGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut deflater = Deflater::new();
    for _ in 0..120 {
        let size = [0, 1, 2, 3, 4, 5, 300, 5_000, 70_000, 131_072, 200_000, 500_000][random.usize(..12)];
        let body = made_up(&mut random, size);
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut rest = &body[..];
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(random.usize(1..=rest.len().min(150_000)));
            parts.push(part);
            rest = behind;
        }
        let packed = packed(&parts, &mut deflater);
        assert!(inflated(&packed) == body, "seed {seed}, {size} bytes in {} parts", parts.len());
    }
}

/// Lines of a bulk request: what stands around two ids, a time and a path is the same in each.
fn documents(random: &mut fastrand::Rng) -> Vec<u8> {
    let resource = r#""resource":{"attributes":{"service.name":"cart","k8s.pod.name":"cart-7d9c5b6f48-x2x4z"}}"#;
    let document = |_| {
        let (trace, span, time, path) = (random.u128(..), random.u64(..), random.u32(..), random.u8(..5));
        format!(
            "{{\"create\":{{\"_index\":\"traces-generic.otel-default\",\"require_data_stream\":true}}}}\n{{\"@timestamp\":\
             \"17961741093{time:010}\",\"trace_id\":\"{trace:032x}\",\"span_id\":\"{span:016x}\",\"name\":\"GET /orders\",\
             \"attributes\":{{\"http.request.method\":\"POST\",\"url.path\":\"/api/v1/{path}\"}},{resource}}}\n"
        )
    };
    (0..2_000).map(document).collect::<String>().into_bytes()
}

#[test]
fn alike_documents_become_smaller_than_at_the_first_level_of_zlib() {
    let body = documents(&mut fastrand::Rng::with_seed(3));
    let ours = packed(&[&body], &mut Deflater::new());
    assert!(inflated(&ours) == body);
    let mut theirs = Vec::with_capacity(body.len());
    let mut zlib = flate2::Compress::new(flate2::Compression::new(1), false);
    zlib.compress_vec(&body, &mut theirs, flate2::FlushCompress::Finish).unwrap();
    println!("{} bytes: {} here, {} by zlib", body.len(), ours.len(), theirs.len());
    assert!(ours.len() * 10 < theirs.len() * 9, "{} and {}", ours.len(), theirs.len());
}

#[test]
fn a_part_of_several_pieces_inflates_to_itself() {
    let mut body = documents(&mut fastrand::Rng::with_seed(4)).repeat(PIECE_BYTES / 700_000 + 1);
    for length in
        [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, PIECE_BYTES + IN_PLACE_MIN, body.len()].into_iter().rev()
    {
        body.truncate(length);
        assert!(inflated(&packed(&[&body], &mut Deflater::new())) == body, "{length}");
    }
}

#[test]
fn what_does_not_repeat_is_stored() {
    let mut random = fastrand::Rng::with_seed(5);
    let noise: Vec<u8> = (0..1_000_000).map(|_| random.u8(..)).collect();
    let packed = packed(&[&noise], &mut Deflater::new());
    assert!(packed.len() < noise.len() + noise.len() / 500, "{}", packed.len());
    assert!(inflated(&packed) == noise);
}

#[test]
fn positions_begin_anew_before_they_overflow() {
    let mut random = fastrand::Rng::with_seed(6);
    let body = made_up(&mut random, 600_000);
    let mut deflater = Deflater::new();
    let first = packed(&[&body], &mut deflater);
    deflater.packing.search.base = LAST_POSITION - 200_000;
    let across = packed(&[&body], &mut deflater);
    assert!(deflater.packing.search.base < LAST_POSITION / 2, "it did not come across");
    assert!(inflated(&first) == body && inflated(&across) == body);
}

#[test]
fn a_body_is_packed_alike_whatever_was_packed_before() {
    let mut random = fastrand::Rng::with_seed(7);
    let (first, second) = (made_up(&mut random, 90_000), made_up(&mut random, 90_000));
    let mut used = Deflater::new();
    packed(&[&first], &mut used);
    assert!(packed(&[&second], &mut used) == packed(&[&second], &mut Deflater::new()));
}

#[test]
fn codes_stay_within_their_limit_whatever_the_counts() {
    // Fibonacci's numbers make the deepest tree.
    let (mut counts, mut last) = ([0u32; 22], (1, 1));
    for count in &mut counts {
        *count = last.0;
        last = (last.1, last.0 + last.1);
    }
    for limit in [5, 7, 15] {
        let lengths = codes::lengths(&counts, limit);
        let sum: u32 = lengths.iter().map(|length| 1 << (limit - usize::from(*length))).sum();
        assert!(lengths.iter().all(|length| (1..=limit).contains(&usize::from(*length))), "{lengths:?}");
        assert_eq!(sum, 1 << limit, "{lengths:?}");
    }
    assert_eq!(codes::lengths(&[0u32; 5], 7), [1, 1, 0, 0, 0]);
    assert_eq!(codes::lengths(&[0u32, 0, 9], 7), [1, 0, 1]);
}
