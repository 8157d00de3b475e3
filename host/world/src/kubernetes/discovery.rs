//! What is served: `/api`, `/apis`, `/version`, `/openapi`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::api::Reply;
use super::registry::{Behaviour, Registry, Resource};
use super::status::Status;

/// A document about the server.
#[derive(Debug)]
pub(crate) enum Document {
    Version,
    Health,
    Paths,
    CoreVersions,
    Groups,
    Group(String),
    Resources(String, String),
    OpenApiV2,
    OpenApiV3,
    OpenApiV3Of(String, String),
}

/// Reviews: resources that are only created.
const REVIEWS: [(&str, &str, &str, &str); 4] = [
    (
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreview",
    ),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", "selfsubjectrulesreview"),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", "subjectaccessreview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", "selfsubjectreview"),
];

pub(crate) fn document(registry: &Registry, document: &Document) -> Reply {
    let body = match document {
        Document::Health => return Reply::Text(200, "ok"),
        Document::Version => json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0+isthmus-world", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
        }),
        Document::Paths => {
            let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
            for (group, versions) in groups(registry) {
                paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
            }
            json!({"paths": paths})
        }
        Document::CoreVersions => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
        }),
        Document::Groups => {
            let all: Vec<_> = groups(registry).iter().map(|(g, v)| group_body(g, v)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
        }
        Document::Group(name) => match groups(registry).get(name) {
            Some(versions) => {
                let mut body = group_body(name, versions);
                if let Some(map) = body.as_object_mut() {
                    map.insert("kind".to_owned(), "APIGroup".into());
                    map.insert("apiVersion".to_owned(), "v1".into());
                }
                body
            }
            None => return unknown(),
        },
        Document::Resources(group, version) => {
            let all = resource_list(registry, group, version);
            match (all.is_empty(), group.is_empty()) {
                (true, true) => return Reply::Json(404, Status::no_such_path().body()),
                (true, false) => return unknown(),
                (false, _) => {}
            }
            let name = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            let mut body = json!({"kind": "APIResourceList", "groupVersion": name, "resources": all});
            if let Some(map) = body.as_object_mut().filter(|_| !group.is_empty()) {
                map.insert("apiVersion".to_owned(), "v1".into());
            }
            body
        }
        Document::OpenApiV2 => openapi_v2(registry),
        Document::OpenApiV3 => openapi_v3_index(registry),
        Document::OpenApiV3Of(group, version) => match openapi_v3(registry, group, version) {
            Some(body) => body,
            None => return unknown(),
        },
    };
    Reply::Json(200, body)
}

fn unknown() -> Reply {
    Reply::Text(404, "404 page not found\n")
}

/// Groups with their versions; not the core group.
fn groups(registry: &Registry) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in registry.all().filter(|r| !r.group.is_empty()) {
        let versions = groups.entry(resource.group.clone()).or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    for (group, ..) in REVIEWS {
        groups.entry(group.to_owned()).or_insert_with(|| vec!["v1".to_owned()]);
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|v| std::cmp::Reverse(priority(v)));
    }
    groups
}

/// Stable before beta before alpha, newer before older.
fn priority(version: &str) -> (u8, u64, u64) {
    let rest = version.strip_prefix('v').unwrap_or(version);
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    for (word, rank) in [("beta", 1), ("alpha", 0)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (rank, number(major), number(minor));
        }
    }
    (2, number(rest), 0)
}

fn group_body(group: &str, versions: &[String]) -> Value {
    let all: Vec<_> =
        versions.iter().map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v})).collect();
    json!({"name": group, "versions": all, "preferredVersion": all.first()})
}

fn verbs(resource: &Resource) -> Vec<&'static str> {
    // In the order that each of the two has them in.
    let all = match resource.is_custom() {
        true => ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
        false => ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    };
    all.into_iter()
        .filter(|v| resource.behaviour != Behaviour::Namespace || *v != "deletecollection")
        .collect()
}

fn of_version<'a>(
    registry: &'a Registry,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    registry.all().filter(move |r| r.group == group && r.version == version)
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for resource in of_version(registry, group, version) {
        let names = &resource.names;
        let mut body = json!({
            "name": names.plural, "singularName": names.singular, "namespaced": resource.namespaced,
            "kind": names.kind, "verbs": verbs(resource),
        });
        if let Some(map) = body.as_object_mut() {
            if !names.short.is_empty() {
                map.insert("shortNames".to_owned(), names.short.clone().into());
            }
            if !names.categories.is_empty() {
                map.insert("categories".to_owned(), names.categories.clone().into());
            }
        }
        all.push(body);
        for name in subresources(resource) {
            all.push(json!({
                "name": format!("{}/{name}", names.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": names.kind, "verbs": subresource_verbs(name),
            }));
        }
    }
    for (_, plural, kind, singular) in REVIEWS.iter().filter(|(g, ..)| *g == group && version == "v1") {
        all.push(json!({
            "name": plural, "singularName": singular, "namespaced": false, "kind": kind, "verbs": ["create"],
        }));
    }
    all
}

