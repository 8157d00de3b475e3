//! Quotas that are used up, raised, and given back: of a project that nothing else is in.

use serde_json::{Value, json};

use super::compare::Stream;
use super::generate::{made, set};
use super::load_balancer::{self, LoadBalancer};
use super::network;
use super::side::{Request, Who};
use crate::random::Random;

/// Neither of them asks whether there is such a project.
pub const PROJECT: &str = "0dd00dd00dd00dd00dd00dd00dd00dd0";

/// A request about the quotas themselves; `ask` makes one of their service.
fn about(
    random: &mut Random,
    names: &[&str],
    ask: fn(&'static str, String, Value) -> Request,
    details: &'static [&'static str],
) -> Request {
    let own = format!("/quotas/{PROJECT}");
    let mut request = match random.below(8) {
        0 => ask("DELETE", own, Value::Null),
        1 | 2 => ask("GET", format!("{own}{}", random.of(details)), Value::Null),
        _ => {
            let mut quota = json!({});
            for _ in 0..=random.below(2) {
                let limit = random.of(&[json!(0), json!(1), json!(2), json!(3), json!(5), json!(-1)]);
                set(&mut quota, random.of(names), limit);
            }
            if random.one_in(8) {
                let known = random.of(names);
                let (name, value) =
                    random.of(&[("bogus", json!(1)), (known, json!("x")), (known, json!(-2))]);
                set(&mut quota, name, value);
            }
            ask("PUT", own, json!({"quota": quota}))
        }
    };
    request.who = if random.one_in(6) { Who::Operator } else { Who::Admin };
    request
}

fn admin(request: Request) -> Request {
    Request { who: Who::Admin, ..request }
}

/// Neutron's.
#[derive(Default)]
pub struct Networks {
    made: Vec<(&'static str, String)>,
    numbers: usize,
}

/// What is made, in the order in which it can be deleted, and what a quota of it is called.
const KINDS: [(&str, &str); 8] = [
    ("routers", "router"),
    ("ports", "port"),
    ("subnets", "subnet"),
    ("networks", "network"),
    ("security-group-rules", "security_group_rule"),
    ("security-groups", "security_group"),
    ("address-groups", "address_group"),
    ("subnetpools", "subnetpool"),
];

impl Networks {
    /// With the network that comes first: the project gets its default security group with it.
    pub fn first() -> Request {
        let body = json!({"network": {"name": "conformance-first", "project_id": PROJECT}});
        admin(network::request("POST", "/networks".to_owned(), body))
    }

    fn some(&self, kind: &str, random: &mut Random) -> Option<String> {
        let all: Vec<&String> = self.made.iter().filter(|(k, _)| *k == kind).map(|(_, id)| id).collect();
        (!all.is_empty()).then(|| random.of(&all).clone())
    }

    fn create(&mut self, random: &mut Random) -> Option<Request> {
        self.numbers += 1;
        let (collection, singular) = random.of(&KINDS);
        let mut body = json!({"project_id": PROJECT, "name": format!("conformance-{}", self.numbers)});
        match collection {
            "ports" => set(&mut body, "network_id", json!(self.some("networks", random)?)),
            "subnets" => {
                set(&mut body, "network_id", json!(self.some("networks", random)?));
                set(&mut body, "ip_version", json!(4));
                set(&mut body, "cidr", json!(format!("10.2.{}.0/24", self.numbers % 250)));
            }
            "security-group-rules" => {
                let group = self.some("security-groups", random)?;
                body = json!({"project_id": PROJECT, "security_group_id": group, "direction": "ingress", "protocol": "tcp",
                              "port_range_min": self.numbers, "port_range_max": self.numbers});
            }
            "subnetpools" => set(&mut body, "prefixes", json!([format!("10.3.{}.0/24", self.numbers % 250)])),
            _ => {}
        }
        let body = match collection {
            // Several at once: all or none.
            "ports" | "networks" if random.one_in(3) => json!({format!("{singular}s"): [body, body]}),
            _ => json!({singular: body}),
        };
        Some(admin(network::request("POST", format!("/{collection}"), body)))
    }

    fn delete(&mut self, random: &mut Random) -> Option<Request> {
        let (collection, _) = random.of(&KINDS);
        let id = self.some(collection, random)?;
        Some(admin(network::request("DELETE", format!("/{collection}/{id}"), Value::Null)))
    }
}

impl Stream for Networks {
    fn next(&mut self, random: &mut Random) -> Request {
        let request = match random.below(10) {
            0..5 => self.create(random),
            5 | 6 => self.delete(random),
            _ => None,
        };
        let names = KINDS.map(|(_, singular)| singular);
        request.unwrap_or_else(|| about(random, &names, network::request, &["", "/details", "/default"]))
    }

    fn answered(&mut self, request: &Request, status: u16, body: &Value) {
        let path = request.path.trim_start_matches("/v2.0/");
        let (collection, id) = path.split_once('/').unwrap_or((path, ""));
        let Some((collection, _)) = KINDS.iter().find(|(known, _)| *known == collection) else { return };
        match (request.method, status) {
            ("POST", 201) => {
                let several = body.as_object().and_then(|body| body.values().next()?.as_array());
                let ids = several.into_iter().flatten().filter_map(|one| one.get("id")?.as_str());
                self.made.extend(ids.chain(made(body)).map(|id| (*collection, id.to_owned())));
            }
            ("DELETE", 204) => self.made.retain(|(_, known)| known != id),
            _ => {}
        }
    }

    fn cleaning(&self) -> Vec<Request> {
        let all = KINDS.iter().flat_map(|(kind, _)| self.made.iter().filter(move |(k, _)| k == kind));
        let all = all.map(|(kind, id)| network::request("DELETE", format!("/{kind}/{id}"), Value::Null));
        all.chain([network::request("DELETE", format!("/quotas/{PROJECT}"), Value::Null)])
            .map(admin)
            .collect()
    }
}

/// Octavia's, of a load balancer in the project.
pub struct Balancers(pub LoadBalancer);

impl Balancers {
    /// Before a load balancer is made: none may be, then one.
    pub fn first() -> [Request; 2] {
        [0, 1].map(|limit| {
            let body = json!({"quota": {"loadbalancer": limit}});
            admin(load_balancer::request("PUT", format!("/quotas/{PROJECT}"), body))
        })
    }
}

impl Stream for Balancers {
    fn next(&mut self, random: &mut Random) -> Request {
        let names = [
            "listener",
            "pool",
            "member",
            "healthmonitor",
            "health_monitor",
            "l7policy",
            "l7rule",
            "load_balancer",
        ];
        if random.one_in(3) {
            about(random, &names, load_balancer::request, &["", "/default"])
        } else {
            admin(self.0.next(random))
        }
    }

    fn answered(&mut self, request: &Request, status: u16, body: &Value) {
        self.0.answered(request, status, body);
    }

    fn cleaning(&self) -> Vec<Request> {
        let quota = load_balancer::request("DELETE", format!("/quotas/{PROJECT}"), Value::Null);
        self.0.cleaning().into_iter().chain([quota]).map(admin).collect()
    }
}
