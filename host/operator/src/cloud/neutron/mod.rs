//! Neutron's kinds.
//!
//! A resource carries its mark in its description and in its tags. In the description, because that is there from the call that
//! creates it on, on every cloud; in the tags, for who looks with the openstack client. Neutron can't filter by a description: all
//! of a kind in our project are listed, and chosen by their mark.

/// What is observed of a resource with Neutron's standard attributes: no addresses, no prefix, ready.
macro_rules! observed {
    ($kind:expr, $resource:ident, $fields:expr) => {
        observed!($kind, $resource, $fields, $resource.name, $resource.tags)
    };
    ($kind:expr, $resource:ident, $fields:expr, $name:expr, $tags:expr) => {{
        let (name, tags): (String, Vec<String>) = ($name, $tags);
        isthmus_model::observed::Observed {
            kind: $kind,
            mark: isthmus_model::mark::Mark::of(&$resource.description, &tags),
            retained: isthmus_model::retained::Retained::of(&$resource.description, &tags),
            project: super::text($resource.project_id),
            fields: crate::cloud::untyped($fields),
            tags: isthmus_model::mark::Mark::others(tags.iter().map(String::as_str)),
            display_name: name,
            description: crate::cloud::beside(&$resource.description),
            revision: $resource.revision_number,
            addresses: Vec::new(),
            cidr: None,
            state: isthmus_model::observed::State::Ready,
            created: $resource.created_at.unwrap_or_default(),
            id: $resource.id,
        }
    }};
}

mod address_group;
mod allowed_addresses;
mod association;
mod floating_ip;
mod network;
mod port;
mod router_interface;
mod security_group;
mod standard;
mod subnet;
mod subport;
mod trunks;
mod turns;

use std::collections::BTreeSet;

use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retained::Retained;
use isthmus_openstack::Neutron;

use super::{CloudError, Driver};
use crate::queue::Parking;
use standard::Resources;

/// A driver for each kind that this version makes in Neutron.
pub(super) fn drivers(
    neutron: Neutron,
    project: Option<String>,
    parking: &Parking,
) -> Vec<(Kind, Box<dyn Driver>)> {
    let scope = Scope { neutron, project };
    vec![
        (Kind::Network, Resources::<network::Networks>::boxed(&scope)),
        (Kind::Subnet, Resources::<subnet::Subnets>::boxed(&scope)),
        (Kind::RouterInterface, Resources::<router_interface::RouterInterfaces>::boxed(&scope)),
        (Kind::SecurityGroup, Resources::<security_group::SecurityGroups>::boxed(&scope)),
        (Kind::AddressGroup, Resources::<address_group::AddressGroups>::boxed(&scope)),
        (Kind::FloatingIp, Resources::<floating_ip::FloatingIps>::boxed(&scope)),
        (Kind::FloatingIpAssociation, Box::new(association::Associations(scope.clone()))),
        (Kind::Port, Resources::<port::Ports>::boxed(&scope)),
        (Kind::TrunkSubport, Box::new(subport::Subports::new(&scope, parking))),
        (Kind::AllowedAddresses, Box::new(allowed_addresses::Addresses::new(&scope, parking))),
    ]
}

/// What every driver needs.
#[derive(Clone, Debug)]
struct Scope {
    neutron: Neutron,
    project: Option<String>,
}

impl Scope {
    /// A query for what is ours: as a credential may see other projects' resources, by project too.
    fn query<'a>(&'a self, ours: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let project = self.project.as_deref().map(|p| ("project_id", p));
        ours.iter().copied().chain(project).collect()
    }

    /// The project that an entry is made in.
    fn project_of(&self, entry: &Entry) -> Option<String> {
        entry.project.clone().or_else(|| self.project.clone())
    }
}

/// Whether a resource carries the tags of a query, with commas in between.
fn has(observed: &Observed, tag: &str) -> bool {
    let marked = observed.mark.iter().flat_map(Mark::tags);
    let tags: Vec<String> = marked.chain(observed.retained.iter().flat_map(Retained::tags)).collect();
    tag.split(',').all(|wanted| tags.iter().any(|own| own == wanted))
}

/// The tags of a resource of ours: its mark and the module's.
fn tags(mark: &Mark, entry: &Entry) -> Vec<String> {
    let all: BTreeSet<String> = mark.tags().into_iter().chain(entry.tags.iter().cloned()).collect();
    all.into_iter().collect()
}

/// The text, unless it says nothing.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Neutron answers 404 for what a body names, too: only these faults say that the resource itself is gone.
fn gone(error: isthmus_openstack::Error, faults: &[&str]) -> CloudError {
    match error.fault() {
        Some(fault) if fault == "TagResourceNotFound" || faults.contains(&fault) => CloudError::Gone(error),
        _ => CloudError::Service(error),
    }
}
