//! NetworkPolicies against real packets: what passes between Pods in OVN is what Kubernetes' text says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{Lab, OPEN_GROUP, Operator, Target, node, on_lab, recorded, until, until_within};
use isthmus_judge::cluster::{End, Packet, Policy, World};
use isthmus_judge::{random, text};
use isthmus_openstack::neutron::Port;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// On one network, in three namespaces: 210 pairs.
const PODS: usize = 15;
/// At once.
const POLICIES: usize = 8;
/// Where every Pod answers.
const PORTS: [u16; 3] = [80, 81, 8080];
/// How long OVN may take for what Neutron was told, with the times that all is tried.
const LIMIT: Duration = Duration::from_secs(120);
/// How many sets of policies there are, one after another.
const ROUNDS: usize = 2;
/// How many things `Policy::speaks_of` knows.
const DIFFICULT: usize = 6;

struct Cluster {
    world: World,
    /// Names of the world's namespaces.
    namespaces: Vec<String>,
}

impl Cluster {
    /// Makes namespaces and Pods, and has every Pod answer.
    async fn new(lab: &Lab, world: World) -> Result<Self> {
        let mut cluster = Self { world, namespaces: Vec::new() };
        for labels in cluster.world.namespaces.clone() {
            let name = lab.namespace().await?;
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = labels.iter().map(String::as_str);
            let arguments: Vec<&str> = ["label", "namespace", &name].into_iter().chain(labels).collect();
            if arguments.len() > 3 {
                lab.kubectl(&arguments).await?;
            }
            cluster.namespaces.push(name);
        }
        for (i, pod) in cluster.world.pods.iter().enumerate() {
            let namespace = cluster.namespace(pod.namespace)?;
            let mut object = pod.document(i, namespace);
            let spec = object.get_mut("spec").and_then(|spec| spec.as_object_mut()).context("a spec")?;
            spec.insert("nodeName".into(), json!(node()));
            spec.insert("terminationGracePeriodSeconds".into(), json!(0));
            let pods = lab.pod_api(namespace);
            pods.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        }
        cluster.plug(lab).await?;
        Ok(cluster)
    }

    fn namespace(&self, number: usize) -> Result<&str> {
        Ok(self.namespaces.get(number).context("a namespace of the world")?)
    }

    /// Takes in the addresses that Neutron gave, and puts a server on each Pod's port.
    async fn plug(&mut self, lab: &Lab) -> Result<()> {
        let mut ports: BTreeMap<String, String> = BTreeMap::new();
        for (number, namespace) in self.namespaces.iter().enumerate() {
            let here = self.world.pods.iter().filter(|pod| pod.namespace == number).count();
            ports.extend(recorded(&lab.all_ready(namespace, here).await?)?);
        }
        for i in 0..PODS {
            let name = format!("pod{i}");
            let id = ports.get(&name).with_context(|| format!("{name} has a port"))?;
            let port: Port = lab.demo.get(id).await?;
            let all = || port.fixed_ips.iter().map(|ip| &ip.ip_address);
            let four: Ipv4Addr = all().find_map(|ip| ip.parse().ok()).context("an IPv4 address")?;
            let six: Ipv6Addr = all().find_map(|ip| ip.parse().ok()).context("an IPv6 address")?;
            *self.world.addresses.get_mut(i).context("a Pod of the world")? = (four, six);
            lab.answers(&name, id, &PORTS).await?;
        }
        Ok(())
    }

    /// Puts the world's policies in the place of what policies there are.
    async fn apply(&self, lab: &Lab, operator: &Operator) -> Result<()> {
        for namespace in &self.namespaces {
            let policies: Api<NetworkPolicy> = Api::namespaced(lab.kube.clone(), namespace);
            policies.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        }
        for (i, policy) in self.world.policies.iter().enumerate() {
            let namespace = self.namespace(policy.namespace)?;
            let policies: Api<NetworkPolicy> = Api::namespaced(lab.kube.clone(), namespace);
            let object = serde_json::from_value(policy.document(i, namespace))?;
            // The one before it of that name may be there still.
            until("the policy is made", async || {
                Ok(policies.create(&PostParams::default(), &object).await.map(drop)?)
            })
            .await?;
        }
        for (number, namespace) in self.namespaces.iter().enumerate() {
            let here = self.world.policies.iter().filter(|policy| policy.namespace == number).count();
            let pods = self.world.pods.iter().filter(|pod| pod.namespace == number).count();
            lab.all_ready(namespace, here + pods).await?;
        }
        operator.quiet().await.map(drop)
    }

