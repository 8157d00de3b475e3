//! What belongs to one call: its view of the cluster, its limits, and what it did.

use std::sync::Arc;

use isthmus_model::object::Gvk;
use isthmus_model::snapshot::{ReadSet, Snapshot};

use crate::limits::{Limits, Meter};

/// A view of the cluster that a call may read.
pub(crate) type View = Arc<dyn Snapshot + Send + Sync>;

/// Data of a store: dropped with it after the call.
pub(crate) struct State {
    pub(crate) meter: Meter,
    /// `None` in `describe`, which may read nothing.
    pub(crate) view: Option<View>,
    /// The kinds of the manifest.
    pub(crate) kinds: Arc<[Arc<Gvk>]>,
    pub(crate) reads: ReadSet,
    pub(crate) logs: Logs,
    /// What the module did that the contract does not allow: the call ends with it.
    pub(crate) violation: Option<String>,
}

impl State {
    pub(crate) fn new(limits: &Limits, view: Option<View>, kinds: Arc<[Arc<Gvk>]>) -> Self {
        Self {
            meter: Meter::new(limits),
            view,
            kinds,
            reads: ReadSet::new(),
            logs: Logs::new(limits),
            violation: None,
        }
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "as everywhere")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// A line that a module logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Which stage of the pipeline.
    pub stage: Arc<str>,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, cut to what fits.
    pub message: String,
}

/// The first lines of a call, and the last error.
#[derive(Debug)]
pub(crate) struct Logs {
    lines_left: usize,
    bytes_left: usize,
    pub(crate) lines: Vec<(LogLevel, String)>,
    pub(crate) dropped: usize,
    pub(crate) last_error: Option<String>,
}

/// Of the last error, which is kept whatever else was logged.
const LAST_ERROR_BYTES: usize = 1 << 10;

impl Logs {
    fn new(limits: &Limits) -> Self {
        Self {
            lines_left: limits.log_lines,
            bytes_left: limits.log_bytes,
            lines: Vec::new(),
            dropped: 0,
            last_error: None,
        }
    }

    pub(crate) fn write(&mut self, level: LogLevel, message: &str) {
        if level == LogLevel::Error {
            self.last_error = Some(cut(message, LAST_ERROR_BYTES).to_owned());
        }
        if self.lines_left == 0 || self.bytes_left == 0 {
            self.dropped += 1;
            return;
        }
        let kept = cut(message, self.bytes_left);
        self.lines_left -= 1;
        self.bytes_left -= kept.len();
        self.lines.push((level, kept.to_owned()));
    }
}

/// The longest beginning of whole characters that has at most this many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_lines_and_the_last_error() {
        let mut logs = Logs::new(&Limits { log_lines: 3, log_bytes: 6, ..Limits::default() });
        for (level, text) in [
            (LogLevel::Info, "abc"),
            (LogLevel::Warn, "dü"),
            (LogLevel::Info, "e"),
            (LogLevel::Error, "last"),
        ] {
            logs.write(level, text);
        }
        assert_eq!(logs.lines, [(LogLevel::Info, "abc".into()), (LogLevel::Warn, "dü".into())]);
        assert_eq!((logs.dropped, logs.last_error.as_deref()), (2, Some("last")));
        assert_eq!(cut("dü", 2), "d");
    }
}
