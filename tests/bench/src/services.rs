//! A Service with many endpoints, beside the bare requests to Octavia that it comes to, one after the other in the same run. Of a real
//! Octavia: how long the model's takes is made up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use isthmus_openstack::Octavia;
use isthmus_openstack::octavia::{
    ListenerCreate, LoadBalancer, LoadBalancerCreate, Member, MemberCreate, Pool, PoolCreate, PoolOrName,
};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::PODS;
use crate::measure::{Measure, say};
use crate::objects::{apply, load, unload, until};

/// What is added to the name of the PolicyModule.
const MODULE: &str = "services";
/// Name of the load balancer that is made without an operator.
const BARE: &str = "isthmus-bench-bare";
/// Of the Service, from 80 on.
const PORTS: u16 = 3;
/// Last bytes of the endpoints' addresses.
const ENDPOINTS: std::ops::Range<u8> = 10..30;
/// That of the endpoint that takes the place of the first.
const OTHER: u8 = 99;
/// Pairs of what is compared.
const ROUNDS: usize = 5;

/// Where it is measured.
pub(crate) struct Site<'a> {
    pub(crate) client: kube::Client,
    pub(crate) octavia: Octavia,
    /// Octavia's provider, and an algorithm that it has.
    pub(crate) provider: &'a str,
    pub(crate) algorithm: &'a str,
    /// Id of the VIPs' subnet.
    pub(crate) subnet: String,
    /// The first three bytes of the endpoints' addresses.
    pub(crate) prefix: &'a str,
    /// How often is asked whether something has come true.
    pub(crate) every: Duration,
}

/// How long a load balancer took, and the change of one endpoint.
type Took = (Duration, Duration);

