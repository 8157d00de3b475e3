//! PolicyModule: loads a module, and says what it does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{is_true, schema};

/// SHA-256 of a module, in lower-case hex.
pub type Digest = String;

/// Where a module comes from and how it is run.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "isthmus.dev",
    version = "v1alpha1",
    kind = "PolicyModule",
    status = "PolicyModuleStatus",
    derive = "PartialEq",
    shortname = "pmod",
    category = "isthmus",
    doc = "A WebAssembly component that maps, or refines the mappings of, kinds of Kubernetes objects.",
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Version that is loaded"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".status.shortDigest",
        description = "Beginning of the SHA-256 of what is loaded"
    ),
    printcolumn(
        name = "Maps",
        type_ = "string",
        json_path = ".status.maps",
        description = "Kinds that it maps"
    ),
    printcolumn(
        name = "Refines",
        type_ = "string",
        json_path = ".status.refines",
        description = "Kinds whose mappings it refines",
        priority = 1
    ),
    printcolumn(
        name = "Loaded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Loaded\")].status",
        description = "Whether the source's version is the one that is loaded"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Loaded\")].reason",
        description = "Why it is or is not"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(validation = Rule::new("size(self.metadata.name) <= 63").message("the name is the value of a label: at most 63 characters"))]
#[serde(rename_all = "camelCase")]
pub struct PolicyModuleSpec {
    /// Where its bytes are.
    pub source: ModuleSource,
    /// SHA-256 that the module must have, in lower-case hex, of the plain (not gzipped) component. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<Digest>,
    /// Given to the module with every call, as JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::free_object")]
    pub config: Map<String, Value>,
    /// What one call may use.
    #[serde(default)]
    pub limits: Limits,
    /// Place among the refiners of a kind: smaller first, then by name.
    #[serde(default = "default_order")]
    #[schemars(range(min = 0, max = 10000))]
    pub order: i32,
    /// What happens to its subjects when a call fails.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// What a new version may do without being approved.
    #[serde(default)]
    pub rollout: Rollout,
    /// What happens to its mappings when it is deleted.
    #[serde(default)]
    pub on_delete: OnDelete,
    /// The PolicyModule that it takes its kinds over from. Without it, a kind that has a mapper keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub replaces: Option<String>,
}

fn default_order() -> i32 {
    100
}

/// The ConfigMaps that hold a module.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSource {
    /// ConfigMaps in the operator's namespace, in order: their parts are joined.
    #[schemars(length(min = 1, max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub config_maps: Vec<ConfigMapRef>,
    /// Key in `binaryData`. Absent: `module.wasm`, else the only one there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// A ConfigMap by name.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What one call of a module may use.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Wall time, in milliseconds.
    #[schemars(range(min = 1, max = 10000))]
    pub deadline_ms: i64,
    /// Linear memory, in MiB.
    #[serde(rename = "memoryMiB")]
    #[schemars(range(min = 1, max = 64))]
    pub memory_mib: i64,
    /// Elements of each table.
    #[schemars(range(min = 1, max = 20_000))]
    pub table_elements: i64,
    /// What comes out of a call, in KiB.
    #[serde(rename = "outputKiB")]
    #[schemars(range(min = 1, max = 16384))]
    pub output_kib: i64,
    /// Instructions, in wasmtime's fuel: the same input always uses the same. Absent: not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fuel: Option<i64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline_ms: 200, memory_mib: 64, table_elements: 20_000, output_kib: 4096, fuel: None }
    }
}

/// What happens to a subject whose call fails: it traps, passes a limit or breaks the contract. Whatever is chosen,
/// nothing that is recorded is changed or deleted for a failure.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// The last good version is called for it.
    #[default]
    KeepLastGood,
    /// Nothing new is mapped.
    FailClosed,
}

/// What happens to the mappings of a module that is deleted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDelete {
    /// They stay as they are until another module maps their kind.
    #[default]
    Retain,
    /// They are taken down.
    Unmap,
}

/// What a new version may do without being approved by the annotation `isthmus.dev/approve`, whose value is
/// the `status.pendingDigest` that waits.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Cloud resources that it may delete.
    #[schemars(range(min = 0))]
    pub max_deletes: i32,
    /// Cloud resources that it may replace by others.
    #[schemars(range(min = 0))]
    pub max_replaces: i32,
}

/// What is loaded and how it does. Its fields are written even when they are empty, as those of a CloudMapping.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyModuleStatus {
    /// Generation of the spec that this status is of.
    pub observed_generation: Option<i64>,
    /// Digest of what is loaded and called.
    pub digest: Option<Digest>,
    /// Its first 12 characters, for the list.
    pub short_digest: Option<String>,
    /// Version that it says it has.
    pub version: Option<String>,
    /// Version of the contract that this operator speaks, as `0.1.0`.
    pub contract: Option<String>,
    /// Kinds that it maps, as `v1/Pod`, joined by commas.
    pub maps: Option<String>,
    /// Kinds whose mappings it refines, joined by commas.
    pub refines: Option<String>,
    /// Digest that is called for a subject whose call fails, under KeepLastGood.
    pub last_good_digest: Option<Digest>,
    /// Version that waits to be approved: its digest, hash of its config, and what it would take away where it is held for that.
    pub pending_digest: Option<Digest>,
    /// What it would do.
    pub pending_changes: Option<PendingChanges>,
    /// `Loaded`: the source's version serves, else why not (`Held`, `Conflict`, `SourceMissing`, ...). `Serving`: some version
    /// does.
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl PolicyModule {
    /// Whether the version of its source serves.
    pub fn is_loaded(&self) -> bool {
        self.status.as_ref().is_some_and(|status| is_true(&status.conditions, "Loaded"))
    }
}

/// The difference that a version would make to all mappings, in cloud resources.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingChanges {
    /// Made.
    pub added: i32,
    /// Changed in place.
    pub changed: i32,
    /// Deleted.
    pub deleted: i32,
    /// Deleted and made anew.
    pub replaced: i32,
}
