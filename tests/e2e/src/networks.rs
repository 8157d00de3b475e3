//! What networks of namespaces are made of and hang on: a subnet pool, a router, and what an operator made of them.

use anyhow::{Context, Result, ensure};
use http::Method;
use isthmus_model::mark::Mark;
use isthmus_model::retained::Retained;
use isthmus_openstack::Neutron;
use isthmus_openstack::catalog::NETWORK;
use isthmus_openstack::neutron::{
    AddressGroup, FixedIpRequest, FloatingIp, FloatingIpCreate, FloatingIpUpdate, Network, Port, PortCreate,
    Router, SecurityGroup, Subnet, SubnetPool,
};
use isthmus_openstack::session::Request;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::wait::until;

/// What tests make by hand is called so.
const OURS: &str = "e2e";
/// The lab's external network.
pub(crate) const EXTERNAL: &str = "public";
/// Prefix of the subnet pool of a test.
const POOL: &str = "10.180.0.0/16";
/// As [`OURS`], of the subnet pool of IPv6 alone, and its prefix.
const OURS_SIX: &str = "e2e-v6";
const POOL_SIX: &str = "fd00:180::/48";
/// Owners of ports that are interfaces of a router.
const INTERFACES: [&str; 2] = ["network:router_interface", "isthmus:router-interface"];

/// What of Neutron's the operator made.
#[derive(Debug, Default)]
pub struct Made {
    /// Networks.
    pub networks: Vec<Network>,
    /// Subnets.
    pub subnets: Vec<Subnet>,
    /// Ports that are interfaces of routers.
    pub interfaces: Vec<Port>,
    /// Security groups.
    pub groups: Vec<SecurityGroup>,
    /// Address groups.
    pub address_groups: Vec<AddressGroup>,
    /// Floating IPs.
    pub floating_ips: Vec<FloatingIp>,
}

impl Made {
    /// How many there are of all kinds.
    pub fn len(&self) -> usize {
        let addresses = self.address_groups.len() + self.floating_ips.len();
        self.networks.len() + self.subnets.len() + self.interfaces.len() + self.groups.len() + addresses
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(crate) async fn post(neutron: &Neutron, collection: &'static str, body: Value) -> Result<()> {
    let mut request = Request::new(NETWORK, collection, Method::POST, format!("/v2.0/{collection}"));
    request.body = Some(serde_json::to_vec(&body)?);
    neutron.session().send(&request).await?;
    Ok(())
}

pub(crate) async fn delete(neutron: &Neutron, collection: &'static str, id: &str) -> Result<()> {
    let path = format!("/v2.0/{collection}/{id}");
    neutron.session().send(&Request::new(NETWORK, collection, Method::DELETE, path)).await?;
    Ok(())
}

impl Lab {
    /// Makes a subnet pool and a router, both named `e2e`. They go when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn pool_and_router(&self) -> Result<()> {
        let pool = json!({"subnetpool": {"name": OURS, "prefixes": [POOL], "default_prefixlen": 26}});
        post(&self.demo, "subnetpools", pool).await?;
        post(&self.demo, "routers", json!({"router": {"name": OURS}})).await
    }

    /// Makes a subnet pool of IPv6 named `e2e-v6`. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn pool_six(&self) -> Result<()> {
        let pool = json!({"subnetpool": {"name": OURS_SIX, "prefixes": [POOL_SIX], "default_prefixlen": 64}});
        post(&self.demo, "subnetpools", pool).await
    }

