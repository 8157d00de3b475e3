//! Hashes of values: short, stable over time and versions, for telling whether something changed.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The first 16 bytes of the SHA-256 of the value's JSON, in hex. Maps in this crate are ordered, so equal values have
/// equal JSON.
pub fn of(value: &impl Serialize) -> String {
    // Serialising to JSON fails only for maps with keys that are no text and for own errors; there is neither here, and
    // a hash of nothing would only cost a needless comparison.
    let text = serde_json::to_vec(value).unwrap_or_default();
    hex(Sha256::digest(text).as_slice().get(..16).unwrap_or_default())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16);
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(digit).collect()
}
