//! The module's config, and the load balancer that it means.

use isthmus_sdk::prelude::*;
use isthmus_sdk::snapshot::Cloud;
use serde::Deserialize;

use crate::matching::is_dns_name;
use crate::monitor::Monitor;
use crate::passthrough::Ports;

/// Names of the entries of the PolicyModule's mapping: Routes refer to them.
pub(crate) const LOAD_BALANCER: &str = "lb";
pub(crate) const HTTP: &str = "http";
pub(crate) const HTTPS: &str = "https";

/// The module's config; its schema is `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the PolicyModule whose mapping is the load balancer.
    #[serde(default = "policy_module")]
    pub(crate) policy_module: String,
    /// `routerName` in the status of Routes.
    #[serde(default = "router_name")]
    pub(crate) router_name: String,
    /// `routerCanonicalHostname` in the status of Routes.
    pub(crate) router_canonical_hostname: Option<String>,
    /// Whether namespaces may share a host.
    #[serde(default)]
    pub(crate) namespace_ownership: NamespaceOwnership,
    /// Id or name of the VIP's network.
    pub(crate) network: Option<String>,
    /// Ids or names of subnets of it: the VIP is of the first, an additional VIP of each other.
    #[serde(default)]
    pub(crate) subnets: Vec<String>,
    /// Octavia's provider, flavor and availability zone. None: the cloud's.
    pub(crate) provider: Option<String>,
    pub(crate) flavor: Option<String>,
    pub(crate) availability_zone: Option<String>,
    /// Port of the HTTP listener.
    #[serde(default = "http_port")]
    pub(crate) http_port: u16,
    /// None: there is no HTTPS listener.
    pub(crate) tls: Option<Tls>,
    /// Empty: no Route passes TLS on.
    #[serde(default)]
    pub(crate) passthrough_ports: Vec<Ports>,
    /// Somebody else's load balancer: nothing is made but what Routes need on it.
    pub(crate) existing_load_balancer: Option<ExistingLoadBalancer>,
    /// Id or name of the subnet where endpoints can be reached. None: the VIP's.
    pub(crate) member_subnet: Option<String>,
    /// None: nobody watches whether endpoints answer, beside Kubernetes.
    pub(crate) monitor: Option<Monitor>,
}

/// Who may use a host of which another namespace has a Route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum NamespaceOwnership {
    /// Nobody: the namespace of the oldest Route owns the host.
    #[default]
    Strict,
    /// Everybody, with paths that nobody else has.
    InterNamespaceAllowed,
}

/// The HTTPS listener.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tls {
    /// A Secret of type `kubernetes.io/tls`: shown where a Route has no certificate of its own.
    pub(crate) secret: SecretName,
    #[serde(default = "https_port")]
    pub(crate) port: u16,
    /// As `TLSv1.2`. Empty: the cloud's default.
    #[serde(default)]
    pub(crate) versions: Vec<String>,
    /// OpenSSL's notation. None: the cloud's default.
    pub(crate) ciphers: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Ids or names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExistingLoadBalancer {
    /// Pools belong to a load balancer, not to its listeners.
    pub(crate) load_balancer: String,
    /// Listener of protocol HTTP. None: plain Routes are refused.
    pub(crate) http: Option<String>,
    /// Listener of protocol TERMINATED_HTTPS. None: Routes with TLS are refused.
    pub(crate) https: Option<String>,
}

fn policy_module() -> String {
    "route-l7policy".into()
}
fn router_name() -> String {
    "isthmus".into()
}
fn http_port() -> u16 {
    80
}
fn https_port() -> u16 {
    443
}

/// What Routes are attached to.
pub(crate) struct Front {
    pub(crate) load_balancer: Reference,
    pub(crate) http: Option<Listening>,
    pub(crate) https: Option<Listening>,
    /// Whether it is somebody else's.
    pub(crate) existing: bool,
}

/// A listener.
pub(crate) struct Listening {
    pub(crate) reference: Reference,
    /// Whether it has the port of its scheme: only then do clients leave the port out of the Host header.
    pub(crate) usual_port: bool,
    /// The port, as it follows a host in a URL; "" for the usual one.
    pub(crate) port_suffix: String,
}

impl Listening {
    fn new(reference: Reference, port: u16, usual: u16) -> Self {
        let usual_port = port == usual;
        let port_suffix = if usual_port { String::new() } else { format!(":{port}") };
        Self { reference, usual_port, port_suffix }
    }

    /// Of somebody else's listener the port is not known: taken for the usual one.
    fn existing(name: &str) -> Self {
        Self { reference: existing(name), usual_port: true, port_suffix: String::new() }
    }
}

impl Config {
    /// The load balancer and its listeners, as Routes refer to them.
    pub(crate) fn front(&self) -> Result<Front, Outcome> {
        self.check()?;
        if let Some(found) = &self.existing_load_balancer {
            return Ok(Front {
                load_balancer: existing(&found.load_balancer),
                http: found.http.as_deref().map(Listening::existing),
                https: found.https.as_deref().map(Listening::existing),
                existing: true,
            });
        }
        let kind = Kind::new("isthmus.dev", "v1alpha1", "PolicyModule");
        let key = ObjectKey { kind, namespace: None, name: self.policy_module.clone() };
        let https = |tls: &Tls| Listening::new(mapped(key.clone(), HTTPS), tls.port, https_port());
        Ok(Front {
            load_balancer: mapped(key.clone(), LOAD_BALANCER),
            http: Some(Listening::new(mapped(key.clone(), HTTP), self.http_port, http_port())),
            https: self.tls.as_ref().map(https),
            existing: false,
        })
    }

