//! What belongs to one call: its view of the cluster, its limits, and what it did.

use std::sync::Arc;

use isthmus_model::snapshot::{Read, ReadSet, Snapshot};
use isthmus_model::text::{cut, one_line};

use crate::error::CallError;
use crate::limits::{Limits, Meter};
use crate::manifest::Readable;

/// A view of the cluster that a call may read.
pub(crate) type View = Arc<dyn Snapshot + Send + Sync>;

/// Data of a store: dropped with it after the call.
pub(crate) struct State {
    pub(crate) meter: Meter,
    /// `None` in `describe`, which may read nothing.
    pub(crate) view: Option<View>,
    /// The kinds of the manifest.
    pub(crate) kinds: Arc<[Readable]>,
    pub(crate) reads: Reads,
    pub(crate) logs: Logs,
    /// Most bytes of an object in a list of all namespaces.
    pub(crate) listed: usize,
    /// What the module did that the contract or a limit does not allow: the call ends with it.
    pub(crate) violation: Option<CallError>,
}

impl State {
    pub(crate) fn new(limits: &Limits, view: Option<View>, kinds: Arc<[Readable]>) -> Self {
        Self {
            meter: Meter::new(limits),
            view,
            kinds,
            reads: Reads::new(limits),
            logs: Logs::new(limits),
            listed: limits.listed,
            violation: None,
        }
    }
}

/// What a call has read, within its limits.
#[derive(Debug)]
pub(crate) struct Reads {
    pub(crate) set: ReadSet,
    limit: usize,
    byte_limit: usize,
    bytes: usize,
}

impl Reads {
    fn new(limits: &Limits) -> Self {
        Self { set: ReadSet::new(), limit: limits.reads, byte_limit: limits.read_bytes, bytes: 0 }
    }

    /// Notes a read. `bytes`: of the names and the selector in it; what is read twice counts once.
    pub(crate) fn note(&mut self, read: Read, bytes: usize) -> Result<(), CallError> {
        if self.set.contains(&read) {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.set.len() >= self.limit || self.bytes > self.byte_limit {
            return Err(CallError::Reads { reads: self.limit, bytes: self.byte_limit });
        }
        self.set.insert(read);
        Ok(())
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For who looks into the module.
    Debug,
    /// Something worth knowing.
    Info,
    /// Something that a person should look at.
    Warn,
    /// What keeps the module from its work: the last one before a trap is its cause.
    Error,
}

/// A line that a module logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Which stage of the pipeline.
    pub stage: Arc<str>,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, cut to what fits, with control characters escaped.
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

/// Of one call, what goes into the host's log: a module that logs much must not fill it.
const TRACED_BYTES: usize = 4 << 10;

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
            self.last_error = Some(one_line(message, LAST_ERROR_BYTES).0);
        }
        if self.lines_left == 0 || self.bytes_left == 0 {
            self.dropped += 1;
            return;
        }
        let (kept, whole) = one_line(message, self.bytes_left);
        self.lines_left -= 1;
        // After a line that was cut there is no room for another.
        self.bytes_left = if whole { self.bytes_left - kept.len() } else { 0 };
        self.lines.push((level, kept));
    }

    /// What goes into the host's log, and whether that is all.
    pub(crate) fn beginning(&self) -> (Vec<(LogLevel, &str)>, bool) {
        let (mut room, mut lines) = (TRACED_BYTES, Vec::new());
        for (level, message) in &self.lines {
            let text = cut(message, room);
            room = room.saturating_sub(text.len());
            if !text.is_empty() {
                lines.push((*level, text));
            }
            if text.len() < message.len() {
                return (lines, false);
            }
        }
        (lines, self.dropped == 0)
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::object::{Gvk, ObjectKey};

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
    }

    #[test]
    fn a_line_is_one_line() {
        let mut logs = Logs::new(&Limits::default());
        logs.write(LogLevel::Error, "first\nERROR second");
        assert_eq!(logs.lines, [(LogLevel::Error, "first\\nERROR second".into())]);
        assert_eq!(logs.last_error.as_deref(), Some("first\\nERROR second"));
    }

    #[test]
    fn little_of_it_goes_into_the_hosts_log() {
        let mut logs = Logs::new(&Limits::default());
        let text = "ü".repeat(1000);
        (0..2).for_each(|_| logs.write(LogLevel::Info, &text));
        assert_eq!(logs.beginning(), (vec![(LogLevel::Info, &*text); 2], true));
        (0..100).for_each(|_| logs.write(LogLevel::Error, &text));
        let (lines, whole) = logs.beginning();
        assert!(!whole && lines.len() == 3, "the last one is cut: {}", lines.len());
        assert!(lines.iter().map(|(_, text)| text.len()).sum::<usize>() <= TRACED_BYTES);
        assert!(logs.lines.len() > 3, "all that the limits allow is kept for who asked for the call");
    }

    #[test]
    fn reads_have_limits() {
        let mut reads = Reads::new(&Limits { reads: 2, read_bytes: 10, ..Limits::default() });
        let kind: Arc<Gvk> = Gvk::new("", "v1", "Pod").into();
        let get = |name: &str| Read::Get(ObjectKey::new(kind.clone(), None, name));
        let over = Err(CallError::Reads { reads: 2, bytes: 10 });
        for _ in 0..3 {
            assert_eq!(reads.note(get("a"), 6), Ok(()), "what is read again costs nothing");
        }
        assert_eq!(reads.note(get("b"), 4), Ok(()));
        assert_eq!(reads.note(Read::Cloud, 0), over, "too many");
        let mut reads = Reads::new(&Limits { read_bytes: 10, ..Limits::default() });
        assert_eq!(reads.note(get("a"), 11), Err(CallError::Reads { reads: 10_000, bytes: 10 }), "too long");
        assert!(reads.set.is_empty());
    }
}
