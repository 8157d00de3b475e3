//! Addresses of Pods that the port of their node may send from: for nodes that are virtual machines, whose Pods' interfaces lie on the
//! node's own. A part of a port that is somebody else's, added and removed by value.
//!
//! It has no mark of its own: whose it is, the mark of the Pod's port says; other pairs of the node's port are never touched. The
//! addresses are in its id, so that they are found when the Pod's port is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{AllowedAddressPair, Port, PortUpdate};
use serde::{Deserialize, Serialize};

use super::port::{BESIDE_NODE, Ports};
use super::standard::Standard;
use super::turns::{Answered, Changes, Turns};
use super::{Scope, has};
use crate::cloud::attachment::{self, parts};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed};
use crate::queue::Parking;

/// How often a port is read anew that somebody else changed under way.
const TRIES: usize = 4;
/// Neutron's fault for more pairs than a port may have (`max_allowed_address_pair`).
const EXHAUSTED: &str = "AllowedAddressPairExhausted";
/// What is read of the ports beside a Pod's: there may be thousands.
const READ: [(&str, &str); 5] = [
    ("fields", "mac_address"),
    ("fields", "network_id"),
    ("fields", "device_owner"),
    ("fields", "allowed_address_pairs"),
    ("fields", "revision_number"),
];

pub(super) struct Addresses {
    scope: Scope,
    parents: Turns<Pairs>,
}

/// What it is, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    parent: String,
    port: String,
    /// Whether the Pod sends with a MAC address of its own.
    #[serde(default)]
    mac: bool,
}

/// A Pod's port beside the port of its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Beside {
    port: String,
    mac: bool,
    /// Its addresses; none: they are still to be read.
    addresses: Vec<String>,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Became {
    /// The node's port may send from these.
    Allowed(Vec<String>),
    /// It can't: its network is another one.
    Elsewhere,
}

/// The parts of an id: the node's port, the Pod's, its addresses.
fn told(id: &str) -> (&str, &str, Vec<String>) {
    let (parent, rest) = parts(id);
    let (port, addresses) = parts(rest);
    (parent, port, addresses.split(',').filter(|ip| !ip.is_empty()).map(str::to_owned).collect())
}

fn observed(fields: &Fields, addresses: &[String], mark: Option<Mark>) -> Observed {
    let part = attachment::id(&fields.port, &addresses.join(","));
    Observed { mark, ..attachment::observed(Kind::AllowedAddresses, (&fields.parent, &part), fields) }
}

