//! Addresses of Pods that the port of their node may send from: for nodes that are virtual machines, whose Pods' interfaces lie on the
//! node's own. A part of a port that is somebody else's, added and removed by value.
//!
//! Nothing in the cloud says whose a pair is: the record does, which has all of it in the id, and is written before it is made
//! ([`Kind::is_told_by_record`]). Pairs that no record names are never touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{AllowedAddressPair, Port, PortUpdate};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Scope;
use super::turns::{Answered, Became, Changes, Turns};
use crate::cloud::attachment::{self, parts};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed};
use crate::queue::Parking;

/// How often a port is read anew that somebody else changed under way.
const TRIES: usize = 4;
/// Neutron's fault where somebody did (412).
const CHANGED: &str = "RevisionNumberConstraintFailed";
/// Neutron's fault for more pairs than a port may have (`max_allowed_address_pair`).
const EXHAUSTED: &str = "AllowedAddressPairExhausted";
/// So many ports are asked for at once: their ids are in the URL, and servers take 4 KiB of it.
const PIECE: usize = 50;

pub(super) struct Addresses {
    neutron: Neutron,
    parents: Turns<Pairs>,
    /// The networks of nodes' ports, which never change.
    networks: Mutex<HashMap<String, String>>,
}

/// What it is, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    parent: String,
    port: String,
    /// Whether the Pod sends with the MAC address of its port, else with its node's.
    #[serde(default)]
    mac: bool,
}

/// What a Pod sends from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sender {
    /// `None`: the node's.
    mac: Option<String>,
    addresses: Vec<String>,
}

impl Sender {
    fn of(port: &Port, mac: bool) -> Self {
        let all: BTreeSet<&str> = port.fixed_ips.iter().map(|ip| ip.ip_address.as_str()).collect();
        let addresses = all.into_iter().map(str::to_owned).collect();
        Self { mac: mac.then(|| port.mac_address.to_lowercase()), addresses }
    }

    /// Whether a pair of this port is one of its.
    fn has(&self, parent: &Port, pair: &AllowedAddressPair) -> bool {
        let mac = self.mac.as_deref().unwrap_or(&parent.mac_address);
        let same = pair.mac_address.as_deref().unwrap_or(&parent.mac_address).eq_ignore_ascii_case(mac);
        same && self.addresses.contains(&pair.ip_address)
    }

    /// Its addresses that the port may not send from yet. Where nothing is filtered it may send from all.
    fn missing<'a>(&'a self, parent: &'a Port) -> impl Iterator<Item = &'a String> {
        let filters = parent.port_security_enabled != Some(false);
        let pairs = || parent.allowed_address_pairs.iter();
        let is_there = move |ip: &str| pairs().any(|pair| pair.ip_address == ip && self.has(parent, pair));
        self.addresses.iter().filter(move |ip| filters && !is_there(ip))
    }

    /// Adds what is missing.
    fn put_on(&self, parent: &mut Port) {
        let pair = |ip: &String| AllowedAddressPair {
            ip_address: ip.clone(),
            mac_address: Some(self.mac.clone().unwrap_or_else(|| parent.mac_address.clone())),
        };
        let missing: Vec<_> = self.missing(parent).map(pair).collect();
        parent.allowed_address_pairs.extend(missing);
    }
}

/// All that there is to know of one: the port of the node, the Pod's, and what the Pod sends from.
fn id(parent: &str, port: &str, sender: &Sender) -> String {
    let (mac, addresses) = (sender.mac.as_deref().unwrap_or_default(), sender.addresses.join(","));
    attachment::id(parent, &attachment::id(port, &attachment::id(mac, &addresses)))
}

/// As [`id`] wrote it.
fn told(id: &str) -> (&str, &str, Sender) {
    let (parent, rest) = parts(id);
    let (port, rest) = parts(rest);
    let (mac, addresses) = parts(rest);
    let mac = (!mac.is_empty()).then(|| mac.to_owned());
    let addresses = addresses.split(',').filter(|ip| !ip.is_empty()).map(str::to_owned).collect();
    (parent, port, Sender { mac, addresses })
}

fn observed(id: &str, mark: Option<Mark>) -> Observed {
    let (parent, port, sender) = told(id);
    let fields = Fields { parent: parent.into(), port: port.into(), mac: sender.mac.is_some() };
    let (whole, part) = parts(id);
    Observed { mark, ..attachment::observed(Kind::AllowedAddresses, (whole, part), &fields) }
}

