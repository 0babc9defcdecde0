//! Who may connect: open connections counted in total and by address, and who makes room when there is none.
//!
//! Counting under one short lock, taken twice per connection and never across an await. A full gate gives the place of
//! the oldest connection without an open request to a new one, so that connections nobody uses keep nobody out; where it
//! is memory that they hold, whoever has most of them gives.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::core::lock::Locked;
use crate::net::server::connection::cause::CloseCause;
use crate::net::server::connection::facts::Connection;

/// A connection without requests for so long makes room for another one; SDKs send spans and logs more often.
const UNUSED: Duration = Duration::from_secs(10);

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("too many open connections")]
    Full,
    #[error("too many open connections of this address")]
    AddressFull,
}

impl Closed {
    /// What they are counted as.
    pub fn cause(self) -> CloseCause {
        match self {
            Closed::Full => CloseCause::ConnectionsMax,
            Closed::AddressFull => CloseCause::ConnectionsPerAddressMax,
        }
    }
}

/// How many places there are, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub all: usize,
    pub per_address: usize,
    /// Of all places, those that only the node's own addresses get.
    pub kept: usize,
    /// An address whose places are all taken gives up its oldest idle connection for a new one, instead of being refused.
    pub renews: bool,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    address: Option<IpAddr>,
    of_node: bool,
}

/// Invariant: `by_address` counts the entries of `open` that have an address, `of_node` those of the node; no count by
/// address is zero.
#[derive(Debug, Default)]
struct Counts {
    /// By number, so the oldest first.
    open: BTreeMap<u64, Entry>,
    by_address: HashMap<IpAddr, usize>,
    of_node: usize,
}

impl Counts {
    fn is_full(&self, caps: &Caps, of_node: bool) -> bool {
        let pods = self.open.len() - self.of_node;
        self.open.len() >= caps.all || !of_node && pods >= caps.all.saturating_sub(caps.kept)
    }

    /// Ends the oldest matching connection without an open request; false when there is none.
    fn evict(&mut self, matches: impl Fn(&Entry) -> bool) -> bool {
        let idle = self.open.iter().find(|(_, entry)| entry.connection.open_requests() == 0 && matches(entry));
        let Some(number) = idle.map(|(number, _)| *number) else { return false };
        if let Some(entry) = self.remove(number) {
            entry.connection.ask_close(CloseCause::Evicted);
        }
        true
    }

