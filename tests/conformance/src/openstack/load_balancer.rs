//! Random requests to Octavia, provider `noop`: everything that the API shows, without traffic.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::compare::Stream;
use super::generate::{NOBODY, made, set, spice};
use super::side::{Request, Service, Who};
use crate::random::Random;

/// What a stream knows of its one load balancer.
pub struct LoadBalancer {
    balancer: String,
    subnet: String,
    listeners: Vec<String>,
    pools: Vec<String>,
    monitors: Vec<String>,
    policies: Vec<String>,
    /// With their pool.
    members: Vec<(String, String)>,
    /// With their policy.
    rules: Vec<(String, String)>,
    /// A request changed something: it has to be waited for.
    pending: bool,
    names: usize,
}

impl LoadBalancer {
    /// `created`: how its creation was answered, with all that was made in one.
    ///
    /// # Errors
    /// It is no load balancer.
    pub fn new(created: &Value, subnet: String) -> Result<Self> {
        let tree = created.get("loadbalancer").context("no load balancer")?;
        let (listeners, pools) = (parts(tree, "listeners"), parts(tree, "pools"));
        let of = |all: &[&Value], part: &str| -> Vec<(String, String)> {
            let pairs = |parent: &&Value| {
                let above = own_id(parent).unwrap_or_default();
                let ids = parts(parent, part).into_iter().filter_map(own_id);
                ids.map(|id| (id, above.clone())).collect::<Vec<_>>()
            };
            all.iter().flat_map(pairs).collect()
        };
        let policies: Vec<&Value> =
            listeners.iter().flat_map(|listener| parts(listener, "l7policies")).collect();
        let monitors = pools.iter().filter_map(|pool| own_id(pool.get("healthmonitor")?));
        let ids = |all: &[&Value]| all.iter().copied().filter_map(own_id).collect();
        Ok(Self {
            balancer: own_id(tree).context("no id")?,
            subnet,
            monitors: monitors.collect(),
            members: of(&pools, "members"),
            rules: of(&policies, "rules"),
            listeners: ids(&listeners),
            pools: ids(&pools),
            policies: ids(&policies),
            pending: false,
            names: 0,
        })
    }

    /// Looks at each part of it.
    pub fn look_at_all(&self) -> impl Iterator<Item = Request> {
        let plain = [
            ("listeners", &self.listeners),
            ("pools", &self.pools),
            ("healthmonitors", &self.monitors),
            ("l7policies", &self.policies),
        ];
        let plain =
            plain.into_iter().flat_map(|(kind, ids)| ids.iter().map(move |id| format!("/{kind}/{id}")));
        let members = self.members.iter().map(|(id, pool)| format!("/pools/{pool}/members/{id}"));
        let rules = self.rules.iter().map(|(id, policy)| format!("/l7policies/{policy}/rules/{id}"));
        plain.chain(members).chain(rules).map(|path| request("GET", path, Value::Null))
    }

    /// Whether the last write has to be waited for.
    pub fn pending(&mut self) -> bool {
        std::mem::take(&mut self.pending)
    }

    /// Looks at the load balancer.
    pub fn look(&self) -> Request {
        request("GET", format!("/loadbalancers/{}", self.balancer), Value::Null)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("conformance-{}", self.names)
    }

    fn create(&mut self, random: &mut Random) -> Request {
        match random.below(10) {
            0 => self.listener(random),
            1 | 2 => self.pool(random),
            3 => self.monitor(random),
            4 | 5 => self.policy(random),
            6 | 7 => self.rule(random),
            8 => self.member(random),
            _ => self.batch(random),
        }
    }

    fn listener(&mut self, random: &mut Random) -> Request {
        let mut body = json!({"name": self.name(), "loadbalancer_id": self.balancer, "protocol": random.of(&["HTTP", "HTTP", "TCP", "UDP"]),
                              "protocol_port": 80 + random.below(4)});
        let pool = some(&self.pools, random);
        spice(
            &mut body,
            random,
            &[
                ("default_pool_id", json!(pool)),
                ("protocol", json!("X")),
                ("protocol_port", json!(0)),
                ("protocol_port", json!("x")),
                ("connection_limit", json!(100)),
                ("insert_headers", json!({"X-Forwarded-For": "true"})),
                ("insert_headers", json!({"X-Odd": "true"})),
                ("allowed_cidrs", json!(["10.0.0.0/8"])),
                ("allowed_cidrs", json!(["fd00::/8"])),
                ("timeout_client_data", json!(-1)),
                ("tags", json!(["a"])),
                ("colour", json!(1)),
                ("default_tls_container_ref", json!("x")),
                ("loadbalancer_id", json!(NOBODY)),
                ("hsts_max_age", json!(5)),
            ],
        );
        request("POST", "/listeners".to_owned(), json!({"listener": body}))
    }

