//! The election as a state machine: from what the lease says and when we saw it to what to do. No IO; time is given.

use std::time::Duration;

use tokio::time::Instant;

/// What a lease says, without its times: those are of other clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// Who holds it; `None`: given back, or never held.
    pub(super) holder: Option<String>,
    /// For how long after a renewal.
    pub(super) duration: Duration,
    /// How often it changed hands.
    pub(super) transitions: i32,
}

/// A lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredLease {
    pub(super) lease: Lease,
    /// Changes with every write, so a renewal is seen by it.
    pub(super) version: String,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody else holds it, in this version, until then.
    Wait { holder: String, version: String, expires: Instant },
    /// Take or renew it: write this over that version (`None`: create it). Whoever writes first wins.
    Write { lease: Lease, version: Option<String> },
}

#[derive(Debug)]
pub(super) struct Elector {
    identity: String,
    duration: Duration,
    /// The last version that we saw, and when we first saw it.
    observed: Option<(String, Instant)>,
}

impl Elector {
    pub(super) fn new(identity: &str, duration: Duration) -> Self {
        Self { identity: identity.into(), duration, observed: None }
    }

    /// Since when this version is known to be stored.
    fn first_seen(&mut self, version: &str, now: Instant) -> Instant {
        match &self.observed {
            Some((seen, at)) if seen == version => *at,
            _ => {
                self.observed = Some((version.into(), now));
                now
            }
        }
    }

    /// What to do about what is stored.
    pub(super) fn decide(&mut self, stored: Option<StoredLease>, now: Instant) -> Step {
        let Some(stored) = stored else {
            return Step::Write { lease: self.mine(0), version: None };
        };
        let first_seen = self.first_seen(&stored.version, now);
        let StoredLease { lease, version } = stored;
        let expires = first_seen + lease.duration;
        match lease.holder {
            Some(holder) if holder != self.identity && now < expires => {
                Step::Wait { holder, version, expires }
            }
            Some(holder) if holder == self.identity => {
                Step::Write { lease: self.mine(lease.transitions), version: Some(version) }
            }
            _ => {
                Step::Write { lease: self.mine(lease.transitions.saturating_add(1)), version: Some(version) }
            }
        }
    }

    /// What to write over this in order to give the lease back; `None` where it is not ours.
    pub(super) fn released(&self, stored: &StoredLease) -> Option<Lease> {
        // A second, not nothing: the API server refuses a duration of 0.
        let free = || Lease {
            holder: None,
            duration: Duration::from_secs(1),
            transitions: stored.lease.transitions,
        };
        (stored.lease.holder.as_deref() == Some(&self.identity)).then(free)
    }

    fn mine(&self, transitions: i32) -> Lease {
        Lease { holder: Some(self.identity.clone()), duration: self.duration, transitions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn stored(holder: Option<&str>, version: &str) -> Option<StoredLease> {
        let lease = Lease { holder: holder.map(Into::into), duration: DURATION, transitions: 3 };
        Some(StoredLease { lease, version: version.into() })
    }

    fn writes(step: &Step) -> Option<(i32, Option<&str>)> {
        match step {
            Step::Write { lease, version } => Some((lease.transitions, version.as_deref())),
            Step::Wait { .. } => None,
        }
    }

    #[test]
    fn takes_what_is_free_and_renews_what_is_its_own() {
        let (mut me, now) = (Elector::new("me", DURATION), Instant::now());
        assert_eq!(writes(&me.decide(None, now)), Some((0, None)));
        assert_eq!(writes(&me.decide(stored(None, "1"), now)), Some((4, Some("1"))));
        assert_eq!(writes(&me.decide(stored(Some("me"), "2"), now)), Some((3, Some("2"))));
    }

    #[test]
    fn a_lease_expires_by_when_we_saw_it_change() {
        let (mut me, now) = (Elector::new("me", DURATION), Instant::now());
        let almost = DURATION - Duration::from_millis(1);
        let wait = Step::Wait { holder: "you".into(), version: "1".into(), expires: now + DURATION };
        assert_eq!(me.decide(stored(Some("you"), "1"), now), wait);
        assert!(writes(&me.decide(stored(Some("you"), "1"), now + almost)).is_none());
        // Renewed: the count begins anew.
        assert!(writes(&me.decide(stored(Some("you"), "2"), now + DURATION)).is_none());
        assert!(writes(&me.decide(stored(Some("you"), "2"), now + DURATION + almost)).is_none());
        assert_eq!(writes(&me.decide(stored(Some("you"), "2"), now + DURATION * 2)), Some((4, Some("2"))));
    }

    #[test]
    fn gives_back_only_its_own() {
        let me = Elector::new("me", DURATION);
        assert!(me.released(&stored(Some("you"), "1").unwrap()).is_none());
        assert!(me.released(&stored(None, "1").unwrap()).is_none());
        assert_eq!(me.released(&stored(Some("me"), "2").unwrap()).unwrap().holder, None);
    }
}
