//! Who may connect: open connections counted in total and by address, across all listeners of one receiver.
//!
//! Pure counting under one short lock, taken twice per connection and never across an await.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("too many open connections")]
    Full,
    #[error("too many open connections of this address")]
    AddressFull,
}

impl Closed {
    /// Label of the metric that counts them.
    pub fn cause(self) -> &'static str {
        match self {
            Closed::Full => "connections_max",
            Closed::AddressFull => "connections_per_address_max",
        }
    }
}

/// Invariant: `open` is the sum of `by_address` and of the connections without address; no entry is zero.
#[derive(Debug, Default)]
struct Counts {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
pub struct Gate {
    connections_max: usize,
    per_address_max: usize,
    counts: Mutex<Counts>,
}

impl Gate {
    pub fn new(connections_max: usize, per_address_max: usize) -> Arc<Gate> {
        Arc::new(Gate { connections_max, per_address_max, counts: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn open(&self) -> usize {
        self.lock().open
    }

    /// A place for one connection; `address` is `None` for unix sockets.
    pub fn enter(self: &Arc<Gate>, address: Option<IpAddr>) -> Result<Place, Closed> {
        let address = address.map(|address| address.to_canonical());
        let mut counts = self.lock();
        if counts.open >= self.connections_max {
            return Err(Closed::Full);
        }
        if let Some(address) = address {
            let of_address = counts.by_address.entry(address).or_default();
            if *of_address >= self.per_address_max {
                return Err(Closed::AddressFull);
            }
            *of_address += 1;
        }
        counts.open += 1;
        Ok(Place { gate: self.clone(), address })
    }
}

/// A place held by an open connection.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        counts.open -= 1;
        if let Some(address) = self.address
            && let Some(left) = counts.by_address.get_mut(&address)
        {
            *left -= 1;
            if *left == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_total_and_by_address_and_given_back() {
        let gate = Gate::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let first = gate.enter(Some(a)).unwrap();
        let second = gate.enter(Some(mapped)).unwrap();
        assert_eq!(gate.enter(Some(a)).unwrap_err(), Closed::AddressFull);
        let third = gate.enter(Some(b)).unwrap();
        assert_eq!(gate.enter(None).unwrap_err(), Closed::Full);
        drop(first);
        gate.enter(Some(a)).unwrap();
        drop((second, third));
        assert_eq!(gate.open(), 0);
        assert!(gate.lock().by_address.is_empty());
    }
}
