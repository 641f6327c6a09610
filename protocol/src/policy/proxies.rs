//! Proxies whose word about a client's address is believed.

use core::net::{IpAddr, Ipv6Addr};

/// A network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Leading bits that all its addresses share.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether an address is in it. An IPv4 address in its IPv6 form is what it stands for.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                let differing = mine.to_bits() ^ theirs.to_bits();
                self.prefix_bits == 0 || differing.leading_zeros() >= u32::from(self.prefix_bits.min(32))
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
                let differing = mine.to_bits() ^ theirs.to_bits();
                self.prefix_bits == 0 || differing.leading_zeros() >= u32::from(self.prefix_bits.min(128))
            }
            _ => false,
        }
    }
}

/// The trusted ones. The default trusts nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Networks of trusted proxies.
    pub trusted: Vec<Network>,
}

impl Proxies {
    /// Whether what this address says of others is believed.
    #[inline]
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The address of the client that `peer`, a trusted proxy, forwards for. `forwarded` are the values of the
    /// `X-Forwarded-For` fields in their order. Every proxy has added the address it was asked from at the end, so the
    /// rightmost address that is no proxy of ours is the last one that somebody we trust has seen; what stands left of it
    /// is the client's own claim. Where that list cannot be read, the proxy that sent it is the client.
    #[must_use]
    pub fn client<'h>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'h [u8]>) -> IpAddr {
        let mut client = peer;
        for value in forwarded.rev() {
            for element in value.rsplit(|byte| *byte == b',') {
                match read_address(element.trim_ascii()) {
                    Some(address) if self.trusts(address) => client = address,
                    Some(address) => return address,
                    None => return client,
                }
            }
        }
        client
    }
}

/// An address as proxies write it: some add a port, some put IPv6 in brackets.
fn read_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        return address.parse::<Ipv6Addr>().ok().filter(|_| is_port).map(|address| IpAddr::V6(address).to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    port.parse::<u16>().ok()?;
    address.parse().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (address, bits) = text.split_once('/').unwrap();
        Network { address: address.parse().unwrap(), prefix_bits: bits.parse().unwrap() }
    }

    #[test]
    fn a_network_contains_what_shares_its_leading_bits() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.1.7/32", "192.168.1.7", "192.168.1.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::1/128", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    fn client(forwarded: &[&str]) -> String {
        let proxies = Proxies { trusted: vec![network("10.0.0.0/8"), network("fd00::/8")] };
        let values = forwarded.iter().map(|value| value.as_bytes());
        proxies.client("10.0.0.1".parse().unwrap(), values).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_of_ours_is_the_client() {
        assert_eq!(client(&["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["203.0.113.9, 10.0.0.2", "10.0.0.3"]), "203.0.113.9");
        assert_eq!(client(&["[2001:db8::7]:4711, fd00::1"]), "2001:db8::7");
        assert_eq!(client(&["203.0.113.9:80"]), "203.0.113.9");
        assert_eq!(client(&["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn what_a_client_claims_to_its_left_is_not_believed() {
        assert_eq!(client(&["1.1.1.1, 2.2.2.2, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.9", "203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        let long = "6.6.6.6, ".repeat(10_000) + "203.0.113.9";
        assert_eq!(client(&[&long]), "203.0.113.9");
    }

    #[test]
    fn where_the_list_ends_or_cannot_be_read_the_last_proxy_is_the_client() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&[""]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
        assert_eq!(client(&["203.0.113.9, nonsense, 10.0.0.3"]), "10.0.0.3");
        for wrong in ["unknown", "1.2.3.4:x", "1.2.3.4:70000", "[::1", "[::1]x", "1.2.3", "\u{e9}"] {
            assert_eq!(client(&[wrong]), "10.0.0.1", "{wrong}");
        }
    }
}
