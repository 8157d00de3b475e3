//! What a subject says about its mapping: the module's `report`, called with what came to be, and written where it differs.

use std::net::IpAddr;
use std::sync::Arc;

use isthmus_kubernetes::ErrorKind;
use isthmus_kubernetes::crd::{ResourceState, ResourceStatus};
use isthmus_kubernetes::report::{Said, SharedList};
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::condition::{ATTACHED, Condition, REPORTED};
use isthmus_model::hash;
use isthmus_model::kinds::Kind;
use isthmus_model::object::Subject;
use isthmus_model::observed::Observed;
use isthmus_model::outcome::Outcome;
use isthmus_model::retry::RetryClass;
use isthmus_model::value::Reference;
use isthmus_policy::{Operation, Property, Realized, RealizedState, SubjectReport, short_digest};
use serde_json::Value;

use crate::certificates::Problem;
use crate::error::ReconcileError;
use crate::mapped::{Mapping, call_of};
use crate::metrics::Call;
use crate::modules::Lane;
use crate::refs;
use crate::session::Session;
use crate::settle::undated;

/// Fields of what was observed that modules are shown, and their names in the contract.
const PROPERTIES: [(&str, &str); 2] = [("mac_address", "mac-address"), ("provider", "provider")];

/// The field of what was observed that says what Octavia sees of the members of a pool.
const OPERATING: &str = "operating_status";

/// Whether a pool has members, and none of them answers yet: nobody tells us when one does.
pub(crate) fn awaits_members(pool: &Observed) -> bool {
    let has_members = pool.fields.get("members").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let operating = pool.fields.get(OPERATING).and_then(Value::as_str);
    has_members && operating.is_some_and(|status| !["ONLINE", "DEGRADED", "NO_MONITOR"].contains(&status))
}

impl Session {
    /// Lets the subject say what its module makes of what came to be.
    pub(crate) async fn report(
        &self,
        subject: &Arc<Subject>,
        stored: &Stored,
        mapping: &Mapping,
        snapshot: StoreSnapshot,
    ) -> Result<(), ReconcileError> {
        let pipelines = self.pipelines.load_full();
        let Some(Lane::Serving(serving)) = pipelines.lane(&subject.key) else { return Ok(()) };
        if !serving.pipeline.mapper().module.manifest().reports {
            return Ok(());
        }
        let realized = self.realized(subject);
        if self.memos.was_told(&subject.uid, &realized) {
            return Ok(());
        }
        let (run, text, outcome) = (serving.clone(), stored.text.clone(), mapping.outcome.clone());
        let view = Arc::new(snapshot);
        let (seen, told) = (view.clone(), realized.clone());
        let span = call_of(&subject.key);
        let call = move || run.pipeline.report(&text, outcome.as_ref(), &told, seen);
        let called = tokio::task::spawn_blocking(move || span.in_scope(call));
        let reported = match called.await {
            Ok(reported) => reported,
            Err(error) => {
                tracing::error!(subject = %subject.key, %error, "the call of the module's report did not end");
                return Ok(());
            }
        };
        self.deps.lock().add(subject, &reported.reads);
        self.look_for_changes(subject, &reported.reads, &view);
        let mapper = serving.pipeline.mapper();
        let (module, digest) = (mapper.name.to_string(), short_digest(mapper.module.digest()).into());
        let result = match &reported.result {
            Ok(_) => "reported".into(),
            Err(error) => error.reason().into(),
        };
        let operation = Operation::Report.name();
        self.metrics.calls.get_or_create(&Call { module, digest, operation, result }).inc();
        match reported.result {
            Ok(report) => {
                if self.say(subject, stored, report).await? {
                    self.memos.told(&subject.uid, realized);
                }
                Ok(())
            }
            Err(error) => {
                // What was made is not touched by it: what the subject says stays as it is.
                tracing::warn!(subject = %subject.key, %error, "the module's report failed");
                Ok(())
            }
        }
    }

