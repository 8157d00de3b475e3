//! Services with real packets, by both providers, and what NetworkPolicies mean for who comes through one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, OPEN_GROUP, Operator, SERVED, Stream, Target, on_lab, recorded, until_within};
use isthmus_openstack::neutron::Port;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// An amphora takes ten seconds, OVN one, each change of them one or two.
const SLOW: Duration = Duration::from_secs(180);
/// The condition of a Service that says whether members answer.
const BALANCED: &str = "isthmus.dev/LoadBalanced";
/// The Pods, and what they are.
const PODS: [(&str, &str); 4] =
    [("web-0", "web"), ("web-1", "web"), ("client", "client"), ("stranger", "other")];

/// Protocols and numbers of the Service's ports.
const BOTH: [(&str, u16); 2] = [("TCP", 80), ("UDP", 53)];

/// Modules for all of it are loaded, and Pods run that answer. Their addresses come in their order.
async fn begun(lab: &Lab, provider: &str) -> Result<(String, Operator, Vec<String>)> {
    let config =
        json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false, "provider": provider});
    lab.policy_module("service-loadbalancer", json!({"config": config})).await?;
    for module in ["service-loadbalancer", "networkpolicy-securitygroup"] {
        lab.load(module, module).await?;
    }
    lab.open_group().await?;
    let config = json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": [OPEN_GROUP]});
    lab.policy_module("pod-port", json!({"config": config})).await?;
    lab.load("pod-port", "pod-port").await?;
    let (namespace, operator) = (lab.namespace().await?, lab.operator(&[]).await?);
    for (pod, app) in PODS {
        lab.pod(&namespace, pod, json!({})).await?;
        lab.kubectl(&["label", "pod", "-n", &namespace, pod, &format!("app={app}")]).await?;
    }
    let ports = recorded(&lab.all_ready(&namespace, PODS.len()).await?)?;
    let mut addresses = Vec::new();
    for (pod, _) in PODS {
        let id = ports.get(pod).with_context(|| format!("{pod} has a port"))?;
        let port = lab.port(id).await?.with_context(|| format!("{pod}'s port is there"))?;
        let four = port.fixed_ips.into_iter().map(|ip| ip.ip_address).find(|ip| !ip.contains(':'));
        addresses.push(four.with_context(|| format!("{pod} has an IPv4 address"))?);
        lab.answers(pod, id, &[SERVED]).await?;
    }
    Ok((namespace, operator, addresses))
}

/// Lets in who is of `client` and who is in `blocks`, at TCP alone.
async fn policy(lab: &Lab, namespace: &str, blocks: &[String]) -> Result<()> {
    let only = |app: &str| json!({"matchLabels": {"app": app}});
    let blocks = blocks.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
    let from: Vec<Value> = std::iter::once(json!({"podSelector": only("client")})).chain(blocks).collect();
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"},
        "spec": {"podSelector": only("web"),
                 "ingress": [{"from": from, "ports": [{"protocol": "TCP", "port": SERVED}]}]}});
    let api: Api<NetworkPolicy> = Api::namespaced(lab.kube.clone(), namespace);
    api.patch("web", &PatchParams::apply("e2e").force(), &Patch::Apply(object)).await?;
    Ok(())
}

/// A client that may send to who is of `web` alone may send to their Service, once it is known to lead to them: OVN asks the
/// client's rules before it chooses an endpoint.
async fn held_to_web(lab: &Lab, namespace: &str, targets: &[Target]) -> Result<()> {
    let only = |app: &str| json!({"matchLabels": {"app": app}});
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "client"},
        "spec": {"podSelector": only("client"), "policyTypes": ["Egress"],
                 "egress": [{"to": [{"podSelector": only("web")}], "ports": [{"protocol": "TCP", "port": SERVED}]}]}});
    let api: Api<NetworkPolicy> = Api::namespaced(lab.kube.clone(), namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let everything = [true; 3];
    answers("a Service without a selector is closed", targets, &[false, false, true], &everything).await?;
    let service = json!({"spec": {"selector": {"app": "web"}}});
    lab.service_api(namespace).patch("web", &PatchParams::default(), &Patch::Merge(service)).await?;
    answers("the Service of the peers is open", targets, &[true, false, true], &everything).await?;
    api.delete("client", &DeleteParams::default()).await?;
    answers("without the policy all is", targets, &everything, &everything).await
}

