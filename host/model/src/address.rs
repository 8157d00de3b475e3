//! Addresses and prefixes as text.

use std::net::IpAddr;

use ipnet::IpNet;

/// The prefix that a text is: a CIDR, or an address, which is the prefix of itself alone.
pub fn network(text: &str) -> Option<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

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
