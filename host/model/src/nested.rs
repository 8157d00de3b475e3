//! Ports of Pods whose node is a virtual machine: they are reached through the node's own port. A module names a port's node and
//! knows nothing of this; the host says it in the list, before anything is planned.

use std::collections::BTreeMap;

use crate::desired::{DesiredList, Entry, ListError, local};
use crate::hash;
use crate::kinds::Kind;
use crate::record::{Record, Recorded};
use crate::value::{Fields, Reference, Value};

/// By what the cloud tells the packets of a Pod from those of its node and of other Pods there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The VLAN id of a trunk's subport.
    Vlan,
    /// The Pod's own MAC address and IP addresses, which the node's port may send from.
    Macvlan,
    /// The Pod's IP addresses, which the node's port may send from.
    Ipvlan,
}

impl Binding {
    const ALL: [Self; 3] = [Self::Vlan, Self::Macvlan, Self::Ipvlan];

    /// The one of this name; `None`: the Pod's interface is not on that of its node.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|binding| binding.name() == name)
    }

    /// What a VIF wishes that names one (`own`), else what its node says.
    pub fn wished(own: Option<&str>, node: impl FnOnce() -> Option<Self>) -> Option<Self> {
        own.map_or_else(node, Self::named)
    }

    /// The name of the node's binding driver.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// What a port that is bound so has of its node's.
    pub fn kind(self) -> Kind {
        match self {
            Self::Vlan => Kind::TrunkSubport,
            Self::Macvlan | Self::Ipvlan => Kind::AllowedAddresses,
        }
    }

    /// That of an entry that [`with_nested`] added, by the names of its fields.
    fn of(kind: Kind, has: impl Fn(&str) -> bool) -> Option<Self> {
        match kind {
            Kind::TrunkSubport => Some(Self::Vlan),
            Kind::AllowedAddresses if has("mac") => Some(Self::Macvlan),
            Kind::AllowedAddresses => Some(Self::Ipvlan),
            _ => None,
        }
    }
}

/// Longest name of an entry: that of a DNS label.
const LONGEST_NAME: usize = 63;

/// The list with what each port needs of its node's own port, where its VIF is bound by a [`Binding`]; `None`: there is no such port.
/// `binding`: that of a port, by the name of its entry, what its VIF says of it, and the node.
///
/// # Errors
/// [`ListError::TooManyEntries`].
pub fn with_nested(
    desired: &DesiredList,
    binding: impl Fn(&str, Option<&str>, &str) -> Option<Binding>,
) -> Result<Option<DesiredList>, ListError> {
    let own: BTreeMap<&str, &str> = desired.entries().iter().filter_map(own_binding).collect();
    let nested = |entry: &Entry| {
        let node = node_of(entry)?;
        let own = own.get(entry.name.as_str()).copied();
        Some((entry.name.clone(), (node.to_owned(), binding(&entry.name, own, node)?)))
    };
    let ports: BTreeMap<String, (String, Binding)> = desired.entries().iter().filter_map(nested).collect();
    if ports.is_empty() {
        return Ok(None);
    }
    let mut entries = desired.entries().to_vec();
    for entry in &mut entries {
        if let Some((node, _)) = ports.get(&entry.name) {
            entry.fields.remove("host");
            entry.fields.insert("node".into(), node.clone().into());
        }
    }
    let needed = ports.into_iter().map(|(port, (node, bound))| on_node(desired, &port, node, bound));
    entries.extend(needed);
    DesiredList::new(entries).map(Some)
}

/// The node that a port is for.
pub fn node_of(entry: &Entry) -> Option<&str> {
    let node = entry.fields.get("host").or_else(|| entry.fields.get("node"));
    match node {
        Some(Value::Text(node)) if entry.kind == Kind::Port => Some(node),
        _ => None,
    }
}

/// How a port of the list is bound, if it is reached through its node's own.
pub fn binding_of(desired: &DesiredList, port: &str) -> Option<Binding> {
    let named = Value::Ref(Reference::Local(port.into()));
    let is_its = |e: &&Entry| e.kind.is_nested() && e.fields.get("port") == Some(&named);
    let found = desired.entries().iter().find(is_its)?;
    Binding::of(found.kind, |field| found.fields.contains_key(field))
}

/// How a port was made: `None`, it is not made yet, or nothing of its node's own port is; `Some(None)`: as one that is bound to a host.
pub fn made_for(record: &Record, port: &str) -> Option<Option<Binding>> {
    let made = record.get(port).filter(|made| made.kind == Kind::Port && made.id.is_some())?;
    if !made.fields.contains("node") {
        return Some(None);
    }
    let is_its = |of: &&Recorded| {
        let mut references = of.references.iter().map(|reference| &reference.reference);
        of.kind.is_nested() && references.any(|r| matches!(r, Reference::Local(name) if &**name == port))
    };
    let found = record.values().find(is_its)?;
    Some(Binding::of(found.kind, |field| found.fields.contains(field)))
}

/// The binding that a VIF names, by the name of its port's entry.
fn own_binding(vif: &Entry) -> Option<(&str, &str)> {
    match (vif.kind, vif.fields.get("port"), vif.fields.get("binding")) {
        (Kind::Vif, Some(Value::Ref(port)), Some(Value::Text(binding))) => Some((local(port)?, binding)),
        _ => None,
    }
}

