//! What a CloudMapping's status says: made from the record, what is observed, and what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_kubernetes::crd::{
    CloudMappingStatus, ModuleVersion, ResourceReference, ResourceState, ResourceStatus, Route, VifStatus,
};
use isthmus_model::condition::{ATTACHED, Condition, REPORTED};
use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::kinds::Kind;
use isthmus_model::nested::{Binding, binding_of, node_of};
use isthmus_model::object::Subject;
use isthmus_model::observed::{Observed, State};
use isthmus_model::record::{Record, Recorded};
use isthmus_model::value::{Reference, Value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::jiff::Timestamp;

use crate::cloud::{CloudError, Existing, Lookup, Result};

/// What a status is made from.
pub struct Facts<'a> {
    /// Whose mapping.
    pub subject: &'a Subject,
    /// Its generation.
    pub generation: Option<i64>,
    /// The status that it has.
    pub before: &'a CloudMappingStatus,
    /// What is recorded.
    pub record: &'a Record,
    /// What is observed.
    pub observed: &'a BTreeMap<String, Observed>,
    /// What happened to an entry.
    pub messages: BTreeMap<String, String>,
    /// Creates whose answer was lost.
    pub unknown: &'a BTreeSet<String>,
    /// Conditions of ours.
    pub conditions: Vec<Condition>,
    /// What had changed.
    pub cause: Option<String>,
}

/// Status of a mapping whose list did not change: what is recorded, with new conditions.
pub fn with_conditions(facts: &Facts<'_>) -> CloudMappingStatus {
    let resources: Vec<_> =
        facts.record.iter().map(|(name, recorded)| facts.resource(name, recorded)).collect();
    let in_cloud = facts.record.values().filter(|r| r.kind.in_cloud()).count();
    CloudMappingStatus {
        observed_generation: facts.generation,
        subject: Some(format!("{}/{}", facts.subject.key.kind.kind, facts.subject.key.name)),
        resource_count: i32::try_from(in_cloud).ok(),
        resources,
        conditions: conditions(facts),
        last_change: facts.cause.clone().or_else(|| facts.before.last_change.clone()),
        ..facts.before.clone()
    }
}

/// The versions that made a list.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// The mapper's.
    pub module: Option<ModuleVersion>,
    /// The refiners', in order.
    pub refiners: Vec<ModuleVersion>,
    /// Hash of what was read.
    pub input: Option<String>,
    /// Hash of the list.
    pub output: Option<String>,
}

/// Status of a mapping after a list was applied.
///
/// # Errors
/// A subnet or network that a VIF's facts come from can't be asked for.
pub async fn applied(
    facts: &Facts<'_>,
    desired: &DesiredList,
    versions: Versions,
    existing: &Existing,
) -> Result<CloudMappingStatus> {
    let mut vifs = vifs(facts, desired, existing).await?;
    vifs.extend(facts.still_attached(&vifs));
    let plain = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
    let ips: Vec<String> = vifs.iter().flat_map(|v| &v.addresses).map(plain).collect();
    // The agent of the node that it was on says when it let go: the API server lets it by this.
    let node =
        desired.entries().iter().find_map(node_of).map(str::to_owned).or_else(|| facts.before.node.clone());
    let rest = with_conditions(facts);
    let swapped = versions
        .module
        .as_ref()
        .filter(|now| facts.before.module.as_ref().is_some_and(|before| before.digest != now.digest));
    let swapped = swapped.map(|now| format!("module {} came to version {}", now.name, now.version));
    Ok(CloudMappingStatus {
        last_change: swapped.or_else(|| rest.last_change.clone()),
        module: versions.module,
        refiners: versions.refiners,
        input_hash: versions.input,
        output_hash: versions.output,
        node,
        ips: (!ips.is_empty()).then(|| ips.join(",")),
        vifs,
        ..rest
    })
}