fn addresses_of(port: &Port) -> Vec<String> {
    let all: BTreeSet<&str> = port.fixed_ips.iter().map(|ip| ip.ip_address.as_str()).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// Whether a port may send from all of these, with a MAC address of their own or with its own; `None`: not from all, or not alike.
fn allows(parent: &Port, addresses: &[String]) -> Option<bool> {
    let with_own = |pair: &AllowedAddressPair| {
        pair.mac_address.as_ref().is_none_or(|mac| mac.eq_ignore_ascii_case(&parent.mac_address))
    };
    let pair_of = |ip: &String| parent.allowed_address_pairs.iter().find(|pair| pair.ip_address == *ip);
    let own: Option<BTreeSet<bool>> = addresses.iter().map(|ip| pair_of(ip).map(with_own)).collect();
    match own?.into_iter().collect::<Vec<_>>().as_slice() {
        [own] => Some(!own),
        _ => None,
    }
}

/// What of the ports is ours: whole only, so that what lacks one address is made again.
fn ours(parents: &[Port], pods: &[(Port, Mark)]) -> Vec<Observed> {
    let by_address: HashMap<(&str, &str), usize> = pods
        .iter()
        .enumerate()
        .flat_map(|(at, (port, _))| {
            port.fixed_ips.iter().map(move |ip| ((port.network_id.as_str(), ip.ip_address.as_str()), at))
        })
        .collect();
    let mut found = Vec::new();
    for parent in parents.iter().filter(|parent| parent.device_owner != BESIDE_NODE) {
        let pairs = parent.allowed_address_pairs.iter();
        let on: BTreeSet<usize> = pairs
            .filter_map(|pair| by_address.get(&(&*parent.network_id, &*pair.ip_address)).copied())
            .collect();
        for (port, mark) in on.into_iter().filter_map(|at| pods.get(at)) {
            let addresses = addresses_of(port);
            let Some(mac) = allows(parent, &addresses) else { continue };
            let fields = Fields { parent: parent.id.clone(), port: port.id.clone(), mac };
            found.push(observed(&fields, &addresses, Some(mark.clone())));
        }
    }
    found
}

impl Addresses {
    pub(super) fn new(scope: &Scope, parking: &Parking) -> Self {
        let pairs = Pairs { neutron: scope.neutron.clone() };
        Self { scope: scope.clone(), parents: Turns::new(pairs, parking.clone()) }
    }
}

impl Driver for Addresses {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let beside = self.scope.query(&[("device_owner", BESIDE_NODE)]);
            let pods: Vec<Port> = self.scope.neutron.list(&beside).await?;
            let marked = |port: Port| {
                let observed = Some(Ports::observed(port.clone())).filter(|port| has(port, tag))?;
                Some((port, observed.mark?))
            };
            let pods: Vec<(Port, Mark)> = pods.into_iter().filter_map(marked).collect();
            let networks: BTreeSet<&str> = pods.iter().map(|(port, _)| port.network_id.as_str()).collect();
            if networks.is_empty() {
                return Ok(Vec::new());
            }
            let networks = networks.into_iter().map(|id| ("network_id", id));
            let query: Vec<(&str, &str)> = networks.chain(READ).collect();
            let parents: Vec<Port> = self.scope.neutron.list(&self.scope.query(&query)).await?;
            Ok(ours(&parents, &pods))
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let beside = Beside { port: fields.port.clone(), mac: fields.mac, addresses: Vec::new() };
            let refused = |message: String| CloudError::Field {
                kind: Kind::Port,
                name: create.entry.name.clone(),
                message,
            };
            match self.parents.put(&fields.parent, beside).await.map_err(|e| full(e, &fields.parent))? {
                Some(Became::Allowed(addresses)) => Ok(observed(&fields, &addresses, Some(create.mark))),
                Some(Became::Elsewhere) => Err(refused(format!(
                    "port {} is not on the network of port {}, its node's, beside which it is to be",
                    fields.port, fields.parent
                ))),
                None => Err(CloudError::GivenUp {
                    what: format!("what port {} may send from: port {} is gone", fields.parent, fields.port),
                }),
            }
        }
        .boxed()
    }

    /// There is nothing that can change.
    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move { Err(CloudError::Unsupported(update.entry.kind)) }.boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let (parent, port, addresses) = told(&old.id);
            let found: Port = match self.scope.neutron.get(parent).await {
                Err(error) if error.class == RetryClass::NotFound => return Ok(None),
                answer => answer?,
            };
            let fields = |mac| Fields { parent: parent.into(), port: port.into(), mac };
            let mac = allows(&found, &addresses);
            Ok(mac.map(|mac| observed(&fields(mac), &addresses, old.mark.clone())))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (parent, port, addresses) = told(id);
            self.parents.take(parent, Beside { port: port.into(), mac: false, addresses }).await
        }
        .boxed()
    }

    /// No list says so: the entry is the host's.
    fn retain<'a>(&'a self, observed: &'a Observed, _tag: &'a str) -> BoxFuture<'a, Result<()>> {
        self.delete(&observed.id)
    }
}

/// There is room again once another Pod has gone.
fn full(error: CloudError, parent: &str) -> CloudError {
    match error {
        CloudError::Service(error) if error.fault() == Some(EXHAUSTED) => {
            CloudError::AddressesFull { port: parent.to_owned(), why: error.to_string() }
        }
        other => other,
    }
}

/// The pairs of ports, changed by those who read them last.
struct Pairs {
    neutron: Neutron,
}

impl Changes for Pairs {
    const WHOLE: &'static str = "the addresses of port";
    type Part = Beside;
    type Put = Became;

    fn put<'a>(
        &'a self,
        parent: &'a str,
        pods: &'a BTreeSet<Beside>,
    ) -> BoxFuture<'a, Answered<BTreeMap<Beside, Became>>> {
        async move {
            let ids = pods.iter().map(|pod| ("id", pod.port.as_str()));
            let ports: Vec<Port> = self.neutron.list(&ids.collect::<Vec<_>>()).await?;
            let ports: HashMap<&str, &Port> = ports.iter().map(|port| (port.id.as_str(), port)).collect();
            let mut became = BTreeMap::new();
            self.change(parent, |found| {
                became = put_on(found, pods, &ports);
            })
            .await?;
            Ok(became)
        }
        .boxed()
    }

    fn take<'a>(&'a self, parent: &'a str, pods: &'a BTreeSet<Beside>) -> BoxFuture<'a, Answered<()>> {
        async move {
            let gone: BTreeSet<&str> =
                pods.iter().flat_map(|pod| pod.addresses.iter().map(String::as_str)).collect();
            let keep = |pair: &AllowedAddressPair| !gone.contains(pair.ip_address.as_str());
            match self.change(parent, |found| found.allowed_address_pairs.retain(keep)).await {
                Err(error) if error.class == RetryClass::NotFound => Ok(()),
                answer => answer,
            }
        }
        .boxed()
    }
}

