//! L7 policies, with their rules.
//!
//! A policy of several rules is made disabled, and enabled when all of them are there: with only the first of them it would take
//! requests that are not its own.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retained::Retained;
use isthmus_model::value::Value;
use isthmus_openstack::octavia::{L7Policy, L7PolicyCreate, L7PolicyUpdate, L7Rule};
use serde::{Deserialize, Serialize};

use super::below::{Above, Known};
use super::order::{self, Placed};
use super::rules::{self, Rule};
use super::{Below, Common, Lacking, Marking, Scope, asked, set};
use crate::cloud::{Create, Driver, Result, Update, typed, untyped};

pub(super) struct L7Policies {
    scope: Arc<Scope>,
    /// Rules by policy.
    rules: Known<Vec<L7Rule>>,
    /// The precedence of each policy of ours, where it is another one than its tag says: a change of it that moves nothing is
    /// not worth a write. After a restart the tag is all that is known, until the policy's Route is mapped again.
    precedences: parking_lot::Mutex<HashMap<String, String>>,
    /// All policies of a listener of ours in order, by listener: known from the first write on, and until anything is not as thought.
    orders: parking_lot::Mutex<HashMap<String, Vec<Placed>>>,
}

/// The contract's `l7-policy`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precedence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<Rule>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Pool(String),
    RedirectUrl(Redirect),
    RedirectPrefix(Redirect),
    Reject(bool),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redirect {
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl Below for L7Policy {
    fn load_balancer(&self) -> Option<&str> {
        None
    }
    fn listener(&self) -> Option<&str> {
        Some(&self.listener_id)
    }
}

fn action(found: &L7Policy) -> Option<Action> {
    let redirect = |to: &Option<String>| Some(Redirect { to: to.clone()?, code: found.redirect_http_code });
    match found.action.as_str() {
        "REDIRECT_TO_POOL" => found.redirect_pool_id.clone().map(Action::Pool),
        "REDIRECT_TO_URL" => redirect(&found.redirect_url).map(Action::RedirectUrl),
        "REDIRECT_PREFIX" => redirect(&found.redirect_prefix).map(Action::RedirectPrefix),
        "REJECT" => Some(Action::Reject(true)),
        _ => None,
    }
}

/// `precedence`: `None` where another policy of ours that belongs after it comes before it. `rules`: all of them, once they
/// count.
fn observed(found: L7Policy, rules: &[L7Rule], precedence: Option<String>) -> Observed {
    let fields = Fields {
        precedence,
        action: action(&found),
        rules: found.admin_state_up.unwrap_or(true).then(|| rules.iter().map(rules::observed).collect()),
        listener: Some(found.listener_id),
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
    common.observed(Kind::L7Policy, untyped(&fields))
}

/// How an action is written: its name, then pool, URL, prefix and code.
type Written = (&'static str, Option<String>, Option<String>, Option<String>, Option<u16>);

fn written(action: Action) -> Written {
    match action {
        Action::Pool(pool) => ("REDIRECT_TO_POOL", Some(pool), None, None, None),
        Action::RedirectUrl(to) => ("REDIRECT_TO_URL", None, Some(to.to), None, to.code),
        Action::RedirectPrefix(to) => ("REDIRECT_PREFIX", None, None, Some(to.to), to.code),
        Action::Reject(_) => ("REJECT", None, None, None, None),
    }
}

/// As part of a load balancer's creation, with its rules; its precedence, the listener as [`crate::cloud::within`] names it.
pub(super) fn nested(create: &Create<'_>, marking: Marking) -> Result<(String, String, L7PolicyCreate)> {
    let (description, tags) = marking.created(create);
    let fields: Fields = typed(create.entry, create.fields.clone())?;
    let rules = fields.rules.unwrap_or_default().into_iter().map(rules::creation).collect();
    let (name, pool, url, prefix, code) = written(fields.action.unwrap_or(Action::Reject(true)));
    let body = L7PolicyCreate {
        name: Some(create.name.clone()),
        description,
        tags,
        action: name.into(),
        redirect_pool_id: pool,
        redirect_url: url,
        redirect_prefix: prefix,
        redirect_http_code: code,
        rules: Some(rules),
        ..L7PolicyCreate::default()
    };
    Ok((fields.precedence.unwrap_or_default(), fields.listener.unwrap_or_default(), body))
}

/// How many rules an entry has: they are written one by one.
fn rules_of(entry: &Entry) -> usize {
    match entry.fields.get("rules") {
        Some(Value::List(rules)) => rules.len(),
        _ => 0,
    }
}

impl L7Policies {
    pub(super) fn new(scope: Arc<Scope>) -> Self {
        let (rules, precedences, orders) = Default::default();
        Self { scope, rules, precedences, orders }
    }

    /// Rules of a policy: asked for anew where it changed since, as it does with every change of them.
    async fn rules(&self, policy: &L7Policy) -> Result<Vec<L7Rule>> {
        let quiet = policy.provisioning_status == "ACTIVE";
        let above = Above { id: &policy.id, updated_at: &policy.updated_at, quiet };
        let asked = async {
            let mut rules: Vec<L7Rule> = self.scope.octavia.list_in(&policy.id, &[]).await?;
            rules.retain(|r| r.provisioning_status != "PENDING_DELETE" && r.provisioning_status != "DELETED");
            Ok(rules)
        };
        self.rules.of(above, asked).await
    }

    fn precedence(&self, policy: &L7Policy) -> Option<String> {
        self.precedences.lock().get(&policy.id).cloned().or_else(|| asked(&policy.tags, "precedence"))
    }

    /// Where a policy belongs on a listener, from 1; and where it is. To be called by who has the turn on the load balancer.
    async fn position(
        &self,
        listener: &str,
        id: Option<&str>,
        precedence: &str,
    ) -> Result<(u32, Option<u32>)> {
        let known = self.orders.lock().get(listener).cloned();
        let mut all = match known {
            Some(known) => known,
            None => {
                let mut all: Vec<L7Policy> = self.scope.octavia.list(&[("listener_id", listener)]).await?;
                all.sort_by_key(|policy| policy.position);
                let placed: Vec<Placed> =
                    all.into_iter().map(|p| (p.id.clone(), self.precedence(&p))).collect();
                // On a listener of somebody else's, policies come and go without our knowing.
                if self.scope.own_listeners.lock().contains(listener) {
                    self.orders.lock().insert(listener.to_owned(), placed.clone());
                }
                placed
            }
        };
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let current = all.iter().position(|(own, _)| Some(own.as_str()) == id).map(|at| number(at + 1));
        all.retain(|(own, _)| Some(own.as_str()) != id);
        Ok((number(order::position(&all, precedence)), current))
    }

    /// Notes that a policy was put at a position; `None`: that it was deleted, from whatever listener.
    fn placed(&self, listener: Option<&str>, id: &str, place: Option<(u32, &str)>) {
        match place {
            Some((_, precedence)) => {
                drop(self.precedences.lock().insert(id.to_owned(), precedence.to_owned()));
            }
            None => drop(self.precedences.lock().remove(id)),
        }
        let mut orders = self.orders.lock();
        orders.values_mut().for_each(|all| all.retain(|(own, _)| own != id));
        if let (Some(all), Some((position, precedence))) = (listener.and_then(|l| orders.get_mut(l)), place) {
            let at = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX).min(all.len());
            all.insert(at, (id.to_owned(), Some(precedence.to_owned())));
        }
    }

    /// Nothing is known of the order any more.
    fn disordered(&self) {
        self.orders.lock().clear();
    }

    async fn make(&self, create: &Create<'_>) -> Result<Observed> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        let listener = fields.listener.unwrap_or_default();
        let precedence = fields.precedence.unwrap_or_default();
        let (description, tags) = self.scope.marking(create.entry).await?.created(create);
        let owner = self.scope.owner_of_listener(&listener).await?;
        let action = written(fields.action.unwrap_or(Action::Reject(true)));
        let make = || async {
            let (position, _) = self.position(&listener, None, &precedence).await?;
            let (name, pool, url, prefix, code) = action.clone();
            let body = L7PolicyCreate {
                listener_id: Some(listener.clone()),
                name: Some(create.name.clone()),
                description: description.clone(),
                tags: tags.clone(),
                admin_state_up: (rules_of(create.entry) > 1).then_some(false),
                action: name.into(),
                position: Some(position),
                redirect_pool_id: pool,
                redirect_url: url,
                redirect_prefix: prefix,
                redirect_http_code: code,
                ..L7PolicyCreate::default()
            };
            Ok((self.scope.octavia.create::<L7Policy>(&body).await?, position))
        };
        let made = self.scope.lanes.change(&owner, make).await;
        if let Err(error) = &made {
            self.disordered();
            self.scope.learn(&owner, error, Lacking::l7).await;
        }
        let (made, position) = made?;
        self.placed(Some(&listener), &made.id, Some((position, &precedence)));
        self.scope.belongs(&made.id, &owner);
        Ok(observed(made, &[], Some(precedence)))
    }

    async fn apply(&self, update: &Update<'_>, owner: &str) -> Result<Observed> {
        let (scope, id) = (&self.scope, update.observed.id.as_str());
        let mut fields: Fields = typed(update.entry, set(update))?;
        let wanted = fields.rules.take();
        let mut changed = update.observed.clone();
        let meta = update.name.is_some() || update.description.is_some() || update.tags || update.remark;
        if meta || fields.action.is_some() || self.moves(update, &fields).await? {
            changed = self.put(update, owner, &fields).await?;
            changed.fields.extend(kept(update.observed, "rules"));
        } else if let Some(precedence) = fields.precedence {
            changed.fields.insert("precedence".into(), precedence.into());
        }
        if let Some(wanted) = wanted {
            rules::apply(scope, owner, id, wanted).await?;
            // It is off: made so until all its rules are there, or switched off by somebody.
            if !update.observed.fields.contains_key("rules") {
                let body = L7PolicyUpdate { admin_state_up: Some(true), ..L7PolicyUpdate::default() };
                let enable = || async { Ok(scope.octavia.update::<L7Policy>(id, &body).await.map(drop)?) };
                scope.lanes.change(owner, enable).await?;
            }
            changed.state = State::Pending;
            changed.fields.extend(update.fields.get_key_value("rules").map(|(k, v)| (k.clone(), v.clone())));
        }
        Ok(changed)
    }

    /// Whether a change of its precedence asks for another position. Where it does not, it is noted and that is all.
    async fn moves(&self, update: &Update<'_>, fields: &Fields) -> Result<bool> {
        let Some(precedence) = fields.precedence.as_deref() else { return Ok(false) };
        let (listener, id) = (listener_of(update.observed), update.observed.id.as_str());
        let (position, current) = self.position(listener, Some(id), precedence).await?;
        let moves = current != Some(position);
        if !moves {
            self.placed(Some(listener), id, Some((position, precedence)));
        }
        Ok(moves)
    }

    /// Writes what is not a rule.
    async fn put(&self, update: &Update<'_>, owner: &str, fields: &Fields) -> Result<Observed> {
        let (scope, id) = (&self.scope, update.observed.id.as_str());
        let listener = listener_of(update.observed);
        let moved = fields.precedence.as_deref();
        let marking = scope.marking(update.entry).await?;
        let (description, tags) = marking.updated(update, moved.is_some());
        let action = fields.action.clone().map(written);
        let put = || async {
            let position = match moved {
                Some(precedence) => Some(self.position(listener, Some(id), precedence).await?.0),
                None => None,
            };
            let mut body = L7PolicyUpdate {
                name: update.name.clone(),
                description: description.clone(),
                tags: tags.clone(),
                position,
                ..L7PolicyUpdate::default()
            };
            if let Some((name, pool, url, prefix, code)) = action.clone() {
                body.action = Some(name.into());
                body.redirect_pool_id = pool.map(Some);
                body.redirect_url = url.map(Some);
                body.redirect_prefix = prefix.map(Some);
                body.redirect_http_code = code.map(Some);
            }
            Ok((scope.octavia.update::<L7Policy>(id, &body).await?, position))
        };
        let (found, position) = scope.lanes.change(owner, put).await.inspect_err(|_| self.disordered())?;
        if let (Some(position), Some(precedence)) = (position, moved) {
            self.placed(Some(listener), id, Some((position, precedence)));
        }
        let precedence = self.precedence(&found);
        let mut changed = observed(found, &[], precedence);
        changed.fields.remove("rules");
        Ok(changed)
    }
}

fn listener_of(observed: &Observed) -> &str {
    observed.fields.get("listener").and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// A field of what was observed, as it was.
fn kept(observed: &Observed, field: &str) -> Option<(String, serde_json::Value)> {
    observed.fields.get_key_value(field).map(|(k, v)| (k.clone(), v.clone()))
}

impl Driver for L7Policies {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            // Somebody else may have moved or deleted any since.
            self.disordered();
            let mut found = self.scope.list::<L7Policy>(tag).await?;
            found.sort_by_key(|policy| policy.position);
            let mut by_listener: HashMap<&str, Vec<Placed>> = HashMap::new();
            for policy in &found {
                let placed = (policy.id.clone(), self.precedence(policy));
                by_listener.entry(&policy.listener_id).or_default().push(placed);
            }
            let wrong: Vec<String> =
                by_listener.values().flat_map(|all| order::misplaced(all)).map(Into::into).collect();
            let mut all = Vec::new();
            for policy in found {
                let rules = match self.rules(&policy).await {
                    Ok(rules) => rules,
                    // It went while the list was made.
                    Err(error) if error.class() == isthmus_model::retry::RetryClass::NotFound => continue,
                    Err(error) => return Err(error),
                };
                let precedence = self.precedence(&policy).filter(|_| !wrong.contains(&policy.id));
                all.push(observed(policy, &rules, precedence));
            }
            Ok(all)
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move { self.make(&create).await }.boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let id = &update.observed.id;
            let owner = self.scope.owner::<L7Policy>(id).await?;
            let applied = self.apply(&update, &owner).await;
            self.rules.wrote(id);
            match applied {
                Ok(changed) => Ok(changed),
                Err(error) => Err(self.scope.failed::<L7Policy>(id, error).await),
            }
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let Some(found) = self.scope.look::<L7Policy>(&old.id).await? else { return Ok(None) };
            let rules = self.rules(&found).await?;
            let precedence = self.precedence(&found).filter(|_| old.fields.contains_key("precedence"));
            Ok(Some(observed(found, &rules, precedence)))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.scope.delete::<L7Policy>(id).await.inspect_err(|_| self.disordered())?;
            self.placed(None, id, None);
            self.rules.forget(id);
            Ok(())
        }
        .boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        async move {
            let (description, tags) = self.scope.released(observed, retained).await?;
            let body = L7PolicyUpdate { description, tags, ..L7PolicyUpdate::default() };
            self.scope.retain::<L7Policy>(&observed.id, &body).await
        }
        .boxed()
    }
}
