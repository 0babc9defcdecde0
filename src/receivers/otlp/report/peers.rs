//! The page `/v1/peers`: from which addresses the open connections come, and which pods those are. Where the network hides
//! the pods' addresses behind the node's (masquerading), no connection tells its pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use serde_json::{Value, json};

use crate::core::lock::Locked;
use crate::core::report::routes::Page;
use crate::core::stage::host::Host;
use crate::net::server::admission::connection_limit::ConnectionLimit;
use crate::net::server::node_addresses::Home;

/// Addresses on the page.
const ADDRESSES_MAX: usize = 1_000;

/// The gates of every OTLP listener of one gateway. Locked at start and when the page is asked for.
#[derive(Default)]
struct Gates(Mutex<Vec<Weak<ConnectionLimit>>>);

impl Gates {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<ConnectionLimit>>> {
        self.0.locked()
    }
}

/// Adds a listener's connections to the page, and the page to the routes.
pub fn show(host: &Arc<Host>, gate: &Arc<ConnectionLimit>) {
    let gates = host.shared::<Gates>("otlp/peers", Arc::default);
    let mut known = gates.lock();
    // Of listeners that a reload took away.
    known.retain(|gate| gate.strong_count() > 0);
    known.push(Arc::downgrade(gate));
    drop(known);
    let of = Arc::downgrade(host);
    let page = move |_: &_| {
        let Some(host) = of.upgrade() else { return Page::error(503, "the gateway has ended") };
        let mut addresses: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (address, connections) in gates.lock().iter().filter_map(Weak::upgrade).flat_map(|gate| gate.addresses()) {
            *addresses.entry(address).or_default() += connections;
        }
        let identify = |address| host.peer_identity.identify(address);
        Page::ok(told(&addresses, identify, &Home::detect()))
    };
    host.routes.add("/v1/peers", "open OTLP connections by address, and the pod of each", Arc::new(page));
}

fn told(addresses: &BTreeMap<IpAddr, usize>, pod: impl Fn(IpAddr) -> Option<Arc<str>>, home: &Home) -> Value {
    let (mut of_pods, mut of_node, mut rows) = (0, 0, Vec::new());
    for (address, connections) in addresses {
        let pod = pod(*address);
        let is_node = pod.is_none() && home.holds(*address, None);
        of_pods += if pod.is_some() { *connections } else { 0 };
        of_node += if is_node { *connections } else { 0 };
        if rows.len() < ADDRESSES_MAX {
            let pod = pod.as_deref();
            rows.push(json!({ "address": address, "connections": connections, "pod": pod, "node": is_node }));
        }
    }
    let all: usize = addresses.values().sum();
    json!({ "connections": all, "of_pods": of_pods, "of_node": of_node, "others": all - of_pods - of_node, "addresses": rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_whether_their_address_tells_a_pod() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let open = [(address("10.1.0.5"), 3), (address("127.0.0.1"), 2), (address("10.9.9.9"), 1)];
        let pod = |of: IpAddr| (of == address("10.1.0.5")).then(|| Arc::from("shop/cart-1"));
        let page = told(&open.into(), pod, &Home::default());
        assert_eq!((&page["connections"], &page["of_pods"]), (&json!(6), &json!(3)));
        assert_eq!((&page["of_node"], &page["others"]), (&json!(2), &json!(1)));
        let row = json!({"address": "10.1.0.5", "connections": 3, "pod": "shop/cart-1", "node": false});
        assert!(page["addresses"].as_array().is_some_and(|rows| rows.contains(&row)), "{page}");
    }
}
