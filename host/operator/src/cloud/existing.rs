//! Look-ups of what is not ours, by id or by unique name: cached, and one call at a time, so that a hundred Pods on one
//! network cost one question.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use isthmus_model::mark::Mark;
use isthmus_model::observed::Target;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{
    AddressGroup, FloatingIp, Network, Port, Router, SecurityGroup, Subnet, SubnetPool, Trunk,
};
use isthmus_openstack::octavia::{Listener, LoadBalancer, Pool, Resource};
use isthmus_openstack::{Neutron, Octavia};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Result;

/// How long a look-up is believed. What refers to a resource that is gone gets a 404 from the service before that.
const FRESH: Duration = Duration::from_secs(300);
/// How long a look-up that found nothing is believed.
const MISSING: Duration = Duration::from_secs(5);
/// How long a service that gave no answer is not asked the same again: those who wait for it share its error.
const FAILED: Duration = Duration::from_secs(1);
/// So many answers are kept at most: what is looked up, users of namespaces may choose.
const MOST: usize = 10_000;

/// What a look-up found.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// One resource.
    Found(Arc<Found>),
    /// None, or several: what to tell people.
    Not(String),
}

/// A resource that is not ours.
#[derive(Clone, Debug)]
pub struct Found {
    /// What others refer to of it.
    pub target: Target,
    /// Gateway, of a subnet.
    pub gateway: Option<IpAddr>,
    /// MTU in bytes, of a network.
    pub mtu: Option<u32>,
    /// Whether Isthmus made it, of a port.
    pub made: bool,
}

/// How the port of a virtual machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// By id or name.
    Port(String),
    /// By what its instance is reached at.
    Addresses(Vec<String>),
}

impl Parent {
    fn told(&self) -> String {
        match self {
            Self::Port(text) => format!("id or name {text}"),
            Self::Addresses(addresses) => format!("address {}", addresses.join(" or ")),
        }
    }
}

