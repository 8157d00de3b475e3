//! Random requests to Neutron.

use anyhow::Result;
use serde_json::{Value, json};

use super::compare::{Stream, ids};
use super::side::{Cloud, Request, Service, Who};
use crate::random::Random;

/// In the order in which they can be deleted.
const COLLECTIONS: [&str; 9] = [
    "floatingips",
    "trunks",
    "routers",
    "ports",
    "subnets",
    "networks",
    "security-groups",
    "address-groups",
    "subnetpools",
];
const NOBODY: &str = "11111111-1111-4111-8111-111111111111";

/// What a stream knows of the cloud that it made.
#[derive(Default)]
pub struct Network {
    made: Vec<(&'static str, String)>,
    /// Subnets with their number, which their prefix has, and network.
    subnets: Vec<(String, usize, String)>,
    /// Network, version and prefix of every subnet.
    versions: Vec<(String, u64, String)>,
    rules: Vec<String>,
    /// Router and subnet of each interface.
    interfaces: Vec<(String, String)>,
    /// An external network of the administrator, if there is one.
    external: Option<String>,
    numbers: usize,
    names: usize,
}

impl Network {
    /// `external`: an external network, by its `#` name.
    pub fn new(external: Option<String>) -> Self {
        Self { external, ..Self::default() }
    }

    fn some(&self, kind: &str, random: &mut Random) -> String {
        let all: Vec<&String> = self.made.iter().filter(|(k, _)| *k == kind).map(|(_, id)| id).collect();
        match all.is_empty() || random.one_in(40) {
            true => NOBODY.to_owned(),
            false => random.of(&all).clone(),
        }
    }

    fn count(&self, kind: &str) -> usize {
        self.made.iter().filter(|(k, _)| *k == kind).count()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("conformance-{}", self.names)
    }

    /// A request that makes something.
    fn create(&mut self, random: &mut Random) -> Request {
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
        post("/subnets", "subnet", subnet)
    }

