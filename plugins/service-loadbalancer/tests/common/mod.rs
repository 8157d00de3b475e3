//! What the tests have in common: a Service with its slices, and a cloud under it.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod sharing;

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Vip;
use isthmus_sdk::records::types::{Invalid, Property};
use isthmus_sdk::records::values::Address;
use isthmus_sdk::snapshot::{Cloud, Provider};
use isthmus_sdk::testing::Cluster;
use service_loadbalancer::ServiceLoadBalancer;

pub(crate) const PLAIN: &str = r#"{"network": "services"}"#;
pub(crate) const SUBNETS: &str = r#"{"network": "services", "subnets": {"ipv4": "s4", "ipv6": "s6"}}"#;
pub(crate) const FLOATING: &str = r#"{"network": "services", "subnets": {"ipv4": "s4", "ipv6": "s6"}, "floatingNetwork": "public",
        "clusterCidrs": ["10.0.0.0/8", "fd00::/8"]}"#;
/// Where kube-proxy serves cluster IPs.
pub(crate) const OUTSIDE: &str = r#"{"network": "front", "floatingNetwork": "public", "clusterIps": false}"#;

pub(crate) fn service_kind() -> Kind {
    Kind::core("Service")
}

/// The Service `shop/web` with these annotations and this spec, and its slices.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) annotations: String,
    pub(crate) spec: String,
    pub(crate) status: String,
    pub(crate) slices: Vec<String>,
    pub(crate) providers: Vec<&'static str>,
    /// Other Services.
    pub(crate) beside: Vec<String>,
}

/// A Service that is `NAMESPACE/NAME`, with this in its metadata beside, of this spec and status.
pub(crate) fn other(key: &str, metadata: &str, spec: &str, status: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap();
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}, {metadata}}}, \
         spec: {{{spec}}}, status: {{{status}}}}}"
    )
}

/// The condition in which a Service says what it shares.
pub(crate) fn memory(known: &str) -> String {
    format!("{{type: isthmus.dev/Shares, status: 'True', message: '{known}'}}")
}

/// A Service of this spec, with a cluster IP and a port unless it says otherwise.
pub(crate) fn given(spec: &str) -> Given {
    let mut spec = spec.to_owned();
    for (field, value) in [("clusterIP:", "clusterIP: 10.96.0.9"), ("ports:", "ports: [{port: 80}]")] {
        if !spec.contains(field) {
            let comma = if spec.is_empty() { "" } else { ", " };
            spec = format!("{spec}{comma}{value}");
        }
    }
    Given { spec, ..Given::default() }
}

/// An EndpointSlice of `shop/web`: its endpoints and its ports.
pub(crate) fn slice(endpoints: &str, ports: &str) -> String {
    format!("endpoints: [{endpoints}], ports: [{ports}]")
}

impl Given {
    pub(crate) fn annotated(mut self, annotations: &str) -> Self {
        self.annotations = annotations.into();
        self
    }

    pub(crate) fn slice(mut self, endpoints: &str, ports: &str) -> Self {
        self.slices.push(slice(endpoints, ports));
        self
    }

    /// Over a cloud that has these providers.
    pub(crate) fn over(mut self, providers: &[&'static str]) -> Self {
        self.providers = providers.to_vec();
        self
    }

    /// With this other Service.
    pub(crate) fn beside(mut self, other: String) -> Self {
        self.beside.push(other);
        self
    }

    pub(crate) fn said(mut self, status: &str) -> Self {
        self.status = status.into();
        self
    }

    /// Which is on a load balancer by what it says.
    pub(crate) fn remembers(self, known: &str) -> Self {
        let before = if self.status.is_empty() { String::new() } else { format!("{}, ", self.status) };
        self.said(&format!("{before}conditions: [{}]", memory(known)))
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let Self { annotations, spec, status, slices, .. } = self;
        let mut text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop, annotations: {{{annotations}}}}}, \
             spec: {{{spec}}}, status: {{{status}}}}}\n---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: shop}}}}\n"
        );
        for other in &self.beside {
            text += &format!("---\n{other}\n");
        }
        for (at, slice) in slices.iter().enumerate() {
            let labels = "{kubernetes.io/service-name: web}";
            text += &format!(
                "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, \
                 metadata: {{name: web-{at}, namespace: shop, labels: {labels}}}, {slice}}}\n"
            );
        }
        Cluster::from_yaml(&text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
            .with_cloud(cloud(&self.providers))
    }

    pub(crate) fn map(&self, config: &str) -> Result<Vec<Desired>, Outcome> {
        self.cluster().map::<ServiceLoadBalancer>(&service_kind(), "shop/web", config)
    }

    pub(crate) fn list(&self, config: &str) -> Vec<Desired> {
        self.map(config).unwrap()
    }

    pub(crate) fn report(
        &self,
        config: &str,
        outcome: Option<Outcome>,
        realized: Vec<Realized>,
    ) -> Option<serde_json::Value> {
        let cluster = self.cluster();
        let report =
            cluster.report::<ServiceLoadBalancer>(&service_kind(), "shop/web", config, outcome, realized)?;
        Some(serde_json::from_str(&report.status.unwrap()).unwrap())
    }

    /// What the Service says that it shares.
    pub(crate) fn shares(&self, config: &str, outcome: Option<Outcome>) -> Option<String> {
        let status = self.report(config, outcome, Vec::new())?;
        let mut conditions = status.get("conditions")?.as_array()?.iter();
        let shares = conditions.find(|condition| condition["type"] == "isthmus.dev/Shares")?;
        shares["message"].as_str().map(Into::into)
    }
}

