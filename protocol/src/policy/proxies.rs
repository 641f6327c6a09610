//! Proxies whose word about a client's address is believed.

use std::net::IpAddr;

/// A network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Leading bits that all its addresses share.
    pub prefix_bits: u8,
}

/// The trusted ones. The default trusts nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Networks of trusted proxies.
    pub trusted: Vec<Network>,
}
