//! The cloud kinds as data: for each field, whether it may change in place, whether it is written after creation, and how
//! what is desired is compared with what is observed. A new kind is a new table here and a driver at the edge.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::desired::{Entry, local};

/// A kind of resource, as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Neutron's.
    Network,
    /// Neutron's.
    Subnet,
    /// A port of ours that is attached to a router.
    RouterInterface,
    /// Neutron's, with its rules.
    SecurityGroup,
    /// Neutron's.
    AddressGroup,
    /// Neutron's.
    Port,
    /// A pod's interface on a port: recorded for the node, nothing in the cloud.
    Vif,
    /// A port's place on the trunk of a node that is a virtual machine: the host's own, no module asks for it ([`crate::nested`]).
    TrunkSubport,
    /// A port's addresses among those that the port of its node may send from: the host's own too.
    AllowedAddresses,
    /// Neutron's.
    FloatingIp,
    /// Where a floating IP of somebody else leads to.
    FloatingIpAssociation,
    /// A secret of Barbican.
    Certificate,
    /// A certificate that a listener shows by SNI.
    ListenerCertificate,
    /// Octavia's.
    LoadBalancer,
    /// Octavia's.
    Listener,
    /// Octavia's, with its members and its health monitor.
    Pool,
    /// Octavia's, with its rules.
    L7Policy,
}

/// How a field may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// By an update of the resource.
    InPlace,
    /// Only by another resource in its place.
    Replace,
    /// In place, and written after creation where it refers to entries that do not exist yet: never part of a circle.
    Late,
    /// As [`Change::Late`], and never part of the call that creates: the service takes it in calls of its own.
    Separate,
}

impl Change {
    /// Whether it is written after creation where need be, so that it is never part of a circle.
    pub fn is_late(self) -> bool {
        matches!(self, Self::Late | Self::Separate)
    }
}

/// How what is desired is compared with what is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Equal after normalisation; a record by the fields that the module set.
    Equal,
    /// The same elements in any order, each compared by the fields that the module set.
    Set,
    /// The same elements in any order, each a whole record: what the module did not set is not set (a rule for any protocol is not
    /// one for TCP).
    Whole,
    /// Not at all: the service takes it and does not show it. A change of it alone changes nothing.
    Unseen,
    /// As [`Compare::Set`], but the cloud may add elements of its own (Neutron gives every port on a network with a
    /// SLAAC subnet an address there, asked for or not).
    Covers,
}

/// One field of a kind.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    /// Name, as in the contract with `_` for `-`.
    pub name: &'static str,
    /// How it may change.
    pub change: Change,
    /// How it is compared.
    pub compare: Compare,
}

const fn field(name: &'static str, change: Change, compare: Compare) -> FieldSpec {
    FieldSpec { name, change, compare }
}

use Change::{InPlace, Late, Replace, Separate};
use Compare::{Covers, Equal, Set, Unseen, Whole};

