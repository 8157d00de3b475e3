//! States that no plan led to: any record, any resources, in a cloud that is whole (what is referred to is there).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use isthmus_model::desired::{DISPLAY_NAME, DesiredList, Entry};
use isthmus_model::kinds::{Change, Kind};
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::plan::{External, Targets, applied_hash, resolve};
use isthmus_model::record::{Recorded, RecordedReference};
use isthmus_model::value::{Reference, Value};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value as Json;

use crate::world::{CLUSTER, SUBJECT, Seed, World, list, neutron, observed, seeds};

/// Whose a resource is, by its mark and its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    /// Ours by its mark, in somebody else's project.
    Elsewhere,
    AnotherSubjects,
    AnotherClusters,
    Nobodys,
}

/// How a resource differs from what its entry says.
#[derive(Clone, Copy, Debug)]
enum Drift {
    /// A field that may change has another value.
    Value,
    /// A field that is written late is empty.
    Empty,
    /// A list has one more element, or a field is set that the entry does not set.
    More,
    Tags,
    Name,
}

/// One resource: a likeness of an entry, as it may be found.
#[derive(Clone, Debug)]
pub(crate) struct Likeness {
    of: Index,
    whose: Whose,
    /// Its mark names another entry than it is a likeness of.
    named: Option<u8>,
    /// Picks among those that it may refer to.
    refers: Index,
    drift: Vec<(Drift, Index)>,
    state: State,
    age: u32,
}

/// What a record says of the id.
#[derive(Clone, Debug)]
enum Id {
    /// A create of which it is not known whether it was done.
    Unknown,
    /// What is not there.
    Gone,
    /// Any resource, whosever it is.
    Any(Index),
    /// One with the mark of this name, where there is one.
    Marked(Index),
}

/// What a record says was applied.
#[derive(Clone, Debug)]
enum Applied {
    Nothing,
    Other,
    /// What an entry says now: the one of its own name, or any.
    As(Option<Index>),
}

#[derive(Clone, Debug)]
pub(crate) struct Noted {
    kind: Option<Index>,
    id: Id,
    applied: Applied,
    fields: Vec<Index>,
    refers: Vec<(Index, Index)>,
    retain: bool,
}

/// A list, and a world that has nothing to do with it but some equal entries.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) desired: DesiredList,
    pub(crate) world: World,
}

/// One line a thing, as a failure is read.
impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.desired.entries() {
            let fields = serde_json::to_string(&entry.fields).unwrap_or_default();
            writeln!(f, "\nwant {} {} {fields} {:?}", entry.name, entry.kind, entry.tags)?;
        }
        for (name, r) in &self.world.record {
            let of: Vec<_> = r.references.iter().map(|r| &r.id).collect();
            let Recorded { kind, id, hash, fields, retain, .. } = r;
            writeln!(f, "note {name} {kind} {id:?} {hash:?} {fields:?} refers to {of:?}, retain: {retain}")?;
        }
        for (id, o) in &self.world.cloud {
            let mark = o.mark.as_ref().map(|m| format!("{}/{}/{}", m.cluster, m.subject, m.name));
            let fields = serde_json::to_string(&o.fields).unwrap_or_default();
            let (project, created) = (o.project.as_deref().unwrap_or_default(), &o.created);
            writeln!(f, "have {id} {} {mark:?} {project} {fields} {:?} {created}", o.kind, o.tags)?;
        }
        Ok(())
    }
}

pub(crate) fn starts() -> impl Strategy<Value = Start> {
    let same = btree_set(0u8..12, 0..10);
    let existing = btree_set(0u8..12, 0..4);
    (seeds(), seeds(), same, existing, vec(likenesses(), 0..16), btree_map(0u8..13, noted(), 0..10)).prop_map(
        |(wanted, mut there, same, existing, likenesses, noted)| {
            there.retain(|name, _| !same.contains(name));
            there.extend(same.iter().filter_map(|name| Some((*name, wanted.get(name)?.clone()))));
            start(&wanted, &list(&there), &existing, &likenesses, &noted)
        },
    )
}

fn likenesses() -> impl Strategy<Value = Likeness> {
    let whose = prop_oneof![
        6 => Just(Whose::Ours),
        1 => select(vec![Whose::Elsewhere, Whose::AnotherSubjects, Whose::AnotherClusters, Whose::Nobodys]),
    ];
    let drift = select(vec![Drift::Value, Drift::Empty, Drift::More, Drift::Tags, Drift::Name]);
    let drift = prop_oneof![2 => Just(Vec::new()), 1 => vec((drift, any::<Index>()), 1..3)];
    let state = select(vec![State::Ready, State::Pending, State::Failed]);
    let named = prop_oneof![5 => Just(None), 1 => (0u8..13).prop_map(Some)];
    (any::<Index>(), whose, named, any::<Index>(), drift, state, 0u32..4).prop_map(
        |(of, whose, named, refers, drift, state, age)| Likeness {
            of,
            whose,
            named,
            refers,
            drift,
            state,
            age,
        },
    )
}