    /// Every first packet of every Pod to every other.
    fn packets(&self, from: usize) -> Vec<Packet> {
        let mut all = Vec::new();
        for to in (0..PODS).filter(|to| *to != from) {
            for (v6, protocol) in [(false, "TCP"), (true, "TCP"), (false, "UDP"), (true, "UDP")] {
                let ends = (End::Pod(from), End::Pod(to));
                all.extend(PORTS.map(|port| Packet { from: ends.0, to: ends.1, v6, protocol, port }));
            }
        }
        all
    }

    /// Tries them all. Answers with those that do not go as the text says.
    async fn differences(&self) -> Result<Vec<String>> {
        let mut tries = JoinSet::new();
        for from in 0..PODS {
            let packets = self.packets(from);
            let target = |packet: &Packet| Target {
                protocol: packet.protocol,
                address: self.world.address(packet.to, packet.v6),
                port: packet.port,
            };
            let targets: Vec<Target> = packets.iter().map(target).collect();
            tries.spawn(async move { Ok((Lab::reaches(&format!("pod{from}"), &targets).await?, packets)) });
        }
        let mut differing = Vec::new();
        while let Some(tried) = tries.join_next().await {
            let (passed, packets): (Vec<bool>, Vec<Packet>) = tried?.map_err(|e: anyhow::Error| e)?;
            ensure!(passed.len() == packets.len(), "an answer for each");
            for (passed, packet) in passed.into_iter().zip(packets) {
                if passed != text::allowed(&self.world, &packet) {
                    differing.push(format!("{} {packet:?}", if passed { "passes" } else { "is dropped" }));
                }
            }
        }
        Ok(differing)
    }

    /// Waits until all packets go as the text says.
    #[allow(clippy::print_stdout, reason = "what a run showed")]
    async fn go_as_said(&self, what: &str) -> Result<()> {
        let (passed, dropped) = self.expected();
        until_within(LIMIT, &format!("{what}: packets go where Kubernetes says"), async || {
            let differing = self.differences().await?;
            let few: Vec<&String> = differing.iter().take(8).collect();
            ensure!(differing.is_empty(), "{} differ: {few:#?}", differing.len());
            Ok(())
        })
        .await?;
        println!("{what}: of {} packets {passed} pass and {dropped} do not", passed + dropped);
        Ok(())
    }

    /// Policies that concern many packets and together speak of everything that is easily done wrong: others in each round.
    fn telling_policies(&mut self, round: usize) -> Result<Vec<Policy>> {
        let mut found = 0;
        for seed in 1..=1000 {
            let policies = random::one(seed, &random::cluster(PODS, POLICIES)).policies;
            self.world.policies = policies.into_iter().map(Policy::valid).collect();
            let (passed, dropped) = self.expected();
            let speaks: BTreeSet<&str> = self.world.policies.iter().flat_map(Policy::speaks_of).collect();
            let all = passed + dropped;
            // Other labels are to be felt as well.
            let felt = self.verdicts(&self.world).into_iter().zip(self.verdicts(&relabelled(&self.world)));
            let felt = felt.filter(|(before, after)| before != after).count();
            let telling = passed.min(dropped) > all / 4 && felt > all / 10 && speaks.len() == DIFFICULT;
            found += usize::from(telling);
            if found == round {
                return Ok(std::mem::take(&mut self.world.policies));
            }
        }
        bail!("{found} sets of policies that tell enough")
    }

    /// Gives the Pods and namespaces other labels.
    async fn relabel(&mut self, lab: &Lab, operator: &Operator) -> Result<()> {
        self.world = relabelled(&self.world);
        for (i, pod) in self.world.pods.iter().enumerate() {
            let labels = random::KEYS.map(|key| (key.to_owned(), json!(pod.labels.get(key))));
            let patch = Patch::Merge(json!({"metadata": {"labels": BTreeMap::from(labels)}}));
            let pods = lab.pod_api(self.namespace(pod.namespace)?);
            pods.patch(&format!("pod{i}"), &PatchParams::default(), &patch).await?;
        }
        for (number, labels) in self.world.namespaces.iter().enumerate() {
            let labels = random::KEYS
                .map(|key| labels.get(key).map_or(format!("{key}-"), |value| format!("{key}={value}")));
            let namespace = self.namespace(number)?;
            let labels = labels.iter().map(String::as_str);
            let arguments = ["label", "--overwrite", "namespace", namespace].into_iter().chain(labels);
            lab.kubectl(&arguments.collect::<Vec<_>>()).await?;
        }
        operator.quiet().await.map(drop)
    }

