//! Results of ADD, in each version of the specification.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::version::Version;

/// A result, as version 1.1.0 has it. Older ones are read as well: what they have besides is not needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddResult {
    /// Interfaces, of the host and of the Pod.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Resolver.
    pub dns: Dns,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// MTU, in bytes; since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the network namespace; absent: on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Path of a vhost-user socket; since 1.1.0.
    #[serde(rename = "socketPath", skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// PCI address; since 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpConfig {
    /// Index in the list of interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// With prefix length.
    pub address: String,
    /// Gateway of its subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Destination, as CIDR.
    pub dst: String,
    /// Next hop; absent: the gateway of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gw: Option<String>,
    /// Fields of 1.1.0 that only plugins before us set.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// Resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Search list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl AddResult {
    /// This result after that of the plugins before us: theirs first, as it is. The resolver is theirs where they have one.
    pub fn after(mut self, before: Self) -> Self {
        let shift = before.interfaces.len();
        for ip in &mut self.ips {
            ip.interface = ip.interface.map(|index| index + shift);
        }
        Self {
            interfaces: [before.interfaces, self.interfaces].concat(),
            ips: [before.ips, self.ips].concat(),
            routes: [before.routes, self.routes].concat(),
            dns: if before.dns == Dns::default() { self.dns } else { before.dns },
        }
    }

    /// As it is printed in a version.
    pub fn to_json(&self, version: Version) -> Value {
        let old = version < Version::V1_1_0;
        let interfaces: Vec<Interface> = self.interfaces.iter().map(|i| interface(i, old)).collect();
        let ips: Vec<Value> = self.ips.iter().map(|ip| address(ip, version)).collect();
        let routes: Vec<Route> = self.routes.iter().map(|r| route(r, old)).collect();
        let version = version.as_str();
        json!({"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": self.dns})
    }
}

fn interface(interface: &Interface, old: bool) -> Interface {
    let mut interface = interface.clone();
    if old {
        (interface.mtu, interface.socket_path, interface.pci_id) = (None, None, None);
    }
    interface
}

fn route(route: &Route, old: bool) -> Route {
    let mut route = route.clone();
    if old {
        route.more.clear();
    }
    route
}

/// Before 1.0.0 an address says which IP version it has.
fn address(ip: &IpConfig, version: Version) -> Value {
    let mut value = json!({"address": ip.address});
    let mut set = |key: &str, to: Value| {
        if let Value::Object(fields) = &mut value {
            fields.insert(key.into(), to);
        }
    };
    if version < Version::V1_0_0 {
        set("version", if ip.address.contains(':') { "6" } else { "4" }.into());
    }
    if let Some(index) = ip.interface {
        set("interface", index.into());
    }
    if let Some(gateway) = &ip.gateway {
        set("gateway", gateway.as_str().into());
    }
    value
}
