//! DELETE of an object and of a collection.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Api, Call, ListReply, Reply, Target, options_kind, time};
use crate::kubernetes::builtin;
use crate::kubernetes::registry::Behaviour;
use crate::kubernetes::selector::Selector;
use crate::kubernetes::status::{Cause, Status};
use crate::kubernetes::store::{Object, meta, set};

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) grace: Option<i64>,
    pub(super) propagation: Option<String>,
    pub(super) orphan: Option<bool>,
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
    pub(super) dry_run: bool,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Self, Status> {
        let body: Value = match call.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(call.body)
                .map_err(|e| Status::bad_request(format!("DeleteOptions cannot be read: {e}")))?,
        };
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let query = |name: &str| Some(call.parameter(name).to_owned()).filter(|v| !v.is_empty());
        let mut options = Self {
            grace: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation: text(body.get("propagationPolicy")),
            orphan: body.get("orphanDependents").and_then(Value::as_bool),
            uid: text(body.pointer("/preconditions/uid")),
            version: text(body.pointer("/preconditions/resourceVersion")),
            dry_run: body.get("dryRun").and_then(Value::as_array).is_some_and(|d| !d.is_empty()),
        };
        if body.is_null() {
            options.grace = query("gracePeriodSeconds").and_then(|v| v.parse().ok());
            options.propagation = query("propagationPolicy");
            options.orphan = query("orphanDependents").map(|v| v == "true");
        }
        options.dry_run |= call.dry_run()?;
        if let Some(policy) = &options.propagation {
            let among = ["Foreground", "Background", "Orphan"];
            if !among.contains(&&**policy) {
                let value = Value::from(policy.as_str());
                let cause = Cause::not_supported(
                    "propagationPolicy",
                    &value,
                    &["Foreground", "Background", "Orphan", "nil"],
                );
                return Err(Status::invalid(&options_kind("DeleteOptions"), "", &[cause]));
            }
            if options.orphan.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                let cause = Cause::invalid("propagationPolicy", &Value::from(policy.as_str()), why);
                return Err(Status::invalid(&options_kind("DeleteOptions"), "", &[cause]));
            }
        }
        Ok(options)
    }

    fn foreground(&self) -> bool {
        self.propagation.as_deref() == Some("Foreground")
    }
}

/// What a deletion came to.
pub(super) enum Outcome {
    Gone(Arc<Object>),
    /// It waits for finalizers or grace.
    Left(Arc<Object>),
}

impl Api {
    pub(super) fn delete(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        let options = Options::parse(call)?;
        let object = self.find(target)?;
        let outcome = self.delete_one(target, &object, &options, call.now)?;
        let waits = matches!(outcome, Outcome::Left(_));
        let accepted = waits && (options.orphan == Some(false) || options.foreground());
        match outcome {
            Outcome::Gone(object) if !returns_object(target) => {
                let body = Status::deleted(&target.resource.group_resource(), &target.name, object.uid());
                Ok(Reply::Json(200, body))
            }
            Outcome::Gone(object) | Outcome::Left(object) => {
                Ok(self.shown(if accepted { 202 } else { 200 }, target, object))
            }
        }
    }

    pub(super) fn delete_collection(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        if target.resource.behaviour == Behaviour::Namespace {
            return Err(Status::method_not_allowed());
        }
        let options = Options::parse(call)?;
        let selector = Selector::parse(
            &target.resource,
            call.parameter("labelSelector"),
            call.parameter("fieldSelector"),
        )?;
        let table = target.resource.table();
        let all: Vec<_> = self.store.existing(&table).map_or_else(Vec::new, |stored| {
            stored.range(&target.namespace, None).filter(|o| selector.matches(&o.value)).cloned().collect()
        });
        let version = self.store.version();
        let mut items = Vec::new();
        for object in all {
            self.delete_one(target, &object, &options, call.now)?;
            // as it was before
            items.push(object);
        }
        Ok(Reply::List(ListReply {
            resource: target.resource.clone(),
            items,
            version,
            next: None,
            remaining: None,
        }))
    }