    /// Open connections of the address; none of unix sockets.
    fn places(&self, address: Option<IpAddr>) -> usize {
        address.and_then(|address| self.by_address.get(&address)).copied().unwrap_or_default()
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.open.remove(&number)?;
        self.of_node -= usize::from(entry.of_node);
        if let Some(address) = entry.address
            && let Some(left) = self.by_address.get_mut(&address)
        {
            *left -= 1;
            if *left == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(entry)
    }
}

#[derive(Debug)]
pub struct ConnectionLimit {
    caps: Caps,
    counts: Mutex<Counts>,
}

impl ConnectionLimit {
    pub fn new(caps: Caps) -> Arc<ConnectionLimit> {
        Arc::new(ConnectionLimit { caps, counts: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.locked()
    }

    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// How many open connections each address has; those over unix sockets have none.
    pub fn addresses(&self) -> Vec<(IpAddr, usize)> {
        self.lock().by_address.iter().map(|(address, connections)| (*address, *connections)).collect()
    }

    /// True when the next connection of a pod must be given the place of another one.
    pub fn is_crowded(&self) -> bool {
        self.lock().is_full(&self.caps, false)
    }

    /// Of the connections that nothing is open on, the oldest of the address that has most of them: one without requests for
    /// a while, or a used one of an address with more than twice as many as `places`. How many that address has, and its
    /// number.
    pub fn unused(&self, places: usize) -> Option<(usize, Reverse<u64>)> {
        let counts = self.lock();
        let quiet = counts
            .open
            .iter()
            .filter(|(_, Entry { connection, .. })| connection.open_requests() + connection.open_streams() == 0);
        let ranked = quiet.filter_map(|(number, entry)| {
            let (of_address, connection) = (counts.places(entry.address), &entry.connection);
            let may_go = connection.idle() >= UNUSED || connection.requests() > 0 && of_address > 2 * places;
            may_go.then_some((of_address, Reverse(*number)))
        });
        ranked.max()
    }

    /// Open connections of this one's address, itself among them.
    pub fn places(&self, connection: &Connection) -> usize {
        self.lock().places(connection.peer.map(|peer| peer.ip().to_canonical()))
    }

    /// Asks the connection to end, so that its memory is there for another; false when it has gone.
    pub fn end(&self, number: u64) -> bool {
        let entry = self.lock().remove(number);
        entry.inspect(|entry| entry.connection.ask_close(CloseCause::Evicted)).is_some()
    }

    /// A place for one connection. `of_node`: it comes from the node's own address.
    pub fn enter(
        self: &Arc<ConnectionLimit>,
        connection: &Arc<Connection>,
        of_node: bool,
    ) -> Result<ConnectionSlot, Closed> {
        let address = connection.peer.map(|peer| peer.ip().to_canonical());
        let caps = &self.caps;
        let mut counts = self.lock();
        let of_address = address.and_then(|address| counts.by_address.get(&address)).copied().unwrap_or(0);
        if address.is_some()
            && of_address >= caps.per_address
            && !(caps.renews && counts.evict(|entry| entry.address == address))
        {
            return Err(Closed::AddressFull);
        }
        if counts.is_full(caps, of_node) && !(counts.evict(|entry| !entry.of_node) || of_node && counts.evict(|_| true))
        {
            return Err(Closed::Full);
        }
        counts.of_node += usize::from(of_node);
        if let Some(address) = address {
            *counts.by_address.entry(address).or_default() += 1;
        }
        counts.open.insert(connection.number, Entry { connection: connection.clone(), address, of_node });
        Ok(ConnectionSlot { gate: self.clone(), number: connection.number })
    }
}

/// A place held by an open connection; it may have been given away already.
#[derive(Debug)]
pub struct ConnectionSlot {
    gate: Arc<ConnectionLimit>,
    number: u64,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.gate.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::core::time::UnixNanos;

    fn from(address: &str) -> Arc<Connection> {
        Connection::new(Some(SocketAddr::new(address.parse().unwrap(), 1)), UnixNanos(0))
    }

    const STRICT: Caps = Caps { all: 3, per_address: 2, kept: 0, renews: false };

    #[test]
    fn places_are_bounded_in_total_and_by_address_and_given_back() {
        let gate = ConnectionLimit::new(STRICT);
        let busy = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|address| {
            let connection = from(address);
            let place = gate.enter(&connection, false).unwrap();
            (place, connection.request(), connection)
        });
        assert_eq!(gate.enter(&from("10.0.0.1"), false).unwrap_err(), Closed::AddressFull);
        let local = Connection::new(None, UnixNanos(0));
        assert_eq!(gate.enter(&local, false).unwrap_err(), Closed::Full);
        let [first, second, third] = busy;
        drop(first);
        gate.enter(&from("10.0.0.1"), false).unwrap();
        drop((second, third));
        assert_eq!(gate.open(), 0);
        assert!(gate.lock().by_address.is_empty());
    }

    #[test]
    fn a_full_gate_gives_the_place_of_the_oldest_idle_connection_away_and_never_a_busy_ones() {
        let gate = ConnectionLimit::new(STRICT);
        let (busy, idle) = (from("10.0.0.1"), from("10.0.0.2"));
        let places = [&busy, &idle, &from("10.0.0.3")].map(|connection| gate.enter(connection, false).unwrap());
        let _request = busy.request();
        let newcomer = from("10.0.0.4");
        let _place = gate.enter(&newcomer, false).unwrap();
        assert_eq!((busy.cause(), idle.cause()), (None, Some(CloseCause::Evicted)));
        assert_eq!(gate.open(), 3);
        drop(places);
        assert_eq!(gate.open(), 1, "a place that was given away is not given back twice");
        assert_eq!(gate.enter(&from("10.0.0.4"), false).map(|_| ()), Ok(()));
    }

    #[test]
    fn kept_places_are_the_nodes_and_a_full_address_renews_its_own() {
        let gate = ConnectionLimit::new(Caps { all: 4, per_address: 2, kept: 1, renews: true });
        let pods: Vec<_> = (0..20).map(|number| from(&format!("10.0.0.{}", number % 10))).collect();
        let mut places: Vec<_> = pods.iter().map(|pod| gate.enter(pod, false).unwrap()).collect();
        assert_eq!(gate.open(), 3);
        let probe = from("10.1.0.1");
        places.push(gate.enter(&probe, true).unwrap());
        places.extend(pods.iter().map(|_| gate.enter(&from("10.0.0.77"), false).unwrap()));
        assert_eq!((gate.open(), probe.cause()), (4, None), "nobody takes the probe's place");
        assert_eq!(gate.lock().by_address[&"10.0.0.77".parse().unwrap()], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unused_connection_of_whoever_has_most_makes_room_and_no_other() {
        let caps = Caps { all: 100, per_address: 50, kept: 0, renews: false };
        let gate = ConnectionLimit::new(caps);
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.3", "10.0.0.3"];
        let open: Vec<_> = addresses.into_iter().map(from).collect();
        let _places: Vec<_> = open.iter().map(|connection| gate.enter(connection, false).unwrap()).collect();
        assert_eq!(gate.unused(1), None, "nothing was asked over any of them yet, and they are new");
        open.iter().for_each(|connection| drop(connection.request()));
        assert_eq!(gate.unused(2), None, "three are not more than twice two, and all were just used");
        assert_eq!(gate.unused(1), Some((3, Reverse(open[3].number))));
        let busy = open[3].request();
        assert_eq!(gate.unused(1), Some((3, Reverse(open[4].number))), "one with an open request stays");
        drop(busy);
        tokio::time::advance(UNUSED).await;
        let silent = [from("10.0.0.4"), from("10.0.0.5")];
        let _others = silent.each_ref().map(|connection| gate.enter(connection, false).unwrap());
        tokio::time::advance(UNUSED / 2).await;
        drop(open[3].request());
        assert_eq!(gate.unused(9), Some((3, Reverse(open[4].number))), "after a while it is unused, whoever has more");
        assert!(gate.end(open[4].number) && !gate.end(open[4].number));
        assert_eq!((open[4].cause(), gate.places(&open[5])), (Some(CloseCause::Evicted), 2));
    }
}