const NETWORK: &[FieldSpec] = &[
    field("mtu", InPlace, Equal),
    field("port_security", InPlace, Equal),
    field("dns_domain", InPlace, Equal),
];
const SUBNET: &[FieldSpec] = &[
    field("network", Replace, Equal),
    field("ip_version", Replace, Equal),
    field("prefix", Replace, Equal),
    field("gateway", InPlace, Equal),
    field("dhcp", InPlace, Equal),
    field("allocation_pools", InPlace, Set),
    field("ipv6_address_mode", Replace, Equal),
    field("ipv6_ra_mode", Replace, Equal),
    field("dns_nameservers", InPlace, Equal),
    field("host_routes", InPlace, Set),
];
const ROUTER_INTERFACE: &[FieldSpec] = &[field("router", Replace, Equal), field("subnet", Replace, Equal)];
const SECURITY_GROUP: &[FieldSpec] = &[field("rules", Separate, Whole), field("stateful", InPlace, Equal)];
const ADDRESS_GROUP: &[FieldSpec] = &[field("addresses", Late, Set)];
const PORT: &[FieldSpec] = &[
    field("network", Replace, Equal),
    // A running pod would not learn of other addresses, so these are of another port.
    field("fixed_ips", Replace, Covers),
    field("security_groups", InPlace, Set),
    field("port_security", InPlace, Equal),
    field("mac_address", Replace, Equal),
    field("allowed_address_pairs", Late, Set),
    field("qos_policy", InPlace, Equal),
    field("host", InPlace, Equal),
    field("vnic_type", Replace, Equal),
    field("dns_name", InPlace, Equal),
    // In place of `host` for a port that is reached through its node's own: it is bound to nothing itself.
    field("node", InPlace, Unseen),
];
/// `trunk` names a node, whose trunk it is. The VLAN id is the driver's choice.
const TRUNK_SUBPORT: &[FieldSpec] = &[field("trunk", Replace, Equal), field("port", Replace, Equal)];
/// `parent` names a node, whose own port it is. `mac`: the Pod sends with its port's MAC address, else with the node's.
const ALLOWED_ADDRESSES: &[FieldSpec] =
    &[field("parent", Replace, Equal), field("port", Replace, Equal), field("mac", Replace, Equal)];
const VIF: &[FieldSpec] = &[
    field("interface", InPlace, Equal),
    field("port", InPlace, Equal),
    field("default_route", InPlace, Equal),
    field("routes", InPlace, Set),
    field("binding", InPlace, Equal),
    field("device", InPlace, Equal),
];
const FLOATING_IP: &[FieldSpec] = &[
    field("network", Replace, Equal),
    field("subnet", Replace, Unseen),
    field("address", Replace, Equal),
    field("target", Late, Equal),
];
/// What it is of is what it is: another one is made and undone, and each is recorded before.
const FLOATING_IP_ASSOCIATION: &[FieldSpec] =
    &[field("floating_ip", Replace, Equal), field("target", Replace, Equal)];
/// `content` is the host's: what it read from the source, as a digest. The cloud can tell that, and not the source.
const CERTIFICATE: &[FieldSpec] = &[field("source", Replace, Equal), field("content", Replace, Equal)];
/// Another certificate takes the place of the one before in one write: clients are shown the one or the other.
const LISTENER_CERTIFICATE: &[FieldSpec] =
    &[field("listener", Replace, Equal), field("certificate", InPlace, Equal)];
const LOAD_BALANCER: &[FieldSpec] = &[
    field("vip", Replace, Equal),
    field("vip_security_groups", InPlace, Set),
    field("additional_vips", InPlace, Covers),
    field("provider", Replace, Equal),
    field("flavor", Replace, Equal),
    field("availability_zone", Replace, Equal),
];
const LISTENER: &[FieldSpec] = &[
    field("load_balancer", Replace, Equal),
    field("protocol", Replace, Equal),
    field("port", Replace, Equal),
    field("default_pool", Late, Equal),
    field("connection_limit", InPlace, Equal),
    field("timeouts", InPlace, Equal),
    field("allowed_cidrs", InPlace, Set),
    field("insert_headers", InPlace, Set),
    // A listener of TERMINATED_HTTPS can't be made without its certificate, which never refers to a listener.
    field("tls", InPlace, Equal),
];
const POOL: &[FieldSpec] = &[
    field("load_balancer", Replace, Equal),
    field("protocol", Replace, Equal),
    field("algorithm", InPlace, Equal),
    field("session_persistence", InPlace, Equal),
    field("members", Separate, Set),
    field("monitor", Separate, Equal),
    field("tls", InPlace, Equal),
];
const L7_POLICY: &[FieldSpec] = &[
    field("listener", Replace, Equal),
    field("precedence", InPlace, Equal),
    field("action", InPlace, Equal),
    field("rules", Separate, Set),
];

