//! The cluster's part.

use std::collections::BTreeMap;

use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{PolicyModule, crds};
use isthmus_kubernetes::discovery::discover;
use isthmus_model::object::Gvk;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};

use super::Check;
use crate::args::Kube;

const APPLY: &str = "isthmus crds | kubectl apply --server-side -f -";

pub(super) async fn checks(kube: &Kube) -> Vec<Check> {
    let client = match Client::connect(kube.kubeconfig.as_deref()).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = "set KUBECONFIG or --kubeconfig to the file of the cluster";
            return vec![Check::failed("kubeconfig", error.to_string(), remedy)];
        }
    };
    let server = client.kube();
    match client.read("ask for the version", server.apiserver_version()).await {
        Ok(version) => {
            let mut all = vec![Check::ok("API server", version.git_version)];
            all.extend(definitions(&client).await);
            all.push(namespace(&client, &kube.operator_namespace).await);
            all.push(operator(&client, &kube.operator_namespace).await);
            let modules: Api<PolicyModule> = Api::all(client.kube());
            match client.read("list PolicyModules", modules.list(&ListParams::default())).await {
                Ok(found) => {
                    all.extend(found.items.iter().map(module));
                    all.push(rights(&client, &kube.operator_namespace, &found.items).await);
                }
                Err(error) => all.push(Check::failed("PolicyModules", error.to_string(), APPLY)),
            }
            all
        }
        Err(error) => {
            vec![Check::failed("API server", error.to_string(), "is it up, and the address right?")]
        }
    }
}

async fn definitions(client: &Client) -> Vec<Check> {
    let api: Api<CustomResourceDefinition> = Api::all(client.kube());
    let mut all = Vec::new();
    for wanted in crds() {
        let name = wanted.name_any();
        let found = client.read(&format!("read definition {name}"), api.get_opt(&name)).await;
        let columns = |crd: &CustomResourceDefinition| {
            crd.spec.versions.iter().map(|v| (v.name.clone(), v.schema.clone())).collect::<Vec<_>>()
        };
        all.push(match found {
            Ok(Some(found))
                if fields(&found) == fields(&wanted) && columns(&found).len() == columns(&wanted).len() =>
            {
                Check::ok(&name, "is there")
            }
            Ok(Some(_)) => Check::warning(&name, "is of another version of Isthmus", APPLY),
            Ok(None) => Check::failed(&name, "is not there", APPLY),
            Err(error) => Check::failed(&name, error.to_string(), APPLY),
        });
    }
    all
}

/// Names of all fields of a definition: the API server adds defaults of its own to the rest.
fn fields(crd: &CustomResourceDefinition) -> Vec<String> {
    fn walk(value: &serde_json::Value, path: &str, all: &mut Vec<String>) {
        let Some(object) = value.as_object() else { return };
        for (name, value) in object.get("properties").and_then(|p| p.as_object()).into_iter().flatten() {
            let path = format!("{path}.{name}");
            walk(value, &path, all);
            all.push(path);
        }
        object.get("items").into_iter().for_each(|items| walk(items, path, all));
    }
    let mut all = Vec::new();
    for version in &crd.spec.versions {
        let schema = version.schema.as_ref().and_then(|s| serde_json::to_value(&s.open_api_v3_schema).ok());
        schema.iter().for_each(|schema| walk(schema, &version.name, &mut all));
    }
    all.sort();
    all
}

async fn namespace(client: &Client, name: &str) -> Check {
    let api: Api<Namespace> = Api::all(client.kube());
    match client.read(&format!("read namespace {name}"), api.get_opt(name)).await {
        Ok(Some(_)) => Check::ok("operator's namespace", name),
        Ok(None) => Check::failed(
            "operator's namespace",
            format!("{name} is not there"),
            format!("kubectl create namespace {name}, or name another one with --operator-namespace"),
        ),
        Err(error) => Check::failed("operator's namespace", error.to_string(), "may you read namespaces?"),
    }
}

async fn operator(client: &Client, namespace: &str) -> Check {
    const NAME: &str = "operator";
    let api: Api<Lease> = Api::namespaced(client.kube(), namespace);
    let start = "start one: isthmus operator";
    match client.read("read the lease", api.get_opt("isthmus")).await {
        Ok(Some(lease)) => {
            let spec = lease.spec.unwrap_or_default();
            let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
            let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(15));
            let age = spec.renew_time.map(|at| Timestamp::now().as_second() - at.0.as_second());
            match (holder, age) {
                (Some(holder), Some(age)) if age <= seconds => Check::ok(NAME, format!("{holder} leads")),
                (Some(holder), Some(age)) => {
                    Check::failed(NAME, format!("{holder} led, and said so last {age} s ago"), start)
                }
                _ => Check::failed(NAME, "none leads", start),
            }
        }
        Ok(None) => Check::failed(NAME, "none has run yet", start),
        Err(error) => Check::failed(NAME, error.to_string(), "may you read leases?"),
    }
}