fn noted() -> impl Strategy<Value = Noted> {
    let id = prop_oneof![
        1 => Just(Id::Unknown),
        1 => Just(Id::Gone),
        2 => any::<Index>().prop_map(Id::Any),
        4 => any::<Index>().prop_map(Id::Marked),
    ];
    let applied = prop_oneof![
        1 => Just(Applied::Nothing),
        1 => Just(Applied::Other),
        2 => Just(Applied::As(None)),
        1 => any::<Index>().prop_map(|entry| Applied::As(Some(entry))),
    ];
    let kind = proptest::option::weighted(0.2, any::<Index>());
    let refers = vec((any::<Index>(), any::<Index>()), 0..3);
    (kind, id, applied, vec(any::<Index>(), 0..3), refers, any::<bool>()).prop_map(
        |(kind, id, applied, fields, refers, retain)| Noted { kind, id, applied, fields, refers, retain },
    )
}

fn start(
    wanted: &BTreeMap<u8, Seed>,
    there: &DesiredList,
    existing: &BTreeSet<u8>,
    likenesses: &[Likeness],
    noted: &BTreeMap<u8, Noted>,
) -> Start {
    let mut world = World::default();
    let network = observed("net", Kind::Network, None, BTreeMap::new(), 0);
    let named = ("network".to_owned(), Reference::Existing("net".into()));
    world.external = External::from_iter([(named, network.target())]);
    world.cloud.insert("net".into(), network);
    place(&mut world, there, likenesses);
    let desired = on_existing(&list(wanted), existing);
    note(&mut world, &desired, noted);
    Start { desired, world }
}

/// The list with one that exists in place of some of its networks.
fn on_existing(desired: &DesiredList, names: &BTreeSet<u8>) -> DesiredList {
    let mut entries = desired.entries().to_vec();
    let chosen: Vec<Value> =
        names.iter().map(|name| Value::Ref(Reference::Local(format!("e{name}")))).collect();
    for network in entries.iter_mut().filter_map(|entry| entry.fields.get_mut("network")) {
        if chosen.contains(network) {
            *network = Value::Ref(Reference::Existing("net".into()));
        }
    }
    DesiredList::new(entries).unwrap()
}

/// Puts the likenesses into the cloud: those first that others refer to.
fn place(world: &mut World, there: &DesiredList, likenesses: &[Likeness]) {
    if there.entries().is_empty() {
        return;
    }
    let mut likenesses: Vec<(&Likeness, &Entry)> =
        likenesses.iter().map(|likeness| (likeness, likeness.of.get(there.entries()))).collect();
    likenesses.sort_by_key(|(_, entry)| entry.kind);
    for (at, (likeness, entry)) in likenesses.iter().enumerate() {
        let targets = targets(world, there, likeness);
        let fields = entry.fields.iter().map(|(name, value)| (name, resolve(name, value, &targets)));
        let (whole, missing): (Vec<_>, Vec<_>) = fields.partition(|(_, value)| value.is_ok());
        if missing.iter().all(|(name, _)| entry.kind.field(name).unwrap().change.is_late()) {
            let fields = whole.into_iter().map(|(name, value)| (name.clone(), value.unwrap())).collect();
            let mut found =
                observed(&format!("r{at}"), entry.kind, mark(likeness, entry), fields, likeness.age);
            found.tags.clone_from(&entry.tags);
            found.state = likeness.state;
            if likeness.whose != Whose::Ours {
                let project = if likeness.whose == Whose::Elsewhere { "elsewhere" } else { "project" };
                found.project = Some(project.into());
            }
            if !neutron::bent(&world.cloud, &mut found) {
                continue;
            }
            let id = found.id.clone();
            neutron::made(&mut world.cloud, found, 60 + u32::try_from(at).unwrap(), false);
            let found = world.cloud.get_mut(&id).unwrap();
            likeness.drift.iter().for_each(|(drift, pick)| drifted(found, *drift, pick));
        }
    }
}

fn mark(likeness: &Likeness, entry: &Entry) -> Option<Mark> {
    let (cluster, subject) = match likeness.whose {
        Whose::Ours | Whose::Elsewhere => (CLUSTER, SUBJECT),
        Whose::AnotherSubjects => (CLUSTER, "another"),
        Whose::AnotherClusters => ("another", SUBJECT),
        Whose::Nobodys => return None,
    };
    let name = likeness.named.map_or(entry.name.clone(), |name| format!("e{name}"));
    Some(Mark { cluster: cluster.into(), subject: subject.into(), name })
}