    fn pool(&mut self, random: &mut Random) -> Request {
        let mut body = json!({"name": self.name(), "loadbalancer_id": self.balancer, "protocol": random.of(&["HTTP", "HTTP", "TCP", "UDP"]),
                              "lb_algorithm": random.of(&["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"])});
        if random.one_in(3) {
            set(&mut body, "listener_id", json!(some(&self.listeners, random)));
            body.as_object_mut().map(|body| body.remove("loadbalancer_id"));
        }
        spice(
            &mut body,
            random,
            &[
                ("lb_algorithm", json!("SOURCE_IP_PORT")),
                ("lb_algorithm", json!("X")),
                ("session_persistence", json!({"type": "SOURCE_IP"})),
                ("session_persistence", json!({"type": "APP_COOKIE"})),
                ("session_persistence", json!({"type": "APP_COOKIE", "cookie_name": "c"})),
                ("session_persistence", json!({"type": "SOURCE_IP", "persistence_timeout": 5})),
                ("tls_enabled", json!(true)),
                ("admin_state_up", json!(false)),
                ("admin_state_up", json!("x")),
                ("tags", json!(["a", "b"])),
                ("name", json!("x".repeat(256))),
                ("protocol", Value::Null),
            ],
        );
        if body.get("protocol").is_some_and(Value::is_null)
            || body.get("listener_id").is_some_and(|id| id == NOBODY)
        {
            // What the real one answers with an error of its own.
            set(&mut body, "protocol", json!("HTTP"));
            set(&mut body, "loadbalancer_id", json!(self.balancer));
            body.as_object_mut().map(|body| body.remove("listener_id"));
        }
        request("POST", "/pools".to_owned(), json!({"pool": body}))
    }

    fn monitor(&mut self, random: &mut Random) -> Request {
        let mut body = json!({"name": self.name(), "pool_id": some(&self.pools, random), "type": random.of(&["HTTP", "TCP"]), "delay": 5, "timeout": 3, "max_retries": 2});
        spice(
            &mut body,
            random,
            &[
                ("url_path", json!("/x")),
                ("url_path", json!("x")),
                ("expected_codes", json!("200-204")),
                ("expected_codes", json!("20")),
                ("type", json!("UDP-CONNECT")),
                ("type", json!("X")),
                ("max_retries", json!(11)),
                ("delay", json!("x")),
                ("http_version", json!(1.1)),
                ("domain_name", json!("a.example.org")),
                ("http_method", json!("HEAD")),
            ],
        );
        request("POST", "/healthmonitors".to_owned(), json!({"healthmonitor": body}))
    }

    fn policy(&mut self, random: &mut Random) -> Request {
        let mut body =
            json!({"name": self.name(), "listener_id": some(&self.listeners, random), "action": "REJECT"});
        match random.below(4) {
            0 => {
                set(&mut body, "action", json!("REDIRECT_TO_POOL"));
                set(&mut body, "redirect_pool_id", json!(some(&self.pools, random)));
            }
            1 => {
                set(&mut body, "action", json!("REDIRECT_TO_URL"));
                set(&mut body, "redirect_url", json!("https://example.org/"));
            }
            2 => {
                set(&mut body, "action", json!("REDIRECT_PREFIX"));
                set(&mut body, "redirect_prefix", json!("https://example.org"));
            }
            _ => {}
        }
        spice(
            &mut body,
            random,
            &[
                ("position", json!(1)),
                ("position", json!(2)),
                ("position", json!(0)),
                ("redirect_url", json!("x")),
                ("redirect_http_code", json!(301)),
                ("redirect_http_code", json!(200)),
                ("action", json!("REDIRECT_TO_URL")),
                ("action", json!("X")),
                ("listener_id", json!(NOBODY)),
                ("description", json!("d")),
            ],
        );
        request("POST", "/l7policies".to_owned(), json!({"l7policy": body}))
    }

    fn rule(&mut self, random: &mut Random) -> Request {
        let policy = some(&self.policies, random);
        let mut body = json!({"type": random.of(&["PATH", "HOST_NAME", "HEADER"]), "compare_type": random.of(&["STARTS_WITH", "EQUAL_TO", "REGEX"]), "value": "/a"});
        if body.get("type").is_some_and(|kind| kind == "HEADER") && !random.one_in(5) {
            set(&mut body, "key", json!("X-Test"));
        }
        spice(
            &mut body,
            random,
            &[
                ("invert", json!(true)),
                ("value", json!("")),
                ("value", json!("a b")),
                ("type", json!("FILE_TYPE")),
                ("type", json!("X")),
                ("key", json!("a b")),
                ("tags", json!(["a"])),
                ("admin_state_up", json!(false)),
            ],
        );
        request("POST", format!("/l7policies/{policy}/rules"), json!({"rule": body}))
    }

