//! What the API server calls a kind: its plural, and whether its objects have namespaces; and what a name is of.

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::retry::RetryClass;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery};
use kube::discovery::pinned_kind;
use parking_lot::Mutex;

use crate::client::Client;
use crate::error::{Error, ErrorKind};

/// Where the objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// A kind as the API server serves it.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// For dynamic calls.
    pub resource: ApiResource,
    /// Where its objects live.
    pub scope: Scope,
}

/// What was asked for once. Clones share it.
#[derive(Clone)]
pub(crate) struct Discoveries {
    client: Client,
    known: Arc<Mutex<HashMap<Gvk, Discovered>>>,
}

impl Discoveries {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// As [`discover`]. That there is no such kind is not kept.
    pub(crate) async fn get(&self, kind: &Gvk) -> Result<Option<Discovered>, Error> {
        let known = self.known.lock().get(kind).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = discover(&self.client, kind).await?;
        if let Some(found) = &found {
            self.known.lock().insert(kind.clone(), found.clone());
        }
        Ok(found)
    }

    /// The API of the objects that live where this one does. `None`: there is no such kind (yet), or none of that scope.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub(crate) async fn api(&self, key: &ObjectKey) -> Result<Option<Api<DynamicObject>>, Error> {
        let Some(found) = self.get(&key.kind).await? else { return Ok(None) };
        let kube = self.client.kube();
        Ok(match (found.scope, key.namespace.as_deref()) {
            (Scope::Namespaced, Some(namespace)) => {
                Some(Api::namespaced_with(kube, namespace, &found.resource))
            }
            (Scope::Cluster, None) => Some(Api::all_with(kube, &found.resource)),
            _ => None,
        })
    }
}

