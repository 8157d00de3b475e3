//! Neutron ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{
    AllowedAddressPair, Extensions, FixedIpRequest, Port, PortCreate, PortUpdate,
};
use serde::{Deserialize, Serialize};

use super::{Create, Driver, Result, Scope, Update, typed, untyped};

/// Owner of our ports. Not `compute:`: Neutron's default policy forbids a member to delete ports that begin with it.
pub(super) const DEVICE_OWNER: &str = "isthmus:pod";

pub(super) struct Ports {
    pub(super) scope: Scope,
    pub(super) marks: Marks,
}

/// Where the mark of a port is. It must be there from the call that creates the port on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// In its tags, where Neutron takes tags in that call (ML2's extension driver `tag_ports_during_bulk_creation`).
    Tags,
    /// Else in its description.
    Description,
}

impl Marks {
    pub(super) fn by(extensions: &Extensions) -> Self {
        if extensions.contains("tag-ports-during-bulk-creation") { Self::Tags } else { Self::Description }
    }
}

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
    let text = |text: String| (!text.is_empty()).then_some(text);
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
        mark: Mark::from_tags(port.tags.iter().map(String::as_str))
            .or_else(|| Mark::from_description(&port.description)),
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
    /// The tags of a port of ours: the module's, and the mark where it is in tags.
    fn tags(&self, mark: &Mark, entry: &Entry) -> Vec<String> {
        let mark = (self.marks == Marks::Tags).then(|| mark.tags());
        let all: BTreeSet<String> = mark.into_iter().flatten().chain(entry.tags.iter().cloned()).collect();
        all.into_iter().collect()
    }

    /// Its description: the module's, after the mark where that is in the description.
    fn description(&self, mark: &Mark, entry: &Entry) -> Option<String> {
        match self.marks {
            Marks::Tags => entry.description.clone(),
            Marks::Description => Some(mark.described(entry.description.as_deref())),
        }
    }

    fn creation(&self, create: &Create<'_>, fields: Fields) -> PortCreate {
        PortCreate {
            network_id: fields.network.unwrap_or_default(),
            name: Some(create.name.clone()),
            description: self.description(&create.mark, create.entry),
            project_id: create.entry.project.clone().or_else(|| self.scope.project.clone()),
            tags: (self.marks == Marks::Tags).then(|| self.tags(&create.mark, create.entry)),
            mac_address: fields.mac_address,
            fixed_ips: fields.fixed_ips.map(fixed_ips),
            security_groups: fields.security_groups,
            allowed_address_pairs: fields.allowed_address_pairs.map(pairs),
            port_security_enabled: fields.port_security,
            qos_policy_id: fields.qos_policy,
            binding_host_id: fields.host,
            binding_vnic_type: fields.vnic_type,
            dns_name: fields.dns_name,
            device_id: Some(create.mark.subject.clone()),
            device_owner: Some(DEVICE_OWNER.into()),
            ..PortCreate::default()
        }
    }

    fn change(&self, update: &Update<'_>) -> Result<PortUpdate> {
        // A list or text that is cleared is an empty one; a policy is none.
        let cleared = |name: &str| update.fields.get(name).is_some_and(serde_json::Value::is_null);
        let set =
            update.fields.iter().filter(|(_, value)| !value.is_null()).map(|(n, v)| (n.clone(), v.clone()));
        let fields: Fields = typed(update.entry, set.collect())?;
        let described = update.description.is_some() || (self.marks == Marks::Description && update.remark);
        Ok(PortUpdate {
            name: update.name.clone(),
            description: if described { self.description(&update.mark, update.entry) } else { None },
            fixed_ips: fields.fixed_ips.map(fixed_ips).or(cleared("fixed_ips").then(Vec::new)),
            security_groups: fields.security_groups.or(cleared("security_groups").then(Vec::new)),
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

impl Driver for Ports {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            // A description can't be filtered by: all ports of our kind are listed then.
            let ours = match self.marks {
                Marks::Tags => ("tags", tag),
                Marks::Description => ("device_owner", DEVICE_OWNER),
            };
            let ports: Vec<Port> = self.scope.neutron.list(&self.scope.query(ours)).await?;
            let marked =
                |o: &Observed| o.mark.as_ref().is_some_and(|mark| mark.tags().iter().any(|t| t == tag));
            Ok(ports.into_iter().map(observed).filter(marked).collect())
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let body = self.creation(&create, fields);
            let mut port = self.scope.neutron.create::<Port>(&body).await?;
            if self.marks == Marks::Description && !create.entry.tags.is_empty() {
                let wanted = self.tags(&create.mark, create.entry);
                port.tags =
                    self.scope.neutron.set_tags::<Port>(&port.id, &wanted).await.map_err(|mut error| {
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
            let body = self.change(&update)?;
            let id = &update.observed.id;
            let mut changed = update.observed.clone();
            if body != PortUpdate::default() {
                changed = observed(self.scope.neutron.update::<Port>(id, &body, None).await?);
            }
            if update.tags || (update.remark && self.marks == Marks::Tags) {
                let wanted = self.tags(&update.mark, update.entry);
                let tags = self.scope.neutron.set_tags::<Port>(id, &wanted).await?;
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
        async move { Ok(self.scope.neutron.delete::<Port>(id).await.map(drop)?) }.boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, tag: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            if self.marks == Marks::Description {
                let body =
                    PortUpdate { description: Some(observed.description.clone()), ..PortUpdate::default() };
                self.scope.neutron.update::<Port>(&observed.id, &body, None).await?;
            }
            let tags: Vec<String> = observed.tags.iter().cloned().chain([tag.to_owned()]).collect();
            Ok(self.scope.neutron.set_tags::<Port>(&observed.id, &tags).await.map(drop)?)
        }
        .boxed()
    }
}