impl Facts<'_> {
    /// VIFs that are desired no more, of ports that a pod is on still and that stay until then.
    fn still_attached(&self, desired: &[VifStatus]) -> Vec<VifStatus> {
        let is_recorded = |id: &str| self.record.values().any(|r| r.id.as_deref() == Some(id));
        let is_new = |vif: &&VifStatus| desired.iter().all(|other| other.port_id != vif.port_id);
        let before = self.before.vifs.iter().filter(|_| self.before.is_attached());
        before.filter(is_new).filter(|vif| is_recorded(&vif.port_id)).cloned().collect()
    }

    /// A VIF that is reached through its node's port, with the VLAN id that its port has on the trunk, once it is there.
    fn nested(&self, vif: VifStatus, binding: Binding) -> VifStatus {
        let is_it = |o: &&Observed| {
            o.kind == Kind::TrunkSubport && o.fields.get("port").is_some_and(|port| *port == *vif.port_id)
        };
        let found = self.observed.values().find(is_it);
        let id = found.and_then(|o| o.fields.get("segmentation_id")?.as_i64());
        let segmentation_id = id.and_then(|id| id.try_into().ok());
        VifStatus { binding: Some(binding.name().into()), segmentation_id, ..vif }
    }

    fn resource(&self, name: &str, recorded: &Recorded) -> ResourceStatus {
        let observed = recorded.id.as_ref().and_then(|id| self.observed.get(id));
        let unknown = self.unknown.contains(name);
        // What is not in the cloud itself (a VIF) is as ready as what it refers to, and refers to something.
        let own = recorded.references.iter().filter(|r| matches!(r.reference, Reference::Local(_)));
        let mut own = own.map(|r| self.observed.get(&r.id).map_or(State::Pending, |o| o.state));
        let state = match observed.map(|o| o.state) {
            Some(state) => state,
            None if recorded.kind.in_cloud() || recorded.references.is_empty() => State::Pending,
            None => own.find(|state| *state != State::Ready).unwrap_or(State::Ready),
        };
        let state = match state {
            State::Ready => ResourceState::Ready,
            State::Failed => ResourceState::Failed,
            State::Pending => ResourceState::Pending,
        };
        ResourceStatus {
            name: name.into(),
            kind: recorded.kind,
            id: recorded.id.clone(),
            state,
            hash: recorded.hash.clone(),
            fields: recorded.fields.iter().cloned().collect(),
            project: None,
            references: recorded.references.iter().map(ResourceReference::from).collect(),
            addresses: observed
                .map(|o| o.addresses.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            message: self.messages.get(name).cloned(),
            created_unknown: unknown,
            retained: recorded.retain,
        }
    }
}

async fn vifs(facts: &Facts<'_>, desired: &DesiredList, existing: &Existing) -> Result<Vec<VifStatus>> {
    let mut vifs = Vec::new();
    for entry in desired.entries().iter().filter(|e| e.kind == Kind::Vif) {
        let Some(Value::Ref(Reference::Local(port))) = entry.fields.get("port") else { continue };
        let id = facts.record.get(port).and_then(|r| r.id.as_ref());
        let Some(observed) = id.and_then(|id| facts.observed.get(id)) else { continue };
        let vif = vif(entry, port, observed, existing).await?;
        vifs.push(match binding_of(desired, port) {
            Some(binding) => facts.nested(vif, binding),
            None => vif,
        });
    }
    Ok(vifs)
}

