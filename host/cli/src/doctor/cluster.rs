//! The cluster's part.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_cli::global::Kube;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule, crds};
use isthmus_operator::modules::Version;
use isthmus_policy::Module;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};

use super::used::{Used, told, used};
use super::{Check, rights};
use crate::cluster::Cluster;
use crate::leader::{Leader, leader};

const APPLY: &str = "isthmus crds | kubectl apply --server-side -f -";
const RIGHTS: &str = "deploy/rbac.yaml has the rights that the operator needs";

/// The checks; and what the modules ask of the cloud ([`used`]), where that can be told.
pub(super) async fn checks(kube: &Kube, os_cloud: Option<&str>) -> (Vec<Check>, Option<Used>) {
    let cluster = match Cluster::connect(kube).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let remedy = "set KUBECONFIG or --kubeconfig to the file of the cluster";
            return (vec![Check::failed("kubeconfig", format!("{error:#}"), remedy)], None);
        }
    };
    let (client, server) = (&cluster.client, cluster.client.kube());
    let version = match client.read("ask for the version", server.apiserver_version()).await {
        Ok(version) => version.git_version,
        Err(error) => {
            let check = Check::failed("API server", error.to_string(), "is it up, and the address right?");
            return (vec![check], None);
        }
    };
    let mut all = vec![Check::ok("API server", version)];
    all.extend(definitions(client).await);
    all.push(namespace(client, &kube.operator_namespace).await);
    all.push(operator(client, &kube.operator_namespace).await);
    all.extend(certificates(client).await);
    let found = match cluster.modules().await {
        Ok(found) => found,
        Err(error) => {
            all.push(Check::failed("PolicyModules", format!("{error:#}"), APPLY));
            Vec::new()
        }
    };
    all.extend(found.iter().map(module));
    let (mut loaded, mut asked) = (Vec::new(), None);
    match modules(&cluster, &found).await {
        Ok((versions, waiting)) => {
            loaded.extend(versions.values().map(|version| version.module.clone()).chain(waiting));
            match used(&cluster, versions, os_cloud).await {
                Ok(found) => asked = Some(found),
                Err(error) => all.push(Check::failed("what is mapped", format!("{error:#}"), RIGHTS)),
            }
        }
        Err(error) => all.push(Check::failed("modules", format!("{error:#}"), RIGHTS)),
    }
    all.push(rights::check(client, &kube.operator_namespace, &loaded).await);
    all.extend(asked.iter().flat_map(told));
    (all, asked)
}

/// What serves, and what waits beside it.
async fn modules(
    cluster: &Cluster,
    modules: &[PolicyModule],
) -> anyhow::Result<(BTreeMap<Arc<str>, Version>, Vec<Arc<Module>>)> {
    let versions = cluster.versions().await?;
    let waiting = cluster.waiting(modules, &versions).await?;
    Ok((versions, waiting))
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
    let start = "start one: isthmus operator";
    match leader(client, namespace).await {
        Ok(Leader::Leads(holder)) => Check::ok(NAME, format!("{holder} leads")),
        Ok(Leader::Led { holder, age, .. }) => {
            Check::failed(NAME, format!("{holder} led, and said so last {age} s ago"), start)
        }
        Ok(Leader::None) => Check::failed(NAME, "none leads", start),
        Ok(Leader::Never) => Check::failed(NAME, "none has run yet", start),
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

/// Mappings whose certificates can't be made: the Secrets that they are made of are granted one by one, and only the operator
/// knows which they are.
async fn certificates(client: &Client) -> Option<Check> {
    const NAME: &str = "certificates";
    let all = match client.all::<CloudMapping>("list CloudMappings").await {
        Ok(all) => all,
        Err(error) => return Some(Check::failed(NAME, error.to_string(), RIGHTS)),
    };
    let unusable: Vec<String> = all.iter().filter_map(unusable).collect();
    let shown: Vec<String> = unusable.iter().take(3).cloned().collect();
    (!unusable.is_empty()).then(|| {
        let remedy = "the operator needs get, list and watch of just the Secrets that are named, by a Role in their namespace";
        Check::warning(NAME, format!("{} can't be made: {}", unusable.len(), shown.join("; ")), remedy)
    })
}

/// Why a certificate of a mapping can't be made, if so.
fn unusable(mapping: &CloudMapping) -> Option<String> {
    let conditions = &mapping.status.as_ref()?.conditions;
    let of = conditions.iter().find(|c| c.type_ == "Realized" && c.reason == "CertificateUnusable")?;
    Some(format!("{}: {}", mapping.spec.subject.subject().key, of.message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_certificate_that_can_not_be_made_is_told_with_its_reason() {
        let mapping = |reason: &str| -> CloudMapping {
            let condition = json!({"type": "Realized", "status": "False", "reason": reason, "observedGeneration": 1,
                "message": "certificate: Secret shop/tls can't be read", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let subject = json!({"apiVersion": "route.openshift.io/v1", "kind": "Route", "namespace": "shop", "name": "web", "uid": "u"});
            serde_json::from_value(json!({
                "apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping", "metadata": {"name": "route-web-u"},
                "spec": {"subject": subject}, "status": {"conditions": [condition]},
            }))
            .unwrap()
        };
        let said = "Route shop/web: certificate: Secret shop/tls can't be read";
        assert_eq!(unusable(&mapping("CertificateUnusable")).as_deref(), Some(said));
        assert_eq!(unusable(&mapping("OverQuota")), None);
    }

    #[test]
    fn a_module_that_does_not_serve_is_told_with_its_reason() {
        let of = |conditions: &[(&str, &str, &str)]| -> PolicyModule {
            let conditions: Vec<_> = conditions
                .iter()
                .map(|(kind, status, reason)| {
                    json!({"type": kind, "status": status, "reason": reason, "message": "why",
                           "lastTransitionTime": "2026-01-01T00:00:00Z"})
                })
                .collect();
            serde_json::from_value(json!({
                "apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule", "metadata": {"name": "m"},
                "spec": {"source": {"configMaps": [{"name": "m"}]}},
                "status": {"version": "0.2.0", "conditions": conditions},
            }))
            .unwrap()
        };
        let serves = ("Serving", "True", "Serves");
        let table = [
            (of(&[("Loaded", "True", "Loaded"), serves]), "ok    PolicyModule m: serves version 0.2.0\n"),
            (
                of(&[("Loaded", "False", "Held"), serves]),
                "warn  PolicyModule m: Loaded Held: why\n      \
                 -> the version before serves: mend the source, or approve what waits for it\n",
            ),
            (
                of(&[("Loaded", "False", "SourceMissing"), ("Serving", "False", "None")]),
                "FAIL  PolicyModule m: Loaded SourceMissing: why\n      -> kubectl describe policymodule has the details\n",
            ),
            (of(&[]), "warn  PolicyModule m: no operator has looked at it yet\n      -> is one running?\n"),
        ];
        for (found, said) in table {
            assert_eq!(super::super::told(&[module(&found)]), said);
        }
    }
}
