//! Each decompressor: bounded whatever the bytes claim, equal to another decoder where there is one, and to what was
//! compressed.

use std::cell::RefCell;
use std::io::{Read, Write};

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::net::compression::pack::QUICK;
use podgate::net::compression::{Encoding, InflateError, Inflater};
use podgate::net::server::body::Gathered;
use tokio::runtime::{Builder, Runtime};

/// Largest output allowed here; small, so that a bomb is cheap.
const LIMIT: u64 = 1 << 20;
/// What a decoder may hold beyond its output: windows and first buffers.
const BESIDES: u64 = 10 << 20;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

/// The output or the fault; the budget must have been asked for all of it and given back the rest.
fn inflate(encoding: Encoding, data: &[u8]) -> Result<Bytes, InflateError> {
    let budget = Budget::new(64 << 20, 64 << 20);
    let ticket = budget.take(data.len() as u64).expect("room");
    let body = Gathered { bytes: Bytes::copy_from_slice(data), ticket };
    let inflated = RUNTIME.with(|runtime| runtime.borrow().block_on(Inflater::new(1).inflate(encoding, body, LIMIT)));
    assert!(budget.peak() <= data.len() as u64 + LIMIT + BESIDES, "took {}", budget.peak());
    inflated.map(|gathered| {
        assert!(gathered.bytes.len() as u64 <= LIMIT);
        assert_eq!(budget.used(), gathered.bytes.len() as u64);
        gathered.bytes
    })
}

/// Reads a whole stream with another decoder; `None` when it is faulty or longer than allowed.
fn reference(decoder: impl Read) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decoder.take(LIMIT + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= LIMIT).then_some(out)
}

fn same(encoding: Encoding, data: &[u8], theirs: Option<Vec<u8>>) {
    match (inflate(encoding, data), theirs) {
        (Ok(ours), Some(theirs)) => assert_eq!(ours, theirs),
        (Err(_), None) => {}
        (Ok(ours), None) => panic!("only we read it, as {} bytes", ours.len()),
        (Err(fault), Some(_)) => panic!("only we refuse it: {fault}"),
    }
}

fn comes_back(encoding: Encoding, data: &[u8], compressed: &[u8]) {
    if data.len() as u64 <= LIMIT {
        assert_eq!(inflate(encoding, compressed).expect("what was compressed inflates"), data);
    }
}

pub fn gzip(data: &[u8]) {
    let theirs = reference(flate2::bufread::MultiGzDecoder::new(data));
    // Garbage that ends in the trailer of the only member before it passes here, and changes nothing.
    let theirs = theirs.or_else(|| reference(flate2::bufread::GzDecoder::new(data)).filter(|_| repeats_trailer(data)));
    let theirs = theirs.or_else(|| {
        inflate(Encoding::Gzip, data).ok().map(|ours| ours.to_vec()).filter(|ours| is_vouched_for(data, ours))
    });
    // An empty body is no member; the other decoder takes it for none at all.
    if !data.is_empty() {
        same(Encoding::Gzip, data, theirs);
    }
    let (first, second) = data.split_at(data.len() / 2);
    let members = [first, second].map(|part| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).expect("memory");
        encoder.finish().expect("memory")
    });
    comes_back(Encoding::Gzip, data, &members.concat());
}

/// True when the trailer's checksum and length fit. libdeflate reads the two length codes that RFC 1951, section 3.2.6
/// reserves, and the other decoder does not; what they stand for is then what was compressed.
fn is_vouched_for(data: &[u8], inflated: &[u8]) -> bool {
    let mut checksum = flate2::Crc::new();
    checksum.update(inflated);
    data.ends_with(&[checksum.sum().to_le_bytes(), checksum.amount().to_le_bytes()].concat())
}

/// Whether the fast path takes this body, which has bytes after its first member.
fn repeats_trailer(data: &[u8]) -> bool {
    inflate(Encoding::Gzip, data).is_ok()
}

pub fn zstd(data: &[u8]) {
    _ = inflate(Encoding::Zstd, data);
    let compressed = zstd::stream::encode_all(data, 1).expect("memory");
    comes_back(Encoding::Zstd, data, &compressed);
}

pub fn deflate(data: &[u8]) {
    _ = inflate(Encoding::Deflate, data);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(data).expect("memory");
    comes_back(Encoding::Deflate, data, &zlib.finish().expect("memory"));
}

pub fn snappy(data: &[u8]) {
    let claimed = snap::raw::decompress_len(data).ok().filter(|length| *length as u64 <= LIMIT);
    let theirs = claimed.and_then(|_| snap::raw::Decoder::new().decompress_vec(data).ok());
    same(Encoding::Snappy, data, theirs);
    comes_back(Encoding::Snappy, data, &snap::raw::Encoder::new().compress_vec(data).expect("memory"));
}

pub fn snappy_framed(data: &[u8]) {
    same(Encoding::SnappyFramed, data, reference(snap::read::FrameDecoder::new(data)));
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(data).expect("memory");
    comes_back(Encoding::SnappyFramed, data, &encoder.into_inner().expect("memory"));
}

/// Makes a body of the input and its repeats, so that repeats leave the window, and compresses it in parts.
pub fn pack(data: &[u8]) {
    let [repeats, part, rest @ ..] = data else { return };
    let mut body = Vec::new();
    for number in 0..=usize::from(*repeats) {
        body.extend_from_slice(rest);
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.truncate(LIMIT as usize);
    let parts: Vec<Bytes> = body.chunks(usize::from(*part) * 257 + 1).map(Bytes::copy_from_slice).collect();
    let packed = QUICK.pack(&parts).expect("memory").concat();
    assert!(packed.len() <= body.len() + body.len() / 64 + 32, "{} of {}", packed.len(), body.len());
    assert_eq!(reference(flate2::bufread::GzDecoder::new(&packed[..])).expect("what was compressed inflates"), body);
    comes_back(Encoding::Gzip, &body, &packed);
}
