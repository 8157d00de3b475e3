//! `isthmus why-denied`: whether a connection between two Pods passes the security groups of their ports, and which rules let it or
//! fail to. It looks at what Neutron has, whatever module or person made it.

mod firewall;
#[cfg(test)]
mod firewall_tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{AddressGroup, Port, SecurityGroup};
use isthmus_openstack::{CloudConfig, Metrics, Neutron, Session, Sources};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use crate::args::{Kube, Output, WhyDeniedArgs};
use crate::output::print;
use crate::tree::branches;
use firewall::{Connection, Firewall, Side, Way};

/// What is asked, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    from: String,
    to: String,
    protocol: String,
    port: u16,
    /// Whether every way passes.
    allowed: bool,
    /// One for each IP version that both have.
    ways: Vec<Way>,
    /// What else may be in the way.
    notes: Vec<String>,
}

/// A Pod, as a connection's end.
struct Pod {
    name: String,
    port: Port,
    notes: Vec<String>,
}

pub(crate) async fn run(kube: &Kube, args: &WhyDeniedArgs, output: Output) -> anyhow::Result<()> {
    let (port, protocol) = service(&args.port)?;
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let all: Api<CloudMapping> = Api::all(client.kube());
    let mappings = client.read("list CloudMappings", all.list(&ListParams::default())).await?.items;
    let config = CloudConfig::load(&Sources::from_process(), args.os_cloud.as_deref())?;
    let neutron = Neutron::new(Session::new(config, Metrics::default())?);
    let from = pod(&neutron, &mappings, &args.from, &args.namespace).await?;
    let to = pod(&neutron, &mappings, &args.to, &args.namespace).await?;
    let firewall = firewall(&neutron, &mappings, [&from.port, &to.port]).await?;
    let connection = Connection { protocol, port };
    let ways = firewall.ways(&from.port, &to.port, &connection);
    ensure!(!ways.is_empty(), "{} and {} have no IP version in common", from.name, to.name);
    let verdict = Verdict {
        allowed: ways.iter().all(Way::allowed),
        from: from.name,
        to: to.name,
        protocol: connection.protocol,
        port,
        ways,
        notes: from.notes.into_iter().chain(to.notes).collect(),
    };
    print(&verdict, output, told)
}

/// `8080` or `53/udp`.
fn service(text: &str) -> anyhow::Result<(u16, String)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let number: Option<u16> = number.parse().ok().filter(|number| *number > 0);
    match number.filter(|_| ["tcp", "udp", "sctp"].contains(&&*protocol)) {
        Some(number) => Ok((number, protocol)),
        None => bail!(
            "{text:?} is no port: expected a number, with a protocol unless it is TCP: 8080, 53/udp, 3868/sctp"
        ),
    }
}

/// The port of a Pod's first interface.
async fn pod(
    neutron: &Neutron,
    mappings: &[CloudMapping],
    pod: &str,
    namespace: &str,
) -> anyhow::Result<Pod> {
    let bare = ["pod/", "pods/"].iter().find_map(|kind| pod.strip_prefix(kind)).unwrap_or(pod);
    let (namespace, name) = bare.split_once('/').unwrap_or((namespace, bare));
    let is_its = |m: &&CloudMapping| {
        let subject = &m.spec.subject;
        subject.kind == "Pod" && subject.name == name && m.namespace().as_deref() == Some(namespace)
    };
    let shown = format!("{namespace}/{name}");
    let mapping = mappings.iter().find(is_its).with_context(|| {
        format!(
            "Pod {shown} has no CloudMapping: is it there (`kubectl get pods -n {namespace}`), and not on its host's network, where \
             no policy holds? `isthmus why pod/{name} -n {namespace}` says more"
        )
    })?;
    let status = mapping.status.clone().unwrap_or_default();
    let vif = status.vifs.first().with_context(|| format!("Pod {shown} has no interface yet"))?;
    let port: Port = neutron.get(&vif.port_id).await?;
    let not_so = status.conditions.iter().filter(|c| c.type_ == "Ready" && c.status == "False");
    let mut notes: Vec<String> =
        not_so.map(|c| format!("{shown} is not as it should be: {}: {}", c.reason, c.message)).collect();
    if port.admin_state_up == Some(false) || port.status == "DOWN" {
        notes.push(format!("the port of {shown} is {}: nothing is behind it", port.status));
    }
    Ok(Pod { name: shown, port, notes })
}

