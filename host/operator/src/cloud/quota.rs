//! Limit and use of the quota that the cloud refuses something for.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use isthmus_openstack::Octavia;
use isthmus_openstack::neutron::Quotas;
use isthmus_openstack::octavia::{HealthMonitor, L7Policy, Limits, Listener, LoadBalancer, Pool, Resource};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Cloud;

type Result<T> = std::result::Result<T, isthmus_openstack::Error>;

/// How long an answer is believed.
const FRESH: Duration = Duration::from_secs(2);

/// How long one is waited for: it is told beside a refusal, which is known already.
const LONGEST: Duration = Duration::from_secs(5);

/// What was asked last. Many subjects run into one quota together: one of them asks.
#[derive(Default)]
pub(super) struct Asked {
    neutron: Fresh<Quotas>,
    limits: Fresh<Limits>,
    /// How many there are of a kind of Octavia's.
    used: Fresh<usize>,
}

/// Answers, by what was asked; also that there was none.
struct Fresh<T>(Mutex<BTreeMap<String, (Instant, Option<T>)>>);

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Fresh<T> {
    async fn of<E: Display>(
        &self,
        what: &str,
        ask: impl Future<Output = std::result::Result<T, E>>,
    ) -> Option<T> {
        let mut known = self.0.lock().await;
        if let Some((at, answer)) = known.get(what)
            && at.elapsed() <= FRESH
        {
            return answer.clone();
        }
        let answer = match timeout(LONGEST, ask).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::debug!(what, %error, "a quota can't be told");
                None
            }
            Err(_late) => None,
        };
        known.insert(what.to_owned(), (Instant::now(), answer.clone()));
        answer
    }
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
        let project = self.project.as_deref()?;
        let quotas = self.quotas.neutron.of("quotas", self.neutron.quotas(project)).await?;
        let quota = quotas.get(resource)?;
        Some(format!("{resource} quota {}, used {}", quota.limit, quota.used))
    }

    async fn of_octavia(&self, resource: &str) -> Option<String> {
        let (octavia, project) = (self.octavia.as_ref()?, self.project.as_deref()?);
        let limits = self.quotas.limits.of("limits", octavia.limits(project)).await?;
        let limit = limits.get(resource)?;
        let used = match used(octavia, project, resource) {
            Some(count) => self.quotas.used.of(resource, count).await,
            None => None,
        };
        let used = used.map(|used| format!(", used {used}")).unwrap_or_default();
        Some(format!("{resource} quota {limit}{used}"))
    }
}

/// How many of a kind a project has. `None`: members and rules can't be listed together.
fn used<'a>(octavia: &'a Octavia, project: &'a str, resource: &str) -> Option<BoxFuture<'a, Result<usize>>> {
    Some(match resource {
        "loadbalancer" => count::<LoadBalancer>(octavia, project).boxed(),
        "listener" => count::<Listener>(octavia, project).boxed(),
        "pool" => count::<Pool>(octavia, project).boxed(),
        "healthmonitor" => count::<HealthMonitor>(octavia, project).boxed(),
        "l7policy" => count::<L7Policy>(octavia, project).boxed(),
        _ => return None,
    })
}

async fn count<R: Resource<In = Octavia>>(octavia: &Octavia, project: &str) -> Result<usize> {
    Ok(octavia.list::<R>(&[("project_id", project), ("fields", "id")]).await?.len())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Two hundred that are refused together ask once, whatever the answer is.
    #[tokio::test(start_paused = true)]
    async fn an_answer_is_asked_for_once_in_a_while() {
        let (fresh, asked) = (Fresh::default(), Cell::new(0));
        let count = async |answer: Option<Duration>| {
            fresh
                .of("pool", async {
                    asked.set(asked.get() + 1);
                    tokio::time::sleep(answer.unwrap_or_default()).await;
                    answer.map(|_| asked.get()).ok_or("refused")
                })
                .await
        };
        assert_eq!((count(Some(FRESH)).await, count(None).await, asked.get()), (Some(1), Some(1), 1));
        tokio::time::sleep(FRESH * 2).await;
        assert_eq!((count(None).await, count(Some(FRESH)).await, asked.get()), (None, None, 2));
        tokio::time::sleep(FRESH * 2).await;
        assert_eq!((count(Some(LONGEST * 2)).await, count(None).await, asked.get()), (None, None, 3));
    }

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
