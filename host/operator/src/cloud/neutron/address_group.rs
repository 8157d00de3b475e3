//! Address groups. They have no tags: the mark is in the description alone.

use std::collections::BTreeSet;

use ipnet::IpNet;
use isthmus_model::address::network;
use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{AddressGroup, AddressGroupCreate, AddressGroupUpdate};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::standard::{About, Standard, Tags};
use super::{Scope, gone};
use crate::cloud::{CloudError, Create, Result, Update, cleared, set, typed};

pub(super) struct AddressGroups;

/// The contract's `address-group`, with what its sets hold.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<String>>,
}

impl Standard for AddressGroups {
    type Resource = AddressGroup;
    const GONE: &'static [&'static str] = &["AddressGroupNotFound"];
    const TAGS: Tags = Tags::None;
    const OPTIONAL: bool = true;

    fn observed(group: AddressGroup) -> Observed {
        let fields = Fields { addresses: Some(group.addresses) };
        observed!(Kind::AddressGroup, group, &fields, group.name, Vec::new())
    }

    async fn creation(_: &Scope, create: &Create<'_>, about: About) -> Result<AddressGroupCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        let addresses = networks(&create.entry.name, fields.addresses.unwrap_or_default())?;
        Ok(AddressGroupCreate {
            name: about.name,
            description: about.description,
            project_id: about.project,
            addresses: addresses.iter().map(IpNet::to_string).collect(),
        })
    }

    async fn change(_: &Scope, _: &Update<'_>, about: About) -> Result<Option<AddressGroupUpdate>> {
        let body = AddressGroupUpdate { name: about.name, description: about.description };
        Ok((body != AddressGroupUpdate::default()).then_some(body))
    }

    fn described(description: String) -> AddressGroupUpdate {
        AddressGroupUpdate { description: Some(description), ..AddressGroupUpdate::default() }
    }

    async fn separate(scope: &Scope, update: &Update<'_>) -> Result<Option<AddressGroup>> {
        let fields: Fields = typed(update.entry, set(update))?;
        let wanted = fields.addresses.or(cleared(update, "addresses").then(Vec::new));
        match wanted {
            Some(addresses) => Ok(Some(set_addresses(&scope.neutron, update, addresses).await?)),
            None => Ok(None),
        }
    }
}

fn networks(name: &str, texts: Vec<String>) -> Result<BTreeSet<IpNet>> {
    let parsed = texts.into_iter().map(|text| {
        network(&text).map(|net| net.trunc()).ok_or_else(|| CloudError::Field {
            kind: Kind::AddressGroup,
            name: name.to_owned(),
            message: format!("{text:?} of `addresses` is neither an address nor a CIDR"),
        })
    });
    parsed.collect()
}

/// What Neutron says where what was added is there already, or what was removed is not.
const OUTDATED: [&str; 2] = ["AddressesAlreadyExist", "AddressesNotFound"];

/// How often it is looked at anew, while somebody else changes it.
const LOOKS: usize = 3;

/// From what was seen last, as of thousands of addresses one comes or goes at a time: where somebody else changed the group since, an
/// answer says so.
async fn set_addresses(neutron: &Neutron, update: &Update<'_>, wanted: Vec<String>) -> Result<AddressGroup> {
    let id = &update.observed.id;
    let gone = |error| gone(error, AddressGroups::GONE);
    let wanted = networks(&update.entry.name, wanted)?;
    let seen = update.observed.fields.get("addresses").and_then(Json::as_array);
    let mut there = known(seen.into_iter().flatten().filter_map(Json::as_str));
    let mut looks = 0;
    loop {
        let group = match change(neutron, id, &there, &wanted).await {
            Ok(Some(group)) => group,
            Ok(None) => neutron.get(id).await.map_err(gone)?,
            Err(error) if error.fault().is_some_and(|fault| OUTDATED.contains(&fault)) => {
                neutron.get(id).await.map_err(gone)?
            }
            Err(error) => return Err(gone(error)),
        };
        looks += 1;
        there = known(group.addresses.iter().map(String::as_str));
        if there == wanted {
            return Ok(group);
        }
        if looks == LOOKS {
            let (kind, name) = (Kind::AddressGroup, update.entry.name.clone());
            return Err(CloudError::Outdated {
                kind,
                name,
                message: "somebody else changes its addresses".into(),
            });
        }
    }
}

fn known<'t>(texts: impl Iterator<Item = &'t str>) -> BTreeSet<IpNet> {
    texts.filter_map(network).map(|net| net.trunc()).collect()
}

/// What comes is added before what goes is removed: who stays a member is one all the time. `None`: nothing does.
async fn change(
    neutron: &Neutron,
    id: &str,
    there: &BTreeSet<IpNet>,
    wanted: &BTreeSet<IpNet>,
) -> Result<Option<AddressGroup>, isthmus_openstack::Error> {
    let texts = |nets: Vec<&IpNet>| nets.into_iter().map(IpNet::to_string).collect::<Vec<_>>();
    let (added, removed) =
        (texts(wanted.difference(there).collect()), texts(there.difference(wanted).collect()));
    let mut group = None;
    if !added.is_empty() {
        group = Some(neutron.add_addresses(id, &added).await?);
    }
    if !removed.is_empty() {
        group = Some(neutron.remove_addresses(id, &removed).await?);
    }
    Ok(group)
}