    fn member(&mut self, random: &mut Random) -> Request {
        let pool = some(&self.pools, random);
        let mut body = json!({"name": self.name(), "address": format!("10.0.0.{}", 1 + random.below(5)), "protocol_port": 80});
        spice(
            &mut body,
            random,
            &[
                ("weight", json!(257)),
                ("weight", json!(0)),
                ("address", json!("x")),
                ("address", json!("169.254.169.254")),
                ("subnet_id", json!(self.subnet)),
                ("subnet_id", json!(NOBODY)),
                ("backup", json!(true)),
                ("monitor_port", json!(81)),
                ("protocol_port", json!(70000)),
            ],
        );
        request("POST", format!("/pools/{pool}/members"), json!({"member": body}))
    }

    fn batch(&mut self, random: &mut Random) -> Request {
        let pool = some(&self.pools, random);
        let mut members = Vec::new();
        for n in 0..random.below(4) {
            members.push(json!({"address": format!("10.0.0.{}", 1 + n + random.below(2)), "protocol_port": 80, "weight": 1 + random.below(9)}));
        }
        members.dedup_by_key(|member| member.get("address").cloned());
        let query = random.of(&["", "", "?additive_only=true"]);
        request("PUT", format!("/pools/{pool}/members{query}"), json!({"members": members}))
    }

    fn update(&mut self, random: &mut Random) -> Request {
        let (name, pool) = (self.name(), some(&self.pools, random));
        let common = [
            ("name", json!(name)),
            ("description", json!("e")),
            ("admin_state_up", json!(false)),
            ("admin_state_up", json!(true)),
            ("tags", json!(["c"])),
            ("colour", json!(1)),
        ];
        let (path, key, own) = match random.below(7) {
            0 => (
                format!("/loadbalancers/{}", self.balancer),
                "loadbalancer",
                vec![("vip_address", json!("10.0.0.9"))],
            ),
            1 => (
                format!("/listeners/{}", some(&self.listeners, random)),
                "listener",
                vec![
                    ("default_pool_id", json!(pool)),
                    ("default_pool_id", Value::Null),
                    ("connection_limit", Value::Null),
                    ("insert_headers", json!({"X-Forwarded-Port": "true"})),
                    ("protocol_port", json!(9)),
                ],
            ),
            2 => (
                format!("/pools/{pool}"),
                "pool",
                vec![
                    ("lb_algorithm", json!("LEAST_CONNECTIONS")),
                    ("session_persistence", json!({"type": "HTTP_COOKIE"})),
                    ("session_persistence", Value::Null),
                    ("lb_algorithm", json!("SOURCE_IP_PORT")),
                ],
            ),
            3 => (
                format!("/healthmonitors/{}", some(&self.monitors, random)),
                "healthmonitor",
                vec![("delay", json!(7)), ("url_path", json!("/y")), ("timeout", Value::Null)],
            ),
            4 => (
                format!("/l7policies/{}", some(&self.policies, random)),
                "l7policy",
                vec![
                    ("position", json!(1)),
                    ("position", json!(9)),
                    ("redirect_url", json!("https://b.example.org/")),
                    ("action", json!("REJECT")),
                    ("redirect_pool_id", json!(pool)),
                ],
            ),
            5 => match self.members.is_empty() {
                true => return self.read(random),
                false => {
                    let (id, pool) = random.of(&self.members);
                    (
                        format!("/pools/{pool}/members/{id}"),
                        "member",
                        vec![("weight", json!(5)), ("weight", Value::Null), ("address", json!("10.0.0.1"))],
                    )
                }
            },
            _ => match self.rules.is_empty() {
                true => return self.read(random),
                false => {
                    let (id, policy) = random.of(&self.rules);
                    (
                        format!("/l7policies/{policy}/rules/{id}"),
                        "rule",
                        vec![
                            ("value", json!("/b")),
                            ("compare_type", json!("CONTAINS")),
                            ("invert", Value::Null),
                        ],
                    )
                }
            },
        };
        let named = !matches!(key, "healthmonitor" | "member" | "rule");
        let mut body = json!({});
        let choice = match random.one_in(2) {
            true => random.of(&own),
            false => random.of(&common),
        };
        let (name, value) = match (choice.0, key) {
            ("description", _) if !named => ("tags", json!(["d"])),
            ("name", "rule") => ("admin_state_up", json!(true)),
            _ => choice,
        };
        set(&mut body, name, value);
        request("PUT", path, json!({key: body}))
    }