/// What a likeness may refer to: likenesses of what its entry refers to. Others refer to nothing of ours: the cloud would not
/// let that go.
fn targets(world: &World, there: &DesiredList, likeness: &Likeness) -> Targets {
    let mut targets = Targets::default();
    for entry in there.entries() {
        let fits = |o: &&Observed| {
            o.kind == entry.kind && o.id != "net" && (likeness.whose == Whose::Ours || !is_ours(o))
        };
        let of_kind: Vec<&Observed> = world.cloud.values().filter(fits).collect();
        let exact: Vec<&Observed> = of_kind
            .iter()
            .copied()
            .filter(|o| o.mark.as_ref().is_some_and(|mark| mark.name == entry.name))
            .collect();
        let among = if exact.is_empty() { &of_kind } else { &exact };
        if !among.is_empty() {
            targets.local.insert(entry.name.clone(), likeness.refers.get(among).target());
        }
    }
    targets
}

/// Whether we may touch it.
pub(crate) fn is_ours(found: &Observed) -> bool {
    let marked = found.mark.as_ref().is_some_and(|m| m.cluster == CLUSTER && m.subject == SUBJECT);
    marked && found.project.as_deref() == Some("project")
}

fn drifted(found: &mut Observed, drift: Drift, pick: &Index) {
    let kind = found.kind;
    let changeable: Vec<_> = kind.fields().iter().filter(|f| f.change != Change::Replace).collect();
    let Some(field) = (!changeable.is_empty()).then(|| *pick.get(&changeable)) else { return };
    match drift {
        Drift::Value => match found.fields.values_mut().nth(pick.index(3)) {
            Some(Json::Bool(flag)) => *flag = !*flag,
            Some(Json::Number(number)) => *number = 9999.into(),
            // A text may be an id: only an id stands for an id.
            Some(Json::String(text)) if text.starts_with("node") => "nowhere".clone_into(text),
            _ => {}
        },
        Drift::Empty if field.change.is_late() => drop(found.fields.remove(field.name)),
        Drift::Empty => {}
        Drift::More => match found.fields.get_mut(field.name) {
            Some(Json::Array(items)) => items.push(Json::from("more")),
            Some(_) => {}
            None => drop(found.fields.insert(field.name.into(), Json::from("set by somebody"))),
        },
        Drift::Tags => drop(found.tags.insert("drifted".into())),
        Drift::Name => found.display_name = "drifted".into(),
    }
}

fn note(world: &mut World, desired: &DesiredList, noted: &BTreeMap<u8, Noted>) {
    let ids: Vec<String> = world.cloud.keys().cloned().collect();
    for (name, noted) in noted {
        let name = format!("e{name}");
        let marked: Vec<&Observed> =
            world.cloud.values().filter(|o| o.mark.as_ref().is_some_and(|m| m.name == name)).collect();
        let id = match &noted.id {
            Id::Unknown => None,
            Id::Gone => Some("gone".to_owned()),
            Id::Marked(pick) if !marked.is_empty() => Some(pick.get(&marked).id.clone()),
            Id::Any(pick) | Id::Marked(pick) => Some(pick.get(&ids).clone()),
        };
        let of_id = id.as_ref().and_then(|id| world.cloud.get(id)).map(|o| o.kind);
        let kind = of_id.or(desired.get(&name).map(|e| e.kind)).unwrap_or(Kind::Port);
        let kind = noted.kind.map_or(kind, |pick| *pick.get(&Kind::ALL));
        let fields: Vec<&str> = kind.fields().iter().map(|f| f.name).chain([DISPLAY_NAME]).collect();
        let fields = noted.fields.iter().map(|pick| (*pick.get(&fields)).to_owned()).collect();
        let reference = |(name, id): &(Index, Index)| RecordedReference {
            reference: Reference::Local(format!("e{}", name.index(13))),
            id: id.get(&ids).clone(),
        };
        let references = noted.refers.iter().map(reference).collect();
        // One that stays keeps what it refers to from going: only what refers to nothing may be let go by itself.
        let alone = |o: &&Observed| matches!(o.kind, Kind::Network | Kind::SecurityGroup);
        let retain = noted.retain && marked.iter().all(alone);
        let recorded = Recorded { kind, id, hash: String::new(), fields, references, retain };
        world.record.insert(name, recorded);
    }
    let targets = world.targets(desired);
    for (name, noted) in noted {
        let name = format!("e{name}");
        let entry = match &noted.applied {
            Applied::As(Some(pick)) if !desired.entries().is_empty() => Some(pick.get(desired.entries())),
            Applied::As(_) => desired.get(&name),
            Applied::Nothing | Applied::Other => None,
        };
        let other = if matches!(noted.applied, Applied::Nothing) { "" } else { "other" };
        let hash = entry.and_then(|entry| applied_hash(entry, &targets)).unwrap_or_else(|| other.into());
        world.record.get_mut(&name).unwrap().hash = hash;
    }
}
