//! What lists of Octavia's objects do not hold (members of a pool, rules of a policy): asked for object by object, and kept while the
//! object does not change, which the time of its last change tells.
//!
//! That time is in whole seconds. So what was asked for before a write of ours is not kept after it, though the time be the same: it
//! would be taken for what is there for good.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What was asked for, by the id of the object that it is below of.
#[derive(Debug)]
pub(super) struct Known<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    /// With the time of the change of the object that it is of.
    known: HashMap<String, (Option<String>, T)>,
    /// Counts our writes; by object, which one was the last.
    writes: u64,
    written: HashMap<String, u64>,
}

/// An object as it was listed: its id, the time of its last change, and whether nothing is under way there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above<'a> {
    pub(super) id: &'a str,
    pub(super) updated_at: &'a Option<String>,
    pub(super) quiet: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner { known: HashMap::new(), writes: 0, written: HashMap::new() }))
    }
}

impl<T: Clone> Known<T> {
    /// What is kept of an object that did not change since, else what `asked` answers.
    pub(super) async fn of<E>(
        &self,
        above: Above<'_>,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let begun = {
            let inner = self.0.lock();
            let known = inner.known.get(above.id).filter(|(at, _)| above.quiet && at == above.updated_at);
            if let Some((_, known)) = known {
                return Ok(known.clone());
            }
            inner.writes
        };
        let answer = asked.await?;
        let mut inner = self.0.lock();
        let written = inner.written.get(above.id).is_some_and(|last| *last > begun);
        if above.quiet && !written {
            inner.known.insert(above.id.to_owned(), (above.updated_at.clone(), answer.clone()));
        }
        Ok(answer)
    }

    /// To be told after each write of ours to what is below an object, whatever its answer.
    pub(super) fn wrote(&self, id: &str) {
        let mut inner = self.0.lock();
        inner.writes += 1;
        let writes = inner.writes;
        inner.written.insert(id.to_owned(), writes);
        inner.known.remove(id);
    }

    /// The object is gone.
    pub(super) fn forget(&self, id: &str) {
        let mut inner = self.0.lock();
        inner.known.remove(id);
        inner.written.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const AT: &str = "2026-11-27T01:51:11";

    async fn ask(known: &Known<u8>, at: &str, quiet: bool, answer: u8) -> u8 {
        let updated_at = Some(at.to_owned());
        let above = Above { id: "pool", updated_at: &updated_at, quiet };
        known.of(above, async { Ok::<_, Infallible>(answer) }).await.unwrap()
    }

    #[tokio::test]
    async fn what_did_not_change_is_asked_for_once() {
        let known = Known::default();
        assert_eq!(ask(&known, AT, true, 1).await, 1);
        assert_eq!(ask(&known, AT, true, 2).await, 1);
        assert_eq!(ask(&known, "a second later", true, 3).await, 3);
        assert_eq!(ask(&known, "a second later", false, 4).await, 4, "something is under way");
    }

    /// Made, looked at, and given its first rule within one second.
    #[tokio::test]
    async fn a_write_within_the_second_is_seen() {
        let known = Known::default();
        assert_eq!(ask(&known, AT, true, 0).await, 0);
        known.wrote("pool");
        assert_eq!(ask(&known, AT, true, 1).await, 1);
        assert_eq!(ask(&known, AT, true, 2).await, 1, "it is kept again");
    }

    /// A list that began before the write may have its answer after it.
    #[tokio::test]
    async fn what_was_asked_for_before_a_write_is_not_kept() {
        let known = Known::default();
        let updated_at = Some(AT.to_owned());
        let above = Above { id: "pool", updated_at: &updated_at, quiet: true };
        let late = async {
            known.wrote("pool");
            Ok::<_, Infallible>(0)
        };
        assert_eq!(known.of(above, late).await, Ok(0));
        assert_eq!(ask(&known, AT, true, 1).await, 1);
    }
}
