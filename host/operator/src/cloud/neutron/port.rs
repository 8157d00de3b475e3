//! Neutron ports.

use std::net::IpAddr;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{
    AllowedAddressPair, FixedIpRequest, Network, Port, PortCreate, PortUpdate, SecurityGroup,
};
use serde::{Deserialize, Serialize};

use super::{Scope, gone, mark_of, tags, text};
use crate::cloud::{Create, Driver, Result, Update, cleared, set, typed, untyped};

/// Owner of our ports. Not `compute:`: Neutron's default policy forbids a member to delete ports that begin with it.
pub(super) const DEVICE_OWNER: &str = "isthmus:pod";

/// The tags are there at once where the cloud takes them in the call that creates a port (ML2's extension driver
/// `tag_ports_during_bulk_creation`, which Neutron 29 does not name among its extensions), else with the next change of them.
pub(super) struct Ports(pub(super) Scope);

/// The contract's `port`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_ips: Option<Vec<FixedIp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security_groups: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port_security: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_address_pairs: Option<Vec<AddressPair>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vnic_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressPair {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_address: Option<String>,
}

fn fixed_ips(wanted: Vec<FixedIp>) -> Vec<FixedIpRequest> {
    let request = |ip: FixedIp| FixedIpRequest { subnet_id: ip.subnet, ip_address: ip.address };
    wanted.into_iter().map(request).collect()
}

fn pairs(wanted: Vec<AddressPair>) -> Vec<AllowedAddressPair> {
    let pair = |p: AddressPair| AllowedAddressPair { ip_address: p.address, mac_address: p.mac_address };
    wanted.into_iter().map(pair).collect()
}

fn observed(port: Port) -> Observed {
    let addresses = port.fixed_ips.iter().filter_map(|ip| ip.ip_address.parse::<IpAddr>().ok()).collect();
    let fixed_ips = port
        .fixed_ips
        .into_iter()
        .map(|ip| FixedIp { subnet: text(ip.subnet_id), address: text(ip.ip_address) });
    let pairs = port.allowed_address_pairs.into_iter();
    let fields = Fields {
        network: text(port.network_id),
        fixed_ips: Some(fixed_ips.collect()),
        security_groups: Some(port.security_groups),
        port_security: port.port_security_enabled,
        mac_address: text(port.mac_address),
        allowed_address_pairs: Some(
            pairs.map(|p| AddressPair { address: p.ip_address, mac_address: p.mac_address }).collect(),
        ),
        qos_policy: port.qos_policy_id,
        host: text(port.binding_host_id),
        vnic_type: text(port.binding_vnic_type),
        dns_name: text(port.dns_name),
    };
    Observed {
        kind: Kind::Port,
        id: port.id,
        mark: mark_of(&port.description, &port.tags),
        project: text(port.project_id),
        fields: untyped(&fields),
        tags: Mark::others(port.tags.iter().map(String::as_str)),
        display_name: port.name,
        description: Mark::beside(&port.description),
        revision: port.revision_number,
        addresses,
        cidr: None,
        // DOWN is a port that nobody is plugged into yet: that is the node's to say (OVSDB), never a poll of Neutron.
        state: if port.status == "ERROR" { State::Failed } else { State::Ready },
        created: port.created_at.unwrap_or_default(),
    }
}

impl Ports {
    /// A description can't be filtered by: ports of our owner are listed, and chosen by their mark.
    async fn marked(&self, tag: &str, more: &[(&str, &str)]) -> Result<Vec<Observed>> {
        let ours: Vec<(&str, &str)> =
            [("device_owner", DEVICE_OWNER)].into_iter().chain(more.iter().copied()).collect();
        let ports: Vec<Port> = self.0.neutron.list(&self.0.query(&ours)).await?;
        let marked = |o: &Observed| o.mark.as_ref().is_some_and(|mark| mark.tags().iter().any(|t| t == tag));
        Ok(ports.into_iter().map(observed).filter(marked).collect())
    }

    fn creation(&self, create: &Create<'_>, fields: Fields) -> PortCreate {
        PortCreate {
            network_id: fields.network.unwrap_or_default(),
            name: Some(create.name.clone()),
            description: Some(create.mark.described(create.entry.description.as_deref())),
            project_id: self.0.project_of(create.entry),
            tags: Some(tags(&create.mark, create.entry)),
            mac_address: fields.mac_address,
            fixed_ips: fields.fixed_ips.map(fixed_ips),
            security_groups: fields.security_groups,
            allowed_address_pairs: fields.allowed_address_pairs.map(pairs),
            port_security_enabled: fields.port_security,
            qos_policy_id: fields.qos_policy,
            // Octavia refuses a VIP's port that has a device.
            device_id: fields.host.is_some().then(|| create.mark.subject.clone()),
            binding_host_id: fields.host,
            binding_vnic_type: fields.vnic_type,
            dns_name: fields.dns_name,
            device_owner: Some(DEVICE_OWNER.into()),
            ..PortCreate::default()
        }
    }

