//! Load balancers themselves. The VIP is best a port of the same mapping: then the address outlives the load balancer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::plan::Below;
use isthmus_model::retained::Retained;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::octavia::{
    AdditionalVipRequest, L7Policy, Listener, LoadBalancer, LoadBalancerCreate, LoadBalancerUpdate, Pool,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::repairs::Repairs;
use super::{Common, Marked, Scope, asked, gone, set, tree};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed, untyped};

/// How long a load balancer may take to go before it is said that it does.
const GOING: Duration = Duration::from_secs(60);

pub(super) struct LoadBalancers(pub(super) Arc<Scope>, pub(super) Repairs);

/// The contract's `load-balancer`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    vip: Option<Vip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vip_security_groups: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_vips: Option<Vec<FixedIp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flavor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_zone: Option<String>,
}

/// Asked for as one or the other; observed as both.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vip {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_ip: Option<FixedIp>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn observed(found: LoadBalancer) -> Observed {
    let first: Option<IpAddr> = found.vip_address.parse().ok();
    let further = found.additional_vips.iter().filter_map(|vip| vip.ip_address.parse().ok());
    let addresses = first.into_iter().chain(further).collect();
    let vip = |subnet: String, address: String| FixedIp { subnet: text(subnet), address: text(address) };
    let fields = Fields {
        vip: Some(Vip {
            port: text(found.vip_port_id),
            fixed_ip: Some(vip(found.vip_subnet_id, found.vip_address)),
        }),
        vip_security_groups: Some(found.vip_sg_ids),
        additional_vips: Some(
            found.additional_vips.into_iter().map(|a| vip(a.subnet_id, a.ip_address)).collect(),
        ),
        provider: asked(&found.tags, "provider").or_else(|| text(found.provider)),
        flavor: asked(&found.tags, "flavor").or(found.flavor_id),
        availability_zone: found.availability_zone,
    };
    let common = Common {
        id: found.id,
        name: found.name,
        description: found.description,
        project_id: found.project_id,
        tags: found.tags,
        provisioning_status: found.provisioning_status,
        created_at: found.created_at,
    };
    Observed { addresses, ..common.observed(Kind::LoadBalancer, untyped(&fields)) }
}

impl LoadBalancers {
    async fn creation(&self, create: &Create<'_>, fields: Fields) -> Result<LoadBalancerCreate> {
        let (description, tags) = self.0.marking(create.entry).await?.created(create);
        let vip = fields.vip.unwrap_or_default();
        let fixed = vip.fixed_ip.unwrap_or_default();
        let flavor_id = match &fields.flavor {
            Some(flavor) => Some(self.flavor(create, flavor).await?),
            None => None,
        };
        let further = fields.additional_vips.unwrap_or_default().into_iter().map(|ip| AdditionalVipRequest {
            subnet_id: ip.subnet.unwrap_or_default(),
            ip_address: ip.address,
        });
        let further: Vec<_> = further.collect();
        Ok(LoadBalancerCreate {
            name: Some(create.name.clone()),
            description,
            project_id: self.0.project.clone(),
            tags,
            vip_port_id: vip.port,
            vip_subnet_id: fixed.subnet,
            vip_address: fixed.address,
            vip_sg_ids: fields.vip_security_groups.filter(|groups| !groups.is_empty()),
            additional_vips: (!further.is_empty()).then_some(further),
            provider: fields.provider,
            flavor_id,
            availability_zone: fields.availability_zone,
            ..LoadBalancerCreate::default()
        })
    }

    /// Id of a flavor, by id or name.
    async fn flavor(&self, create: &Create<'_>, wanted: &str) -> Result<String> {
        let found = self.0.octavia.flavor(wanted).await?;
        found.map(|flavor| flavor.id).ok_or_else(|| CloudError::Field {
            kind: Kind::LoadBalancer,
            name: create.entry.name.clone(),
            message: format!("flavor: there is none with the id or name {wanted:?}"),
        })
    }

