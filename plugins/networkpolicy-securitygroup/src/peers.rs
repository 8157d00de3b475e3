//! The other end of rules: address groups, and what needs none.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::Remote;
use isthmus_sdk::records::values::{AddressSet, IpVersion, NamedPort, Selection};

use crate::policy::{Peers, Pods};
use crate::selector::Selector;

pub(crate) const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];
/// Neutron's extensions for a set of addresses that a rule names.
const EXTENSIONS: [&str; 2] = ["address-group", "security-groups-remote-address-group"];

/// What of [`EXTENSIONS`] the cloud lacks.
pub(crate) fn lacking(extensions: &[String]) -> Vec<&'static str> {
    EXTENSIONS.into_iter().filter(|alias| !extensions.iter().any(|found| found == alias)).collect()
}

/// The address groups of one policy. Each is named after what it is for, its peers: so that no rule ever allows, even for the time
/// between two writes, what another rule was meant to.
pub(crate) struct AddressGroups {
    available: bool,
    made: BTreeMap<String, AddressGroup>,
}

impl AddressGroups {
    /// `available`: whether the cloud has address groups.
    pub(crate) fn new(available: bool) -> Self {
        Self { available, made: BTreeMap::new() }
    }

    /// The entries of the list.
    pub(crate) fn entries(self) -> impl Iterator<Item = Desired> {
        self.made.into_iter().map(|(name, group)| group.named(&name))
    }

    /// What rules have as their other end to speak of these peers.
    pub(crate) fn remotes(&mut self, peers: &Peers) -> Vec<(IpVersion, Remote)> {
        match peers {
            Peers::Everybody => VERSIONS.map(|version| (version, Remote::Any)).into(),
            Peers::These { pods, blocks } => {
                let sets = pods.iter().map(|pods| selection(pods).into()).collect();
                self.these(sets, blocks)
            }
        }
    }

    /// The peers that have this port. An address outside of the cluster has no names of ports.
    pub(crate) fn with_port(&mut self, peers: &Peers, port: &NamedPort) -> Vec<(IpVersion, Remote)> {
        let sets = peers.pods().iter().map(|pods| selection(pods).named_port(port.clone()).into());
        self.these(sets.collect(), &[])
    }

    fn these(&mut self, pods: Vec<AddressSet>, blocks: &[IpNet]) -> Vec<(IpVersion, Remote)> {
        let mut remotes = Vec::new();
        let mut grouped = Vec::new();
        for version in VERSIONS {
            let of_version = blocks.iter().filter(|block| version_of(block) == version);
            let of_version: Vec<&IpNet> = of_version.collect();
            match of_version.as_slice() {
                // A rule says it best without a set, and there is no need to ask whether a set may hold such a prefix.
                blocks if blocks.iter().any(|block| block.prefix_len() == 0) => {
                    remotes.push((version, Remote::Any));
                }
                [] if pods.is_empty() => {}
                blocks if pods.is_empty() && (blocks.len() == 1 || !self.available) => {
                    remotes.extend(blocks.iter().map(|block| (version, Remote::Cidr(block.to_string()))));
                }
                blocks => grouped.push((version, blocks.iter().map(ToString::to_string).collect::<Vec<_>>())),
            }
        }
        if !grouped.is_empty() {
            let literals = grouped.iter().flat_map(|(_, blocks)| blocks).cloned().map(AddressSet::Literal);
            let name = self.group(pods.into_iter().chain(literals).collect());
            remotes.extend(grouped.iter().map(|(version, _)| (*version, Remote::Addresses(local(&name)))));
        }
        remotes
    }

