//! CloudMapping: what was mapped for one subject, and the write-ahead record of everything that we made in the cloud.

use std::collections::BTreeSet;

use isthmus_model::condition::{ATTACHED, READY};
use isthmus_model::kinds::Kind;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_model::record::{Recorded, RecordedReference};
use isthmus_model::value::Reference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{is_true, schema};

/// Which object is mapped.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "isthmus.dev",
    version = "v1alpha1",
    kind = "CloudMapping",
    namespaced,
    status = "CloudMappingStatus",
    derive = "PartialEq",
    shortname = "cmap",
    category = "isthmus",
    doc = "What one Kubernetes object was mapped to: the module that did it, and every cloud resource that was made for it. Written by Isthmus alone; it goes when its subject is gone and its cloud resources are deleted.",
    printcolumn(
        name = "Subject",
        type_ = "string",
        json_path = ".status.subject",
        description = "Kind and name of the mapped object"
    ),
    printcolumn(
        name = "Module",
        type_ = "string",
        json_path = ".status.module.name",
        description = "Module that mapped it"
    ),
    printcolumn(
        name = "Resources",
        type_ = "integer",
        json_path = ".status.resourceCount",
        description = "Number of cloud resources"
    ),
    printcolumn(
        name = "IPs",
        type_ = "string",
        json_path = ".status.ips",
        description = "Addresses of its interfaces"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.node",
        description = "Node that its interfaces are bound on"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether everything desired exists and is ready"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is or is not ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CloudMappingSpec {
    /// The mapped object, of one life: an object made again under the old name is another subject.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "a CloudMapping is of one subject for ever"}
    ]))]
    pub subject: SubjectRef,
}

/// One object of one life.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectRef {
    /// API version, as `v1` or `apps/v1`.
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    /// Kind in CamelCase, as `Pod`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace; absent when the kind is cluster-scoped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `metadata.uid` of the object.
    #[schemars(length(min = 1, max = 128))]
    pub uid: String,
}

impl SubjectRef {
    /// The subject in the core's terms.
    pub fn subject(&self) -> Subject {
        let gvk = Gvk::from_api_version(&self.api_version, &self.kind);
        Subject {
            key: ObjectKey::new(gvk, self.namespace.as_deref(), &self.name),
            uid: self.uid.as_str().into(),
        }
    }
}

impl From<&Subject> for SubjectRef {
    fn from(subject: &Subject) -> Self {
        Self {
            api_version: subject.key.kind.api_version(),
            kind: subject.key.kind.kind.clone(),
            namespace: subject.key.namespace.as_deref().map(Into::into),
            name: subject.key.name.to_string(),
            uid: subject.uid.to_string(),
        }
    }
}

/// What was mapped and what became of it.
///
/// Its fields are written even when they are empty: the status is sent as a JSON merge patch (RFC 7396), in which an
/// absent field would keep its old value.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudMappingStatus {
    /// Generation of the spec that this status is of.
    pub observed_generation: Option<i64>,
    /// Kind and name of the subject in one text, for the list.
    pub subject: Option<String>,
    /// The module version that made the list.
    pub module: Option<ModuleVersion>,
    /// The refiners that changed the list, in their order.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub refiners: Vec<ModuleVersion>,
    /// Hash of the subject, the config and the versions that made what is recorded; what was read besides is not in it. Not
    /// written anew where nothing else changes with it.
    pub input_hash: Option<String>,
    /// Hash of the list that came out.
    pub output_hash: Option<String>,
    /// What had changed when this was written last, for people: an object that was read, or a module's version.
    pub last_change: Option<String>,
    /// Node that the VIFs are bound on.
    pub node: Option<String>,
    /// Addresses of the VIFs without prefix length, joined by commas, for the list.
    pub ips: Option<String>,
    /// Number of entries in `resources`.
    pub resource_count: Option<i32>,
    /// Every cloud resource that was made, is being made or is being deleted for the subject.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub resources: Vec<ResourceStatus>,
    /// The interfaces of a Pod, as the node agent needs them.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["interface"]))]
    pub vifs: Vec<VifStatus>,
    /// Ready, Mapped and Realized, written by the operator; Attached, written by the node agent.
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl CloudMappingStatus {
    /// Whether the node's agent says that the VIFs are plugged into their Pod.
    pub fn is_attached(&self) -> bool {
        is_true(&self.conditions, ATTACHED)
    }
}

impl CloudMapping {
    /// Whether all that its subject is mapped to is there.
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().is_some_and(|status| is_true(&status.conditions, READY))
    }
}

/// A module at one version.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleVersion {
    /// Name of its PolicyModule.
    pub name: String,
    /// Version that the module says it has.
    pub version: String,
    /// SHA-256 of the module, in hex.
    pub digest: String,
}

/// How far a recorded resource is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceState {
    /// Wanted, and not made or not yet usable.
    Pending,
    /// Made, as wanted, usable.
    Ready,
    /// The cloud refused it or reports it as broken; the message says why.
    Failed,
    /// No longer wanted, and not yet gone.
    Deleting,
}