    fn fixed_ip(&self, random: &mut Random) -> Value {
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

    fn update(&mut self, random: &mut Random) -> Request {
        let kind = random.of(&[
            "networks",
            "subnets",
            "ports",
            "ports",
            "ports",
            "ports",
            "security-groups",
            "address-groups",
            "routers",
            "floatingips",
        ]);
        let id = if kind == "subnets" { self.subnets.last().map(|s| s.0.clone()) } else { None };
        let id = id.unwrap_or_else(|| self.some(kind, random));
        let name = self.name();
        let (port, group, ips) =
            (self.some("ports", random), self.some("security-groups", random), self.fixed_ip(random));
        let external = self.external.clone().unwrap_or_else(|| NOBODY.to_owned());
        let changes: &[(&str, Value)] = match kind {
            "networks" => &[
                ("name", json!(name)),
                ("admin_state_up", json!(false)),
                ("description", json!("e")),
                ("port_security_enabled", json!(true)),
                ("id", json!("x")),
                ("shared", json!(true)),
                ("subnets", json!([])),
            ],
            "subnets" => &[
                ("name", json!(name)),
                ("enable_dhcp", json!(false)),
                ("dns_nameservers", json!(["10.9.9.7"])),
                ("gateway_ip", Value::Null),
                ("cidr", json!("10.0.0.0/8")),
                ("host_routes", json!([])),
                ("gateway_ip", json!("x")),
            ],
            "ports" => &[
                ("name", json!(name)),
                ("fixed_ips", ips),
                ("security_groups", json!([group])),
                ("security_groups", json!([])),
                ("port_security_enabled", json!(false)),
                ("port_security_enabled", json!(true)),
                ("allowed_address_pairs", json!([{"ip_address": "10.78.0.1"}])),
                ("allowed_address_pairs", json!([])),
                ("device_id", json!("pod-2")),
                ("device_owner", json!("isthmus:pod")),
                ("description", json!("e")),
                ("network_id", json!("x")),
                ("admin_state_up", json!("x")),
                ("mac_address", json!("02:00:00:00:00:03")),
            ],
            "security-groups" => &[
                ("name", json!(name)),
                ("description", json!("e")),
                ("name", json!("default")),
                ("stateful", json!(true)),
                ("security_group_rules", json!([])),
            ],
            "address-groups" => {
                &[("name", json!(name)), ("description", json!("e")), ("addresses", json!([]))]
            }
            "routers" => &[
                ("name", json!(name)),
                ("description", json!("e")),
                ("external_gateway_info", json!({})),
                ("external_gateway_info", json!({"network_id": external})),
                ("admin_state_up", json!(true)),
            ],
            _ => &[("description", json!("e")), ("port_id", json!(port)), ("port_id", Value::Null)],
        };
        let mut body = json!({});
        for _ in 0..=random.below(2) {
            let (name, value) = random.of(changes);
            set(&mut body, name, value);
        }
        let revision = random.one_in(12).then_some(0);
        let mut request = request("PUT", format!("/{kind}/{id}"), json!({singular(kind): body}));
        // A revision that everything has had, and nothing has that was changed since.
        request.revision = revision.filter(|_| kind == "networks");
        request
    }

    fn act(&mut self, random: &mut Random) -> Request {
        match random.below(8) {
            0 | 1 => {
                let (router, subnet) = (self.some("routers", random), self.some("subnets", random));
                let body = if random.one_in(6) {
                    json!({"port_id": self.some("ports", random)})
                } else {
                    json!({"subnet_id": subnet})
                };
                request("PUT", format!("/routers/{router}/add_router_interface"), body)
            }
            2 => {
                let some = (!self.interfaces.is_empty()).then(|| random.of(&self.interfaces));
                let (router, subnet) =
                    some.unwrap_or_else(|| (self.some("routers", random), self.some("subnets", random)));
                let body = if random.one_in(8) { json!({}) } else { json!({"subnet_id": subnet}) };
                request("PUT", format!("/routers/{router}/remove_router_interface"), body)
            }
            3 | 4 => {
                let (trunk, port) = (self.some("trunks", random), self.some("ports", random));
                let tag = random.below(6);
                let action = random.of(&["add_subports", "add_subports", "remove_subports"]);
                let sub = json!({"port_id": port, "segmentation_type": "vlan", "segmentation_id": tag + 1});
                request("PUT", format!("/trunks/{trunk}/{action}"), json!({"sub_ports": [sub]}))
            }
            5 => {
                let group = self.some("address-groups", random);
                let action = random.of(&["add_addresses", "remove_addresses"]);
                let address = random.of(&["10.1.0.0/16", "10.2.0.0/16", "fd00::/64"]);
                request("PUT", format!("/address-groups/{group}/{action}"), json!({"addresses": [address]}))
            }
            _ => {
                let kind = random.of(&["networks", "subnets", "ports", "security-groups", "routers"]);
                // An id that nobody has is answered with 500 by the real one.
                let ids: Vec<&String> =
                    self.made.iter().filter(|(k, _)| *k == kind).map(|(_, id)| id).collect();
                let Some(id) = (!ids.is_empty()).then(|| random.of(&ids).clone()) else {
                    return request("GET", format!("/{kind}?id={NOBODY}&limit=2"), Value::Null);
                };
                match random.below(6) {
                    0 => request("PUT", format!("/{kind}/{id}/tags"), json!({"tags": ["a", "b"]})),
                    1 => request("PUT", format!("/{kind}/{id}/tags/c"), Value::Null),
                    2 => request(
                        "DELETE",
                        format!("/{kind}/{id}/tags/{}", random.of(&["a", "z"])),
                        Value::Null,
                    ),
                    3 => request("GET", format!("/{kind}/{id}/tags/{}", random.of(&["a", "z"])), Value::Null),
                    4 => request(
                        "PUT",
                        format!("/{kind}/{id}/tags"),
                        json!({"tags": random.of(&[json!("x"), json!(["x", "x"]), json!([7])])}),
                    ),
                    _ => request("GET", format!("/{kind}/{id}/tags"), Value::Null),
                }
            }
        }
    }

    fn delete(&mut self, random: &mut Random) -> Request {
        if random.one_in(4) && !self.rules.is_empty() {
            let at = random.below(self.rules.len());
            let id = self.rules.remove(at);
            return request("DELETE", format!("/security-group-rules/{id}"), Value::Null);
        }
        let kind = random.of(&[
            "networks",
            "subnets",
            "ports",
            "ports",
            "security-groups",
            "address-groups",
            "routers",
            "trunks",
            "floatingips",
        ]);
        request("DELETE", format!("/{kind}/{}", self.some(kind, random)), Value::Null)
    }

    fn read(&mut self, random: &mut Random) -> Request {
        let kind = random.of(&[
            "networks",
            "subnets",
            "ports",
            "ports",
            "security-groups",
            "address-groups",
            "routers",
            "trunks",
            "floatingips",
        ]);
        let id = self.some(kind, random);
        if random.below(3) > 0 {
            let fields = random.of(&["", "", "?fields=id&fields=name", "?fields=x"]);
            return request("GET", format!("/{kind}/{id}{fields}"), Value::Null);
        }
        // Of its own: there is more in the real cloud.
        let own: Vec<String> =
            self.made.iter().filter(|(k, _)| *k == kind).map(|(_, id)| format!("id={id}")).take(9).collect();
        let mut query = if own.is_empty() { vec![format!("id={NOBODY}")] } else { own };
        let other = self.some("networks", random);
        for _ in 0..=random.below(2) {
            query.push(match random.below(9) {
                0 => format!("id={id}"),
                1 => "name=conformance-7".to_owned(),
                2 if kind != "address-groups" => random
                    .of(&["tags=a", "tags=a,b", "tags-any=a,c", "not-tags=a", "not-tags-any=b"])
                    .to_owned(),
                3 if kind == "ports" => format!("network_id={other}"),
                4 if kind == "ports" => "device_owner=isthmus:pod".to_owned(),
                5 => "fields=name".to_owned(),
                6 => random.of(&["bogus=1", "limit=x", "sort_key=bogus&sort_dir=asc"]).to_owned(),
                7 => "description=d".to_owned(),
                _ => "sort_key=name&sort_dir=desc".to_owned(),
            });
        }
        request("GET", format!("/{kind}?{}", query.join("&")), Value::Null)
    }
}

impl Stream for Network {
    fn next(&mut self, random: &mut Random) -> Request {
        let mut request = match random.below(20) {
            0..=4 => self.create(random),
            5..=6 => self.update(random),
            7 => self.act(random),
            8 => self.delete(random),
            _ => self.read(random),
        };
        if request.method == "GET" && random.one_in(6) {
            request.who = Who::Member;
        }
        request
    }