type Key = (&'static str, String);
/// When it was asked, and what was answered.
type Slot = Arc<Mutex<Option<(Instant, Answer)>>>;
type Answer = Result<Lookup, isthmus_openstack::Error>;

/// The cache.
#[derive(Debug)]
pub struct Existing {
    neutron: Neutron,
    octavia: Option<Octavia>,
    project: Option<String>,
    /// One lock a key: those who ask the same wait for one answer.
    known: parking_lot::Mutex<HashMap<Key, Slot>>,
}

impl Existing {
    pub(super) fn new(neutron: Neutron, octavia: Option<Octavia>, project: Option<String>) -> Self {
        Self { neutron, octavia, project, known: parking_lot::Mutex::default() }
    }

    /// What a field of this name refers to by `text`, an id or a name.
    ///
    /// # Errors
    /// The service's. That there is none, or that there are several, is [`Lookup::Not`].
    pub async fn of_field(&self, field: &str, text: &str) -> Result<Lookup> {
        match field {
            "network" => self.find::<_, Network>(&self.neutron, text).await,
            "subnet" | "subnets" => self.find::<_, Subnet>(&self.neutron, text).await,
            "security_groups" | "group" | "vip_security_groups" => {
                self.find::<_, SecurityGroup>(&self.neutron, text).await
            }
            "port" => Ok(match self.find::<_, Port>(&self.neutron, text).await? {
                // Names of ports that Isthmus makes can be guessed: one's own load balancer would answer at another one's Pod.
                Lookup::Found(port) if port.made => Lookup::Not(format!(
                    "port {} was made by Isthmus for one object, and is no other's to use",
                    port.target.id
                )),
                found => found,
            }),
            "router" => self.find::<_, Router>(&self.neutron, text).await,
            "subnet_pool" => self.find::<_, SubnetPool>(&self.neutron, text).await,
            "addresses" => self.find::<_, AddressGroup>(&self.neutron, text).await,
            "floating_ip" if !is_uuid(text) && text.parse::<IpAddr>().is_err() => {
                Ok(Lookup::Not(format!("{text:?} is neither the id nor the address of a floating IP")))
            }
            "floating_ip" => self.find::<_, FloatingIp>(&self.neutron, text).await,
            "load_balancer" | "vip" => self.balancing::<LoadBalancer>(text).await,
            "listener" => self.balancing::<Listener>(text).await,
            "pool" | "default_pool" => self.balancing::<Pool>(text).await,
            other => Ok(Lookup::Not(format!(
                "field {other:?} refers to an existing resource, which this version looks up for networks, subnets, subnet pools, routers, ports, security groups, address groups, floating IPs, load balancers, listeners and pools"
            ))),
        }
    }

    /// A subnet by id.
    ///
    /// # Errors
    /// As [`Self::of_field`].
    pub async fn subnet(&self, id: &str) -> Result<Lookup> {
        self.find::<_, Subnet>(&self.neutron, id).await
    }

    /// A network by id.
    ///
    /// # Errors
    /// As [`Self::of_field`].
    pub async fn network(&self, id: &str) -> Result<Lookup> {
        self.find::<_, Network>(&self.neutron, id).await
    }

    /// The trunk of the virtual machine whose port this is, or has one of these addresses.
    ///
    /// # Errors
    /// As [`Self::of_field`].
    pub async fn trunk(&self, of: &Parent) -> Result<Lookup> {
        Ok(self.cached((Trunk::PATH, of.told()), self.ask_trunk(of)).await?)
    }

    /// The port of the virtual machine that is told so.
    ///
    /// # Errors
    /// As [`Self::of_field`].
    pub async fn port_of(&self, of: &Parent) -> Result<Lookup> {
        Ok(self.cached(("parents", of.told()), self.ask_port_of(of)).await?)
    }

    async fn ask_port_of(&self, of: &Parent) -> Answer {
        let parents = match self.ask_parents(of).await? {
            Ok(parents) => parents,
            Err(not) => return Ok(not),
        };
        Ok(match parents.as_slice() {
            [one] => Lookup::Found(Arc::new(plain(one))),
            many => Lookup::Not(format!("{} ports have {}", many.len(), of.told())),
        })
    }

    /// Ids of the ports that are told so, at least one; else what to tell people.
    async fn ask_parents(
        &self,
        of: &Parent,
    ) -> Result<Result<Vec<String>, Lookup>, isthmus_openstack::Error> {
        let addresses = match of {
            Parent::Port(text) => {
                return Ok(match Box::pin(self.answer::<_, Port>(&self.neutron, text)).await? {
                    Lookup::Found(port) => Ok(vec![port.target.id.clone()]),
                    not => Err(not),
                });
            }
            Parent::Addresses(addresses) => addresses,
        };
        let wanted: Vec<String> = addresses.iter().map(|ip| format!("ip_address={ip}")).collect();
        // Another project may have a machine at the same address.
        let addresses = wanted.iter().map(|ip| ("fixed_ips", ip.as_str()));
        let query: Vec<(&str, &str)> = addresses.chain(self.own_project()).collect();
        let ports: Vec<Port> = self.neutron.list(&query).await?;
        if ports.is_empty() {
            let told = of.told();
            return Ok(Err(Lookup::Not(format!("there is no port with {told} in the operator's project"))));
        }
        Ok(Ok(ports.into_iter().map(|port| port.id).collect()))
    }

    async fn ask_trunk(&self, of: &Parent) -> Answer {
        let parents = match self.ask_parents(of).await? {
            Ok(parents) => parents,
            Err(not) => return Ok(not),
        };
        let told = of.told();
        let ids = parents.iter().map(|id| ("port_id", id.as_str()));
        let query: Vec<(&str, &str)> = ids.chain(self.own_project()).collect();
        let trunks: Vec<Trunk> = self.neutron.list(&query).await?;
        Ok(match trunks.as_slice() {
            [one] => Lookup::Found(Arc::new(plain(&one.id))),
            [] => Lookup::Not(format!(
                "port {} ({told}) is the parent of no trunk of the operator's project: make one (openstack network trunk create --parent-port)",
                parents.join(", ")
            )),
            many => Lookup::Not(format!("{} trunks have parent ports with {told}", many.len())),
        })
    }

    fn own_project(&self) -> Option<(&str, &str)> {
        self.project.as_deref().map(|project| ("project_id", project))
    }

    /// Forgets everything: the service said that something is gone.
    pub fn forget(&self) {
        self.known.lock().clear();
    }

    async fn balancing<R: Known + Resource<In = Octavia>>(&self, text: &str) -> Result<Lookup> {
        match &self.octavia {
            Some(octavia) => self.find::<_, R>(octavia, text).await,
            None => Ok(Lookup::Not("the catalog of this cloud has no load-balancer service".into())),
        }
    }

    async fn find<S: Asked, R: Known + Resource<In = S>>(&self, service: &S, text: &str) -> Result<Lookup> {
        Ok(self.answer::<S, R>(service, text).await?)
    }

    async fn answer<S: Asked, R: Known + Resource<In = S>>(&self, service: &S, text: &str) -> Answer {
        self.cached((R::PATH, text.to_owned()), self.ask::<S, R>(service, text)).await
    }

    /// The answer that is believed, else that of `asked`.
    async fn cached(&self, key: Key, asked: impl Future<Output = Answer>) -> Answer {
        let slot = {
            let mut known = self.known.lock();
            if known.len() >= MOST {
                known.clear();
            }
            known.entry(key).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some((at, answer)) = &*slot {
            let valid = match answer {
                Ok(Lookup::Found(_)) => FRESH,
                Ok(Lookup::Not(_)) => MISSING,
                Err(_) => FAILED,
            };
            if at.elapsed() < valid {
                return answer.clone();
            }
        }
        let answer = asked.await;
        *slot = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Whether it is the operator's project's, or shared with it.
    async fn may_use<R: Known>(&self, found: &R) -> Result<bool, isthmus_openstack::Error> {
        match (&self.project, found.network()) {
            (None, _) => Ok(true),
            (Some(project), _) if found.project() == project || found.shared() => Ok(true),
            (Some(_), None) => Ok(false),
            (Some(_), Some(network)) => {
                let network = Box::pin(self.answer::<_, Network>(&self.neutron, network)).await?;
                Ok(matches!(network, Lookup::Found(_)))
            }
        }
    }

    async fn ask<S: Asked, R: Known + Resource<In = S>>(&self, service: &S, text: &str) -> Answer {
        if is_uuid(text) {
            return match service.one::<R>(text).await {
                Ok(found) if self.may_use(&found).await? => Ok(Lookup::Found(Arc::new(found.found()))),
                // As for one that is not there: a credential may see more than its project may use.
                Ok(_) => Ok(Lookup::Not(format!(
                    "{} {text} is of another project and not shared with the operator's",
                    R::SINGULAR
                ))),
                Err(e) if e.class == RetryClass::NotFound => {
                    Ok(Lookup::Not(format!("there is no {} {text}", R::SINGULAR)))
                }
                Err(e) => Err(e),
            };
        }
        let mut named: Vec<R> = service.named(text).await?;
        // A credential may see every project's: ours go first, then what others share.
        if let Some(project) = &self.project {
            if named.iter().any(|r| r.project() == project) {
                named.retain(|r| r.project() == project);
            } else {
                let mut shared = Vec::new();
                for found in named {
                    if self.may_use(&found).await? {
                        shared.push(found);
                    }
                }
                named = shared;
            }
        }
        Ok(match named.as_slice() {
            [one] => Lookup::Found(Arc::new(one.found())),
            [] => Lookup::Not(format!(
                "there is no {} named {text:?} in the operator's project or shared with it",
                R::SINGULAR
            )),
            many => {
                Lookup::Not(format!("{} {} are named {text:?}: name one by its id", many.len(), R::PLURAL))
            }
        })
    }
}

/// A service that is asked.
trait Asked: Sync {
    fn one<R: Resource<In = Self>>(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<R, isthmus_openstack::Error>> + Send;
    fn named<R: Known + Resource<In = Self>>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Vec<R>, isthmus_openstack::Error>> + Send;
}

impl Asked for Neutron {
    async fn one<R: Resource<In = Self>>(&self, id: &str) -> Result<R, isthmus_openstack::Error> {
        self.get(id).await
    }
    async fn named<R: Known + Resource<In = Self>>(
        &self,
        name: &str,
    ) -> Result<Vec<R>, isthmus_openstack::Error> {
        self.list(&[(R::NAME, name)]).await
    }
}

impl Asked for Octavia {
    async fn one<R: Resource<In = Self>>(&self, id: &str) -> Result<R, isthmus_openstack::Error> {
        self.get(id).await
    }
    async fn named<R: Known + Resource<In = Self>>(
        &self,
        name: &str,
    ) -> Result<Vec<R>, isthmus_openstack::Error> {
        self.list(&[(R::NAME, name)]).await
    }
}

/// What is looked up.
trait Known: Resource {
    /// What it is looked up by where that is no id.
    const NAME: &'static str = "name";

    fn found(&self) -> Found;
    fn project(&self) -> &str;
    /// Whether other projects may use it.
    fn shared(&self) -> bool {
        false
    }
    /// The network that it is shared with, if it is.
    fn network(&self) -> Option<&str> {
        None
    }
}

fn plain(id: &str) -> Found {
    Found { target: Target::of(id), gateway: None, mtu: None, made: false }
}

/// Kinds that are referred to by their id alone; in front those that other projects may be let use.
macro_rules! known_by_id {
    ($($shared:ty),*; $($own:ty),*) => {
        $(impl Known for $shared {
            fn found(&self) -> Found {
                plain(&self.id)
            }
            fn project(&self) -> &str {
                &self.project_id
            }
            fn shared(&self) -> bool {
                self.shared == Some(true)
            }
        })*
        $(impl Known for $own {
            fn found(&self) -> Found {
                plain(&self.id)
            }
            fn project(&self) -> &str {
                &self.project_id
            }
        })*
    };
}
known_by_id!(AddressGroup, SecurityGroup, SubnetPool; Listener, Pool, Router);

impl Known for Network {
    fn found(&self) -> Found {
        Found { mtu: self.mtu, ..plain(&self.id) }
    }
    fn project(&self) -> &str {
        &self.project_id
    }
    fn shared(&self) -> bool {
        self.shared == Some(true) || self.external == Some(true)
    }
}

impl Known for Subnet {
    fn found(&self) -> Found {
        let target = Target { cidr: Some(self.cidr.clone()), ..Target::of(&self.id) };
        Found { target, gateway: self.gateway_ip.as_deref().and_then(|g| g.parse().ok()), ..plain(&self.id) }
    }
    fn project(&self) -> &str {
        &self.project_id
    }
    fn network(&self) -> Option<&str> {
        Some(&self.network_id)
    }
}

impl Known for Port {
    fn found(&self) -> Found {
        let addresses = self.fixed_ips.iter().filter_map(|ip| ip.ip_address.parse().ok()).collect();
        let made = Mark::of(&self.description, &self.tags).is_some();
        Found { target: Target { addresses, ..Target::of(&self.id) }, made, ..plain(&self.id) }
    }
    fn project(&self) -> &str {
        &self.project_id
    }
}

impl Known for FloatingIp {
    const NAME: &'static str = "floating_ip_address";

    fn found(&self) -> Found {
        let addresses = self.floating_ip_address.parse().into_iter().collect();
        Found { target: Target { addresses, ..Target::of(&self.id) }, ..plain(&self.id) }
    }
    fn project(&self) -> &str {
        &self.project_id
    }
}

impl Known for LoadBalancer {
    fn found(&self) -> Found {
        let addresses = self.vip_address.parse().into_iter().collect();
        let vip_port = Some(self.vip_port_id.clone()).filter(|port| !port.is_empty());
        Found { target: Target { addresses, vip_port, ..Target::of(&self.id) }, ..plain(&self.id) }
    }
    fn project(&self) -> &str {
        &self.project_id
    }
}

/// Neutron's ids: 8-4-4-4-12 hex digits.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|c| c == b'-' || c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    #[test]
    fn tells_ids_from_names() {
        assert!(super::is_uuid("0d1f2f5e-6c54-4a3c-9d0f-0d1f2f5e6c54"));
        assert!(!super::is_uuid("pods") && !super::is_uuid("0d1f2f5e6c544a3c9d0f0d1f2f5e6c54"));
    }
}
