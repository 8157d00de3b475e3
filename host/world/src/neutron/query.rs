//! Lists: filters, fields, sorting, pages.
//! <https://docs.openstack.org/api-ref/network/v2/#filtering-and-column-selection>

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Object, attributes};
use crate::python;
use crate::tags::Tags;

/// What a list asks for.
#[derive(Debug, Default)]
pub(super) struct Query {
    filters: Vec<(String, Vec<String>)>,
    tags: Tags,
    fields: Vec<String>,
    sort: Vec<(String, bool)>,
    limit: Option<usize>,
    marker: Option<String>,
    backwards: bool,
}

impl Query {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// 400 for a value that cannot be, and for a name that is no attribute.
    pub(super) fn parse(kind: Kind, pairs: &[(String, String)]) -> Result<Self> {
        let mut query = Self::default();
        let mut directions = Vec::new();
        let mut odd = Vec::new();
        let mut longest = None;
        for (key, value) in pairs {
            let tags = || value.split(',').map(str::to_owned);
            match key.as_str() {
                "limit" => longest = Some(value),
                "marker" => query.marker = Some(value.clone()),
                "page_reverse" => query.backwards = value.eq_ignore_ascii_case("true"),
                "fields" => query.fields.push(value.clone()),
                "tags" => query.tags.all.extend(tags()),
                "tags-any" => query.tags.any.extend(tags()),
                "not-tags" => query.tags.not_all.extend(tags()),
                "not-tags-any" => query.tags.not_any.extend(tags()),
                "sort_key" => query.sort.push((value.clone(), false)),
                "sort_dir" => directions.push(value == "desc"),
                _ if !attributes::is_filter(kind, key) => odd.push(json!(key)),
                // A name twice means either value.
                _ => match query.filters.iter_mut().find(|(name, _)| name == key) {
                    Some((_, values)) => values.push(value.clone()),
                    None => query.filters.push((key.clone(), vec![value.clone()])),
                },
            }
        }
        if !odd.is_empty() {
            let message = format!("{} is invalid attribute for filtering", python::repr(&Value::Array(odd)));
            return Err(Fault::bad_request(message));
        }
        let odd: Vec<Value> = query
            .sort
            .iter()
            .filter(|(k, _)| !attributes::is_filter(kind, k))
            .map(|(k, _)| json!(k))
            .collect();
        if !odd.is_empty() {
            let message = format!("{} is invalid attribute for sort_keys", python::repr(&Value::Array(odd)));
            return Err(Fault::bad_request(message));
        }
        query.limit = longest.map(|value| limit(value)).transpose()?.flatten();
        for (key, descending) in query.sort.iter_mut().zip(directions) {
            key.1 = descending;
        }
        Ok(query)
    }

    /// Whether an object is asked for. It is called with what is stored, not with what is shown, which costs more.
    pub(super) fn matches(&self, object: &Object) -> bool {
        self.tags.match_object(object)
            && self.filters.iter().all(|(name, values)| {
                let name = if name == "tenant_id" { "project_id" } else { name };
                object.get(name).is_some_and(|held| values.iter().any(|value| holds(held, value)))
            })
    }

    /// The page that is asked for, of everything that matches.
    pub(super) fn page<'a>(&self, kind: Kind, mut matching: Vec<&'a Object>) -> Result<Vec<&'a Object>> {
        for (key, descending) in self.sort.iter().rev() {
            let compare = |a: &&Object, b: &&Object| order(a.get(key), b.get(key));
            matching.sort_by(|a, b| if *descending { compare(b, a) } else { compare(a, b) });
        }
        if self.backwards {
            return Err(Fault::not_modelled("pages backwards"));
        }
        let marker = self.marker.as_ref().filter(|_| self.limit.is_some());
        let start = match marker {
            None => 0,
            Some(marker) => {
                let at = matching.iter().position(|o| o.get("id").and_then(Value::as_str) == Some(marker));
                at.ok_or_else(|| Fault::not_found(kind, marker))? + 1
            }
        };
        Ok(matching.into_iter().skip(start).take(self.limit.unwrap_or(usize::MAX)).collect())
    }

    /// An object with the fields that are asked for.
    pub(super) fn shown(&self, kind: Kind, mut object: Object) -> Value {
        if !self.fields.is_empty() {
            // Neutron adds it where it has cut an address group already.
            let added = |name: &str| kind == Kind::AddressGroup && name == "tenant_id";
            object.retain(|name, _| self.fields.contains(name) || added(name));
        }
        Value::Object(object)
    }

    /// The `_links` of a page, where there are pages.
    pub(super) fn links(&self, url: &str, page: &[&Object]) -> Option<Value> {
        let limit = self.limit?;
        let id = |object: Option<&&Object>| {
            let id = object.and_then(|o| o.get("id")).and_then(Value::as_str);
            id.map(|id| format!("&marker={id}")).unwrap_or_default()
        };
        let mut links = Vec::new();
        if page.len() >= limit {
            links.push(json!({"rel": "next", "href": format!("{url}?limit={limit}{}", id(page.last()))}));
        }
        let previous = format!("{url}?limit={limit}{}&page_reverse=True", id(page.first()));
        links.push(json!({"rel": "previous", "href": previous}));
        Some(Value::Array(links))
    }
}

fn limit(value: &str) -> Result<Option<usize>> {
    match value.parse::<i64>() {
        Ok(limit) if limit >= 0 => Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0)),
        _ => {
            Err(Fault::bad("limit", format_args!("Limit must be an integer 0 or greater and not '{value}'")))
        }
    }
}

fn holds(held: &Value, value: &str) -> bool {
    match held {
        Value::String(text) => text == value,
        Value::Bool(flag) => value.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
        Value::Number(number) => number.to_string() == value,
        Value::Array(all) => all.iter().any(|one| match one {
            // `fixed_ips` of a port: `ip_address=10.0.0.5`, `subnet_id=...`.
            Value::Object(ip) => value.split_once('=').is_some_and(|(key, value)| match ip.get(key) {
                Some(Value::String(held)) => held == value,
                _ => {
                    key == "ip_address_substr"
                        && ip.get("ip_address").and_then(Value::as_str).is_some_and(|a| a.contains(value))
                }
            }),
            one => one == value,
        }),
        Value::Null => value.is_empty(),
        Value::Object(_) => false,
    }
}

fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => a.to_lowercase().cmp(&b.to_lowercase()),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_i64().cmp(&b.as_i64()),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        _ => Ordering::Equal,
    }
}
