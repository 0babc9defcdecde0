//! The gRPC door: frames of HTTP/2 as they are counted, and a message gathered from as many DATA frames as it came in.

use bytes::Bytes;
use podgate::net::server::connection::frames::{FrameMeter, PREFACE};
use tokio::runtime::Builder;

use crate::generate::Generator;
use crate::harness::{H2, Running, TRACES, framed};
use crate::measure::check;

/// A frame of HTTP/2: RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

#[test]
fn frames_are_counted_in_linear_work_however_they_are_cut() {
    let (data, headers, continuation) = (0, 1, 9);
    let pieces = [
        ("DATA of nothing", frame(data, 0, b"")),
        ("DATA of a byte", frame(data, 0, b"x")),
        ("DATA of 16 KiB", frame(data, 0, &[0; 16 << 10])),
        ("HEADERS", frame(headers, 4, &[0x82])),
        ("a header block in bytes", [frame(headers, 0, &[0x82]), frame(continuation, 4, &[0x84])].concat()),
    ];
    for (name, frames) in pieces {
        for cut in [1, 9, 64 << 10] {
            let name = format!("{name}, read by {cut}");
            let frames = frames.clone();
            let body = Generator::of(&name, move |size| frames.repeat(size.div_ceil(frames.len())));
            check("frames", &[body], &|_, body| {
                let mut meter = FrameMeter::new(u32::MAX).local();
                meter.read(&mut PREFACE.to_vec(), 1, || true).unwrap();
                body.to_vec().chunks_mut(cut).map(|piece| usize::from(meter.read(piece, 1, || true).is_ok())).sum()
            });
        }
    }
}

const YAML: &str = "{protocols: {grpc: {endpoint: '127.0.0.1:0', max_recv_msg_size_mib: 64, \
                    podgate: {control_frames_per_second: 1000000}}}}";
/// Bytes of a message that are sent before its answer is waited for; the first window is larger.
const BODY_BYTES_MAX: usize = 256 << 10;

#[test]
fn a_grpc_message_is_gathered_in_linear_work_however_it_is_framed() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let running = runtime.block_on(Running::start(YAML));
    let client = runtime.block_on(H2::connect(running.grpc()));
    for frame in [64, 1 << 10, 16 << 10] {
        // A field that nobody knows: reading it costs nothing, so what is counted is how it came.
        let body = Generator::of(&format!("frames of {frame} bytes"), |size| {
            let mut body = Vec::new();
            podgate::otlp::write::bytes(&mut body, 1000, &vec![0; size.min(BODY_BYTES_MAX)]);
            body
        });
        check("gRPC", &[body], &|_, body| {
            let body = framed(0, body);
            assert_eq!(runtime.block_on(call(&client, &body, frame)), "0");
            running.sink.payloads.lock().unwrap().clear();
            body.len()
        });
    }
}

async fn call(client: &H2, body: &[u8], frame: usize) -> String {
    let request = http::Request::post(format!("http://t{TRACES}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    for piece in body.chunks(frame) {
        stream.send_data(Bytes::copy_from_slice(piece), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    while let Some(chunk) = answer.data().await {
        let length = chunk.unwrap().len();
        answer.flow_control().release_capacity(length).unwrap();
    }
    let trailers = answer.trailers().await.unwrap().unwrap_or_default();
    trailers.get("grpc-status").map_or_else(String::new, |status| status.to_str().unwrap().to_owned())
}
