//! One subject's small cloud that does what operations say, and lists to be planned.

pub(crate) mod neutron;

use std::collections::{BTreeMap, BTreeSet};

use isthmus_model::desired::{DESCRIPTION, DISPLAY_NAME, DesiredList, Entry, Removal};
use isthmus_model::kinds::{Change, Kind};
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::plan::{Act, External, Input, Plan, Targets, applied_hash, conclude, plan, resolve};
use isthmus_model::record::{Record, Recorded};
use isthmus_model::value::{Fields, Reference, Value};
use proptest::collection::btree_map;
use proptest::prelude::*;

pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const SUBJECT: &str = "subject";

/// One subject's world: what it recorded, and a cloud with others' resources in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) record: Record,
    pub(crate) cloud: BTreeMap<String, Observed>,
    pub(crate) external: External,
    pub(crate) next: u32,
    /// Whether a port gets any address that it asks for: where a subnet is held as it is, that is of what it is to be.
    pub(crate) forgiving: bool,
}

impl World {
    pub(crate) fn plan(&self, desired: &DesiredList) -> Plan {
        let none = (BTreeSet::new(), BTreeSet::new());
        self.plan_with(desired, &self.external, &none.0, &none.1)
    }

    pub(crate) fn plan_with(
        &self,
        desired: &DesiredList,
        external: &External,
        held: &BTreeSet<String>,
        pinned: &BTreeSet<String>,
    ) -> Plan {
        // Everything is offered, also what is not ours: the planner must leave it alone.
        let (cluster, subject, project) = (CLUSTER, SUBJECT, Some("project"));
        let (record, observed) = (&self.record, &self.cloud);
        plan(&Input { cluster, subject, project, desired, record, observed, external, held, pinned })
    }

    pub(crate) fn targets(&self, desired: &DesiredList) -> Targets {
        let mut targets = Targets { external: self.external.clone(), ..Targets::default() };
        for entry in desired.entries() {
            let id =
                self.record.get(&entry.name).filter(|r| r.kind == entry.kind).and_then(|r| r.id.as_ref());
            if let Some(found) = id.and_then(|id| self.cloud.get(id)) {
                targets.local.insert(entry.name.clone(), found.target());
            }
        }
        targets
    }

    /// Does the first `steps` operations, then "crashes": with or without having recorded the last one.
    pub(crate) fn apply(&mut self, desired: &DesiredList, plan: &Plan, steps: usize, lose_last_answer: bool) {
        for (at, operation) in plan.operations.iter().enumerate().take(steps) {
            assert!(
                operation.after.iter().all(|before| *before < at),
                "waits for a later operation: {plan:?}"
            );
            let lost = lose_last_answer && at + 1 == steps;
            let entry = desired.get(&operation.name);
            match &operation.act {
                Act::Create if operation.with.is_empty() => self.create(desired, entry.unwrap(), lost),
                Act::Create => self.create_tree(desired, entry.unwrap(), &operation.with, lost),
                Act::Update { id, fields } => {
                    let own = self.record.get(&operation.name).and_then(|r| r.id.clone());
                    let id = id.clone().or(own).expect("an update has an id by now");
                    self.update(desired, entry.unwrap(), &id, fields);
                }
                Act::Adopt { id } => self.note(desired, entry.unwrap(), id, false),
                Act::Rename { id, from } => {
                    self.cloud.get_mut(id).unwrap().mark.as_mut().unwrap().name = operation.name.clone();
                    if !lost {
                        self.record.remove(from);
                        self.note(desired, entry.unwrap(), id, true);
                    }
                }
                Act::Delete { id, below, .. } => {
                    for id in below.iter().map(|part| &part.id).chain([id]) {
                        self.delete(plan, id, lost);
                    }
                    let left = self.cloud.values().find(|o| {
                        [Kind::Listener, Kind::Pool].contains(&o.kind)
                            && o.fields.get("load_balancer").is_some_and(|of| *of == **id)
                    });
                    assert!(left.is_none(), "{left:?} goes with {id}: {plan:?}");
                }
                Act::Retain { id } => {
                    self.cloud.get_mut(id).unwrap().mark = None;
                    self.record.retain(|_, r| r.id.as_ref() != Some(id));
                }
            }
        }
        if steps >= plan.operations.len() {
            // The apply was complete.
            let targets = self.targets(desired);
            self.record = conclude(desired, std::mem::take(&mut self.record), &targets, &BTreeSet::new());
        }
    }

