//! Neutron ports.

use std::net::IpAddr;

use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_openstack::neutron::{
    AllowedAddressPair, FixedIpRequest, Network, Port, PortCreate, PortUpdate, SecurityGroup,
};
use serde::{Deserialize, Serialize};

use super::standard::{About, Standard, Tags};
use super::{Scope, text};
use crate::cloud::{Create, Result, Update, cleared, set, typed};

/// Owner of our ports. Not `compute:`: Neutron's default policy forbids a member to delete ports that begin with it.
const DEVICE_OWNER: &str = "isthmus:pod";
/// Owner that Neutron gives the port of a trunk.
const ON_TRUNK: &str = "trunk:subport";

/// The tags are there at once where the cloud takes them in the call that creates a port (ML2's extension driver
/// `tag_ports_during_bulk_creation`, which Neutron 29 does not name among its extensions), else with the next change of them.
pub(super) struct Ports;

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
    /// The node through whose port it is reached: nothing of the port itself.
    #[serde(skip_serializing)]
    #[expect(dead_code, reason = "taken in, as all that an entry may have is")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vnic_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_name: Option<String>,
    /// VLAN id of its network, of a port that is bound to a virtual function: the cloud's choice.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    /// Whether its virtual function is to be trusted: an administrator's choice.
    #[serde(skip_deserializing, skip_serializing_if = "std::ops::Not::not")]
    trusted: bool,
}

/// `vlan` of `binding:vif_details`, which Neutron writes as text. 0 is none.
fn vlan(details: &serde_json::Map<String, serde_json::Value>) -> Option<u16> {
    let vlan = details.get("vlan")?;
    let id = vlan.as_str().map_or_else(|| vlan.as_u64()?.try_into().ok(), |text| text.parse().ok());
    id.filter(|id| *id != 0)
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

impl Standard for Ports {
    type Resource = Port;
    const GONE: &'static [&'static str] = &["PortNotFound"];
    const TAGS: Tags = Tags::AtCreation;
    /// On a trunk a port has another owner; one that was taken off has none.
    const AMONG: &'static [(&'static str, &'static str)] =
        &[("device_owner", DEVICE_OWNER), ("device_owner", ON_TRUNK), ("device_owner", "")];

    /// Those on a node, and those that are on none, or on a trunk: a port with a device can't be put there.
    fn of_subject(subject: &str) -> Vec<Option<(&'static str, &str)>> {
        vec![Some(("device_id", subject)), Some(("device_id", ""))]
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
            node: None,
            vnic_type: text(port.binding_vnic_type),
            dns_name: text(port.dns_name),
            vlan: vlan(&port.binding_vif_details),
            trusted: port.binding_profile.get("trusted") == Some(&true.into()),
        };
        Observed {
            addresses,
            // DOWN is a port that nobody is plugged into yet: that is the node's to say (OVSDB), never a poll of Neutron.
            state: if port.status == "ERROR" { State::Failed } else { State::Ready },
            ..observed!(Kind::Port, port, &fields)
        }
    }

    async fn creation(_: &Scope, create: &Create<'_>, about: About) -> Result<PortCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        Ok(PortCreate {
            network_id: fields.network.unwrap_or_default(),
            name: about.name,
            description: about.description,
            project_id: about.project,
            tags: about.tags,
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
        })
    }

    async fn change(scope: &Scope, update: &Update<'_>, about: About) -> Result<Option<PortUpdate>> {
        // A list or text that is cleared is an empty one; a policy is none.
        let cleared = |name: &str| cleared(update, name);
        let fields: Fields = typed(update.entry, set(update))?;
        let pairs = fields.allowed_address_pairs.map(pairs);
        let body = PortUpdate {
            name: about.name,
            description: about.description,
            security_groups: fields.security_groups,
            allowed_address_pairs: pairs.or(cleared("allowed_address_pairs").then(Vec::new)),
            port_security_enabled: fields.port_security,
            qos_policy_id: fields.qos_policy.map(Some).or(cleared("qos_policy").then_some(None)),
            binding_host_id: fields.host.or(cleared("host").then(String::new)),
            dns_name: fields.dns_name.or(cleared("dns_name").then(String::new)),
            ..PortUpdate::default()
        };
        let body = with_defaults(scope, update, body).await?;
        Ok((body != PortUpdate::default()).then_some(body))
    }

    fn described(description: String) -> PortUpdate {
        PortUpdate { description: Some(description), ..PortUpdate::default() }
    }
}

/// What a port has without groups and port security of its own, as at its creation: the project's group `default`, and the
/// network's setting.
async fn with_defaults(scope: &Scope, update: &Update<'_>, mut body: PortUpdate) -> Result<PortUpdate> {
    if cleared(update, "security_groups") {
        let groups: Vec<SecurityGroup> = scope.neutron.list(&scope.query(&[("name", "default")])).await?;
        body.security_groups = Some(groups.into_iter().take(1).map(|group| group.id).collect());
    }
    if cleared(update, "port_security") {
        let network = update.observed.fields.get("network").and_then(serde_json::Value::as_str);
        let network: Network = scope.neutron.get(network.unwrap_or_default()).await?;
        body.port_security_enabled = network.port_security_enabled;
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(binding: serde_json::Value) -> serde_json::Value {
        let mut port = json!({"id": "p", "network_id": "n", "status": "ACTIVE"});
        port.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
        json!(Ports::observed(serde_json::from_value(port).unwrap()).fields)
    }

    #[test]
    fn what_the_cloud_chose_for_a_virtual_function_is_seen() {
        let port = seen(json!({"binding:vnic_type": "direct", "binding:vif_type": "hw_veb",
            "binding:vif_details": {"port_filter": false, "vlan": "300"},
            "binding:profile": {"trusted": true, "pci_slot": "0000:3b:02.1"}}));
        assert_eq!((&port["vlan"], &port["trusted"]), (&json!(300), &json!(true)));
        for none in [
            json!({}),
            json!({"binding:vif_details": {"vlan": "0"}, "binding:profile": {"trusted": "maybe"}}),
            json!({"binding:vif_details": {"vlan": 70_000}, "binding:profile": null}),
        ] {
            let port = seen(none);
            assert!(port.get("vlan").is_none() && port.get("trusted").is_none(), "{port}");
        }
    }
}
