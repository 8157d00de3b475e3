//! References and addresses.

use super::setters;
use crate::records::values::{
    Address, AddressSet, IpVersion, Kind, MappedReference, NamedPort, ObjectKey, Reference, ResourceAddress,
    Selection,
};

/// The entry of this name in the same list.
pub fn local(name: &str) -> Reference {
    Reference::Local(name.into())
}

/// Somebody else's resource, by id or by a unique name.
pub fn existing(id_or_name: &str) -> Reference {
    Reference::Existing(id_or_name.into())
}

/// The entry `name` of another subject's mapping.
pub fn mapped(subject: ObjectKey, name: &str) -> Reference {
    Reference::Mapped(MappedReference { subject, name: name.into() })
}

/// The address of a resource, filled in by the host.
pub fn address_of(of: Reference, ip_version: IpVersion) -> ResourceAddress {
    ResourceAddress { of, ip_version }
}

impl From<ResourceAddress> for Address {
    fn from(of: ResourceAddress) -> Self {
        Self::AddressOf(of)
    }
}
impl From<ResourceAddress> for AddressSet {
    fn from(of: ResourceAddress) -> Self {
        Self::AddressOf(of)
    }
}
impl From<Selection> for AddressSet {
    fn from(selection: Selection) -> Self {
        Self::AddressesOf(selection)
    }
}
impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self::Literal(text.into())
    }
}
impl From<&str> for AddressSet {
    fn from(text: &str) -> Self {
        Self::Literal(text.into())
    }
}

impl Selection {
    /// Objects of this kind in the subject's own namespace, with labels that this selector (as kubectl takes it; "" for all)
    /// chooses.
    pub fn new(kind: Kind, selector: &str) -> Self {
        Self {
            kind,
            namespaces: None,
            selector: selector.into(),
            vif: None,
            ip_version: None,
            named_port: None,
        }
    }
}
setters!(Selection {
    option namespaces: String;
    option vif: String;
    option ip_version: IpVersion;
    option named_port: NamedPort;
});

impl NamedPort {
    /// The number that a name stands for. `protocol`: `TCP`, `UDP` or `SCTP`.
    pub fn new(name: &str, protocol: &str, port: u16) -> Self {
        Self { name: name.into(), protocol: protocol.into(), port }
    }
}

impl Kind {
    /// A kind by group ("" for core), version and kind.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// A kind of the core group, version `v1`.
    pub fn core(kind: &str) -> Self {
        Self::new("", "v1", kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_of_the_own_namespace_unless_it_says_otherwise() {
        let own = Selection::new(Kind::core("Pod"), "app=web");
        assert_eq!((own.namespaces.as_deref(), own.selector.as_str()), (None, "app=web"));
        assert!(own.vif.is_none() && own.ip_version.is_none() && own.named_port.is_none());
        let port = NamedPort::new("http", "TCP", 8080);
        let set = AddressSet::from(own.clone().namespaces("").named_port(port.clone()));
        let expected = Selection { namespaces: Some(String::new()), named_port: Some(port), ..own };
        assert_eq!(set, AddressSet::AddressesOf(expected));
    }
}
