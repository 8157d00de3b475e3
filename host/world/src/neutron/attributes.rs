//! Which attributes a kind has, as Neutron's own attribute maps say (`neutron_lib.api.definitions`): what a request may
//! set, what it may change, what it is without being set, and who may set it.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::valid::Check::{self, *};
use super::{Kind, Object};
use crate::call::Caller;

/// A POST may set it.
const POST: u8 = 1;
/// A PUT may.
const PUT: u8 = 2;
const BOTH: u8 = POST | PUT;
/// It is only shown.
const NONE: u8 = 0;

/// What an attribute is that a POST does not set.
#[derive(Clone, Copy, Debug)]
enum Unset {
    /// A POST must set it.
    Required,
    /// Not there: the kind's own code says what it is.
    Absent,
    Null,
    Empty,
    True,
    False,
    List,
    Text(&'static str),
}

/// Who may set an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Anybody,
    /// Anybody of the project, by a rule of its own: a refusal for another attribute names it too.
    Owner,
    Admin,
    /// Services and administrators.
    Service,
}

/// Name, what it must be, in which requests it may be, what it is unset, and who may set it.
type Attribute = (&'static str, Check, u8, Unset, Who);

const fn a(name: &'static str, check: Check, forms: u8, unset: Unset) -> Attribute {
    (name, check, forms, unset, Who::Anybody)
}

const fn by(name: &'static str, check: Check, forms: u8, unset: Unset, who: Who) -> Attribute {
    (name, check, forms, unset, who)
}

/// Of every kind.
const COMMON: &[Attribute] = &[
    a("id", Any, NONE, Unset::Absent),
    a("project_id", Text(255), POST, Unset::Absent),
    a("tenant_id", Text(255), POST, Unset::Absent),
    a("description", Text(255), BOTH, Unset::Empty),
    a("created_at", Any, NONE, Unset::Absent),
    a("updated_at", Any, NONE, Unset::Absent),
    a("revision_number", Any, NONE, Unset::Absent),
];

const NETWORK: &[Attribute] = &[
    a("name", Text(255), BOTH, Unset::Empty),
    a("subnets", Any, NONE, Unset::Absent),
    a("admin_state_up", Bool, BOTH, Unset::True),
    a("status", Any, NONE, Unset::Absent),
    by("shared", Bool, BOTH, Unset::False, Who::Admin),
    by("router:external", Bool, BOTH, Unset::False, Who::Admin),
    by("is_default", Bool, BOTH, Unset::False, Who::Admin),
    by("port_security_enabled", Bool, BOTH, Unset::True, Who::Owner),
    a("mtu", Int(0, 65535), BOTH, Unset::Absent),
    a("availability_zone_hints", Any, POST, Unset::List),
    by("provider:network_type", Text(32), BOTH, Unset::Absent, Who::Admin),
    by("provider:physical_network", Text(64), BOTH, Unset::Absent, Who::Admin),
    by("provider:segmentation_id", Any, BOTH, Unset::Absent, Who::Admin),
    a("tags", Any, NONE, Unset::Absent),
];

const SUBNET: &[Attribute] = &[
    a("name", Text(255), BOTH, Unset::Empty),
    a("ip_version", Numbers(&[4, 6]), POST, Unset::Required),
    a("network_id", Uuid, POST, Unset::Required),
    a("subnetpool_id", UuidOrNull, POST, Unset::Null),
    a("prefixlen", Int(0, 128), POST, Unset::Absent),
    a("cidr", Cidr, POST, Unset::Absent),
    a("gateway_ip", AddressOrNull, BOTH, Unset::Absent),
    a("allocation_pools", Ranges, BOTH, Unset::Absent),
    a("dns_nameservers", Nameservers, BOTH, Unset::List),
    a("host_routes", Routes, BOTH, Unset::List),
    a("enable_dhcp", Bool, BOTH, Unset::True),
    a("ipv6_ra_mode", Modes, POST, Unset::Null),
    a("ipv6_address_mode", Modes, POST, Unset::Null),
    a("service_types", Any, BOTH, Unset::List),
    a("use_default_subnetpool", Bool, POST, Unset::Absent),
    a("tags", Any, NONE, Unset::Absent),
];

const VNIC_TYPES: &[&str] = &[
    "normal",
    "direct",
    "macvtap",
    "baremetal",
    "direct-physical",
    "virtio-forwarder",
    "smart-nic",
    "vdpa",
    "accelerator-direct",
    "accelerator-direct-physical",
    "remote-managed",
];

const PORT: &[Attribute] = &[
    a("name", Text(255), BOTH, Unset::Empty),
    a("network_id", Uuid, POST, Unset::Required),
    a("admin_state_up", Bool, BOTH, Unset::True),
    a("mac_address", Mac, BOTH, Unset::Absent),
    a("fixed_ips", FixedIps, BOTH, Unset::Absent),
    a("device_id", Text(255), BOTH, Unset::Empty),
    a("device_owner", Text(255), BOTH, Unset::Empty),
    a("status", Any, NONE, Unset::Absent),
    a("security_groups", Uuids, BOTH, Unset::Absent),
    a("allowed_address_pairs", Pairs, BOTH, Unset::List),
    a("port_security_enabled", Bool, BOTH, Unset::Absent),
    a("binding:vif_type", Any, NONE, Unset::Absent),
    a("binding:vif_details", Any, NONE, Unset::Absent),
    a("binding:vnic_type", Values(VNIC_TYPES), BOTH, Unset::Text("normal")),
    by("binding:host_id", Text(255), BOTH, Unset::Empty, Who::Service),
    by("binding:profile", Map, BOTH, Unset::Absent, Who::Service),
    a("extra_dhcp_opts", Any, BOTH, Unset::List),
    a("tags", Tags, POST, Unset::List),
];

const GROUP: &[Attribute] = &[
    a("name", GroupName, BOTH, Unset::Empty),
    a("security_group_rules", Any, NONE, Unset::Absent),
    a("stateful", Bool, BOTH, Unset::True),
    a("tags", Any, NONE, Unset::Absent),
];

const RULE: &[Attribute] = &[
    a("security_group_id", Text(36), POST, Unset::Required),
    a("remote_group_id", Any, POST, Unset::Null),
    a("direction", Values(&["ingress", "egress"]), POST, Unset::Required),
    a("protocol", Protocol, POST, Unset::Null),
    a("port_range_min", PortNumber, POST, Unset::Null),
    a("port_range_max", PortNumber, POST, Unset::Null),
    a("ethertype", Ethertype, POST, Unset::Text("IPv4")),
    a("remote_ip_prefix", Prefix, POST, Unset::Null),
    a("remote_address_group_id", Any, POST, Unset::Null),
];

const ADDRESS_GROUP: &[Attribute] =
    &[a("name", Text(255), BOTH, Unset::Empty), a("addresses", Prefixes, POST, Unset::List)];

const ROUTER: &[Attribute] = &[
    a("name", Text(255), BOTH, Unset::Empty),
    a("admin_state_up", Bool, BOTH, Unset::True),
    a("status", Any, NONE, Unset::Absent),
    a("external_gateway_info", MapOrNull, BOTH, Unset::Null),
    a("routes", Routes, PUT, Unset::Absent),
    a("availability_zone_hints", Any, POST, Unset::List),
    a("flavor_id", Any, POST, Unset::Null),
    by("distributed", Any, BOTH, Unset::Absent, Who::Admin),
    by("ha", Any, BOTH, Unset::Absent, Who::Admin),
    a("tags", Any, NONE, Unset::Absent),
];

const FLOATING_IP: &[Attribute] = &[
    by("floating_ip_address", AddressOrNull, POST, Unset::Null, Who::Admin),
    a("subnet_id", UuidOrNull, POST, Unset::Null),
    a("floating_network_id", Uuid, POST, Unset::Required),
    a("router_id", Any, NONE, Unset::Absent),
    a("port_id", UuidOrNull, BOTH, Unset::Null),
    a("fixed_ip_address", AddressOrNull, BOTH, Unset::Null),
    a("status", Any, NONE, Unset::Absent),
    a("qos_policy_id", UuidOrNull, BOTH, Unset::Null),
    a("dns_name", Text(255), POST, Unset::Empty),
    a("dns_domain", Text(255), POST, Unset::Empty),
    a("tags", Any, NONE, Unset::Absent),
];

const TRUNK: &[Attribute] = &[
    a("admin_state_up", Bool, BOTH, Unset::True),
    a("name", Text(255), BOTH, Unset::Empty),
    a("port_id", Uuid, POST, Unset::Required),
    a("status", Any, NONE, Unset::Absent),
    a("sub_ports", Subports, POST, Unset::List),
    a("tags", Any, NONE, Unset::Absent),
];

const SUBNET_POOL: &[Attribute] = &[
    a("name", Text(255), BOTH, Unset::Required),
    a("prefixes", Prefixes, BOTH, Unset::Required),
    a("default_prefixlen", Int(0, 128), BOTH, Unset::Absent),
    a("min_prefixlen", Int(0, 128), BOTH, Unset::Absent),
    a("max_prefixlen", Int(0, 128), BOTH, Unset::Absent),
    a("default_quota", Int(0, i64::MAX), BOTH, Unset::Absent),
    a("ip_version", Any, NONE, Unset::Absent),
    by("is_default", Bool, BOTH, Unset::False, Who::Admin),
    by("shared", Bool, POST, Unset::False, Who::Admin),
    a("address_scope_id", UuidOrNull, BOTH, Unset::Null),
    a("tags", Any, NONE, Unset::Absent),
];

fn of(kind: Kind) -> impl Iterator<Item = &'static Attribute> {
    let own = match kind {
        Kind::Network => NETWORK,
        Kind::Subnet => SUBNET,
        Kind::Port => PORT,
        Kind::SecurityGroup => GROUP,
        Kind::SecurityGroupRule => RULE,
        Kind::AddressGroup => ADDRESS_GROUP,
        Kind::Router => ROUTER,
        Kind::FloatingIp => FLOATING_IP,
        Kind::Trunk => TRUNK,
        Kind::SubnetPool => SUBNET_POOL,
    };
    own.iter().chain(COMMON)
}

