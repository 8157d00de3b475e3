//! Certificates that a listener shows by SNI: parts of the listener (`sni_container_refs`), whose ever that is.
//!
//! Each is added, exchanged and removed by its value, in the lane of the load balancer, so that what others have there stays. It has
//! no mark of its own: whose it is, the mark of its secret says; what is no secret of ours is never looked at.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::barbican::Secret;
use isthmus_openstack::octavia::{Listener, ListenerUpdate};
use serde::{Deserialize, Serialize};

use super::{Scope, set, state};
use crate::cloud::attachment::{self, parts};
use crate::cloud::certificate::{Marks, has};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed};

pub(in crate::cloud) struct ListenerCertificates {
    scope: Arc<Scope>,
    marks: Marks,
}

/// The contract's `listener-certificate`, references as ids: that of a certificate is its secret's URL.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

fn observed(listener: &Listener, secret_ref: &str, mark: Mark) -> Observed {
    let fields = Fields { listener: Some(listener.id.clone()), certificate: Some(secret_ref.to_owned()) };
    let both = (listener.id.as_str(), Secret::id_of(secret_ref));
    // It is shown once the listener is as it should be.
    let state = state(&listener.provisioning_status);
    Observed { mark: Some(mark), state, ..attachment::observed(Kind::ListenerCertificate, both, &fields) }
}

/// The references of a listener with this one in place of that one, or the same where nothing changes. The others keep their
/// order.
fn exchanged(current: &[String], old: Option<&str>, new: Option<&str>) -> Vec<String> {
    let is =
        |found: &str, wanted: Option<&str>| wanted.is_some_and(|w| Secret::id_of(w) == Secret::id_of(found));
    let mut all: Vec<String> =
        current.iter().filter(|found| !is(found, old) || is(found, new)).cloned().collect();
    if let Some(new) = new.filter(|_| !all.iter().any(|found| is(found, new))) {
        all.push(new.to_owned());
    }
    all
}

impl ListenerCertificates {
    pub(super) fn new(scope: Arc<Scope>, marks: Marks) -> Self {
        Self { scope, marks }
    }

    /// Puts one in place of another, in one write. Answers the listener as it is then.
    async fn exchange(&self, listener: &str, old: Option<&str>, new: Option<&str>) -> Result<Listener> {
        let owner = self.scope.owner_of_listener(listener).await?;
        let change = || async {
            let found: Listener = self.scope.octavia.get(listener).await?;
            let refs = exchanged(&found.sni_container_refs, old, new);
            if refs == found.sni_container_refs {
                return Ok(found);
            }
            let body = ListenerUpdate { sni_container_refs: Some(refs), ..ListenerUpdate::default() };
            Ok(self.scope.octavia.update::<Listener>(listener, &body).await?)
        };
        self.scope.lanes.change(&owner, change).await
    }

    /// All listeners of the project: of those of others too, what is ours is taken off.
    async fn listeners(&self) -> Result<Vec<Listener>> {
        let project = self.scope.project.as_deref().map(|p| ("project_id", p));
        let query: Vec<(&str, &str)> = project.into_iter().collect();
        Ok(self.scope.octavia.list(&query).await?)
    }
}

/// What of the listeners is ours.
fn ours(listeners: &[Listener], marks: &HashMap<String, Mark>, tag: &str) -> Vec<Observed> {
    let by_id: HashMap<&str, (&String, &Mark)> =
        marks.iter().map(|(secret_ref, mark)| (Secret::id_of(secret_ref), (secret_ref, mark))).collect();
    let mut all = Vec::new();
    for listener in listeners {
        for secret_ref in &listener.sni_container_refs {
            let Some((secret_ref, mark)) = by_id.get(Secret::id_of(secret_ref)) else { continue };
            if has(mark, tag) {
                all.push(observed(listener, secret_ref, (*mark).clone()));
            }
        }
    }
    all
}

impl Driver for ListenerCertificates {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let listeners = self.listeners().await?;
            // After the listeners: a secret that is attached is known by now.
            let marks = self.marks.lock();
            let marks = marks.as_ref().ok_or(CloudError::NotListed(Kind::Certificate))?;
            Ok(ours(&listeners, marks, tag))
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let (listener, secret_ref) =
                (fields.listener.unwrap_or_default(), fields.certificate.unwrap_or_default());
            let changed = self.exchange(&listener, None, Some(&secret_ref)).await?;
            Ok(observed(&changed, &secret_ref, create.mark))
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(update.entry, set(&update))?;
            let (listener, old) = parts(&update.observed.id);
            let secret_ref = fields.certificate.unwrap_or_default();
            match self.exchange(listener, Some(old), Some(&secret_ref)).await {
                Ok(changed) => Ok(observed(&changed, &secret_ref, update.mark)),
                Err(error) => Err(self.scope.failed::<Listener>(listener, error).await),
            }
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let (listener, secret) = parts(&old.id);
            let Some(found) = self.scope.look::<Listener>(listener).await? else { return Ok(None) };
            let held = found.sni_container_refs.iter().find(|held| Secret::id_of(held) == secret);
            Ok(held.and_then(|held| Some(observed(&found, held, old.mark.clone()?))))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (listener, secret) = parts(id);
            match self.exchange(listener, Some(secret), None).await {
                Ok(_) => Ok(()),
                // It went with its listener.
                Err(CloudError::Service(error)) if error.class == RetryClass::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("http://b/v1/secrets/{name}")).collect()
    }

    #[test]
    fn one_is_exchanged_by_value_and_others_stay() {
        let url = |name: &str| format!("http://b/v1/secrets/{name}");
        let current = refs(&["stranger", "1", "2"]);
        let table = [
            (None, Some("3"), vec!["stranger", "1", "2", "3"]),
            (None, Some("2"), vec!["stranger", "1", "2"]),
            (Some("1"), Some("3"), vec!["stranger", "2", "3"]),
            (Some("1"), Some("1"), vec!["stranger", "1", "2"]),
            (Some("1"), None, vec!["stranger", "2"]),
            (Some("gone"), None, vec!["stranger", "1", "2"]),
        ];
        for (old, new, expected) in table {
            let new = new.map(url);
            assert_eq!(exchanged(&current, old, new.as_deref()), refs(&expected), "{old:?} {new:?}");
        }
        // The key manager has another address now: the same secrets.
        let moved = "https://key-manager/v1/secrets/1";
        assert_eq!(exchanged(&current, None, Some(moved)), current);
    }

    #[test]
    fn only_secrets_of_ours_are_seen() {
        let mark =
            |subject: &str| Mark { cluster: "c".into(), subject: subject.into(), name: "certificate".into() };
        let marks: HashMap<String, Mark> = refs(&["1", "2"]).into_iter().zip(["s", "t"].map(mark)).collect();
        let listener = Listener {
            id: "l".into(),
            provisioning_status: "ACTIVE".into(),
            sni_container_refs: refs(&["stranger", "1", "2"]),
            ..Listener::default()
        };
        let found = |tag: &str| -> Vec<String> {
            ours(std::slice::from_ref(&listener), &marks, tag).into_iter().map(|o| o.id).collect()
        };
        assert_eq!(found("isthmus:cluster=c"), ["l/1", "l/2"]);
        assert_eq!(found("isthmus:cluster=c,isthmus:subject=t"), ["l/2"]);
        assert!(found("isthmus:cluster=d").is_empty());
        assert_eq!(parts("l/1"), ("l", "1"));
    }
}
