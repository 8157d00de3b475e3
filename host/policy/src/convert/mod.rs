//! From the contract's records to the model's entries.
//!
//! One rule for all kinds: a field keeps its name (with `_` for `-`); `none` is left out; a list is always there; a record is a
//! map; a case of an enum is its name as text; a case of a variant is a map of one key, its name, with `true` where the case holds
//! nothing. References and addresses are those of [`isthmus_model::value`].

mod load_balancing;
mod networking;
mod values;

use isthmus_model::desired::{Creation, Entry, Removal};
use isthmus_model::kinds::Kind;
use isthmus_model::value::{Fields, Value};

use crate::bindings::isthmus::mapping::types;

/// One entry.
pub(crate) fn entry(desired: types::Desired) -> Entry {
    let (kind, fields) = resource(desired.resource);
    Entry {
        name: desired.name,
        kind,
        fields,
        after: desired.after.into_iter().map(values::reference).collect(),
        on_removal: match desired.on_removal {
            types::Removal::Delete => Removal::Delete,
            types::Removal::Retain => Removal::Retain,
        },
        create: match desired.create {
            types::Creation::Always => Creation::Always,
            types::Creation::WhenReferenced => Creation::WhenReferenced,
        },
        display_name: desired.display_name,
        description: desired.description,
        project: desired.project,
        tags: desired.tags.into_iter().collect(),
    }
}

fn resource(resource: types::Resource) -> (Kind, Fields) {
    use types::Resource as R;
    match resource {
        R::Network(r) => (Kind::Network, r.into()),
        R::Subnet(r) => (Kind::Subnet, r.into()),
        R::RouterInterface(r) => (Kind::RouterInterface, r.into()),
        R::SecurityGroup(r) => (Kind::SecurityGroup, r.into()),
        R::AddressGroup(r) => (Kind::AddressGroup, r.into()),
        R::Port(r) => (Kind::Port, r.into()),
        R::Vif(r) => (Kind::Vif, r.into()),
        R::FloatingIp(r) => (Kind::FloatingIp, r.into()),
        R::FloatingIpAssociation(r) => (Kind::FloatingIpAssociation, r.into()),
        R::LoadBalancer(r) => (Kind::LoadBalancer, r.into()),
        R::Listener(r) => (Kind::Listener, r.into()),
        R::Pool(r) => (Kind::Pool, r.into()),
        R::L7Policy(r) => (Kind::L7Policy, r.into()),
        R::Certificate(r) => (Kind::Certificate, r.into()),
        R::ListenerCertificate(r) => (Kind::ListenerCertificate, r.into()),
    }
}

/// Fields being gathered.
#[derive(Default)]
struct Record(Fields);

impl Record {
    fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    fn option(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }
}

/// A case of a variant.
fn case(name: &str, value: impl Into<Value>) -> Value {
    Value::Map(Record::default().set(name, value).0)
}

/// Records whose fields are listed: `set` where there is always a value, `option` where there may be none.
macro_rules! record {
    ($record:ty { $(set $set:ident $(as $set_name:literal)?,)* ; $(option $option:ident,)* }) => {
        impl From<$record> for isthmus_model::value::Fields {
            fn from(record: $record) -> Self {
                super::Record::default()
                    $(.set(super::record!(@name $set $($set_name)?), record.$set))*
                    $(.option(stringify!($option), record.$option))*
                    .0
            }
        }
        impl From<$record> for isthmus_model::value::Value {
            fn from(record: $record) -> Self {
                Self::Map(record.into())
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}
use record;

/// Enums whose cases are text.
macro_rules! names {
    ($enum:ty { $($case:ident = $name:literal,)* }) => {
        impl From<$enum> for isthmus_model::value::Value {
            fn from(value: $enum) -> Self {
                Self::Text(match value { $(<$enum>::$case => $name,)* }.into())
            }
        }
    };
}
use names;

#[cfg(test)]
mod tests;