fn cloud(providers: &[&'static str]) -> Cloud {
    let provider = |name: &&'static str| {
        let (protocols, algorithms): (&[&str], &[&str]) = match *name {
            "ovn" => (&["SCTP", "TCP", "UDP"], &["SOURCE_IP_PORT"]),
            "limited" => (&["HTTP", "TCP"], &["LEAST_CONNECTIONS"]),
            _ => (&["HTTP", "SCTP", "TCP", "UDP"], &["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP"]),
        };
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Provider {
            name: (*name).into(),
            protocols: owned(protocols),
            algorithms: owned(algorithms),
            l7: *name != "ovn",
        }
    };
    let load_balancer_providers = providers.iter().map(provider).collect();
    Cloud { network_extensions: vec![], load_balancer_providers, has_key_manager: false }
}

pub(crate) fn names(list: &[Desired]) -> Vec<&str> {
    list.iter().map(|entry| entry.name.as_str()).collect()
}

pub(crate) fn entry<'a>(list: &'a [Desired], name: &str) -> &'a Desired {
    list.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} of {:?}", names(list)))
}

macro_rules! of_kind {
    ($($function:ident $kind:ident;)*) => {$(
        /// The entry of this name, which is of this kind.
        pub(crate) fn $function<'a>(list: &'a [Desired], name: &str) -> &'a isthmus_sdk::records::types::$kind {
            match &entry(list, name).resource {
                Resource::$kind(record) => record,
                other => panic!("{name} is {other:?}"),
            }
        }
    )*};
}
of_kind! { port Port; balancer LoadBalancer; listener Listener; pool Pool; floating_ip FloatingIp; association FloatingIpAssociation; }

/// Address and port of the members of this pool.
pub(crate) fn places(list: &[Desired], name: &str) -> Vec<(String, u16)> {
    let place = |member: &Member| match &member.address {
        Address::Literal(address) => (address.clone(), member.port),
        other => panic!("{other:?}"),
    };
    pool(list, name).members.iter().map(place).collect()
}

pub(crate) fn at(places: &[(&str, u16)]) -> Vec<(String, u16)> {
    places.iter().map(|(address, port)| ((*address).to_owned(), *port)).collect()
}

/// Asserts `invalid` with this field, and this in its message.
pub(crate) fn assert_wrong(result: Result<Vec<Desired>, Outcome>, field: &str, part: &str) {
    let Err(Outcome::Invalid(Invalid { message, field: found })) = result else {
        panic!("{field}: {result:?}")
    };
    assert_eq!(found.as_deref(), Some(field), "{message}");
    assert!(message.contains(part), "{message}");
}

/// A VIP on a port of the same list.
pub(crate) fn own(name: &str) -> Vip {
    Vip::Port(local(name))
}

/// The Service as it is when all of it is there and ready.
pub(crate) fn all_ready(list: &[Desired]) -> Vec<Realized> {
    list.iter().map(|entry| ready(&entry.name)).collect()
}

fn said(name: &str, value: &str) -> Property {
    Property { name: name.into(), value: value.into() }
}

pub(crate) fn ready(name: &str) -> Realized {
    let addresses = match name {
        "floating-ip" => vec!["203.0.113.7".to_owned()],
        "vip-v4" => vec!["10.96.0.9".to_owned()],
        "vip-v6" => vec!["fd00::9".to_owned()],
        "vip-public" | "lb-public" => vec!["192.0.2.9".to_owned()],
        _ => vec![],
    };
    Realized {
        name: name.into(),
        id: format!("id-{name}"),
        addresses,
        state: isthmus_sdk::records::types::State::Ready,
        operating: None,
        properties: match name.starts_with("listener-shared-v4") {
            true => vec![said("address", "192.0.2.44"), said("floating-address", "203.0.113.44")],
            false if name.starts_with("listener-shared-v6") => vec![said("address", "2001:db8::44")],
            false => vec![],
        },
        message: None,
    }
}
