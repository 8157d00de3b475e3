//! An object as people name it, and its CloudMappings.

use std::fmt;

use anyhow::{bail, ensure};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::discovery::{Named, Scope, named};
use isthmus_kubernetes::mapping::Mappings;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use kube::Api;
use kube::api::ListParams;

/// What was asked for: `KIND/NAME` in a namespace.
pub(crate) struct Object {
    /// As it was written.
    pub(crate) kind: String,
    pub(crate) name: String,
    namespace: String,
    /// The kinds that have this name.
    kinds: Vec<Named>,
}

impl Object {
    /// Asks the API server which kinds are meant.
    pub(crate) async fn find(client: &Client, text: &str, namespace: &str) -> anyhow::Result<Self> {
        let (kind, name) = parts(text)?;
        let kinds = named(client, kind).await?;
        ensure!(
            !kinds.is_empty(),
            "the API server serves nothing that is called {kind}: `kubectl api-resources` lists what it serves"
        );
        Ok(Self { kind: kind.into(), name: name.into(), namespace: namespace.into(), kinds })
    }

    /// Whether this kind is meant, in whatever version.
    pub(crate) fn is_of(&self, kind: &Gvk) -> bool {
        self.kinds.iter().any(|named| named.group == kind.group && named.kind == kind.kind)
    }

    /// Whether this object is meant.
    pub(crate) fn is(&self, key: &ObjectKey) -> bool {
        let here = key.namespace.as_deref().is_none_or(|namespace| *namespace == *self.namespace);
        *key.name == *self.name && here && self.is_of(&key.kind)
    }

    /// Its CloudMappings: more than one, where several kinds have the name, or an object of it that is gone has not let go yet.
    pub(crate) async fn mappings(&self, client: &Client, home: &str) -> anyhow::Result<Vec<CloudMapping>> {
        let mut found = Vec::new();
        for namespace in self.places(&Mappings::new(client.clone(), home)) {
            let api: Api<CloudMapping> = Api::namespaced(client.kube(), &namespace);
            let all = client.read("list CloudMappings", api.list(&ListParams::default())).await?;
            found.extend(all.items.into_iter().filter(|m| self.is(&m.spec.subject.subject().key)));
        }
        Ok(found)
    }

    /// The namespaces that its mappings live in.
    fn places(&self, mappings: &Mappings) -> Vec<String> {
        let place = |named: &Named| {
            let namespace = (named.scope == Scope::Namespaced).then_some(self.namespace.as_str());
            // A Namespace is told by its kind, and that has one version.
            let kind = Gvk::new(&named.group, "v1", &named.kind);
            let subject = Subject { key: ObjectKey::new(kind, namespace, &self.name), uid: "".into() };
            mappings.namespace_of(&subject).to_owned()
        };
        let mut places: Vec<String> = self.kinds.iter().map(place).collect();
        places.sort();
        places.dedup();
        places
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)?;
        match self.kinds.iter().any(|named| named.scope == Scope::Namespaced) {
            true => write!(f, " in namespace {}", self.namespace),
            false => Ok(()),
        }
    }
}

/// Kind and name of `KIND/NAME`.
fn parts(object: &str) -> anyhow::Result<(&str, &str)> {
    match object.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty()) {
        Some(both) => Ok(both),
        None => bail!("{object:?} names no object: expected KIND/NAME, as pod/web-0"),
    }
}
