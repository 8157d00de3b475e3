//! The load balancer that all Routes share: the mapping of the module's own PolicyModule.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{Certificate, ListenerTls, Vip};

use crate::config::{Config, HTTP, HTTPS, LOAD_BALANCER, Tls};

/// Entries beside those that Routes refer to.
const VIP: &str = "vip";
const DEFAULT_CERTIFICATE: &str = "default-certificate";

/// VIP port, load balancer and listeners, for the one PolicyModule of this name.
pub(crate) fn map(name: &str, config: &Config) -> Result<Vec<Desired>, Outcome> {
    if name != config.policy_module {
        let message = format!(
            "the load balancer of all Routes is the mapping of PolicyModule {}",
            config.policy_module
        );
        return Err(not_mapped(message));
    }
    // checks the config, too
    if config.front()?.existing {
        return Err(not_mapped("Routes use a load balancer that is there (existingLoadBalancer)"));
    }
    let cloud = snapshot::cloud_facts();
    config.check_provider(&cloud)?;
    if config.tls.is_some() && !cloud.has_key_manager {
        let message = "the cloud has no key manager (Barbican), without which Octavia has no certificates";
        return Err(invalid_field(message, "config.tls"));
    }
    let mut list = vec![
        // A port of its own: the address stays when another provider or flavor makes another load balancer.
        vip(config).named(VIP),
        load_balancer(config).named(LOAD_BALANCER),
        listener("HTTP", config.http_port).named(HTTP),
    ];
    if let Some(tls) = &config.tls {
        list.push(default_certificate(tls).named(DEFAULT_CERTIFICATE));
        list.push(listener("TERMINATED_HTTPS", tls.port).tls(listener_tls(tls)).named(HTTPS));
    }
    Ok(list)
}

fn vip(config: &Config) -> Port {
    let port = Port::new(existing(config.network.as_deref().unwrap_or_default()));
    config.subnets.iter().take(1).fold(port, |port, subnet| port.fixed_ip(FixedIp::of(existing(subnet))))
}

fn load_balancer(config: &Config) -> LoadBalancer {
    let mut balancer = LoadBalancer::new(Vip::Port(local(VIP)));
    balancer.provider.clone_from(&config.provider);
    balancer.flavor.clone_from(&config.flavor);
    balancer.availability_zone.clone_from(&config.availability_zone);
    let further = config.subnets.iter().skip(1);
    further.fold(balancer, |balancer, subnet| balancer.additional_vip(FixedIp::of(existing(subnet))))
}

/// Endpoints are told whom they serve, as by OpenShift's router.
fn listener(protocol: &str, port: u16) -> Listener {
    let headers = ["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];
    let listener = Listener::new(local(LOAD_BALANCER), protocol, port);
    headers.into_iter().fold(listener, |listener, name| listener.insert_header(name, "true"))
}

fn default_certificate(tls: &Tls) -> Certificate {
    let (namespace, name) = (Some(tls.secret.namespace.clone()), tls.secret.name.clone());
    Certificate::of_secret(ObjectKey { kind: Kind::core("Secret"), namespace, name })
}

fn listener_tls(tls: &Tls) -> ListenerTls {
    let mut found = ListenerTls::new(local(DEFAULT_CERTIFICATE));
    found.versions.clone_from(&tls.versions);
    found.ciphers.clone_from(&tls.ciphers);
    found
}