/// Asks the API server for a kind. `None`: it has no such kind (yet).
///
/// # Errors
/// The API server cannot be asked.
pub async fn discover(client: &Client, kind: &Gvk) -> Result<Option<Discovered>, Error> {
    let gvk = GroupVersionKind::gvk(&kind.group, &kind.version, &kind.kind);
    let kube = client.kube();
    let asked = async {
        match pinned_kind(&kube, &gvk).await {
            // The group and version are served, the kind is not among their resources.
            Err(kube::Error::Discovery(_)) => Ok(None),
            answer => answer.map(Some),
        }
    };
    match client.read(&format!("discover {kind}"), asked).await {
        Ok(found) => Ok(found.map(|(resource, capabilities)| Discovered {
            resource,
            scope: match capabilities.scope {
                kube::discovery::Scope::Namespaced => Scope::Namespaced,
                kube::discovery::Scope::Cluster => Scope::Cluster,
            },
        })),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A kind that has a name that was looked for, in any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its API group, `""` for core.
    pub group: String,
    /// In CamelCase, as `Pod`.
    pub kind: String,
    /// Where its objects live.
    pub scope: Scope,
}

/// The kinds that somebody may mean by this name: a plural, a singular, a kind or a short name, alone or with the group behind it
/// (`routes.route.openshift.io`), as kubectl takes and prints them. None, where the API server serves nothing of that name; several,
/// where groups share it.
///
/// # Errors
/// The API server cannot be asked, or is older than Kubernetes 1.30.
pub async fn named(client: &Client, name: &str) -> Result<Vec<Named>, Error> {
    let (what, kube) = ("ask what the API server serves", client.kube());
    let mut served = client.read(what, kube.list_core_api_versions_aggregated()).await?.items;
    if served.is_empty() {
        let why = "it does not tell: Kubernetes 1.30 or later is needed";
        return Err(Error::new(RetryClass::Invalid, ErrorKind::Other, what, why));
    }
    served.extend(client.read(what, kube.list_api_groups_aggregated()).await?.items);
    Ok(of_name(&served, name))
}

fn of_name(served: &[APIGroupDiscovery], name: &str) -> Vec<Named> {
    let (word, rest) = name.split_once('.').map_or((name, None), |(word, rest)| (word, Some(rest)));
    // Some have no singular.
    let same = |theirs: &str| !theirs.is_empty() && theirs.eq_ignore_ascii_case(word);
    let (mut found, mut short) = (Vec::new(), Vec::new());
    for in_group in served {
        let group = in_group.metadata.as_ref().and_then(|m| m.name.as_deref()).unwrap_or_default();
        for version in &in_group.versions {
            let versioned = format!("{}.{group}", version.version.as_deref().unwrap_or_default());
            let fits = |rest: &str| rest.eq_ignore_ascii_case(group) || rest.eq_ignore_ascii_case(&versioned);
            if !rest.is_none_or(fits) {
                continue;
            }
            for resource in &version.resources {
                let kind = kind_of(resource);
                let names = [Some(kind), resource.resource.as_deref(), resource.singular_resource.as_deref()];
                let into = match names.into_iter().flatten().any(same) {
                    true => &mut found,
                    false if resource.short_names.iter().any(|s| same(s)) => &mut short,
                    false => continue,
                };
                let scope = match resource.scope.as_deref() {
                    Some("Namespaced") => Scope::Namespaced,
                    _ => Scope::Cluster,
                };
                let named = Named { group: group.into(), kind: kind.into(), scope };
                if !into.contains(&named) {
                    into.push(named);
                }
            }
        }
    }
    // As kubectl has it: a short name is one only where nothing is called so.
    if found.is_empty() { short } else { found }
}

fn kind_of(resource: &APIResourceDiscovery) -> &str {
    resource.response_kind.as_ref().and_then(|kind| kind.kind.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served() -> Vec<APIGroupDiscovery> {
        let resource = |kind: &str, plural: &str, singular: &str, short: &[&str], scope: &str| {
            json!({"resource": plural, "responseKind": {"kind": kind}, "singularResource": singular,
                "shortNames": short, "scope": scope})
        };
        let group = |name: &str, versions: &[&str], resources: serde_json::Value| {
            let of = |version: &&str| json!({"version": version, "resources": resources});
            json!({"metadata": {"name": name}, "versions": versions.iter().map(of).collect::<Vec<_>>()})
        };
        let core = json!([
            resource("Pod", "pods", "pod", &["po"], "Namespaced"),
            resource("Namespace", "namespaces", "namespace", &["ns"], "Cluster"),
            resource("Event", "events", "event", &["ev"], "Namespaced"),
        ]);
        let policies =
            json!([resource("NetworkPolicy", "networkpolicies", "networkpolicy", &["netpol"], "Namespaced")]);
        let all = json!([
            group("", &["v1"], core),
            group(
                "events.k8s.io",
                &["v1"],
                json!([resource("Event", "events", "event", &["ev"], "Namespaced")])
            ),
            group("networking.k8s.io", &["v1"], policies),
            // Somebody's: a short name that is another's plural, and no singular.
            group(
                "route.openshift.io",
                &["v1", "v1beta1"],
                json!([resource("Route", "routes", "", &["pods"], "Namespaced")])
            ),
        ]);
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_kind_is_found_by_every_name_that_kubectl_takes() {
        let (pod, namespace) = ("Pod. Namespaced", "Namespace. Cluster");
        let (policy, route) =
            ("NetworkPolicy.networking.k8s.io Namespaced", "Route.route.openshift.io Namespaced");
        let events = ["Event. Namespaced", "Event.events.k8s.io Namespaced"];
        let table: [(&str, &[&str]); 18] = [
            ("pod", &[pod]),
            ("Pods", &[pod]),
            ("po", &[pod]),
            ("pods.v1.", &[pod]),
            ("namespace", &[namespace]),
            ("ns", &[namespace]),
            ("networkpolicies", &[policy]),
            ("NetworkPolicy", &[policy]),
            ("netpol", &[policy]),
            ("networkpolicy.networking.k8s.io", &[policy]),
            ("route", &[route]),
            ("routes.route.openshift.io", &[route]),
            ("Route.v1beta1.route.openshift.io", &[route]),
            ("events", &events),
            ("event.events.k8s.io", &events[1..]),
            ("networkpolicys", &[]),
            ("route.example.com", &[]),
            (".route.openshift.io", &[]),
        ];
        for (name, expected) in table {
            let found = of_name(&served(), name);
            let shown = |n: &Named| format!("{}.{} {:?}", n.kind, n.group, n.scope);
            let found: Vec<String> = found.iter().map(shown).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