fn subresources(resource: &Resource) -> Vec<&'static str> {
    let mut all = Vec::new();
    if resource.behaviour == Behaviour::Namespace {
        all.push("finalize");
    }
    if resource.status {
        all.push("status");
    }
    all
}

fn subresource_verbs(name: &str) -> &'static [&'static str] {
    if name == "finalize" { &["update"] } else { &["get", "patch", "update"] }
}

/// `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let groups = match core {
        true => BTreeMap::from([(String::new(), vec!["v1".to_owned()])]),
        false => groups(registry),
    };
    let items: Vec<_> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<_> = versions.iter().map(|v| aggregated_version(registry, group, v)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(registry: &Registry, group: &str, version: &str) -> Value {
    // Of a built-in kind the real one says it without group and version, which are those around it.
    let kind = |name: &str, custom: bool| match custom {
        true => json!({"group": group, "version": version, "kind": name}),
        false => json!({"group": "", "version": "", "kind": name}),
    };
    let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
    let mut resources: Vec<Value> = of_version(registry, group, version)
        .map(|r| {
            let below: Vec<_> = subresources(r)
                .into_iter()
                .map(|s| json!({"subresource": s, "responseKind": kind(&r.names.kind, r.is_custom()), "verbs": subresource_verbs(s)}))
                .collect();
            let mut body = json!({
                "resource": r.names.plural, "responseKind": kind(&r.names.kind, r.is_custom()), "scope": scope(r.namespaced),
                "singularResource": r.names.singular, "verbs": verbs(r),
            });
            if let Some(map) = body.as_object_mut() {
                if !r.names.short.is_empty() {
                    map.insert("shortNames".to_owned(), r.names.short.clone().into());
                }
                if !r.names.categories.is_empty() {
                    map.insert("categories".to_owned(), r.names.categories.clone().into());
                }
                if !below.is_empty() {
                    map.insert("subresources".to_owned(), below.into());
                }
            }
            body
        })
        .collect();
    for (_, plural, name, singular) in REVIEWS.iter().filter(|(g, ..)| *g == group && version == "v1") {
        resources.push(json!({
            "resource": plural, "responseKind": kind(name, false), "scope": "Cluster", "singularResource": singular, "verbs": ["create"],
        }));
    }
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn openapi_v3_index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String| {
        // The hash is for the client's cache: kinds of CRDs come and go, so no client is told that it may keep it.
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".to_owned());
    for (group, versions) in groups(registry) {
        for version in versions {
            add(format!("apis/{group}/{version}"));
        }
    }
    json!({"paths": paths})
}

/// Schemas and the paths that `kubectl` looks for: whether a PATCH can be validated by the server.
fn openapi_v3(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let resources: Vec<_> = of_version(registry, group, version).collect();
    let prefix =
        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for resource in &resources {
        let kind = json!({"group": group, "version": version, "kind": resource.names.kind});
        collect(&registry.definitions, &resource.schema_name, &mut schemas);
        if let Some(schema) = schemas.get_mut(&resource.schema_name).and_then(Value::as_object_mut) {
            schema.insert("x-kubernetes-group-version-kind".to_owned(), json!([kind]));
        }
        let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let reference = json!({"$ref": format!("#/components/schemas/{}", resource.schema_name)});
        let operation = |verb: &str| {
            json!({
                "operationId": format!("{verb}{}", resource.schema_name),
                "parameters": [
                    {"name": "dryRun", "in": "query", "schema": {"type": "string"}},
                    {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": reference}}},
                "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
                "x-kubernetes-action": verb,
                "x-kubernetes-group-version-kind": kind,
            })
        };
        let base = format!("{prefix}{scope}/{}", resource.names.plural);
        paths.insert(base.clone(), json!({"post": operation("post")}));
        paths.insert(
            format!("{base}/{{name}}"),
            json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch")}),
        );
    }
    if resources.is_empty() && !REVIEWS.iter().any(|(g, ..)| *g == group && version == "v1") {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

/// A type with all that it refers to.
fn collect(definitions: &Value, name: &str, into: &mut Map<String, Value>) {
    if into.contains_key(name) {
        return;
    }
    let Some(schema) = definitions.get(name) else { return };
    into.insert(name.to_owned(), schema.clone());
    references(schema, &mut |name| collect(definitions, name, into));
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "$ref") {
                    Some(reference) => found(reference.rsplit('/').next().unwrap_or_default()),
                    None => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// Types alone: a client that reads version 2 looks for little more.
fn openapi_v2(registry: &Registry) -> Value {
    let text = registry.definitions.to_string().replace("#/components/schemas/", "#/definitions/");
    let mut definitions: Value = serde_json::from_str(&text).unwrap_or_default();
    for resource in registry.all() {
        let kind =
            json!([{"group": resource.group, "version": resource.version, "kind": resource.names.kind}]);
        if let Some(map) = definitions.get_mut(&resource.schema_name).and_then(Value::as_object_mut) {
            map.insert("x-kubernetes-group-version-kind".to_owned(), kind);
        }
    }
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.0"}, "paths": {}, "definitions": definitions})
}
