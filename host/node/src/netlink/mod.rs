//! The kernel's side: network namespaces, links, addresses and routes, over rtnetlink.

pub(crate) mod beside;
pub(crate) mod direct;
pub mod functions;
pub mod inside;
pub mod links;
pub mod netns;
mod offload;
pub mod reaper;
pub mod upper;

use isthmus_cni::{Code, Error};

/// Link group of what is attached. `Ist` in ASCII; any number that nobody else uses does.
pub const GROUP: u32 = 0x0049_7374;
/// Link group of what is to be deleted, all at once.
pub const GROUP_DEAD: u32 = GROUP + 1;

pub(crate) const EBUSY: i32 = 16;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENODEV: i32 = 19;
pub(crate) const EOPNOTSUPP: i32 = 95;
pub(crate) const EADDRINUSE: i32 = 98;
/// The kernel's own (linux/errno.h), which some drivers of cards answer in place of [`EOPNOTSUPP`].
pub(crate) const ENOTSUPP: i32 = 524;

/// The kernel's error number.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

/// A failed netlink call, in words.
pub(crate) fn failed(what: impl Into<String>, error: &rtnetlink::Error) -> Error {
    let why = match errno(error) {
        Some(number) => std::io::Error::from_raw_os_error(number).to_string(),
        None => error.to_string(),
    };
    Error::new(Code::Io, what, why)
}

/// As [`failed`], where the socket itself fails.
pub(crate) fn unanswered(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |error| Error::new(Code::Io, what, format!("netlink: {error}"))
}

/// Name of the host's end, or alias of an upper link: `im`, 8 characters for the container, 5 for the interface. Known without any state.
pub fn host_name(container: &str, interface: &str) -> String {
    let mut name = host_prefix(container);
    name.push_str(&base32(fnv(interface), 5));
    name
}

/// What the names of all links of a container begin with.
pub fn host_prefix(container: &str) -> String {
    format!("im{}", base32(fnv(container), 8))
}

/// FNV-1a, 64 bits: stable, and enough for names on one node.
fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // the upper bits of FNV mix badly for short texts
    (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

fn base32(hash: u64, characters: u32) -> String {
    let digit = |n: u32| {
        let value = ((hash >> (5 * n)) & 31) as u8;
        char::from(if value < 26 { b'a' + value } else { b'2' + (value - 26) })
    };
    (0..characters).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{host_name, host_prefix};

    #[test]
    fn names_of_links_are_short_and_stay_apart() {
        let mut names = BTreeSet::new();
        for n in 0..10_000 {
            let container = format!("{n:064x}");
            for interface in ["eth0", "net1", "net2"] {
                let name = host_name(&container, interface);
                assert!(name.len() == 15 && name.starts_with(&host_prefix(&container)), "{name}");
                assert!(names.insert(name), "two of one name");
            }
        }
        assert_eq!(host_name("c1", "eth0"), "imsmeffclqeze6w", "an upgrade must find the links of before");
    }
}
