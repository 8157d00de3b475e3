//! Address groups. They have no tags: the mark is in the description alone.

use std::collections::BTreeSet;

use futures::future::{BoxFuture, FutureExt};
use ipnet::IpNet;
use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_model::{address::network, mark::Mark};
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{AddressGroup, AddressGroupCreate, AddressGroupUpdate};
use serde::{Deserialize, Serialize};

use super::standard::{About, Renamed, Resources, Standard};
use super::{Scope, gone, text};
use crate::cloud::{CloudError, Create, Result, Update, cleared, set, typed, untyped};

pub(super) struct AddressGroups;

pub(super) fn driver(scope: Scope) -> Resources<AddressGroups> {
    Resources::new(scope)
}

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
    const TAGGED: bool = false;
    const OPTIONAL: bool = true;

    fn observed(group: AddressGroup) -> Observed {
        Observed {
            kind: Kind::AddressGroup,
            mark: Mark::from_description(&group.description),
            project: text(group.project_id),
            fields: untyped(&Fields { addresses: Some(group.addresses) }),
            tags: BTreeSet::new(),
            display_name: group.name,
            description: Mark::beside(&group.description),
            revision: group.revision_number,
            addresses: Vec::new(),
            cidr: None,
            state: State::Ready,
            created: group.created_at.unwrap_or_default(),
            id: group.id,
        }
    }

    fn creation(create: &Create<'_>, about: About) -> Result<AddressGroupCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        let addresses = networks(&create.entry.name, fields.addresses.unwrap_or_default())?;
        Ok(AddressGroupCreate {
            name: Some(about.name),
            description: Some(about.description),
            project_id: about.project,
            addresses: addresses.iter().map(IpNet::to_string).collect(),
        })
    }

    fn change(_: &Update<'_>, about: Renamed) -> Result<Option<AddressGroupUpdate>> {
        let some = about.is_some();
        Ok(some.then_some(AddressGroupUpdate { name: about.name, description: about.description }))
    }

    fn described(description: String) -> AddressGroupUpdate {
        AddressGroupUpdate { description: Some(description), ..AddressGroupUpdate::default() }
    }

    fn separate<'a>(
        neutron: &'a Neutron,
        update: &'a Update<'_>,
    ) -> BoxFuture<'a, Result<Option<AddressGroup>>> {
        async move {
            let fields: Fields = typed(update.entry, set(update))?;
            let wanted = fields.addresses.or(cleared(update, "addresses").then(Vec::new));
            match wanted {
                Some(addresses) => Ok(Some(set_addresses(neutron, update, addresses).await?)),
                None => Ok(None),
            }
        }
        .boxed()
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

/// What comes is added before what goes is removed: who stays a member is one all the time.
async fn set_addresses(neutron: &Neutron, update: &Update<'_>, wanted: Vec<String>) -> Result<AddressGroup> {
    let id = &update.observed.id;
    let gone = |error| gone(error, AddressGroups::GONE);
    let wanted = networks(&update.entry.name, wanted)?;
    let mut group: AddressGroup = neutron.get(id).await.map_err(gone)?;
    let there: BTreeSet<IpNet> =
        group.addresses.iter().filter_map(|text| network(text)).map(|net| net.trunc()).collect();
    let texts = |nets: Vec<&IpNet>| nets.into_iter().map(IpNet::to_string).collect::<Vec<_>>();
    let (added, removed) =
        (texts(wanted.difference(&there).collect()), texts(there.difference(&wanted).collect()));
    if !added.is_empty() {
        group = neutron.add_addresses(id, &added).await.map_err(gone)?;
    }
    if !removed.is_empty() {
        group = neutron.remove_addresses(id, &removed).await.map_err(gone)?;
    }
    Ok(group)
}