    fn delete(&mut self, random: &mut Random) -> Request {
        let path = match random.below(6) {
            0 => format!("/pools/{}", some(&self.pools, random)),
            1 => format!("/l7policies/{}", some(&self.policies, random)),
            2 => format!("/healthmonitors/{}", some(&self.monitors, random)),
            3 if !self.members.is_empty() => {
                let (id, pool) = random.of(&self.members);
                format!("/pools/{pool}/members/{id}")
            }
            4 if !self.rules.is_empty() => {
                let (id, policy) = random.of(&self.rules);
                format!("/l7policies/{policy}/rules/{id}")
            }
            5 if random.one_in(2) => format!("/listeners/{}", some(&self.listeners, random)),
            _ => format!("/loadbalancers/{}", self.balancer),
        };
        request("DELETE", path, Value::Null)
    }

    fn read(&mut self, random: &mut Random) -> Request {
        let of_balancer = format!("loadbalancer_id={}", self.balancer);
        let path = match random.below(12) {
            0 => format!("/loadbalancers/{}", self.balancer),
            1 => format!("/loadbalancers/{}/status", self.balancer),
            2 => format!("/listeners/{}", some(&self.listeners, random)),
            3 => format!("/pools/{}", some(&self.pools, random)),
            4 => format!("/l7policies/{}", some(&self.policies, random)),
            5 => format!("/healthmonitors/{}", some(&self.monitors, random)),
            6 => format!("/pools/{}/members", some(&self.pools, random)),
            7 => format!("/l7policies/{}/rules", some(&self.policies, random)),
            8 => format!("/listeners?{of_balancer}"),
            9 => format!("/pools?{of_balancer}&{}", random.of(&["fields=id", "tags=a", "limit=x"])),
            10 => format!("/listeners/{}?fields=name", some(&self.listeners, random)),
            _ => "/loadbalancers?marker=x".to_owned(),
        };
        request("GET", path, Value::Null)
    }
}

impl Stream for LoadBalancer {
    fn next(&mut self, random: &mut Random) -> Request {
        match random.below(10) {
            0..=3 => self.create(random),
            4 => self.update(random),
            5 if random.one_in(2) => self.delete(random),
            _ => self.read(random),
        }
    }

    fn answered(&mut self, request: &Request, status: u16, body: &Value) {
        let path = request.path.trim_start_matches("/v2/lbaas/").split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let made = made(body);
        self.pending = request.method != "GET" && status < 300;
        match (request.method, status, parts.as_slice(), made) {
            ("POST", 201, ["listeners"], Some(id)) => self.listeners.push(id.to_owned()),
            ("POST", 201, ["pools"], Some(id)) => self.pools.push(id.to_owned()),
            ("POST", 201, ["healthmonitors"], Some(id)) => self.monitors.push(id.to_owned()),
            ("POST", 201, ["l7policies"], Some(id)) => self.policies.push(id.to_owned()),
            ("POST", 201, ["pools", pool, "members"], Some(id)) => {
                self.members.push((id.to_owned(), (*pool).to_owned()))
            }
            ("POST", 201, ["l7policies", policy, "rules"], Some(id)) => {
                self.rules.push((id.to_owned(), (*policy).to_owned()))
            }
            ("DELETE", 204, [.., id], _) => {
                for all in [&mut self.listeners, &mut self.pools, &mut self.monitors, &mut self.policies] {
                    all.retain(|known| known != id);
                }
                self.members.retain(|(known, pool)| known != id && pool != id);
                self.rules.retain(|(known, policy)| known != id && policy != id);
            }
            _ => {}
        }
    }

    fn cleaning(&self) -> Vec<Request> {
        vec![request("DELETE", format!("/loadbalancers/{}?cascade=true", self.balancer), Value::Null)]
    }
}

fn parts<'a>(tree: &'a Value, part: &str) -> Vec<&'a Value> {
    tree.get(part).and_then(Value::as_array).into_iter().flatten().collect()
}

fn own_id(object: &Value) -> Option<String> {
    object.get("id")?.as_str().map(str::to_owned)
}

fn some(all: &[String], random: &mut Random) -> String {
    if all.is_empty() || random.one_in(30) { NOBODY.to_owned() } else { random.of(all) }
}

/// A request of the operator's.
pub fn request(method: &'static str, path: String, body: Value) -> Request {
    let path = format!("/v2/lbaas{path}");
    Request { who: Who::Operator, service: Service::LoadBalancer, method, path, body, revision: None }
}
