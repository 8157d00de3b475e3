//! Sets of addresses as CIDRs.

use ipnet::IpNet;

/// A CIDR, of which bits beyond its prefix do not count. `None`: the text is none.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    Some(text.parse::<IpNet>().ok()?.trunc())
}

/// What is in `block` and in none of `excepts`, exactly: CIDRs that do not overlap, in order of address. Excepts may overlap, lie
/// outside of the block, cover it, or be of the other IP version.
pub(crate) fn difference(block: IpNet, excepts: &[IpNet]) -> Vec<IpNet> {
    let mut left = Vec::new();
    // Not by recursion: a block of IPv6 has 128 bits, and a module little stack.
    let mut parts = vec![block];
    while let Some(part) = parts.pop() {
        // Of two CIDRs that overlap one contains the other.
        if excepts.iter().any(|except| except.contains(&part)) {
            continue;
        }
        if !excepts.iter().any(|except| part.contains(except)) {
            left.push(part);
            continue;
        }
        // Something smaller is taken out of it, so it has two halves: the lower one comes first.
        let halves: Vec<IpNet> =
            part.subnets(part.prefix_len().saturating_add(1)).into_iter().flatten().collect();
        parts.extend(halves.into_iter().rev());
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    /// A module has a stack of 64 KiB: by a function that calls itself for each bit it trapped.
    #[test]
    fn one_address_of_all_of_ipv6_is_taken_out_in_little_stack() {
        let all = || difference(nets(&["::/0"])[0], &nets(&["fd00::2/128", "fd00::4/126", "fd00::1:0/126"]));
        let left = std::thread::Builder::new().stack_size(64 << 10).spawn(all).unwrap().join().unwrap();
        // Of 128 bits none is left at the end that is excepted.
        let addresses =
            |nets: &[IpNet]| nets.iter().fold(0_u128, |sum, net| sum + (1 << (128 - net.prefix_len())));
        assert_eq!(addresses(&left), u128::MAX - 8);
    }

    #[test]
    fn takes_out_what_is_excepted() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("10.0.0.0/24", &[], &["10.0.0.0/24"]),
            ("10.0.0.0/24", &["10.0.0.0/26", "10.0.0.64/26"], &["10.0.0.128/25"]),
            ("10.0.0.0/30", &["10.0.0.2/32"], &["10.0.0.0/31", "10.0.0.3/32"]),
            ("10.0.0.0/24", &["10.0.0.0/25", "10.0.0.0/26"], &["10.0.0.128/25"]),
            ("10.0.0.0/24", &["10.0.0.0/24"], &[]),
            ("10.0.0.0/24", &["10.0.0.0/8"], &[]),
            ("10.0.0.0/24", &["10.0.1.0/24", "fd00::/8"], &["10.0.0.0/24"]),
            ("10.0.0.1/32", &["10.0.0.1/32"], &[]),
            ("0.0.0.0/0", &["128.0.0.0/1"], &["0.0.0.0/1"]),
            ("0.0.0.0/0", &["0.0.0.0/0"], &[]),
            ("fd00::/127", &["fd00::1/128"], &["fd00::/128"]),
            ("::/0", &["8000::/1", "4000::/2"], &["::/2"]),
            ("10.0.0.77/24", &["10.0.0.200/25"], &["10.0.0.0/25"]),
        ];
        for (block, excepts, left) in table {
            assert_eq!(difference(nets(&[block])[0], &nets(excepts)), nets(left), "{block} {excepts:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_cidr() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/-1", "a/8", " 10.0.0.0/8"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// Blocks within 256 addresses, so that they meet: the last byte, and how many of its bits are the prefix.
    fn small() -> impl Strategy<Value = (u8, u8)> {
        (any::<u8>(), 0..=8_u8)
    }

    fn v4((byte, bits): (u8, u8)) -> IpNet {
        parse(&format!("192.0.2.{byte}/{}", 24 + bits)).unwrap()
    }

    fn v6((byte, bits): (u8, u8)) -> IpNet {
        parse(&format!("2001:db8::{byte:x}/{}", 120 + bits)).unwrap()
    }

    proptest! {
        #[test]
        fn is_exact_address_by_address(block in small(), excepts in prop::collection::vec(small(), 0..5)) {
            for of in [v4, v6] {
                let (block, excepts): (_, Vec<_>) = (of(block), excepts.iter().copied().map(of).collect());
                let left = difference(block, &excepts);
                for address in (0..=u8::MAX).map(|byte| of((byte, 8)).addr()) {
                    let expected = block.contains(&address) && !excepts.iter().any(|e| e.contains(&address));
                    let found = left.iter().filter(|net| net.contains(&address)).count();
                    prop_assert_eq!(found, usize::from(expected), "{} of {} {:?}", address, block, excepts);
                }
                // no wider than the block, and as few as there can be
                prop_assert!(left.iter().all(|net| block.contains(net)));
                prop_assert_eq!(IpNet::aggregate(&left).len(), left.len());
            }
        }
    }
}