    /// What the types of the fields do not say.
    fn check(&self) -> Result<(), Outcome> {
        self.check_names()?;
        self.monitor.as_ref().map_or(Ok(()), Monitor::check)?;
        let taken = self.shared_ports();
        self.passthrough_ports.iter().try_for_each(|ports| ports.check(&taken))?;
        if self.existing_load_balancer.is_some() {
            return self.check_nothing_made();
        }
        self.network.as_ref().or_invalid(
            "no network for the VIP: set `network`, or `existingLoadBalancer` to use one that is there",
            "config.network",
        )?;
        match &self.tls {
            _ if self.http_port == 0 => Err(invalid_field("a port is 1 to 65535", "config.httpPort")),
            Some(tls) if tls.port == 0 => Err(invalid_field("a port is 1 to 65535", "config.tls.port")),
            Some(tls) if tls.port == self.http_port => {
                Err(invalid_field("HTTP and HTTPS need ports of their own", "config.tls.port"))
            }
            _ => Ok(()),
        }
    }

    /// Ports of the listeners that Routes share.
    fn shared_ports(&self) -> Vec<u16> {
        match &self.existing_load_balancer {
            None => self.tls.iter().map(|tls| tls.port).chain([self.http_port]).collect(),
            // Taken for the usual ones.
            Some(found) => {
                let (http, https) =
                    (found.http.iter().map(|_| http_port()), found.https.iter().map(|_| https_port()));
                http.chain(https).collect()
            }
        }
    }

    fn check_names(&self) -> Result<(), Outcome> {
        let found = self.existing_load_balancer.as_ref();
        let cloud = [
            ("network", self.network.as_ref()),
            ("memberSubnet", self.member_subnet.as_ref()),
            ("existingLoadBalancer.loadBalancer", found.map(|lb| &lb.load_balancer)),
            ("existingLoadBalancer.http", found.and_then(|lb| lb.http.as_ref())),
            ("existingLoadBalancer.https", found.and_then(|lb| lb.https.as_ref())),
        ];
        let subnets = self.subnets.iter().map(|subnet| ("subnets", Some(subnet)));
        for (field, name) in cloud.into_iter().chain(subnets) {
            if name.is_some_and(|name| !(1..=255).contains(&name.len())) {
                return Err(invalid_field("an id or a name has 1 to 255 bytes", &format!("config.{field}")));
            }
        }
        let kubernetes = [
            ("policyModule", Some(&self.policy_module)),
            ("tls.secret.namespace", self.tls.as_ref().map(|tls| &tls.secret.namespace)),
            ("tls.secret.name", self.tls.as_ref().map(|tls| &tls.secret.name)),
        ];
        let namespaces = self.passthrough_ports.iter().flat_map(|ports| &ports.namespaces);
        let namespaces = namespaces.map(|name| ("passthroughPorts.namespaces", Some(name)));
        match kubernetes
            .into_iter()
            .chain(namespaces)
            .find(|(_, name)| name.is_some_and(|name| !is_dns_name(name)))
        {
            Some((field, _)) => Err(invalid_field(
                "there is no object of such a name in Kubernetes",
                &format!("config.{field}"),
            )),
            None => Ok(()),
        }
    }

    /// What is of a load balancer that is made has no effect on one that is there.
    fn check_nothing_made(&self) -> Result<(), Outcome> {
        let made = [
            ("network", self.network.is_some()),
            ("subnets", !self.subnets.is_empty()),
            ("provider", self.provider.is_some()),
            ("flavor", self.flavor.is_some()),
            ("availabilityZone", self.availability_zone.is_some()),
            ("tls", self.tls.is_some()),
        ];
        match made.into_iter().find(|(_, set)| *set) {
            Some((name, _)) => {
                let message =
                    format!("`{name}` is of a load balancer that is made: not with `existingLoadBalancer`");
                Err(invalid_field(message, &format!("config.{name}")))
            }
            None => Ok(()),
        }
    }

    /// Refuses a provider that is known to have no L7 policies. Without a list of providers nothing is known.
    pub(crate) fn check_provider(&self, cloud: &Cloud) -> Result<(), Outcome> {
        let providers = &cloud.load_balancer_providers;
        if self.existing_load_balancer.is_some() || providers.is_empty() {
            return Ok(());
        }
        let able: Vec<&str> = providers.iter().filter(|p| p.l7).map(|p| p.name.as_str()).collect();
        let named = self.provider.as_ref().and_then(|name| providers.iter().find(|p| p.name == *name));
        let message = match (named, &self.provider) {
            (Some(provider), _) if provider.l7 => return Ok(()),
            (Some(provider), _) => {
                format!(
                    "load-balancer provider {} has no L7 policies; {}",
                    provider.name,
                    those_that_have(&able)
                )
            }
            (None, None) if able.is_empty() => {
                let all: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
                format!("no load-balancer provider of the cloud ({}) has L7 policies", all.join(", "))
            }
            // Which one is the default, and what an unlisted one can do, only Octavia knows.
            (None, _) => return Ok(()),
        };
        Err(invalid_field(message, "config.provider"))
    }
}

fn those_that_have(able: &[&str]) -> String {
    match able {
        [] => "no other one of the cloud has them either".into(),
        able => format!("of the cloud's providers have them: {}", able.join(", ")),
    }
}
