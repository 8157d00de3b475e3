//! Random requests to Neutron.

mod change;
mod create;
mod read;
mod sweep;

use serde_json::{Value, json};

pub(super) use self::sweep::sweep;
use super::compare::Stream;
use super::generate::{NOBODY, made};
use super::side::{Request, Service, Who};
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
/// What is changed, read and deleted: ports most of all.
const KINDS: [&str; 9] = [
    "networks",
    "subnets",
    "ports",
    "ports",
    "security-groups",
    "address-groups",
    "routers",
    "trunks",
    "floatingips",
];

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
}

impl Stream for Network {
    fn next(&mut self, random: &mut Random) -> Request {
        let mut request = match random.below(20) {
            // A write takes the real one ten times as long as a look.
            0..=2 => self.create(random),
            3..=4 => self.update(random),
            5 => self.act(random),
            6 => self.delete(random),
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
        let made = made(body);
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

/// A request of the operator's.
pub fn request(method: &'static str, path: String, body: Value) -> Request {
    let path = format!("/v2.0{path}");
    Request { who: Who::Operator, service: Service::Network, method, path, body, revision: None }
}
