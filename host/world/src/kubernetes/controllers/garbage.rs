//! The garbage collector: objects whose owners are gone, finalizers `orphan` and `foregroundDeletion`. Who is looked at when, and what
//! comes of it, is as in `pkg/controller/garbagecollector` of the real one.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::api::Api;
use crate::kubernetes::store::{Change, Object, meta, owners, set};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

impl Api {
    pub(super) fn collect_garbage(&mut self, change: &Change, now: Timestamp) {
        let object = &change.object;
        if change.deleted {
            self.look_at_dependents(object.uid(), now);
            for owner in owners(&object.value) {
                self.look_at_going(owner, now);
            }
            return;
        }
        if object.is_deleting() && has_finalizer(object, ORPHAN) {
            self.orphan(object, now);
        } else if is_going_after_dependents(object) {
            self.look_at_dependents(object.uid(), now);
        }
        self.look_at(object.uid(), now);
        // An owner that waits may wait for it no longer.
        for owner in change.before.iter().flat_map(|before| owners(&before.value)) {
            self.look_at_going(owner, now);
        }
    }

    fn look_at_dependents(&mut self, uid: &str, now: Timestamp) {
        for (table, key) in self.store.dependents(uid) {
            if let Some(dependent) = self.store.get(&table, &key.0, &key.1) {
                self.look_at(dependent.uid(), now);
            }
        }
    }

    /// Looks at an owner, if it waits for its dependents.
    fn look_at_going(&mut self, uid: &str, now: Timestamp) {
        if self.with_uid(uid).is_some_and(|owner| is_going_after_dependents(&owner)) {
            self.look_at(uid, now);
        }
    }

    fn with_uid(&self, uid: &str) -> Option<Arc<Object>> {
        let (table, key) = self.store.by_uid(uid)?;
        self.store.get(table, &key.0, &key.1)
    }

    /// Takes an object away, or what keeps it, if its owners or dependents say so.
    fn look_at(&mut self, uid: &str, now: Timestamp) {
        let Some(object) = self.with_uid(uid) else { return };
        if is_going_after_dependents(&object) {
            return self.end_foreground(&object, now);
        }
        if object.is_deleting() {
            return;
        }
        let (mut solid, mut gone, mut waiting) = (false, Vec::new(), Vec::new());
        for owner in owners(&object.value) {
            match self.with_uid(owner) {
                None => gone.push(owner.to_owned()),
                Some(found) if is_going_after_dependents(&found) => waiting.push(owner.to_owned()),
                Some(_) => solid = true,
            }
        }
        let own = self.store.dependents(uid);
        match () {
            () if solid => {
                gone.append(&mut waiting);
                self.forget_owners(&object, &gone, now);
            }
            () if !waiting.is_empty() && !own.is_empty() => {
                let waits = |(table, key): &(_, (String, String))| {
                    let found = self.store.get(table, &key.0, &key.1);
                    found.is_some_and(|dependent| is_going_after_dependents(&dependent))
                };
                if own.iter().any(waits) {
                    // A circle: somebody has to begin.
                    self.unblock_owners(&object, now);
                }
                self.delete_as(&object, FOREGROUND, now);
            }
            () if gone.is_empty() && waiting.is_empty() => {}
            () => {
                let kept = [ORPHAN, FOREGROUND].into_iter().find(|name| has_finalizer(&object, name));
                self.delete_as(&object, kept.unwrap_or_default(), now);
            }
        }
    }

    /// Deletes an object in the way that this finalizer stands for.
    fn delete_as(&mut self, object: &Object, finalizer: &str, now: Timestamp) {
        let policy = match finalizer {
            ORPHAN => "Orphan",
            FOREGROUND => "Foreground",
            _ => "Background",
        };
        let Some((table, key)) = self.store.by_uid(object.uid()).cloned() else { return };
        if let Some(resource) = self.resource_of_table(&table) {
            // Gone meanwhile, or kept by a finalizer: its deletion comes by here.
            let _deleted = self.discard_as(&resource, &key, policy, now);
        }
    }

    /// Dependents forget their owner, and it goes.
    fn orphan(&mut self, owner: &Object, now: Timestamp) {
        for (table, key) in self.store.dependents(owner.uid()) {
            if let Some(dependent) = self.store.get(&table, &key.0, &key.1) {
                self.forget_owners(&dependent, &[owner.uid().to_owned()], now);
            }
        }
        self.drop_finalizer(owner.uid(), ORPHAN, now);
    }

    fn forget_owners(&mut self, object: &Object, uids: &[String], now: Timestamp) {
        if uids.is_empty() {
            return;
        }
        let is_left = |owner: &Value| {
            owner.get("uid").and_then(Value::as_str).is_none_or(|uid| !uids.iter().any(|u| u == uid))
        };
        self.change_owners(object, |list| list.retain(is_left), now);
    }

    fn unblock_owners(&mut self, object: &Object, now: Timestamp) {
        let unblock = |list: &mut Vec<Value>| {
            for owner in list.iter_mut().filter_map(Value::as_object_mut) {
                if owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)) {
                    owner.insert("blockOwnerDeletion".to_owned(), false.into());
                }
            }
        };
        self.change_owners(object, unblock, now);
    }

    fn change_owners(&mut self, object: &Object, change: impl FnOnce(&mut Vec<Value>), now: Timestamp) {
        let Some((table, key)) = self.store.by_uid(object.uid()).cloned() else { return };
        let Some(resource) = self.resource_of_table(&table) else { return };
        let changed = |value: &mut Value| {
            let mut list =
                meta(value, "ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
            change(&mut list);
            set(value, "ownerReferences", if list.is_empty() { Value::Null } else { list.into() });
        };
        let _changed = self.change(&resource, &key, "", changed, now);
    }

    /// An owner that waits for its dependents goes when none is left that blocks it.
    fn end_foreground(&mut self, owner: &Object, now: Timestamp) {
        let uid = owner.uid();
        let blocks = |dependent: &Object| {
            let list = dependent.meta("ownerReferences").and_then(Value::as_array);
            list.into_iter().flatten().any(|o| {
                o.get("uid").and_then(Value::as_str) == Some(uid)
                    && o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
            })
        };
        let dependents = self.store.dependents(uid);
        let blocked = dependents
            .iter()
            .any(|(table, key)| self.store.get(table, &key.0, &key.1).is_some_and(|d| blocks(&d)));
        if !blocked {
            self.drop_finalizer(uid, FOREGROUND, now);
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

fn is_going_after_dependents(object: &Object) -> bool {
    object.is_deleting() && has_finalizer(object, FOREGROUND)
}