    /// Answers whether the subject says it. It is looked at again where it changed since: somebody may have taken away what it said.
    pub(crate) async fn say(
        &self,
        subject: &Arc<Subject>,
        stored: &Stored,
        report: Option<SubjectReport>,
    ) -> Result<bool, ReconcileError> {
        let mut said = match said(report) {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(subject = %subject.key, %error, "what the module reports can't be said");
                return Ok(false);
            }
        };
        let digest = hash::of(&(&said.status, &said.annotations, &*stored.text));
        if self.progress.lock().get(&subject.uid).is_some_and(|p| p.said.as_deref() == Some(&digest)) {
            return Ok(true);
        }
        // Nothing is said any more: what was shared then is still others', too.
        if said.status.is_none() {
            said.shared =
                self.progress.lock().get(&subject.uid).map(|p| p.shared.clone()).unwrap_or_default();
        }
        match self.reports.say(subject, &said).await {
            Ok(()) => {
                {
                    let mut all = self.progress.lock();
                    let progress = all.entry(subject.uid.clone()).or_default();
                    (progress.said, progress.shared) = (Some(digest.into()), said.shared);
                }
                self.reported(subject, None).await.map(|()| true)
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            // All of it is in the cloud, and works: that its subject can't say so is not worth doing it over for. Every
            // reconcile tries again, a resync's too.
            Err(error) if matches!(error.class, RetryClass::Forbidden | RetryClass::Invalid) => {
                tracing::warn!(subject = %subject.key, %error, "the subject can't say what its module reports");
                self.reported(subject, Some(ReconcileError::from(error))).await.map(|()| false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down that the subject can't say it, or can again.
    async fn reported(
        &self,
        subject: &Subject,
        refused: Option<ReconcileError>,
    ) -> Result<(), ReconcileError> {
        let Some(known) = self.records.lock().get(subject) else { return Ok(()) };
        let before = &known.status.conditions;
        let condition = match refused {
            Some(error) => Condition::no(REPORTED, error.reason(), error.told()),
            None if before.iter().any(|c| c.type_ == REPORTED) => {
                Condition::yes(REPORTED, "Written", "the subject says what its module reports")
            }
            None => return Ok(()),
        };
        let kept = before.iter().filter(|c| ![REPORTED, ATTACHED].contains(&&*c.type_));
        let conditions = kept.map(undated).chain([condition]).collect();
        self.patch_conditions(subject, &known, conditions).await
    }

    /// What came to be of each entry.
    fn realized(&self, subject: &Subject) -> Vec<Realized> {
        let Some(known) = self.records.lock().get(subject) else { return Vec::new() };
        let observed = self.inventory.lock().heads(&subject.uid);
        let resources = known.status.resources.iter();
        let of = |resource: &ResourceStatus| {
            let mut found = realized(resource, resource.id.as_ref().and_then(|id| observed.get(id)));
            found.properties.extend(self.reached_at(subject, resource));
            found
        };
        let mut all: Vec<Realized> = resources.map(of).collect();
        let problems = self.sources.problems(subject);
        all.retain(|entry| !problems.contains_key(&entry.name));
        all.extend(problems.into_iter().map(|(name, problem)| unusable(name, problem)));
        all
    }

    /// Where a listener is reached that is on the load balancer of another mapping.
    fn reached_at(&self, subject: &Subject, resource: &ResourceStatus) -> Vec<Property> {
        if resource.kind != Kind::Listener {
            return Vec::new();
        }
        let references = resource.recorded().map(|recorded| recorded.references).unwrap_or_default();
        let found = references.into_iter().filter_map(|recorded| match recorded.reference {
            Reference::Mapped { subject: other, name } => refs::found(self, subject, &other, &name).ok(),
            Reference::Local(_) | Reference::Existing(_) => None,
        });
        let told = found.flat_map(|found| {
            let name = match found.kind {
                Kind::LoadBalancer => Some("address"),
                Kind::FloatingIp => Some("floating-address"),
                _ => None,
            };
            let property =
                |address: &IpAddr| Some(Property { name: name?.into(), value: address.to_string() });
            found.addresses.iter().filter_map(property).collect::<Vec<_>>()
        });
        told.collect()
    }
}

/// A certificate whose source can't be used.
fn unusable(name: String, problem: Problem) -> Realized {
    let state = if problem.wrong { RealizedState::Failed } else { RealizedState::Pending };
    let (id, addresses, properties) = Default::default();
    Realized { name, id, addresses, state, operating: None, properties, message: Some(problem.why) }
}

fn realized(resource: &ResourceStatus, observed: Option<&Observed>) -> Realized {
    let operating = observed.and_then(|o| o.fields.get(OPERATING)?.as_str()).map(str::to_owned);
    let property = |(field, name): &(&str, &str)| {
        let value = observed?.fields.get(*field)?.as_str()?.to_owned();
        Some(Property { name: (*name).into(), value })
    };
    Realized {
        name: resource.name.clone(),
        id: resource.id.clone().unwrap_or_default(),
        addresses: resource.addresses.clone(),
        state: match resource.state {
            ResourceState::Pending | ResourceState::Deleting => RealizedState::Pending,
            ResourceState::Ready => RealizedState::Ready,
            ResourceState::Failed => RealizedState::Failed,
        },
        operating,
        properties: PROPERTIES.iter().filter_map(property).collect(),
        message: resource.message.clone(),
    }
}

/// What is to be said, or why that can't be.
fn said(report: Option<SubjectReport>) -> Result<Said, String> {
    let Some(report) = report else { return Ok(Said::default()) };
    let json = report.status.as_deref().map(serde_json::from_str).transpose();
    let status: Option<Value> = json.map_err(|error| format!("a status that is no JSON: {error}"))?;
    let lists = report.shared_lists.iter();
    let shared =
        lists.map(|list| SharedList::new(&list.path, &list.field, &list.value)).collect::<Result<_, _>>()?;
    let annotations = report.annotations.into_iter().map(|p| (p.name, p.value)).collect();
    Ok(Said { status, shared, annotations })
}

/// Why there is no list, as the module said it.
pub(crate) fn outcome_of(stop: &isthmus_policy::Stop) -> Option<Outcome> {
    match stop {
        isthmus_policy::Stop::Outcome { outcome, .. } => Some(outcome.clone()),
        isthmus_policy::Stop::Failed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(members: Value, operating: Option<&str>) -> Observed {
        let fields = [("members", Some(members)), (OPERATING, operating.map(Value::from))];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Observed { fields: fields.collect(), ..Observed::of(Kind::Pool, "p") }
    }

    /// Without a monitor there is nothing to wait for, and without members nobody who could answer.
    #[test]
    fn a_pool_is_looked_at_until_a_member_answers() {
        let one = || json!([{"address": "10.0.0.1", "port": 80}]);
        let table = [
            (one(), None, false),
            (one(), Some("OFFLINE"), true),
            (one(), Some("ERROR"), true),
            (one(), Some("DEGRADED"), false),
            (one(), Some("ONLINE"), false),
            (json!([]), Some("OFFLINE"), false),
        ];
        for (members, operating, expected) in table {
            let pool = pool(members, operating);
            assert_eq!(awaits_members(&pool), expected, "{operating:?}");
        }
    }
}
