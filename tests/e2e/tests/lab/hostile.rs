//! What users of one namespace can write, against those of another.

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{LIMIT, Lab, Sample, condition, node, on_lab, port_id, ready, until, until_within};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::names::FINALIZER;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// As much as the API server takes of them in one object, with a margin for ours.
const ANNOTATIONS: usize = 250_000;

/// The name of a Pod's port can be guessed. Who names it for the VIP of a Service gets neither that nor a floating IP that leads
/// there.
#[tokio::test]
async fn a_service_takes_no_port_of_a_pods() -> Result<()> {
    on_lab("port-of-a-pod", async |lab| {
        lab.load_services_outside("noop").await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pod_ready(&lab.pod(&namespace, "victim", json!({})).await?).await?;
        let before = lab.ports().await?;
        let [port] = before.as_slice() else { bail!("{before:?}") };
        lab.web(&namespace, &[("TCP", 80)], &["10.100.9.1".to_owned()]).await?;
        let wish = json!({"metadata": {"annotations": {"isthmus.dev/lb-port": port.name}}});
        lab.service_api(&namespace).patch("web", &PatchParams::default(), &Patch::Merge(wish)).await?;
        until("the Service's mapping says why", async || {
            let own = lab.mapping_of(&namespace, "Service").await?;
            let said = condition(&own, "Realized").context("no condition Realized")?;
            ensure!(said.message.contains("is no other's to use"), "{said:?}");
            Ok(())
        })
        .await?;
        operator.quiet().await?;
        let led =
            lab.floating_ips().await?.into_iter().filter(|ip| ip.port_id.as_ref() == Some(&port.id)).count();
        ensure!(led == 0 && lab.ports().await? == before, "{led} floating IPs lead to the Pod");
        Ok(())
    })
    .await
}

/// The namespace's own annotations, each as wrong as it can be.
async fn annotate(lab: &Lab, namespace: &str) -> Result<()> {
    let many = vec!["no-such-group"; 2000].join(",");
    let annotations = json!({
        "isthmus.dev/network": "pods\n{\"id\": \"../../v2.0/ports\"}", "isthmus.dev/subnets": "?name=pods-v4&limit=0,,%00",
        "isthmus.dev/security-groups": many, "isthmus.dev/make-subnets": "\u{1b}[2J",
    });
    let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    namespaces.patch(namespace, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn pods(lab: &Lab, namespace: &str) -> Result<()> {
    let huge = "x".repeat(ANNOTATIONS);
    for (name, annotation) in [("victim", json!({})), ("huge", json!({"isthmus.dev/odd": huge}))] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": annotation, "finalizers": ["example.org/never"],
                         "labels": {"isthmus.dev/node": "another", "isthmus.dev/cluster": "another"}},
            "spec": {"nodeName": node(), "containers": [{"name": "c", "image": "none"}]},
        }))?;
        lab.pod_api(namespace).create(&PostParams::default(), &pod).await?;
    }
    Ok(())
}

/// A policy of many blocks and ports (Neutron takes 50 ms for each rule), and one that wants every address there is.
async fn policies(lab: &Lab, namespace: &str) -> Result<()> {
    let block = |at: usize| json!({"ipBlock": {"cidr": format!("10.{}.{}.0/24", at / 200, at % 200)}});
    let rule = |at: usize| {
        json!({"from": (0..20).map(|i| block(at * 20 + i)).collect::<Vec<Value>>(),
               "ports": (0..20).map(|i| json!({"port": 1000 + i, "endPort": 60_000})).collect::<Vec<Value>>()})
    };
    let api: Api<NetworkPolicy> = Api::namespaced(lab.kube.clone(), namespace);
    for (name, rules) in [
        ("large", (0..2).map(rule).collect::<Vec<Value>>()),
        ("all", vec![json!({"from": [{"namespaceSelector": {}, "podSelector": {}}]})]),
    ] {
        let policy = json!({"metadata": {"name": name}, "spec": {"podSelector": {}, "ingress": rules}});
        api.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    }
    Ok(())
}

/// A Service that asks for everything, with endpoints that are nobody's.
async fn service(lab: &Lab, namespace: &str) -> Result<()> {
    let ports: Vec<Value> = (0..60).map(|at| json!({"name": format!("p{at}"), "port": 1 + at})).collect();
    let service = json!({"metadata": {"name": "web", "annotations": {
            "isthmus.dev/lb-timeout-client-data": "-1e400", "isthmus.dev/lb-floating-network": "../..",
            "loadbalancer.openstack.org/flavor-id": "\n", "isthmus.dev/lb-provider": "nobody's"}},
        "spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["0.0.0.0/0"], "ports": ports}});
    lab.service_api(namespace).create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    let endpoints: Vec<Value> =
        (0..1000).map(|at| json!({"addresses": [format!("10.99.{}.{}", at / 250, at % 250 + 1)]})).collect();
    let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "p0", "port": 65_535}], "endpoints": endpoints});
    lab.slice_api(namespace).create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
    Ok(())
}