impl Pairs {
    /// Changes the pairs of a port, unless somebody else does so meanwhile: then what they made of it is changed.
    async fn change(&self, parent: &str, mut changed: impl FnMut(&mut Port)) -> Answered<()> {
        let mut tries = 0;
        loop {
            let found: Port = self.neutron.get(parent).await?;
            let mut wanted = found.clone();
            changed(&mut wanted);
            if wanted.allowed_address_pairs == found.allowed_address_pairs {
                return Ok(());
            }
            tries += 1;
            let pairs = Some(wanted.allowed_address_pairs);
            let body = PortUpdate { allowed_address_pairs: pairs, ..PortUpdate::default() };
            match self.neutron.update::<Port>(parent, &body, found.revision_number).await {
                Err(error) if error.class == RetryClass::Conflict && tries < TRIES => {}
                answer => return answer.map(drop),
            }
        }
    }
}

/// Adds what is missing to the pairs of a node's port.
fn put_on(
    parent: &mut Port,
    pods: &BTreeSet<Beside>,
    ports: &HashMap<&str, &Port>,
) -> BTreeMap<Beside, Became> {
    let mut became = BTreeMap::new();
    for pod in pods {
        let Some(port) = ports.get(pod.port.as_str()) else { continue };
        if port.network_id != parent.network_id {
            became.insert(pod.clone(), Became::Elsewhere);
            continue;
        }
        let addresses = addresses_of(port);
        if allows(parent, &addresses) != Some(pod.mac) {
            let mac_address = if pod.mac { port.mac_address.clone() } else { parent.mac_address.clone() };
            parent.allowed_address_pairs.retain(|pair| !addresses.contains(&pair.ip_address));
            let pair = |ip: &String| AllowedAddressPair {
                ip_address: ip.clone(),
                mac_address: Some(mac_address.clone()),
            };
            parent.allowed_address_pairs.extend(addresses.iter().map(pair));
        }
        became.insert(pod.clone(), Became::Allowed(addresses));
    }
    became
}

#[cfg(test)]
mod tests {
    use isthmus_openstack::neutron::FixedIp;

    use super::*;

    fn port(id: &str, mac: &str, addresses: &[&str]) -> Port {
        let ip = |ip: &&str| FixedIp { ip_address: (*ip).into(), ..FixedIp::default() };
        Port {
            id: id.into(),
            network_id: "n".into(),
            mac_address: mac.into(),
            fixed_ips: addresses.iter().map(ip).collect(),
            ..Port::default()
        }
    }

    fn pair(ip: &str, mac: &str) -> AllowedAddressPair {
        AllowedAddressPair { ip_address: ip.into(), mac_address: Some(mac.into()) }
    }

    fn put(parent: &mut Port, pod: &Port, mac: bool) -> Option<Became> {
        let beside = Beside { port: pod.id.clone(), mac, addresses: Vec::new() };
        let ports = HashMap::from([(pod.id.as_str(), pod)]);
        put_on(parent, &BTreeSet::from([beside]), &ports).into_values().next()
    }

    #[test]
    fn what_is_put_on_is_seen_as_it_was_meant() {
        let mark = Mark { cluster: "c".into(), subject: "s".into(), name: "port".into() };
        let pod = port("pod", "02:00:00:00:00:01", &["10.0.0.5", "fd00::5"]);
        for mac in [true, false] {
            let mut parent = port("node", "02:00:00:00:00:99", &["10.0.0.2"]);
            parent.allowed_address_pairs = vec![pair("10.0.0.77", "02:00:00:00:00:77")];
            let both = vec!["10.0.0.5".to_owned(), "fd00::5".to_owned()];
            assert_eq!(put(&mut parent, &pod, mac), Some(Became::Allowed(both.clone())));
            assert_eq!(parent.allowed_address_pairs.len(), 3, "what was there stays");
            let once = parent.clone();
            put(&mut parent, &pod, mac);
            assert_eq!(parent, once, "what is there is not put there again");

            let found = ours(&[parent.clone(), pod.clone()], &[(pod.clone(), mark.clone())]);
            let [found] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(told(&found.id), ("node", "pod", both));
            assert_eq!(found.fields["mac"], mac);

            // One address that somebody took off: it is made again, whole.
            parent.allowed_address_pairs.retain(|pair| pair.ip_address != "fd00::5");
            assert_eq!(ours(&[parent.clone()], &[(pod.clone(), mark.clone())]).len(), 0);
            put(&mut parent, &pod, mac);
            assert_eq!(ours(&[parent], &[(pod.clone(), mark.clone())]).len(), 1);
        }
    }

    /// Nothing that it sends would come through.
    #[test]
    fn a_port_of_another_network_is_refused() {
        let mut parent = port("node", "02:00:00:00:00:99", &["10.0.0.2"]);
        let pod = Port { network_id: "other".into(), ..port("pod", "02:00:00:00:00:01", &["10.0.0.5"]) };
        assert_eq!(put(&mut parent, &pod, true), Some(Became::Elsewhere));
        assert_eq!(parent.allowed_address_pairs, []);
    }
}
