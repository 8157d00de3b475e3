//! What time it is.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Tells the time: the machine's, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<Timestamp>>>);

impl Clock {
    /// One that stands still until it is moved.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(Mutex::new(start))))
    }

    /// Moves a manual clock on; the machine's stays as it is.
    pub fn advance(&self, by: SignedDuration) {
        if let Some(time) = &self.0 {
            let mut time = time.lock();
            *time = time.saturating_add(by).unwrap_or(*time);
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |time| *time.lock())
    }
}