async fn vif(entry: &Entry, port: &str, observed: &Observed, existing: &Existing) -> Result<VifStatus> {
    let text = |name: &str| observed.fields.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let network = text("network");
    let (mut addresses, mut gateways) = (Vec::new(), Vec::new());
    let ips = observed.fields.get("fixed_ips").and_then(|v| v.as_array());
    for ip in ips.into_iter().flatten() {
        let part = |name: &str| ip.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        // An interface that lacks an address, or has a made-up prefix, is worse than one that comes later.
        let missing = |message| CloudError::Vif { name: entry.name.clone(), message };
        let subnet = match existing.subnet(part("subnet")).await? {
            Lookup::Found(subnet) => subnet,
            Lookup::Not(why) => return Err(missing(why)),
        };
        let cidr = subnet.target.cidr.as_deref().and_then(|cidr| cidr.split_once('/'));
        let Some((_, length)) = cidr else {
            return Err(missing(format!("subnet {} says no range", part("subnet"))));
        };
        addresses.push(format!("{}/{length}", part("address")));
        gateways.extend(subnet.gateway.as_ref().map(IpAddr::to_string));
    }
    let mtu = match existing.network(&network).await? {
        Lookup::Found(found) => found.mtu,
        Lookup::Not(_) => None,
    };
    let own = |name: &str| match entry.fields.get(name) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    Ok(function(
        observed,
        VifStatus {
            interface: own("interface").unwrap_or_else(|| entry.name.clone()),
            port: port.into(),
            port_id: observed.id.clone(),
            mac_address: text("mac_address"),
            addresses,
            gateways,
            mtu: mtu.and_then(|m| i32::try_from(m).ok()),
            network,
            default_route: matches!(entry.fields.get("default_route"), Some(Value::Bool(true))),
            routes: routes(entry),
            binding: own("binding"),
            device: own("device"),
            segmentation_id: None,
            vnic_type: observed.fields.get("vnic_type").and_then(|v| v.as_str()).map(Into::into),
            trusted: false,
            unprotected: false,
        },
    ))
}

/// With what the node sets of a virtual function, where the port is for one.
fn function(port: &Observed, vif: VifStatus) -> VifStatus {
    if vif.vnic_type.as_deref() != Some("direct") {
        return vif;
    }
    let flag = |name: &str| port.fields.get(name).and_then(serde_json::Value::as_bool);
    let vlan = port.fields.get("vlan").and_then(|v| v.as_i64()?.try_into().ok());
    let (trusted, unprotected) = (flag("trusted") == Some(true), flag("port_security") == Some(false));
    VifStatus { segmentation_id: vlan, trusted, unprotected, ..vif }
}

fn routes(entry: &Entry) -> Vec<Route> {
    let Some(Value::List(routes)) = entry.fields.get("routes") else { return Vec::new() };
    let text = |value: Option<&Value>| match value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let route = |value: &Value| match value {
        Value::Map(fields) => Some(Route {
            destination: text(fields.get("destination"))?,
            next_hop: text(fields.get("next_hop"))?,
        }),
        _ => None,
    };
    routes.iter().filter_map(route).collect()
}

/// Our conditions, with the time of the last change of each, and those of others (the agent's) as they are.
fn conditions(facts: &Facts<'_>) -> Vec<meta::Condition> {
    let before = &facts.before.conditions;
    let given = |kind: &str| facts.conditions.iter().any(|c| c.kind == kind);
    let kept = |c: &&meta::Condition| c.type_ == ATTACHED || (c.type_ == REPORTED && !given(REPORTED));
    let mut all: Vec<meta::Condition> = before.iter().filter(kept).cloned().collect();
    all.extend(facts.conditions.iter().map(|condition| dated(condition, before, facts.generation)));
    all.sort_by(|a, b| a.type_.cmp(&b.type_));
    all
}

/// A status of ours beside the conditions that others wrote.
pub(crate) fn with_others_conditions(
    ours: &CloudMappingStatus,
    stored: &CloudMappingStatus,
) -> Arc<CloudMappingStatus> {
    let of_others = |c: &&meta::Condition| c.type_ == ATTACHED;
    let mut conditions: Vec<_> = ours.conditions.iter().filter(|c| !of_others(c)).cloned().collect();
    conditions.extend(stored.conditions.iter().filter(of_others).cloned());
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    Arc::new(CloudMappingStatus { conditions, ..ours.clone() })
}

/// A condition as Kubernetes writes it: the transition time is that of the last change of its status.
pub fn dated(condition: &Condition, before: &[meta::Condition], generation: Option<i64>) -> meta::Condition {
    let status = match condition.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let old = before.iter().find(|old| old.type_ == condition.kind && old.status == status);
    meta::Condition {
        type_: condition.kind.clone(),
        status: status.into(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        observed_generation: generation,
        last_transition_time: old
            .map_or_else(|| meta::Time(Timestamp::now()), |old| old.last_transition_time.clone()),
    }
}