    fn answered(&mut self, request: &Request, status: u16, body: &Value) {
        let path = request.path.trim_start_matches("/v2.0/");
        let mut parts = path.split(['/', '?']);
        let (collection, id, action) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let made = body
            .as_object()
            .and_then(|o| o.values().next())
            .and_then(|o| o.get("id"))
            .and_then(Value::as_str);
        match (request.method, status, made) {
            ("POST", 201, Some(made)) if collection == "security-group-rules" => {
                self.rules.push(made.to_owned())
            }
            ("POST", 201, Some(made)) => {
                let kind = COLLECTIONS.iter().find(|c| **c == collection);
                self.made.extend(kind.map(|kind| (*kind, made.to_owned())));
                let cidr = body.pointer("/subnet/cidr").and_then(Value::as_str).unwrap_or_default();
                let number =
                    cidr.strip_prefix("10.2.").and_then(|r| r.split('.').next()).and_then(|n| n.parse().ok());
                let network = body.pointer("/subnet/network_id").and_then(Value::as_str).unwrap_or_default();
                if let Some(version) = body.pointer("/subnet/ip_version").and_then(Value::as_u64) {
                    self.versions.push((network.to_owned(), version, cidr.to_owned()));
                }
                if let Some(number) = number {
                    self.subnets.push((made.to_owned(), number, network.to_owned()));
                }
            }
            ("DELETE", 204, _) if action.is_none() => {
                self.made.retain(|(_, known)| Some(known.as_str()) != id);
                self.subnets
                    .retain(|(known, _, network)| Some(known.as_str()) != id && Some(network.as_str()) != id);
            }
            ("PUT", 200, _) if action == Some("add_router_interface") => {
                let subnet = body.get("subnet_id").and_then(Value::as_str).unwrap_or_default();
                self.interfaces.push((id.unwrap_or_default().to_owned(), subnet.to_owned()));
            }
            ("PUT", 200, _) if action == Some("remove_router_interface") => {
                let subnet = body.get("subnet_id").and_then(Value::as_str).unwrap_or_default().to_owned();
                self.interfaces.retain(|(_, known)| *known != subnet);
            }
            _ => {}
        }
    }

