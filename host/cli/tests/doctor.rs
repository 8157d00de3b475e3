//! `isthmus doctor`: what is missing is told, and how to get it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use std::path::Path;
use std::process::Command;

use isthmus_world::Kind;
use isthmus_world::kubernetes::{ApiServer, Options};
use serde_json::json;
use stage::Stage;

const DEFINITION: &str = include_str!("../../../plugins/examples/dns-name-port/deploy/crd.yaml");
const EXAMPLE: &str = include_str!("../../../plugins/examples/dns-name-port/deploy/example.yaml");
const APPLY: &str = "isthmus crds | kubectl apply --server-side -f -";

/// A check as it is printed.
fn check(mark: &str, found: &str, remedy: &str) -> String {
    match remedy {
        "" => format!("{mark}  {found}\n"),
        _ => format!("{mark}  {found}\n      -> {remedy}\n"),
    }
}

fn says(said: &str, mark: &str, found: &str, remedy: &str) {
    let check = check(mark, found, remedy);
    assert!(said.contains(&check), "expected\n{check}in\n{said}");
}

/// What is said with these settings and no others; whether all is well.
async fn with(stage: &Stage, settings: &[(&str, &str)], arguments: &[&str]) -> (String, bool) {
    let mut command = stage.command(&[&["doctor"], arguments].concat());
    let output = command.envs(settings.iter().copied()).output().await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

/// With nothing in its environment but this kubeconfig.
fn alone(kubeconfig: &Path) -> (String, bool) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    command.arg("doctor").env_clear().env("HOME", home.path()).current_dir(home.path());
    let output = command.env("KUBECONFIG", kubeconfig).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_set_up_every_step_is_named() {
    let api = ApiServer::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
    let (said, fine) = alone(&kubeconfig);
    assert!(!fine, "{said}");
    says(&said, "FAIL", "policymodules.isthmus.dev: is not there", APPLY);
    says(&said, "FAIL", "cloudmappings.isthmus.dev: is not there", APPLY);
    let namespace = "kubectl create namespace isthmus-system, or name another one with --operator-namespace";
    says(&said, "FAIL", "operator's namespace: isthmus-system is not there", namespace);
    says(&said, "FAIL", "operator: none has run yet", "start one: isthmus operator");
    assert!(said.contains("FAIL  OpenStack settings: "), "{said}");
    assert!(
        said.contains("-> as for the openstack client: clouds.yaml with OS_CLOUD or --os-cloud, or the"),
        "{said}"
    );

    let remedy = "-> set KUBECONFIG or --kubeconfig to the file of the cluster\n";
    let (said, fine) = alone(Path::new("/nowhere"));
    assert!(!fine && said.contains("FAIL  kubeconfig: ") && said.contains(remedy), "{said}");
    drop(api);
    let (said, fine) = alone(&kubeconfig);
    let remedy = "-> is it up, and the address right?\n";
    assert!(!fine && said.contains("FAIL  API server: ") && said.contains(remedy), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_another_version_and_an_operator_that_is_gone_are_told() {
    let stage = Stage::start().await;
    let crds = isthmus_kubernetes::crd::crds();
    let policies = crds.iter().find(|crd| crd.spec.names.plural == "policymodules").unwrap();
    let mut older = serde_json::to_value(policies).unwrap();
    let schema = &mut older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert!(schema["properties"].as_object_mut().unwrap().remove("replaces").is_some());
    stage.apply(older).await;
    let (said, _) = with(&stage, &[], &[]).await;
    says(&said, "warn", "policymodules.isthmus.dev: is of another version of Isthmus", APPLY);
    says(&said, "ok  ", "cloudmappings.isthmus.dev: is there", "");
    says(&said, "ok  ", "operator's namespace: isthmus-system", "");

    let lease = |holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": isthmus_operator::LEASE, "namespace": "isthmus-system"},
               "spec": {"holderIdentity": holder, "leaseDurationSeconds": 20, "renewTime": "2026-01-01T00:00:00.000000Z"}})
    };
    stage.apply(lease("old")).await;
    let (said, fine) = with(&stage, &[], &[]).await;
    assert!(!fine && said.contains("FAIL  operator: old led, and said so last "), "{said}");
    stage.apply(lease("")).await;
    let (said, _) = with(&stage, &[], &[]).await;
    says(&said, "FAIL", "operator: none leads", "start one: isthmus operator");
    let operator = stage.operator(&[]);
    stage.load("pod-port", json!({"network": "pods"})).await;
    stage.says("pod-port", "Loaded").await;
    let (said, fine) = with(&stage, &[], &[]).await;
    assert!(
        fine && said.contains(" leads\n") && said.contains("ok    PolicyModule pod-port: serves version"),
        "{said}"
    );
    stage.stop(operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_lacks_is_told_with_how_to_get_it() {
    let stage = Stage::start().await;
    // Two modules, and an object of each kind: this much is needed.
    stage.apply_all(DEFINITION).await;
    stage.load("dns-name-port", json!({})).await;
    stage.apply_all(EXAMPLE).await;
    stage.balanced(json!({})).await;
    let (said, fine) = with(&stage, &[], &[]).await;
    assert!(!fine, "{said}");
    let lacks = "Neutron: it lacks dns-integration: ports with a DNS name are refused (dns-name-port)";
    says(&said, "FAIL", lacks, "ask the cloud's operator for it");
    assert!(said.contains("ok    Octavia: version 2."), "{said}");
    assert!(said.contains("ok    roles: ") && said.contains("ok    quota of ports: no limit\n"), "{said}");

    let used = i64::try_from(stage.world.count(Kind::Port)).unwrap();
    stage.world.set_quota(Kind::Port, used + 1000);
    let (said, _) = with(&stage, &[], &[]).await;
    assert!(
        said.contains(&format!(" of {} are used\n", used + 1000)) && said.contains("ok    quota of ports"),
        "{said}"
    );
    stage.world.set_quota(Kind::Port, 1);
    let (said, _) = with(&stage, &[], &[]).await;
    assert!(
        said.contains(" of 1 are used\n      -> ask for a larger one: each Pod needs a port\n"),
        "{said}"
    );

    // A member, who may not bind ports.
    let (said, _) = with(&stage, &[("OS_CLOUD", "demo")], &[]).await;
    let remedy = "give the operator's user the role `service`, too: ports can't be bound to nodes without it \
                  (nested Pods need no binding)";
    says(&said, "warn", "roles: member, reader, load-balancer_member", remedy);
}

/// A wrong password, a region without services, a cloud that nobody has.
#[tokio::test(flavor = "multi_thread")]
async fn settings_that_lead_nowhere_are_told() {
    let stage = Stage::start().await;
    stage.balanced(json!({})).await;

    let clouds = std::fs::read_to_string(stage.clouds()).unwrap();
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other.path(), clouds.replace("\"secret\"", "\"guess\"")).unwrap();
    let file = ("OS_CLIENT_CONFIG_FILE", other.path().to_str().unwrap());
    let (said, fine) = with(&stage, &[file], &[]).await;
    assert!(!fine && said.contains("FAIL  Keystone: "), "{said}");
    assert!(said.contains("-> is the address right and the credential valid? `openstack token issue` uses the same settings\n"), "{said}");
    assert!(!said.contains("guess") && !said.contains("  Neutron: "), "{said}");

    let (said, fine) = with(&stage, &[("OS_REGION_NAME", "Nowhere")], &[]).await;
    assert!(
        !fine
            && said.contains(
                "FAIL  OpenStack settings: cloud \"isthmus\" has no region \"Nowhere\"; it has [RegionOne]"
            ),
        "{said}"
    );

    std::fs::write(other.path(), clouds.replace("RegionOne", "Nowhere")).unwrap();
    let (said, fine) = with(&stage, &[file], &[]).await;
    assert!(!fine && said.contains("FAIL  Neutron: "), "{said}");
    assert!(said.contains("-> the catalog must have a network service\n"), "{said}");
    let without = "Octavia: the cloud has none: no load balancers are made (service-loadbalancer)";
    says(&said, "FAIL", without, "ask the cloud's operator for it");

    let (said, fine) = with(&stage, &[], &["--os-cloud", "none"]).await;
    assert!(!fine && said.contains("FAIL  OpenStack settings: ") && said.contains("none"), "{said}");
}
