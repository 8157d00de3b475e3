//! GET: an object, a list, the beginning of a watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Api, Call, ListReply, Reply, Target};
use crate::kubernetes::registry::Resource;
use crate::kubernetes::selector::Selector;
use crate::kubernetes::status::{Cause, GroupResource, Status};
use crate::kubernetes::store::{Key, Object, range};

/// A watch that may begin.
#[derive(Debug)]
pub(crate) struct WatchStart {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) selector: Selector,
    /// Told first, as ADDED.
    pub(crate) initial: Vec<Arc<Object>>,
    /// Changes after this version follow.
    pub(crate) version: u64,
    /// A bookmark says where the initial objects end.
    pub(crate) marks_initial: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
    pub(crate) changed: watch::Receiver<u64>,
}

/// Where a list begins, and of which version it is.
struct Page {
    after: Option<Key>,
    version: u64,
    /// Of that version and no newer one.
    exact: bool,
}

impl Api {
    pub(super) fn get(&self, target: &Target) -> Result<Reply, Status> {
        let object = self.find(target)?;
        Ok(self.shown(200, target, object))
    }

    /// # Errors
    /// It is not there.
    pub(super) fn find(&self, target: &Target) -> Result<Arc<Object>, Status> {
        let resource = &target.resource;
        let found = self.store.get(&resource.table(), &target.namespace, &target.name);
        found.ok_or_else(|| Status::not_found(&resource.group_resource(), &target.name))
    }

    fn selector(&self, call: &Call<'_>, target: &Target) -> Result<Selector, Status> {
        Selector::parse(&target.resource, call.parameter("labelSelector"), call.parameter("fieldSelector"))
    }

    pub(super) fn list(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        let selector = self.selector(call, target)?;
        check_list_options(call)?;
        let limit: usize = call.parameter("limit").parse().unwrap_or(0);
        let page = self.page(call, target)?;
        let older = self.older(&page, target)?;
        let (mut items, mut next, mut remaining) = (Vec::new(), None, None);
        let none = BTreeMap::new();
        let stored = self.store.existing(&target.resource.table()).map_or(&none, |table| &table.objects);
        let stored = older.as_ref().unwrap_or(stored);
        let mut matching =
            range(stored, &target.namespace, page.after.as_ref()).filter(|o| selector.matches(&o.value));
        if limit == 0 {
            items.extend(matching.cloned());
        } else {
            items.extend(matching.by_ref().take(limit).cloned());
            // There is more if there are objects at all, selected or not.
            let last = items
                .last()
                .map(|last: &Arc<Object>| last.key())
                .filter(|_| items.len() == limit && !selector.is_of_one_name());
            let rest = last.as_ref().map_or(0, |last| range(stored, &target.namespace, Some(last)).count());
            if rest > 0 {
                next = last.map(|last| token(Some(page.version), &target.namespace, &last));
                remaining = selector.is_empty().then_some(rest);
            }
        }
        let (resource, version) = (target.resource.clone(), page.version);
        Ok(Reply::List(ListReply { resource, items, version, next, remaining }))
    }