fn at(protocol: &'static str, address: &str, port: u16) -> Result<Target> {
    Ok(Target { protocol, address: address.parse()?, port })
}

/// Waits until these of the targets answer to client and stranger, in this order.
async fn answers(what: &str, targets: &[Target], client: &[bool], stranger: &[bool]) -> Result<()> {
    until_within(SLOW, what, async || {
        let found = (Lab::reaches("client", targets).await?, Lab::reaches("stranger", targets).await?);
        ensure!(found.0 == client && found.1 == stranger, "client, stranger: {found:?}");
        Ok(())
    })
    .await
}

/// A connection through the Service runs on while members come and go that are not its own. In the end the first one is left.
async fn runs_through_members(
    lab: &Lab,
    namespace: &str,
    ports: &[(&str, u16)],
    web: &[String],
    vip: &str,
) -> Result<()> {
    let has = async |members: &[String]| {
        lab.web(namespace, ports, members).await?;
        until_within(SLOW, &format!("the members are {members:?}"), async || {
            let (found, all) = (lab.balanced().await?, lab.balancers().await?);
            let of = |pool: &String| members.iter().all(|member| pool.contains(&format!(" {member}:")));
            let as_many = |pool: &String| pool.split(' ').count() == members.len() + 1;
            ensure!(found.pools.iter().all(|pool| of(pool) && as_many(pool)), "{found:?}");
            ensure!(all.iter().all(|lb| lb.provisioning_status == "ACTIVE"), "{all:?}");
            Ok(())
        })
        .await
    };
    let first = web.get(..1).context("web-0")?;
    has(first).await?;
    let mut stream = Stream::open("client", vip, 80).await?;
    has(web).await?;
    stream.runs("another member").await?;
    has(first).await?;
    stream.runs("it is gone").await
}

