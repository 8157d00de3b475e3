//! VIFs as a node binds them, checked.

use std::net::IpAddr;

use ipnet::IpNet;
use isthmus_cni::result::{IpConfig, Route as ResultRoute};
use isthmus_cni::{Code, Error, input};
use isthmus_kubernetes::crd::VifStatus;
use serde::{Deserialize, Serialize};

/// One interface of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vif {
    /// Name in the Pod.
    pub interface: String,
    /// Id of its port.
    pub port_id: String,
    /// Id of its network; empty in what an older agent stored.
    #[serde(default)]
    pub network: String,
    /// MAC address, as `fa:16:3e:00:00:01`.
    pub mac: String,
    /// Addresses with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// Gateways of its subnets.
    pub gateways: Vec<IpAddr>,
    /// MTU of its network, in bytes.
    pub mtu: Option<u32>,
    /// Whether default routes go through it.
    pub default_route: bool,
    /// Other routes through it.
    pub routes: Vec<Route>,
    /// Binding driver; absent: the node's default.
    pub binding: Option<String>,
    /// VLAN id, 1 to 4094: of its port on the node's trunk, or of its virtual function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation_id: Option<u16>,
    /// PCI address of its virtual function, or name of the resource by which the Pod has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whether its virtual function is trusted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trusted: bool,
    /// Whether it may send with any address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unprotected: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub destination: IpNet,
    /// Next hop.
    pub next_hop: IpAddr,
}

impl Vif {
    /// The VIF that a CloudMapping tells.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] with the field that is no address, MTU or name.
    pub fn from_status(status: &VifStatus) -> Result<Self, Error> {
        let bad = |field: &str, found: &str, why: &str| {
            let what = format!("VIF {} of port {}: {field} is {found:?}", status.interface, status.port_id);
            Error::new(Code::InvalidConfig, what, why)
        };
        input::interface_name(&status.interface).map_err(|why| bad("interface", &status.interface, why))?;
        parse_mac(&status.mac_address)
            .ok_or_else(|| bad("macAddress", &status.mac_address, "it is six bytes in hex"))?;
        let cidr = |field, text: &String| {
            text.parse::<IpNet>().map_err(|_| bad(field, text, "it is an address with a prefix length"))
        };
        let ip =
            |field, text: &String| text.parse::<IpAddr>().map_err(|_| bad(field, text, "it is an address"));
        let route = |route: &isthmus_kubernetes::crd::Route| {
            let destination = cidr("routes[].destination", &route.destination)?;
            Ok(Route { destination, next_hop: ip("routes[].nextHop", &route.next_hop)? })
        };
        let mtu = status.mtu.map(u32::try_from).transpose();
        let vlan = |id: i32| {
            let valid = u16::try_from(id).ok().filter(|id| (1..=4094).contains(id));
            valid.ok_or_else(|| bad("segmentationId", &id.to_string(), "it is a VLAN id from 1 to 4094"))
        };
        // Nothing but a virtual function is what such a port is bound to.
        let direct = status.vnic_type.as_deref() == Some("direct");
        Ok(Self {
            interface: status.interface.clone(),
            port_id: status.port_id.clone(),
            network: status.network.clone(),
            mac: status.mac_address.to_lowercase(),
            addresses: status.addresses.iter().map(|a| cidr("addresses[]", a)).collect::<Result<_, _>>()?,
            gateways: status.gateways.iter().map(|g| ip("gateways[]", g)).collect::<Result<_, _>>()?,
            mtu: mtu.map_err(|_| bad("mtu", &format!("{:?}", status.mtu), "it is a number of bytes"))?,
            default_route: status.default_route,
            routes: status.routes.iter().map(route).collect::<Result<_, Error>>()?,
            binding: status.binding.clone().or_else(|| direct.then(|| "sriov".to_owned())),
            segmentation_id: status.segmentation_id.map(vlan).transpose()?,
            device: status.device.clone(),
            trusted: status.trusted,
            unprotected: status.unprotected,
        })
    }

    /// All routes through it: the default ones first.
    pub fn all_routes(&self) -> Vec<Route> {
        let everything = |gateway: &IpAddr| Route {
            destination: match gateway {
                IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
                IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
            },
            next_hop: *gateway,
        };
        let mut routes: Vec<Route> = Vec::new();
        for route in self.gateways.iter().filter(|_| self.default_route).map(everything) {
            // Two subnets of one family have a gateway each: one default route is enough.
            if routes.iter().all(|known| known.destination != route.destination) {
                routes.push(route);
            }
        }
        routes.extend(self.routes.iter().cloned());
        routes
    }

    /// Its addresses as a CNI result has them; `index` is that of its interface there.
    pub fn ips(&self, index: usize) -> Vec<IpConfig> {
        let gateway = |address: &IpNet| self.gateways.iter().find(|g| address.contains(*g));
        let ip = |address: &IpNet| IpConfig {
            interface: Some(index),
            address: address.to_string(),
            gateway: gateway(address).map(IpAddr::to_string),
        };
        self.addresses.iter().map(ip).collect()
    }

    /// Its routes as a CNI result has them.
    pub fn result_routes(&self) -> Vec<ResultRoute> {
        let route = |r: Route| ResultRoute {
            dst: r.destination.to_string(),
            gw: Some(r.next_hop.to_string()),
            ..ResultRoute::default()
        };
        self.all_routes().into_iter().map(route).collect()
    }
}

/// A MAC address as text.
pub fn format_mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The bytes of a MAC address.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}