    /// Octavia takes no changes of one in ERROR. It builds another one in its place for who may ask for that; else it goes with
    /// all that is below it, and is made again: its VIP is a port that stays.
    async fn repair(&self, found: LoadBalancer) -> Result<Option<Observed>> {
        let id = found.id.as_str();
        let Some(mark) = found.mark() else {
            return Err(CloudError::Shared { load_balancer: id.into(), part: "by its tags it".into() });
        };
        if let Some(wait) = self.1.wait(&mark) {
            tracing::debug!(id, ?wait, "a load balancer is in ERROR again: its repair waits");
            return Ok(Some(observed(found)));
        }
        // One that came back from it as it was is not asked again.
        if !self.1.was_asked(&mark, id) {
            match self.0.octavia.failover(id).await {
                Ok(()) => {
                    self.1.note(&mark, Some(id));
                    tracing::warn!(id, "a load balancer in ERROR: Octavia replaces what runs it");
                    self.0.lanes.busy(id).await;
                    return Ok(self.0.look::<LoadBalancer>(id).await?.map(|found| self.seen(found)));
                }
                Err(error) if error.class == RetryClass::Forbidden || error.unsupported() => {}
                Err(error) if error.immutable() => return Ok(Some(observed(found))),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(part) = self.stranger(&found, &mark).await? {
            return Err(CloudError::Shared { load_balancer: id.into(), part });
        }
        tracing::warn!(
            id,
            "a load balancer in ERROR: it is deleted with all that is below it, and made again"
        );
        self.0.octavia.delete_cascade(id).await?;
        self.until_gone(id).await?;
        self.1.note(&mark, None);
        Ok(None)
    }

    /// As Octavia shows it. One that is ACTIVE needs no repair any more.
    fn seen(&self, found: LoadBalancer) -> Observed {
        if found.provisioning_status == "ACTIVE"
            && let Some(mark) = found.mark()
        {
            self.1.forget(&mark);
        }
        observed(found)
    }

    /// What below a load balancer is without a mark of its cluster: nobody would make it again.
    async fn stranger(&self, found: &LoadBalancer, mark: &Mark) -> Result<Option<String>> {
        let tag = Mark::cluster_tag(&mark.cluster);
        let listeners: Vec<Listener> = self.0.list(&tag).await?;
        let pools: Vec<Pool> = self.0.list(&tag).await?;
        let policies: Vec<L7Policy> = self.0.list(&tag).await?;
        let ids = listeners.iter().map(|l| &l.id).chain(pools.iter().map(|p| &p.id));
        let ours: HashSet<&str> = ids.chain(policies.iter().map(|p| &p.id)).map(String::as_str).collect();
        let is_ours = |id: &str| ours.contains(id);
        let below = listeners.iter().filter(|listener| found.listeners.contains(&listener.id));
        let on_ours = below.flat_map(|listener| &listener.l7policies);
        Ok(foreign(found, is_ours).or_else(|| {
            on_ours.into_iter().find(|id| !is_ours(id)).map(|id| format!("policy {id} below it"))
        }))
    }

    /// Waits until it is gone, and forgets it with all that was below it.
    async fn until_gone(&self, id: &str) -> Result<()> {
        self.0.parking.park(self.gone(id)).await?;
        self.0.lanes.forget(id);
        self.0.forget_below(id);
        Ok(())
    }

    /// Waits until it is gone: what it used (the VIP's port) can be deleted only then.
    async fn gone(&self, id: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let Some(found) = self.0.look::<LoadBalancer>(id).await? else { return Ok(()) };
            if begun.elapsed() > GOING {
                let part = format!("it is {}, and", found.provisioning_status);
                return Err(CloudError::Busy { load_balancer: id.into(), part });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// The first listener or pool of a load balancer that is not ours.
fn foreign(found: &LoadBalancer, is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let listeners = found.listeners.iter().map(|id| ("listener", id));
    let mut all = listeners.chain(found.pools.iter().map(|id| ("pool", id)));
    all.find(|(_, id)| !is_ours(id)).map(|(kind, id)| format!("{kind} {id} below it"))
}

impl Driver for LoadBalancers {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            Ok(self.0.list::<LoadBalancer>(tag).await?.into_iter().map(|found| self.seen(found)).collect())
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let body = self.creation(&create, fields).await?;
            let made = self.0.octavia.create::<LoadBalancer>(&body).await?;
            // It is PENDING_CREATE: what comes below it waits.
            self.0.lanes.busy(&made.id).await;
            Ok(observed(made))
        }
        .boxed()
    }

    fn create_tree<'a>(
        &'a self,
        root: &'a Create<'a>,
        below: Vec<Create<'a>>,
    ) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let fields: Fields = typed(root.entry, root.fields.clone())?;
            let marking = self.0.marking(root.entry).await?;
            for create in &below {
                self.0.may(create.entry).await?;
            }
            let body = tree::body(self.creation(root, fields).await?, &below, marking)?;
            let made = match self.0.octavia.create::<LoadBalancer>(&body).await {
                Err(error) if error.unsupported() => {
                    tracing::info!(%error, "its provider can't do all of a load balancer: its parts are made one by one");
                    return Ok(None);
                }
                made => made?,
            };
            self.0.lanes.busy(&made.id).await;
            Ok(Some(observed(made)))
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(update.entry, set(&update))?;
            let id = &update.observed.id;
            let (description, tags) = self.0.marking(update.entry).await?.updated(&update, false);
            let body = LoadBalancerUpdate {
                name: update.name.clone(),
                description,
                tags,
                vip_sg_ids: fields.vip_security_groups,
                ..LoadBalancerUpdate::default()
            };
            let change = || async { Ok(self.0.octavia.update::<LoadBalancer>(id, &body).await?) };
            match self.0.lanes.change(id, change).await {
                Ok(changed) => Ok(observed(changed)),
                Err(error) => Err(self.0.failed::<LoadBalancer>(id, error).await),
            }
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let Some(found) = self.0.look::<LoadBalancer>(&old.id).await? else { return Ok(None) };
            if found.provisioning_status == "ERROR" {
                return self.repair(found).await;
            }
            Ok(Some(self.seen(found)))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let delete = || async { Ok(self.0.octavia.delete::<LoadBalancer>(id).await.map(drop)?) };
            self.0.lanes.change(id, delete).await?;
            self.until_gone(id).await
        }
        .boxed()
    }