    fn cleaning(&self) -> Vec<Request> {
        let interfaces = self.interfaces.iter().map(|(router, subnet)| {
            request("PUT", format!("/routers/{router}/remove_router_interface"), json!({"subnet_id": subnet}))
        });
        let first = self.made.iter().filter(|(kind, _)| *kind == "floatingips");
        let first = first.map(|(kind, id)| request("DELETE", format!("/{kind}/{id}"), Value::Null));
        let rest = COLLECTIONS.iter().flat_map(|kind| self.made.iter().filter(move |(k, _)| k == kind));
        let rest = rest.map(|(kind, id)| request("DELETE", format!("/{kind}/{id}"), Value::Null));
        first.chain(interfaces).chain(rest).collect()
    }
}

/// Now and then something odd in place of, or beside, what is right.
fn spice(object: &mut Value, random: &mut Random, with: &[(&str, Value)]) {
    if random.one_in(2) {
        let (name, value) = random.of(with);
        set(object, name, value);
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn singular(collection: &str) -> String {
    collection.trim_end_matches('s').replace('-', "_")
}

fn post(path: &str, key: &str, body: Value) -> Request {
    request("POST", path.to_owned(), json!({key: body}))
}

/// A request of the operator's.
pub fn request(method: &'static str, path: String, body: Value) -> Request {
    let path = format!("/v2.0{path}");
    Request { who: Who::Operator, service: Service::Network, method, path, body, revision: None }
}

fn administer(method: &'static str, path: String, body: Value) -> Request {
    Request { who: Who::Admin, ..request(method, path, body) }
}

/// Takes away what is named after this crate, and what hangs on it; the answer says what stays, and why.
///
/// # Errors
/// A request gets no answer.
pub(super) async fn sweep(cloud: &Cloud) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let list = async |path: String| {
        let found = cloud.send(&administer("GET", path, Value::Null)).await?;
        let all = found.body.as_object().and_then(|o| o.values().next()).and_then(Value::as_array).cloned();
        anyhow::Ok(all.unwrap_or_default())
    };
    for kind in COLLECTIONS {
        let mut asked = Vec::new();
        if kind == "floatingips" {
            // They have no name: those of our networks.
            let networks = cloud.send(&administer("GET", "/networks".to_owned(), Value::Null)).await?;
            for network in ids(&networks.body, "networks") {
                let found = list(format!("/floatingips?floating_network_id={network}&fields=id")).await?;
                asked.extend(
                    found.iter().filter_map(|ip| Some(("floatingips", ip.get("id")?.as_str()?.to_owned()))),
                );
            }
        } else {
            let found = cloud.send(&administer("GET", format!("/{kind}"), Value::Null)).await?;
            asked.extend(ids(&found.body, &kind.replace('-', "_")).into_iter().map(|id| (kind, id)));
        }
        for (kind, id) in asked {
            if kind == "routers" {
                let query = format!("/ports?device_id={id}&device_owner=network:router_interface&fields=id");
                for port in list(query).await? {
                    let path = format!("/routers/{id}/remove_router_interface");
                    let body = json!({"port_id": port.get("id")});
                    cloud.send(&administer("PUT", path, body)).await?;
                }
            }
            let gone = cloud.send(&administer("DELETE", format!("/{kind}/{id}"), Value::Null)).await?;
            if gone.status >= 300 && gone.status != 404 {
                left.push(format!("{kind} {id}: {} {}", gone.status, gone.body));
            }
        }
    }
    Ok(left)
}