    /// Asks `isthmus why-denied` of one packet of every Pod: it is to say what the text says.
    async fn are_explained(&self, lab: &Lab) -> Result<()> {
        let mut denied = 0;
        for from in 0..PODS {
            let packets = self.packets(from);
            // Another one for each: of all versions, protocols and ports.
            let packet = packets.get(from * 13 % packets.len()).context("a packet")?;
            let name = |end| {
                let number = self.world.pod(end).context("a Pod")?;
                let pod = self.world.pods.get(number).context("a Pod of the world")?;
                Ok::<_, anyhow::Error>(format!("{}/pod{number}", self.namespace(pod.namespace)?))
            };
            let (source, destination) = (name(packet.from)?, name(packet.to)?);
            let port = format!("{}/{}", packet.port, packet.protocol.to_lowercase());
            let said = lab.isthmus(&["why-denied", &source, &destination, &port, "--output", "json"]).await?;
            let said: Value = serde_json::from_str(&said)?;
            let address = self.world.address(packet.to, packet.v6).to_string();
            let ways = said.get("ways").and_then(Value::as_array).context("ways")?;
            let way = ways.iter().find(|way| way.get("destination") == Some(&json!(address)));
            let way = way.with_context(|| format!("no way to {address}: {said}"))?;
            let passes = way.get("allowed") == Some(&json!(true));
            ensure!(passes == text::allowed(&self.world, packet), "{packet:?} {way}");
            denied += usize::from(!passes);
            // Of a side that lets it pass a rule is named without a miss, of one that does not none is.
            for side in ["egress", "ingress"].map(|side| way.get(side)) {
                let side = side.context("a side")?;
                let list = |of: &Value, name: &str| of.get(name).and_then(Value::as_array).cloned();
                let groups = list(side, "groups").context("groups")?;
                let mut rules = groups.iter().filter_map(|group| list(group, "rules")).flatten();
                let lets = rules.any(|rule| rule.get("misses") == Some(&json!([])));
                ensure!(side.get("allowed") == Some(&json!(lets)), "{side}");
            }
        }
        ensure!(0 < denied && denied < PODS, "{denied} of {PODS} are denied: that shows little");
        Ok(())
    }

    /// How many packets the text lets pass, and how many not.
    fn expected(&self) -> (usize, usize) {
        let all = self.verdicts(&self.world);
        let passed = all.iter().filter(|passes| **passes).count();
        (passed, all.len() - passed)
    }

    /// What the text says of each packet, in a world with as many Pods.
    fn verdicts(&self, world: &World) -> Vec<bool> {
        let all = (0..PODS).flat_map(|from| self.packets(from));
        all.map(|packet| text::allowed(world, &packet)).collect()
    }
}

/// A world in which every Pod has the labels of the one before it, and every namespace those of the one after.
fn relabelled(world: &World) -> World {
    let mut other = world.clone();
    let labels = world.pods.iter().map(|pod| pod.labels.clone()).cycle().skip(PODS - 1);
    other.pods.iter_mut().zip(labels).for_each(|(pod, labels)| pod.labels = labels);
    other.namespaces.rotate_left(1);
    other
}

/// What Pods get: a network whose addresses are those that the world's blocks speak of, and no rule in their way.
async fn load(lab: &Lab) -> Result<()> {
    let subnets = [(4, "10.0.0.0/24", ["10.0.0.2", "10.0.0.40"]), (6, "fd00::/64", ["fd00::2", "fd00::40"])];
    lab.network_with(&subnets).await?;
    lab.open_group().await?;
    let config = json!({"network": "e2e", "subnets": ["e2e-v4", "e2e-v6"], "securityGroups": [OPEN_GROUP]});
    lab.policy_module("pod-port", json!({ "config": config })).await?;
    lab.load("pod-port", "pod-port").await?;
    lab.load("networkpolicy-securitygroup", "networkpolicy-securitygroup").await
}

#[tokio::test]
async fn packets_go_where_kubernetes_says() -> Result<()> {
    on_lab("packets", async |lab| {
        load(lab).await?;
        let operator = lab.operator(&[]).await?;
        lab.loaded("networkpolicy-securitygroup").await?;
        let world = random::one(1, &random::cluster(PODS, POLICIES));
        let mut cluster = Cluster::new(lab, World { allow_from: Vec::new(), ..world }).await?;
        for round in 1..=ROUNDS {
            cluster.world.policies = cluster.telling_policies(round)?;
            cluster.apply(lab, &operator).await?;
            cluster.go_as_said(&format!("policies {round}")).await?;
            cluster.are_explained(lab).await?;
        }
        cluster.relabel(lab, &operator).await?;
        cluster.go_as_said("other labels").await?;
        cluster.are_explained(lab).await?;
        cluster.world.policies = Vec::new();
        cluster.apply(lab, &operator).await?;
        cluster.go_as_said("no policies").await
    })
    .await
}