    fn delete(&mut self, plan: &Plan, id: &String, lost: bool) {
        neutron::let_go(&mut self.cloud, id);
        let users = self.cloud.values().filter(|o| o.id != *id).any(|o| {
            o.fields.iter().any(|(f, v)| {
                o.kind.field(f).is_none_or(|s| !s.change.is_late())
                    && v.to_string().contains(&format!("\"{id}\""))
            })
        });
        assert!(!users, "deletes {id}, which is in use: {plan:?}\n{self:?}");
        self.cloud.remove(id);
        if !lost {
            self.record.retain(|_, r| r.id.as_ref() != Some(id));
        }
    }

    pub(crate) fn create(&mut self, desired: &DesiredList, entry: &Entry, lost: bool) {
        self.next += 1;
        let id = format!("id-{}", self.next);
        let targets = self.targets(desired);
        let mut fields = BTreeMap::new();
        for (name, value) in &entry.fields {
            if entry.kind.field(name).is_some_and(|f| f.change == Change::Separate) {
                continue;
            }
            match resolve(name, value, &targets) {
                Ok(value) => drop(fields.insert(name.clone(), value)),
                Err(missing) => assert_eq!(
                    entry.kind.field(name).map(|f| f.change),
                    Some(Change::Late),
                    "{name} of {} needs {missing:?} first",
                    entry.name
                ),
            }
        }
        let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: entry.name.clone() };
        let found = made_as(observed(&id, entry.kind, Some(mark), fields, self.next), entry);
        neutron::made(&mut self.cloud, found, self.next, self.forgiving);
        if !lost {
            self.note(desired, entry, &id, false);
        }
    }

    /// All at once: what is in it can name the rest of it, and what resolves is part of it.
    pub(crate) fn create_tree(&mut self, desired: &DesiredList, root: &Entry, below: &[String], lost: bool) {
        let before = self.record.clone();
        let mut made = Vec::new();
        for entry in std::iter::once(root).chain(below.iter().map(|name| desired.get(name).unwrap())) {
            self.next += 1;
            let id = format!("id-{}", self.next);
            let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: entry.name.clone() };
            let found = observed(&id, entry.kind, Some(mark), BTreeMap::new(), self.next);
            self.cloud.insert(id.clone(), made_as(found, entry));
            self.note(desired, entry, &id, false);
            made.push((entry, id));
        }
        let targets = self.targets(desired);
        for (entry, id) in &made {
            let fields =
                entry.fields.iter().filter_map(|(f, v)| Some((f.clone(), resolve(f, v, &targets).ok()?)));
            let fields: BTreeMap<_, _> = fields.collect();
            for (name, _) in entry.fields.iter().filter(|(name, _)| !fields.contains_key(*name)) {
                assert!(
                    entry.kind.field(name).unwrap().change.is_late(),
                    "{name} of {} can't wait",
                    entry.name
                );
            }
            let found = self.cloud.get_mut(id).unwrap();
            found.fields = fields;
            neutron::filled(found);
        }
        if lost {
            self.record = before;
        }
    }

    pub(crate) fn update(
        &mut self,
        desired: &DesiredList,
        entry: &Entry,
        id: &str,
        fields: &BTreeSet<String>,
    ) {
        let targets = self.targets(desired);
        let found = self.cloud.get_mut(id).expect("updates what exists");
        assert_eq!(
            found.mark.as_ref().map(|m| m.subject.as_str()),
            Some(SUBJECT),
            "updates what is not ours"
        );
        for field in fields {
            match field.as_str() {
                "tags" => found.tags = entry.tags.clone(),
                DISPLAY_NAME => found.display_name = entry.display_name.clone().unwrap_or_default(),
                DESCRIPTION => found.description = entry.description.clone().unwrap_or_default(),
                name => {
                    let value =
                        entry.fields.get(name).map(|v| resolve(name, v, &targets).expect("resolves by now"));
                    found.fields.insert(name.into(), value.unwrap_or_default());
                }
            }
        }
        neutron::filled(found);
    }

    pub(crate) fn note(&mut self, desired: &DesiredList, entry: &Entry, id: &str, applied: bool) {
        let targets = self.targets(desired);
        let hash = applied.then(|| applied_hash(entry, &targets)).flatten().unwrap_or_default();
        let references = targets.recorded(entry);
        let (id, retain) = (Some(id.into()), entry.on_removal == Removal::Retain);
        let recorded = Recorded { kind: entry.kind, id, hash, fields: entry.set(), references, retain };
        self.record.insert(entry.name.clone(), recorded);
    }
}