fn module(module: &PolicyModule) -> Check {
    let name = format!("PolicyModule {}", module.name_any());
    let status = module.status.clone().unwrap_or_default();
    let of = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind);
    let said = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        format!("{} {}: {}", c.type_, c.reason, c.message)
    };
    let serving = of("Serving").is_some_and(|c| c.status == "True");
    match of("Loaded") {
        Some(loaded) if loaded.status == "True" && serving => {
            Check::ok(&name, format!("serves version {}", status.version.unwrap_or_default()))
        }
        Some(loaded) if serving => {
            let remedy = "the version before serves: mend the source, or approve what waits for it";
            Check::warning(&name, said(loaded), remedy)
        }
        Some(loaded) => Check::failed(&name, said(loaded), "kubectl describe policymodule has the details"),
        None => Check::warning(&name, "no operator has looked at it yet", "is one running?"),
    }
}

/// Whether who runs this command may do what the operator does: run it with the operator's kubeconfig or service account.
async fn rights(client: &Client, namespace: &str, modules: &[PolicyModule]) -> Check {
    const NAME: &str = "rights";
    let mut wanted: Vec<(String, String, Option<&str>, &str)> = Vec::new();
    let mut add = |group: &str, resource: &str, namespace: Option<&'static str>, verbs: &[&'static str]| {
        wanted.extend(verbs.iter().map(|verb| (group.to_owned(), resource.to_owned(), namespace, *verb)));
    };
    add("isthmus.dev", "cloudmappings", None, &["list", "watch", "create", "patch", "delete"]);
    add("isthmus.dev", "cloudmappings/status", None, &["patch"]);
    add("isthmus.dev", "policymodules", None, &["list", "watch", "create", "patch"]);
    add("isthmus.dev", "policymodules/status", None, &["patch"]);
    add("events.k8s.io", "events", None, &["create", "patch"]);
    add("", "namespaces", None, &["list", "watch"]);
    add("", "nodes", None, &["list", "watch"]);
    for kind in kinds(modules) {
        if let Ok(Some(found)) = discover(client, &kind).await {
            add(&kind.group, &found.resource.plural, None, &["list", "watch"]);
        }
    }
    let own = ["configmaps", "leases"];
    for (group, resource) in ["", "coordination.k8s.io"].into_iter().zip(own) {
        for verb in ["get", "create", "patch"] {
            wanted.push((group.into(), resource.into(), Some(namespace), verb));
        }
    }
    let mut missing = BTreeMap::new();
    for (group, resource, namespace, verb) in &wanted {
        match may(client, group, resource, *namespace, verb).await {
            Ok(true) => {}
            Ok(false) => missing.entry(format!("{resource}.{group}")).or_insert_with(Vec::new).push(*verb),
            Err(error) => return Check::failed(NAME, error.to_string(), "the API server could not say"),
        }
    }
    match missing.is_empty() {
        true => Check::ok(NAME, format!("all {} that the operator needs", wanted.len())),
        false => {
            let told: Vec<String> =
                missing.iter().map(|(what, verbs)| format!("{} {what}", verbs.join(","))).collect();
            let remedy = "give them to the operator's service account by a ClusterRole";
            Check::failed(NAME, format!("missing: {}", told.join("; ")), remedy)
        }
    }
}

/// Kinds that the modules map or refine, as they say themselves.
fn kinds(modules: &[PolicyModule]) -> Vec<Gvk> {
    let said = modules.iter().filter_map(|module| module.status.as_ref());
    let texts = said.flat_map(|status| [status.maps.clone(), status.refines.clone()]).flatten();
    let mut all: Vec<Gvk> = texts
        .flat_map(|text| text.split(',').filter_map(|kind| kind.parse().ok()).collect::<Vec<_>>())
        .collect();
    all.sort();
    all.dedup();
    all
}

async fn may(
    client: &Client,
    group: &str,
    resource: &str,
    namespace: Option<&str>,
    verb: &str,
) -> Result<bool, isthmus_kubernetes::Error> {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
    let attributes = ResourceAttributes {
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource: subresource.map(Into::into),
        namespace: namespace.map(Into::into),
        verb: Some(verb.into()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.kube());
    let what = format!("ask whether {verb} of {resource} is allowed");
    let answer = client.read(&what, api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
