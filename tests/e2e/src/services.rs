//! The Service `web` of a namespace with a load balancer of its own: the module that maps it, its endpoints, its address.

use std::time::Duration;

use anyhow::{Context, Result};
use isthmus_openstack::octavia::LoadBalancer;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::networks::EXTERNAL;
use crate::wait::until_within;

/// Where endpoints answer.
pub const SERVED: u16 = 8080;
/// What its address may take: an amphora is there after ten seconds.
const SLOW: Duration = Duration::from_secs(180);

impl Lab {
    /// Loads `service-loadbalancer` for the lab's network, where kube-proxy serves cluster IPs; an operator need not run.
    ///
    /// # Errors
    /// The API server's, or the command's.
    pub async fn load_services(&self, provider: &str) -> Result<()> {
        let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false,
                            "provider": provider});
        self.load_services_with(config).await
    }

    /// As [`Lab::load_services`], with floating IPs of the network `public`; and a router that leads there.
    ///
    /// # Errors
    /// Neutron's, the API server's, or the command's.
    pub async fn load_services_outside(&self, provider: &str) -> Result<()> {
        self.router_outside().await?;
        let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false,
                            "provider": provider, "floatingNetwork": EXTERNAL});
        self.load_services_with(config).await
    }

    /// Loads `service-loadbalancer` with this config.
    ///
    /// # Errors
    /// The API server's, or the command's.
    pub async fn load_services_with(&self, config: Value) -> Result<()> {
        self.policy_module("service-loadbalancer", json!({"config": config})).await?;
        self.load("service-loadbalancer", "service-loadbalancer").await
    }

    /// The Services of a namespace.
    pub fn service_api(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.kube.clone(), namespace)
    }

    /// Their EndpointSlices.
    pub fn slice_api(&self, namespace: &str) -> Api<EndpointSlice> {
        Api::namespaced(self.kube.clone(), namespace)
    }

    /// Makes or changes the Service `web`, of type LoadBalancer: these ports (protocol and number), each to [`SERVED`] of these
    /// addresses.
    ///
    /// # Errors
    /// The API server's.
    pub async fn web(&self, namespace: &str, ports: &[(&str, u16)], addresses: &[String]) -> Result<()> {
        self.exposed(namespace, "web", &json!({}), ports, addresses).await
    }

    /// As [`Lab::web`], of another name and with these annotations.
    ///
    /// # Errors
    /// The API server's.
    pub async fn exposed(
        &self,
        namespace: &str,
        name: &str,
        annotations: &Value,
        ports: &[(&str, u16)],
        addresses: &[String],
    ) -> Result<()> {
        let parameters = PatchParams::apply("e2e").force();
        let own = ports.iter().zip(0..).map(|((protocol, port), at)| {
            json!({"name": format!("p{at}"), "protocol": protocol, "port": port, "targetPort": SERVED})
        });
        let targets = ports.iter().zip(0..).map(
            |((protocol, _), at)| json!({"name": format!("p{at}"), "protocol": protocol, "port": SERVED}),
        );
        let endpoint = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
            "ports": targets.collect::<Vec<Value>>(), "endpoints": addresses.iter().map(endpoint).collect::<Vec<Value>>()});
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"type": "LoadBalancer", "ports": own.collect::<Vec<Value>>()}});
        // The endpoints first: a Service without any is another one, for a moment.
        self.slice_api(namespace).patch(&format!("{name}-1"), &parameters, &Patch::Apply(slice)).await?;
        self.service_api(namespace).patch(name, &parameters, &Patch::Apply(service)).await?;
        Ok(())
    }

    /// The address that the Service `web` says it is reached at, once it does.
    ///
    /// # Errors
    /// Not in time: its conditions.
    pub async fn web_address(&self, namespace: &str) -> Result<String> {
        let services = self.service_api(namespace);
        until_within(SLOW, "the Service says its address", async || {
            let status = services.get("web").await?.status.context("it has no status")?;
            let ingress = status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default();
            let ip = ingress.into_iter().find_map(|ingress| ingress.ip);
            ip.with_context(|| format!("{:?}", status.conditions))
        })
        .await
    }

    /// The load balancers of the project.
    ///
    /// # Errors
    /// Octavia's.
    pub async fn balancers(&self) -> Result<Vec<LoadBalancer>> {
        Ok(self.octavia().list::<LoadBalancer>(&[]).await?)
    }
}
