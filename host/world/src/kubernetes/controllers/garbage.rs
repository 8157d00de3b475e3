//! The garbage collector: objects whose owners are gone, finalizers `orphan` and `foregroundDeletion`.

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::api::Api;
use crate::kubernetes::store::{Change, Object, meta, owners, set};

impl Api {
    pub(super) fn collect_garbage(&mut self, change: &Change, now: Timestamp) {
        let object = &change.object;
        if change.deleted {
            for owner in owners(&object.value).map(str::to_owned).collect::<Vec<_>>() {
                self.end_foreground(&owner, now);
            }
            for (table, key) in self.store.dependents(object.uid()) {
                if let Some(dependent) = self.store.get(&table, &key.0, &key.1) {
                    self.judge(&dependent, &table, now);
                }
            }
            return;
        }
        let Some(here) = self.store.by_uid(object.uid()).cloned() else { return };
        if object.is_deleting() {
            match () {
                () if has_finalizer(object, "orphan") => self.orphan(object, now),
                () if has_finalizer(object, "foregroundDeletion") => {
                    for (table, key) in self.store.dependents(object.uid()) {
                        if let Some(resource) = self.resource_of_table(&table)
                            && self.store.get(&table, &key.0, &key.1).is_some_and(|o| !o.is_deleting())
                        {
                            let _deleted = self.discard(&resource, &key, None, now);
                        }
                    }
                    self.end_foreground(object.uid(), now);
                }
                () => {}
            }
        } else if owners(&object.value).next().is_some() {
            self.judge(object, &here.0, now);
        }
    }

    /// Deletes an object that has owners, all of which are gone.
    fn judge(&mut self, object: &Object, table: &crate::kubernetes::status::GroupResource, now: Timestamp) {
        let mut any = false;
        for owner in owners(&object.value) {
            any = true;
            if self.store.by_uid(owner).is_some() {
                return;
            }
        }
        if any
            && !object.is_deleting()
            && let Some(resource) = self.resource_of_table(table)
        {
            let _deleted = self.discard(&resource, &object.key(), None, now);
        }
    }

    /// Dependents forget their owner, and it goes.
    fn orphan(&mut self, owner: &Object, now: Timestamp) {
        for (table, key) in self.store.dependents(owner.uid()) {
            let Some(resource) = self.resource_of_table(&table) else { continue };
            let forget = |value: &mut Value| {
                let list =
                    meta(value, "ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
                let left: Vec<Value> = list
                    .into_iter()
                    .filter(|o| o.get("uid").and_then(Value::as_str) != Some(owner.uid()))
                    .collect();
                set(value, "ownerReferences", if left.is_empty() { Value::Null } else { left.into() });
            };
            let _forgotten = self.change(&resource, &key, "", forget, now);
        }
        self.drop_finalizer(owner.uid(), "orphan", now);
    }

    /// An owner that waits for its dependents goes when none is left that blocks it.
    fn end_foreground(&mut self, uid: &str, now: Timestamp) {
        let blocked = self.store.dependents(uid).iter().any(|(table, key)| {
            self.store.get(table, &key.0, &key.1).is_some_and(|dependent| {
                let list = dependent.meta("ownerReferences").and_then(Value::as_array);
                list.into_iter().flatten().any(|o| {
                    o.get("uid").and_then(Value::as_str) == Some(uid)
                        && o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
                })
            })
        });
        if !blocked {
            self.drop_finalizer(uid, "foregroundDeletion", now);
        }
    }

    fn drop_finalizer(&mut self, uid: &str, finalizer: &str, now: Timestamp) {
        let Some((table, key)) = self.store.by_uid(uid).cloned() else { return };
        let Some(object) = self.store.get(&table, &key.0, &key.1) else { return };
        let Some(resource) = self.resource_of_table(&table) else { return };
        if !object.is_deleting() || !has_finalizer(&object, finalizer) {
            return;
        }
        let without = |value: &mut Value| {
            let list = meta(value, "finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
            let left: Vec<Value> = list.into_iter().filter(|f| f.as_str() != Some(finalizer)).collect();
            set(value, "finalizers", if left.is_empty() { Value::Null } else { left.into() });
        };
        let _gone = self.change(&resource, &key, "", without, now);
    }
}

fn has_finalizer(object: &Object, name: &str) -> bool {
    let list = object.meta("finalizers").and_then(Value::as_array);
    list.into_iter().flatten().any(|f| f.as_str() == Some(name))
}
