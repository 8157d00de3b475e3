//! Label and field selectors.

use serde_json::Value;

use super::registry::{Behaviour, Resource};
use super::status::Status;
use super::store::meta;

#[derive(Clone, Debug, PartialEq)]
enum Label {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

#[derive(Clone, Debug, PartialEq)]
struct FieldIs {
    path: String,
    value: String,
    equal: bool,
}

/// Which objects are meant. The default: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<Label>,
    fields: Vec<FieldIs>,
}

impl Selector {
    /// # Errors
    /// A selector that the real server refuses too.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = split(labels).into_iter().map(label).collect::<Result<_, _>>()?;
        let fields = split(fields).into_iter().map(|f| field(resource, f)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = meta(object, "labels");
        let value_of = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        let number = |key: &str| value_of(key).and_then(|v| v.parse::<i64>().ok());
        self.labels.iter().all(|l| match l {
            Label::In(key, among) => value_of(key).is_some_and(|v| among.iter().any(|a| a == v)),
            Label::NotIn(key, among) => value_of(key).is_none_or(|v| among.iter().all(|a| a != v)),
            Label::Exists(key) => value_of(key).is_some(),
            Label::Absent(key) => value_of(key).is_none(),
            Label::Greater(key, than) => number(key).is_some_and(|n| n > *than),
            Label::Less(key, than) => number(key).is_some_and(|n| n < *than),
        }) && self.fields.iter().all(|f| (text_at(object, &f.path) == f.value) == f.equal)
    }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.extend(text.get(start..i));
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts.into_iter().map(str::trim).filter(|p| !p.is_empty()).collect()
}

fn label(text: &str) -> Result<Label, Status> {
    let unable = || Status::bad_request(format!("unable to parse requirement: found '{text}'"));
    let key = |k: &str| {
        let k = k.trim().to_owned();
        if k.is_empty() || k.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c))) {
            Err(unable())
        } else {
            Ok(k)
        }
    };
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((k, v)) = text.split_once(operator) {
            let (k, v) = (key(k)?, vec![v.trim().to_owned()]);
            return Ok(if negated { Label::NotIn(k, v) } else { Label::In(k, v) });
        }
    }
    for (operator, greater) in [(">", true), ("<", false)] {
        if let Some((k, v)) = text.split_once(operator) {
            let n = v.trim().parse().map_err(|_| unable())?;
            let k = key(k)?;
            return Ok(if greater { Label::Greater(k, n) } else { Label::Less(k, n) });
        }
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(unable)?;
        let among = list.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let k = key(words.next().unwrap_or_default())?;
        return match words.next() {
            Some("in") => Ok(Label::In(k, among)),
            Some("notin") => Ok(Label::NotIn(k, among)),
            _ => Err(unable()),
        };
    }
    match text.strip_prefix('!') {
        Some(k) => Ok(Label::Absent(key(k)?)),
        None => Ok(Label::Exists(key(text)?)),
    }
}

fn field(resource: &Resource, text: &str) -> Result<FieldIs, Status> {
    let (path, value, equal) = [("!=", false), ("==", true), ("=", true)]
        .into_iter()
        .find_map(|(op, equal)| text.split_once(op).map(|(p, v)| (p.trim(), v.trim(), equal)))
        .ok_or_else(|| {
            Status::bad_request(format!("invalid selector: '{text}'; can't understand '{text}'"))
        })?;
    let own: &[&str] = match resource.behaviour {
        Behaviour::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        Behaviour::Node => &["spec.unschedulable"],
        Behaviour::Namespace => &["status.phase"],
        Behaviour::Secret => &["type"],
        Behaviour::Service => &["spec.clusterIP", "spec.type"],
        Behaviour::Event | Behaviour::NewEvent => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reportingController",
        ],
        _ => &[],
    };
    let meta = ["metadata.name", "metadata.namespace"];
    if !meta.contains(&path) && !own.contains(&path) {
        let message = match resource.behaviour {
            Behaviour::Pod
            | Behaviour::Event
            | Behaviour::Node
            | Behaviour::Namespace
            | Behaviour::Secret
            | Behaviour::Service
            | Behaviour::NewEvent => format!("field label not supported: {path}"),
            Behaviour::Custom => format!("field label not supported: {path}"),
            _ => format!(
                "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
        };
        return Err(Status::bad_request(message));
    }
    // one storage for both forms of events
    let path = match path.strip_prefix("regarding.") {
        Some(rest) => format!("involvedObject.{rest}"),
        None if path == "reportingController" => "reportingComponent".to_owned(),
        None if path == "source" => "source.component".to_owned(),
        None => path.to_owned(),
    };
    Ok(FieldIs { path, value: value.to_owned(), equal })
}

fn text_at(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |v, key| v.get(key));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(b)) => b.to_string(),
        Some(Value::Number(n)) => n.to_string(),
        _ if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        _ => String::new(),
    }
}
