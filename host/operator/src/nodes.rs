//! What a node is in the cloud: where it is a virtual machine, its Pods' ports are reached through its own.

use std::borrow::Cow;
use std::sync::Arc;

use isthmus_kubernetes::names::{ANNOTATION_PARENT_PORT, LABEL_BINDING};
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::condition::{Condition, MAPPED};
use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::kinds::Kind;
use isthmus_model::nested::{Binding, made_for, node_of, with_nested};
use isthmus_model::object::{ObjectKey, Subject};
use isthmus_model::record::Record;
use isthmus_model::snapshot::{Read, ReadSet};
use serde_json::Value as Json;

use crate::cloud::existing::Parent;
use crate::cloud::{CloudError, Lookup, Result};
use crate::mapped::{Mapping, Verdict};
use crate::records::Known;
use crate::session::{Session, node_kind};

impl Session {
    /// The list with what the nodes of its ports ask for. A port stays as it was made: a running Pod is on it, whatever its Node says by
    /// now.
    ///
    /// # Errors
    /// The list has no room for it.
    pub(crate) fn nested<'a>(
        &self,
        desired: &'a DesiredList,
        record: &Record,
        snapshot: &StoreSnapshot,
    ) -> Result<Cow<'a, DesiredList>> {
        let binding = |port: &str, own: Option<&str>, node: &str| match made_for(record, port) {
            Some(made) => made,
            None => Binding::wished(own, || binding(&*snapshot.subject(&key_of(node))?)),
        };
        match with_nested(desired, binding) {
            Ok(Some(list)) => Ok(Cow::Owned(list)),
            Ok(None) => Ok(Cow::Borrowed(desired)),
            Err(error) => {
                Err(CloudError::Field { kind: Kind::Port, name: String::new(), message: error.to_string() })
            }
        }
    }

    /// What a mapping comes to once the nodes of its ports are known: before that it can't be told where a port is to be made. The
    /// nodes are read for it, so that a change of one is a change of what it read.
    pub(crate) fn with_nodes(
        &self,
        subject: &Arc<Subject>,
        mapping: Mapping,
        known: Option<&Known>,
        snapshot: &StoreSnapshot,
    ) -> Mapping {
        let Verdict::List(list) = &mapping.verdict else { return mapping };
        let ports: Vec<(&Entry, &str)> =
            list.entries().iter().filter_map(|entry| Some((entry, node_of(entry)?))).collect();
        if ports.is_empty() {
            return mapping;
        }
        let frozen = |reason, why| {
            let condition = Condition::no(MAPPED, reason, why);
            Mapping::frozen(condition, known.is_none(), mapping.versions.clone())
        };
        if let Err(why) = self.all_known(&[node_kind()].into()) {
            return Mapping { passing: true, ..frozen("WaitingForCache", why) };
        }
        let reads: ReadSet = ports.iter().map(|(_, node)| Read::Get(key_of(node))).collect();
        self.deps.lock().add(subject, &reads);
        self.look_for_changes(subject, &reads, snapshot);
        let record = || known.map(Known::record).unwrap_or_default();
        let mut lacking = ports.iter().filter(|(_, node)| !self.has_node(node, snapshot));
        match lacking.find(|(port, _)| made_for(&record(), &port.name).is_none()) {
            Some((port, node)) => {
                let why = format!("there is no Node {node} yet, for which port {} is", port.name);
                frozen("WaitingForNode", why)
            }
            None => mapping,
        }
    }

    /// What a node has in the cloud, by its port or its addresses: the trunk of its port, else the port itself.
    ///
    /// # Errors
    /// Neutron's.
    pub(crate) async fn of_node(
        &self,
        node: &str,
        wanted: OfNode,
        snapshot: &StoreSnapshot,
    ) -> Result<Lookup> {
        let Some(found) = snapshot.subject(&key_of(node)) else {
            return Ok(Lookup::Not(format!(
                "there is no Node {node}, through whose port the Pod's is reached"
            )));
        };
        let Some(parent) = parent(&found) else {
            return Ok(Lookup::Not(format!(
                "Node {node} has no InternalIP yet by which its port could be told: annotate it with {ANNOTATION_PARENT_PORT}"
            )));
        };
        let existing = &self.cloud.existing;
        let lookup = match wanted {
            OfNode::Trunk => existing.trunk(&parent).await?,
            OfNode::Port => existing.port_of(&parent).await?,
        };
        Ok(match lookup {
            Lookup::Not(why) => Lookup::Not(format!(
                "Pods of Node {node} are reached through its port: {why}; it can be named by the annotation {ANNOTATION_PARENT_PORT}"
            )),
            found => found,
        })
    }
}

/// What of a node in the cloud.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfNode {
    /// The trunk of its port.
    Trunk,
    /// Its port.
    Port,
}

fn key_of(node: &str) -> ObjectKey {
    ObjectKey::new(node_kind(), None, node)
}

fn binding(node: &Stored) -> Option<Binding> {
    Binding::named(node.labels.get(LABEL_BINDING)?)
}

/// How the port of a node is told.
fn parent(node: &Stored) -> Option<Parent> {
    let object: Json = serde_json::from_str(&node.text).ok()?;
    let named =
        object.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_PARENT_PORT)?.as_str());
    if let Some(port) = named {
        return Some(Parent::Port(port.to_owned()));
    }
    let internal = |address: &&Json| address.get("type").and_then(Json::as_str) == Some("InternalIP");
    let all = object.pointer("/status/addresses").and_then(Json::as_array)?;
    let addresses: Vec<String> = all
        .iter()
        .filter(internal)
        .filter_map(|address| Some(address.get("address")?.as_str()?.to_owned()))
        .collect();
    (!addresses.is_empty()).then_some(Parent::Addresses(addresses))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Stored {
        Stored {
            key: key_of("node1"),
            uid: "u".into(),
            labels: Default::default(),
            deleting: false,
            text: Arc::from(text),
        }
    }

    #[test]
    fn the_annotation_goes_before_the_addresses() {
        let addresses = r#"{"addresses": [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "10.0.0.5"}]}"#;
        let annotated = format!(
            r#"{{"metadata": {{"annotations": {{"{ANNOTATION_PARENT_PORT}": "p"}}}}, "status": {addresses}}}"#
        );
        assert_eq!(parent(&node(&annotated)), Some(Parent::Port("p".into())));
        let plain = format!(r#"{{"status": {addresses}}}"#);
        assert_eq!(parent(&node(&plain)), Some(Parent::Addresses(vec!["10.0.0.5".into()])));
        assert_eq!(parent(&node("{}")), None);
        assert_eq!(parent(&node(r#"{"status": {"addresses": []}}"#)), None);
    }
}