    /// Which objects a list is of.
    fn page(&self, call: &Call<'_>, target: &Target) -> Result<Page, Status> {
        let now = self.store.version();
        let given = call.parameter("resourceVersion");
        let token = call.parameter("continue");
        if !token.is_empty() {
            let (version, key) = read_token(token, &target.namespace)?;
            if !matches!(given, "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let exact = version.is_some();
            return Ok(Page { after: Some(key), version: version.unwrap_or(now), exact });
        }
        let asked: u64 = match given {
            "" | "0" => now,
            text => text.parse().map_err(|_| invalid_version(text))?,
        };
        if asked > now {
            return Err(too_large(asked, now));
        }
        let exact = call.parameter("resourceVersionMatch") == "Exact" && asked < now;
        Ok(Page { after: None, version: if exact { asked } else { now }, exact })
    }

    /// The objects of an older version, where that is what is asked for: further pages are of that which the first was of.
    ///
    /// # Errors
    /// It is forgotten.
    fn older(&mut self, page: &Page, target: &Target) -> Result<Option<BTreeMap<Key, Arc<Object>>>, Status> {
        if !page.exact {
            return Ok(None);
        }
        let table = self.store.table(&target.resource.table());
        match table.since(page.version, 1) {
            Some(changes) if changes.is_empty() => Ok(None),
            Some(_) => Ok(Some(table.at(page.version))),
            None => Err(match &page.after {
                Some(after) => Status::continue_expired(token(None, &target.namespace, after)),
                None => Status::expired("The resourceVersion for the provided list is too old."),
            }),
        }
    }

    pub(super) fn watch(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        let fields = match &*target.name {
            "" => call.parameter("fieldSelector").to_owned(),
            name => format!("metadata.name={name}"),
        };
        let selector = Selector::parse(&target.resource, call.parameter("labelSelector"), &fields)?;
        let send_initial = call.query.get("sendInitialEvents").map(|v| v == "true");
        check_watch_options(call, send_initial)?;
        let now = self.store.version();
        let given = call.parameter("resourceVersion");
        let asked: u64 = match given {
            "" => 0,
            text => text.parse().map_err(|_| invalid_version(text))?,
        };
        let bookmarks = call.flag("allowWatchBookmarks");
        let table = self.store.table(&target.resource.table());
        // From the beginning, unless a version is given; as the client says if it says.
        let from_start = send_initial.unwrap_or(asked == 0);
        if send_initial == Some(true) && asked > now {
            return Err(too_large(asked, now));
        }
        let initial = match from_start {
            true => {
                table.range(&target.namespace, None).filter(|o| selector.matches(&o.value)).cloned().collect()
            }
            false => Vec::new(),
        };
        let version = if from_start || asked == 0 { now } else { asked };
        let seconds: u64 = call.parameter("timeoutSeconds").parse().unwrap_or(1800);
        Ok(Reply::Watch(WatchStart {
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
            selector,
            initial,
            version,
            marks_initial: send_initial == Some(true) && bookmarks,
            bookmarks,
            timeout: Duration::from_secs(seconds.max(1)),
            changed: table.subscribe(),
        }))
    }
}

fn check_list_options(call: &Call<'_>) -> Result<(), Status> {
    let mut causes = Vec::new();
    let matching = call.parameter("resourceVersionMatch");
    let version = call.parameter("resourceVersion");
    if !matching.is_empty() {
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(Cause::forbidden("resourceVersionMatch", why));
        }
        if !call.parameter("continue").is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden("resourceVersionMatch", why));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let among = ["Exact", "NotOlderThan", ""];
            causes.push(Cause::not_supported("resourceVersionMatch", &Value::from(matching), &among));
        }
        if matching == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden("resourceVersionMatch", why));
        }
    }
    if call.query.contains_key("sendInitialEvents") {
        causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    refuse(&causes)
}

fn check_watch_options(call: &Call<'_>, send_initial: Option<bool>) -> Result<(), Status> {
    let matching = call.parameter("resourceVersionMatch");
    let mut causes = Vec::new();
    if send_initial.is_some() && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(Cause::forbidden("resourceVersionMatch", why));
    }
    if send_initial.is_none() && !matching.is_empty() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        causes.push(Cause::forbidden("resourceVersionMatch", why));
    }
    refuse(&causes)
}

fn refuse(causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    let kind = GroupResource { group: "meta.k8s.io".to_owned(), resource: "ListOptions".to_owned() };
    Err(Status::invalid(&kind, "", causes))
}

fn invalid_version(text: &str) -> Status {
    let cause = Cause::invalid(
        "resourceVersion",
        &Value::from(text),
        &format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
    );
    let kind = GroupResource { group: String::new(), resource: String::new() };
    let mut status = Status::invalid(&kind, "", &[cause]);
    status.details = None;
    status.code = 400;
    status.reason = "BadRequest";
    status.message = format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
    status
}

fn too_large(asked: u64, now: u64) -> Status {
    let mut status = Status::bad_request(format!("Too large resource version: {asked}, current: {now}"));
    status.code = 504;
    status.reason = "Timeout";
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    status.details = Some(json!({"causes": [cause], "retryAfterSeconds": 1}));
    status
}

/// As the real one's: a key within what is listed. No version: what there is by then.
fn token(version: Option<u64>, namespace: &str, (of, name): &Key) -> String {
    let start = if of == namespace { format!("{name}\u{0}") } else { format!("{of}/{name}\u{0}") };
    let version = version.map_or(json!(-1), |version| json!(version));
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": start}).to_string())
}

fn read_token(text: &str, namespace: &str) -> Result<(Option<u64>, Key), Status> {
    let broken =
        |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid{why}"));
    let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken(": illegal base64 data at input byte 0"))?;
    let token: Value = serde_json::from_slice(&raw).map_err(|_| broken(": it is no JSON"))?;
    let start = token.get("start").and_then(Value::as_str).ok_or_else(|| broken(": it has no start"))?;
    let (namespace, name) = start.split_once('/').unwrap_or((namespace, start));
    let name = name.trim_end_matches('\u{0}').to_owned();
    Ok((token.get("rv").and_then(Value::as_u64), (namespace.to_owned(), name)))
}
