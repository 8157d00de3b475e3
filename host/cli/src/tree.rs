//! `isthmus tree`: from an object to its cloud resources.

mod retained;

use anyhow::ensure;
use isthmus_cli::global::{Kube, Output};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_policy::short_digest;
use kube::ResourceExt;
use serde::Serialize;

use crate::args::TreeArgs;
use crate::object::Object;
use crate::output::print;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tree {
    subject: String,
    uid: String,
    mapping: String,
    module: Option<String>,
    refiners: Vec<String>,
    node: Option<String>,
    resources: Vec<Resource>,
    conditions: Vec<Condition>,
}

#[derive(Serialize)]
struct Resource {
    name: String,
    kind: String,
    id: Option<String>,
    state: String,
    addresses: Vec<String>,
    message: Option<String>,
}

#[derive(Serialize)]
struct Condition {
    name: String,
    status: String,
    reason: String,
    message: String,
}

pub(crate) async fn run(kube: &Kube, args: &TreeArgs, output: Output) -> anyhow::Result<()> {
    let Some(object) = &args.object else {
        return retained::run(kube, args.os_cloud.as_deref(), output).await;
    };
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let object = Object::find(&client, object, &args.namespace).await?;
    let mappings = object.mappings(&client, &kube.operator_namespace).await?;
    ensure!(
        !mappings.is_empty(),
        "{object} has no CloudMapping: is it mapped? `kubectl get cloudmappings` lists what is, `kubectl get policymodules` what maps"
    );
    let trees: Vec<Tree> = mappings.iter().map(tree).collect();
    print(&trees, output, |trees| trees.iter().map(drawn).collect::<Vec<_>>().join("\n"))
}

fn tree(mapping: &CloudMapping) -> Tree {
    let status = mapping.status.clone().unwrap_or_default();
    let version = |m: &isthmus_kubernetes::crd::ModuleVersion| {
        format!("{} {} ({})", m.name, m.version, short_digest(&m.digest))
    };
    let resource = |r: &isthmus_kubernetes::crd::ResourceStatus| Resource {
        name: r.name.clone(),
        kind: r.kind.to_string(),
        id: r.id.clone(),
        state: format!("{:?}", r.state),
        addresses: r.addresses.clone(),
        message: r.message.clone(),
    };
    let condition = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| Condition {
        name: c.type_.clone(),
        status: c.status.clone(),
        reason: c.reason.clone(),
        message: c.message.clone(),
    };
    let subject = &mapping.spec.subject;
    Tree {
        subject: format!("{}/{}", subject.kind, subject.name),
        uid: subject.uid.clone(),
        mapping: mapping.name_any(),
        module: status.module.as_ref().map(version),
        refiners: status.refiners.iter().map(version).collect(),
        node: status.node.clone(),
        resources: status.resources.iter().map(resource).collect(),
        conditions: status.conditions.iter().map(condition).collect(),
    }
}

fn drawn(tree: &Tree) -> String {
    let text = format!("{} (CloudMapping {})\n", tree.subject, tree.mapping);
    let module = tree
        .module
        .iter()
        .map(|m| format!("module {m}"))
        .chain(tree.refiners.iter().map(|r| format!("refiner {r}")));
    let node = tree.node.iter().map(|n| format!("node {n}"));
    let resources = tree.resources.iter().map(|r| {
        let id = r.id.as_deref().unwrap_or("-");
        let message = r.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
        format!("{} {} {id} {} {}{message}", r.kind, r.name, r.state, r.addresses.join(","))
    });
    let conditions =
        tree.conditions.iter().map(|c| format!("{} {} {}: {}", c.name, c.status, c.reason, c.message));
    let lines: Vec<String> = module.chain(node).chain(resources).chain(conditions).collect();
    text + &branches(&lines)
}

/// Lines as the branches of a tree.
pub(crate) fn branches(lines: &[String]) -> String {
    let last = lines.len().saturating_sub(1);
    let branch = |(at, line): (usize, &String)| {
        format!("{} {}\n", if at == last { "└─" } else { "├─" }, line.trim_end())
    };
    lines.iter().enumerate().map(branch).collect()
}
