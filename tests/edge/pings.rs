//! Control frames of honest clients: what reacts to our answers is never a flood, and a flood hears why it ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::attack::{call_head, frame, raw};
use super::harness::{Running, framed, spans};
use super::socket::Socket;

const FEW: &str = "\
protocols:
  grpc:
    endpoint: 127.0.0.1:0
    podgate: {control_frames_per_second: 20}
";

/// Type, flags, stream and payload of the next frame.
async fn read_frame(stream: &mut Socket) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let [a, b, c, kind, flags, d, e, f, g] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, flags, u32::from_be_bytes([d, e, f, g]), payload)
}

/// What grpc-go and grpc-java do to estimate bandwidth: one PING with each DATA frame they read.
#[tokio::test]
async fn a_client_that_pings_with_every_answer_is_served_and_one_that_only_pings_hears_why_it_is_cut() {
    let running = Running::start(FEW).await;
    let mut stream = raw(running.grpc()).await;
    for id in (1..).step_by(2).take(400) {
        let mut call = frame(1, 4, id, &call_head());
        call.extend(frame(0, 1, id, &framed(0, &spans(1))));
        stream.write_all(&call).await.unwrap();
        loop {
            let (kind, flags, of, payload) = read_frame(&mut stream).await;
            assert_ne!(kind, 7, "GOAWAY {}", String::from_utf8_lossy(&payload));
            if kind == 0 {
                stream.write_all(&frame(6, 0, 0, b"estimate")).await.unwrap();
            }
            if kind == 1 && of == id && flags & 1 == 1 {
                break;
            }
        }
    }
    assert_eq!(running.counter("podgate_receiver_connections_closed"), 0);

    // The same client goes on with nothing but PINGs: they outlast what it is forgiven.
    let _ = stream.write_all(&frame(6, 0, 0, b"estimate").repeat(5_000)).await;
    let farewell = async {
        loop {
            let (kind, _, _, payload) = read_frame(&mut stream).await;
            if kind == 7 {
                return payload;
            }
        }
    };
    let farewell = timeout(Duration::from_secs(10), farewell).await.expect("a GOAWAY");
    assert_eq!(farewell, [&[0, 0, 3, 31, 0, 0, 0, 11][..], b"ping_flood"].concat());
    assert_eq!(running.counter_with("podgate_receiver_connections_closed", "ping_flood"), 1);
}
