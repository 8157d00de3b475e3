//! `isthmus plan`: it tells what a version would add, change and delete, and writes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use serde_json::{Value, json};
use stage::{Stage, module};

/// Writes to the cluster, to Neutron and to Octavia so far.
fn writes(stage: &Stage) -> [u64; 3] {
    let stats = stage.world.stats();
    [stage.api.writes(), stats.network().writes, stats.load_balancer().writes]
}

/// A Namespace with a network of its own, and a Service behind a load balancer.
async fn populate(stage: &Stage) {
    let pool = json!({"name": "six", "prefixes": ["fd00:101::/48"], "default_prefixlen": 64});
    stage.make("subnetpools", json!({"subnetpool": pool})).await;
    let exclude = json!(["kube-*", "default", "isthmus-*"]);
    let config = json!({"ipv4": {"subnetPool": "namespaces"}, "router": "cluster", "exclude": exclude});
    stage.load("namespace-network", config).await;
    stage.balanced(json!({"floatingNetwork": "public", "provider": "amphora"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_adds_changes_and_deletes_writes_nothing() {
    let stage = Stage::start().await;
    populate(&stage).await;
    let operator = stage.operator(&[]);
    stage.ready(2).await;
    // From here on nobody else writes.
    stage.stop(operator).await;
    let (before, mappings) = (writes(&stage), stage.mappings().await);
    assert!(before.iter().all(|count| *count > 0), "what is counted is not counted: {before:?}");

    let plan = async |name: &str, config: Value| -> Value {
        let (file, config) = (module(name), config.to_string());
        let said = stage.prints(&["plan", &file, "--config", &config, "-o", "json"]).await;
        serde_json::from_str(&said).unwrap()
    };
    let exclude = json!(["kube-*", "default", "isthmus-*"]);
    let six = json!({"ipv6": {"subnetPool": "six"}, "router": "cluster", "isolation": "isolated", "exclude": exclude});
    let network = plan("namespace-network", six).await;
    let watched = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false, "provider": "amphora",
                         "monitor": {"enabled": true}, "algorithm": "LEAST_CONNECTIONS"});
    let service = plan("service-loadbalancer", watched).await;
    for what in ["added", "changed", "deleted"] {
        let count = |planned: &Value| planned["summary"][what].as_u64().unwrap();
        assert!(count(&network) + count(&service) > 0, "{what}: {network} {service}");
    }
    // And one that would take everything away.
    let gone = json!({"router": "cluster", "exclude": ["*"]});
    let summary = plan("namespace-network", gone.clone()).await["summary"].clone();
    let only_deletes =
        summary["deleted"].as_u64() > Some(0) && summary["added"] == 0 && summary["changed"] == 0;
    assert!(only_deletes, "{summary}");
    // By a name that nobody has, none is made.
    let (file, config) = (module("namespace-network"), gone.to_string());
    let (_, said) = stage.fails(&["plan", &file, "--name", "other", "--config", &config]).await;
    assert!(said.contains("the operator would say Conflict"), "{said}");

    assert_eq!(writes(&stage), before);
    let versions = |all: &[isthmus_kubernetes::crd::CloudMapping]| {
        all.iter().map(|mapping| mapping.metadata.resource_version.clone()).collect::<Vec<_>>()
    };
    assert_eq!(versions(&stage.mappings().await), versions(&mappings));
}
