//! The cloud as somebody else sees it.

use anyhow::{Context, Result, ensure};
use http::Method;
use isthmus_model::mark::Mark;
use isthmus_openstack::Neutron;
use isthmus_openstack::catalog::NETWORK;
use isthmus_openstack::neutron::{Network, Port, PortCreate};
use isthmus_openstack::session::Request;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::lab::Lab;
use crate::trunks::ON_TRUNK;
use crate::wait::until;

/// Device owner of the operator's ports, and of those that a test makes to mislead it.
pub(crate) const OWNER: &str = "isthmus:pod";

impl Lab {
    /// All ports with the mark of this cluster, as a plain member of the project sees them.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn ports(&self) -> Result<Vec<Port>> {
        let owners = [OWNER, ON_TRUNK].map(|owner| ("device_owner", owner));
        let all: Vec<Port> = self.demo.list(&owners).await?;
        Ok(all.into_iter().filter(|p| mark(p).is_some_and(|m| m.cluster == self.cluster)).collect())
    }

    /// Waits until there are so many ports of ours; the ports.
    ///
    /// # Errors
    /// Not in time.
    pub async fn ports_left(&self, what: &str, count: usize) -> Result<Vec<Port>> {
        until(what, async || {
            let ports = self.ports().await?;
            ensure!(ports.len() == count, "{} ports, not {count}", ports.len());
            Ok(ports)
        })
        .await
    }

    /// Each Pod of a namespace has one port, and there is no other; the ports.
    ///
    /// # Errors
    /// It is not so.
    pub async fn one_port_each(&self, namespace: &str) -> Result<Vec<Port>> {
        let pods = self.pod_api(namespace).list(&ListParams::default()).await?.items;
        let ports = self.ports().await?;
        for pod in &pods {
            let uid = pod.uid().context("uid")?;
            let own = ports.iter().filter(|p| marked_for(p, &uid)).count();
            ensure!(own == 1, "{} has {own} ports", pod.name_any());
        }
        ensure!(ports.len() == pods.len(), "{} ports of {} Pods", ports.len(), pods.len());
        Ok(ports)
    }

    /// One port; `None` where there is none.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn port(&self, id: &str) -> Result<Option<Port>> {
        Ok(self.admin.list::<Port>(&[("id", id)]).await?.pop())
    }

    /// Id of the operator's project.
    ///
    /// # Errors
    /// Keystone's.
    pub async fn project(&self) -> Result<String> {
        self.demo.session().token().await?.project_id.clone().context("a token for a project")
    }

    /// Id of the network `pods`.
    ///
    /// # Errors
    /// Neutron's, or that it is not there.
    pub async fn network(&self) -> Result<String> {
        let mut found = self.demo.list::<Network>(&[("name", "pods")]).await?;
        Ok(found.pop().context("the lab has a network `pods`")?.id)
    }

    /// Makes a port by hand, in the network `pods`, as this credential, with a mark in each place that may hold one: its
    /// description and its tags. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn make_port(&self, who: &Neutron, name: &str, mark: &[String]) -> Result<Port> {
        let body = PortCreate {
            network_id: self.network().await?,
            name: Some(name.into()),
            description: Some(mark.join(" ")),
            device_owner: Some(OWNER.into()),
            ..PortCreate::default()
        };
        let port = who.create::<Port>(&body).await?;
        who.set_tags::<Port>(&port.id, mark).await?;
        Ok(who.get(&port.id).await?)
    }

    /// Sets how many of a kind (`port`, `security_group_rule`) the operator's project may have; `None`: of all kinds as many as the
    /// cloud gives by default.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn quota(&self, limit: Option<(&str, i64)>) -> Result<()> {
        let path = format!("/v2.0/quotas/{}", self.project().await?);
        let mut request = Request::new(NETWORK, "quotas", Method::DELETE, path);
        if let Some((kind, limit)) = limit {
            request.method = Method::PUT;
            request.body = Some(serde_json::to_vec(&json!({"quota": {kind: limit}}))?);
        }
        self.admin.session().send(&request).await?;
        Ok(())
    }

    /// Every load balancer, every port that has our device owner, in whatever project, and the quota.
    pub(crate) async fn clear_cloud(&self) -> Result<()> {
        self.clear_balancers().await?;
        self.clear_secrets().await?;
        self.clear_peers().await?;
        self.clear_trunks().await?;
        // A create that Neutron was at when its operator was killed may come through after the first list.
        until("no port is left", async || {
            let left = self.admin.list::<Port>(&[("device_owner", OWNER)]).await?;
            for port in &left {
                self.admin.delete::<Port>(&port.id).await?;
            }
            ensure!(left.is_empty(), "{} ports", left.len());
            Ok(())
        })
        .await?;
        self.clear_networks().await?;
        let quotas = self.admin.quotas(&self.project().await?).await?;
        if quotas.get("port").is_some_and(|quota| quota.limit >= 0) {
            self.quota(None).await?;
        }
        Ok(())
    }
}

/// The mark that a port carries, in its tags or in its description.
pub fn mark(port: &Port) -> Option<Mark> {
    Mark::of(&port.description, &port.tags)
}

/// Whether a port carries the mark of the subject of this uid.
pub fn marked_for(port: &Port, uid: &str) -> bool {
    mark(port).is_some_and(|mark| mark.subject == uid)
}
