//! The kinds that are there without a CRD.

mod crd;
mod defaults;
mod rules;

use std::sync::Arc;

use serde_json::Value;

use super::registry::{Behaviour, Names, Resource};
use super::schema::Definitions;
use super::table::Columns;

pub(crate) use crd::{establish, keep_up, terminate};
pub(crate) use defaults::{admit_pod, keep_metadata, node_status, pod_status, set_defaults};
pub(crate) use rules::{check_create, check_update};

/// Made by `schemas.py` from Kubernetes 1.36.
const SCHEMAS: &str = include_str!("schemas.json");

struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
    /// Category, if it is in one.
    category: &'static str,
    status: bool,
    schema: &'static str,
    behaviour: Behaviour,
}

const fn row(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    schema: &'static str,
    behaviour: Behaviour,
) -> Row {
    Row { group, kind, plural, namespaced: true, short, category: "", status: false, schema, behaviour }
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn rows() -> Vec<Row> {
    use Behaviour as B;
    let cluster = |row: Row| Row { namespaced: false, ..row };
    let status = |row: Row| Row { status: true, ..row };
    let extensions = |row: Row| Row { category: "api-extensions", ..row };
    let all = |row: Row| Row { category: "all", ..row };
    vec![
        cluster(status(row(
            "",
            "Namespace",
            "namespaces",
            &["ns"],
            "io.k8s.api.core.v1.Namespace",
            B::Namespace,
        ))),
        cluster(status(row("", "Node", "nodes", &["no"], "io.k8s.api.core.v1.Node", B::Node))),
        all(status(row("", "Pod", "pods", &["po"], "io.k8s.api.core.v1.Pod", B::Pod))),
        all(status(row("", "Service", "services", &["svc"], "io.k8s.api.core.v1.Service", B::Service))),
        row("", "ConfigMap", "configmaps", &["cm"], "io.k8s.api.core.v1.ConfigMap", B::ConfigMap),
        row("", "Secret", "secrets", &[], "io.k8s.api.core.v1.Secret", B::Secret),
        row(
            "",
            "ServiceAccount",
            "serviceaccounts",
            &["sa"],
            "io.k8s.api.core.v1.ServiceAccount",
            B::ServiceAccount,
        ),
        row("", "Event", "events", &["ev"], "io.k8s.api.core.v1.Event", B::Event),
        row("events.k8s.io", "Event", "events", &["ev"], "io.k8s.api.events.v1.Event", B::NewEvent),
        row("coordination.k8s.io", "Lease", "leases", &[], "io.k8s.api.coordination.v1.Lease", B::Lease),
        row(
            "discovery.k8s.io",
            "EndpointSlice",
            "endpointslices",
            &[],
            "io.k8s.api.discovery.v1.EndpointSlice",
            B::EndpointSlice,
        ),
        row(
            "networking.k8s.io",
            "NetworkPolicy",
            "networkpolicies",
            &["netpol"],
            "io.k8s.api.networking.v1.NetworkPolicy",
            B::NetworkPolicy,
        ),
        row(RBAC, "Role", "roles", &[], "io.k8s.api.rbac.v1.Role", B::Other),
        row(RBAC, "RoleBinding", "rolebindings", &[], "io.k8s.api.rbac.v1.RoleBinding", B::Other),
        cluster(row(RBAC, "ClusterRole", "clusterroles", &[], "io.k8s.api.rbac.v1.ClusterRole", B::Other)),
        cluster(row(
            RBAC,
            "ClusterRoleBinding",
            "clusterrolebindings",
            &[],
            "io.k8s.api.rbac.v1.ClusterRoleBinding",
            B::Other,
        )),
        extensions(cluster(status(row(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            &["crd", "crds"],
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
            B::Crd,
        )))),
    ]
}

/// All of them.
pub(crate) fn resources() -> Vec<Resource> {
    let raw: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let mut definitions = Definitions::new(&raw);
    let make = |row: Row| Resource {
        group: row.group.to_owned(),
        version: "v1".to_owned(),
        names: Names {
            kind: row.kind.to_owned(),
            list_kind: format!("{}List", row.kind),
            plural: row.plural.to_owned(),
            singular: row.kind.to_ascii_lowercase(),
            short: row.short.iter().map(|s| (*s).to_owned()).collect(),
            categories: if row.category.is_empty() { Vec::new() } else { vec![row.category.to_owned()] },
        },
        namespaced: row.namespaced,
        status: row.status,
        schema: definitions.get(row.schema),
        typed: definitions.get(row.schema),
        empty: Value::Null,
        schema_name: row.schema.to_owned(),
        columns: Arc::new(Columns::BuiltIn(row.behaviour)),
        behaviour: row.behaviour,
        storage_version: "v1".to_owned(),
        changed: false,
    };
    rows().into_iter().map(make).collect()
}

/// The types by name, as `/openapi` shows them.
pub(crate) fn definitions() -> Value {
    serde_json::from_str(SCHEMAS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_schema() {
        for resource in resources() {
            assert!(!resource.schema.preserve, "{}", resource.schema_name);
            assert!(resource.schema.is_named("metadata"), "{}", resource.schema_name);
        }
    }
}
