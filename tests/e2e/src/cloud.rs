//! The cloud as somebody else sees it.

use anyhow::{Context, Result};
use http::Method;
use isthmus_model::mark::Mark;
use isthmus_openstack::Neutron;
use isthmus_openstack::catalog::NETWORK;
use isthmus_openstack::neutron::{Network, Port, PortCreate};
use isthmus_openstack::session::Request;
use serde_json::json;

use crate::lab::Lab;

/// Tag of the ports that a test makes itself.
const TEST: &str = "isthmus-e2e";

impl Lab {
    /// All ports with the mark of this cluster, as a plain member of the project sees them.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn ports(&self) -> Result<Vec<Port>> {
        Ok(self.demo.list(&[("tags", &Mark::cluster_tag(&self.cluster))]).await?)
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

    /// Makes a port by hand, in the network `pods`, as this credential. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn make_port(&self, who: &Neutron, name: &str, tags: &[String]) -> Result<Port> {
        let tags = tags.iter().cloned().chain([TEST.to_owned()]).collect();
        let body = PortCreate {
            network_id: self.network().await?,
            name: Some(name.into()),
            tags: Some(tags),
            device_owner: Some("isthmus:pod".into()),
            ..PortCreate::default()
        };
        Ok(who.create::<Port>(&body).await?)
    }

    /// Sets how many ports the operator's project may have; `None` is the cloud's default.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn port_quota(&self, limit: Option<i64>) -> Result<()> {
        let path = format!("/v2.0/quotas/{}", self.project().await?);
        let mut request = Request::new(NETWORK, "quotas", Method::DELETE, path);
        if let Some(limit) = limit {
            request.method = Method::PUT;
            request.body = Some(serde_json::to_vec(&json!({"quota": {"port": limit}}))?);
        }
        self.admin.session().send(&request).await?;
        Ok(())
    }

    /// Ports of this cluster's mark or of a test's own, in whatever project, and the quota.
    pub(crate) async fn clear_cloud(&self) -> Result<()> {
        for tag in [Mark::cluster_tag(&self.cluster), TEST.to_owned()] {
            for port in self.admin.list::<Port>(&[("tags", &tag)]).await? {
                self.admin.delete::<Port>(&port.id).await?;
            }
        }
        let quotas = self.admin.quotas(&self.project().await?).await?;
        if quotas.get("port").is_some_and(|quota| quota.limit >= 0) {
            self.port_quota(None).await?;
        }
        Ok(())
    }
}

/// Whether a port carries the mark of the subject of this uid.
pub fn marked_for(port: &Port, uid: &str) -> bool {
    port.tags.contains(&Mark::subject_tag(uid))
}
