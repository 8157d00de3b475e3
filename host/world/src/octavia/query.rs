//! Lists: filters, fields, sorting, pages (`octavia.api.common.pagination`).

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::Object;
use super::fault::{Fault, Result};
use crate::tags::Tags;

/// What a list asks for.
#[derive(Debug, Default)]
pub(super) struct Query {
    filters: Vec<(String, String)>,
    tags: Tags,
    fields: Vec<String>,
    sort: Vec<(String, bool)>,
    limit: Option<usize>,
    marker: Option<String>,
}

impl Query {
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let mut query = Self::default();
        let (mut keys, mut directions) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            let tags = || value.split(',').map(str::to_owned);
            match key.as_str() {
                "limit" => query.limit = limit(value)?,
                "marker" => query.marker = Some(value.clone()),
                "fields" => query.fields.push(value.clone()),
                "tags" => query.tags.all.extend(tags()),
                "tags-any" => query.tags.any.extend(tags()),
                "not-tags" => query.tags.not_all.extend(tags()),
                "not-tags-any" => query.tags.not_any.extend(tags()),
                "sort_key" => keys.extend(value.split(',').map(str::to_owned)),
                "sort_dir" => directions.extend(value.split(',').map(str::to_owned)),
                "sort" => {
                    for part in value.split(',') {
                        let (key, direction) = part.split_once(':').unwrap_or((part, "asc"));
                        query.sort.push((key.to_owned(), descending(direction)?));
                    }
                }
                "page_reverse" => return Err(Fault::not_modelled("the filter page_reverse")),
                _ => query.filters.push((key.clone(), value.clone())),
            }
        }
        if query.sort.is_empty() {
            let directions = directions.iter().map(String::as_str).chain(std::iter::repeat("asc"));
            for (key, direction) in keys.into_iter().zip(directions) {
                query.sort.push((key, descending(direction)?));
            }
        }
        Ok(query)
    }

    /// Whether a stored object is asked for.
    pub(super) fn matches(&self, object: &Object) -> bool {
        self.tags.match_object(object)
            && self
                .filters
                .iter()
                .all(|(name, value)| object.get(name).is_some_and(|held| holds(held, value)))
    }

    /// The page that is asked for.
    pub(super) fn page<'a>(&self, mut matching: Vec<&'a Object>) -> Result<Vec<&'a Object>> {
        let defaults = [("created_at".to_owned(), false), ("id".to_owned(), false)];
        matching.sort_by(|a, b| {
            let keys = self.sort.iter().chain(&defaults);
            keys.map(|(key, descending)| {
                let order = order(a.get(key), b.get(key));
                if *descending { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
        });
        let start = match &self.marker {
            None => 0,
            Some(marker) => {
                let at = matching.iter().position(|o| o.get("id").and_then(Value::as_str) == Some(marker));
                let invalid =
                    || Fault::bad_request(format!("Supplied pagination marker '{marker}' is not valid."));
                at.ok_or_else(invalid)? + 1
            }
        };
        Ok(matching.into_iter().skip(start).take(self.limit.unwrap_or(usize::MAX)).collect())
    }

    /// What says how to go on: Octavia does so after every full page.
    pub(super) fn links(&self, url: &str, page: &[&Object]) -> Value {
        let id = |o: Option<&&Object>| {
            o.and_then(|o| o.get("id")).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let limit = self.limit.map_or_else(|| "None".to_owned(), |n| n.to_string());
        let mut links = Vec::new();
        if !page.is_empty() && self.marker.is_some() {
            let marker = id(page.first());
            links.push(json!({"rel": "previous", "href": format!("{url}?limit={limit}&marker={marker}&page_reverse=True")}));
        }
        if !page.is_empty() && self.limit.is_some_and(|limit| page.len() >= limit) {
            let marker = id(page.last());
            links.push(json!({"rel": "next", "href": format!("{url}?limit={limit}&marker={marker}")}));
        }
        Value::Array(links)
    }

    /// An object with the fields that are asked for.
    pub(super) fn cut(&self, mut shown: Object) -> Value {
        if !self.fields.is_empty() {
            shown.retain(|name, _| self.fields.contains(name));
        }
        Value::Object(shown)
    }
}

fn limit(value: &str) -> Result<Option<usize>> {
    if value == "infinite" {
        return Ok(None);
    }
    let invalid = || Fault::early(format!("Supplied pagination limit '{value}' is not valid."));
    let limit: i64 = value.parse().map_err(|_| invalid())?;
    Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0))
}

fn descending(direction: &str) -> Result<bool> {
    match direction.to_ascii_lowercase().as_str() {
        "asc" => Ok(false),
        "desc" => Ok(true),
        other => Err(Fault::early(format!("Supplied sort direction '{other}' is not valid."))),
    }
}

fn holds(held: &Value, value: &str) -> bool {
    match held {
        Value::String(text) => text == value,
        Value::Bool(flag) => value.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
        Value::Number(number) => number.to_string() == value,
        Value::Array(_) | Value::Null | Value::Object(_) => false,
    }
}

fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_i64().cmp(&b.as_i64()),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        // MySQL puts what is not set first.
        (Some(Value::Null) | None, Some(Value::String(_) | Value::Number(_))) => Ordering::Less,
        (Some(Value::String(_) | Value::Number(_)), Some(Value::Null) | None) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}
