//! Limit and use of the quota that the cloud refuses something for.

use std::time::Duration;

use isthmus_openstack::Octavia;
use isthmus_openstack::neutron::Quotas;
use isthmus_openstack::octavia::{HealthMonitor, L7Policy, Limits, Listener, LoadBalancer, Pool, Resource};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Cloud;

/// How long limit and use of quotas are believed.
const FRESH: Duration = Duration::from_secs(2);

/// What was asked last. Many subjects run into one quota together: one of them asks.
#[derive(Default)]
pub(super) struct Asked {
    neutron: Mutex<Option<(Instant, Quotas)>>,
    limits: Mutex<Option<(Instant, Limits)>>,
    /// How many there are of a kind of Octavia's.
    used: Mutex<Option<(Instant, String, usize)>>,
}

/// The quota that a refusal names, by its service.
#[derive(Debug, PartialEq, Eq)]
enum Exceeded<'m> {
    Neutron(&'m str),
    Octavia(String),
}

/// Neutron: "Quota exceeded for resources: ['security_group_rule']." Octavia: "Quota has been met for resources: Load Balancer", in
/// the words of its classes.
fn exceeded(refusal: &str) -> Option<Exceeded<'_>> {
    if let Some((_, rest)) = refusal.split_once("Quota exceeded for resources: ['") {
        return rest.split_once('\'').map(|(resource, _)| Exceeded::Neutron(resource));
    }
    let (_, rest) = refusal.split_once("Quota has been met for resources: ")?;
    let is_part = |c: &char| c.is_ascii_alphanumeric() || [' ', '_'].contains(c);
    let words = rest.chars().take_while(is_part).filter(char::is_ascii_alphanumeric);
    Some(Exceeded::Octavia(words.map(|c| c.to_ascii_lowercase()).collect()))
}

impl Cloud {
    /// Limit and use of the quota of our project that a refusal names, as a person reads it; `None` where it names none, or the cloud
    /// does not say.
    pub async fn quota(&self, refusal: &str) -> Option<String> {
        match exceeded(refusal)? {
            Exceeded::Neutron(resource) => self.of_neutron(resource).await,
            Exceeded::Octavia(resource) => self.of_octavia(&resource).await,
        }
    }

    async fn of_neutron(&self, resource: &str) -> Option<String> {
        let mut known = self.quotas.neutron.lock().await;
        if known.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
            *known = Some((Instant::now(), self.neutron.quotas(self.project.as_deref()?).await.ok()?));
        }
        let (_, quotas) = known.as_ref()?;
        let quota = quotas.get(resource)?;
        Some(format!("{resource} quota {}, used {}", quota.limit, quota.used))
    }

    async fn of_octavia(&self, resource: &str) -> Option<String> {
        let (octavia, project) = (self.octavia.as_ref()?, self.project.as_deref()?);
        let limit = {
            let mut known = self.quotas.limits.lock().await;
            if known.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
                *known = Some((Instant::now(), octavia.limits(project).await.ok()?));
            }
            let (_, limits) = known.as_ref()?;
            *limits.get(resource)?
        };
        let mut known = self.quotas.used.lock().await;
        if known.as_ref().is_none_or(|(at, of, _)| of != resource || at.elapsed() > FRESH) {
            *known =
                used(octavia, project, resource).await.map(|used| (Instant::now(), resource.into(), used));
        }
        let used = known.as_ref().map(|(_, _, used)| format!(", used {used}")).unwrap_or_default();
        Some(format!("{resource} quota {limit}{used}"))
    }
}

/// How many of a kind a project has. Members and rules can't be listed together.
async fn used(octavia: &Octavia, project: &str, resource: &str) -> Option<usize> {
    match resource {
        "loadbalancer" => count::<LoadBalancer>(octavia, project).await,
        "listener" => count::<Listener>(octavia, project).await,
        "pool" => count::<Pool>(octavia, project).await,
        "healthmonitor" => count::<HealthMonitor>(octavia, project).await,
        "l7policy" => count::<L7Policy>(octavia, project).await,
        _ => None,
    }
}

async fn count<R: Resource<In = Octavia>>(octavia: &Octavia, project: &str) -> Option<usize> {
    let all = octavia.list::<R>(&[("project_id", project), ("fields", "id")]).await;
    all.map_err(|error| tracing::debug!(%error, "what is used of a quota can't be counted"))
        .ok()
        .map(|all| all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_what_the_service_names() {
        let table = [
            ("port: 409 OverQuota: Quota exceeded for resources: ['security_group_rule'].", {
                Some(Exceeded::Neutron("security_group_rule"))
            }),
            (
                "Quota has been met for resources: Load Balancer",
                Some(Exceeded::Octavia("loadbalancer".into())),
            ),
            (
                "Quota has been met for resources: load_balancer",
                Some(Exceeded::Octavia("loadbalancer".into())),
            ),
            ("403: Quota has been met for resources: L7 Policy.", Some(Exceeded::Octavia("l7policy".into()))),
            (
                "web: 403: Quota has been met for resources: Pool (req-1)",
                Some(Exceeded::Octavia("pool".into())),
            ),
            ("409: the load balancer is immutable", None),
        ];
        for (refusal, named) in table {
            assert_eq!(exceeded(refusal), named, "{refusal}");
        }
    }
}
