//! Ids and times as the services write them.

use jiff::Timestamp;

/// UUIDs whose order is not that of their making, as with the real ones; the same ones in every run.
#[derive(Debug)]
pub(crate) struct Ids {
    made: u64,
    /// Tells the ids of one service from another's.
    service: u16,
}

impl Ids {
    pub(crate) fn new(service: u16) -> Self {
        Self { made: 0, service }
    }

    /// How many were made.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    pub(crate) fn next(&mut self) -> String {
        self.made += 1;
        // splitmix64: a bijection, so that no two are alike
        let mut mixed = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let (high, low) = (mixed >> 32, mixed & 0xffff_ffff);
        let (second, third) = (low >> 16, low & 0xffff);
        format!("{high:08x}-{second:04x}-4000-8000-{:04x}0000{third:04x}", self.service)
    }
}

/// As Neutron and Keystone write times: UTC, whole seconds.
pub(crate) fn time() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As Octavia does: without a zone.
pub(crate) fn time_without_zone() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn no_two_are_alike() {
        let mut ids = Ids::new(7);
        let made: std::collections::BTreeSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 36), "{made:?}");
    }
}
