//! What is measured in the in-process world: Kubernetes and cloud are models there, so what is left is the operator's own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use isthmus_kubernetes::crd::CloudMapping;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PODS, another_build};
use crate::measure::{Measure, ratio, say};
use crate::objects::{apply, load};
use crate::operator::Operator;
use crate::scenario::{Stage, limit, loaded, rate};
use crate::{Arguments, cloud, policies};

const ROUTES: &str = include_str!("../../../plugins/route-l7policy/deploy/crd.yaml");
/// Routes that are made at once.
const PARALLEL: usize = 32;

/// All of it.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("isthmus-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let kubeconfig = folder.join("kubeconfig");
    let cluster = Cluster::embedded(&kubeconfig, &arguments.node).await?;
    cluster.prepare().await?;
    let world = cloud::start().await?;
    let start = async |cloud: &[(&str, String)]| {
        Operator::start(&arguments.operator, cloud, Some(&kubeconfig), &[]).await
    };
    let environment = world.environment();
    let operator = start(&environment).await?;
    cluster.configure().await?;
    cluster.load(arguments.read("pod-port")?).await?;
    loaded(&operator, 1).await?;
    let mut stage = Stage { cluster: &cluster, operator, mappings: cluster.watch(), world };
    let first = 2_000.min(arguments.pods);
    stage.throughput(first, 500.0).await?;
    stage.grow(first, arguments.pods).await?;
    stage.settle().await?;
    stage.swap(another_build(&arguments.module())?, arguments.pods).await?;
    stage.settle().await?;

    let Stage { operator, world, .. } = stage;
    say("starting anew with all of them mapped");
    let status = operator.stop().await?;
    ensure!(status.success(), "the operator ended with {status}");
    let before = (cluster.writes().await?, world.stats().network().writes);
    let began = Instant::now();
    let mut operator = start(&environment).await?;
    operator.leads().await?;
    let ready = began.elapsed();
    let mut stage = Stage { cluster: &cluster, operator, mappings: cluster.watch(), world };
    stage.mappings.ready(arguments.pods, limit(arguments.pods)).await?;
    stage.settle().await?;
    let writes = cluster.writes().await? - before.0 + stage.world.stats().network().writes - before.1;
    Measure {
        name: "start with all Pods mapped",
        target: "<= 5 s",
        measured: format!("{:.2} s", ready.as_secs_f64()),
        met: Some(ready <= Duration::from_secs(5)),
        note: format!("{} Pods; from the process's start until it leads and is ready", arguments.pods),
    }
    .print();
    Measure {
        name: "start with all Pods mapped: writes",
        target: "0",
        measured: writes.to_string(),
        met: Some(writes == 0),
        note: "to Kubernetes and the cloud".into(),
    }
    .print();
    let policies = arguments.read("networkpolicy-securitygroup")?;
    let writes = || stage.world.stats().network().writes;
    policies::over_all(&cluster, &stage.operator, arguments.pods, policies, writes).await?;
    cluster.delete_pods().await?;
    stage.mappings.gone(limit(arguments.pods)).await?;
    routes(&stage, arguments).await?;
    stage.operator.stop().await?;
    // The system's temporary folder is emptied by others, should this fail.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

