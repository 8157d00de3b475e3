//! Manifest, entries and reports.

use super::setters;
use crate::records::load_balancing::{
    Certificate, L7Policy, Listener, ListenerCertificate, LoadBalancer, Pool,
};
use crate::records::networking::{
    AddressGroup, FloatingIp, FloatingIpAssociation, Network, Port, RouterInterface, SecurityGroup, Subnet,
    Vif,
};
use crate::records::types::{
    Creation, Desired, Manifest, Projection, Property, Removal, Resource, SharedList, SubjectReport,
};
use crate::records::values::{Kind, Reference};

impl Manifest {
    /// The manifest of a module that maps and reads nothing yet. `name`: a DNS label; `version`: semver.
    pub fn new(name: &str, version: &str, description: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            description: description.into(),
            maps: Vec::new(),
            refines: Vec::new(),
            reads: Vec::new(),
            config_schema: None,
            reports: false,
        }
    }

    /// Maps objects of this kind, and needs these fields of them.
    #[must_use]
    pub fn maps<'a>(mut self, kind: Kind, fields: impl IntoIterator<Item = &'a str>) -> Self {
        self.maps.push(projection(kind, fields));
        self
    }

    /// Refines the mappings of this kind, and needs these fields of the objects.
    #[must_use]
    pub fn refines<'a>(mut self, kind: Kind, fields: impl IntoIterator<Item = &'a str>) -> Self {
        self.refines.push(projection(kind, fields));
        self
    }

    /// May read objects of this kind, and needs these fields of them.
    #[must_use]
    pub fn reads<'a>(mut self, kind: Kind, fields: impl IntoIterator<Item = &'a str>) -> Self {
        self.reads.push(projection(kind, fields));
        self
    }

    /// Lists objects of this kind by the values of these fields ([`crate::snapshot::list_by`]).
    #[must_use]
    pub fn lists_by<'a>(mut self, kind: Kind, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let list_by = fields.into_iter().map(Into::into).collect();
        self.reads.push(Projection { list_by, ..projection(kind, []) });
        self
    }

    /// Has [`crate::Mapper::report`].
    #[must_use]
    pub fn reporting(mut self) -> Self {
        self.reports = true;
        self
    }
}
setters!(Manifest { option config_schema: String; });

fn projection<'a>(kind: Kind, fields: impl IntoIterator<Item = &'a str>) -> Projection {
    Projection { kind, fields: fields.into_iter().map(Into::into).collect(), list_by: Vec::new() }
}

/// What can be an entry: the record of any kind of resource.
pub trait IntoDesired: Into<Resource> {
    /// The entry of this name, with all defaults. A DNS label, unique in the list and stable over time.
    fn named(self, name: &str) -> Desired {
        Desired {
            name: name.into(),
            resource: self.into(),
            after: Vec::new(),
            on_removal: Removal::Delete,
            create: Creation::Always,
            display_name: None,
            description: None,
            project: None,
            tags: Vec::new(),
        }
    }
}
impl<T: Into<Resource>> IntoDesired for T {}

macro_rules! resources {
    ($($kind:ident)*) => {$(
        impl From<$kind> for Resource {
            fn from(record: $kind) -> Self {
                Self::$kind(record)
            }
        }
    )*};
}
resources!(
    Network Subnet RouterInterface SecurityGroup AddressGroup Port Vif FloatingIp FloatingIpAssociation
    LoadBalancer Listener Pool L7Policy Certificate ListenerCertificate
);

setters!(Desired {
    option display_name: String;
    option description: String;
    option project: String;
    list after as made_after: Reference;
    list tags as tag: String;
});

impl Desired {
    /// It stays in the cloud when the entry goes.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.on_removal = Removal::Retain;
        self
    }

    /// It is made when the first other mapping refers to it.
    #[must_use]
    pub fn when_referenced(mut self) -> Self {
        self.create = Creation::WhenReferenced;
        self
    }
}

impl SubjectReport {
    /// A report of this status (JSON), or of none.
    pub fn new(status: Option<String>) -> Self {
        Self { status, shared_lists: Vec::new(), annotations: Vec::new() }
    }

    /// The elements of the status's list at `path` whose `field` is `value` are the module's, and all others somebody else's, which
    /// stay: `status.ingress` of a Route, where each router has its element.
    #[must_use]
    pub fn shared_list(mut self, path: &str, field: &str, value: &str) -> Self {
        self.shared_lists.push(SharedList { path: path.into(), field: field.into(), value: value.into() });
        self
    }

    /// One more annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.push(Property { name: name.into(), value: value.into() });
        self
    }
}