    /// Makes a network `e2e` with these subnets, each called after its IP version (`e2e-v4`), of a few addresses. It goes when the
    /// test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn network_with(&self, subnets: &[(u8, &str, [&str; 2])]) -> Result<()> {
        post(&self.demo, "networks", json!({"network": {"name": OURS}})).await?;
        let network = self.demo.list::<Network>(&[("name", OURS)]).await?.pop().context("the network")?;
        for (version, cidr, [start, end]) in subnets {
            let subnet = json!({"name": format!("{OURS}-v{version}"), "network_id": network.id, "ip_version": version,
                "cidr": cidr, "enable_dhcp": false, "gateway_ip": null,
                "allocation_pools": [{"start": start, "end": end}]});
            post(&self.demo, "subnets", json!({"subnet": subnet})).await?;
        }
        Ok(())
    }

    /// What the operator made in Neutron, ports of Pods aside.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn made(&self) -> Result<Made> {
        let cluster = Mark::cluster_tag(&self.cluster);
        let ours = |description: &str| description.starts_with(&cluster);
        let owners = INTERFACES.map(|owner| ("device_owner", owner));
        let mut made = Made {
            networks: self.admin.list(&[]).await?,
            subnets: self.admin.list(&[]).await?,
            interfaces: self.admin.list(&owners).await?,
            groups: self.admin.list(&[]).await?,
            address_groups: self.admin.list(&[]).await?,
            floating_ips: self.admin.list(&[]).await?,
        };
        made.networks.retain(|r| ours(&r.description));
        made.subnets.retain(|r| ours(&r.description));
        made.interfaces.retain(|r| ours(&r.description));
        made.groups.retain(|r| ours(&r.description));
        made.address_groups.retain(|r| ours(&r.description));
        made.floating_ips.retain(|r| ours(&r.description));
        Ok(made)
    }

    /// Waits until nothing is left of what an operator made in Neutron.
    ///
    /// # Errors
    /// Not in time: what is left.
    pub async fn nothing_made_is_left(&self) -> Result<()> {
        until("nothing of ours is left in Neutron", async || {
            let (made, ports) = (self.made().await?, self.ports().await?);
            ensure!(made.is_empty() && ports.is_empty(), "{made:?} {ports:?}");
            Ok(())
        })
        .await
    }

    /// Those that a module retained: they are nobody's any more.
    async fn retained_address_groups(&self) -> Result<Vec<AddressGroup>> {
        let all: Vec<AddressGroup> = self.demo.list(&[]).await?;
        let is_retained = |group: &AddressGroup| {
            Retained::of(&group.description, &[]).is_some_and(|was| was.cluster == self.cluster)
        };
        Ok(all.into_iter().filter(is_retained).collect())
    }

    /// Everything that [`Lab::made`] finds, and what the test made by hand. Ports of Pods are gone by now.
    pub(crate) async fn clear_networks(&self) -> Result<()> {
        let made = self.made().await?;
        for ip in self.floating_ips().await? {
            self.admin.delete::<FloatingIp>(&ip.id).await?;
        }
        for port in &made.interfaces {
            match port.device_id.is_empty() {
                true => drop(self.admin.delete::<Port>(&port.id).await?),
                false => drop(self.admin.remove_router_interface(&port.device_id, &port.id).await?),
            }
        }
        for network in &made.networks {
            for port in self.admin.list::<Port>(&[("network_id", &network.id)]).await? {
                if !port.device_owner.starts_with("network:") {
                    self.admin.delete::<Port>(&port.id).await?;
                }
            }
            self.admin.delete::<Network>(&network.id).await?;
        }
        for group in &made.groups {
            self.admin.delete::<SecurityGroup>(&group.id).await?;
        }
        for group in made.address_groups.iter().chain(&self.retained_address_groups().await?) {
            self.admin.delete::<AddressGroup>(&group.id).await?;
        }
        for router in self.demo.list::<Router>(&[("name", OURS)]).await? {
            let ports = self.admin.list::<Port>(&[("device_id", &router.id)]).await?;
            // Its gateway goes with it.
            for port in ports.iter().filter(|port| port.device_owner != "network:router_gateway") {
                self.admin.remove_router_interface(&router.id, &port.id).await?;
            }
            delete(&self.demo, "routers", &router.id).await?;
        }
        for network in self.demo.list::<Network>(&[("name", OURS)]).await? {
            self.demo.delete::<Network>(&network.id).await?;
        }
        for pool in self.demo.list::<SubnetPool>(&[("name", OURS), ("name", OURS_SIX)]).await? {
            delete(&self.demo, "subnetpools", &pool.id).await?;
        }
        Ok(())
    }

    /// Puts the network `pods` on the test's router, at the gateway's address of its IPv4 subnet: by that the provider `ovn`
    /// finds the router of a VIP.
    ///
    /// # Errors
    /// Neutron's, or there is no router or no gateway.
    pub async fn routed(&self) -> Result<()> {
        self.routed_by("pods-v4").await
    }

    /// As [`Lab::routed`], of its IPv6 subnet.
    ///
    /// # Errors
    /// As of [`Lab::routed`].
    pub async fn routed_six(&self) -> Result<()> {
        self.routed_by("pods-v6").await
    }

    async fn routed_by(&self, subnet: &str) -> Result<()> {
        let subnets = self.demo.list::<Subnet>(&[("name", subnet)]).await?;
        let gateway = subnets.into_iter().find_map(|subnet| subnet.gateway_ip).context("a gateway")?;
        let fixed_ip = FixedIpRequest { ip_address: Some(gateway), ..FixedIpRequest::default() };
        let body = PortCreate {
            network_id: self.network().await?,
            fixed_ips: Some(vec![fixed_ip]),
            ..PortCreate::default()
        };
        let port: Port = self.demo.create::<Port>(&body).await?;
        self.demo.add_router_interface(&self.router().await?.id, &port.id).await?;
        Ok(())
    }

    /// Makes a router `e2e` from the network `pods` to the external one. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's, or there is no external network.
    pub async fn router_outside(&self) -> Result<()> {
        let gateway = json!({"network_id": self.external().await?});
        let router = json!({"router": {"name": OURS, "external_gateway_info": gateway}});
        post(&self.demo, "routers", router).await?;
        self.routed().await
    }

    pub(crate) async fn external(&self) -> Result<String> {
        let mut found = self.demo.list::<Network>(&[("name", EXTERNAL)]).await?;
        Ok(found.pop().context("the lab has an external network")?.id)
    }

    /// The floating IPs of the operator's project, whose ever they are.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn floating_ips(&self) -> Result<Vec<FloatingIp>> {
        Ok(self.demo.list::<FloatingIp>(&[]).await?)
    }

    /// Makes a floating IP by hand, as a user has it. It goes when the test ends.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn floating_ip(&self) -> Result<FloatingIp> {
        let body = FloatingIpCreate {
            floating_network_id: self.external().await?,
            description: Some("a user's".into()),
            ..FloatingIpCreate::default()
        };
        Ok(self.demo.create::<FloatingIp>(&body).await?)
    }

    /// Makes a floating IP lead to this port, or to none, by hand.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn lead(&self, id: &str, port: Option<&str>) -> Result<FloatingIp> {
        let body = FloatingIpUpdate { port_id: Some(port.map(str::to_owned)), ..FloatingIpUpdate::default() };
        Ok(self.demo.update::<FloatingIp>(id, &body, None).await?)
    }

    /// The router of a test.
    ///
    /// # Errors
    /// Neutron's, or that it was not made.
    pub async fn router(&self) -> Result<Router> {
        let mut found = self.demo.list::<Router>(&[("name", OURS)]).await?;
        found.pop().context("the test made a router")
    }
}
