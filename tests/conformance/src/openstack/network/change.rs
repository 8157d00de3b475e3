//! Requests that change or delete something.

use serde_json::{Value, json};

use super::super::generate::{NOBODY, set};
use super::{KINDS, Network, Request, request};
use crate::random::Random;

impl Network {
    pub(super) fn update(&mut self, random: &mut Random) -> Request {
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

    pub(super) fn act(&mut self, random: &mut Random) -> Request {
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

    pub(super) fn delete(&mut self, random: &mut Random) -> Request {
        if random.one_in(4) && !self.rules.is_empty() {
            let at = random.below(self.rules.len());
            let id = self.rules.remove(at);
            return request("DELETE", format!("/security-group-rules/{id}"), Value::Null);
        }
        let kind = random.of(&KINDS);
        request("DELETE", format!("/{kind}/{}", self.some(kind, random)), Value::Null)
    }
}

fn singular(collection: &str) -> String {
    collection.trim_end_matches('s').replace('-', "_")
}