    /// What rules have as their other end to speak of addresses of Services. Their group is named after what they are opened for, so
    /// that a Service that comes or goes is one write to it.
    pub(crate) fn services(
        &mut self,
        purpose: &str,
        peers: &Peers,
        blocks: &BTreeSet<IpNet>,
    ) -> Vec<(IpVersion, Remote)> {
        let versions =
            VERSIONS.into_iter().filter(|version| blocks.iter().any(|b| version_of(b) == *version));
        if !self.available {
            return blocks.iter().map(|block| (version_of(block), Remote::Cidr(block.to_string()))).collect();
        }
        let peers: String = match peers {
            Peers::Everybody => "everybody\n".into(),
            Peers::These { pods, .. } => pods.iter().map(|pods| line(&selection(pods).into())).collect(),
        };
        let addresses = blocks.iter().map(|block| AddressSet::Literal(block.to_string())).collect();
        let name = format!("services-{:016x}", fnv(&format!("{peers}{purpose}")));
        let name = self.add(name, AddressGroup { addresses });
        versions.map(|version| (version, Remote::Addresses(local(&name)))).collect()
    }

    /// The name of the group that holds this.
    fn group(&mut self, addresses: Vec<AddressSet>) -> String {
        let group = AddressGroup { addresses };
        let text: String = group.addresses.iter().map(line).collect();
        self.add(format!("peers-{:016x}", fnv(&text)), group)
    }

    fn add(&mut self, name: String, group: AddressGroup) -> String {
        // Two texts of one hash: whoever makes such a policy hurts nobody, and gets what it says.
        let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
        let free = |name: &String| self.made.get(name).is_none_or(|made| *made == group);
        let name = names.into_iter().find(free).unwrap_or(name);
        self.made.insert(name.clone(), group);
        name
    }
}

/// Namespaces that selectors choose, as a policy of one of them sees it: each selector is asked for once.
pub(crate) struct Namespaces<'a> {
    own: &'a str,
    found: BTreeMap<Selector, BTreeSet<String>>,
}

impl<'a> Namespaces<'a> {
    /// As the policies of this namespace see it.
    pub(crate) fn seen_from(own: &'a str) -> Self {
        Self { own, found: BTreeMap::new() }
    }

    /// The policy's.
    pub(crate) fn own(&self) -> &'a str {
        self.own
    }

    /// Whether these Pods may be in this namespace.
    pub(crate) fn hold(&mut self, pods: &Pods, namespace: &str) -> bool {
        let selector = match &pods.namespaces {
            None => return namespace == self.own,
            Some(selector) if selector.selects_all() => return true,
            Some(selector) => selector,
        };
        if let Some(found) = self.found.get(selector) {
            return found.contains(namespace);
        }
        let texts = snapshot::list(&Kind::core("Namespace"), None, &selector.to_string());
        let found: BTreeSet<String> =
            parse_others::<Namespace<'_>>(&texts).map(|found| found.metadata.name.into()).collect();
        let holds = found.contains(namespace);
        self.found.insert(selector.clone(), found);
        holds
    }
}

fn selection(pods: &Pods) -> Selection {
    let selection = Selection::new(Kind::core("Pod"), &pods.selector.to_string());
    match &pods.namespaces {
        Some(namespaces) => selection.namespaces(namespaces.to_string()),
        None => selection,
    }
}

pub(crate) fn version_of(block: &IpNet) -> IpVersion {
    match block {
        IpNet::V4(_) => IpVersion::V4,
        IpNet::V6(_) => IpVersion::V6,
    }
}

/// The text that a group is named after. None of its parts can hold a line's end or a quote.
fn line(set: &AddressSet) -> String {
    match set {
        AddressSet::AddressesOf(of) => {
            let place = of.namespaces.as_ref().map_or("own".into(), |selector| format!("in '{selector}'"));
            let port = of.named_port.as_ref();
            let port = port.map(|port| format!(" with {} {} {}", port.protocol, port.name, port.port));
            format!("pods {place} '{}'{}\n", of.selector, port.unwrap_or_default())
        }
        AddressSet::Literal(text) => format!("cidr {text}\n"),
        // this module makes no others
        other => format!("{other:?}\n"),
    }
}

/// FNV-1a of 64 bits: the same on every machine and in every version of this module.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
