//! Namespaces with networks of their own, on the real Neutron: `namespace-network` and `pod-port` together.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{Lab, OPERATOR_NAMESPACE, Target, condition, node, on_lab, port_id, ready, until};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{
    Network, Port, PortCreate, SecurityGroup, SecurityGroupRule, SecurityGroupRuleCreate, Subnet,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Pods of a namespace.
const PODS: usize = 3;
/// What a namespace with IPv4 comes to: network, subnet, interface, three groups.
const OF_A_NAMESPACE: usize = 6;

/// `namespace-network` for the test's namespaces alone, and `pod-port` on what it makes.
async fn load(lab: &Lab, config: Value) -> Result<()> {
    load_for(lab, &["IPv4"], config).await
}

/// As [`load`], with Pods that have an address of each of these versions.
async fn load_for(lab: &Lab, versions: &[&str], config: Value) -> Result<()> {
    lab.pool_and_router().await?;
    let others = ["kube-*", "default", OPERATOR_NAMESPACE];
    let mut namespaces =
        json!({"ipv4": {"subnetPool": "e2e"}, "router": "e2e", "isolation": "isolated", "exclude": others});
    let whole = namespaces.as_object_mut().context("an object")?;
    whole.extend(config.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    lab.policy_module("namespace-network", json!({"config": namespaces})).await?;
    lab.load("namespace-network", "namespace-network").await?;
    let pods =
        json!({"network": {"fromNamespace": versions, "except": {"namespaces": others, "network": "pods"}}});
    lab.policy_module("pod-port", json!({"config": pods})).await?;
    lab.load("pod-port", "pod-port").await
}

/// The CloudMapping of a Namespace, once it is ready.
async fn mapped(lab: &Lab, namespace: &str) -> Result<CloudMapping> {
    until(&format!("namespace {namespace} has its network"), async || {
        let own = lab.mapping_of(namespace, "Namespace").await?;
        ensure!(ready(&own), "{:?}", own.status.map(|s| s.conditions));
        Ok(own)
    })
    .await
}

async fn delete(lab: &Lab, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
    namespaces.delete(namespace, &DeleteParams::default()).await?;
    Ok(())
}

async fn is_gone(lab: &Lab, namespace: &str) -> Result<()> {
    until(&format!("namespace {namespace} is gone"), async || {
        let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
        let left = namespaces.get_opt(namespace).await?;
        ensure!(left.is_none(), "{:?}", left.and_then(|n| n.status));
        Ok(())
    })
    .await
}

/// What the rules of a group let in and out, for comparison.
fn allowed(group: &SecurityGroup) -> BTreeSet<(&str, &str, Option<&str>)> {
    let rules = group.security_group_rules.iter();
    rules.map(|r| (r.direction.as_str(), r.ethertype.as_str(), r.remote_group_id.as_deref())).collect()
}

/// A namespace's network, subnet, router interface and groups are made and used by its Pods, nothing is written without a
/// difference, and with the namespace all of it goes, in the right order.
#[tokio::test]
async fn a_namespace_becomes_a_network_and_goes_with_all_of_it() -> Result<()> {
    on_lab("namespaces", async |lab| {
        load(lab, json!({})).await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        let namespace = lab.namespace().await?;
        mapped(lab, &namespace).await?;
        as_asked(lab).await?;
        lab.pods(&namespace, PODS).await?;
        on_its_network(lab, &namespace).await?;
        operator.rests().await?;
        let _operator = lab.restarted(operator).await?;
        delete(lab, &namespace).await?;
        is_gone(lab, &namespace).await?;
        lab.nothing_made_is_left().await
    })
    .await
}

/// Its module is gone, and what it made is kept until nobody needs it: a namespace that is deleted does not wait for ever.
#[tokio::test]
async fn a_namespace_goes_without_its_module() -> Result<()> {
    on_lab("namespaces-alone", async |lab| {
        load(lab, json!({})).await?;
        let _operator = lab.operator(&["--resync-seconds", "2"]).await?;
        let namespace = lab.namespace().await?;
        mapped(lab, &namespace).await?;
        lab.remove_module("namespace-network").await?;
        until("it is frozen", async || {
            let own = lab.mapping_of(&namespace, "Namespace").await?;
            let said = condition(&own, "Mapped").context("no condition Mapped")?;
            ensure!(said.reason == "ModuleMissing", "{said:?}");
            Ok(())
        })
        .await?;
        ensure!(lab.made().await?.len() == OF_A_NAMESPACE, "what is mapped stays");
        delete(lab, &namespace).await?;
        is_gone(lab, &namespace).await?;
        lab.nothing_made_is_left().await
    })
    .await
}

/// What one namespace came to.
struct Own {
    network: Network,
    subnet: Subnet,
    interface: Port,
    /// Without rules.
    members: SecurityGroup,
    ingress: SecurityGroup,
    egress: SecurityGroup,
}

async fn own(lab: &Lab) -> Result<Own> {
    let mut made = lab.made().await?;
    ensure!(made.len() == OF_A_NAMESPACE, "{made:?}");
    let missing = "one of each kind";
    let mut group = |entry: &str| {
        let is_it = |group: &SecurityGroup| {
            Mark::of(&group.description, &group.tags).is_some_and(|mark| mark.name == *entry)
        };
        let at = made.groups.iter().position(is_it).context(missing)?;
        anyhow::Ok(made.groups.swap_remove(at))
    };
    Ok(Own {
        members: group("members")?,
        ingress: group("ingress")?,
        egress: group("egress")?,
        network: made.networks.pop().context(missing)?,
        subnet: made.subnets.pop().context(missing)?,
        interface: made.interfaces.pop().context(missing)?,
    })
}

/// Network, subnet, interface and groups are there, as the module asked for them.
async fn as_asked(lab: &Lab) -> Result<()> {
    let Own { network, subnet, interface, members, ingress, egress } = own(lab).await?;
    ensure!(subnet.network_id == network.id && subnet.cidr.starts_with("10.180."), "{subnet:?}");
    ensure!(network.tags.len() == 3, "the mark is in the tags too: {:?}", network.tags);
    let address = interface.fixed_ips.first().map(|ip| ip.ip_address.clone());
    ensure!(address == subnet.gateway_ip, "{interface:?}");
    ensure!(interface.device_id == lab.router().await?.id, "{interface:?}");
    let own = Some(members.id.as_str());
    let both = |direction, remote| BTreeSet::from([(direction, "IPv4", remote), (direction, "IPv6", remote)]);
    ensure!(allowed(&members).is_empty(), "{members:?}");
    ensure!(allowed(&ingress) == both("ingress", own), "{ingress:?}");
    ensure!(allowed(&egress) == both("egress", None), "{egress:?}");
    Ok(())
}

async fn on_its_network(lab: &Lab, namespace: &str) -> Result<()> {
    until("Pods are on the network of their namespace", async || {
        let (own, ports) = (own(lab).await?, lab.ports().await?);
        ensure!(ports.len() == PODS, "{} ports", ports.len());
        for port in &ports {
            ensure!(port.network_id == own.network.id, "{port:?}");
            let groups: BTreeSet<&String> = port.security_groups.iter().collect();
            let all = [&own.members, &own.ingress, &own.egress].map(|group| &group.id);
            ensure!(groups == BTreeSet::from(all), "{port:?}");
        }
        let all = lab.mapping_api(namespace).list(&ListParams::default()).await?;
        ensure!(all.items.iter().all(ready), "not all are ready");
        Ok(())
    })
    .await
}

/// What somebody changes by hand is put right: a rule that was added or deleted, a group's name, a deleted interface.
#[tokio::test]
async fn what_somebody_changes_is_put_right() -> Result<()> {
    on_lab("drift", async |lab| {
        load(lab, json!({})).await?;
        let _operator = lab.operator(&["--resync-seconds", "2"]).await?;
        let namespace = lab.namespace().await?;
        mapped(lab, &namespace).await?;
        let Own { ingress: group, interface, .. } = own(lab).await?;
        let rule = group.security_group_rules.first().context("the group has rules")?;
        lab.admin.delete::<SecurityGroupRule>(&rule.id).await?;
        let theirs = SecurityGroupRuleCreate {
            security_group_id: group.id.clone(),
            direction: "ingress".into(),
            protocol: Some("tcp".into()),
            ..SecurityGroupRuleCreate::default()
        };
        lab.admin.create::<SecurityGroupRule>(&theirs).await?;
        lab.admin.remove_router_interface(&interface.device_id, &interface.id).await?;
        until("all is as it was", async || {
            as_asked(lab).await?;
            let now = own(lab).await?;
            ensure!(now.interface.id != interface.id, "the interface is still that which was deleted");
            ensure!(now.ingress.id == group.id, "the group is another one");
            Ok(())
        })
        .await
    })
    .await
}

/// Somebody's own port on the network holds back its deletion, the condition names that port, and other namespaces are
/// not held up by it.
#[tokio::test]
async fn a_network_that_somebody_uses_is_waited_for() -> Result<()> {
    on_lab("in-use", async |lab| {
        load(lab, json!({})).await?;
        let _operator = lab.operator(&["--resync-seconds", "2"]).await?;
        let (namespace, other) = (lab.namespace().await?, lab.namespace().await?);
        let own = mapped(lab, &namespace).await?;
        mapped(lab, &other).await?;
        let network = own.status.as_ref().and_then(|s| s.resources.iter().find(|r| r.name == "network"));
        let network = network.and_then(|r| r.id.clone()).context("the network has an id")?;
        let body =
            PortCreate { network_id: network.clone(), name: Some("theirs".into()), ..PortCreate::default() };
        let theirs: Port = lab.demo.create(&body).await?;
        delete(lab, &namespace).await?;
        until("the condition names what holds the network", async || {
            let own = lab.mapping_api(&namespace).get(&own.name_any()).await?;
            let said = condition(&own, "Realized").context("there is no such condition")?;
            ensure!(said.status == "False" && said.message.contains(&theirs.id), "{said:?}");
            Ok(())
        })
        .await?;
        delete(lab, &other).await?;
        is_gone(lab, &other).await?;
        lab.demo.delete::<Port>(&theirs.id).await?;
        is_gone(lab, &namespace).await?;
        lab.nothing_made_is_left().await
    })
    .await
}

/// A network is made when the first Pod needs it, and not for a Pod on its node's network.
#[tokio::test]
async fn a_network_is_made_when_it_is_needed() -> Result<()> {
    on_lab("when-needed", async |lab| {
        load(lab, json!({"create": "when-needed"})).await?;
        let operator = lab.operator(&[]).await?;
        let namespace = lab.namespace().await?;
        let spec = json!({"hostNetwork": true, "nodeName": node()});
        lab.pod(&namespace, "on-the-host", spec).await?;
        operator.quiet().await?;
        ensure!(lab.made().await?.is_empty(), "{:?}", lab.made().await?);
        lab.pods(&namespace, 1).await?;
        let own = mapped(lab, &namespace).await?;
        ensure!(lab.made().await?.len() == OF_A_NAMESPACE, "{:?}", own.status);
        let address =
            |port: &Port| port.fixed_ips.first().and_then(|ip| ip.ip_address.parse::<IpAddr>().ok());
        until("the Pod has an address", async || {
            let ports = lab.ports().await?;
            ensure!(ports.len() == 1 && ports.iter().all(|p| address(p).is_some()), "{ports:?}");
            Ok(())
        })
        .await
    })
    .await
}

async fn annotate(lab: &Lab, namespace: &str, annotations: &[&str]) -> Result<()> {
    let arguments = [&["annotate", "--overwrite", "namespace", namespace], annotations].concat();
    lab.kubectl(&arguments).await.map(drop)
}

/// A Pod's port, once it is mapped.
async fn port_of(lab: &Lab, namespace: &str, pod: &str) -> Result<Port> {
    let pod = lab.pod(namespace, pod, json!({})).await?;
    let id = port_id(&lab.pod_ready(&pod).await?).context("it records a port")?;
    lab.port(&id).await?.context("its port is there")
}

/// The port has one address on each of these subnets, and no other.
fn is_on(port: &Port, subnets: &[Subnet]) -> Result<()> {
    let on: BTreeSet<&str> = port.fixed_ips.iter().map(|ip| ip.subnet_id.as_str()).collect();
    let all = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    ensure!(on == all && port.fixed_ips.len() == subnets.len(), "{port:?} and {subnets:?}");
    Ok(())
}

/// With pools of both IP versions a namespace has a subnet of each on the router, and its Pods an address of each. For one that names a
/// network and subnets that are there nothing is made but groups, its Pods are on these, and they outlive it.
#[tokio::test]
async fn of_both_versions_and_on_a_network_that_is_there() -> Result<()> {
    on_lab("namespaces-both", async |lab| {
        lab.pool_six().await?;
        load_for(lab, &["IPv4", "IPv6"], json!({"ipv6": {"subnetPool": "e2e-v6"}})).await?;
        let there = [
            (4, "10.190.0.0/24", ["10.190.0.10", "10.190.0.20"]),
            (6, "fd00:190::/64", ["fd00:190::10", "fd00:190::20"]),
        ];
        lab.network_with(&there).await?;
        let (both, on_theirs) = (lab.namespace().await?, lab.namespace().await?);
        annotate(lab, &on_theirs, &["isthmus.dev/network=e2e", "isthmus.dev/subnets=e2e-v4,e2e-v6"]).await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        mapped(lab, &both).await?;
        mapped(lab, &on_theirs).await?;

        let made = lab.made().await?;
        let kinds = (made.networks.len(), made.subnets.len(), made.interfaces.len(), made.groups.len());
        ensure!(kinds == (1, 2, 2, 6), "{made:?}");
        let in_pools = |subnet: &Subnet| match subnet.ip_version {
            4 => subnet.cidr.starts_with("10.180."),
            _ => subnet.cidr.starts_with("fd00:180:") && subnet.cidr.ends_with("/64"),
        };
        ensure!(made.subnets.iter().all(in_pools), "{:?}", made.subnets);
        let gateways: BTreeSet<_> =
            made.subnets.iter().filter_map(|subnet| subnet.gateway_ip.as_ref()).collect();
        let interfaces = made.interfaces.iter().flat_map(|port| &port.fixed_ips).map(|ip| &ip.ip_address);
        ensure!(gateways.len() == 2 && gateways == interfaces.collect(), "{made:?}");
        is_on(&port_of(lab, &both, "p").await?, &made.subnets)?;

        let theirs = lab.demo.list::<Network>(&[("name", "e2e")]).await?;
        let theirs = theirs.first().context("the network that is there")?;
        let subnets = lab.demo.list::<Subnet>(&[("network_id", &theirs.id)]).await?;
        is_on(&port_of(lab, &on_theirs, "p").await?, &subnets)?;
        operator.rests().await?;
        for namespace in [&both, &on_theirs] {
            delete(lab, namespace).await?;
            is_gone(lab, namespace).await?;
        }
        lab.nothing_made_is_left().await?;
        let left = lab.demo.list::<Subnet>(&[("network_id", &theirs.id)]).await?;
        ensure!(left.len() == subnets.len(), "what was there is gone: {left:?}");
        Ok(())
    })
    .await
}

/// Who is answered by whom, by TCP and UDP alike, of these Pods.
async fn answered(pods: &[(&'static str, IpAddr)]) -> Result<BTreeSet<(&'static str, &'static str)>> {
    let mut tries = JoinSet::new();
    for (from, _) in pods {
        let others: Vec<_> = pods.iter().copied().filter(|(name, _)| name != from).collect();
        let to = |address| ["TCP", "UDP"].map(|protocol| Target { protocol, address, port: 80 });
        let targets: Vec<Target> = others.iter().flat_map(|(_, address)| to(*address)).collect();
        let from = *from;
        tries.spawn(async move { Ok((from, others, Lab::reaches(from, &targets).await?)) });
    }
    let mut found = BTreeSet::new();
    while let Some(tried) = tries.join_next().await {
        let (from, others, answers) = tried?.map_err(|e: anyhow::Error| e)?;
        for ((to, _), answers) in others.into_iter().zip(answers.chunks(2)) {
            match answers {
                [true, true] => drop(found.insert((from, to))),
                [false, false] => {}
                _ => bail!("{from} to {to} by TCP and UDP: {answers:?}"),
            }
        }
    }
    Ok(found)
}

/// With packets: Pods of an isolated namespace reach each other, and nobody of another one, until that one is open: then they come in
/// there, and still nobody comes in to them.
#[tokio::test]
async fn isolated_namespaces_do_not_reach_each_other_and_open_ones_do() -> Result<()> {
    on_lab("isolation", async |lab| {
        load(lab, json!({})).await?;
        let _operator = lab.operator(&[]).await?;
        let (a, b) = (lab.namespace().await?, lab.namespace().await?);
        let mut pods = Vec::new();
        for (pod, namespace) in [("a-1", &a), ("a-2", &a), ("b-1", &b)] {
            let port = port_of(lab, namespace, pod).await?;
            let address = port.fixed_ips.first().context("an address")?.ip_address.parse()?;
            lab.answers(pod, &port.id, &[80]).await?;
            pods.push((pod, address));
        }
        let are = async |what: &str, further: &[(&'static str, &'static str)]| {
            let inside = [("a-1", "a-2"), ("a-2", "a-1")];
            let expected: BTreeSet<_> = inside.iter().chain(further).copied().collect();
            until(what, async || {
                let found = answered(&pods).await?;
                ensure!(found == expected, "{found:?}");
                Ok(())
            })
            .await
        };
        let (into_a, into_b) = ([("b-1", "a-1"), ("b-1", "a-2")], [("a-1", "b-1"), ("a-2", "b-1")]);
        are("they are apart", &[]).await?;
        annotate(lab, &b, &["isthmus.dev/isolation=open"]).await?;
        are("who is open lets in", &into_b).await?;
        annotate(lab, &a, &["isthmus.dev/isolation=open"]).await?;
        are("all are open", &[into_a, into_b].concat()).await?;
        annotate(lab, &a, &["isthmus.dev/isolation-"]).await?;
        annotate(lab, &b, &["isthmus.dev/isolation-"]).await?;
        are("they are apart again", &[]).await
    })
    .await
}
