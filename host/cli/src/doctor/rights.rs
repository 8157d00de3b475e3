//! What the operator has to be allowed in the cluster: what `deploy/rbac.yaml` gives it, and what its modules' manifests ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::discovery::discover;
use isthmus_model::manifest::Manifest;
use isthmus_policy::Module;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

use super::Check;

const NAME: &str = "rights";
/// The operator's roles, as they are deployed.
const DEPLOYED: &str = include_str!("../../../../deploy/rbac.yaml");
/// Name of its ClusterRole, and of its Role in its own namespace.
const ROLE: &str = "isthmus-operator";

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    /// Of one namespace only.
    namespace: Option<String>,
    group: String,
    /// With its subresource, as `services/status`.
    resource: String,
    verb: String,
}

/// Resource and group, as messages name them.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        self.namespace.iter().try_for_each(|namespace| write!(f, " in namespace {namespace}"))
    }
}

/// Whether who runs this command may do what the operator does: run it with the operator's kubeconfig or service account.
pub(super) async fn check(client: &Client, home: &str, modules: &[Arc<Module>]) -> Check {
    let needed = match needed(client, home, modules).await {
        Ok(needed) => needed,
        Err(error) => return Check::failed(NAME, format!("{error:#}"), "what is needed is not known"),
    };
    let mut missing = BTreeSet::new();
    for right in &needed {
        match allowed(client, right).await {
            Ok(true) => {}
            Ok(false) => drop(missing.insert(right.clone())),
            Err(error) => return Check::failed(NAME, error.to_string(), "the API server could not say"),
        }
    }
    match missing.is_empty() {
        true => Check::ok(NAME, format!("all {} that the operator needs", needed.len())),
        false => Check::failed(
            NAME,
            format!("missing: {}", told(&missing)),
            "deploy/rbac.yaml has the operator's own; a module for another kind brings a ClusterRole with the label \
             isthmus.dev/aggregate-to-operator",
        ),
    }
}

async fn needed(client: &Client, home: &str, modules: &[Arc<Module>]) -> anyhow::Result<BTreeSet<Right>> {
    let mut needed = deployed(home)?;
    for module in modules {
        needed.extend(of_module(client, module.manifest()).await?);
    }
    Ok(needed)
}

/// What the operator needs whatever its modules are.
fn deployed(namespace: &str) -> anyhow::Result<BTreeSet<Right>> {
    let mut all = rules("ClusterRole", None, |name, _| name == ROLE)?;
    all.extend(rules("Role", Some(namespace), |name, _| name == ROLE)?);
    Ok(all)
}

/// The rules of the deployed roles of a kind that are meant, by name and labels.
fn rules(
    kind: &str,
    namespace: Option<&str>,
    meant: impl Fn(&str, &Value) -> bool,
) -> anyhow::Result<BTreeSet<Right>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(DEPLOYED).context("deploy/rbac.yaml")?;
    let mut all = BTreeSet::new();
    for document in &documents {
        let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let labels = document.pointer("/metadata/labels").unwrap_or(&Value::Null);
        if document.get("kind").and_then(Value::as_str) != Some(kind) || !meant(name, labels) {
            continue;
        }
        let rules = document.get("rules").cloned().unwrap_or_default();
        let rules: Vec<PolicyRule> = serde_json::from_value(rules).context("deploy/rbac.yaml")?;
        for rule in rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    let verbs = rule.verbs.iter().map(String::as_str);
                    all.extend(verbs.map(|verb| right(namespace, group, resource, verb)));
                }
            }
        }
    }
    Ok(all)
}

fn right(namespace: Option<&str>, group: &str, resource: &str, verb: &str) -> Right {
    Right {
        namespace: namespace.map(Into::into),
        group: group.into(),
        resource: resource.into(),
        verb: verb.into(),
    }
}

