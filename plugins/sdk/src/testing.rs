//! Runs a mapping natively: `cargo test` without Wasm. The cluster that it reads is given as YAML.
//!
//! A module is given what the host would give it: objects reduced to the fields of its manifest, and no kind that it does not
//! name there. Its list is held against the rules that the host has for lists: names, references, circles, what a refiner may
//! not change, and that sets are of kinds which the manifest names. It may read as much as the host lets it by default.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use isthmus_model::desired::DesiredList;
use isthmus_model::object::Gvk;
use isthmus_model::projection::{FieldPathError, Mask};
use isthmus_model::selector::{Labels, Selector};
use serde_json::Value;

use crate::guest::{Adapter, Mapper, Refiner};
use crate::log::Level;
use crate::records::types::{Desired, Manifest, Outcome, Projection, Realized, SubjectReport};
use crate::records::values::{Kind, ObjectKey};
use crate::snapshot::Cloud;

/// Objects by kind, then by namespace ("" for none) and name: the order of `snapshot.list`.
type Objects = BTreeMap<Gvk, BTreeMap<(String, String), Value>>;

/// Why a cluster could not be read, or a call not be made.
#[derive(Debug)]
pub enum Error {
    /// A file or folder that cannot be read.
    Io(PathBuf, std::io::Error),
    /// Text that is no YAML, with the file that it is from.
    Yaml(PathBuf, String),
    /// A document without apiVersion, kind or metadata.name.
    NoObject(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Yaml(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoObject(text) => write!(f, "a document without apiVersion, kind or metadata.name: {text}"),
        }
    }
}
impl std::error::Error for Error {}

/// A cluster at one moment, and a cloud.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    objects: Objects,
    cloud: Option<Cloud>,
}

impl Cluster {
    /// The objects of a YAML text of any number of documents.
    ///
    /// # Errors
    /// Text that is no YAML, or a document that is no object.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        let mut cluster = Self::default();
        cluster.add_yaml(Path::new("(text)"), text)?;
        Ok(cluster)
    }

    /// The objects of all `.yaml`, `.yml` and `.json` files of a folder, in order of their names.
    ///
    /// # Errors
    /// What cannot be read, with the file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let io = |error| Error::Io(dir.into(), error);
        let mut files = std::fs::read_dir(dir)
            .map_err(io)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(io)?;
        files.retain(|f| {
            f.extension().and_then(|e| e.to_str()).is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
        });
        files.sort();
        let mut cluster = Self::default();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|error| Error::Io(file.clone(), error))?;
            cluster.add_yaml(&file, &text)?;
        }
        Ok(cluster)
    }

    fn add_yaml(&mut self, file: &Path, text: &str) -> Result<(), Error> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).map_err(|error| Error::Yaml(file.into(), error.to_string()))?;
        documents.into_iter().filter(|d| !d.is_null()).try_for_each(|document| self.add(document))
    }

    /// Adds an object, or puts it in the place of the one of its kind and name.
    ///
    /// # Errors
    /// A value without apiVersion, kind or metadata.name.
    pub fn add(&mut self, object: Value) -> Result<(), Error> {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
        match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
            (Some(version), Some(kind), Some(name)) => {
                let place = (text("/metadata/namespace").unwrap_or_default(), name);
                self.objects.entry(Gvk::from_api_version(&version, &kind)).or_default().insert(place, object);
                Ok(())
            }
            _ => Err(Error::NoObject(object.to_string())),
        }
    }

    /// This cluster over a cloud that can do this. (Without it: one that has no extension and no provider.)
    #[must_use]
    pub fn with_cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = Some(cloud);
        self
    }

    /// Calls `map` for the object of this kind and name (`NAMESPACE/NAME`, or `NAME`).
    ///
    /// # Errors
    /// The module's outcome.
    ///
    /// # Panics
    /// When there is no such object, the module breaks its manifest, or the host would refuse the list (a *contract error*).
    pub fn map<M: Mapper>(&self, kind: &Kind, name: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
        let manifest = M::manifest();
        let answer =
            self.run(&manifest, &manifest.maps, kind, name, |subject| Adapter::<M>::map(subject, config));
        answer.inspect(|list| named(&accepted(list), None, &manifest))
    }

    /// Calls `refine` for the object of this kind and name with this list.
    ///
    /// # Errors
    /// The module's outcome.
    ///
    /// # Panics
    /// As [`Cluster::map`].
    pub fn refine<M: Refiner>(
        &self,
        kind: &Kind,
        name: &str,
        config: &str,
        desired: Vec<Desired>,
    ) -> Result<Vec<Desired>, Outcome> {
        let manifest = M::manifest();
        let before = accepted(&desired);
        let answer = self.run(&manifest, &manifest.refines, kind, name, |subject| {
            Adapter::<M>::refine(subject, config, desired)
        });
        answer.inspect(|list| {
            let after = accepted(list);
            still_there(&before, &after);
            named(&after, Some(&before), &manifest);
        })
    }

    /// Calls `report` for the object of this kind and name.
    ///
    /// # Panics
    /// As [`Cluster::map`].
    pub fn report<M: Mapper>(
        &self,
        kind: &Kind,
        name: &str,
        config: &str,
        outcome: Option<Outcome>,
        realized: Vec<Realized>,
    ) -> Option<SubjectReport> {
        let manifest = M::manifest();
        self.run(&manifest, &manifest.maps, kind, name, |subject| {
            Adapter::<M>::report(subject, config, outcome, realized)
        })
    }

    /// Makes this the cluster that [`crate::snapshot`] reads on this thread, as a module of this manifest sees it, until the
    /// guard is dropped. [`Cluster::map`] and the others do this themselves.
    ///
    /// # Panics
    /// When the manifest has a field path that is none.
    #[must_use]
    pub fn enter(&self, manifest: &Manifest) -> Entered {
        let world =
            World::new(self, manifest).unwrap_or_else(|error| panic!("the manifest is wrong: {error}"));
        WORLD.set(Some(world));
        Entered(())
    }

    fn run<T>(
        &self,
        manifest: &Manifest,
        subjects: &[Projection],
        kind: &Kind,
        name: &str,
        call: impl FnOnce(&str) -> T,
    ) -> T {
        assert!(subjects.iter().any(|p| p.kind == *kind), "the manifest does not name {kind:?} as a subject");
        let _entered = self.enter(manifest);
        let (namespace, name) = name.split_once('/').map_or((None, name), |(ns, name)| (Some(ns), name));
        let key = ObjectKey { kind: kind.clone(), namespace: namespace.map(Into::into), name: name.into() };
        let subject = get(&key).unwrap_or_else(|| panic!("there is no {key:?} in the cluster"));
        call(&subject)
    }
}

