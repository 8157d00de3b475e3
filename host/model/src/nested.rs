//! Ports of Pods whose node is a virtual machine of the cloud: subports of the node's trunk. A module names a port's node and knows
//! nothing of this; the host says it in the list, before anything is planned.

use std::collections::BTreeMap;

use crate::desired::{DesiredList, Entry, ListError, local};
use crate::hash;
use crate::kinds::Kind;
use crate::value::{Fields, Reference, Value};

/// The binding of a Pod's interface that has the VLAN id of a trunk's subport.
pub const VLAN: &str = "vlan";

/// Longest name of an entry: that of a DNS label.
const LONGEST_NAME: usize = 63;

/// The list with a subport of the node's trunk for each port whose VIF is bound by `vlan`; `None`: there is no such port.
/// `binding`: that of a VIF which names none itself, by the name of its port's entry and the node.
///
/// # Errors
/// [`ListError::TooManyEntries`].
pub fn with_subports(
    desired: &DesiredList,
    binding: impl Fn(&str, &str) -> Option<String>,
) -> Result<Option<DesiredList>, ListError> {
    let own: BTreeMap<&str, &str> = desired.entries().iter().filter_map(own_binding).collect();
    let on_trunk = |entry: &Entry| {
        let node = node_of(entry)?;
        let bound = match own.get(entry.name.as_str()) {
            Some(own) => *own == VLAN,
            None => binding(&entry.name, node).as_deref() == Some(VLAN),
        };
        bound.then(|| (entry.name.clone(), node.to_owned()))
    };
    let nodes: BTreeMap<String, String> = desired.entries().iter().filter_map(on_trunk).collect();
    if nodes.is_empty() {
        return Ok(None);
    }
    let mut entries = desired.entries().to_vec();
    for entry in &mut entries {
        if let Some(node) = nodes.get(&entry.name) {
            entry.fields.remove("host");
            entry.fields.insert("node".into(), node.clone().into());
        }
    }
    entries.extend(nodes.into_iter().map(|(port, node)| subport(desired, &port, node)));
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

/// The binding that a VIF names, by the name of its port's entry.
fn own_binding(vif: &Entry) -> Option<(&str, &str)> {
    match (vif.kind, vif.fields.get("port"), vif.fields.get("binding")) {
        (Kind::Vif, Some(Value::Ref(port)), Some(Value::Text(binding))) => Some((local(port)?, binding)),
        _ => None,
    }
}

fn subport(desired: &DesiredList, port: &str, node: String) -> Entry {
    let name = format!("{port}-subport");
    let is_free = name.len() <= LONGEST_NAME && desired.get(&name).is_none();
    let name = if is_free { name } else { format!("subport-{}", hash::of(&port)) };
    let fields = [
        ("trunk".to_owned(), Value::Ref(Reference::Existing(node))),
        ("port".to_owned(), Value::Ref(Reference::Local(port.into()))),
    ];
    Entry::new(&name, Kind::TrunkSubport, Fields::from(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let of_node = |binding: Option<&'static str>| move |_: &str, _: &str| binding.map(str::to_owned);
        let table = [
            (None, None, false),
            (None, Some("vlan"), true),
            (None, Some("ovs"), false),
            (Some("vlan"), None, true),
            (Some("vlan"), Some("ovs"), true),
            (Some("ovs"), Some("vlan"), false),
        ];
        for (own, node, expected) in table {
            let made = with_subports(&pod("port", own), of_node(node)).unwrap();
            assert_eq!(made.is_some(), expected, "{own:?} on a node of {node:?}");
            let Some(made) = made else { continue };
            let port = made.get("port").unwrap();
            assert!(!port.fields.contains_key("host"), "a subport is bound where its trunk is");
            assert_eq!(node_of(port), Some("node1"));
            let subport = made.get("port-subport").unwrap();
            assert_eq!(subport.fields["trunk"], Value::Ref(Reference::Existing("node1".into())));
            assert_eq!(subport.fields["port"], Value::Ref(Reference::Local("port".into())));
        }
    }

    /// The names of a module's entries are its own.
    #[test]
    fn a_subport_takes_no_name_that_is_in_use() {
        let long = "p".repeat(LONGEST_NAME);
        let vlan = |_: &str, _: &str| Some(VLAN.to_owned());
        let made = with_subports(&pod(&long, None), vlan).unwrap().unwrap();
        assert_eq!(made.entries().iter().filter(|e| e.kind == Kind::TrunkSubport).count(), 1);
        let mut entries = pod("port", None).entries().to_vec();
        entries.push(entry("port-subport", Kind::SecurityGroup, &[("rules", Value::List(vec![]))]));
        let made = with_subports(&DesiredList::new(entries).unwrap(), vlan).unwrap().unwrap();
        assert_eq!(made.entries().len(), 4);
        assert_eq!(made.get("port-subport").unwrap().kind, Kind::SecurityGroup);
    }
}
