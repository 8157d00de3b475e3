//! Lines for the host's log. The host adds module and subject, and keeps the first few KiB of a call.

pub use crate::bindings::mapper::isthmus::mapping::log::Level;

/// For somebody who works on this module.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// What is worth knowing in operation.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// What may be wrong.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// What is wrong. The last one before a trap is shown as its cause.
pub fn error(message: &str) {
    write(Level::Error, message);
}

fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::mapper::isthmus::mapping::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::write_log(level, message);
}
