//! Routes and what they become, as somebody else sees it.

use anyhow::{Context, Result, ensure};
use isthmus_openstack::Octavia;
use isthmus_openstack::octavia::{L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::operator::Operator;

use crate::wait::{until, until_within};

/// Routes for a cluster that is not OpenShift.
const ROUTES: &str = include_str!("../../../plugins/route-l7policy/deploy/crd.yaml");

/// Config of `route-l7policy` for the lab. Provider `noop` shows all that the API has, and forwards nothing; `amphora` does.
pub fn routes_config(provider: &str) -> Value {
    json!({"network": "pods", "subnets": ["pods-v4"], "provider": provider})
}

/// A load balancer and all that is below it, without ids: what two ways to the same end have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balanced {
    /// The VIP.
    pub address: String,
    /// Protocol and port.
    pub listeners: Vec<String>,
    /// Name, and members with their weights.
    pub pools: Vec<String>,
    /// In their order: name, action, rules.
    pub policies: Vec<String>,
}

impl Lab {
    /// Loads `route-l7policy`, gives a new namespace a Service with so many endpoints, starts an operator, and waits for the load balancer.
    ///
    /// # Errors
    /// It does not come.
    pub async fn with_balancer(&self, endpoints: usize, flags: &[&str]) -> Result<(String, Operator)> {
        self.load_routes(routes_config("noop")).await?;
        let namespace = self.namespace().await?;
        self.endpoints(&namespace, endpoints).await?;
        let operator = self.operator(flags).await?;
        self.balancer_ready().await?;
        Ok((namespace, operator))
    }

    /// Octavia as a plain member of the operator's project.
    pub fn octavia(&self) -> Octavia {
        Octavia::new(self.demo.session().clone())
    }

    /// Defines Routes and loads `route-l7policy`; an operator need not run.
    ///
    /// # Errors
    /// The API server's, or the command's.
    pub async fn load_routes(&self, config: Value) -> Result<()> {
        let definition: CustomResourceDefinition = serde_saphyr::from_str(ROUTES)?;
        self.define(&definition).await?;
        self.policy_module("route-l7policy", json!({"config": config})).await?;
        self.load("route-l7policy", "route-l7policy").await
    }

    /// The Routes of a namespace.
    pub fn route_api(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("route.openshift.io", "v1", "Route");
        Api::namespaced_with(
            self.kube.clone(),
            namespace,
            &ApiResource::from_gvk_with_plural(&kind, "routes"),
        )
    }

    /// Makes a Route to the Service `web`, with these fields of its spec beside.
    ///
    /// # Errors
    /// The API server's.
    pub async fn route(&self, namespace: &str, name: &str, spec: Value) -> Result<DynamicObject> {
        let mut whole = json!({"to": {"kind": "Service", "name": "web", "weight": 100}});
        for (field, value) in spec.as_object().context("spec is an object")? {
            whole.as_object_mut().context("an object")?.insert(field.clone(), value.clone());
        }
        let route = json!({"apiVersion": "route.openshift.io/v1", "kind": "Route",
                           "metadata": {"name": name}, "spec": whole});
        Ok(self.route_api(namespace).create(&PostParams::default(), &serde_json::from_value(route)?).await?)
    }

