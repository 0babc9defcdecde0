//! Decompressors, for each byte in and out. Inputs are long, outputs short enough to be inflated on this thread.

use std::io::Write;

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::net::compression::{Encoding, Inflater};
use podgate::net::server::body::Gathered;

use crate::generate::Generator;
use crate::measure::check;

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

fn repeated(piece: &[u8], size: usize) -> Vec<u8> {
    piece.repeat(size.div_ceil(piece.len()))
}

fn noise(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..size).map(|_| random.u8(..)).collect()
}

/// More is inflated by another thread, whose work is not counted here.
const SIZE_MAX: usize = 100 << 10;

type Make = fn(usize) -> Vec<u8>;

const BODIES: &[(&str, Encoding, Make)] = &[
    ("gzip of noise", Encoding::Gzip, |size| gzip(&noise(size))),
    ("gzip of zeros", Encoding::Gzip, |size| gzip(&vec![0; size])),
    ("gzip of many empty members", Encoding::Gzip, |size| repeated(&gzip(b""), size)),
    ("gzip of many small members", Encoding::Gzip, |size| repeated(&gzip(b"x"), size)),
    ("deflate of noise", Encoding::Deflate, |size| zlib(&noise(size))),
    // Stored blocks without bytes, none of them the last.
    ("deflate of empty blocks", Encoding::Deflate, |size| {
        [&[0x78, 0x9c][..], &repeated(&[0, 0, 0, 0xff, 0xff], size)].concat()
    }),
    ("zstd of noise", Encoding::Zstd, |size| zstd::encode_all(&noise(size)[..], 1).unwrap()),
    ("zstd of many empty frames", Encoding::Zstd, |size| repeated(&zstd::encode_all(&b""[..], 1).unwrap(), size)),
    ("zstd of many small frames", Encoding::Zstd, |size| repeated(&zstd::encode_all(&b"x"[..], 1).unwrap(), size)),
    ("zstd of skippable frames", Encoding::Zstd, |size| repeated(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], size)),
    ("snappy of noise", Encoding::Snappy, |size| snap::raw::Encoder::new().compress_vec(&noise(size)).unwrap()),
    ("framed snappy of padding", Encoding::SnappyFramed, |size| {
        [&b"\xff\x06\x00\x00sNaPpY"[..], &repeated(&[0xfe, 0, 0, 0], size)].concat()
    }),
];

#[test]
fn every_decompressor_works_linearly_in_what_goes_in_and_comes_out() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, encoding, make) in BODIES {
        let body = Generator::of(name, |size| make(size.min(SIZE_MAX)));
        check("inflate", &[body], &|_, body| {
            let ticket = Budget::unlimited().take(0).unwrap();
            let gathered = Gathered { bytes: Bytes::copy_from_slice(body), ticket };
            let inflated = runtime.block_on(Inflater::new(1).inflate(*encoding, gathered, 64 << 20));
            inflated.map_or(0, |inflated| inflated.bytes.len())
        });
    }
}
