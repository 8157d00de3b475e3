//! Which attributes a kind has, as Neutron's own attribute maps say (`neutron_lib.api.definitions`): what a request may
//! set, what it may change, and what it is without being set.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Object};

/// What an attribute holds.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Text,
    Bool,
    Number,
    List,
    Map,
}

/// Where the value of an attribute comes from that a request does not set.
#[derive(Clone, Copy, Debug)]
enum Unset {
    /// A request must set it.
    Required,
    /// Null; the kind's own code may replace it.
    Null,
    Empty,
    True,
    False,
    Text(&'static str),
}

/// Name, shape, whether a PUT may change it, and its value where a POST does not set it.
type Attribute = (&'static str, Shape, bool, Unset);

/// Attributes that a request may set, `tags` aside, of every kind but rules.
const COMMON: &[Attribute] =
    &[("description", Shape::Text, true, Unset::Empty), ("project_id", Shape::Text, false, Unset::Null)];

const NETWORK: &[Attribute] = &[
    ("name", Shape::Text, true, Unset::Empty),
    ("admin_state_up", Shape::Bool, true, Unset::True),
    ("mtu", Shape::Number, true, Unset::Null),
    ("port_security_enabled", Shape::Bool, true, Unset::True),
    ("shared", Shape::Bool, false, Unset::False),
];

const SUBNET: &[Attribute] = &[
    ("name", Shape::Text, true, Unset::Empty),
    ("network_id", Shape::Text, false, Unset::Required),
    ("ip_version", Shape::Number, false, Unset::Required),
    ("cidr", Shape::Text, false, Unset::Required),
    ("gateway_ip", Shape::Text, true, Unset::Null),
    ("enable_dhcp", Shape::Bool, true, Unset::True),
    ("allocation_pools", Shape::List, false, Unset::Null),
    ("dns_nameservers", Shape::List, true, Unset::Empty),
    ("host_routes", Shape::List, true, Unset::Empty),
];

const PORT: &[Attribute] = &[
    ("name", Shape::Text, true, Unset::Empty),
    ("network_id", Shape::Text, false, Unset::Required),
    ("admin_state_up", Shape::Bool, true, Unset::True),
    ("mac_address", Shape::Text, false, Unset::Null),
    ("fixed_ips", Shape::List, true, Unset::Null),
    ("security_groups", Shape::List, true, Unset::Null),
    ("allowed_address_pairs", Shape::List, true, Unset::Empty),
    ("port_security_enabled", Shape::Bool, true, Unset::True),
    ("binding:host_id", Shape::Text, true, Unset::Empty),
    ("binding:vnic_type", Shape::Text, true, Unset::Text("normal")),
    ("binding:profile", Shape::Map, true, Unset::Empty),
    ("device_id", Shape::Text, true, Unset::Empty),
    ("device_owner", Shape::Text, true, Unset::Empty),
];

const GROUP: &[Attribute] =
    &[("name", Shape::Text, true, Unset::Required), ("stateful", Shape::Bool, true, Unset::True)];

const RULE: &[Attribute] = &[
    ("security_group_id", Shape::Text, false, Unset::Required),
    ("direction", Shape::Text, false, Unset::Required),
    ("ethertype", Shape::Text, false, Unset::Text("IPv4")),
    ("protocol", Shape::Text, false, Unset::Null),
    ("port_range_min", Shape::Number, false, Unset::Null),
    ("port_range_max", Shape::Number, false, Unset::Null),
    ("remote_ip_prefix", Shape::Text, false, Unset::Null),
    ("remote_group_id", Shape::Text, false, Unset::Null),
];

fn of(kind: Kind) -> impl Iterator<Item = &'static Attribute> {
    let own = match kind {
        Kind::Network => NETWORK,
        Kind::Subnet => SUBNET,
        Kind::Port => PORT,
        Kind::SecurityGroup => GROUP,
        Kind::SecurityGroupRule => RULE,
    };
    COMMON.iter().chain(own)
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Bool => value.is_boolean(),
            Self::Number => value.is_u64(),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }

    fn empty(self) -> Value {
        match self {
            Self::List => json!([]),
            Self::Map => json!({}),
            Self::Text | Self::Bool | Self::Number => json!(""),
        }
    }
}

/// A new object of what a POST sets.
///
/// # Errors
/// 400, with what Neutron says: an attribute that the kind does not have, a value of another shape, one that is missing.
pub(super) fn create(kind: Kind, asked: &Object) -> Result<Object> {
    let mut object = Object::new();
    for (name, shape, _, unset) in of(kind) {
        let value = match (asked.get(*name), unset) {
            (None, Unset::Required) => {
                let message = format!("Failed to parse request. Required attribute '{name}' not specified");
                return Err(Fault::bad_request(message));
            }
            (None, Unset::Null) => Value::Null,
            (None, Unset::Empty) => shape.empty(),
            (None, Unset::True) => json!(true),
            (None, Unset::False) => json!(false),
            (None, Unset::Text(text)) => json!(text),
            (Some(value), _) => fitting(name, *shape, *unset, value)?,
        };
        object.insert((*name).to_owned(), value);
    }
    known(kind, asked, |_| true)?;
    Ok(object)
}

/// What a PUT changes, checked.
///
/// # Errors
/// 400, as [`create`], and for an attribute that cannot be changed.
pub(super) fn update(kind: Kind, asked: &Object) -> Result<Object> {
    known(kind, asked, |attribute| attribute.2)?;
    let mut changes = Object::new();
    for (name, shape, _, unset) in of(kind) {
        if let Some(value) = asked.get(*name) {
            changes.insert((*name).to_owned(), fitting(name, *shape, *unset, value)?);
        }
    }
    Ok(changes)
}

fn fitting(name: &str, shape: Shape, unset: Unset, value: &Value) -> Result<Value> {
    let nullable = matches!(unset, Unset::Null);
    match shape.fits(value) || (nullable && value.is_null()) {
        true => Ok(value.clone()),
        false => Err(Fault::bad_request(format!("Invalid input for {name}. Reason: {value} is not valid."))),
    }
}

fn known(kind: Kind, asked: &Object, allowed: impl Fn(&Attribute) -> bool) -> Result<()> {
    for name in asked.keys().filter(|n| *n != "tags") {
        let attribute = of(kind).find(|a| a.0 == name);
        let attribute =
            attribute.ok_or_else(|| Fault::bad_request(format!("Unrecognized attribute(s) '{name}'")))?;
        if !allowed(attribute) {
            return Err(Fault::bad_request(format!("Cannot update read-only attribute {name}")));
        }
    }
    Ok(())
}
