//! Whose ports hold a network or a subnet that the cloud does not delete while they are there.

use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::Port;

use super::{Cloud, CloudError};

/// So many are named.
const NAMED: usize = 3;

/// Owners of ports that Neutron takes away with their network.
const AUTOMATIC: [&str; 3] = ["network:dhcp", "network:distributed", "network:router_centralized_snat"];

impl Cloud {
    /// The ports that hold what could not be deleted, as a person reads it: those that are not this cluster's. `None` where it was
    /// refused for something else, or there are none to be seen.
    pub async fn holders(&self, cluster: &str, error: &CloudError, id: &str) -> Option<String> {
        let CloudError::Service(refused) = error else { return None };
        let (kind, ports) = match refused.fault()? {
            "NetworkInUse" => (Kind::Network, self.neutron.list::<Port>(&[("network_id", id)]).await),
            "SubnetInUse" => {
                let on = format!("subnet_id={id}");
                (Kind::Subnet, self.neutron.list::<Port>(&[("fixed_ips", &on)]).await)
            }
            _ => return None,
        };
        let ports = ports.map_err(|error| tracing::debug!(%error, %kind, id, "who holds it can't be listed"));
        said(cluster, &ports.ok()?)
    }
}

fn said(cluster: &str, ports: &[Port]) -> Option<String> {
    let is_ours =
        |port: &Port| Mark::of(&port.description, &port.tags).is_some_and(|mark| mark.cluster == cluster);
    let others = || ports.iter().filter(|p| !is_ours(p) && !AUTOMATIC.contains(&p.device_owner.as_str()));
    let named = |port: &Port| match port.device_owner.as_str() {
        "" => format!("{} (of no device)", port.id),
        owner => format!("{} ({owner})", port.id),
    };
    let first: Vec<String> = others().take(NAMED).map(named).collect();
    let more = match others().count().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!first.is_empty()).then(|| format!("held by the ports of others: {}{more}", first.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_that_are_not_ours_are_named() {
        let port =
            |id: &str, owner: &str| Port { id: id.into(), device_owner: owner.into(), ..Port::default() };
        let mark = |cluster: &str| Mark { cluster: cluster.into(), subject: "s".into(), name: "p".into() };
        let mut all = vec![
            Port { description: mark("c").described(None), ..port("ours", "") },
            port("automatic", "network:dhcp"),
        ];
        assert_eq!(said("c", &all), None);
        all.push(port("1", "compute:nova"));
        all.push(Port { description: mark("another").described(None), ..port("2", "") });
        assert_eq!(
            said("c", &all).as_deref(),
            Some("held by the ports of others: 1 (compute:nova), 2 (of no device)")
        );
        all.extend((3..1_000).map(|id| port(&id.to_string(), "")));
        let said = said("c", &all).unwrap();
        assert!(said.ends_with("3 (of no device) and 996 more") && said.len() < 200, "{said}");
    }
}