/// A mapping of a Pod that never was, which has recorded what is another one's.
async fn claims(lab: &Lab, namespace: &str, own: &CloudMapping) -> Result<()> {
    let mut forged = CloudMapping::new("pod-ghost-01234567", own.spec.clone());
    forged.spec.subject.namespace = Some(namespace.to_owned());
    forged.spec.subject.name = "ghost".into();
    forged.spec.subject.uid = "01234567-89ab-cdef-0123-456789abcdef".into();
    forged.metadata.finalizers = Some(vec![FINALIZER.into()]);
    let api = lab.mapping_api(namespace);
    api.create(&PostParams::default(), &forged).await?;
    let status = Patch::Merge(json!({"status": own.status}));
    api.patch_status(&forged.name_any(), &PatchParams::default(), &status).await?;
    Ok(())
}

/// What became of each of them: `condition`, its status, and a part of what it says.
async fn are_told(lab: &Lab, namespace: &str) -> Result<()> {
    let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
    let table = [
        ("pod-victim-", "Realized", "False", "there is no network named"),
        ("pod-huge-", "Realized", "False", "there is no network named"),
        ("networkpolicy-large-", "Ready", "True", ""),
        ("networkpolicy-all-", "Ready", "True", ""),
        ("service-web-", "Mapped", "False", "lb-timeout-client-data"),
    ];
    for (prefix, kind, status, says) in table {
        let own = all.iter().find(|m| m.name_any().starts_with(prefix));
        let own = own.with_context(|| format!("there is no {prefix}"))?;
        let found = condition(own, kind).with_context(|| format!("{prefix} has no {kind}"))?;
        ensure!(found.status == status && found.message.contains(says), "{prefix}: {found:?}");
    }
    ensure!(all.len() == table.len(), "of the ghost nothing is left: {} mappings", all.len());
    Ok(())
}

/// Nothing that a namespace's user can write holds up another namespace, or takes anything from it.
#[tokio::test]
async fn what_one_namespace_writes_harms_no_other() -> Result<()> {
    on_lab("hostile", async |lab| {
        lab.load_services("noop").await?;
        lab.load("networkpolicy-securitygroup", "networkpolicy-securitygroup").await?;
        let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "2"]).await?;
        for module in ["service-loadbalancer", "networkpolicy-securitygroup", "pod-port"] {
            lab.loaded(module).await?;
        }
        let victim = lab.pod(&namespace, "victim", json!({})).await?;
        let own = lab.pod_ready(&victim).await?;
        let port = port_id(&own).context("the victim has a port")?;
        let before = lab.port(&port).await?.context("it is there")?;

        let evil = lab.namespace().await?;
        annotate(lab, &evil).await?;
        pods(lab, &evil).await?;
        policies(lab, &evil).await?;
        service(lab, &evil).await?;
        // One that nobody looks at before it claims all that it wants.
        operator.kill().await?;
        claims(lab, &evil, &own).await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;

        lab.pod_ready(&lab.pod(&namespace, "next", json!({})).await?).await.context("others go on")?;
        until("each is told what it came to", async || are_told(lab, &evil).await).await?;
        let cost = operator.cost_of_resyncs(3).await?;
        ensure!(cost.of(Sample::cloud_writes) == 0, "nothing is tried without end");
        ensure!(lab.port(&port).await?.as_ref() == Some(&before), "the victim's port is as it was");
        ensure!(ready(&lab.mapping(&victim).await?), "and so is its mapping");
        ensure!(operator.get("/readyz").await?.0 == 200, "the operator is well");
        for name in ["victim", "huge"] {
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            lab.pod_api(&evil).patch(name, &PatchParams::default(), &none).await?;
        }
        lab.delete_pods(&evil).await?;
        let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
        namespaces.delete(&evil, &DeleteParams::default()).await?;
        until_within(2 * LIMIT, "nothing holds up the end of the namespace", async || {
            let left = namespaces.get_opt(&evil).await?;
            ensure!(left.is_none(), "{:?}", left.and_then(|n| n.status));
            Ok(())
        })
        .await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}
