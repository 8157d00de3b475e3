//! Addresses and prefixes as text.

use std::net::IpAddr;

use ipnet::IpNet;

/// The prefix that a text is: a CIDR, or an address, which is the prefix of itself alone.
pub fn network(text: &str) -> Option<IpNet> {
    match text.contains('/') {
        true => text.parse().ok(),
        false => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// Whether an address is what a host with this MAC address gives itself (RFC 4291, appendix A).
pub fn is_automatic(address: &str, mac: &str) -> bool {
    let Ok(IpAddr::V6(address)) = address.parse() else { return false };
    let octets = mac.split(':').map(|octet| u8::from_str_radix(octet, 16));
    match octets.collect::<Result<Vec<u8>, _>>().as_deref() {
        Ok([a, b, c, d, e, f]) => address.octets().ends_with(&[a ^ 2, *b, *c, 0xff, 0xfe, *d, *e, *f]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_address_is_known_by_the_mac_address() {
        assert!(is_automatic("fd00::f816:3eff:fe0a:b0c", "FA:16:3e:0a:0b:0c"));
        for (address, mac) in [
            ("fd00::f816:3eff:fe0a:b0d", "fa:16:3e:0a:0b:0c"),
            ("10.0.0.5", "fa:16:3e:0a:0b:0c"),
            ("fd00::f816:3eff:fe0a:b0c", "fa:16:3e"),
            ("fd00::f816:3eff:fe0a:b0c", ""),
        ] {
            assert!(!is_automatic(address, mac), "{address} {mac}");
        }
    }

    #[test]
    fn an_address_is_a_prefix_of_its_own() {
        for (text, prefix) in
            [("10.0.0.1", "10.0.0.1/32"), ("fd00::1", "fd00::1/128"), ("10.0.0.0/8", "10.0.0.0/8")]
        {
            assert_eq!(network(text).map(|net| net.to_string()).as_deref(), Some(prefix));
        }
        assert_eq!(network("10.0.0"), None);
    }
}