/// What is there of a resource beside its fields when it is made.
fn made_as(mut found: Observed, entry: &Entry) -> Observed {
    found.tags.clone_from(&entry.tags);
    found.display_name = entry.display_name.clone().unwrap_or_default();
    found.description = entry.description.clone().unwrap_or_default();
    found
}

pub(crate) fn observed(
    id: &str,
    kind: Kind,
    mark: Option<Mark>,
    fields: BTreeMap<String, serde_json::Value>,
    age: u32,
) -> Observed {
    let (project, created) = (Some("project".into()), format!("{age:08}"));
    Observed { mark, project, fields, created, ..Observed::of(kind, id) }
}

/// What an entry of the generated lists is made from: kind, numbers that pick fields and references, tags.
pub(crate) type Seed = (u8, u8, u8, u8, BTreeSet<u8>);

/// A list in which entries refer to any others that make sense; late fields also to later ones.
pub(crate) fn list(seeds: &BTreeMap<u8, Seed>) -> DesiredList {
    let kinds = [
        Kind::Network,
        Kind::Subnet,
        Kind::SecurityGroup,
        Kind::Port,
        Kind::LoadBalancer,
        Kind::Listener,
        Kind::Pool,
        Kind::L7Policy,
    ];
    let kind_of = |seed: &Seed| kinds[seed.0 as usize % kinds.len()];
    let of_kind = |kind: Kind, pick: u8| {
        // What has nothing to be in is left out.
        let needed = match kind {
            Kind::Subnet | Kind::Port => Some(Kind::Network),
            Kind::Listener | Kind::Pool => Some(Kind::LoadBalancer),
            _ => None,
        };
        let there = needed.is_none_or(|needed| seeds.values().any(|seed| kind_of(seed) == needed));
        let names: Vec<_> =
            seeds.iter().filter(|(_, s)| there && kind_of(s) == kind).map(|(n, _)| format!("e{n}")).collect();
        (!names.is_empty()).then(|| Value::Ref(Reference::Local(names[pick as usize % names.len()].clone())))
    };
    let mut entries = Vec::new();
    for (name, seed) in seeds {
        let (kind, (_, a, b, c, tags)) = (kind_of(seed), seed);
        let (mut fields, mut after) = (Fields::new(), Vec::new());
        match kind {
            Kind::Network => drop(fields.insert("mtu".into(), (1400 + i64::from(a % 3)).into())),
            Kind::Subnet => {
                let Some(network) = of_kind(Kind::Network, *a) else { continue };
                fields.insert("network".into(), network);
                fields.insert("prefix".into(), prefix(*name, *b).into());
                if is_automatic(*b) {
                    fields.insert("ipv6_address_mode".into(), "slaac".into());
                }
                fields.insert("dhcp".into(), (c % 2 == 0).into());
            }
            Kind::SecurityGroup => {
                // Groups may name each other, and themselves.
                let group = of_kind(Kind::SecurityGroup, *a).unwrap();
                let rule = Fields::from([("remote".into(), group), ("port".into(), i64::from(b % 3).into())]);
                fields.insert("rules".into(), Value::List(vec![Value::Map(rule)]));
            }
            Kind::LoadBalancer => {
                fields.insert("provider".into(), format!("p{}", b % 2).into());
                let vip = match of_kind(Kind::Port, *a) {
                    Some(port) => ("port".to_owned(), port),
                    None => ("subnet".to_owned(), "existing".into()),
                };
                fields.insert("vip".into(), Value::Map([vip].into()));
            }
            Kind::Listener => {
                let Some(balancer) = of_kind(Kind::LoadBalancer, *a) else { continue };
                fields.insert("load_balancer".into(), balancer);
                fields.insert("port".into(), i64::from(*name).into());
                fields.insert("connection_limit".into(), i64::from(b % 3).into());
                if let Some(pool) = of_kind(Kind::Pool, *c) {
                    fields.insert("default_pool".into(), pool);
                }
            }
            Kind::Pool => {
                let Some(balancer) = of_kind(Kind::LoadBalancer, *a) else { continue };
                fields.insert("load_balancer".into(), balancer);
                let mut member = Fields::from([("port".into(), i64::from(b % 3).into())]);
                member.extend(of_kind(Kind::Subnet, *c).map(|subnet| ("subnet".into(), subnet)));
                fields.insert("members".into(), Value::List(vec![Value::Map(member)]));
            }
            Kind::L7Policy => {
                let (Some(listener), Some(pool)) = (of_kind(Kind::Listener, *a), of_kind(Kind::Pool, *b))
                else {
                    continue;
                };
                fields.insert("listener".into(), listener);
                fields.insert("action".into(), Value::Map([("pool".to_owned(), pool)].into()));
                fields.insert("rules".into(), Value::List(vec![i64::from(c % 3).into()]));
            }
            _ => {
                let Some(network) = of_kind(Kind::Network, *a) else { continue };
                let subnets = seeds.iter().filter(|(_, s)| kind_of(s) == Kind::Subnet);
                let on_it = subnets.filter(|(_, s)| of_kind(Kind::Network, s.1).as_ref() == Some(&network));
                let on_it: Vec<(u8, u8)> = on_it.map(|(name, s)| (*name, s.2)).collect();
                if let Some((ips, needed)) = fixed_ips(*name, *b, &on_it) {
                    fields.insert("fixed_ips".into(), Value::List(ips));
                    after.extend(needed);
                }
                fields.extend(pairs(*c).map(|pairs| ("allowed_address_pairs".to_owned(), pairs)));
                fields.insert("network".into(), network);
                fields.insert("host".into(), format!("node{}", b % 3).into());
                if let Some(group) = of_kind(Kind::SecurityGroup, *c) {
                    fields.insert("security_groups".into(), Value::List(vec![group]));
                }
            }
        }
        let mut entry = Entry::new(&format!("e{name}"), kind, fields);
        entry.after = after;
        entry.tags = tags.iter().map(|t| format!("t{}", t % 3)).collect();
        entries.push(entry);
    }
    DesiredList::new(entries).unwrap()
}

