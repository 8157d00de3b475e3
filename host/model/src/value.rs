//! Values of desired fields: plain ones, references to resources, and addresses that only the cloud knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{Gvk, ObjectKey};

/// Fields of a desired resource by name. A field that the module left out is not here, and is left to the cloud.
pub type Fields = BTreeMap<String, Value>;

/// One value. As JSON, a reference is an object with one key that begins with `$`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A flag.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text.
    Text(String),
    /// A list, or a set where [`crate::kinds::Compare`] says so.
    List(Vec<Value>),
    /// A record.
    Map(Fields),
    /// The id of another resource.
    Ref(Reference),
    /// Addresses that the host fills in.
    Late(AddressSource),
}

impl Value {
    /// Calls `see` for every set that is named in here.
    pub fn selections<'a>(&'a self, see: &mut impl FnMut(&'a Selection)) {
        match self {
            Self::List(items) => items.iter().for_each(|v| v.selections(see)),
            Self::Map(fields) => fields.values().for_each(|v| v.selections(see)),
            Self::Late(AddressSource::AddressesOf(selection)) => see(selection),
            Self::Late(_) | Self::Ref(_) | Self::Bool(_) | Self::Int(_) | Self::Text(_) => {}
        }
    }

    /// Calls `see` for every reference in here, late ones too, with the name of the nearest field around it: the kind of an
    /// existing resource is told by the field that refers to it. `field` is the name of the field that this value is of.
    pub fn references<'a>(&'a self, field: &'a str, see: &mut impl FnMut(&'a str, &'a Reference)) {
        match self {
            Self::List(items) => items.iter().for_each(|v| v.references(field, see)),
            Self::Map(fields) => fields.iter().for_each(|(name, v)| v.references(name, see)),
            Self::Ref(reference) => see(field, reference),
            Self::Late(source) => source.reference().into_iter().for_each(|(field, of)| see(field, of)),
            Self::Bool(_) | Self::Int(_) | Self::Text(_) => {}
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
impl From<Reference> for Value {
    fn from(reference: Reference) -> Self {
        Self::Ref(reference)
    }
}
macro_rules! from_int {
    ($($int:ty)*) => {$(
        impl From<$int> for Value {
            fn from(number: $int) -> Self {
                Self::Int(number.into())
            }
        }
    )*};
}
from_int!(u8 u16 u32 i64);
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// Another resource, never by an id of ours: the host knows the ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reference {
    /// The entry of this name in the same list.
    #[serde(rename = "$local")]
    Local(String),
    /// An entry of another subject's mapping: orders creation, and holds back its deletion while it is used.
    #[serde(rename = "$mapped")]
    Mapped {
        /// Whose mapping.
        subject: ObjectKey,
        /// Local name of the entry there.
        name: String,
    },
    /// Somebody else's, by id or by unique name: never created, changed or deleted by us.
    #[serde(rename = "$existing")]
    Existing(String),
}

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where addresses come from that the module cannot know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AddressSource {
    /// The address of a port, load balancer or floating IP.
    #[serde(rename = "$addressOf")]
    AddressOf {
        /// Of which resource.
        of: Reference,
        /// Which of its addresses.
        version: IpVersion,
    },
    /// The CIDR of a subnet.
    #[serde(rename = "$cidrOf")]
    CidrOf(Reference),
    /// The addresses from which a load balancer speaks to its members.
    #[serde(rename = "$sourcesOf")]
    SourcesOf(Reference),
    /// The addresses of all mapped objects that selectors choose, kept by the host from its label index.
    #[serde(rename = "$addressesOf")]
    AddressesOf(Selection),
}

impl AddressSource {
    /// The resource that the addresses are of, with the field that would refer to one of its kind.
    pub fn reference(&self) -> Option<(&'static str, &Reference)> {
        match self {
            Self::AddressOf { of, .. } => Some(("port", of)),
            Self::CidrOf(of) => Some(("subnet", of)),
            Self::SourcesOf(of) => Some(("load_balancer", of)),
            Self::AddressesOf(_) => None,
        }
    }
}

/// A set that is named, not listed (the contract's `selection`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Kind of the objects.
    pub kind: Gvk,
    /// Selector on the labels of their namespaces; `None`: the subject's own namespace only.
    pub namespaces: Option<String>,
    /// Selector on their own labels.
    pub selector: String,
    /// Only this VIF; `None`: all.
    pub vif: Option<String>,
    /// Only this IP version; `None`: both.
    pub ip_version: Option<IpVersion>,
    /// Only objects with a container port of this name, protocol and number.
    pub named_port: Option<(String, String, u16)>,
}
