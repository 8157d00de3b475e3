//! What the cloud says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::address::is_automatic;
use crate::kinds::Kind;
use crate::mark::Mark;
use crate::retained::Retained;

/// One resource as the cloud has it, with the fields named and shaped as in the contract, references as ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Whose it is, if it carries a whole mark.
    pub mark: Option<Mark>,
    /// Of which cluster it was, where it was let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<Retained>,
    /// Owner project.
    pub project: Option<String>,
    /// Its fields.
    pub fields: BTreeMap<String, Json>,
    /// Its tags without those of the mark.
    pub tags: BTreeSet<String>,
    /// Name in the cloud.
    pub display_name: String,
    /// Description in the cloud.
    pub description: String,
    /// Revision, where the cloud counts them.
    pub revision: Option<u64>,
    /// Addresses it holds.
    pub addresses: Vec<IpAddr>,
    /// Its range, of a subnet.
    pub cidr: Option<String>,
    /// State in the terms of the contract.
    pub state: State,
    /// When it was made, as the cloud writes it (sorts by time).
    pub created: String,
}

/// State of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Being made or changed.
    #[default]
    Pending,
    /// As desired.
    Ready,
    /// The cloud says that it failed.
    Failed,
}

/// What others refer to of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub id: String,
    /// Addresses it holds.
    pub addresses: Vec<IpAddr>,
    /// Its range, of a subnet.
    pub cidr: Option<String>,
    /// The port of its VIP, of a load balancer.
    pub vip_port: Option<String>,
}

impl Target {
    /// One of which nothing is known but its id.
    pub fn of(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

impl Observed {
    /// One of which nothing is known but its kind and id: nobody's, and ready.
    pub fn of(kind: Kind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
            mark: None,
            retained: None,
            project: None,
            fields: BTreeMap::new(),
            tags: BTreeSet::new(),
            display_name: String::new(),
            description: String::new(),
            revision: None,
            addresses: Vec::new(),
            cidr: None,
            state: State::Ready,
            created: String::new(),
        }
    }

    /// What others refer to of it.
    pub fn target(&self) -> Target {
        let (id, addresses, cidr) = (self.id.clone(), self.addresses.clone(), self.cidr.clone());
        Target { id, addresses, cidr, vip_port: self.vip_port() }
    }

    /// Whether it has this address by itself: Neutron gives a port one of every SLAAC subnet, asked for or not.
    pub fn gives_itself(&self, fixed_ip: &Json) -> bool {
        let text = |value: Option<&Json>| value.and_then(Json::as_str).map(str::to_owned);
        let (address, mac) = (text(fixed_ip.get("address")), text(self.fields.get("mac_address")));
        address.zip(mac).is_some_and(|(address, mac)| is_automatic(&address, &mac))
    }

    fn vip_port(&self) -> Option<String> {
        let vip = self.fields.get("vip").filter(|_| self.kind == Kind::LoadBalancer)?;
        Some(vip.get("port")?.as_str()?.to_owned())
    }
}
