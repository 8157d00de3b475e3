//! What is behind a VIP: load balancer, listeners, pools, members, monitors.

use isthmus_sdk::objects::{Service, ServicePort};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::SessionPersistence;

use crate::annotations::{MONITOR_TIMEOUT, Wishes};
use crate::config::Config;
use crate::endpoints::{Endpoints, Reach};
use crate::fronts::{Front, Place};
use crate::provider::Chosen;
use crate::ranges::Allowed;

/// Kubernetes' own, seconds.
const AFFINITY_TIMEOUT: u32 = 10_800;
/// Octavia's least, seconds (`udp_connect_min_interval_health_monitor`).
const UDP_DELAY: u16 = 3;

/// What all fronts of a Service have in common.
pub(crate) struct Tree<'a> {
    pub(crate) service: &'a Service<'a>,
    pub(crate) wishes: &'a Wishes<'a>,
    pub(crate) config: &'a Config,
    pub(crate) provider: &'a Chosen,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) reach: &'a Reach<'a>,
}

/// Name of a port's pool.
pub(crate) fn pool_entry(front: &Front, port: &ServicePort<'_>) -> String {
    entry("pool", front, port)
}

/// Name of a port's listener. Ports of one number and different protocols are different listeners.
pub(crate) fn listener_entry(front: &Front, port: &ServicePort<'_>) -> String {
    entry("listener", front, port)
}

fn entry(what: &str, front: &Front, port: &ServicePort<'_>) -> String {
    format!("{what}-{}-{}-{}", front.name, port.protocol().to_ascii_lowercase(), port.port)
}

impl Tree<'_> {
    /// The entries of a front.
    pub(crate) fn of(&self, front: &Front, allowed: &Allowed) -> Result<Vec<Desired>, Outcome> {
        let mut list: Vec<Desired> = front.port().into_iter().collect();
        list.extend(self.balancer(front));
        for port in &self.service.spec.ports {
            list.push(self.pool(front, port)?.named(&pool_entry(front, port)));
            let cidrs: &[String] = match allowed {
                Allowed::Everybody => &[],
                Allowed::Only(cidrs) => cidrs,
                // An empty list of Octavia's is everybody: without a listener there is nobody.
                Allowed::Nobody => continue,
            };
            let mut listener = self.listener(front, port, cidrs).named(&listener_entry(front, port));
            if let Place::Shared(shared) = &front.place {
                // So the address outlives its own Service, as the load balancer does.
                listener.after.extend(shared.floating_ip.clone());
            }
            list.push(listener);
        }
        Ok(list)
    }

    fn balancer(&self, front: &Front) -> Option<Desired> {
        let mut balancer = LoadBalancer::new(front.vip()?);
        balancer.provider.clone_from(&self.provider.name);
        balancer.flavor.clone_from(&self.provider.flavor);
        balancer.availability_zone.clone_from(&self.provider.zone);
        Some(balancer.named(&front.balancer_entry()))
    }

    fn listener(&self, front: &Front, port: &ServicePort<'_>, cidrs: &[String]) -> Listener {
        let on = front.balancer();
        let mut listener = match self.is_http(port) {
            true => Listener::new(on, "HTTP", port.port).insert_header("X-Forwarded-For", "true"),
            false => Listener::new(on, port.protocol(), port.port),
        };
        listener.default_pool = Some(local(&pool_entry(front, port)));
        listener.connection_limit = self.wishes.connections;
        listener.timeouts = self.wishes.timeouts;
        listener.allowed_cidrs = cidrs.to_vec();
        listener
    }

    fn pool(&self, front: &Front, port: &ServicePort<'_>) -> Result<Pool, Outcome> {
        let protocol = match (port.protocol(), self.wishes.proxy) {
            ("TCP", Some(proxy)) => proxy,
            ("TCP", None) if self.is_http(port) => "HTTP",
            (protocol, _) => protocol,
        };
        let mut pool = Pool::new(front.balancer(), protocol, &self.provider.algorithm(self.wishes)?);
        pool.session_persistence = self.persistence(port);
        pool.monitor = self.monitor(port)?;
        let places = self.endpoints.places(port, front.family);
        pool.members = places.into_iter().map(|place| self.reach.member(place)).collect();
        Ok(pool)
    }

    fn is_http(&self, port: &ServicePort<'_>) -> bool {
        self.wishes.forwarded && port.protocol() == "TCP"
    }

    /// Octavia takes a time only of UDP and SCTP pools.
    fn persistence(&self, port: &ServicePort<'_>) -> Option<SessionPersistence> {
        let spec = &self.service.spec;
        spec.session_affinity.as_deref().filter(|affinity| *affinity == "ClientIP")?;
        let persistence = SessionPersistence::new("SOURCE_IP");
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let timeout = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_TIMEOUT);
        Some(if port.protocol() == "TCP" { persistence } else { persistence.timeout_s(timeout) })
    }

    fn monitor(&self, port: &ServicePort<'_>) -> Result<Option<HealthMonitor>, Outcome> {
        let (wished, config) = (&self.wishes.monitor, &self.config.monitor);
        if !wished.enabled.unwrap_or(config.enabled) || !self.provider.watches(port.protocol()) {
            return Ok(None);
        }
        let kind = match port.protocol() {
            "UDP" => "UDP-CONNECT",
            protocol => protocol,
        };
        let delay = wished.delay_s.unwrap_or(config.delay);
        let delay = if kind == "UDP-CONNECT" { delay.max(UDP_DELAY) } else { delay };
        let timeout = wished.timeout_s.unwrap_or(config.timeout);
        if timeout > delay {
            let message = format!("a probe may take {timeout} s, and the next one begins after {delay} s");
            return Err(invalid_field(message, &self.wishes.field(MONITOR_TIMEOUT, "monitor.timeout")));
        }
        let monitor = HealthMonitor::new(kind, delay, timeout, wished.retries.unwrap_or(config.max_retries));
        Ok(Some(monitor.max_retries_down(wished.retries_down.unwrap_or(config.max_retries_down))))
    }
}
