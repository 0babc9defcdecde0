//! Ranges of addresses as people write them: `10.244.0.1` or `10.244.0.0/16`.

use std::net::IpAddr;

/// The addresses that share the first `bits` bits with `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: IpAddr,
    bits: u32,
}

impl Range {
    /// `None` when it is neither an address nor an address with a prefix length that it can have.
    pub fn parse(text: &str) -> Option<Range> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = address.trim().parse().ok()?;
        let (base, width) = (base.to_canonical(), if base.to_canonical().is_ipv4() { 32 } else { 128 });
        let bits = match bits {
            Some(bits) => bits.trim().parse().ok().filter(|bits| *bits <= width)?,
            None => width,
        };
        Some(Range { base, bits })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let differs = u32::from(base) ^ u32::from(ip);
                differs.leading_zeros() >= self.bits
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let differs = u128::from(base) ^ u128::from(ip);
                differs.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_the_addresses_that_share_its_prefix() {
        let table = [
            ("10.244.0.1", "10.244.0.1", Some(true)),
            ("10.244.0.1", "10.244.0.2", Some(false)),
            ("10.244.0.0/16", "10.244.255.1", Some(true)),
            ("10.244.0.0/16", "10.245.0.1", Some(false)),
            ("10.244.0.0/16", "::ffff:10.244.0.9", Some(true)),
            ("0.0.0.0/0", "1.2.3.4", Some(true)),
            ("0.0.0.0/0", "fd00::1", Some(false)),
            ("fd00::/8", "fd12::1", Some(true)),
            ("fd00::/128", "fd00::1", Some(false)),
            ("10.0.0.0/33", "10.0.0.1", None),
            ("10.0.0/8", "10.0.0.1", None),
            ("10.0.0.0/", "10.0.0.1", None),
            ("pods", "10.0.0.1", None),
        ];
        for (range, ip, expected) in table {
            let ip = ip.parse().expect("an address");
            assert_eq!(Range::parse(range).map(|range| range.contains(ip)), expected, "{range} {ip}");
        }
    }
}
