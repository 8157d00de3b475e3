//! Objects by kind, namespace and name, and what became of them lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::status::GroupResource;

/// Namespace, empty for objects of the cluster, and name.
pub(crate) type Key = (String, String);

/// An object as it was after one write.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) version: u64,
    pub(crate) value: Value,
    json: OnceLock<Bytes>,
    item: OnceLock<Bytes>,
}

impl Object {
    fn new(version: u64, mut value: Value) -> Self {
        set(&mut value, "resourceVersion", Value::from(version.to_string()));
        Self { version, value, json: OnceLock::new(), item: OnceLock::new() }
    }

    /// One that is shown and not stored: of a dry run.
    pub(crate) fn unstored(value: Value) -> Self {
        Self { version: 0, value, json: OnceLock::new(), item: OnceLock::new() }
    }

    /// As it is sent. Made once.
    pub(crate) fn json(&self) -> Bytes {
        self.json.get_or_init(|| Bytes::from(self.value.to_string())).clone()
    }

    /// As it stands in a list of a built-in kind: without `apiVersion` and `kind`. Made once.
    pub(crate) fn item_json(&self) -> Bytes {
        let make = || {
            let fields = self.value.as_object().into_iter().flatten();
            let fields: BTreeMap<_, _> =
                fields.filter(|(k, _)| !matches!(k.as_str(), "apiVersion" | "kind")).collect();
            Bytes::from(serde_json::to_vec(&fields).unwrap_or_default())
        };
        self.item.get_or_init(make).clone()
    }

    pub(crate) fn meta(&self, field: &str) -> Option<&Value> {
        meta(&self.value, field)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.meta(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn key(&self) -> Key {
        (self.text("namespace").to_owned(), self.text("name").to_owned())
    }

    pub(crate) fn uid(&self) -> &str {
        self.text("uid")
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.meta("deletionTimestamp").is_some()
    }
}

/// A field of `metadata`.
pub(crate) fn meta<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get("metadata")?.get(field)
}

/// Sets a field of `metadata`; null takes it away.
pub(crate) fn set(value: &mut Value, field: &str, to: Value) {
    let Some(map) = value.as_object_mut() else { return };
    let metadata = map.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if to.is_null() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), to);
    }
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    /// After; for a deletion the last state, in the version of the deletion.
    pub(crate) object: Arc<Object>,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) deleted: bool,
}

/// The objects of one kind.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Change>,
    /// Changes up to this version are forgotten.
    pub(crate) forgotten: u64,
    changed: watch::Sender<u64>,
}

impl Table {
    fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: 0,
            changed: watch::channel(0).0,
        }
    }

    /// Told of the version of each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes after a version, or that it is too old.
    pub(crate) fn since(&self, version: u64, limit: usize) -> Option<Vec<Change>> {
        if version < self.forgotten {
            return None;
        }
        let start = self.history.partition_point(|c| c.version <= version);
        Some(self.history.range(start..).take(limit).cloned().collect())
    }

    /// The objects as they were at a version that is not forgotten.
    pub(crate) fn at(&self, version: u64) -> BTreeMap<Key, Arc<Object>> {
        let mut objects = self.objects.clone();
        for change in self.history.iter().rev().take_while(|change| change.version > version) {
            let key = change.object.key();
            match &change.before {
                Some(before) => objects.insert(key, before.clone()),
                None => objects.remove(&key),
            };
        }
        objects
    }

    /// Of a namespace, or of all for an empty one; from a key on, without the key itself.
    pub(crate) fn range<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        range(&self.objects, namespace, after)
    }
}