/// The list as the host takes it.
fn accepted(list: &[Desired]) -> DesiredList {
    let entries = list.iter().cloned().map(crate::convert::entry).collect();
    DesiredList::new(entries).unwrap_or_else(|error| panic!("the host refuses this list: {error}"))
}

/// A refiner may not rename, remove or turn into something else what it was given.
fn still_there(before: &DesiredList, after: &DesiredList) {
    for entry in before.entries() {
        let kept = after.get(&entry.name).is_some_and(|now| now.kind == entry.kind);
        assert!(kept, "the host refuses this list: the refiner removed, renamed or turned {:?}", entry.name);
    }
}

/// A module names sets of kinds that its manifest names. Those that a refiner was given are another's.
fn named(list: &DesiredList, before: Option<&DesiredList>, manifest: &Manifest) {
    let given: BTreeSet<_> = before.iter().flat_map(|list| list.selections()).collect();
    let known = |kind: &Gvk| projections(manifest).any(|projection| gvk(&projection.kind) == *kind);
    if let Some(set) = list.selections().into_iter().find(|set| !given.contains(set) && !known(&set.kind)) {
        panic!(
            "the host refuses this list: it names a set of {}, which the manifest does not name",
            set.kind
        );
    }
}

fn projections(manifest: &Manifest) -> impl Iterator<Item = &Projection> {
    manifest.maps.iter().chain(&manifest.refines).chain(&manifest.reads)
}

/// An object as a module sees it.
struct Seen {
    labels: Labels,
    json: String,
}

/// Most reads of a call, and most bytes of their names and selectors: the defaults of the host.
const READS: usize = 10_000;
const READ_BYTES: usize = 1 << 20;

/// Different reads of a call: kind, namespace, and name or selector.
#[derive(Default)]
struct Reads {
    all: BTreeSet<(Gvk, Option<String>, String)>,
    bytes: usize,
}

impl Reads {
    fn note(&mut self, kind: &Kind, namespace: Option<&str>, text: &str) {
        if self.all.insert((gvk(kind), namespace.map(Into::into), text.into())) {
            self.bytes += namespace.map_or(0, str::len) + text.len();
            let fits = self.all.len() <= READS && self.bytes <= READ_BYTES;
            assert!(fits, "the host ends a call of more than {READS} reads or {READ_BYTES} bytes of them");
        }
    }
}

/// A cluster as one module sees it: of each kind that the manifest names, the objects in the order of `snapshot.list`.
struct World {
    kinds: BTreeMap<Gvk, BTreeMap<(String, String), Seen>>,
    /// Fields that it may list a kind by.
    listed_by: BTreeSet<(Gvk, String)>,
    cloud: Cloud,
    reads: RefCell<Reads>,
}

