//! Records of Neutron's resources.

use super::setters;
use crate::records::networking::{
    AddressGroup, AddressPair, AllocationPool, Direction, FixedIp, FloatingIp, FloatingIpAssociation,
    FloatingTarget, Gateway, Ipv6Mode, Network, PoolPrefix, Port, PortMatch, PortRange, Prefix, Remote,
    Route, RouterInterface, SecurityGroup, SecurityRule, Subnet, Vif,
};
use crate::records::values::{Address, AddressSet, IpVersion, Reference};

impl Network {
    /// A network with the cloud's defaults.
    pub fn new() -> Self {
        Self { mtu: None, port_security: None, dns_domain: None }
    }
}
impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
setters!(Network { option mtu: u16; option port_security: bool; option dns_domain: String; });

impl Subnet {
    /// A subnet with DHCP and a gateway of the cloud's choice.
    pub fn new(network: Reference, ip_version: IpVersion, prefix: Prefix) -> Self {
        Self {
            network,
            ip_version,
            prefix,
            gateway: Gateway::Automatic,
            dhcp: true,
            allocation_pools: None,
            ipv6_address_mode: None,
            ipv6_ra_mode: None,
            dns_nameservers: Vec::new(),
            host_routes: Vec::new(),
        }
    }

    /// Without DHCP.
    #[must_use]
    pub fn without_dhcp(mut self) -> Self {
        self.dhcp = false;
        self
    }

    /// This gateway, or none.
    #[must_use]
    pub fn gateway(mut self, gateway: Gateway) -> Self {
        self.gateway = gateway;
        self
    }

    /// One range that addresses are taken from, both ends included.
    #[must_use]
    pub fn allocation_pool(mut self, first: &str, last: &str) -> Self {
        self.allocation_pools
            .get_or_insert_default()
            .push(AllocationPool { first: first.into(), last: last.into() });
        self
    }
}
setters!(Subnet {
    option ipv6_address_mode: Ipv6Mode;
    option ipv6_ra_mode: Ipv6Mode;
    list dns_nameservers as dns_nameserver: String;
    list host_routes as host_route: Route;
});

impl Prefix {
    /// A prefix of a subnet pool; `length` in bits, `None` for the pool's default.
    pub fn pool(subnet_pool: Reference, length: Option<u8>) -> Self {
        Self::FromPool(PoolPrefix { subnet_pool, length })
    }
}
impl From<&str> for Prefix {
    fn from(cidr: &str) -> Self {
        Self::Cidr(cidr.into())
    }
}

impl Route {
    /// A route to a CIDR by a neighbour's address.
    pub fn new(destination: &str, next_hop: &str) -> Self {
        Self { destination: destination.into(), next_hop: next_hop.into() }
    }
}

impl RouterInterface {
    /// A subnet attached to a router.
    pub fn new(router: Reference, subnet: Reference) -> Self {
        Self { router, subnet }
    }
}

impl SecurityGroup {
    /// A group that lets nothing pass.
    pub fn new() -> Self {
        Self { rules: Vec::new(), stateful: None }
    }
}
impl Default for SecurityGroup {
    fn default() -> Self {
        Self::new()
    }
}
setters!(SecurityGroup { option stateful: bool; list rules as rule: SecurityRule; });

impl SecurityRule {
    /// Lets everything of this IP version come in.
    pub fn ingress(ip_version: IpVersion) -> Self {
        Self::new(Direction::Ingress, ip_version)
    }

    /// Lets everything of this IP version go out.
    pub fn egress(ip_version: IpVersion) -> Self {
        Self::new(Direction::Egress, ip_version)
    }

    fn new(direction: Direction, ip_version: IpVersion) -> Self {
        Self { direction, ip_version, protocol: None, ports: PortMatch::Any, remote: Remote::Any }
    }

    /// Only these ports, both ends included. They need a protocol.
    #[must_use]
    pub fn ports(mut self, first: u16, last: u16) -> Self {
        self.ports = PortMatch::Range(PortRange { first, last });
        self
    }

    /// Only with this other end.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.remote = remote;
        self
    }
}
setters!(SecurityRule { option protocol: String; });

impl AddressGroup {
    /// An empty group.
    pub fn new() -> Self {
        Self { addresses: Vec::new() }
    }
}
impl Default for AddressGroup {
    fn default() -> Self {
        Self::new()
    }
}
setters!(AddressGroup { list addresses as address: AddressSet; });

impl Port {
    /// A port on this network with the cloud's defaults: an address of each IP version, the project's default group.
    pub fn new(network: Reference) -> Self {
        Self {
            network,
            fixed_ips: None,
            security_groups: None,
            port_security: None,
            mac_address: None,
            allowed_address_pairs: Vec::new(),
            qos_policy: None,
            host: None,
            vnic_type: None,
            dns_name: None,
        }
    }

    /// One more address; the first one replaces the default.
    #[must_use]
    pub fn fixed_ip(mut self, fixed_ip: FixedIp) -> Self {
        self.fixed_ips.get_or_insert_default().push(fixed_ip);
        self
    }

    /// One more security group; the first one replaces the default.
    #[must_use]
    pub fn security_group(mut self, group: Reference) -> Self {
        self.security_groups.get_or_insert_default().push(group);
        self
    }
}
setters!(Port {
    option port_security: bool;
    option mac_address: String;
    option qos_policy: Reference;
    option host: String;
    option vnic_type: String;
    option dns_name: String;
    list allowed_address_pairs as allowed_address_pair: AddressPair;
});

impl FixedIp {
    /// Any free address of this subnet.
    pub fn of(subnet: Reference) -> Self {
        Self { subnet: Some(subnet), address: None }
    }

    /// This address.
    pub fn at(address: &str) -> Self {
        Self { subnet: None, address: Some(address.into()) }
    }
}

impl AddressPair {
    /// An address (or a CIDR) that may send with the port's own MAC address.
    pub fn new(address: impl Into<Address>) -> Self {
        Self { address: address.into(), mac_address: None }
    }
}
setters!(AddressPair { option mac_address: String; });

impl Vif {
    /// The interface of this name in the pod, on this port.
    pub fn new(interface: &str, port: Reference) -> Self {
        let (routes, binding, device) = (Vec::new(), None, None);
        Self { interface: interface.into(), port, default_route: false, routes, binding, device }
    }
}
setters!(Vif { option binding: String; option device: String; list routes as route: Route; flag default_route; });

impl FloatingIp {
    /// Any free address of this external network.
    pub fn new(network: Reference, target: FloatingTarget) -> Self {
        Self { network, subnet: None, address: None, target }
    }
}
setters!(FloatingIp { option subnet: Reference; option address: String; });

impl FloatingIpAssociation {
    /// Points somebody else's floating IP to a target.
    pub fn new(floating_ip: Reference, target: FloatingTarget) -> Self {
        Self { floating_ip, target }
    }
}