    /// Changes the spec of a Route.
    ///
    /// # Errors
    /// The API server's.
    pub async fn change_route(&self, namespace: &str, name: &str, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.route_api(namespace).patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Gives the Service `web` of a namespace this many endpoints, from 10.100.9.1 on.
    ///
    /// # Errors
    /// The API server's.
    pub async fn endpoints(&self, namespace: &str, count: usize) -> Result<()> {
        let addresses: Vec<String> = (1..=count).map(|at| format!("10.100.9.{at}")).collect();
        self.service(namespace, "web", &addresses).await
    }

    /// Makes a Service with these endpoints, which answer on port 8080.
    ///
    /// # Errors
    /// The API server's.
    pub async fn service(&self, namespace: &str, name: &str, addresses: &[String]) -> Result<()> {
        let parameters = PatchParams::apply("e2e").force();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                             "spec": {"clusterIP": "None",
                                      "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
        let of = |group: &str, version: &str, kind: &str, plural: &str| {
            let kind = GroupVersionKind::gvk(group, version, kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, plural);
            Api::<DynamicObject>::namespaced_with(self.kube.clone(), namespace, &resource)
        };
        of("", "v1", "Service", "services").patch(name, &parameters, &Patch::Apply(service)).await?;
        let endpoint = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
        let slice_name = format!("{name}-1");
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                           "metadata": {"name": slice_name, "labels": {"kubernetes.io/service-name": name}},
                           "addressType": "IPv4",
                           "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                           "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>()});
        let slices = of("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
        slices.patch(&slice_name, &parameters, &Patch::Apply(slice)).await?;
        Ok(())
    }

    /// The condition `Admitted` that we give a Route: status and reason.
    ///
    /// # Errors
    /// The API server's, or that it has none.
    pub async fn admitted(&self, namespace: &str, name: &str) -> Result<(String, String)> {
        let route = self.route_api(namespace).get_status(name).await?;
        let all = route.data.pointer("/status/ingress").and_then(Value::as_array);
        let is_ours = |element: &&Value| element.pointer("/routerName").is_some_and(|name| name == "isthmus");
        let ours = all.into_iter().flatten().find(is_ours);
        let condition = ours.and_then(|ours| ours.pointer("/conditions/0")).context("no condition")?;
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok((text("status"), text("reason")))
    }

    /// The one load balancer of the project, with all that is below it.
    ///
    /// # Errors
    /// Octavia's, or that there is none or more than one.
    pub async fn balanced(&self) -> Result<Balanced> {
        let octavia = self.octavia();
        let all: Vec<LoadBalancer> = octavia.list(&[]).await?;
        ensure!(all.len() == 1, "{} load balancers", all.len());
        let listeners: Vec<Listener> = octavia.list(&[]).await?;
        let pools: Vec<Pool> = octavia.list(&[]).await?;
        let mut policies: Vec<L7Policy> = octavia.list(&[]).await?;
        policies.sort_by_key(|policy| policy.position);
        let mut found = Balanced {
            address: all.into_iter().map(|lb| lb.vip_address).collect(),
            listeners: listeners.iter().map(|l| format!("{} {:?}", l.protocol, l.protocol_port)).collect(),
            ..Balanced::default()
        };
        for pool in &pools {
            let members: Vec<Member> = octavia.list_in(&pool.id, &[]).await?;
            let mut members: Vec<String> = members
                .iter()
                .map(|m| format!("{}:{:?}*{:?}", m.address, m.protocol_port, m.weight))
                .collect();
            members.sort();
            found.pools.push(format!("{}: {}", pool.name, members.join(" ")));
        }
        for policy in &policies {
            let rules: Vec<L7Rule> = octavia.list_in(&policy.id, &[]).await?;
            let mut rules: Vec<String> =
                rules.iter().map(|r| format!("{} {} {}", r.kind, r.compare_type, r.value)).collect();
            rules.sort();
            let to = pools.iter().find(|pool| policy.redirect_pool_id.as_ref() == Some(&pool.id));
            let to = to.map(|pool| pool.name.as_str()).unwrap_or_default();
            let enabled = policy.admin_state_up.unwrap_or(true);
            let text = format!("{} {} {to} {enabled}: {}", policy.name, policy.action, rules.join(", "));
            found.policies.push(text);
        }
        found.pools.sort();
        Ok(found)
    }

    /// Deletes every load balancer of the project, and waits until they are gone.
    pub(crate) async fn clear_balancers(&self) -> Result<()> {
        let octavia = self.octavia();
        let limit = std::time::Duration::from_secs(120);
        until_within(limit, "no load balancer is left", async || {
            let left: Vec<LoadBalancer> = octavia.list(&[]).await?;
            for balancer in left.iter().filter(|lb| !lb.provisioning_status.starts_with("PENDING")) {
                octavia.delete_cascade(&balancer.id).await?;
            }
            ensure!(left.is_empty(), "{} load balancers", left.len());
            Ok(())
        })
        .await
    }

    /// Waits until the load balancer is made and takes Routes.
    ///
    /// # Errors
    /// Not in time.
    pub async fn balancer_ready(&self) -> Result<()> {
        until("the load balancer is there", async || {
            let all = self.mapping_api(crate::OPERATOR_NAMESPACE).list(&Default::default()).await?.items;
            let ready =
                all.iter().filter(|m| m.spec.subject.name == "route-l7policy" && crate::ready(m)).count();
            ensure!(ready == 1, "{:?}", all.iter().map(|m| crate::condition(m, "Ready")).collect::<Vec<_>>());
            Ok(())
        })
        .await
    }
}