    pub(super) fn delete_one(
        &mut self,
        target: &Target,
        object: &Arc<Object>,
        options: &Options,
        now: Timestamp,
    ) -> Result<Outcome, Status> {
        check_preconditions(target, object, options)?;
        let mut value = object.value.clone();
        match target.resource.behaviour {
            Behaviour::Namespace => mark_namespace(&mut value, now),
            Behaviour::Crd if !object.is_deleting() => {
                builtin::terminate(&mut value, time(now).as_str().unwrap_or_default());
            }
            Behaviour::Pod => {
                match mark_pod(&mut value, object, options, now) {
                    Grace::Unchanged => return Ok(Outcome::Left(object.clone())),
                    Grace::Over => {}
                    Grace::Until(seconds) => {
                        set_finalizers(&mut value, options);
                        let held = meta(&value, "finalizers")
                            .and_then(Value::as_array)
                            .is_some_and(|f| !f.is_empty());
                        let kept = self.keep(target, object, value, options);
                        return Ok(match kept {
                            // It was told of as going, and goes.
                            Outcome::Left(last) if seconds == 0 && !held => self.end(target, last, options),
                            kept => kept,
                        });
                    }
                }
            }
            _ => {}
        }
        set_finalizers(&mut value, options);
        let finalizers = meta(&value, "finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
        let own = target.resource.behaviour == Behaviour::Namespace
            && value.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
        if finalizers || own {
            if !object.is_deleting() && !own {
                set(&mut value, "deletionTimestamp", time(now));
                if let Some(generation) = meta(&value, "generation").and_then(Value::as_u64) {
                    set(&mut value, "generation", json!(generation + 1));
                }
            }
            if !own && meta(&value, "deletionTimestamp").is_some() {
                set(&mut value, "deletionGracePeriodSeconds", json!(0));
            }
            return Ok(self.keep(target, object, value, options));
        }
        Ok(self.end(target, object.clone(), options))
    }

    fn end(&mut self, target: &Target, object: Arc<Object>, options: &Options) -> Outcome {
        if options.dry_run {
            return Outcome::Gone(object);
        }
        let gone = self.take_away(target.resource.clone(), &target.resource.table(), &object.key());
        Outcome::Gone(gone.unwrap_or(object))
    }

    /// Stores an object that is marked as deleted, unless it was so already.
    fn keep(&mut self, target: &Target, before: &Arc<Object>, value: Value, options: &Options) -> Outcome {
        if value == before.value {
            return Outcome::Left(before.clone());
        }
        if options.dry_run {
            return Outcome::Left(Arc::new(Object::unstored(value)));
        }
        Outcome::Left(self.store.put(&target.resource.table(), value))
    }
}

/// Whether the answer to the deletion of these is the object.
fn returns_object(target: &Target) -> bool {
    use Behaviour as B;
    matches!(target.resource.behaviour, B::Pod | B::Service | B::Namespace | B::ServiceAccount)
}

fn check_preconditions(target: &Target, object: &Object, options: &Options) -> Result<(), Status> {
    let conflict = |what: &str, precondition: &str, record: &str, hint: &str| {
        let why = format!(
            "the {what} in the precondition ({precondition}) does not match the {what} in record ({record}). The object might have been {hint}"
        );
        let mut kind = target.resource.group_kind();
        if target.resource.behaviour == Behaviour::NewEvent {
            kind.group = String::new();
        }
        Err(Status::conflict(&kind, &target.name, &why))
    };
    match (&options.uid, &options.version) {
        (Some(uid), _) if uid != object.uid() => {
            conflict("UID", uid, object.uid(), "deleted and then recreated")
        }
        (_, Some(version)) if version != object.text("resourceVersion") => {
            conflict("ResourceVersion", version, object.text("resourceVersion"), "modified")
        }
        _ => Ok(()),
    }
}

fn set_finalizers(value: &mut Value, options: &Options) {
    let list = meta(value, "finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let orphan = match (&options.propagation, options.orphan) {
        (Some(policy), _) => policy == "Orphan",
        (None, orphan) => orphan.unwrap_or(false),
    };
    // Who says nothing leaves the finalizers as they are.
    if options.propagation.is_none() && options.orphan.is_none() {
        return;
    }
    let mut wanted: Vec<Value> =
        list.into_iter().filter(|f| !matches!(f.as_str(), Some("orphan" | "foregroundDeletion"))).collect();
    if orphan {
        wanted.push("orphan".into());
    } else if options.foreground() {
        wanted.push("foregroundDeletion".into());
    }
    set(value, "finalizers", if wanted.is_empty() { Value::Null } else { wanted.into() });
}

fn mark_namespace(value: &mut Value, now: Timestamp) {
    if meta(value, "deletionTimestamp").is_none() {
        set(value, "deletionTimestamp", time(now));
    }
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("phase".to_owned(), "Terminating".into());
    }
}

/// How long a Pod has.
enum Grace {
    /// As long as before.
    Unchanged,
    /// It was none already.
    Over,
    /// Newly, or less than before; in seconds.
    Until(i64),
}

/// Marks a Pod as going when its node has ended it.
fn mark_pod(value: &mut Value, object: &Object, options: &Options, now: Timestamp) -> Grace {
    let current = object.meta("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    let wanted = options.grace.map(|g| if g < 0 { 1 } else { g });
    if object.is_deleting() {
        if current == 0 {
            return Grace::Over;
        }
        let Some(period) = wanted.filter(|p| *p < current) else { return Grace::Unchanged };
        let at = object.text("deletionTimestamp").parse::<Timestamp>().unwrap_or(now);
        let moved = at.saturating_add(SignedDuration::from_secs(period - current)).unwrap_or(now);
        let (at, period) = match moved < now {
            true => (now, if period == 0 { 0 } else { 1 }),
            false => (moved, period),
        };
        set(value, "deletionTimestamp", time(at));
        set(value, "deletionGracePeriodSeconds", json!(period));
        return Grace::Until(period);
    }
    let text = |path: &str| object.value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let own = object.value.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let mut period = wanted.or(own).unwrap_or_default();
    if period < 0 {
        period = 1;
    }
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Failed" | "Succeeded") {
        period = 0;
    }
    let at = now.saturating_add(SignedDuration::from_secs(period)).unwrap_or(now);
    set(value, "deletionTimestamp", time(at));
    set(value, "deletionGracePeriodSeconds", json!(period));
    if let Some(generation) = object.meta("generation").and_then(Value::as_u64) {
        set(value, "generation", json!(generation + 1));
    }
    Grace::Until(period)
}
