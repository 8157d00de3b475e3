//! Requests that make something.

use serde_json::{Value, json};

use super::super::generate::{NOBODY, set, spice};
use super::{Network, Request, request};
use crate::random::Random;

impl Network {
    /// A request that makes something.
    pub(super) fn create(&mut self, random: &mut Random) -> Request {
        let wanted = [
            ("networks", 3),
            ("subnets", 5),
            ("ports", 12),
            ("security-groups", 3),
            ("address-groups", 2),
            ("routers", 2),
            ("trunks", 2),
        ];
        let missing: Vec<&str> = wanted.iter().filter(|(k, n)| self.count(k) < *n).map(|(k, _)| *k).collect();
        let kinds = [
            "networks",
            "subnets",
            "ports",
            "ports",
            "ports",
            "security-groups",
            "security-group-rules",
            "security-group-rules",
            "security-group-rules",
            "address-groups",
            "routers",
            "trunks",
            "floatingips",
        ];
        let kind =
            if missing.is_empty() || random.one_in(2) { random.of(&kinds) } else { random.of(&missing) };
        match kind {
            "networks" => self.network(random),
            "subnets" => self.subnet(random),
            "ports" => self.port(random),
            "security-groups" => {
                let mut group = json!({"name": self.name()});
                spice(
                    &mut group,
                    random,
                    &[
                        ("description", json!("d")),
                        ("stateful", json!(false)),
                        ("name", json!("default")),
                        ("name", json!(5)),
                        ("stateful", json!("x")),
                        ("colour", json!(1)),
                        ("id", json!("x")),
                    ],
                );
                post("/security-groups", "security_group", group)
            }
            "security-group-rules" => self.rule(random),
            "address-groups" => {
                let mut group =
                    json!({"name": self.name(), "addresses": [format!("10.{}.0.0/16", random.below(9))]});
                spice(
                    &mut group,
                    random,
                    &[
                        ("addresses", json!([])),
                        ("addresses", json!(["x"])),
                        ("addresses", json!("x")),
                        ("description", json!("d")),
                        ("name", json!(7)),
                    ],
                );
                post("/address-groups", "address_group", group)
            }
            "routers" => {
                let mut router = json!({"name": self.name()});
                if let (Some(external), true) = (&self.external, random.one_in(2)) {
                    set(&mut router, "external_gateway_info", json!({"network_id": external}));
                }
                let other = self.some("networks", random);
                spice(
                    &mut router,
                    random,
                    &[
                        ("admin_state_up", json!(false)),
                        ("external_gateway_info", json!({"network_id": other})),
                        ("external_gateway_info", json!(5)),
                        ("routes", json!([])),
                    ],
                );
                post("/routers", "router", router)
            }
            "trunks" => {
                let mut trunk = json!({"name": self.name(), "port_id": self.some("ports", random)});
                spice(
                    &mut trunk,
                    random,
                    &[("admin_state_up", json!(true)), ("port_id", json!("x")), ("sub_ports", json!("x"))],
                );
                post("/trunks", "trunk", trunk)
            }
            _ => self.floating_ip(random),
        }
    }

    fn network(&mut self, random: &mut Random) -> Request {
        let mut network = json!({"name": self.name()});
        spice(
            &mut network,
            random,
            &[
                ("description", json!("d")),
                ("mtu", json!(1300)),
                ("port_security_enabled", json!(false)),
                ("admin_state_up", json!("no")),
                ("admin_state_up", json!("maybe")),
                ("name", json!("x".repeat(256))),
                ("mtu", json!("x")),
                ("shared", json!(true)),
                ("router:external", json!(true)),
                ("colour", json!("red")),
                ("status", json!("DOWN")),
                ("tags", json!(["a"])),
            ],
        );
        post("/networks", "network", network)
    }

    fn subnet(&mut self, random: &mut Random) -> Request {
        self.numbers += 1;
        let n = self.numbers % 250;
        let mut subnet = match random.below(4) {
            0 => json!({"ip_version": 6, "cidr": format!("fd00:{n:x}::/64")}),
            1 => json!({"ip_version": 4, "cidr": format!("10.3.{n}.0/28")}),
            _ => json!({"ip_version": 4, "cidr": format!("10.2.{n}.0/24"),
                        "allocation_pools": [{"start": format!("10.2.{n}.128"), "end": format!("10.2.{n}.250")}]}),
        };
        set(&mut subnet, "name", json!(self.name()));
        let network = self.some("networks", random);
        set(&mut subnet, "network_id", json!(network));
        let version = subnet.get("ip_version").and_then(Value::as_u64).unwrap_or_default();
        if let Some((_, _, cidr)) = self.versions.iter().find(|(of, v, _)| *of == network && *v == version) {
            // Of two subnets of one version Neutron takes either: there is one, and a second one overlaps.
            let refused = json!({"name": "conformance-twice", "network_id": network, "ip_version": version, "cidr": cidr});
            return post("/subnets", "subnet", refused);
        }
        let other = self.subnets.last().map_or(1, |(_, n, _)| *n);
        spice(
            &mut subnet,
            random,
            &[
                ("enable_dhcp", json!(false)),
                ("gateway_ip", Value::Null),
                ("gateway_ip", json!(format!("10.2.{n}.1"))),
                ("gateway_ip", json!(format!("10.2.{n}.130"))),
                ("gateway_ip", json!("x")),
                ("cidr", json!("x")),
                ("cidr", json!(format!("10.2.{other}.0/24"))),
                ("ip_version", json!(5)),
                ("ip_version", json!(6)),
                ("dns_nameservers", json!(["10.9.9.9", "10.9.9.8"])),
                ("dns_nameservers", json!(["x"])),
                ("host_routes", json!([{"destination": "10.50.0.0/16", "nexthop": "10.2.0.1"}])),
                ("allocation_pools", json!([{"start": "10.2.0.9", "end": "10.2.0.3"}])),
                ("allocation_pools", json!([{"start": "10.200.0.3", "end": "10.200.0.9"}])),
                ("network_id", json!("x")),
            ],
        );
        if subnet.get("allocation_pools").is_none()
            && subnet.get("cidr") == Some(&json!(format!("10.2.{other}.0/24")))
        {
            // What the cloud chooses is told from what requests name, which is below.
            let pool = json!([{"start": format!("10.2.{other}.128"), "end": format!("10.2.{other}.250")}]);
            set(&mut subnet, "allocation_pools", pool);
        }
        post("/subnets", "subnet", subnet)
    }

