//! What the API server calls a kind: its plural, and whether its objects have namespaces.

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_model::object::Gvk;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
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