/// A new object of what a POST sets.
///
/// # Errors
/// What Neutron says: to an attribute that the kind does not have, or that somebody else only may set, to a value that it
/// cannot have, to one that is missing.
pub(super) fn create(kind: Kind, asked: &Object, caller: &Caller) -> Result<Object> {
    known(kind, asked)?;
    let mut object = Object::new();
    for (name, _, forms, unset, _) in of(kind) {
        if forms & POST == 0 {
            if asked.contains_key(*name) {
                return Err(Fault::bad_request(format!("Attribute '{name}' not allowed in POST")));
            }
            continue;
        }
        let value = match (asked.get(*name), unset) {
            (Some(value), _) => value.clone(),
            (None, Unset::Required) => {
                let message = format!("Failed to parse request. Required attribute '{name}' not specified");
                return Err(Fault::bad_request(message));
            }
            (None, Unset::Absent) => continue,
            (None, Unset::Null) => Value::Null,
            (None, Unset::Empty) => json!(""),
            (None, Unset::True) => json!(true),
            (None, Unset::False) => json!(false),
            (None, Unset::List) => json!([]),
            (None, Unset::Text(text)) => json!(text),
        };
        object.insert((*name).to_owned(), value);
    }
    checked(kind, &mut object)?;
    allowed(kind, asked, &object, caller, "create")?;
    Ok(object)
}