    /// Somebody else's listener that comes between the look and the call goes too: Octavia has no condition for it.
    fn delete_tree<'a>(&'a self, id: &'a str, below: &'a [Below]) -> BoxFuture<'a, Result<bool>> {
        async move {
            let is_ours = |id: &str| below.iter().any(|part| part.id == id);
            // In its turn: what was deleted before is shown until then.
            let delete = || async {
                let Some(found) = self.0.look::<LoadBalancer>(id).await? else { return Ok(true) };
                if let Some(part) = foreign(&found, is_ours) {
                    tracing::warn!(id, part, "a load balancer that goes is not of its mapping alone");
                    return Ok(false);
                }
                match self.0.octavia.delete_cascade(id).await {
                    Err(error) if error.unsupported() => Ok(false),
                    done => Ok(done.map(|_| true)?),
                }
            };
            let whole = self.0.lanes.change(id, delete).await?;
            if whole {
                self.until_gone(id).await?;
            }
            Ok(whole)
        }
        .boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        async move {
            let (description, tags) = self.0.released(observed, retained).await?;
            let body = LoadBalancerUpdate { description, tags, ..LoadBalancerUpdate::default() };
            let id = &observed.id;
            let change =
                || async { self.0.octavia.update::<LoadBalancer>(id, &body).await.map(drop).map_err(gone) };
            self.0.lanes.change(id, change).await
        }
        .boxed()
    }
}