impl World {
    fn new(cluster: &Cluster, manifest: &Manifest) -> Result<Self, FieldPathError> {
        let mut masks = BTreeMap::<Gvk, Mask>::new();
        for Projection { kind, fields, list_by } in projections(manifest) {
            let mask = Mask::new(fields.iter().map(String::as_str))?;
            let mask = mask.listed_by(list_by.iter().map(String::as_str))?;
            masks.entry(gvk(kind)).or_default().merge(&mask);
        }
        let project = |(kind, mask): (Gvk, Mask)| {
            let all = cluster.objects.get(&kind).into_iter().flatten();
            let seen = |(place, object): (&(String, String), &Value)| {
                let json = mask.apply(object)?.to_string();
                let labels = mask.labels(object, labels(object));
                Some((place.clone(), Seen { labels, json }))
            };
            let objects = all.filter_map(seen).collect();
            (kind, objects)
        };
        let none =
            Cloud { network_extensions: vec![], load_balancer_providers: vec![], has_key_manager: false };
        let cloud = cluster.cloud.clone().unwrap_or(none);
        let by =
            |p: &Projection| p.list_by.iter().map(|field| (gvk(&p.kind), field.clone())).collect::<Vec<_>>();
        let listed_by = projections(manifest).flat_map(by).collect();
        let kinds = masks.into_iter().map(project).collect();
        Ok(Self { kinds, listed_by, cloud, reads: RefCell::default() })
    }

    fn objects(&self, kind: &Kind) -> &BTreeMap<(String, String), Seen> {
        let kind = gvk(kind);
        self.kinds
            .get(&kind)
            .unwrap_or_else(|| panic!("the module reads {kind}, which its manifest does not name"))
    }

    fn get(&self, key: &ObjectKey) -> Option<String> {
        self.reads.borrow_mut().note(&key.kind, key.namespace.as_deref(), &key.name);
        let place = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        Some(self.objects(&key.kind).get(&place)?.json.clone())
    }

    fn list(&self, kind: &Kind, namespace: Option<&str>, selector: &str) -> Vec<String> {
        self.reads.borrow_mut().note(kind, namespace, selector);
        self.chosen(kind, namespace, &selector.parse().unwrap_or_else(|error| panic!("{error}")))
    }

    fn list_by(&self, kind: &Kind, namespace: Option<&str>, field: &str, value: &str) -> Vec<String> {
        let declared = self.listed_by.contains(&(gvk(kind), field.to_owned()));
        assert!(declared, "the module lists {kind:?} by {field}, which its manifest does not name for that");
        self.reads.borrow_mut().note(kind, namespace, &format!("{field}={value}"));
        let selector = Selector::of_field(field, value);
        selector.map(|selector| self.chosen(kind, namespace, &selector)).unwrap_or_default()
    }

    fn chosen(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector) -> Vec<String> {
        let chosen = |(place, seen): &(&(String, String), &Seen)| {
            namespace.is_none_or(|ns| place.0 == ns) && selector.matches(&seen.labels)
        };
        let found = self.objects(kind).iter().filter(chosen).map(|(_, seen)| &seen.json);
        found.filter(|json| namespace.is_some() || json.len() <= crate::snapshot::LISTED).cloned().collect()
    }
}

fn gvk(kind: &Kind) -> Gvk {
    Gvk::new(&kind.group, &kind.version, &kind.kind)
}

fn labels(object: &Value) -> Labels {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(pair).collect()
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, [`crate::snapshot`] reads a [`Cluster`] on this thread.
#[derive(Debug)]
pub struct Entered(());
impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

fn with_world<T>(read: impl FnOnce(&World) -> T) -> T {
    WORLD.with_borrow(|world| match world {
        Some(world) => read(world),
        None => panic!("the snapshot is read outside of a call of `Cluster`"),
    })
}

pub(crate) fn get(key: &ObjectKey) -> Option<String> {
    with_world(|world| world.get(key))
}

pub(crate) fn list(kind: &Kind, namespace: Option<&str>, selector: &str) -> Vec<String> {
    with_world(|world| world.list(kind, namespace, selector))
}

pub(crate) fn list_by(kind: &Kind, namespace: Option<&str>, field: &str, value: &str) -> Vec<String> {
    with_world(|world| world.list_by(kind, namespace, field, value))
}

pub(crate) fn cloud_facts() -> Cloud {
    with_world(|world| world.cloud.clone())
}

pub(crate) fn write_log(level: Level, message: &str) {
    LOG.with_borrow_mut(|log| log.push((level, message.into())));
}

/// What modules have logged on this thread since the last call of this function.
pub fn take_log() -> Vec<(Level, String)> {
    LOG.take()
}
