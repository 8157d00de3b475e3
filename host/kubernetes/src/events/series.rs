//! Repetitions: the same thing said of the same subject again is one Event with a count.

use std::collections::HashMap;
use std::time::Duration;

use isthmus_model::hash;
use tokio::time::Instant;

use super::Happening;

/// How long after its last repetition a thing is new again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long between two writes of one count.
const BETWEEN_WRITES: Duration = Duration::from_secs(60);
/// How many different things are remembered; more begin new series.
const MOST: usize = 4096;

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// A new Event of this name.
    First { happening: Happening, name: String },
    /// The count of the Event of this name.
    Again { happening: Happening, name: String, count: i32 },
}

#[derive(Debug)]
struct Seen {
    name: String,
    count: i32,
    written: i32,
    last: Instant,
    last_write: Instant,
}

impl Seen {
    fn due(&mut self, happening: &Happening, now: Instant) -> Option<Write> {
        if self.written == self.count || now < self.last_write + BETWEEN_WRITES {
            return None;
        }
        (self.written, self.last_write) = (self.count, now);
        Some(Write::Again { happening: happening.clone(), name: self.name.clone(), count: self.count })
    }
}

/// What was said in the last ten minutes.
#[derive(Debug, Default)]
pub(super) struct Series {
    seen: HashMap<Happening, Seen>,
    begun: u64,
}

impl Series {
    /// Takes in what happened; what to write of it now.
    pub(super) fn observe(&mut self, happening: Happening, now: Instant) -> Option<Write> {
        if let Some(seen) = self.seen.get_mut(&happening).filter(|seen| now < seen.last + REMEMBERED) {
            seen.count = seen.count.saturating_add(1);
            seen.last = now;
            return seen.due(&happening, now);
        }
        let name = self.name(&happening);
        if self.seen.len() < MOST {
            let seen = Seen { name: name.clone(), count: 1, written: 1, last: now, last_write: now };
            self.seen.insert(happening.clone(), seen);
        }
        Some(Write::First { happening, name })
    }

    /// Counts that are due, and forgets what is old.
    pub(super) fn flush(&mut self, now: Instant) -> Vec<Write> {
        let due = self.seen.iter_mut().filter_map(|(happening, seen)| seen.due(happening, now)).collect();
        self.seen.retain(|_, seen| now < seen.last + REMEMBERED || seen.written != seen.count);
        due
    }

    /// As Kubernetes' own events: the object's name, a dot and something unique. The time makes it unique over restarts.
    fn name(&mut self, happening: &Happening) -> String {
        self.begun += 1;
        let unique = hash::of(&(
            &*happening.subject.uid,
            &happening.reason,
            &happening.note,
            self.begun,
            jiff::Timestamp::now().as_nanosecond().to_string(),
        ));
        let object: String = happening.subject.key.name.chars().take(200).collect();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let object: String = object.chars().map(|c| if fits(c) { c } else { '-' }).collect();
        format!("{}.{unique}", object.trim_matches(['-', '.']))
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::object::{Gvk, ObjectKey, Subject};

    use super::super::Severity;
    use super::*;

    fn happening(note: &str) -> Happening {
        Happening {
            subject: Subject {
                key: ObjectKey::new(Gvk::new("", "v1", "Pod"), Some("n"), "web"),
                uid: "u".into(),
            },
            severity: Severity::Warning,
            reason: "OverQuota".into(),
            action: "Realize",
            note: note.into(),
        }
    }

    fn kind(write: Option<&Write>) -> String {
        match write {
            None => "nothing".into(),
            Some(Write::First { .. }) => "first".into(),
            Some(Write::Again { count, .. }) => format!("again {count}"),
        }
    }

    #[test]
    fn repetitions_are_counted_and_written_once_a_minute() {
        let (mut series, start) = (Series::default(), Instant::now());
        let table = [
            (0, "full", "first"),
            (1, "full", "nothing"),
            (2, "other", "first"),
            (59, "full", "nothing"),
            (60, "full", "again 4"),
            (61, "full", "nothing"),
            (661, "full", "first"),
        ];
        for (second, note, expected) in table {
            let write = series.observe(happening(note), start + Duration::from_secs(second));
            assert_eq!(kind(write.as_ref()), expected, "{second} {note}");
        }
    }

    #[test]
    fn a_count_is_not_left_unwritten() {
        let (mut series, start) = (Series::default(), Instant::now());
        series.observe(happening("full"), start);
        series.observe(happening("full"), start + Duration::from_secs(5));
        assert!(series.flush(start + Duration::from_secs(30)).is_empty());
        assert_eq!(kind(series.flush(start + Duration::from_secs(900)).first()), "again 2");
        series.flush(start + Duration::from_secs(960));
        assert!(series.seen.is_empty());
    }

    #[test]
    fn a_flood_does_not_grow_memory() {
        let (mut series, now) = (Series::default(), Instant::now());
        for i in 0..MOST + 10 {
            assert_eq!(kind(series.observe(happening(&i.to_string()), now).as_ref()), "first");
        }
        assert_eq!(series.seen.len(), MOST);
    }
}
