//! Provisioning: a write makes what it touches `PENDING_*`, and after the provider's time it is done.

use std::time::Duration;

use super::fault::{Fault, Result};
use super::tree::Node;
use super::{Kind, Object, Octavia};
use crate::faults::Ending;
use crate::ids::time_without_zone;
use crate::neutron::Neutron;

/// What a provider has to do, and on what.
#[derive(Debug)]
pub(super) struct Job {
    touched: Vec<(Kind, String)>,
    ending: Ending,
}

impl Octavia {
    /// Refuses what is asked of a load balancer that something is being done to, or that is broken.
    pub(super) fn must_be_mutable(&self, balancer: &str) -> Result<()> {
        match self.get(Kind::LoadBalancer, balancer)?.status() {
            "ACTIVE" => Ok(()),
            _ => Err(Fault::immutable("Load Balancer", balancer)),
        }
    }

    /// Marks what a write touches: what `PENDING_*` it is by now stays, the rest is `PENDING_UPDATE`. The provider is at work from now.
    pub(super) fn provision(&mut self, balancer: &str, touched: Vec<(Kind, String)>) {
        let mut touched = touched;
        touched.push((Kind::LoadBalancer, balancer.to_owned()));
        for (kind, id) in &touched {
            self.edit(*kind, id, |node| {
                if !node.status().starts_with("PENDING_") {
                    node.set("provisioning_status", "PENDING_UPDATE");
                    node.set("updated_at", time_without_zone());
                }
            });
        }
        self.enqueue(touched, 1);
    }

    /// Has the provider be done with `touched` after so many times its latency.
    pub(super) fn enqueue(&mut self, touched: Vec<(Kind, String)>, turns: u32) {
        if self.ending == Ending::Never {
            return;
        }
        self.jobs += 1;
        let due = self.now + self.latency * turns;
        self.due.insert((due, self.jobs), Job { touched, ending: self.ending });
    }

    /// Does what the providers have done by `now`.
    pub(crate) fn settle(&mut self, now: Duration, neutron: &mut Neutron) {
        self.now = now;
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let job = first.remove();
            for (kind, id) in &job.touched {
                self.done(*kind, id, job.ending, neutron);
            }
        }
    }

    fn done(&mut self, kind: Kind, id: &str, ending: Ending, neutron: &mut Neutron) {
        let Ok(node) = self.get(kind, id) else { return };
        match (node.status(), ending) {
            (status, _) if !status.starts_with("PENDING_") => {}
            (_, Ending::Error) => self.edit(kind, id, |node| {
                node.set("provisioning_status", "ERROR");
                node.set("updated_at", time_without_zone());
            }),
            ("PENDING_DELETE", _) => {
                if kind == Kind::LoadBalancer {
                    self.release_vip(id, neutron);
                }
                self.remove(kind, id);
            }
            _ => {
                let online = if kind == Kind::Member { "NO_MONITOR" } else { "ONLINE" };
                self.edit(kind, id, |node| {
                    node.set("provisioning_status", "ACTIVE");
                    node.set("operating_status", if node.enabled() { online } else { "OFFLINE" });
                    node.set("updated_at", time_without_zone());
                });
                self.watch(kind, id);
            }
        }
    }

    /// What a health monitor sees of its pool's members: they answer.
    fn watch(&mut self, kind: Kind, id: &str) {
        let Ok(node) = self.get(kind, id) else { return };
        let pool = match kind {
            Kind::Member | Kind::HealthMonitor => node.parent.clone(),
            _ => return,
        };
        let Ok(pool) = self.get(Kind::Pool, &pool) else { return };
        let watched = pool.monitor.as_ref().is_some_and(|m| {
            self.get(Kind::HealthMonitor, m).is_ok_and(|m| m.status() == "ACTIVE" && m.enabled())
        });
        // The provider `noop` has nobody who looks.
        let looks = self.get(Kind::LoadBalancer, &pool.parent).is_ok_and(|lb| lb.text("provider") != "noop");
        let seen = if watched && looks { "ONLINE" } else { "NO_MONITOR" };
        let members: Vec<String> = match kind {
            Kind::Member => vec![id.to_owned()],
            _ => pool.members.values().cloned().collect(),
        };
        for member in members {
            self.edit(Kind::Member, &member, |node| {
                if node.status() == "ACTIVE" && node.enabled() {
                    node.set("operating_status", seen);
                }
            });
        }
    }

    /// Sets a status from outside.
    pub(crate) fn set_provisioning_status(&mut self, balancer: &str, status: &str) -> bool {
        let found = self.get_mut(Kind::LoadBalancer, balancer);
        found.map(|node| node.set("provisioning_status", status)).is_ok()
    }
}

/// Marks an object of a request as changed: what it is told to be, and since when.
pub(super) fn change(node: &mut Node, changes: Object) {
    node.object.extend(changes);
    node.set("updated_at", time_without_zone());
}