/// As [`Table::range`], of objects that may be those of an older version.
pub(crate) fn range<'a>(
    objects: &'a BTreeMap<Key, Arc<Object>>,
    namespace: &'a str,
    after: Option<&Key>,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let start = match after {
        Some(key) => Bound::Excluded(key.clone()),
        None => Bound::Included((namespace.to_owned(), String::new())),
    };
    let all = namespace.is_empty();
    objects.range((start, Bound::Unbounded)).take_while(move |(k, _)| all || k.0 == namespace).map(|(_, o)| o)
}

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    tables: BTreeMap<GroupResource, Table>,
    /// How many changes of a kind are kept for watches.
    history: usize,
    /// Owner's uid to the objects that name it.
    dependents: BTreeMap<String, BTreeSet<(GroupResource, Key)>>,
    /// Uids of all objects that are there.
    uids: BTreeMap<String, (GroupResource, Key)>,
    /// Changes that controllers have not seen yet, if there are controllers.
    noted: Option<VecDeque<(GroupResource, Change)>>,
}

impl Store {
    pub(crate) fn new(history: usize) -> Self {
        Self {
            version: 1,
            tables: BTreeMap::new(),
            history,
            dependents: BTreeMap::new(),
            uids: BTreeMap::new(),
            noted: None,
        }
    }

    /// The version of the newest write.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn table(&mut self, of: &GroupResource) -> &mut Table {
        if !self.tables.contains_key(of) {
            self.tables.insert(of.clone(), Table::new());
        }
        self.tables.entry(of.clone()).or_insert_with(Table::new)
    }

    pub(crate) fn existing(&self, of: &GroupResource) -> Option<&Table> {
        self.tables.get(of)
    }

    pub(crate) fn get(&self, of: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.tables.get(of)?.objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Who has this uid.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<&(GroupResource, Key)> {
        self.uids.get(uid)
    }

    /// Objects that name this owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(GroupResource, Key)> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Stores an object as it is given, in a new version.
    pub(crate) fn put(&mut self, of: &GroupResource, value: Value) -> Arc<Object> {
        self.version += 1;
        let object = Arc::new(Object::new(self.version, value));
        let key = object.key();
        let before = self.table(of).objects.insert(key.clone(), object.clone());
        if let Some(before) = &before {
            self.unlink(of, &key, before);
        }
        self.uids.insert(object.uid().to_owned(), (of.clone(), key.clone()));
        for owner in owners(&object.value) {
            self.dependents.entry(owner.to_owned()).or_default().insert((of.clone(), key.clone()));
        }
        self.record(of, Change { version: object.version, object: object.clone(), before, deleted: false });
        object
    }

    /// Takes an object away. What is told of it is its last state, in the version of the deletion.
    pub(crate) fn remove(&mut self, of: &GroupResource, key: &Key) -> Option<Arc<Object>> {
        let before = self.table(of).objects.remove(key)?;
        self.unlink(of, key, &before);
        self.uids.remove(before.uid());
        self.version += 1;
        let object = Arc::new(Object::new(self.version, before.value.clone()));
        let change =
            Change { version: self.version, object: object.clone(), before: Some(before), deleted: true };
        self.record(of, change);
        Some(object)
    }

    fn unlink(&mut self, of: &GroupResource, key: &Key, object: &Object) {
        for owner in owners(&object.value) {
            if let Some(all) = self.dependents.get_mut(owner) {
                all.remove(&(of.clone(), key.clone()));
                if all.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    /// Whether controllers want to see each change.
    pub(crate) fn note_changes(&mut self, wanted: bool) {
        self.noted = wanted.then(VecDeque::new);
    }

    /// The next change that controllers have not seen.
    pub(crate) fn next_noted(&mut self) -> Option<(GroupResource, Change)> {
        self.noted.as_mut()?.pop_front()
    }

    fn record(&mut self, of: &GroupResource, change: Change) {
        if let Some(noted) = &mut self.noted {
            noted.push_back((of.clone(), change.clone()));
        }
        let (keep, version) = (self.history, change.version);
        let table = self.table(of);
        table.history.push_back(change);
        while table.history.len() > keep {
            if let Some(old) = table.history.pop_front() {
                table.forgotten = old.version;
            }
        }
        table.changed.send_replace(version);
    }
}

/// Uids of the owners that an object names.
pub(crate) fn owners(value: &Value) -> impl Iterator<Item = &str> {
    let list = meta(value, "ownerReferences").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|o| o.get("uid")?.as_str())
}
