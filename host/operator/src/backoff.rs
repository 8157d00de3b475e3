//! Jitter: what failed together should not be tried again together.

use std::time::Duration;

use isthmus_model::hash;

/// The delay, 0.8 to 1.2 times of it: by the subject and the attempt, so that a run can be repeated.
pub(crate) fn jittered(delay: Duration, uid: &str, attempt: u32) -> Duration {
    let seed = hash::of(&(uid, attempt));
    let part = u8::from_str_radix(seed.get(..2).unwrap_or("80"), 16).unwrap_or(128);
    delay.mul_f64(0.8 + 0.4 * f64::from(part) / 255.0)
}