/// Whether the subnet of this seed gives addresses of itself.
fn is_automatic(pick: u8) -> bool {
    pick % 4 == 3
}

/// One of its own for each name. What is asked for in one may be in the other too.
fn prefix(name: u8, pick: u8) -> String {
    match pick % 4 {
        0 => format!("10.{name}.0.0/24"),
        1 => format!("10.{name}.0.0/23"),
        2 => format!("10.{name}.2.0/24"),
        _ => format!("fd00:{name}::/64"),
    }
}

/// What a port asks for, each element by its subnet, its address or both; and the subnets that only an address tells. `subnets`:
/// name and seed of those of its network.
fn fixed_ips(name: u8, pick: u8, subnets: &[(u8, u8)]) -> Option<(Vec<Value>, Option<Reference>)> {
    let local = |name: u8| Reference::Local(format!("e{name}"));
    let by_subnet = |of: u8| ("subnet".to_owned(), Value::Ref(local(of)));
    let any = subnets.get(usize::from(name) % subnets.len().max(1)).map(|(of, _)| by_subnet(*of));
    let told = subnets.iter().find(|(_, pick)| !is_automatic(*pick)).map(|(of, pick)| {
        let third = if pick % 4 == 2 { 2 } else { 0 };
        (*of, ("address".to_owned(), Value::from(format!("10.{of}.{third}.{}", 10 + name))))
    });
    let record = |fields: &[&(String, Value)]| Value::Map(fields.iter().map(|f| (*f).clone()).collect());
    match (pick / 4 % 8, any, told) {
        (0, ..) => Some((Vec::new(), None)),
        (1, Some(any), _) => Some((vec![record(&[&any])], None)),
        (2, _, Some((of, address))) => Some((vec![record(&[&address])], Some(local(of)))),
        (3, _, Some((of, address))) => Some((vec![record(&[&by_subnet(of), &address])], None)),
        (4, _, Some((of, address))) => Some((vec![record(&[&by_subnet(of)]), record(&[&address])], None)),
        (5, Some(any), Some((of, address))) => {
            Some((vec![record(&[&address]), record(&[&any])], Some(local(of))))
        }
        _ => None,
    }
}

