//! Uids and random names.

/// A sequence that its seed decides.
#[derive(Debug)]
pub(crate) struct Ids(u64);

/// What the real server makes names of: no vowels, so no words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A UUID of version 4.
    pub(crate) fn uid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// A name after `generateName`.
    pub(crate) fn name(&mut self, prefix: &str) -> String {
        let mut name: String = prefix.chars().take(58).collect();
        for _ in 0..5 {
            let at = usize::try_from(self.next() % 27).unwrap_or_default();
            name.push(LETTERS.get(at).map_or('b', |b| char::from(*b)));
        }
        name
    }
}
