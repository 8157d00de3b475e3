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
use isthmus_operator::cloud::{BALANCING, SINCE};
use isthmus_operator::modules::{Lane, Pipelines, Version};

use super::{Check, extensions};
use crate::cluster::{Cluster, facts, pipelines};

/// In front of the name of a provider that is asked for.
pub(super) const PROVIDER: &str = "load-balancer.provider=";

/// Kinds, as `port`; what is set of them, as `port.dns_name` or `security-group.rules.remote.addresses`; and the values that matter, as
/// `load-balancer.provider=ovn`. With the PolicyModules that ask for it; of what the host adds, nobody.
pub(super) type Used = BTreeMap<String, BTreeSet<String>>;

pub(super) async fn used(
    cluster: &Cluster,
    versions: BTreeMap<Arc<str>, Version>,
    os_cloud: Option<&str>,
) -> anyhow::Result<Used> {
    let pipelines = pipelines(versions)?;
    let mut masks = pipelines.masks();
    // Their labels say which of them are virtual machines.
    masks.entry(node()).or_default();
    let mut store = cluster.store(&masks).await?;
    let mut facts = facts(os_cloud).await.unwrap_or_default();
    // A module that would refuse what the cloud lacks something for shows what it would make with it.
    facts.network_extensions.extend(extensions::aliases().map(Into::into));
    facts.network_extensions.sort();
    facts.network_extensions.dedup();
    (facts.load_balancer_providers, facts.has_key_manager) = (Vec::new(), true);
    store.set_cloud(facts);
    Ok(tokio::task::block_in_place(|| mapped(&pipelines, &store.snapshot())))
}

fn node() -> Gvk {
    Gvk::new("", "v1", "Node")
}

fn mapped(pipelines: &Pipelines, snapshot: &StoreSnapshot) -> Used {
    let mut all = Used::new();
    for kind in pipelines.kinds() {
        for stored in snapshot.iter(&kind) {
            let Some(Lane::Serving(serving)) = pipelines.lane(&stored.key) else { continue };
            let list = serving.pipeline.map(&stored.text, Arc::new(snapshot.clone())).result;
            let mut asked = BTreeSet::new();
            list.iter().flat_map(|list| list.entries()).for_each(|entry| of_entry(entry, &mut asked));
            let module = &serving.pipeline.mapper().name;
            for what in asked {
                all.entry(what).or_default().insert(module.to_string());
            }
        }
    }
    let node = node();
    let bindings = snapshot.iter(&node).filter_map(|node| Binding::named(node.labels.get(LABEL_BINDING)?));
    for binding in bindings {
        all.entry(binding.kind().name().to_owned()).or_default();
    }
    all
}

/// What each PolicyModule needs of which service, by kind.
pub(super) fn told(used: &Used) -> Vec<Check> {
    let mut needs: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Vif) {
        for module in used.get(kind.name()).into_iter().flatten() {
            needs.entry(module).or_default().entry(service(kind)).or_default().push(kind.name());
        }
    }
    let line = |(module, services): (&str, BTreeMap<&str, Vec<&str>>)| {
        let parts = services.iter().map(|(service, kinds)| format!("{service} ({})", kinds.join(", ")));
        Check::ok(&format!("needs of {module}"), parts.collect::<Vec<_>>().join("; "))
    };
    needs.into_iter().map(line).collect()
}

fn service(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => "Barbican",
        Kind::ListenerCertificate => "Octavia",
        kind if BALANCING.contains(&kind) => "Octavia",
        _ => "Neutron",
    }
}

fn of_entry(entry: &Entry, all: &mut BTreeSet<String>) {
    all.insert(entry.kind.name().into());
    for (name, value) in &entry.fields {
        set(&format!("{}.{name}", entry.kind), value, all);
    }
    if let (Kind::LoadBalancer, Some(Value::Text(provider))) = (entry.kind, entry.fields.get("provider")) {
        all.insert(format!("{PROVIDER}{provider}"));
    }
    all.extend(SINCE.iter().filter(|since| since.is_asked_by(entry)).map(|since| since.of.to_owned()));
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
