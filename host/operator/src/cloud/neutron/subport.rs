//! Ports on the trunk of a node that is a virtual machine: a part of a trunk that is somebody else's, added and removed by value.
//!
//! It has no mark of its own: whose it is, the mark of its port says; what is no port of ours is never touched.

use std::collections::HashMap;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{Port, SubPort, Trunk};
use serde::{Deserialize, Serialize};

use super::port::Ports;
use super::standard::Standard;
use super::trunks::Trunks;
use super::{Scope, has};
use crate::cloud::attachment::{self, parts};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed};
use crate::queue::Parking;

pub(super) struct Subports {
    scope: Scope,
    trunks: Trunks,
}

/// What a subport is, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    trunk: String,
    port: String,
    /// VLAN id, as it is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation_id: Option<u16>,
}

fn observed(trunk: &str, port: &str, segmentation_id: u16, mark: Option<Mark>) -> Observed {
    let fields = Fields { trunk: trunk.into(), port: port.into(), segmentation_id: Some(segmentation_id) };
    Observed { mark, ..attachment::observed(Kind::TrunkSubport, (trunk, port), &fields) }
}

/// What of the trunks is ours, by the marks of the ports.
fn ours(trunks: &[Trunk], marks: &HashMap<String, Mark>) -> Vec<Observed> {
    let on = trunks.iter().flat_map(|trunk| trunk.sub_ports.iter().map(move |sub| (trunk, sub)));
    let of = |(trunk, sub): (&Trunk, &SubPort)| {
        let mark = marks.get(&sub.port_id)?.clone();
        Some(observed(&trunk.id, &sub.port_id, sub.segmentation_id, Some(mark)))
    };
    on.filter_map(of).collect()
}

impl Subports {
    pub(super) fn new(scope: &Scope, parking: &Parking) -> Self {
        Self { scope: scope.clone(), trunks: Trunks::new(Box::new(scope.neutron.clone()), parking.clone()) }
    }
}

impl Driver for Subports {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let trunks: Vec<Trunk> = match self.scope.neutron.list(&self.scope.query(&[])).await {
                // The cloud has none.
                Err(error) if error.class == RetryClass::NotFound => Vec::new(),
                answer => answer?,
            };
            if trunks.iter().all(|trunk| trunk.sub_ports.is_empty()) {
                return Ok(Vec::new());
            }
            // Whoever owns a port by now: Neutron writes that after it has put the port on the trunk.
            let ports: Vec<Port> = self.scope.neutron.list(&self.scope.query(Ports::AMONG)).await?;
            let ports = ports.into_iter().map(Ports::observed).filter(|port| has(port, tag));
            let marks = ports.filter_map(|port| Some((port.id, port.mark?))).collect();
            Ok(ours(&trunks, &marks))
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let Fields { trunk, port, .. } = typed(create.entry, create.fields.clone())?;
            let segmentation_id = self.trunks.put(&trunk, &port).await?;
            Ok(observed(&trunk, &port, segmentation_id, Some(create.mark)))
        }
        .boxed()
    }

    /// There is nothing that can change.
    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move { Err(CloudError::Unsupported(update.entry.kind)) }.boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let (trunk, port) = parts(&old.id);
            let found: Trunk = match self.scope.neutron.get(trunk).await {
                Err(error) if error.class == RetryClass::NotFound => return Ok(None),
                answer => answer?,
            };
            let held = found.sub_ports.iter().find(|sub| sub.port_id == port);
            Ok(held.map(|held| observed(trunk, port, held.segmentation_id, old.mark.clone())))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (trunk, port) = parts(id);
            self.trunks.take(trunk, port).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_of_ours_are_seen() {
        let sub = |port: &str, id| SubPort {
            port_id: port.into(),
            segmentation_type: "vlan".into(),
            segmentation_id: id,
        };
        let trunk =
            Trunk { id: "t".into(), sub_ports: vec![sub("theirs", 1), sub("ours", 2)], ..Trunk::default() };
        let mark = Mark { cluster: "c".into(), subject: "s".into(), name: "port".into() };
        let found = ours(&[trunk], &HashMap::from([("ours".to_owned(), mark)]));
        let ids: Vec<&str> = found.iter().map(|o| o.id.as_str()).collect();
        assert_eq!(ids, ["t/ours"]);
        assert_eq!(found[0].fields["segmentation_id"], 2);
        assert_eq!(parts(&found[0].id), ("t", "ours"));
    }
}
