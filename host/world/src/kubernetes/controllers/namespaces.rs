//! What is in a namespace that goes, and what is of a CRD that goes, goes first.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::api::Api;
use crate::kubernetes::status::GroupResource;
use crate::kubernetes::store::{Change, Key, set};

const CRD_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

impl Api {
    pub(super) fn namespaces(&mut self, table: &GroupResource, change: &Change, now: Timestamp) {
        let going = !change.deleted && change.object.is_deleting();
        match &*table.resource {
            "namespaces" if table.group.is_empty() && going => self.empty(&change.object.key().1, now),
            "customresourcedefinitions" if going => self.clean_up(&change.object.key(), now),
            _ if change.deleted => {
                let (namespace, _) = change.object.key();
                if let Some(namespaces) = self.registry.by_kind("", "Namespace")
                    && let Some(owner) = self.store.get(&namespaces.table(), "", &namespace)
                    && owner.is_deleting()
                {
                    self.finish(&namespace, now);
                }
                self.clean_up_of(table, now);
            }
            _ => {}
        }
    }

    /// Deletes all that is in a namespace.
    fn empty(&mut self, namespace: &str, now: Timestamp) {
        let resources: Vec<_> = self.registry.tables().filter(|r| r.namespaced).cloned().collect();
        for resource in resources {
            let keys: Vec<Key> = self
                .store
                .existing(&resource.table())
                .map(|t| t.range(namespace, None).filter(|o| !o.is_deleting()).map(|o| o.key()).collect())
                .unwrap_or_default();
            for key in keys {
                // Gone meanwhile, or kept by a finalizer: its deletion comes by here.
                let _deleted = self.discard(&resource, &key, None, now);
            }
        }
        self.finish(namespace, now);
    }

    /// Takes the finalizer of an empty namespace away, and so the namespace.
    fn finish(&mut self, namespace: &str, now: Timestamp) {
        let left = self.registry.tables().filter(|r| r.namespaced).any(|r| {
            self.store.existing(&r.table()).is_some_and(|t| t.range(namespace, None).next().is_some())
        });
        if left {
            return;
        }
        if let Some(namespaces) = self.registry.by_kind("", "Namespace") {
            let key = (String::new(), namespace.to_owned());
            let clear = |value: &mut Value| {
                if let Some(map) = value.as_object_mut() {
                    map.insert("spec".to_owned(), json!({}));
                }
            };
            let _gone = self.change(&namespaces, &key, "finalize", clear, now);
        }
    }

    /// Deletes the objects of a CRD, then the CRD.
    fn clean_up(&mut self, key: &Key, now: Timestamp) {
        let Some(crds) = self.registry.by_kind("apiextensions.k8s.io", "CustomResourceDefinition") else {
            return;
        };
        let Some(crd) = self.store.get(&crds.table(), &key.0, &key.1) else { return };
        let text =
            |path: &str| crd.value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let table = GroupResource { group: text("/spec/group"), resource: text("/spec/names/plural") };
        if let Some(resource) = self.resource_of_table(&table) {
            let keys: Vec<Key> = self
                .store
                .existing(&table)
                .map(|t| t.objects.iter().filter(|(_, o)| !o.is_deleting()).map(|(k, _)| k.clone()).collect())
                .unwrap_or_default();
            for key in keys {
                let _deleted = self.discard(&resource, &key, None, now);
            }
        }
        if self.store.existing(&table).is_none_or(|t| t.objects.is_empty()) {
            let without = |value: &mut Value| {
                let list = value
                    .pointer("/metadata/finalizers")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default();
                let list: Vec<Value> =
                    list.into_iter().filter(|f| f.as_str() != Some(CRD_FINALIZER)).collect();
                set(value, "finalizers", if list.is_empty() { Value::Null } else { list.into() });
            };
            let _gone = self.change(&crds, key, "", without, now);
        }
    }

    /// The last object of a CRD that goes may have gone.
    fn clean_up_of(&mut self, table: &GroupResource, now: Timestamp) {
        let Some(crds) = self.registry.by_kind("apiextensions.k8s.io", "CustomResourceDefinition") else {
            return;
        };
        let name = format!("{}.{}", table.resource, table.group);
        if self.store.get(&crds.table(), "", &name).is_some_and(|crd| crd.is_deleting()) {
            self.clean_up(&(String::new(), name), now);
        }
    }
}
