//! How often it was asked what.

use std::collections::BTreeMap;

/// Requests by resource: the collection's name (`ports`), or `tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, Counts>);

/// Requests of a resource, whatever they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// GET.
    pub reads: u64,
    /// POST, PUT and DELETE.
    pub writes: u64,
}

impl Stats {
    pub(crate) fn count(&mut self, resource: &str, read: bool) {
        // A key is made once: this is on the way of every request.
        if !self.0.contains_key(resource) {
            self.0.insert(resource.to_owned(), Counts::default());
        }
        if let Some(counts) = self.0.get_mut(resource) {
            if read { counts.reads += 1 } else { counts.writes += 1 }
        }
    }

    /// Of one resource.
    pub fn of(&self, resource: &str) -> Counts {
        self.0.get(resource).copied().unwrap_or_default()
    }

    /// Of all of Neutron's resources; sign-ins are not among them.
    pub fn network(&self) -> Counts {
        let counted = self.0.iter().filter(|(name, _)| *name != crate::server::TOKENS).map(|(_, c)| c);
        counted.fold(Counts::default(), |sum, c| Counts {
            reads: sum.reads + c.reads,
            writes: sum.writes + c.writes,
        })
    }
}
