//! Lists of networks: `10.0.0.0/8,::1`.

use std::fmt;
use std::net::IpAddr;

/// Most networks of a list: every connection is looked for in it.
pub const NETWORKS_MAX: usize = 1_024;

/// Networks, each as an address and the number of leading bits that count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<(IpAddr, u8)>);

impl Networks {
    /// Reads addresses and networks in CIDR form, separated by commas; `none` is none.
    ///
    /// # Errors
    /// A sentence that says which entry is wrong and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let networks: Vec<_> = text.split(',').map(str::trim).map(network).collect::<Result<_, _>>()?;
        if networks.len() > NETWORKS_MAX {
            return Err(format!("there are more than {NETWORKS_MAX} networks"));
        }
        Ok(Self(networks))
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("`{text}` is neither an address nor a network"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().unwrap_or(u8::MAX),
        Some(_) => u8::MAX,
    };
    if bits > most {
        return Err(format!("`{text}` does not end with a number of bits from 0 to {most}"));
    }
    let bits_of = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    // More bits set than count: somebody meant one address, or another network.
    if bits_of(address).checked_shl(bits.into()).unwrap_or(0) != 0 {
        return Err(format!("`{text}` has bits set beyond its first {bits}: it is not the beginning of a network"));
    }
    Ok((address, bits))
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (at, (address, bits)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match (address, bits) {
                (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{comma}{address}")?,
                _ => write!(f, "{comma}{address}/{bits}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_list_reads_back() {
        for text in ["none", "10.0.0.0/8,192.168.1.7", "::1,fd00::/8", "0.0.0.0/0,::/0"] {
            assert_eq!(Networks::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Networks::parse("10.1.2.3/32, ::1/128").expect("valid").to_string(), "10.1.2.3,::1");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", ",", "10.0.0.0/33", "::/129", "10.0.0.1/8", "::1/64", "a", "10.0.0.0/", "10.0.0.0/+8", "1.2.3"]
        {
            assert!(Networks::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_longest_list_passes_and_one_more_does_not() {
        let list = vec!["::1"; NETWORKS_MAX].join(",");
        assert!(Networks::parse(&list).is_ok());
        assert!(Networks::parse(&(list + ",::1")).is_err());
    }
}
