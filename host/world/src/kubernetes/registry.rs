//! The kinds that are served: those built in and those that CRDs make.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::builtin;
use super::schema::{Field, Schema, clean, parse};
use super::status::GroupResource;
use super::table::Columns;

/// What is special about a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Namespace,
    Node,
    Pod,
    Service,
    ConfigMap,
    Secret,
    ServiceAccount,
    Event,
    /// `events.k8s.io`: another form of the same objects.
    NewEvent,
    Lease,
    EndpointSlice,
    NetworkPolicy,
    Crd,
    /// Built in, and nothing special.
    Other,
    /// Made by a CRD.
    Custom,
}

/// What a kind is called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short: Vec<String>,
    pub(crate) categories: Vec<String>,
}

/// A kind in one version.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) names: Names,
    pub(crate) namespaced: bool,
    /// Whether it has the subresource `status`.
    pub(crate) status: bool,
    pub(crate) schema: Arc<Schema>,
    /// The schema with `metadata`, which that of a custom resource does not describe.
    pub(crate) typed: Arc<Schema>,
    /// What an object without any content is like.
    pub(crate) empty: Value,
    pub(crate) schema_name: String,
    pub(crate) columns: Arc<Columns>,
    pub(crate) behaviour: Behaviour,
    pub(crate) storage_version: String,
    /// Its schema was changed: what is stored is pruned and defaulted when it is read.
    pub(crate) changed: bool,
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As `Status.details` names it.
    pub(crate) fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.names.plural.clone() }
    }

    pub(crate) fn group_kind(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.names.kind.clone() }
    }

    /// Where its objects are stored.
    pub(crate) fn table(&self) -> GroupResource {
        match self.behaviour {
            Behaviour::NewEvent => GroupResource { group: String::new(), resource: "events".to_owned() },
            _ => self.group_resource(),
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.behaviour == Behaviour::Custom
    }

    /// Where the real server stores an object, as its messages say.
    pub(crate) fn storage_key(&self, namespace: &str, name: &str, dry_run: bool) -> String {
        let root = if dry_run { "" } else { "/registry" };
        let place = match self.behaviour {
            Behaviour::Custom => format!("{}/{}", self.group, self.names.plural),
            Behaviour::Service => "services/specs".to_owned(),
            Behaviour::Node => "minions".to_owned(),
            _ => self.names.plural.clone(),
        };
        let namespace = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
        format!("{root}/{place}{namespace}/{name}")
    }

    /// Whether a change of the spec is a new generation.
    pub(crate) fn has_generation(&self) -> bool {
        use Behaviour as B;
        matches!(self.behaviour, B::Pod | B::EndpointSlice | B::NetworkPolicy | B::Crd | B::Custom)
    }
}

/// All kinds, by group, version and plural.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
    /// The objects of what schemas are made of.
    pub(crate) definitions: Value,
}

impl Registry {
    /// With the built-in kinds.
    pub(crate) fn new() -> Self {
        let mut registry = Self { resources: BTreeMap::new(), definitions: builtin::definitions() };
        for resource in builtin::resources() {
            registry.add(resource);
        }
        registry
    }

    fn add(&mut self, mut resource: Resource) {
        if let Some(metadata) = self.metadata() {
            let mut typed = Schema::clone(&resource.schema);
            if resource.is_custom() {
                typed.properties.insert("metadata".to_owned(), metadata);
            }
            resource.typed = Arc::new(typed);
        }
        resource.empty =
            serde_json::json!({"apiVersion": resource.api_version(), "kind": resource.names.kind});
        if !resource.is_custom() {
            // An empty object fits every type.
            let _fits = clean(&resource.schema, &mut resource.empty, "", &mut Vec::new());
        }
        let key = (resource.group.clone(), resource.version.clone(), resource.names.plural.clone());
        self.resources.insert(key, Arc::new(resource));
    }

    fn metadata(&self) -> Option<Field> {
        self.by_kind("", "ConfigMap")?.schema.properties.get("metadata").cloned()
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// Of a kind, in the version that is stored.
    pub(crate) fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<Resource>> {
        self.resources.values().find(|r| r.group == group && r.names.kind == kind).cloned()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// Tables with one resource for each, in any version; `events.k8s.io` is left out for it is `events`.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let mut last = None;
        self.resources.values().filter(move |r| {
            let table = Some(r.group_resource());
            let new = table != last && r.behaviour != Behaviour::NewEvent;
            last = table;
            new
        })
    }

    /// Serves what a CustomResourceDefinition describes, in place of what it described before.
    pub(crate) fn define(&mut self, crd: &Value) {
        let text = |path: &str| crd.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
        let before: Vec<_> =
            self.all().filter(|r| r.group == group && r.names.plural == plural).cloned().collect();
        self.forget(&group, &plural);
        let strings = |path: &str| -> Vec<String> {
            let list = crd.pointer(path).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let names = Names {
            kind: text("/spec/names/kind"),
            list_kind: text("/spec/names/listKind"),
            plural: plural.clone(),
            singular: text("/spec/names/singular"),
            short: strings("/spec/names/shortNames"),
            categories: strings("/spec/names/categories"),
        };
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
        let versions: Vec<_> = versions.collect();
        let is = |version: &Value, key: &str| version.get(key).and_then(Value::as_bool).unwrap_or(false);
        let name =
            |version: &Value| version.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let storage = versions.iter().find(|v| is(v, "storage")).map(|v| name(v)).unwrap_or_default();
        for version in versions.iter().filter(|v| is(v, "served")) {
            let raw = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
            let mut reversed: Vec<&str> = group.split('.').collect();
            reversed.reverse();
            let schema_name = format!("{}.{}.{}", reversed.join("."), name(version), names.kind);
            let changed = before.iter().any(|r| {
                r.changed || r.schema_name == schema_name && self.definitions.get(&schema_name) != Some(&raw)
            });
            self.add(Resource {
                group: group.clone(),
                version: name(version),
                names: names.clone(),
                namespaced: text("/spec/scope") == "Namespaced",
                status: version.pointer("/subresources/status").is_some(),
                schema: Arc::new(parse(&raw, None)),
                typed: Arc::default(),
                empty: Value::Null,
                schema_name: schema_name.clone(),
                columns: Arc::new(Columns::of_version(version)),
                behaviour: Behaviour::Custom,
                storage_version: storage.clone(),
                changed,
            });
            if let Some(map) = self.definitions.as_object_mut() {
                map.insert(schema_name, raw);
            }
        }
    }

    /// Serves it no longer.
    pub(crate) fn forget(&mut self, group: &str, plural: &str) {
        self.resources.retain(|(g, _, p), r| !(g == group && p == plural && r.is_custom()));
    }
}
