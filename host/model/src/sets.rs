//! Sets of addresses that are named, not listed (the contract's `selection`): kept object by object. One that joins or leaves
//! costs a look at each set of its kind, however many objects the sets hold, and no call of a module.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::members::Members;
use crate::object::Gvk;
use crate::selector::{Labels, Selector, SelectorError};
use crate::value::{IpVersion, Selection};

/// A set, as one namespace names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetKey {
    /// What it holds.
    pub selection: Selection,
    /// The namespace that is meant where the selection names none. `None`: it names some.
    pub home: Option<Arc<str>>,
}

impl SetKey {
    /// The set that an object of this namespace names.
    pub fn new(selection: &Selection, namespace: Option<&Arc<str>>) -> Self {
        let home = namespace.filter(|_| selection.namespaces.is_none()).cloned();
        Self { selection: selection.clone(), home }
    }
}

/// An object that may be of a set.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its namespace; `None` for a cluster-scoped one.
    pub namespace: Option<&'a str>,
    /// Its labels.
    pub labels: &'a Labels,
    /// Labels of its namespace, which has the label of its name always; `None`: it is not known.
    pub namespace_labels: Option<&'a Labels>,
    /// Its JSON text: where its container ports are.
    pub text: &'a str,
    /// Interfaces and their addresses, as mapped.
    pub interfaces: &'a [(String, IpAddr)],
}

/// What a set chooses by.
#[derive(Debug)]
struct Chooser {
    namespaces: Option<Selector>,
    objects: Selector,
}

impl Chooser {
    fn new(selection: &Selection) -> Result<Self, SelectorError> {
        let namespaces = selection.namespaces.as_deref().map(str::parse).transpose()?;
        Ok(Self { namespaces, objects: selection.selector.parse()? })
    }

    /// The addresses that an object has in a set; none: it is not of it.
    fn addresses(&self, key: &SetKey, of: &Candidate<'_>) -> BTreeSet<IpAddr> {
        let placed = match &self.namespaces {
            None => of.namespace == key.home.as_deref(),
            Some(selector) if of.namespace.is_some() => {
                of.namespace_labels.is_some_and(|labels| selector.matches(labels))
            }
            Some(selector) => selector.selects_all(),
        };
        let selection = &key.selection;
        let chosen = placed
            && self.objects.matches(of.labels)
            && selection.named_port.as_ref().is_none_or(|port| has_port(of.text, port));
        if !chosen {
            return BTreeSet::new();
        }
        let fits = |(interface, address): &&(String, IpAddr)| {
            selection.vif.as_ref().is_none_or(|vif| vif == interface)
                && selection.ip_version.is_none_or(|v| address.is_ipv4() == (v == IpVersion::V4))
        };
        of.interfaces.iter().filter(fits).map(|(_, address)| *address).collect()
    }
}

/// Whether a Pod has a container port of this name, protocol and number. A protocol that is not said is TCP.
fn has_port(text: &str, (name, protocol, number): &(String, String, u16)) -> bool {
    let pod: Json = serde_json::from_str(text).unwrap_or_default();
    let list = |of: &Json, name: &str| of.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
    let spec = pod.get("spec").cloned().unwrap_or_default();
    // A sidecar is an init container that is always restarted; the others have ended when a Pod serves.
    let is_sidecar =
        |container: &Json| container.get("restartPolicy").and_then(Json::as_str) == Some("Always");
    let sidecars = list(&spec, "initContainers").into_iter().filter(is_sidecar);
    let containers = list(&spec, "containers").into_iter().chain(sidecars);
    containers.flat_map(|container| list(&container, "ports")).any(|port| {
        let text = |field: &str| port.get(field).and_then(Json::as_str);
        text("name") == Some(name)
            && text("protocol").unwrap_or("TCP") == protocol
            && port.get("containerPort").and_then(Json::as_u64) == Some(u64::from(*number))
    })
}