/// What the operator needs for a module: to watch every kind that it is given, and to write the status of what it reports on.
/// A kind that is not served needs nothing yet.
async fn of_module(
    client: &Client,
    manifest: &Manifest,
) -> Result<BTreeSet<Right>, isthmus_kubernetes::Error> {
    let mut all = BTreeSet::new();
    for projection in manifest.projections() {
        let Some(found) = discover(client, &projection.kind).await? else { continue };
        let (group, plural) = (&projection.kind.group, &found.resource.plural);
        all.extend(["list", "watch"].map(|verb| right(None, group, plural, verb)));
        if manifest.reports && manifest.maps.iter().any(|mapped| mapped.kind == projection.kind) {
            all.insert(right(None, group, plural, "get"));
            all.insert(right(None, group, &format!("{plural}/status"), "patch"));
        }
    }
    Ok(all)
}

async fn allowed(client: &Client, right: &Right) -> Result<bool, isthmus_kubernetes::Error> {
    let (resource, subresource) =
        right.resource.split_once('/').map_or((&*right.resource, None), |(r, s)| (r, Some(s)));
    let attributes = ResourceAttributes {
        group: Some(right.group.clone()),
        resource: Some(resource.into()),
        subresource: subresource.map(Into::into),
        namespace: right.namespace.clone(),
        verb: Some(right.verb.clone()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.kube());
    let what = format!("ask whether {} of {right} is allowed", right.verb);
    let answer = client.read(&what, api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// `list,watch pods; get configmaps in namespace isthmus-system`.
fn told(rights: &BTreeSet<Right>) -> String {
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in rights {
        verbs.entry(right.to_string()).or_default().push(&right.verb);
    }
    let told: Vec<String> = verbs.iter().map(|(what, verbs)| format!("{} {what}", verbs.join(","))).collect();
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::StatusCode;
    use isthmus_world::kubernetes::{ApiServer, Options};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    use super::*;
    use crate::module::{engine, open};

    const ADMISSION: &str = include_str!("../../../../deploy/admission.yaml");
    const ROUTES: &str = include_str!("../../../../plugins/route-l7policy/deploy/crd.yaml");
    /// The modules that `deploy/rbac.yaml` has a role for.
    const BUILT_IN: [&str; 5] = [
        "pod-port",
        "namespace-network",
        "networkpolicy-securitygroup",
        "route-l7policy",
        "service-loadbalancer",
    ];

    #[test]
    fn what_is_deployed_is_what_is_asked_for() {
        let all = deployed("home").unwrap();
        let has = |namespace, group, resource, verbs: &[&str]| {
            for verb in verbs {
                let right = right(namespace, group, resource, verb);
                assert!(all.contains(&right), "{verb} {right}");
            }
        };
        // What admission.yaml asks of who writes CloudMappings.
        assert!(ADMISSION.contains("group('isthmus.dev').resource('cloudmappings').check('operate')"));
        has(None, "isthmus.dev", "cloudmappings", &["operate", "list", "watch", "create", "patch", "delete"]);
        has(None, "isthmus.dev", "cloudmappings/status", &["patch"]);
        has(None, "isthmus.dev", "policymodules/status", &["patch"]);
        has(None, "apiextensions.k8s.io", "customresourcedefinitions", &["list", "watch"]);
        has(None, "events.k8s.io", "events", &["create", "patch"]);
        has(Some("home"), "", "configmaps", &["list", "watch", "patch", "delete"]);
        has(Some("home"), "coordination.k8s.io", "leases", &["get", "create", "update"]);
        // A module's are not asked for where it is not loaded.
        assert!(all.iter().all(|right| right.resource != "pods"));
    }

    #[test]
    fn what_is_missing_is_told_by_resource() {
        let rights = [
            right(None, "", "pods", "watch"),
            right(None, "", "pods", "list"),
            right(None, "isthmus.dev", "cloudmappings", "operate"),
            right(Some("home"), "", "configmaps", "delete"),
        ];
        let expected =
            "operate cloudmappings.isthmus.dev; delete configmaps in namespace home; list,watch pods";
        assert_eq!(told(&rights.into()), expected);
    }

    async fn api_server() -> (ApiServer, Client) {
        let server = ApiServer::start(Options::default()).await.unwrap();
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), server.kubeconfig()).unwrap();
        let client = Client::connect(Some(kubeconfig.path())).await.unwrap();
        let routes: CustomResourceDefinition = serde_saphyr::from_str(ROUTES).unwrap();
        let api: Api<CustomResourceDefinition> = Api::all(client.kube());
        api.create(&PostParams::default(), &routes).await.unwrap();
        (server, client)
    }

    /// A component that `cargo xtask plugins` has built.
    fn built_in(name: &str) -> PathBuf {
        let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/modules");
        let folder = std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, PathBuf::from);
        folder.join(format!("{name}.wasm"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_deployed_roles_are_enough_for_every_built_in_module() {
        let (_server, client) = api_server().await;
        let engine = engine().unwrap();
        let own = deployed("home").unwrap();
        for name in BUILT_IN {
            let (module, _) = open(&engine, &built_in(name)).unwrap();
            let needed = of_module(&client, module.manifest()).await.unwrap();
            let role = format!("isthmus-module-{name}");
            let given = rules("ClusterRole", None, |found, labels| {
                found == role
                    && labels.get("isthmus.dev/aggregate-to-operator").and_then(Value::as_str) == Some("true")
            });
            let given = given.unwrap();
            let lacking: BTreeSet<Right> = needed
                .iter()
                .filter(|right| !given.contains(right) && !own.contains(right))
                .cloned()
                .collect();
            assert!(lacking.is_empty(), "{role} lacks {}", told(&lacking));
            assert!(!needed.is_empty());
        }
    }

    #[tokio::test]
    async fn what_a_module_reads_and_reports_on_counts_too() {
        let (_server, client) = api_server().await;
        let projection = |group: &str, version: &str, kind: &str| isthmus_model::manifest::Projection {
            kind: isthmus_model::object::Gvk::new(group, version, kind),
            fields: Vec::new(),
            list_by: Vec::new(),
        };
        let manifest = Manifest {
            name: "m".into(),
            version: "0.1.0".into(),
            description: String::new(),
            maps: vec![projection("route.openshift.io", "v1", "Route")],
            refines: vec![projection("", "v1", "Pod")],
            reads: vec![
                projection("discovery.k8s.io", "v1", "EndpointSlice"),
                projection("a", "v1", "Nowhere"),
            ],
            config_schema: None,
            reports: true,
        };
        let needed = of_module(&client, &manifest).await.unwrap();
        let expected = "list,watch endpointslices.discovery.k8s.io; list,watch pods; \
                        get,list,watch routes.route.openshift.io; patch routes/status.route.openshift.io";
        assert_eq!(told(&needed), expected);
        let silent = Manifest { reports: false, ..manifest };
        let needed = told(&of_module(&client, &silent).await.unwrap());
        assert!(!needed.contains("status") && !needed.contains("get"), "{needed}");
    }

    /// An API server that allows nothing of one resource.
    async fn denying(resource: &'static str) -> Client {
        let answer = move |body: Bytes| async move {
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            let asked = review.pointer("/spec/resourceAttributes/resource").and_then(Value::as_str);
            review["status"] = serde_json::json!({"allowed": asked != Some(resource)});
            (StatusCode::CREATED, review.to_string())
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = serde_json::json!({
            "clusters": [{"name": "a", "cluster": {"server": server}}], "users": [{"name": "a", "user": {}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a",
        });
        std::fs::write(kubeconfig.path(), text.to_string()).unwrap();
        Client::connect(Some(kubeconfig.path())).await.unwrap()
    }

    #[tokio::test]
    async fn a_right_that_is_missing_is_told_with_where_it_comes_from() {
        let all = deployed("home").unwrap().len();
        let fine = check(&denying("nothing").await, "home", &[]).await;
        assert_eq!(super::super::told(&[fine]), format!("ok    rights: all {all} that the operator needs\n"));
        let lacking = check(&denying("leases").await, "home", &[]).await;
        let said = "FAIL  rights: missing: create,get,update,watch leases.coordination.k8s.io in namespace home\n      \
                    -> deploy/rbac.yaml has the operator's own; a module for another kind brings a ClusterRole with the \
                    label isthmus.dev/aggregate-to-operator\n";
        assert_eq!(super::super::told(&[lacking]), said);
    }
}
