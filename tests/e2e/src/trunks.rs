//! The lab's node as a virtual machine of the cloud: a port with a trunk.

use anyhow::{Context, Result};
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{Port, PortCreate, SubPort, Trunk};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::cloud::OWNER;
use crate::lab::{Lab, node};
use crate::networks::{delete, post};

/// What the trunk and its parent port are called.
const OURS: &str = "e2e-machine";
/// Owner of a port that is on a trunk.
pub(crate) const ON_TRUNK: &str = "trunk:subport";

impl Lab {
    /// Makes the port that the lab's node would have as a virtual machine. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn machine(&self) -> Result<Port> {
        let body = PortCreate {
            network_id: self.network().await?,
            name: Some(OURS.into()),
            device_owner: Some(OWNER.into()),
            ..PortCreate::default()
        };
        Ok(self.demo.create::<Port>(&body).await?)
    }

    /// Makes the trunk of a port. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn make_trunk(&self, parent: &Port) -> Result<Trunk> {
        let trunk = json!({"trunk": {"name": OURS, "port_id": parent.id}});
        post(&self.demo, "trunks", trunk).await?;
        self.trunk().await
    }

    /// That trunk as it is now.
    ///
    /// # Errors
    /// Neutron's, or there is none.
    pub async fn trunk(&self) -> Result<Trunk> {
        self.demo.list::<Trunk>(&[("name", OURS)]).await?.pop().context("the trunk")
    }

    /// Says how the Pods of the lab's node are bound; where a port is named, that this is the node's. Until the test ends.
    ///
    /// # Errors
    /// The API server's.
    pub async fn bound_by(&self, binding: &str, port: Option<&str>) -> Result<()> {
        let annotations = port.map(|port| json!({"isthmus.dev/parent-port": port}));
        let metadata =
            json!({"name": node(), "labels": {"isthmus.dev/binding": binding}, "annotations": annotations});
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata});
        let nodes: Api<Node> = Api::all(self.kube.clone());
        nodes.patch(node(), &PatchParams::apply("e2e").force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Takes the object of the lab's node away. It is there again at the next test at the latest.
    ///
    /// # Errors
    /// The API server's.
    pub async fn no_node(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.kube.clone());
        crate::cluster::gone(nodes.delete(node(), &DeleteParams::default()).await)?;
        Ok(())
    }

    /// Says at which address the lab's node is.
    ///
    /// # Errors
    /// The API server's.
    pub async fn node_is_at(&self, address: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.kube.clone());
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        nodes.patch_status(node(), &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Puts a port of a user's on a trunk.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn put_on_trunk(&self, trunk: &str, port: &str, segmentation_id: u16) -> Result<()> {
        let sub = SubPort { port_id: port.into(), segmentation_type: "vlan".into(), segmentation_id };
        self.demo.add_subports(trunk, &[sub]).await?;
        Ok(())
    }

    pub(crate) async fn clear_trunks(&self) -> Result<()> {
        let mark = Mark::cluster_tag(&self.cluster);
        for trunk in self.demo.list::<Trunk>(&[("name", OURS)]).await? {
            delete(&self.demo, "trunks", &trunk.id).await?;
        }
        // Taken off a trunk, they have no owner any more.
        for port in self.demo.list::<Port>(&[("device_owner", ""), ("device_owner", ON_TRUNK)]).await? {
            if port.description.starts_with(&mark) || port.name.starts_with("e2e-") {
                self.demo.delete::<Port>(&port.id).await?;
            }
        }
        Ok(())
    }
}