/// Whether the selectors of a set can be read.
///
/// # Errors
/// The first that can't.
pub fn check(selection: &Selection) -> Result<(), SelectorError> {
    Chooser::new(selection).map(drop)
}

/// The addresses of a set, looked for among all objects of its kind. A set whose selectors can't be read has none.
pub fn addresses<'a>(key: &SetKey, objects: impl IntoIterator<Item = Candidate<'a>>) -> Members {
    let Ok(chooser) = Chooser::new(&key.selection) else { return Members::default() };
    objects.into_iter().flat_map(|object| chooser.addresses(key, &object)).collect()
}

#[derive(Debug)]
struct Set<S> {
    chooser: Chooser,
    users: BTreeSet<S>,
    /// By the uid of the object.
    by_uid: HashMap<Arc<str>, BTreeSet<IpAddr>>,
    /// What all of them have.
    members: Arc<Members>,
}

impl<S> Set<S> {
    /// Takes in an object as it is now. Answers whether the set changed by it.
    fn take(&mut self, key: &SetKey, uid: &Arc<str>, object: Option<Candidate<'_>>) -> bool {
        let now = object.map(|object| self.chooser.addresses(key, &object)).unwrap_or_default();
        let before = match now.is_empty() {
            true => self.by_uid.remove(uid),
            false => self.by_uid.insert(uid.clone(), now.clone()),
        };
        let before = before.unwrap_or_default();
        if before == now {
            return false;
        }
        // Who reads it now keeps what it has.
        let members = Arc::make_mut(&mut self.members);
        now.difference(&before).for_each(|address| members.add(*address));
        before.difference(&now).for_each(|address| members.take(*address));
        true
    }
}

/// All sets that are in use. `S` names who uses them; clones of it should be cheap.
///
/// Guarantee: after every object was put as it is now, a set holds what [`addresses`] finds.
#[derive(Debug)]
pub struct SetIndex<S> {
    sets: BTreeMap<Arc<SetKey>, Set<S>>,
    used: HashMap<S, BTreeSet<Arc<SetKey>>>,
}

impl<S> Default for SetIndex<S> {
    fn default() -> Self {
        Self { sets: BTreeMap::new(), used: HashMap::new() }
    }
}

impl<S: Clone + Ord + Hash> SetIndex<S> {
    /// Makes these the sets that somebody uses. Answers those that nobody used before: each object of their kind is to be
    /// put into them once ([`Self::fill`]).
    pub fn set(&mut self, user: &S, keys: BTreeSet<SetKey>) -> Vec<Arc<SetKey>> {
        let before = self.used.remove(user).unwrap_or_default();
        for key in before.iter().filter(|key| !keys.contains(&***key)) {
            if let Some(set) = self.sets.get_mut(key) {
                set.users.remove(user);
                if set.users.is_empty() {
                    self.sets.remove(key);
                }
            }
        }
        let (mut used, mut new) = (BTreeSet::new(), Vec::new());
        for key in keys {
            let Ok(chooser) = Chooser::new(&key.selection) else { continue };
            let known = self.sets.get_key_value(&key).map(|(key, _)| key.clone());
            let key = known.unwrap_or_else(|| {
                let key = Arc::new(key);
                let (users, by_uid, members) = Default::default();
                let set = Set { chooser, users, by_uid, members };
                self.sets.insert(key.clone(), set);
                new.push(key.clone());
                key
            });
            if let Some(set) = self.sets.get_mut(&key) {
                set.users.insert(user.clone());
            }
            used.insert(key);
        }
        if !used.is_empty() {
            self.used.insert(user.clone(), used);
        }
        new
    }

    /// Kinds of objects that sets hold.
    pub fn kinds(&self) -> BTreeSet<&Gvk> {
        self.sets.keys().map(|key| &key.selection.kind).collect()
    }

