//! What providers refuse: the checks of the amphora driver (which `noop` shares) and of ovn-octavia-provider.

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Object, text};

/// Providers by name, as `GET /v2/lbaas/providers` shows them.
pub(super) const PROVIDERS: [(&str, &str); 3] =
    [("ovn", "OVN"), ("amphora", "amphora"), ("noop", "no traffic")];

/// Where a load balancer that names none goes.
pub(super) const DEFAULT: &str = "amphora";

pub(super) fn known(name: &str) -> Result<()> {
    match PROVIDERS.iter().any(|(known, _)| *known == name) {
        true => Ok(()),
        false => Err(Fault::bad_request(format!("Provider '{name}' is not enabled."))),
    }
}

/// Checks a listener that is to be made, or what a PUT changes of one.
pub(super) fn listener(provider: &str, listener: &Object) -> Result<()> {
    let protocol = text(listener, "protocol");
    if provider == "ovn" {
        ovn_protocol(protocol)?;
        let cidrs = listener.get("allowed_cidrs").and_then(Value::as_array);
        if cidrs.is_some_and(|all| !all.is_empty()) {
            return Err(Fault::unsupported("ovn", "OVN provider does not support allowed_cidrs option"));
        }
        return Ok(());
    }
    alpn(provider, listener)
}

/// Checks a pool that is to be made, or what a PUT changes of one.
pub(super) fn pool(provider: &str, pool: &Object) -> Result<()> {
    let algorithm = text(pool, "lb_algorithm");
    if provider == "ovn" {
        ovn_protocol(text(pool, "protocol"))?;
        if !algorithm.is_empty() && algorithm != "SOURCE_IP_PORT" {
            let message = format!("OVN provider does not support {algorithm} algorithm");
            return Err(Fault::unsupported("ovn", message));
        }
        let persistence = pool.get("session_persistence").and_then(|p| p.get("type")).and_then(Value::as_str);
        if let Some(other) = persistence.filter(|kind| *kind != "SOURCE_IP") {
            let message = format!(
                "OVN provider does not support {other} session persistence. Only SOURCE_IP type is supported."
            );
            return Err(Fault::unsupported("ovn", message));
        }
        return Ok(());
    }
    if algorithm == "SOURCE_IP_PORT" {
        let message = "Amphora provider does not support SOURCE_IP_PORT algorithm.";
        return Err(Fault::unsupported(provider, message));
    }
    alpn(provider, pool)
}

/// Checks members that are to be made in a pool: `vip` is the load balancer's address, `subnet` says whether an address is in the
/// subnet of the VIP.
pub(super) fn member(provider: &str, pool: &Object, member: &Object, vip: &str, near: bool) -> Result<()> {
    let address = text(member, "address");
    let mixed = address.contains(':') != vip.contains(':');
    if provider == "ovn" {
        let set = |name: &str| member.get(name).is_some_and(|v| !v.is_null());
        if set("monitor_address") || set("monitor_port") {
            let message = "OVN Load Balancer does not support different member monitor address or port.";
            return Err(Fault::unsupported("ovn", message));
        }
        if mixed {
            let message =
                "OVN provider does not support mixing IPv4/IPv6 configuration within the same Load Balancer.";
            return Err(Fault::unsupported("ovn", message));
        }
        if !set("subnet_id") && !near {
            let message = "Subnet is required, or Loadbalancer associated with Pool must have a subnet, for Member creation \
                           with OVN Provider Driver if it is not the same as LB VIP subnet";
            return Err(Fault::unsupported("ovn", message));
        }
        return Ok(());
    }
    if mixed && matches!(text(pool, "protocol"), "UDP" | "SCTP") {
        let message = "This provider doesn't support mixing IPv4 and IPv6 addresses for its VIP and members in UDP or SCTP load balancers.";
        return Err(Fault::unsupported(provider, message));
    }
    Ok(())
}

pub(super) fn monitor(provider: &str, monitor: &Object) -> Result<()> {
    let kind = text(monitor, "type");
    if provider == "ovn" && !matches!(kind, "TCP" | "UDP-CONNECT") {
        let message = format!(
            "OVN provider does not support {kind} health monitor type. Supported types: UDP-CONNECT, TCP"
        );
        return Err(Fault::unsupported("ovn", message));
    }
    Ok(())
}

/// Policies of a listener of this protocol, and their rules.
pub(super) fn layer_7(provider: &str, protocol: &str) -> Result<()> {
    if provider == "ovn" {
        return Err(Fault::not_at_all(provider, "This provider does not support creating l7policies."));
    }
    match protocol {
        "HTTP" | "TERMINATED_HTTPS" => Ok(()),
        other => Err(Fault::unsupported(
            provider,
            format!("{other} protocol listeners do not support L7 policies"),
        )),
    }
}

pub(super) fn failover(provider: &str) -> Result<()> {
    match provider {
        "ovn" => Err(Fault::unsupported("ovn", "OVN provider does not support loadbalancer failover")),
        _ => Ok(()),
    }
}

fn ovn_protocol(protocol: &str) -> Result<()> {
    match protocol {
        "" | "TCP" | "UDP" | "SCTP" => Ok(()),
        other => Err(Fault::unsupported("ovn", format!("OVN provider does not support {other} protocol"))),
    }
}

fn alpn(provider: &str, of: &Object) -> Result<()> {
    let asked = of.get("alpn_protocols").and_then(Value::as_array).into_iter().flatten();
    let odd: Vec<&str> =
        asked.filter_map(Value::as_str).filter(|p| !["h2", "http/1.1", "http/1.0"].contains(p)).collect();
    if odd.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Amphora provider does not support {} ALPN protocol(s). Supported: h2, http/1.1, http/1.0",
        odd.join(", ")
    );
    Err(Fault::unsupported(provider, message))
}

pub(super) fn shown() -> Value {
    let one = |(name, description): (&str, &str)| json!({"name": name, "description": description});
    json!({"providers": PROVIDERS.map(one)})
}
