//! A load balancer with all below it, as one body (<https://docs.openstack.org/api-ref/load-balancer/v2/#create-a-load-balancer>).
//!
//! Ids are not known yet: a pool is named, by the name that it gets in the cloud, and a policy stands in its listener.

use std::collections::BTreeMap;

use isthmus_model::kinds::Kind;
use isthmus_openstack::octavia::{
    L7PolicyCreate, ListenerCreate, LoadBalancerCreate, PoolCreate, PoolOrName,
};

use super::{Marking, l7_policy, listener, pool};
use crate::cloud::{CloudError, Create, Result, named_within};

/// The load balancer's body with what is below it, listeners before their policies.
pub(super) fn body(
    root: LoadBalancerCreate,
    below: &[Create<'_>],
    marking: Marking,
) -> Result<LoadBalancerCreate> {
    let of_kind = |kind: Kind| below.iter().filter(move |create| create.entry.kind == kind);
    let pools: BTreeMap<&str, PoolCreate> = of_kind(Kind::Pool)
        .map(|create| Ok((create.entry.name.as_str(), named(create, marking)?)))
        .collect::<Result<_>>()?;
    let mut policies: BTreeMap<String, Vec<(String, L7PolicyCreate)>> = BTreeMap::new();
    for create in of_kind(Kind::L7Policy) {
        let (precedence, listener, mut body) = l7_policy::nested(create, marking)?;
        (body.redirect_pool_id, body.redirect_pool) = pool_of(body.redirect_pool_id, &pools);
        policies.entry(listener).or_default().push((precedence, body));
    }
    let mut listeners = Vec::new();
    for create in of_kind(Kind::Listener) {
        let mut body: ListenerCreate = listener::nested(create, marking)?;
        (body.default_pool_id, body.default_pool) = pool_of(body.default_pool_id, &pools);
        let mut own = policies.remove(&crate::cloud::within(&create.entry.name)).unwrap_or_default();
        // Octavia numbers them as they come.
        own.sort_by(|(a, _), (b, _)| a.cmp(b));
        body.l7policies = (!own.is_empty()).then(|| own.into_iter().map(|(_, policy)| policy).collect());
        listeners.push(body);
    }
    let pools: Vec<PoolCreate> = pools.into_values().collect();
    Ok(LoadBalancerCreate {
        listeners: (!listeners.is_empty()).then_some(listeners),
        pools: (!pools.is_empty()).then_some(pools),
        ..root
    })
}

/// A pool, which needs a name of its own to be referred to: what a module calls two of them may be one.
fn named(create: &Create<'_>, marking: Marking) -> Result<PoolCreate> {
    let body = pool::nested(create, marking)?;
    match body.name.as_deref() {
        Some("") | None => Err(CloudError::Field {
            kind: Kind::Pool,
            name: create.entry.name.clone(),
            message: "a pool that is made with its load balancer needs a name".into(),
        }),
        Some(_) => Ok(body),
    }
}

/// A pool as the id of one that is there, or by the name of one that is made too.
fn pool_of(id: Option<String>, pools: &BTreeMap<&str, PoolCreate>) -> (Option<String>, Option<PoolOrName>) {
    let made = id.as_deref().and_then(named_within).and_then(|name| pools.get(name));
    match made.and_then(|pool| pool.name.clone()) {
        Some(name) => (None, Some(PoolOrName::Name { name })),
        None => (id, None),
    }
}