/// The groups of these ports with all that their rules name.
async fn firewall(
    neutron: &Neutron,
    mappings: &[CloudMapping],
    ports: [&Port; 2],
) -> anyhow::Result<Firewall> {
    let ids: BTreeSet<&String> = ports.iter().flat_map(|port| &port.security_groups).collect();
    let mut firewall = Firewall::default();
    for id in ids {
        let group: SecurityGroup = neutron.get(id).await?;
        for rule in &group.security_group_rules {
            if let Some(id) = &rule.remote_address_group_id
                && !firewall.addresses.contains_key(id)
            {
                let addresses: AddressGroup = neutron.get(id).await?;
                firewall.owners.extend(owner(mappings, &addresses.description, id));
                firewall.addresses.insert(id.clone(), addresses);
            }
        }
        let tags = Mark::from_tags(group.tags.iter().map(String::as_str));
        let described = tags.map_or_else(|| group.description.clone(), |mark| mark.description());
        firewall.owners.extend(owner(mappings, &described, id));
        firewall.groups.insert(id.clone(), group);
    }
    Ok(firewall)
}

/// What made a resource, by the mark in its description.
fn owner(mappings: &[CloudMapping], described: &str, id: &str) -> BTreeMap<String, String> {
    let mark = Mark::from_description(described);
    let found = mark.and_then(|mark| mappings.iter().find(|m| m.spec.subject.uid == mark.subject));
    let name = found.map(|mapping| {
        let subject = &mapping.spec.subject;
        match subject.namespace.as_deref() {
            Some(namespace) => format!("{} {namespace}/{}", subject.kind, subject.name),
            None => format!("{} {}", subject.kind, subject.name),
        }
    });
    name.into_iter().map(|name| (id.to_owned(), name)).collect()
}

fn told(verdict: &Verdict) -> String {
    let mut text = String::new();
    for way in &verdict.ways {
        let result = if way.allowed() { "passes" } else { "is denied" };
        text += &format!(
            "{} ({}) to {} ({}) {}/{} {result}\n",
            verdict.from, way.source, verdict.to, way.destination, verdict.port, verdict.protocol
        );
        let sides = [("out of", &verdict.from, &way.egress), ("into", &verdict.to, &way.ingress)];
        let lines: Vec<String> =
            sides.iter().flat_map(|(where_, pod, side)| of_side(where_, pod, side)).collect();
        text += &branches(&lines);
    }
    verdict.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    text
}

fn of_side(where_: &str, pod: &str, side: &Side) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(always) = &side.always {
        return vec![format!("{where_} {pod}: passes: {always}")];
    }
    let letting: Vec<_> =
        side.groups.iter().filter(|group| group.rules.iter().any(|rule| rule.lets())).collect();
    if letting.is_empty() {
        let names: Vec<String> = side.groups.iter().map(|group| group.to_string()).collect();
        lines.push(format!("{where_} {pod}: denied: no rule of {} lets it", listed(&names)));
    }
    for group in if letting.is_empty() { side.groups.iter().collect() } else { letting.clone() } {
        for rule in &group.rules {
            match (letting.is_empty(), rule.lets()) {
                (false, true) => lines.push(format!("{where_} {pod}: passes by {group}: {}", rule.rule)),
                (true, _) => lines.push(format!("  {group}: {}: {}", rule.rule, rule.misses.join(", "))),
                (false, false) => {}
            }
        }
        if letting.is_empty() && group.rules.is_empty() {
            lines.push(format!("  {group}: has no rule of that direction and IP version"));
        }
    }
    lines
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no group at all".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_with_a_protocol() {
        assert_eq!(service("8080").unwrap(), (8080, "tcp".into()));
        assert_eq!(service("53/UDP").unwrap(), (53, "udp".into()));
        for wrong in ["http", "0", "70000", "80/icmp", "80/", ""] {
            let said = service(wrong).unwrap_err().to_string();
            assert!(said.contains("expected a number"), "{said}");
        }
    }
}