/// The Service goes, and its load balancer.
async fn goes(lab: &Lab, namespace: &str) -> Result<()> {
    lab.service_api(namespace).delete("web", &DeleteParams::default()).await?;
    until_within(SLOW, "the load balancer is gone", async || {
        let left = lab.balancers().await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

/// OVN forwards what comes as it comes: a policy's peers are told by their own addresses, through a Service too.
#[tokio::test]
async fn by_ovn_a_service_answers_and_policies_know_who_asks() -> Result<()> {
    on_lab("served-ovn", async |lab| {
        // It is a router that says in OVN where a VIP is.
        lab.pool_and_router().await?;
        lab.routed().await?;
        let (namespace, _operator, pods) = begun(lab, "ovn").await?;
        let (web, first) = (pods.get(..2).context("two of web")?, pods.first().context("web-0")?);
        lab.web(&namespace, &BOTH, web).await?;
        let vip = lab.web_address(&namespace).await?;
        let targets = [at("TCP", &vip, 80)?, at("UDP", &vip, 53)?, at("TCP", first, SERVED)?];
        answers("all are answered", &targets, &[true; 3], &[true; 3]).await?;
        held_to_web(lab, &namespace, &targets).await?;

        policy(lab, &namespace, &[]).await?;
        let client = [true, false, true];
        answers("the policy holds through the Service", &targets, &client, &[false; 3]).await?;
        lab.kubectl(&["label", "pod", "-n", &namespace, "stranger", "app=client", "--overwrite"]).await?;
        answers("a Pod that is a client now is answered", &targets, &client, &client).await?;

        lab.web(&namespace, &BOTH, &[]).await?;
        answers(
            "nobody answers for a Service without endpoints",
            &targets,
            &[false, false, true],
            &[false, false, true],
        )
        .await?;
        lab.web(&namespace, &BOTH, web.get(1..).context("web-1")?).await?;
        answers("the other endpoint alone answers", &targets, &client, &client).await?;
        runs_through_members(lab, &namespace, &BOTH, web, &vip).await?;
        goes(lab, &namespace).await
    })
    .await
}

/// Addresses that the lab's amphorae send from.
async fn senders(lab: &Lab) -> Result<Vec<String>> {
    let network = lab.network().await?;
    let ports =
        lab.admin.list::<Port>(&[("device_owner", "compute:netns"), ("network_id", &network)]).await?;
    let all = ports.into_iter().flat_map(|port| port.fixed_ips).map(|ip| ip.ip_address);
    Ok(all.filter(|ip| !ip.contains(':')).map(|ip| format!("{ip}/32")).collect())
}

/// An amphora sends from its own address: a policy's peers are not told apart behind it, and the amphora can be a peer.
#[tokio::test]
async fn by_amphora_a_policy_sees_the_load_balancer() -> Result<()> {
    on_lab("served-amphora", async |lab| {
        let (namespace, _operator, pods) = begun(lab, "amphora").await?;
        let (web, first) = (pods.get(..2).context("two of web")?, pods.first().context("web-0")?);
        lab.web(&namespace, &[("TCP", 80)], web).await?;
        let vip = lab.web_address(&namespace).await?;
        let targets = [at("TCP", &vip, 80)?, at("TCP", first, SERVED)?];
        answers("both are answered", &targets, &[true; 2], &[true; 2]).await?;

        policy(lab, &namespace, &[]).await?;
        answers("who is let in comes in by no Service", &targets, &[false, true], &[false; 2]).await?;
        let senders = senders(lab).await?;
        ensure!(!senders.is_empty(), "the amphora has an address of its own");
        policy(lab, &namespace, &senders).await?;
        answers("everybody comes in by the Service", &targets, &[true; 2], &[true, false]).await?;
        runs_through_members(lab, &namespace, &[("TCP", 80)], web, &vip).await?;
        goes(lab, &namespace).await
    })
    .await
}

/// Nobody tells the operator when a member begins to answer: it looks. What is taken out of the status comes back.
#[tokio::test]
async fn with_a_monitor_the_address_is_said_once_a_member_answers() -> Result<()> {
    on_lab("served-monitor", async |lab| {
        lab.load_services("amphora").await?;
        let (namespace, _operator) = (lab.namespace().await?, lab.operator(&[]).await?);
        let late = lab.peer("late").await?;
        let wishes = json!({"isthmus.dev/lb-enable-health-monitor": "true",
            "isthmus.dev/lb-health-monitor-delay": "2", "isthmus.dev/lb-health-monitor-timeout": "1"});
        let service = json!({"metadata": {"name": "web", "annotations": wishes},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "p0", "port": 80, "targetPort": SERVED}]}});
        let services = lab.service_api(&namespace);
        services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
        lab.web(&namespace, &[("TCP", 80)], std::slice::from_ref(&late.address)).await?;
        until_within(SLOW, "the Service says that nobody answers", async || {
            let status = services.get("web").await?.status.context("it has no status")?;
            let balanced = status.conditions.into_iter().flatten().find(|c| c.type_ == BALANCED);
            let reason = balanced.context("it says nothing")?.reason;
            ensure!(reason == "NoMemberAnswers", "{reason}");
            let said = status.load_balancer.and_then(|lb| lb.ingress);
            ensure!(said.is_none(), "it says {said:?}");
            Ok(())
        })
        .await?;
        late.serves().await?;
        let address = lab.web_address(&namespace).await?;

        let nothing = Patch::Merge(json!({"status": {"loadBalancer": null}}));
        services.patch_status("web", &PatchParams::default(), &nothing).await?;
        ensure!(lab.web_address(&namespace).await? == address, "another address");
        goes(lab, &namespace).await
    })
    .await
}
