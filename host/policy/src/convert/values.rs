//! References, addresses and sets of them.

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::value::{AddressSource, IpVersion, Reference, Selection, Value};

use crate::bindings::isthmus::mapping::values as wit;

pub(super) fn reference(reference: wit::Reference) -> Reference {
    match reference {
        wit::Reference::Local(name) => Reference::Local(name),
        wit::Reference::Mapped(of) => Reference::Mapped { subject: key(&of.subject), name: of.name },
        wit::Reference::Existing(id) => Reference::Existing(id),
    }
}

pub(super) fn key(key: &wit::ObjectKey) -> ObjectKey {
    ObjectKey::new(kind(&key.kind), key.namespace.as_deref(), &key.name)
}

fn kind(kind: &wit::Kind) -> Gvk {
    Gvk::new(&kind.group, &kind.version, &kind.kind)
}

fn version(version: wit::IpVersion) -> IpVersion {
    match version {
        wit::IpVersion::V4 => IpVersion::V4,
        wit::IpVersion::V6 => IpVersion::V6,
    }
}

fn address_of(of: wit::ResourceAddress) -> Value {
    Value::Late(AddressSource::AddressOf { of: reference(of.of), version: version(of.ip_version) })
}

impl From<wit::Reference> for Value {
    fn from(value: wit::Reference) -> Self {
        Self::Ref(reference(value))
    }
}

super::names!(wit::IpVersion { V4 = "v4", V6 = "v6", });

impl From<wit::Address> for Value {
    fn from(value: wit::Address) -> Self {
        match value {
            wit::Address::Literal(text) => Self::Text(text),
            wit::Address::AddressOf(of) => address_of(of),
        }
    }
}

impl From<wit::AddressSet> for Value {
    fn from(value: wit::AddressSet) -> Self {
        Self::Late(match value {
            wit::AddressSet::Literal(text) => return Self::Text(text),
            wit::AddressSet::AddressOf(of) => return address_of(of),
            wit::AddressSet::CidrOf(subnet) => AddressSource::CidrOf(reference(subnet)),
            wit::AddressSet::SourcesOf(balancer) => AddressSource::SourcesOf(reference(balancer)),
            wit::AddressSet::AddressesOf(set) => AddressSource::AddressesOf(selection(set)),
        })
    }
}

fn selection(set: wit::Selection) -> Selection {
    Selection {
        kind: kind(&set.kind),
        namespaces: set.namespaces,
        selector: set.selector,
        vif: set.vif,
        ip_version: set.ip_version.map(version),
        named_port: set.named_port.map(|port| (port.name, port.protocol, port.port)),
    }
}

/// A Kubernetes object as a value: text, since nothing in the cloud refers to one.
impl From<wit::ObjectKey> for Value {
    fn from(value: wit::ObjectKey) -> Self {
        super::Record::default()
            .set("group", value.kind.group)
            .set("version", value.kind.version)
            .set("kind", value.kind.kind)
            .option("namespace", value.namespace)
            .set("name", value.name)
            .into()
    }
}

impl From<super::Record> for Value {
    fn from(record: super::Record) -> Self {
        Self::Map(record.0)
    }
}