    fn change(&self, update: &Update<'_>) -> Result<PortUpdate> {
        // A list or text that is cleared is an empty one; a policy is none.
        let cleared = |name: &str| cleared(update, name);
        let fields: Fields = typed(update.entry, set(update))?;
        let described = update.description.is_some() || update.remark;
        Ok(PortUpdate {
            name: update.name.clone(),
            description: described.then(|| update.mark.described(update.entry.description.as_deref())),
            security_groups: fields.security_groups,
            allowed_address_pairs: fields
                .allowed_address_pairs
                .map(pairs)
                .or(cleared("allowed_address_pairs").then(Vec::new)),
            port_security_enabled: fields.port_security,
            qos_policy_id: fields.qos_policy.map(Some).or(cleared("qos_policy").then_some(None)),
            binding_host_id: fields.host.or(cleared("host").then(String::new)),
            dns_name: fields.dns_name.or(cleared("dns_name").then(String::new)),
            ..PortUpdate::default()
        })
    }
}

impl Ports {
    /// What a port has without groups and port security of its own, as at its creation: the project's group `default`, and
    /// the network's setting.
    async fn with_defaults(&self, update: &Update<'_>, mut body: PortUpdate) -> Result<PortUpdate> {
        let neutron = &self.0.neutron;
        if cleared(update, "security_groups") {
            let groups: Vec<SecurityGroup> = neutron.list(&self.0.query(&[("name", "default")])).await?;
            body.security_groups = Some(groups.into_iter().take(1).map(|group| group.id).collect());
        }
        if cleared(update, "port_security") {
            let network = update.observed.fields.get("network").and_then(serde_json::Value::as_str);
            let network: Network = neutron.get(network.unwrap_or_default()).await?;
            body.port_security_enabled = network.port_security_enabled;
        }
        Ok(body)
    }
}

impl Driver for Ports {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        self.marked(tag, &[]).boxed()
    }

    fn list_of<'a>(&'a self, tag: &'a str, subject: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            // Those on a node, and the few that are on none.
            let mut all = self.marked(tag, &[("device_id", subject)]).await?;
            let others = self.marked(tag, &[("device_id", "")]).await?;
            all.extend(others.into_iter().filter(|o| o.mark.as_ref().is_some_and(|m| m.subject == subject)));
            Ok(all)
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let body = self.creation(&create, fields);
            let mut port = self.0.neutron.create::<Port>(&body).await?;
            let asked = &create.entry.tags;
            if !asked.is_subset(&Mark::others(port.tags.iter().map(String::as_str))) {
                let wanted = tags(&create.mark, create.entry);
                port.tags =
                    self.0.neutron.set_tags::<Port>(&port.id, &wanted).await.map_err(|mut error| {
                        // It is made, but not whole: it is found by its mark, and its tags are set then.
                        error.class = RetryClass::Unknown;
                        error
                    })?;
            }
            Ok(observed(port))
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let body = self.with_defaults(&update, self.change(&update)?).await?;
            let id = &update.observed.id;
            let mut changed = update.observed.clone();
            if body != PortUpdate::default() {
                changed = observed(
                    self.0.neutron.update::<Port>(id, &body, None).await.map_err(|e| gone(e, &GONE))?,
                );
            }
            if update.tags || update.remark {
                let wanted = tags(&update.mark, update.entry);
                let tags = self.0.neutron.set_tags::<Port>(id, &wanted).await.map_err(|e| gone(e, &GONE))?;
                changed.tags = Mark::others(tags.iter().map(String::as_str));
                changed.mark = Some(update.mark);
                // The service counts a change of tags as a revision, and does not say which.
                changed.revision = None;
            }
            Ok(changed)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move { Ok(self.0.neutron.delete::<Port>(id).await.map(drop)?) }.boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, tag: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let body =
                PortUpdate { description: Some(observed.description.clone()), ..PortUpdate::default() };
            self.0.neutron.update::<Port>(&observed.id, &body, None).await?;
            let tags: Vec<String> = observed.tags.iter().cloned().chain([tag.to_owned()]).collect();
            Ok(self.0.neutron.set_tags::<Port>(&observed.id, &tags).await.map(drop)?)
        }
        .boxed()
    }
}

const GONE: [&str; 1] = ["PortNotFound"];