/// One recorded cloud resource.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Local name: unique in the mapping and stable over time.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What it is, as `port` or `load-balancer`.
    #[schemars(with = "String", regex(pattern = r"^[a-z][a-z0-9-]{0,62}$"))]
    pub kind: Kind,
    /// Its id in the cloud; absent before it is made, and for kinds that are only recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far it is.
    pub state: ResourceState,
    /// Hash of what was applied last; empty before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Names of the fields that were applied: one that the module sets no longer is cleared.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "Vec<String>", extend("x-kubernetes-list-type" = "set"))]
    pub fields: BTreeSet<String>,
    /// Id of the project that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What it was made with: deletion looks here, not at the module.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ResourceReference>,
    /// Its addresses, without prefix length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Why it is in its state, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A create was sent and its answer lost: looked for by its mark before any retry.
    #[serde(default, skip_serializing_if = "is_false")]
    pub created_unknown: bool,
    /// It stays in the cloud when its entry goes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retained: bool,
}

impl ResourceStatus {
    /// What the planner needs of it.
    ///
    /// # Errors
    /// A reference that is none of the three kinds of reference.
    pub fn recorded(&self) -> Result<Recorded, ReferenceError> {
        Ok(Recorded {
            kind: self.kind,
            id: self.id.clone(),
            hash: self.hash.clone(),
            fields: self.fields.clone(),
            references: self.references.iter().map(RecordedReference::try_from).collect::<Result<_, _>>()?,
            retain: self.retained,
        })
    }
}

/// A resource that another was made with: `entry` alone is one of the same mapping, `entry` with `subject` one of another
/// object's mapping, `existing` somebody else's.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.entry) != has(self.existing)", "message": "exactly one of entry and existing"},
    {"rule": "!has(self.subject) || has(self.entry)", "message": "a subject needs an entry"}
]))]
pub struct ResourceReference {
    /// Local name of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Whose entry, where it is another object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<ReferredSubject>,
    /// Id or unique name of a resource that is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<String>,
    /// The id that it stood for.
    pub id: String,
}

/// An object that is referred to by name, in whatever life.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferredSubject {
    /// API version, as `v1` or `apps/v1`.
    pub api_version: String,
    /// Kind in CamelCase.
    pub kind: String,
    /// Namespace; absent when the kind is cluster-scoped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// A recorded reference that is none of the three kinds of reference.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a recorded reference to {id} has neither an entry nor an existing resource alone")]
pub struct ReferenceError {
    /// The id that it stood for.
    pub id: String,
}

impl From<&RecordedReference> for ResourceReference {
    fn from(recorded: &RecordedReference) -> Self {
        let id = recorded.id.clone();
        match &recorded.reference {
            Reference::Local(name) => Self { entry: Some(name.clone()), subject: None, existing: None, id },
            Reference::Mapped { subject, name } => {
                let subject = ReferredSubject {
                    api_version: subject.kind.api_version(),
                    kind: subject.kind.kind.clone(),
                    namespace: subject.namespace.as_deref().map(Into::into),
                    name: subject.name.to_string(),
                };
                Self { entry: Some(name.clone()), subject: Some(subject), existing: None, id }
            }
            Reference::Existing(name) => {
                Self { entry: None, subject: None, existing: Some(name.clone()), id }
            }
        }
    }
}

impl TryFrom<&ResourceReference> for RecordedReference {
    type Error = ReferenceError;

    fn try_from(stored: &ResourceReference) -> Result<Self, ReferenceError> {
        let reference = match (&stored.entry, &stored.subject, &stored.existing) {
            (Some(name), None, None) => Reference::Local(name.clone()),
            (Some(name), Some(of), None) => Reference::Mapped {
                subject: ObjectKey::new(
                    Gvk::from_api_version(&of.api_version, &of.kind),
                    of.namespace.as_deref(),
                    &of.name,
                ),
                name: name.clone(),
            },
            (None, None, Some(name)) => Reference::Existing(name.clone()),
            _ => return Err(ReferenceError { id: stored.id.clone() }),
        };
        Ok(Self { reference, id: stored.id.clone() })
    }
}

/// One interface of a Pod.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VifStatus {
    /// Name in the pod, as `eth0`. At most 15 characters (`IFNAMSIZ`).
    #[schemars(length(min = 1, max = 15))]
    pub interface: String,
    /// Local name of its port.
    pub port: String,
    /// Id of its port.
    pub port_id: String,
    /// MAC address.
    pub mac_address: String,
    /// Addresses with prefix length, as `10.100.0.5/16`.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Gateways of its subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// MTU of its network, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65536))]
    pub mtu: Option<i32>,
    /// Id of its network.
    pub network: String,
    /// Whether the pod's default route goes through it.
    #[serde(default)]
    pub default_route: bool,
    /// Routes through it beside the default one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// How the node binds it (`ovs`, `bridge`, `vlan`, ...); absent: the node's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// PCI address or resource of a device plugin, for the binding `sriov`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// VLAN id: for the binding `vlan` that of its port on the node's trunk (Neutron's `segmentation_id` of the subport), for `sriov`
    /// that of its network (`vlan` of `binding:vif_details`); absent: there is none, or not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub segmentation_id: Option<i32>,
    /// Neutron's `binding:vnic_type`; absent: `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnic_type: Option<String>,
    /// Whether its port's `binding:profile` says `trusted`, for the binding `sriov`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trusted: bool,
    /// Whether its port has no port security, for the binding `sriov`: it may send with any address.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unprotected: bool,
}

/// A route.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// CIDR.
    pub destination: String,
    /// Address of the next hop.
    pub next_hop: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}
