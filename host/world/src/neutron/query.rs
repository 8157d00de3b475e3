//! Lists: filters, fields, sorting, pages.
//! <https://docs.openstack.org/api-ref/network/v2/#filtering-and-column-selection>

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Object};

/// What a list asks for.
#[derive(Debug, Default)]
pub(super) struct Query {
    filters: Vec<(String, Vec<String>)>,
    tags: Vec<String>,
    fields: Vec<String>,
    sort: Vec<(String, bool)>,
    limit: Option<usize>,
    marker: Option<String>,
}

impl Query {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// 400 for a value that cannot be, 501 for a filter on what has parts.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let mut query = Self::default();
        let mut directions = Vec::new();
        for (key, value) in pairs {
            match key.as_str() {
                "limit" => {
                    let limit = value.parse().map_err(|_| Fault::bad_request("limit is not a number"))?;
                    query.limit = (limit > 0).then_some(limit);
                }
                "marker" => query.marker = Some(value.clone()),
                "fields" => query.fields.push(value.clone()),
                "tags" => query.tags.extend(value.split(',').map(str::to_owned)),
                "sort_key" => query.sort.push((value.clone(), false)),
                "sort_dir" => directions.push(value == "desc"),
                "tags-any" | "not-tags" | "not-tags-any" | "fixed_ips" | "page_reverse" => {
                    return Err(Fault::not_modelled(format_args!("the filter {key}")));
                }
                // A name twice means either value.
                _ => match query.filters.iter_mut().find(|(name, _)| name == key) {
                    Some((_, values)) => values.push(value.clone()),
                    None => query.filters.push((key.clone(), vec![value.clone()])),
                },
            }
        }
        for (key, descending) in query.sort.iter_mut().zip(directions) {
            key.1 = descending;
        }
        Ok(query)
    }

    /// Whether an object is asked for. It is called with what is stored, not with what is shown, which costs more.
    pub(super) fn matches(&self, object: &Object) -> bool {
        let tagged = |tag: &String| {
            object.get("tags").and_then(Value::as_array).is_some_and(|all| all.iter().any(|t| t == tag))
        };
        self.tags.iter().all(tagged)
            && self.filters.iter().all(|(name, values)| {
                object.get(name).is_some_and(|held| values.iter().any(|value| holds(held, value)))
            })
    }

    /// The page that is asked for, of everything that matches, and whether Neutron says that more follows (it does so
    /// whenever a page is full).
    ///
    /// # Errors
    /// 404 if the marker is not among them.
    pub(super) fn page<'a>(
        &self,
        kind: Kind,
        mut matching: Vec<&'a Object>,
    ) -> Result<(Vec<&'a Object>, bool)> {
        for (key, descending) in self.sort.iter().rev() {
            let compare = |a: &&Object, b: &&Object| order(a.get(key), b.get(key));
            matching.sort_by(|a, b| if *descending { compare(b, a) } else { compare(a, b) });
        }
        let start = match &self.marker {
            None => 0,
            Some(marker) => {
                let at = matching.iter().position(|o| o.get("id").and_then(Value::as_str) == Some(marker));
                at.ok_or_else(|| Fault::not_found(kind, marker))? + 1
            }
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        let page: Vec<&Object> = matching.into_iter().skip(start).take(limit).collect();
        let full = page.len() == limit;
        Ok((page, full))
    }

    /// An object with the fields that are asked for.
    pub(super) fn shown(&self, mut object: Object) -> Value {
        if !self.fields.is_empty() {
            object.retain(|name, _| self.fields.contains(name));
        }
        Value::Object(object)
    }

    /// The `_links` of a page.
    pub(super) fn links(path: &str, page: &[&Object]) -> Value {
        let last = page.last().and_then(|o| o.get("id")).and_then(Value::as_str).unwrap_or_default();
        json!([{"rel": "next", "href": format!("/v2.0/{path}?marker={last}")}])
    }
}

fn holds(held: &Value, value: &str) -> bool {
    match held {
        Value::String(text) => text == value,
        Value::Bool(flag) => value.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
        Value::Number(number) => number.to_string() == value,
        // `security_groups` of a port: it is in that group.
        Value::Array(all) => all.iter().any(|one| one == value),
        Value::Null | Value::Object(_) => false,
    }
}

fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_u64().cmp(&b.as_u64()),
        _ => Ordering::Equal,
    }
}