/// What a PUT changes, checked.
///
/// # Errors
/// As [`create`], and to an attribute that cannot be changed.
pub(super) fn update(kind: Kind, asked: &Object) -> Result<Object> {
    known(kind, asked)?;
    for name in asked.keys() {
        if of(kind).any(|a| a.0 == name && a.2 & PUT == 0) {
            return Err(Fault::bad_request(format!("Cannot update read-only attribute {name}")));
        }
    }
    let mut changes = asked.clone();
    checked(kind, &mut changes)?;
    Ok(changes)
}

/// Refuses what the caller may not change.
pub(super) fn may_change(kind: Kind, changes: &Object, caller: &Caller) -> Result<()> {
    allowed(kind, changes, changes, caller, "update")
}

fn checked(kind: Kind, object: &mut Object) -> Result<()> {
    for (name, check, ..) in of(kind) {
        if let Some(value) = object.get(*name) {
            let value = check.apply(name, value)?;
            object.insert((*name).to_owned(), value);
        }
    }
    Ok(())
}

fn known(kind: Kind, asked: &Object) -> Result<()> {
    let odd: Vec<&str> =
        asked.keys().map(String::as_str).filter(|name| !of(kind).any(|a| a.0 == *name)).collect();
    match odd.is_empty() {
        true => Ok(()),
        false => Err(Fault::bad_request(format!("Unrecognized attribute(s) '{}'", odd.join(", ")))),
    }
}

fn allowed(kind: Kind, asked: &Object, object: &Object, caller: &Caller, verb: &str) -> Result<()> {
    if caller.admin {
        return Ok(());
    }
    let (mut rule, mut refused) = (format!("rule:{verb}_{}", kind.singular()), false);
    let own = rule.clone();
    for (name, _, _, unset, who) in of(kind) {
        // A POST that sets what it is anyway asks for nothing.
        let default = match unset {
            Unset::False => object.get(*name) == Some(&json!(false)),
            Unset::True => object.get(*name) == Some(&json!(true)),
            _ => false,
        };
        let asked = asked.contains_key(*name) && !(default && verb == "create");
        if !asked || matches!(who, Who::Anybody) {
            continue;
        }
        refused |= match who {
            Who::Anybody | Who::Owner => false,
            Who::Admin => true,
            Who::Service => !caller.service,
        };
        // As oslo.policy prints a rule that is built up attribute by attribute.
        rule = format!("({rule} and {own}:{name})");
    }
    if refused { Err(Fault::forbidden(rule)) } else { Ok(()) }
}

/// Whether lists of a kind may be filtered and sorted by an attribute.
pub(super) fn is_filter(kind: Kind, name: &str) -> bool {
    of(kind).any(|a| a.0 == name)
        || matches!(name, "shared" | "tags-any" | "not-tags" | "not-tags-any" | "status")
        || (kind == Kind::Port && name == "ip_allocation")
}
