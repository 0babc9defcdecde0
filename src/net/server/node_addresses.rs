//! Which addresses are the node's own: the kubelet's probes come from there, and must get in whatever pods do.

use std::net::{IpAddr, Ipv4Addr};

/// Variables that manifests set to `status.hostIP`.
const VARIABLES: [&str; 4] = ["OTEL_K8S_NODE_IP", "K8S_NODE_IP", "NODE_IP", "HOST_IP"];

/// The node's addresses as far as they can be known.
#[derive(Clone, Debug, Default)]
pub struct Home {
    addresses: Vec<IpAddr>,
}

impl Home {
    /// The gateway of the pod's network (a bridge's own address) and what the environment names as the node's.
    pub fn detect() -> Home {
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        let named = VARIABLES.into_iter().filter_map(|name| std::env::var(name).ok()?.parse::<IpAddr>().ok());
        Home { addresses: named.map(|address| address.to_canonical()).chain(gateways(&routes)).collect() }
    }

    /// `local` is the address the connection came to: one machine's own connection has the same at both ends.
    pub fn holds(&self, peer: IpAddr, local: Option<IpAddr>) -> bool {
        let (peer, local) = (peer.to_canonical(), local.map(|local| local.to_canonical()));
        peer.is_loopback() || Some(peer) == local || self.addresses.contains(&peer)
    }
}

/// Gateways of default routes in the form of `/proc/net/route`: hexadecimal in the machine's byte order.
fn gateways(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let address = u32::from_str_radix(gateway, 16).ok().filter(|address| *address != 0)?;
        (destination == "00000000").then(|| IpAddr::from(Ipv4Addr::from(address.to_ne_bytes())))
    };
    routes.lines().skip(1).filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_gateway_loopback_and_ones_own_address_are_the_nodes() {
        let routes =
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t010AF40A\t0003\neth0\t000AF40A\t00000000\t0001\n";
        assert_eq!(gateways(routes), ["10.244.10.1".parse::<IpAddr>().unwrap()]);
        let home = Home { addresses: gateways(routes) };
        for (peer, local, held) in [
            ("10.244.10.1", "10.244.10.7", true),
            ("::ffff:10.244.10.1", "10.244.10.7", true),
            ("127.0.0.1", "10.244.10.7", true),
            ("10.244.10.7", "10.244.10.7", true),
            ("10.244.10.9", "10.244.10.7", false),
        ] {
            assert_eq!(home.holds(peer.parse().unwrap(), local.parse().ok()), held, "{peer}");
        }
    }
}