    /// Whether any set holds objects of this kind.
    pub fn holds(&self, kind: &Gvk) -> bool {
        self.sets.keys().any(|key| key.selection.kind == *kind)
    }

    /// Takes in an object as it is now in these sets of its kind, and in no others: who uses those is told of a change by
    /// [`Self::put`].
    pub fn fill(&mut self, keys: &[Arc<SetKey>], uid: &Arc<str>, object: Candidate<'_>) {
        for key in keys {
            if let Some(set) = self.sets.get_mut(key) {
                set.take(key, uid, Some(object));
            }
        }
    }

    /// Takes in an object as it is now; `None`: it is not there, or not mapped. Answers who uses a set that changed by it.
    pub fn put(&mut self, kind: &Gvk, uid: &Arc<str>, object: Option<Candidate<'_>>) -> BTreeSet<S> {
        let mut users = BTreeSet::new();
        for (key, set) in self.sets.iter_mut().filter(|(key, _)| key.selection.kind == *kind) {
            if set.take(key, uid, object) {
                users.extend(set.users.iter().cloned());
            }
        }
        users
    }

    /// The addresses of a set; `None`: nobody uses it.
    pub fn addresses(&self, key: &SetKey) -> Option<Arc<Members>> {
        Some(self.sets.get(key)?.members.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn selection() -> Selection {
        Selection {
            kind: Gvk::new("", "v1", "Pod"),
            namespaces: None,
            selector: "app=web".into(),
            vif: None,
            ip_version: None,
            named_port: None,
        }
    }

    const POD: &str = r#"{"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}],
        "initContainers": [{"restartPolicy": "Always", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
                           {"ports": [{"name": "once", "containerPort": 1}]}]}}"#;

    #[test]
    fn chooses_by_all_that_is_said() {
        let interfaces = [
            ("eth0".to_owned(), "10.0.0.5".parse().unwrap()),
            ("net1".to_owned(), "fd00::5".parse().unwrap()),
        ];
        let (own, team) = (labels(&[("app", "web")]), labels(&[("team", "a")]));
        let pod = Candidate {
            namespace: Some("shop"),
            labels: &own,
            namespace_labels: Some(&team),
            text: POD,
            interfaces: &interfaces,
        };
        type Edit = fn(&mut Selection);
        let table: [(Edit, usize); 13] = [
            (|_| {}, 2),
            (|s| s.selector = "app!=web".into(), 0),
            (|s| s.namespaces = Some("team=a".into()), 2),
            (|s| s.namespaces = Some("team=b".into()), 0),
            (|s| s.namespaces = Some(String::new()), 2),
            (|s| s.vif = Some("eth0".into()), 1),
            (|s| s.ip_version = Some(IpVersion::V6), 1),
            (|s| s.named_port = Some(("http".into(), "TCP".into(), 8080)), 2),
            (|s| s.named_port = Some(("http".into(), "UDP".into(), 8080)), 0),
            (|s| s.named_port = Some(("http".into(), "TCP".into(), 80)), 0),
            (|s| s.named_port = Some(("dns".into(), "UDP".into(), 53)), 2),
            (|s| s.named_port = Some(("once".into(), "TCP".into(), 1)), 0),
            (|s| s.selector = "not a (selector".into(), 0),
        ];
        for (edit, expected) in table {
            let mut selection = selection();
            edit(&mut selection);
            let key = SetKey::new(&selection, Some(&"shop".into()));
            assert_eq!(addresses(&key, [pod]).iter().count(), expected, "{selection:?}");
        }
        let elsewhere = SetKey::new(&selection(), Some(&"other".into()));
        assert!(addresses(&elsewhere, [pod]).is_empty(), "only the namespace that names the set");
    }

    /// One of three objects, and what it is by now: not there, or one of two labels, in one of two namespaces, with an address.
    type Seen = (usize, Option<(bool, bool, u8)>);

    #[derive(Clone, Debug)]
    enum Step {
        /// An object changes, and is put.
        Put(Seen),
        /// An object changes, and a new set is filled before it is put.
        UsedFirst(Seen, usize, BTreeSet<usize>),
        /// One of three uses these of the sets.
        Use(usize, BTreeSet<usize>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let seen = || (0..3_usize, option::of((any::<bool>(), any::<bool>(), 1..3_u8)));
        let used = || btree_set(0..4_usize, 0..4);
        vec(
            prop_oneof![
                seen().prop_map(Step::Put),
                (seen(), 0..3_usize, used()).prop_map(|(seen, user, used)| Step::UsedFirst(seen, user, used)),
                (0..3_usize, used()).prop_map(|(user, used)| Step::Use(user, used)),
            ],
            0..30,
        )
    }

    /// An object of [`Seen`], made a candidate.
    fn with_candidate<T>(seen: (bool, bool, u8), then: impl FnOnce(Candidate<'_>) -> T) -> T {
        let (web, shop, last) = seen;
        let own = labels(&[("app", if web { "web" } else { "db" })]);
        let (namespace, of) = if shop { ("shop", "a") } else { ("other", "b") };
        let team = labels(&[("team", of)]);
        let interfaces = [("eth0".to_owned(), IpAddr::from([10, 0, 0, last]))];
        then(Candidate {
            namespace: Some(namespace),
            labels: &own,
            namespace_labels: Some(&team),
            text: "{}",
            interfaces: &interfaces,
        })
    }

    fn keys() -> Vec<SetKey> {
        let set = |namespaces: Option<&str>, selector: &str, home: &str| {
            let namespaces = namespaces.map(str::to_owned);
            SetKey::new(
                &Selection { namespaces, selector: selector.into(), ..selection() },
                Some(&home.into()),
            )
        };
        vec![
            set(None, "app=web", "shop"),
            set(None, "app=web", "other"),
            set(Some("team=a"), "", "shop"),
            set(Some(""), "app!=web", "shop"),
        ]
    }

    /// What a look at all objects finds.
    fn found(objects: &BTreeMap<usize, (bool, bool, u8)>, key: &SetKey) -> Members {
        let of = |seen: &_| with_candidate(*seen, |object| addresses(key, [object]));
        objects.values().flat_map(|seen| of(seen).iter().copied().collect::<Vec<_>>()).collect()
    }

    proptest! {
        /// Whoever comes to use which sets when, a set holds what a look at all objects finds, and who uses one that changed since
        /// it was used is told.
        #[test]
        fn sets_hold_what_is_found_among_all_and_users_are_told(steps in steps()) {
            let (keys, kind, uids) = (keys(), selection().kind, ["0", "1", "2"].map(Arc::<str>::from));
            let mut objects: BTreeMap<usize, (bool, bool, u8)> = BTreeMap::new();
            let mut sets: SetIndex<usize> = SetIndex::default();
            let mut uses: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
            // What each user read of its sets, when it was told last.
            let mut read: BTreeMap<(usize, usize), Arc<Members>> = BTreeMap::new();
            for step in steps {
                let (seen, used) = match step {
                    Step::Put(seen) => (Some(seen), None),
                    Step::UsedFirst(seen, user, used) => (Some(seen), Some((user, used))),
                    Step::Use(user, used) => (None, Some((user, used))),
                };
                if let Some((at, now)) = seen {
                    match now {
                        Some(now) => drop(objects.insert(at, now)),
                        None => drop(objects.remove(&at)),
                    }
                }
                if let Some((user, used)) = used {
                    let new = sets.set(&user, used.iter().map(|at| keys[*at].clone()).collect());
                    for (at, now) in &objects {
                        with_candidate(*now, |object| sets.fill(&new, &uids[*at], object));
                    }
                    read.retain(|(whose, _), _| *whose != user);
                    read.extend(used.iter().map(|at| ((user, *at), sets.addresses(&keys[*at]).unwrap())));
                    uses.insert(user, used);
                }
                if let Some((at, now)) = seen {
                    let told = match now {
                        Some(now) => with_candidate(now, |object| sets.put(&kind, &uids[at], Some(object))),
                        None => sets.put(&kind, &uids[at], None),
                    };
                    for user in told {
                        for at in &uses[&user] {
                            read.insert((user, *at), sets.addresses(&keys[*at]).unwrap());
                        }
                    }
                }
                let used: BTreeSet<usize> = uses.values().flatten().copied().collect();
                for (at, key) in keys.iter().enumerate() {
                    let expected = used.contains(&at).then(|| found(&objects, key));
                    let kept = sets.addresses(key);
                    prop_assert_eq!(kept.as_deref(), expected.as_ref());
                }
                for ((user, at), known) in &read {
                    prop_assert_eq!(&**known, &found(&objects, &keys[*at]), "user {} of set {} was not told", user, at);
                }
            }
        }
    }

    /// A thousand policies of a thousand Pods came to a thousand million looks: each new set had all objects put into all sets.
    #[test]
    fn a_new_set_is_filled_and_no_other_is_touched() {
        let mut sets: SetIndex<usize> = SetIndex::default();
        let (keys, uid): (_, Arc<str>) = (keys(), "a".into());
        sets.set(&1, [keys[0].clone()].into());
        let new = sets.set(&2, keys.iter().cloned().collect());
        assert_eq!(new.len(), keys.len() - 1, "one is used already");
        with_candidate((true, true, 1), |object| sets.fill(&new, &uid, object));
        let sizes: Vec<usize> = keys.iter().map(|key| sets.addresses(key).unwrap().iter().count()).collect();
        assert_eq!(sizes, [0, 0, 1, 0], "the set of another one is not");
        let told = with_candidate((true, true, 1), |object| sets.put(&selection().kind, &uid, Some(object)));
        assert_eq!(told, [1, 2].into(), "both users of the first set, by the object's own change");
    }

    #[test]
    fn one_object_at_a_time_comes_to_the_same() {
        let (web, db) = (labels(&[("app", "web")]), labels(&[("app", "db")]));
        let address = |last: u8| [("eth0".to_owned(), IpAddr::from([10, 0, 0, last]))];
        let (first, second) = (address(1), address(2));
        let pod = |labels, interfaces| Candidate {
            namespace: Some("shop"),
            labels,
            namespace_labels: None,
            text: "{}",
            interfaces,
        };
        let (kind, key) = (selection().kind, SetKey::new(&selection(), Some(&"shop".into())));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut sets: SetIndex<&str> = SetIndex::default();
        assert_eq!(sets.set(&"policy", [key.clone()].into()).len(), 1);
        assert!(sets.set(&"other", [key.clone()].into()).is_empty(), "it is kept already");
        let both = BTreeSet::from(["other", "policy"]);
        assert_eq!(sets.put(&kind, &a, Some(pod(&web, &first))), both);
        assert!(sets.put(&kind, &a, Some(pod(&web, &first))).is_empty(), "nothing changed");
        assert!(sets.put(&kind, &b, Some(pod(&db, &second))).is_empty(), "it is of no set");
        assert_eq!(sets.put(&kind, &b, Some(pod(&web, &second))), both, "relabelled");
        let all = addresses(&key, [pod(&web, &first), pod(&web, &second)]);
        assert_eq!(sets.addresses(&key).as_deref(), Some(&all));
        assert_eq!(sets.put(&kind, &a, Some(pod(&web, &[]))), both, "it has no address any more");
        assert_eq!(sets.put(&kind, &b, None), both);
        assert_eq!(sets.addresses(&key).as_deref(), Some(&Members::default()));
        sets.set(&"policy", BTreeSet::new());
        sets.set(&"other", BTreeSet::new());
        assert_eq!(sets.addresses(&key), None);
        assert!(sets.kinds().is_empty());
    }
}