impl Kind {
    /// All kinds, in an order in which a kind refers mostly to earlier ones.
    pub const ALL: [Self; 17] = [
        Self::Network,
        Self::Subnet,
        Self::RouterInterface,
        Self::SecurityGroup,
        Self::AddressGroup,
        Self::Port,
        Self::Vif,
        Self::TrunkSubport,
        Self::AllowedAddresses,
        Self::FloatingIp,
        Self::FloatingIpAssociation,
        Self::Certificate,
        Self::ListenerCertificate,
        Self::LoadBalancer,
        Self::Listener,
        Self::Pool,
        Self::L7Policy,
    ];

    /// Its fields.
    pub fn fields(self) -> &'static [FieldSpec] {
        match self {
            Self::Network => NETWORK,
            Self::Subnet => SUBNET,
            Self::RouterInterface => ROUTER_INTERFACE,
            Self::SecurityGroup => SECURITY_GROUP,
            Self::AddressGroup => ADDRESS_GROUP,
            Self::Port => PORT,
            Self::Vif => VIF,
            Self::TrunkSubport => TRUNK_SUBPORT,
            Self::AllowedAddresses => ALLOWED_ADDRESSES,
            Self::FloatingIp => FLOATING_IP,
            Self::FloatingIpAssociation => FLOATING_IP_ASSOCIATION,
            Self::Certificate => CERTIFICATE,
            Self::ListenerCertificate => LISTENER_CERTIFICATE,
            Self::LoadBalancer => LOAD_BALANCER,
            Self::Listener => LISTENER,
            Self::Pool => POOL,
            Self::L7Policy => L7_POLICY,
        }
    }

    /// The field of this name.
    pub fn field(self, name: &str) -> Option<&'static FieldSpec> {
        self.fields().iter().find(|f| f.name == name)
    }

    /// Whether there is a resource of this kind in the cloud. A VIF is only recorded.
    pub fn in_cloud(self) -> bool {
        self != Self::Vif
    }

    /// Whether it is no resource of its own but a part of another one, known by what it attaches and by nothing else: where
    /// its record is lost, its name is too.
    pub fn is_attachment(self) -> bool {
        self.is_nested() || matches!(self, Self::ListenerCertificate | Self::FloatingIpAssociation)
    }

    /// Whether it is what a Pod's port has of its node's own port ([`crate::nested`]).
    pub fn is_nested(self) -> bool {
        matches!(self, Self::TrunkSubport | Self::AllowedAddresses)
    }

    /// Whether nothing in the cloud says whose it is, but the record alone: so it is recorded before it is made.
    pub fn is_told_by_record(self) -> bool {
        matches!(self, Self::FloatingIpAssociation | Self::AllowedAddresses)
    }

    /// Whether the mark of a resource can be changed. That of a certificate is the name of a secret, which is as it was made, and a
    /// floating IP of somebody else's gets none.
    pub fn can_be_remarked(self) -> bool {
        self != Self::Certificate && !self.is_attachment()
    }

    /// Its name in the contract, as `security-group`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Subnet => "subnet",
            Self::RouterInterface => "router-interface",
            Self::SecurityGroup => "security-group",
            Self::AddressGroup => "address-group",
            Self::Port => "port",
            Self::Vif => "vif",
            Self::TrunkSubport => "trunk-subport",
            Self::AllowedAddresses => "allowed-addresses",
            Self::FloatingIp => "floating-ip",
            Self::FloatingIpAssociation => "floating-ip-association",
            Self::Certificate => "certificate",
            Self::ListenerCertificate => "listener-certificate",
            Self::LoadBalancer => "load-balancer",
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::L7Policy => "l7-policy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The local names that must exist before this entry can be made: those of `after` and of all fields that are not late.
pub fn needed_locals(entry: &Entry) -> BTreeSet<&str> {
    let mut needed: BTreeSet<&str> = entry.after.iter().filter_map(local).collect();
    for (name, value) in &entry.fields {
        if entry.kind.field(name).is_none_or(|f| !f.change.is_late()) {
            value.references(name, &mut |_, r| needed.extend(local(r)));
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialised_ones() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