    pub(super) fn fixed_ip(&self, random: &mut Random) -> Value {
        let Some((id, n, _)) = (!self.subnets.is_empty()).then(|| random.of(&self.subnets)) else {
            return json!([{"ip_address": "10.2.1.5"}]);
        };
        match random.below(5) {
            0 => json!([{"subnet_id": id}]),
            1 => json!([{"ip_address": format!("10.2.{n}.{}", 2 + random.below(30))}]),
            2 => json!([{"subnet_id": id, "ip_address": format!("10.2.{n}.{}", 2 + random.below(30))}]),
            3 => json!([{"subnet_id": id}, {"ip_address": format!("10.2.{n}.{}", 2 + random.below(30))}]),
            _ => json!([{"subnet_id": id, "ip_address": "10.201.0.1"}]),
        }
    }

    fn port(&mut self, random: &mut Random) -> Request {
        let mut port = json!({"name": self.name(), "network_id": self.some("networks", random)});
        if let (true, Some((_, _, network))) = (random.one_in(2), self.subnets.last()) {
            set(&mut port, "network_id", json!(network));
            set(&mut port, "fixed_ips", self.fixed_ip(random));
        }
        let groups = json!([self.some("security-groups", random)]);
        let mac = format!("02:00:00:00:00:{:02x}", random.below(8));
        spice(
            &mut port,
            random,
            &[
                ("security_groups", groups),
                ("security_groups", json!([])),
                ("port_security_enabled", json!(false)),
                ("port_security_enabled", json!(true)),
                ("allowed_address_pairs", json!([{"ip_address": "10.77.0.0/24"}])),
                ("allowed_address_pairs", json!([{"mac_address": "02:00:00:00:00:01"}])),
                ("tags", json!(["b", "a"])),
                ("tags", json!(["a", "a"])),
                ("device_owner", json!("isthmus:pod")),
                ("device_id", json!("pod-1")),
                ("mac_address", json!(mac)),
                ("mac_address", json!("x")),
                ("binding:vnic_type", json!("direct")),
                ("binding:vnic_type", json!("x")),
                ("fixed_ips", json!([])),
                ("fixed_ips", json!("x")),
                ("admin_state_up", json!(false)),
                ("network_id", json!(NOBODY)),
                ("description", json!("d")),
                ("status", json!("ACTIVE")),
            ],
        );
        post("/ports", "port", port)
    }

    fn rule(&mut self, random: &mut Random) -> Request {
        let mut rule = json!({"security_group_id": self.some("security-groups", random),
                              "direction": random.of(&["ingress", "egress"])});
        match random.below(6) {
            0 => set(&mut rule, "remote_ip_prefix", json!(format!("10.{}.0.0/16", random.below(5)))),
            1 => set(&mut rule, "remote_group_id", json!(self.some("security-groups", random))),
            2 => set(&mut rule, "remote_address_group_id", json!(self.some("address-groups", random))),
            _ => {
                let first = 1 + random.below(90);
                set(&mut rule, "protocol", json!(random.of(&["tcp", "udp", "TCP", "sctp", "17"])));
                set(&mut rule, "port_range_min", json!(first));
                set(&mut rule, "port_range_max", json!(first + random.below(9)));
            }
        }
        spice(
            &mut rule,
            random,
            &[
                ("protocol", json!("icmp")),
                ("protocol", json!("esp")),
                ("protocol", json!("x")),
                ("protocol", json!(300)),
                ("ethertype", json!("ipv6")),
                ("ethertype", json!("x")),
                ("direction", json!("up")),
                ("remote_ip_prefix", json!("fd00::/8")),
                ("remote_ip_prefix", json!("x")),
                ("remote_ip_prefix", json!("0.0.0.0/0")),
                ("port_range_min", json!(99)),
                ("port_range_max", json!(70000)),
                ("port_range_min", Value::Null),
                ("description", json!("d")),
                ("security_group_id", json!(NOBODY)),
            ],
        );
        post("/security-group-rules", "security_group_rule", rule)
    }

    fn floating_ip(&mut self, random: &mut Random) -> Request {
        let network = match &self.external {
            Some(external) if !random.one_in(6) => external.clone(),
            _ => self.some("networks", random),
        };
        let mut ip = json!({"floating_network_id": network});
        let port = self.some("ports", random);
        spice(
            &mut ip,
            random,
            &[
                ("description", json!("d")),
                ("port_id", json!(port)),
                ("fixed_ip_address", json!("10.2.1.9")),
                ("port_id", json!("x")),
            ],
        );
        post("/floatingips", "floatingip", ip)
    }
}

fn post(path: &str, key: &str, body: Value) -> Request {
    request("POST", path.to_owned(), json!({key: body}))
}