impl Site<'_> {
    /// All of it. The operator runs, without the module.
    pub(crate) async fn run(&self, module: Vec<u8>) -> Result<()> {
        let Self { client, provider, .. } = self;
        let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false, "provider": provider});
        load(client, MODULE, |_| config, module).await?;
        say(&format!(
            "a Service of {PORTS} ports and {} endpoints, {ROUNDS} times, provider {provider}",
            ENDPOINTS.len()
        ));
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(self.bare().await.context("without an operator")?);
            ours.push(self.ours().await.context("by the operator")?);
        }
        self.told(
            "Service of 3 ports x 20 endpoints: all members answer",
            &bare,
            &ours,
            |took| took.0,
            "one POST of the tree (no monitor: members answer once they are there)",
        );
        self.told("Service: one endpoint changed", &bare, &ours, |took| took.1, "a PUT a pool");
        unload(client, MODULE).await
    }

    fn told(&self, name: &str, bare: &[Took], ours: &[Took], of: impl Fn(&Took) -> Duration, beside: &str) {
        let median = |all: &[Took]| {
            let mut all: Vec<f64> = all.iter().map(|took| of(took).as_secs_f64()).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let (bare, ours) = (median(bare), median(ours));
        Measure {
            name,
            target: "<= 1.2",
            measured: format!("{:.2}", ours / bare),
            met: Some(ours <= 1.2 * bare),
            note: format!(
                "{:.0} ms, beside {:.0} ms of {beside}; provider {}",
                ours * 1e3,
                bare * 1e3,
                self.provider
            ),
        }
        .print();
    }

    fn address(&self, last: u8) -> String {
        format!("{}.{last}", self.prefix)
    }

    fn members(&self, port: u16, first: u8) -> Vec<MemberCreate> {
        let all = std::iter::once(first).chain(ENDPOINTS.skip(1));
        let member = |last| MemberCreate {
            address: self.address(last),
            protocol_port: 8000 + port,
            ..MemberCreate::default()
        };
        all.map(member).collect()
    }

    /// The requests alone.
    async fn bare(&self) -> Result<Took> {
        let listeners = (0..PORTS).map(|port| {
            let pool = PoolCreate {
                name: Some(format!("p{port}")),
                protocol: "TCP".into(),
                lb_algorithm: self.algorithm.into(),
                members: Some(self.members(port, ENDPOINTS.start)),
                ..PoolCreate::default()
            };
            ListenerCreate {
                name: Some(format!("p{port}")),
                protocol: "TCP".into(),
                protocol_port: 80 + port,
                default_pool: Some(PoolOrName::Pool(Box::new(pool))),
                ..ListenerCreate::default()
            }
        });
        let tree = LoadBalancerCreate {
            name: Some(BARE.into()),
            vip_subnet_id: Some(self.subnet.clone()),
            provider: Some(self.provider.into()),
            listeners: Some(listeners.collect()),
            ..LoadBalancerCreate::default()
        };
        let began = Instant::now();
        let made = self.octavia.create::<LoadBalancer>(&tree).await?;
        self.settled(&made.id).await?;
        let created = began.elapsed();
        let pools = self.pools(&made.id).await?;
        let began = Instant::now();
        for pool in pools {
            let port = pool.name.trim_start_matches('p').parse().context("the pool's name")?;
            self.octavia.batch_members(&pool.id, &self.members(port, OTHER)).await?;
            self.settled(&made.id).await?;
        }
        let changed = began.elapsed();
        self.octavia.delete_cascade(&made.id).await?;
        until("the load balancer is gone", self.every, async || {
            Ok(self.balancers().await?.iter().all(|found| found.name != BARE))
        })
        .await?;
        Ok((created, changed))
    }

    /// The Service.
    async fn ours(&self) -> Result<Took> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), PODS);
        let began = Instant::now();
        apply(&self.client, self.slice(ENDPOINTS.start)).await?;
        apply(&self.client, service()).await?;
        until("the Service has an address", self.every, async || {
            let status = services.get_status("bench").await?.status.and_then(|status| status.load_balancer);
            Ok(status.and_then(|balancer| balancer.ingress).is_some_and(|all| !all.is_empty()))
        })
        .await?;
        let created = began.elapsed();
        let all = self.balancers().await?;
        let own = all.into_iter().find(|found| found.name != BARE).context("the Service's load balancer")?;
        // As the bare one, which is asked for nothing before it is through.
        self.settled(&own.id).await?;
        let pools = self.pools(&own.id).await?;
        let (began, other) = (Instant::now(), self.address(OTHER));
        apply(&self.client, self.slice(OTHER)).await?;
        until("each pool has the other endpoint", self.every, async || {
            for pool in &pools {
                let members = self.octavia.list_in::<Member>(&pool.id, &[]).await?;
                if members.iter().all(|member| member.address != other) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
        self.settled(&own.id).await?;
        let changed = began.elapsed();
        services.delete("bench", &DeleteParams::default()).await?;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), PODS);
        slices.delete("bench-1", &DeleteParams::default()).await?;
        until("the load balancer is gone", self.every, async || Ok(self.balancers().await?.is_empty()))
            .await?;
        Ok((created, changed))
    }

    fn slice(&self, first: u8) -> Value {
        let ports: Vec<Value> = (0..PORTS)
            .map(|port| json!({"name": format!("p{port}"), "protocol": "TCP", "port": 8000 + port}))
            .collect();
        let endpoint = |last| json!({"addresses": [self.address(last)], "conditions": {"ready": true}});
        let all: Vec<Value> = std::iter::once(first).chain(ENDPOINTS.skip(1)).map(endpoint).collect();
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "bench-1", "labels": {"kubernetes.io/service-name": "bench"}},
            "ports": ports, "endpoints": all})
    }

    /// Waits until nothing of it is pending.
    async fn settled(&self, id: &str) -> Result<()> {
        until("nothing is pending", self.every, async || Ok(!self.octavia.status_tree(id).await?.pending()))
            .await
    }

    async fn pools(&self, balancer: &str) -> Result<Vec<Pool>> {
        Ok(self.octavia.list::<Pool>(&[("loadbalancer_id", balancer)]).await?)
    }

    /// Those that are on our network, the deleted ones aside, which Octavia lists for a moment.
    async fn balancers(&self) -> Result<Vec<LoadBalancer>> {
        let mut all = self.octavia.list::<LoadBalancer>(&[]).await?;
        all.retain(|found| found.vip_subnet_id == self.subnet && found.provisioning_status != "DELETED");
        Ok(all)
    }
}

fn service() -> Value {
    let ports: Vec<Value> = (0..PORTS)
        .map(|port| json!({"name": format!("p{port}"), "protocol": "TCP", "port": 80 + port, "targetPort": 8000 + port}))
        .collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bench"},
        "spec": {"type": "LoadBalancer", "ports": ports}})
}