/// Further addresses, with a MAC address or without: one may be there twice.
fn pairs(pick: u8) -> Option<Value> {
    let pair = |address: &str, mac: Option<&str>| {
        let mac = mac.map(|mac| ("mac_address".to_owned(), mac.into()));
        Value::Map([("address".to_owned(), address.into())].into_iter().chain(mac).collect())
    };
    let (a, b, mac) = ("10.200.0.1", "10.200.0.2", Some("00:00:5e:00:01:01"));
    let pairs = match pick / 4 % 6 {
        0 => vec![pair(a, None)],
        1 => vec![pair(a, None), pair(a, mac)],
        2 => vec![pair(a, mac), pair(b, None)],
        _ => return None,
    };
    Some(Value::List(pairs))
}

pub(crate) fn seeds() -> impl Strategy<Value = BTreeMap<u8, Seed>> {
    let seed = (0u8..8, any::<u8>(), any::<u8>(), any::<u8>(), proptest::collection::btree_set(0u8..3, 0..2));
    btree_map(0u8..12, seed, 0..11)
}

pub(crate) fn lists() -> impl Strategy<Value = DesiredList> {
    seeds().prop_map(|seeds| list(&seeds))
}

/// Others' resources: no mark, another cluster's mark, another subject's, and ours in somebody else's project.
pub(crate) fn strangers() -> BTreeMap<String, Observed> {
    let mark = |cluster: &str, subject: &str| {
        Some(Mark { cluster: cluster.into(), subject: subject.into(), name: "e1".into() })
    };
    let all = [None, mark("another", SUBJECT), mark(CLUSTER, "another"), mark(CLUSTER, SUBJECT)];
    let mut cloud = BTreeMap::new();
    for (i, mark) in all.into_iter().enumerate() {
        for kind in [Kind::Port, Kind::Network] {
            let id = format!("stranger-{i}-{kind}");
            let mut other = observed(&id, kind, mark.clone(), BTreeMap::new(), 0);
            other.project = Some(if i == 3 { "elsewhere" } else { "project" }.into());
            cloud.insert(id, other);
        }
    }
    cloud
}
