//! What the cloud makes of what is asked for: addresses of subnets, and what was left to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use serde_json::{Value as Json, json};

type Cloud = BTreeMap<String, Observed>;

/// A new resource with what was left to the cloud. `forgiving`: an address that is in no subnet of the network, which Neutron
/// would refuse, is given all the same.
pub(crate) fn made(cloud: &mut Cloud, mut found: Observed, number: u32, forgiving: bool) {
    if found.kind == Kind::Port {
        let mac = format!("fa:16:3e:00:{:02x}:{:02x}", number / 256, number % 256);
        found.fields.entry("mac_address".into()).or_insert(mac.into());
        let fixed_ips = given(cloud, &found, number, forgiving);
        found.fields.insert("fixed_ips".into(), fixed_ips.into());
    }
    filled(&mut found);
    if is_automatic(&found) {
        for port in cloud.values_mut().filter(|o| o.kind == Kind::Port && is_beside(o, &found)) {
            let address = automatic(&found, port);
            addresses(port).push(address);
        }
    }
    cloud.insert(found.id.clone(), found);
}

/// The elements of lists as they are when they are written.
pub(crate) fn filled(found: &mut Observed) {
    let (list, defaults) = match found.kind {
        Kind::Port => ("allowed_address_pairs", json!({"mac_address": found.fields["mac_address"]})),
        Kind::Pool => ("members", json!({"weight": 1, "backup": false})),
        _ => return,
    };
    let written = found.fields.get_mut(list).and_then(Json::as_array_mut);
    for element in written.into_iter().flatten().filter_map(Json::as_object_mut) {
        for (name, value) in defaults.as_object().unwrap() {
            element.entry(name).or_insert(value.clone());
        }
    }
}

/// Before a subnet is deleted: the addresses that it gave of itself go with it.
pub(crate) fn let_go(cloud: &mut Cloud, id: &str) {
    if cloud.get(id).is_some_and(is_automatic) {
        for port in cloud.values_mut().filter(|o| o.fields.contains_key("fixed_ips")) {
            addresses(port).retain(|ip| ip["subnet"] != id);
        }
    }
}

/// Makes of what can't be so something that can: a port has addresses of subnets of one network alone. Whether it can be at all:
/// subnets of a network do not overlap.
pub(crate) fn bent(cloud: &Cloud, found: &mut Observed) -> bool {
    if found.kind == Kind::Subnet {
        let own = prefix(found);
        let mut others = subnets(cloud, found).into_iter().map(prefix);
        return !others.any(|other| own.contains(&other) || other.contains(&own));
    }
    let Some(mut asked) = found.fields.get("fixed_ips").and_then(Json::as_array).cloned() else {
        return true;
    };
    if let Some(subnet) = asked.iter().find_map(|ip| cloud.get(ip["subnet"].as_str()?)) {
        found.fields.insert("network".into(), subnet.fields["network"].clone());
    }
    let subnets = subnets(cloud, found);
    asked.retain_mut(|ip| {
        let Some(subnet) = subnets.iter().find(|subnet| fits(subnet, ip)) else { return false };
        if ip["address"].as_str().is_some_and(|address| !holds(subnet, address)) {
            ip["address"] = numbered(subnet, 9).into();
        }
        true
    });
    found.fields.insert("fixed_ips".into(), asked.into());
    true
}

/// The addresses of a new port. One that says nothing of them gets none: which subnet Neutron would take is not told.
fn given(cloud: &Cloud, port: &Observed, number: u32, forgiving: bool) -> Vec<Json> {
    let mut asked = port.fields.get("fixed_ips").and_then(Json::as_array).cloned().unwrap_or_default();
    if !port.fields.contains_key("network") {
        return asked;
    }
    let (own, others): (Vec<_>, Vec<_>) = subnets(cloud, port).into_iter().partition(|s| is_automatic(s));
    asked.retain(|ip| !own.iter().any(|subnet| ip["subnet"] == *subnet.id));
    let given = (0..).zip(&asked).map(|(at, ip)| {
        let told = !forgiving || ip.get("subnet").is_some();
        let subnet = others.iter().find(|subnet| told && fits(subnet, ip));
        let free = subnet.map(|subnet| numbered(subnet, 30 + 2 * number + at));
        let subnet_id = subnet.map_or_else(|| ip["subnet"].clone(), |subnet| subnet.id.clone().into());
        let address = ip["address"].as_str().map(str::to_owned).or(free).unwrap_or("10.255.0.1".into());
        let taken = subnet.is_some_and(|subnet| holds(subnet, &address));
        assert!(taken || forgiving, "{ip} is in no subnet of the network of {port:?}");
        json!({"subnet": subnet_id, "address": address})
    });
    let mut given: Vec<Json> = given.chain(own.iter().map(|subnet| automatic(subnet, port))).collect();
    // In an order of its own.
    given.sort_by_key(|ip| ip["address"].to_string());
    given
}

fn addresses(port: &mut Observed) -> &mut Vec<Json> {
    port.fields.entry("fixed_ips".into()).or_insert(json!([])).as_array_mut().unwrap()
}

/// Those that it may be on.
fn subnets<'c>(cloud: &'c Cloud, found: &Observed) -> Vec<&'c Observed> {
    cloud.values().filter(|o| o.kind == Kind::Subnet && is_beside(o, found)).collect()
}

/// Whether both are on one network, and somebody's: nobody has a port on a subnet of another here.
fn is_beside(one: &Observed, other: &Observed) -> bool {
    let whose = |o: &Observed| (o.project.clone(), o.mark.clone().map(|m| (m.cluster, m.subject)));
    one.fields.get("network") == other.fields.get("network") && whose(one) == whose(other)
}

fn fits(subnet: &Observed, fixed_ip: &Json) -> bool {
    match fixed_ip["subnet"].as_str() {
        Some(id) => subnet.id == id,
        None => fixed_ip["address"].as_str().is_some_and(|address| holds(subnet, address)),
    }
}

fn prefix(subnet: &Observed) -> IpNet {
    subnet.fields["prefix"].as_str().unwrap().parse().unwrap()
}

fn holds(subnet: &Observed, address: &str) -> bool {
    prefix(subnet).contains(&address.parse::<IpAddr>().unwrap())
}

fn numbered(subnet: &Observed, number: u32) -> String {
    match prefix(subnet).network() {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + number).to_string(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(number)).to_string(),
    }
}

/// Whether it gives every port of its network an address, asked for or not.
fn is_automatic(subnet: &Observed) -> bool {
    subnet.fields.get("ipv6_address_mode").is_some_and(|mode| mode == "slaac")
}

/// The address that is made of the port's MAC address (RFC 4291, appendix A).
fn automatic(subnet: &Observed, port: &Observed) -> Json {
    let mac = port.fields["mac_address"].as_str().unwrap();
    let octets: Vec<u8> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    let host = [octets[0] ^ 2, octets[1], octets[2], 0xff, 0xfe, octets[3], octets[4], octets[5]];
    let IpAddr::V6(first) = prefix(subnet).network() else { panic!("not of IPv6: {subnet:?}") };
    let address = Ipv6Addr::from_bits(first.to_bits() | u128::from(u64::from_be_bytes(host)));
    json!({"subnet": subnet.id, "address": address.to_string()})
}