/// Those of these that are there, whole: what lacks one address is made again.
fn there(ids: &[&str], parents: &[Port]) -> Vec<Observed> {
    let parents: HashMap<&str, &Port> = parents.iter().map(|port| (port.id.as_str(), port)).collect();
    let is_there = |id: &&&str| {
        let (parent, _, sender) = told(id);
        parents.get(parent).is_some_and(|parent| sender.missing(parent).next().is_none())
    };
    ids.iter().filter(is_there).map(|id| observed(id, None)).collect()
}

impl Addresses {
    pub(super) fn new(scope: &Scope, parking: &Parking) -> Self {
        let neutron = scope.neutron.clone();
        let parents = Turns::new(Pairs(Box::new(neutron.clone())), parking.clone());
        Self { neutron, parents, networks: Mutex::default() }
    }

    async fn network_of(&self, parent: &str) -> Result<String> {
        if let Some(known) = self.networks.lock().get(parent) {
            return Ok(known.clone());
        }
        let found: Port = self.neutron.get(parent).await?;
        self.networks.lock().insert(parent.to_owned(), found.network_id.clone());
        Ok(found.network_id)
    }
}

impl Driver for Addresses {
    /// Nothing tells whose a pair is: see [`Driver::recorded`].
    fn list<'a>(&'a self, _tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn recorded<'a>(&'a self, ids: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let parents: BTreeSet<&str> = ids.iter().map(|id| told(id).0).collect();
            let parents: Vec<(&str, &str)> = parents.into_iter().map(|id| ("id", id)).collect();
            let mut found: Vec<Port> = Vec::new();
            for piece in parents.chunks(PIECE) {
                found.extend(self.neutron.list::<Port>(piece).await?);
            }
            Ok(there(ids, &found))
        }
        .boxed()
    }

    fn ahead<'a>(&'a self, create: &'a Create<'a>) -> BoxFuture<'a, Result<Option<String>>> {
        async move {
            let Fields { parent, port, mac } = typed(create.entry, create.fields.clone())?;
            let (found, network): (Port, String) = (self.neutron.get(&port).await?, self.network_of(&parent).await?);
            if found.network_id != network {
                return Err(CloudError::Field {
                    kind: Kind::Port,
                    name: create.entry.name.clone(),
                    message: format!(
                        "port {port} is not on the network of port {parent}, its node's, beside which it is to be"
                    ),
                });
            }
            Ok(Some(id(&parent, &port, &Sender::of(&found, mac))))
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let id = match &create.ahead {
                Some(id) => id.clone(),
                None => self.ahead(&create).await?.unwrap_or_default(),
            };
            let (parent, _, sender) = told(&id);
            self.parents.put(parent, sender).await.map_err(|error| full(error, parent))?;
            Ok(observed(&id, Some(create.mark)))
        }
        .boxed()
    }

    /// There is nothing that can change.
    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move { Err(CloudError::Unsupported(update.entry.kind)) }.boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let found = self.recorded(&[&old.id]).await?.pop();
            Ok(found.map(|found| Observed { mark: old.mark.clone(), ..found }))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (parent, _, sender) = told(id);
            self.parents.take(parent, sender).await
        }
        .boxed()
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

/// What a service does with ports.
trait Calls: Send + Sync {
    fn get<'a>(&'a self, port: &'a str) -> BoxFuture<'a, Answered<Port>>;
    /// Refused where the port is of another revision by now.
    fn update<'a>(
        &'a self,
        port: &'a str,
        body: &'a PortUpdate,
        revision: Option<u64>,
    ) -> BoxFuture<'a, Answered<Port>>;
}

impl Calls for Neutron {
    fn get<'a>(&'a self, port: &'a str) -> BoxFuture<'a, Answered<Port>> {
        Self::get(self, port).boxed()
    }
    fn update<'a>(
        &'a self,
        port: &'a str,
        body: &'a PortUpdate,
        revision: Option<u64>,
    ) -> BoxFuture<'a, Answered<Port>> {
        Self::update(self, port, body, revision).boxed()
    }
}

/// The pairs of ports, changed by those who read them last.
struct Pairs(Box<dyn Calls>);

impl Changes for Pairs {
    const WHOLE: &'static str = "the addresses of port";
    type Part = Sender;
    type Put = ();