fn on_node(desired: &DesiredList, port: &str, node: String, bound: Binding) -> Entry {
    let (suffix, of_node) = match bound {
        Binding::Vlan => ("subport", "trunk"),
        Binding::Macvlan | Binding::Ipvlan => ("addresses", "parent"),
    };
    let name = format!("{port}-{suffix}");
    let is_free = name.len() <= LONGEST_NAME && desired.get(&name).is_none();
    let name = if is_free { name } else { format!("{suffix}-{}", hash::of(&port)) };
    let mut fields = Fields::from([
        (of_node.to_owned(), Value::Ref(Reference::Existing(node))),
        ("port".to_owned(), Value::Ref(Reference::Local(port.into()))),
    ]);
    if bound == Binding::Macvlan {
        fields.insert("mac".to_owned(), true.into());
    }
    Entry::new(&name, bound.kind(), fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordedReference;

    fn entry(name: &str, kind: Kind, fields: &[(&str, Value)]) -> Entry {
        Entry::new(name, kind, fields.iter().map(|(f, v)| ((*f).to_owned(), v.clone())).collect())
    }

    fn pod(port: &str, own: Option<&str>) -> DesiredList {
        let network = ("network", Value::Ref(Reference::Existing("pods".into())));
        let mut vif =
            vec![("interface", Value::from("eth0")), ("port", Value::Ref(Reference::Local(port.into())))];
        vif.extend(own.map(|binding| ("binding", binding.into())));
        DesiredList::new(vec![
            entry(port, Kind::Port, &[network, ("host", "node1".into())]),
            entry("eth0", Kind::Vif, &vif),
        ])
        .unwrap()
    }

    #[test]
    fn the_vif_says_how_it_is_bound_and_else_the_node() {
        use Binding::{Ipvlan, Macvlan, Vlan};
        let table = [
            (None, None, None),
            (None, Some(Vlan), Some(Vlan)),
            (None, Some(Macvlan), Some(Macvlan)),
            (Some("vlan"), None, Some(Vlan)),
            (Some("ipvlan"), Some(Macvlan), Some(Ipvlan)),
            (Some("ovs"), Some(Vlan), None),
        ];
        for (own, node, expected) in table {
            let binding = |_: &str, own: Option<&str>, _: &str| Binding::wished(own, || node);
            let made = with_nested(&pod("port", own), binding).unwrap();
            assert_eq!(made.is_some(), expected.is_some(), "{own:?} on a node of {node:?}");
            let (Some(made), Some(expected)) = (made, expected) else { continue };
            let port = made.get("port").unwrap();
            assert!(!port.fields.contains_key("host"), "it is bound where the node's port is");
            assert_eq!(node_of(port), Some("node1"));
            assert_eq!(binding_of(&made, "port"), Some(expected));
            let (name, of_node) = match expected {
                Vlan => ("port-subport", "trunk"),
                Macvlan | Ipvlan => ("port-addresses", "parent"),
            };
            let needed = made.get(name).unwrap();
            assert_eq!(needed.kind, expected.kind());
            assert_eq!(needed.fields[of_node], Value::Ref(Reference::Existing("node1".into())));
            assert_eq!(needed.fields["port"], Value::Ref(Reference::Local("port".into())));
        }
    }

    /// A running Pod is on it, whatever its Node says by now.
    #[test]
    fn a_record_says_how_a_port_was_made() {
        let recorded = |kind, fields: &[&str], references: &[Reference]| Recorded {
            kind,
            id: Some("id".into()),
            hash: String::new(),
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            references: references
                .iter()
                .map(|r| RecordedReference { reference: r.clone(), id: String::new() })
                .collect(),
            retain: false,
        };
        let of = |fields: &[&str], needed: Option<Binding>| {
            let mut record = Record::from([("port".to_owned(), recorded(Kind::Port, fields, &[]))]);
            if let Some(bound) = needed {
                let entry = on_node(&pod("port", None), "port", "node1".into(), bound);
                let fields: Vec<&str> = entry.fields.keys().map(String::as_str).collect();
                let made = recorded(bound.kind(), &fields, &[Reference::Local("port".into())]);
                record.insert(entry.name, made);
            }
            made_for(&record, "port")
        };
        assert_eq!(of(&["host"], None), Some(None));
        assert_eq!(of(&["node"], None), None, "the node says it still");
        for bound in Binding::ALL {
            assert_eq!(of(&["node"], Some(bound)), Some(Some(bound)));
        }
        assert_eq!(made_for(&Record::new(), "port"), None);
    }

    /// The names of a module's entries are its own.
    #[test]
    fn a_subport_takes_no_name_that_is_in_use() {
        let long = "p".repeat(LONGEST_NAME);
        let vlan = |_: &str, _: Option<&str>, _: &str| Some(Binding::Vlan);
        let made = with_nested(&pod(&long, None), vlan).unwrap().unwrap();
        assert_eq!(made.entries().iter().filter(|e| e.kind == Kind::TrunkSubport).count(), 1);
        let mut entries = pod("port", None).entries().to_vec();
        entries.push(entry("port-subport", Kind::SecurityGroup, &[("rules", Value::List(vec![]))]));
        let made = with_nested(&DesiredList::new(entries).unwrap(), vlan).unwrap().unwrap();
        assert_eq!(made.entries().len(), 4);
        assert_eq!(made.get("port-subport").unwrap().kind, Kind::SecurityGroup);
    }
}
