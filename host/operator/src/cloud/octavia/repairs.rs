//! Load balancers in ERROR: which are repaired now, and which later. One whose every build fails is not to be built day and night.

use std::collections::HashMap;
use std::time::Duration;

use isthmus_model::mark::Mark;
use parking_lot::Mutex;
use tokio::time::Instant;

/// So many repairs come as soon as they are needed: what runs it is replaced, and then it is made anew.
const AT_ONCE: u32 = 2;
/// From then on, to the next; each time twice as long.
const FIRST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(600);

/// By mark, which a load balancer keeps when it is made anew. None of one that was ACTIVE since.
#[derive(Default)]
pub(super) struct Repairs(Mutex<HashMap<Mark, Repair>>);

struct Repair {
    /// Octavia was asked to mend this one, by its id.
    asked: Option<String>,
    times: u32,
    next: Instant,
}

impl Repairs {
    /// How long the next one is to wait.
    pub(super) fn wait(&self, whose: &Mark) -> Option<Duration> {
        let next = self.0.lock().get(whose)?.next;
        Some(next.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// Whether Octavia was asked to mend this very one, and it is as it was.
    pub(super) fn was_asked(&self, whose: &Mark, id: &str) -> bool {
        self.0.lock().get(whose).is_some_and(|repair| repair.asked.as_deref() == Some(id))
    }

    /// One more is done. `asked`: Octavia does it, with what has this id; else it is made anew.
    pub(super) fn note(&self, whose: &Mark, asked: Option<&str>) {
        let mut all = self.0.lock();
        let times = all.get(whose).map_or(0, |repair| repair.times) + 1;
        let pause = match times.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(more) => FIRST.saturating_mul(1 << more.min(16)).min(LONGEST),
        };
        let repair = Repair { asked: asked.map(str::to_owned), times, next: Instant::now() + pause };
        all.insert(whose.clone(), repair);
    }

    /// It is ACTIVE.
    pub(super) fn forget(&self, whose: &Mark) {
        self.0.lock().remove(whose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str) -> Mark {
        Mark { cluster: "c".into(), subject: "s".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_always_fails_is_repaired_less_and_less_often() {
        let (repairs, [lb, other]) = (Repairs::default(), ["lb", "other"].map(mark));
        let mut waits = Vec::new();
        for round in 0..9 {
            let wait = repairs.wait(&lb).unwrap_or_default();
            waits.push(wait.as_secs());
            tokio::time::advance(wait).await;
            assert_eq!(repairs.wait(&lb), None);
            repairs.note(&lb, (round == 0).then_some("id"));
            assert_eq!(repairs.was_asked(&lb, "id"), round == 0, "another one since");
        }
        assert_eq!(waits, [0, 0, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(repairs.wait(&other), None);
        repairs.forget(&lb);
        repairs.note(&lb, None);
        assert_eq!(repairs.wait(&lb), None, "it was well in between");
    }
}
