//! Neutron's kinds.

use isthmus_model::value::Value;

use super::{case, names, record};
use crate::bindings::isthmus::mapping::networking as wit;

record!(wit::Network {; option mtu, option port_security, option dns_domain, });

record!(wit::Subnet {
    set network, set ip_version, set prefix, set gateway, set dhcp, set dns_nameservers, set host_routes,;
    option allocation_pools, option ipv6_address_mode, option ipv6_ra_mode,
});
record!(wit::PoolPrefix { set subnet_pool,; option length, });
record!(wit::AllocationPool { set first, set last,; });
record!(wit::Route { set destination, set next_hop,; });
names!(wit::Ipv6Mode {
    Slaac = "slaac", Dhcpv6Stateful = "dhcpv6-stateful", Dhcpv6Stateless = "dhcpv6-stateless",
});

impl From<wit::Prefix> for Value {
    fn from(value: wit::Prefix) -> Self {
        match value {
            wit::Prefix::Cidr(cidr) => case("cidr", cidr),
            wit::Prefix::FromPool(pool) => case("from_pool", pool),
        }
    }
}
impl From<wit::Gateway> for Value {
    fn from(value: wit::Gateway) -> Self {
        match value {
            wit::Gateway::Automatic => case("automatic", true),
            wit::Gateway::None => case("none", true),
            wit::Gateway::Address(address) => case("address", address),
        }
    }
}

record!(wit::RouterInterface { set router, set subnet,; });

record!(wit::SecurityGroup { set rules,; option stateful, });
record!(wit::SecurityRule { set direction, set ip_version, set ports, set remote,; option protocol, });
names!(wit::Direction { Ingress = "ingress", Egress = "egress", });
record!(wit::PortRange { set first, set last,; });
record!(wit::IcmpMatch { set type_ as "type",; option code, });

impl From<wit::PortMatch> for Value {
    fn from(value: wit::PortMatch) -> Self {
        match value {
            wit::PortMatch::Any => case("any", true),
            wit::PortMatch::Range(range) => case("range", range),
            wit::PortMatch::Icmp(icmp) => case("icmp", icmp),
        }
    }
}
impl From<wit::Remote> for Value {
    fn from(value: wit::Remote) -> Self {
        match value {
            wit::Remote::Any => case("any", true),
            wit::Remote::Cidr(cidr) => case("cidr", cidr),
            wit::Remote::Group(group) => case("group", group),
            wit::Remote::Addresses(group) => case("addresses", group),
        }
    }
}

record!(wit::AddressGroup { set addresses,; });

record!(wit::Port {
    set network, set allowed_address_pairs,;
    option fixed_ips, option security_groups, option port_security, option mac_address, option qos_policy, option host,
    option vnic_type, option dns_name,
});
record!(wit::FixedIp {; option subnet, option address, });
record!(wit::AddressPair { set address,; option mac_address, });

record!(wit::Vif { set interface, set port, set default_route, set routes,; option binding, option device, });

record!(wit::FloatingIp { set network, set target,; option subnet, option address, });
record!(wit::FloatingIpAssociation { set floating_ip, set target,; });

impl From<wit::FloatingTarget> for Value {
    fn from(value: wit::FloatingTarget) -> Self {
        match value {
            wit::FloatingTarget::Unattached => case("unattached", true),
            wit::FloatingTarget::Port(port) => case("port", port),
            wit::FloatingTarget::Vip(balancer) => case("vip", balancer),
        }
    }
}