/// Routes on one load balancer: what one costs, and how long it waits for its turn.
async fn routes(stage: &Stage<'_>, arguments: &Arguments) -> Result<()> {
    let (client, count) = (stage.cluster.client(), arguments.route_count);
    say(&format!("mapping {count} Routes on one load balancer"));
    let definition: CustomResourceDefinition = serde_saphyr::from_str(ROUTES)?;
    let parameters = PatchParams::apply("isthmus-bench").force();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.patch(&definition.name_any(), &parameters, &Patch::Apply(&definition)).await?;
    let config = |name: &str| json!({"network": "pods", "subnets": ["pods-v4"], "provider": "amphora", "policyModule": name});
    load(&client, "routes", config, arguments.read("route-l7policy")?).await?;
    service(&client).await?;
    let kind = GroupVersionKind::gvk("route.openshift.io", "v1", "Route");
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), PODS, &ApiResource::from_gvk_with_plural(&kind, "routes"));
    make(&api, 0).await?;
    ready(&client, 1).await?;
    stage.settle().await?;
    let one = cost(stage, &api, &client, 1).await?;

    let before = stage.operator.numbers().await?;
    let (calls, began) = (stage.world.stats().load_balancer().writes, Instant::now());
    let creates = stream::iter(2..count).map(|number| make(&api, number));
    creates.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    ready(&client, count).await?;
    let took = began.elapsed();
    let writes = stage.world.stats().load_balancer().writes - calls;
    stage.settle().await?;
    let last = cost(stage, &api, &client, count).await?;
    let after = stage.operator.numbers().await?;
    let each = took / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    Measure {
        name: "Routes on one load balancer: writes each",
        target: "<= 5",
        measured: format!("{:.2}", ratio(writes, count.saturating_sub(2))),
        met: Some(ratio(writes, count.saturating_sub(2)) <= 5.0),
        note: format!(
            "{count} Routes at {:.0}/s, {:.1} ms each, mostly the queue of the load balancer",
            rate(count, took),
            each.as_secs_f64() * 1e3
        ),
    }
    .print();
    for (name, histogram) in [
        ("Routes on one load balancer: a call of the module, mean", "isthmus_module_call_seconds"),
        ("Routes on one load balancer: wait for a turn, mean", "isthmus_load_balancer_turn_seconds"),
    ] {
        let ((before, first), (after, last)) = (before.histogram(histogram), after.histogram(histogram));
        let count = last.saturating_sub(first);
        let mean = (after - before) / ratio(count.max(1), 1) * 1e3;
        let note = format!("{count} of them");
        Measure { name, target: "", measured: format!("{mean:.2} ms"), met: None, note }.print();
    }
    Measure {
        name: "Routes on one load balancer: the last costs what the second does",
        target: "equal",
        measured: format!("{last} and {one}"),
        met: Some(last == one),
        note: format!("writes to Octavia, of the second Route and of number {}", count + 1),
    }
    .print();
    ensure!(last == one, "the Route after {count} costs {last} writes, the second {one}");
    Ok(())
}

/// Writes to Octavia of one more Route.
async fn cost(
    stage: &Stage<'_>,
    api: &Api<DynamicObject>,
    client: &kube::Client,
    number: usize,
) -> Result<u64> {
    let before = stage.world.stats().load_balancer().writes;
    make(api, number).await?;
    ready(client, number + 1).await?;
    stage.settle().await?;
    Ok(stage.world.stats().load_balancer().writes - before)
}

async fn make(api: &Api<DynamicObject>, number: usize) -> Result<()> {
    let spec = json!({"host": format!("h{number:04}.example.com"), "to": {"kind": "Service", "name": "web", "weight": 100}});
    let route: Value = json!({"apiVersion": "route.openshift.io/v1", "kind": "Route",
        "metadata": {"name": format!("r-{number:04}")}, "spec": spec});
    api.create(&PostParams::default(), &serde_json::from_value(route)?).await.context("making a Route")?;
    Ok(())
}

/// Waits until so many mappings of Routes are ready.
async fn ready(client: &kube::Client, wanted: usize) -> Result<()> {
    let (api, began) = (Api::<CloudMapping>::namespaced(client.clone(), PODS), Instant::now());
    loop {
        let all = api.list(&ListParams::default()).await?.items;
        let found = all.iter().filter(|mapping| mapping.is_ready()).count();
        if found >= wanted {
            return Ok(());
        }
        ensure!(began.elapsed() < limit(wanted) * 10, "{found} of {wanted} Routes are ready");
        tokio::time::sleep(Duration::from_millis(if wanted > 10 { 500 } else { 20 })).await;
    }
}

/// A Service with two endpoints.
async fn service(client: &kube::Client) -> Result<()> {
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.100.9.1"], "conditions": {"ready": true}},
                      {"addresses": ["10.100.9.2"], "conditions": {"ready": true}}]});
    apply(client, slice).await?;
    apply(client, service).await
}