    fn put<'a>(
        &'a self,
        parent: &'a str,
        senders: &'a BTreeSet<Sender>,
    ) -> BoxFuture<'a, Answered<Became<Self>>> {
        async move {
            self.change(parent, |found| senders.iter().for_each(|sender| sender.put_on(found))).await?;
            Ok(senders.iter().map(|sender| (sender.clone(), ())).collect::<BTreeMap<_, _>>())
        }
        .boxed()
    }

    fn take<'a>(&'a self, parent: &'a str, senders: &'a BTreeSet<Sender>) -> BoxFuture<'a, Answered<()>> {
        async move {
            let taken = self.change(parent, |found| {
                let mut left = std::mem::take(&mut found.allowed_address_pairs);
                left.retain(|pair| !senders.iter().any(|sender| sender.has(found, pair)));
                found.allowed_address_pairs = left;
            });
            match taken.await {
                Err(error) if error.class == RetryClass::NotFound => Ok(()),
                answer => answer,
            }
        }
        .boxed()
    }
}

impl Pairs {
    /// Changes the pairs of a port, unless somebody else does so meanwhile: then what they made of it is changed.
    async fn change(&self, parent: &str, changed: impl Fn(&mut Port)) -> Answered<()> {
        let mut tries = 0;
        loop {
            let found = self.0.get(parent).await?;
            let mut wanted = found.clone();
            changed(&mut wanted);
            if wanted.allowed_address_pairs == found.allowed_address_pairs {
                return Ok(());
            }
            tries += 1;
            let pairs = Some(wanted.allowed_address_pairs);
            let body = PortUpdate { allowed_address_pairs: pairs, ..PortUpdate::default() };
            match self.0.update(parent, &body, found.revision_number).await {
                Err(error) if error.fault() == Some(CHANGED) && tries < TRIES => {}
                answer => return answer.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use isthmus_openstack::ErrorKind;
    use isthmus_openstack::neutron::FixedIp;

    use super::*;

    const NODE: &str = "02:00:00:00:00:99";

    fn port(id: &str, mac: &str, addresses: &[&str]) -> Port {
        let ip = |ip: &&str| FixedIp { ip_address: (*ip).into(), ..FixedIp::default() };
        Port {
            id: id.into(),
            mac_address: mac.into(),
            fixed_ips: addresses.iter().map(ip).collect(),
            ..Port::default()
        }
    }

    fn node(pairs: &[(&str, &str)]) -> Port {
        let pair = |(ip, mac): &(&str, &str)| AllowedAddressPair {
            ip_address: (*ip).into(),
            mac_address: Some((*mac).into()),
        };
        Port { allowed_address_pairs: pairs.iter().map(pair).collect(), ..port("node", NODE, &["10.0.0.2"]) }
    }

    fn pod(mac: &str) -> Port {
        port("pod", mac, &["10.0.0.5", "fd00::5"])
    }

    fn is_there(parent: &Port, sender: &Sender) -> bool {
        let id = id("node", "pod", sender);
        !there(&[&id], std::slice::from_ref(parent)).is_empty()
    }

    #[test]
    fn what_is_put_on_is_there_until_one_address_goes() {
        for mac in [true, false] {
            let sender = Sender::of(&pod("02:00:00:00:00:0A"), mac);
            let mut parent = node(&[("10.0.0.77", "02:00:00:00:00:77")]);
            assert!(!is_there(&parent, &sender));
            sender.put_on(&mut parent);
            assert_eq!(parent.allowed_address_pairs.len(), 3, "what was there stays");
            assert!(is_there(&parent, &sender));
            let once = parent.clone();
            sender.put_on(&mut parent);
            assert_eq!(parent, once, "what is there is not put there again");
            parent.allowed_address_pairs.retain(|pair| pair.ip_address != "fd00::5");
            assert!(!is_there(&parent, &sender));
        }
    }

    /// A Pod that comes after another at the same address sends with another MAC address; and the other's pair is not its.
    #[test]
    fn a_pair_is_told_by_its_mac_address_too() {
        let (old, new) = (pod("02:00:00:00:00:01"), pod("02:00:00:00:00:02"));
        let (old, new) = (Sender::of(&old, true), Sender::of(&new, true));
        let mut parent = node(&[]);
        old.put_on(&mut parent);
        assert!(!is_there(&parent, &new));
        new.put_on(&mut parent);
        assert!(is_there(&parent, &new) && parent.allowed_address_pairs.len() == 4);
        let of_new = parent.allowed_address_pairs.iter().filter(|pair| new.has(&parent, pair)).count();
        assert_eq!(of_new, 2);
        // One of the node's own MAC address is neither's.
        let alone = Sender::of(&pod("02:00:00:00:00:01"), false);
        assert!(!is_there(&parent, &alone));
    }

    #[test]
    fn an_id_has_all_of_it() {
        for mac in [true, false] {
            let sender = Sender::of(&pod("02:00:00:00:00:0a"), mac);
            let id = id("node", "pod", &sender);
            assert_eq!(told(&id), ("node", "pod", sender));
            let found = observed(&id, None);
            assert_eq!((&*found.id, &found.fields["mac"]), (&*id, &serde_json::json!(mac)));
            assert_eq!((&found.fields["parent"], &found.fields["port"]), (&"node".into(), &"pod".into()));
        }
    }

    /// A node's port that somebody else gives a pair before each of the next `raced` writes, and the writes that came.
    struct Service {
        port: Mutex<Port>,
        raced: Mutex<usize>,
        writes: Mutex<usize>,
    }

    impl Calls for Arc<Service> {
        fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Answered<Port>> {
            async { Ok(self.port.lock().clone()) }.boxed()
        }

        fn update<'a>(
            &'a self,
            _: &'a str,
            body: &'a PortUpdate,
            revision: Option<u64>,
        ) -> BoxFuture<'a, Answered<Port>> {
            async move {
                *self.writes.lock() += 1;
                let (mut port, mut raced) = (self.port.lock(), self.raced.lock());
                if *raced > 0 {
                    *raced -= 1;
                    port.allowed_address_pairs
                        .extend(node(&[(&format!("10.0.1.{raced}"), NODE)]).allowed_address_pairs);
                    port.revision_number = port.revision_number.map(|number| number + 1);
                }
                if revision != port.revision_number {
                    let (class, kind) = (RetryClass::Conflict, ErrorKind::Status);
                    let mut error = isthmus_openstack::Error { class, kind, context: Box::default() };
                    error.context.fault = Some(CHANGED.into());
                    return Err(error);
                }
                port.allowed_address_pairs = body.allowed_address_pairs.clone().unwrap_or_default();
                port.revision_number = port.revision_number.map(|number| number + 1);
                Ok(port.clone())
            }
            .boxed()
        }
    }

    /// Without the guard of the revision one of two would write the other's pair away.
    #[tokio::test]
    async fn what_somebody_else_adds_meanwhile_stays() {
        let sender = Sender::of(&pod("02:00:00:00:00:01"), true);
        for raced in [0, 1, TRIES - 1] {
            let service = Arc::new(Service {
                port: Mutex::new(Port { revision_number: Some(7), ..node(&[]) }),
                raced: Mutex::new(raced),
                writes: Mutex::default(),
            });
            let pairs = Pairs(Box::new(service.clone()));
            let both = BTreeSet::from([sender.clone()]);
            pairs.put("node", &both).await.unwrap();
            assert_eq!(
                (*service.writes.lock(), service.port.lock().allowed_address_pairs.len()),
                (raced + 1, raced + 2)
            );
            assert!(is_there(&service.port.lock(), &sender));
            pairs.put("node", &both).await.unwrap();
            assert_eq!(*service.writes.lock(), raced + 1, "what is there is not written");
            *service.raced.lock() = raced;
            pairs.take("node", &both).await.unwrap();
            assert_eq!(service.port.lock().allowed_address_pairs.len(), 2 * raced, "theirs alone are left");
        }
        let service = Arc::new(Service {
            port: Mutex::new(Port { revision_number: Some(7), ..node(&[]) }),
            raced: Mutex::new(TRIES),
            writes: Mutex::default(),
        });
        let error =
            Pairs(Box::new(service.clone())).put("node", &BTreeSet::from([sender])).await.unwrap_err();
        assert_eq!(
            (error.fault(), *service.writes.lock()),
            (Some(CHANGED), TRIES),
            "it is tried again later"
        );
    }

    /// Neutron refuses pairs there, and lets everything through.
    #[test]
    fn a_node_that_is_not_filtered_needs_nothing() {
        let sender = Sender::of(&pod("02:00:00:00:00:01"), true);
        let mut parent = Port { port_security_enabled: Some(false), ..node(&[]) };
        sender.put_on(&mut parent);
        assert!(parent.allowed_address_pairs.is_empty() && is_there(&parent, &sender));
    }
}
