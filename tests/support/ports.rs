//! Ports for servers that tests start.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// Below the ports that Linux gives to connections (`ip_local_port_range` begins at 32768): between the moment a test looks
/// and the moment its server binds, no connection that somebody opens can take one of these.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Ports on which nobody listens, on any interface; all are held until the last is found, so that they differ.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut draws = (0_u64..).map(|draw| {
        let random = RandomState::new().hash_one(draw) % u64::try_from(PORTS.len()).expect("a few thousand");
        PORTS.start + u16::try_from(random).expect("within the range")
    });
    let held = [(); N].map(|()| {
        draws
            .by_ref()
            .take(1_000)
            .find_map(|port| TcpListener::bind(("0.0.0.0", port)).ok())
            .expect("a port that is free")
    });
    held.each_ref().map(|listener| listener.local_addr().expect("bound").port())
}

/// One such port.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}
