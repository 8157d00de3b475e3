//! How often it was asked what.

use std::collections::BTreeMap;

use crate::server::Service;

/// Requests by resource: the collection's name (`ports`, `loadbalancers`; `members` for those of any pool), or `tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    identity: BTreeMap<String, Counts>,
    network: BTreeMap<String, Counts>,
    load_balancer: BTreeMap<String, Counts>,
}

/// Requests of a resource, whatever they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// GET.
    pub reads: u64,
    /// POST, PUT and DELETE.
    pub writes: u64,
}

impl Stats {
    pub(crate) fn count(&mut self, service: Service, resource: &str, read: bool) {
        let all = match service {
            Service::Identity => &mut self.identity,
            Service::Network => &mut self.network,
            Service::LoadBalancer => &mut self.load_balancer,
        };
        // A key is made once: this is on the way of every request.
        if !all.contains_key(resource) {
            all.insert(resource.to_owned(), Counts::default());
        }
        if let Some(counts) = all.get_mut(resource) {
            if read { counts.reads += 1 } else { counts.writes += 1 }
        }
    }

    /// Of one resource.
    pub fn of(&self, resource: &str) -> Counts {
        let all = [&self.identity, &self.network, &self.load_balancer];
        sum(all.into_iter().filter_map(|counted| counted.get(resource)))
    }

    /// Of all of Neutron's resources.
    pub fn network(&self) -> Counts {
        sum(self.network.values())
    }

    /// Of all of Octavia's resources.
    pub fn load_balancer(&self) -> Counts {
        sum(self.load_balancer.values())
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a Counts>) -> Counts {
    counts.fold(Counts::default(), |sum, c| Counts {
        reads: sum.reads + c.reads,
        writes: sum.writes + c.writes,
    })
}
