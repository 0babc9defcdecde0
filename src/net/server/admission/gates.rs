//! The gates of all listeners of a receiver, whose connections share memory: where these hold all that they may, one that
//! nobody uses makes room for another.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::net::server::admission::connection_limit::ConnectionLimit;
use crate::net::server::connection::facts::Connection;

/// Calls that find no memory look for an unused connection no more often: each look goes through all of them.
const LOOKS_APART: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub struct Gates {
    // Locked when a listener begins and when a connection has to make room.
    gates: Mutex<Vec<Weak<ConnectionLimit>>>,
    // Locked when a call finds no memory.
    looked: Mutex<Option<Instant>>,
}

impl Gates {
    pub fn add(&self, gate: &Arc<ConnectionLimit>) {
        let mut gates = self.gates.locked();
        gates.retain(|known| known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Arc::as_ptr(gate)));
        gates.push(Arc::downgrade(gate)); // granted: one for each listener
    }

    /// Ends an unused connection, so that its memory is there for the newcomer; false where every other one is in use.
    pub fn make_room(&self, newcomer: &Connection) -> bool {
        let gates: Vec<Arc<ConnectionLimit>> = self.gates.locked().iter().filter_map(Weak::upgrade).collect();
        let own = gates.iter().map(|gate| gate.places(newcomer)).sum();
        let unused = gates.iter().filter_map(|gate| Some((gate.unused(own)?, gate)));
        let most = unused.max_by_key(|(rank, _)| *rank);
        most.is_some_and(|((_, Reverse(number)), gate)| gate.end(number))
    }

    /// The same for a call that found no memory and comes again; most calls that come together do nothing.
    pub fn make_room_for_call(&self, of: &Connection) {
        let now = Instant::now();
        let mut looked = self.looked.locked();
        if looked.is_some_and(|looked| now.duration_since(looked) < LOOKS_APART) {
            return;
        }
        *looked = Some(now);
        drop(looked);
        self.make_room(of);
    }
}
