//! What the modules ask of the cloud, for everything that lives in the cluster now: kinds and fields, in the words of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_kubernetes::names::LABEL_BINDING;
use isthmus_kubernetes::store::StoreSnapshot;
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::nested::Binding;
use isthmus_model::object::Gvk;
use isthmus_model::value::Value;
use isthmus_operator::modules::{Lane, Pipelines, Version};

use super::extensions;
use crate::cluster::{Cluster, facts, pipelines};

/// Kinds, as `port`, and what is set of them, as `port.dns_name` or `security-group.rules.remote.addresses`.
pub(super) async fn used(
    cluster: &Cluster,
    versions: BTreeMap<Arc<str>, Version>,
    os_cloud: Option<&str>,
) -> anyhow::Result<BTreeSet<String>> {
    let pipelines = pipelines(versions)?;
    let mut masks = pipelines.masks();
    // Their labels say which of them are virtual machines.
    masks.entry(node()).or_default();
    let mut store = cluster.store(&masks).await?;
    let mut facts = facts(os_cloud).await.unwrap_or_default();
    // A module that would refuse what the cloud lacks an extension for shows what it would make with it.
    facts.network_extensions.extend(extensions::aliases().map(Into::into));
    facts.network_extensions.sort();
    facts.network_extensions.dedup();
    store.set_cloud(facts);
    Ok(tokio::task::block_in_place(|| mapped(&pipelines, &store.snapshot())))
}

fn node() -> Gvk {
    Gvk::new("", "v1", "Node")
}

fn mapped(pipelines: &Pipelines, snapshot: &StoreSnapshot) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in pipelines.kinds() {
        for stored in snapshot.iter(&kind) {
            let Some(Lane::Serving(serving)) = pipelines.lane(&stored.key) else { continue };
            let list = serving.pipeline.map(&stored.text, Arc::new(snapshot.clone())).result;
            list.iter().flat_map(|list| list.entries()).for_each(|entry| of_entry(entry, &mut all));
        }
    }
    let node = node();
    let bindings = snapshot.iter(&node).filter_map(|node| Binding::named(node.labels.get(LABEL_BINDING)?));
    all.extend(bindings.map(|binding| binding.kind().name().to_owned()));
    all
}

fn of_entry(entry: &Entry, all: &mut BTreeSet<String>) {
    all.insert(entry.kind.name().into());
    for (name, value) in &entry.fields {
        set(&format!("{}.{name}", entry.kind), value, all);
    }
    // What the port of such an interface needs of its node's, the host adds.
    if let (Kind::Vif, Some(Value::Text(binding))) = (entry.kind, entry.fields.get("binding")) {
        all.extend(Binding::named(binding).map(|binding| binding.kind().name().to_owned()));
    }
}

/// Notes the path of a value, and those of what is in it. An empty list sets nothing.
fn set(path: &str, value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::List(items) if items.is_empty() => return,
        Value::List(items) => items.iter().for_each(|item| set(path, item, all)),
        Value::Map(fields) => {
            fields.iter().for_each(|(name, value)| set(&format!("{path}.{name}"), value, all))
        }
        Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Ref(_) | Value::Late(_) => {}
    }
    if !all.contains(path) {
        all.insert(path.into());
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::value::Reference;

    use super::*;

    #[test]
    fn a_list_is_told_by_its_kinds_and_what_is_set_of_them() {
        let group = Value::Ref(Reference::Existing("pods".into()));
        let map = |name: &str, value: Value| Value::Map([(name.to_owned(), value)].into());
        let rule = map("remote", map("addresses", group.clone()));
        let entry = |kind, fields: Vec<(&str, Value)>| {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Entry::new("x", kind, fields)
        };
        let list = [
            entry(
                Kind::SecurityGroup,
                vec![("rules", Value::List(vec![map("remote", map("any", true.into())), rule]))],
            ),
            entry(Kind::Port, vec![("host", "node1".into()), ("allowed_address_pairs", Value::List(vec![]))]),
            entry(Kind::Vif, vec![("binding", "vlan".into())]),
        ];
        let mut all = BTreeSet::new();
        list.iter().for_each(|entry| of_entry(entry, &mut all));
        let expected = [
            "port",
            "port.host",
            "security-group",
            "security-group.rules",
            "security-group.rules.remote",
            "security-group.rules.remote.addresses",
            "security-group.rules.remote.any",
            "trunk-subport",
            "vif",
            "vif.binding",
        ];
        assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
