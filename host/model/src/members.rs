//! What a set holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

/// The addresses that a set holds, with a hash of them: one that comes or goes costs the same however many there are.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// How many objects have each.
    addresses: BTreeMap<IpAddr, u32>,
    /// Sum of the hashes of the addresses.
    sum: u128,
}

impl Members {
    /// Takes in that one more object has this address.
    pub fn add(&mut self, address: IpAddr) {
        let count = self.addresses.entry(address).or_default();
        *count += 1;
        if *count == 1 {
            self.sum = self.sum.wrapping_add(hash(address));
        }
    }

    /// Takes in that one object has this address no more.
    pub fn take(&mut self, address: IpAddr) {
        match self.addresses.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.addresses.remove(&address);
                self.sum = self.sum.wrapping_sub(hash(address));
            }
            None => {}
        }
    }

    /// All addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = &IpAddr> {
        self.addresses.keys()
    }

    /// How many different addresses there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// A hash of the addresses, as text.
    pub fn hash(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// Two are equal where their addresses are.
impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.sum == other.sum && self.iter().eq(other.iter())
    }
}

impl Eq for Members {}

impl FromIterator<IpAddr> for Members {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut all = Self::default();
        addresses.into_iter().for_each(|address| all.add(address));
        all
    }
}

/// The first 16 bytes of the SHA-256 of an address.
fn hash(address: IpAddr) -> u128 {
    let digest = match address {
        IpAddr::V4(v4) => Sha256::digest(v4.octets()),
        IpAddr::V6(v6) => Sha256::digest(v6.octets()),
    };
    digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However they came and went, the hash is that of the addresses that are there.
        #[test]
        fn the_hash_is_that_of_what_is_there(steps in vec((0..5_u8, any::<bool>()), 0..40)) {
            let (mut members, mut all) = (Members::default(), Vec::new());
            for (last, comes) in steps {
                let address = IpAddr::from([10, 0, 0, last]);
                if comes {
                    members.add(address);
                    all.push(address);
                } else {
                    members.take(address);
                    if let Some(at) = all.iter().position(|one| *one == address) {
                        all.swap_remove(at);
                    }
                }
                all.sort();
                let mut different = all.clone();
                different.dedup();
                prop_assert!(members.iter().eq(&different));
                let anew: Members = different.into_iter().collect();
                prop_assert_eq!((&members, members.hash()), (&anew, anew.hash()));
            }
        }
    }

    #[test]
    fn other_addresses_have_another_hash() {
        let of =
            |addresses: &[[u8; 4]]| addresses.iter().map(|a| IpAddr::from(*a)).collect::<Members>().hash();
        let all = [of(&[]), of(&[[10, 0, 0, 1]]), of(&[[10, 0, 0, 2]]), of(&[[10, 0, 0, 1], [10, 0, 0, 2]])];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{all:?}");
        }
    }
}
