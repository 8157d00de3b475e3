//! JSONPath as printer columns use it: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`, `..` is not.

use serde_json::Value;

/// A path, read once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Filter { path: Vec<String>, equal: bool, value: Value },
}

impl JsonPath {
    /// `None`: a path of a form that is not known.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}');
        rest = rest.strip_prefix('$').unwrap_or(rest);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let (inside, tail) = closed(after)?;
                steps.push(bracket(inside)?);
                rest = tail;
            } else {
                let after = rest.strip_prefix('.').unwrap_or(rest);
                let (name, tail) = name(after);
                match &*name {
                    "" => return None,
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = tail;
            }
        }
        Some(Self(steps))
    }

    /// All values that it leads to.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![root], |found, step| found.into_iter().flat_map(|v| step.of(v)).collect())
    }
}

/// A name up to the next dot or bracket; `\.` is a dot in it.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, text.get(at..).unwrap_or_default()),
            c => name.push(c),
        }
    }
    (name, "")
}

/// What is inside of a bracket, and what follows.
fn closed(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (path, value, equal) = [("==", true), ("!=", false)]
            .into_iter()
            .find_map(|(op, equal)| filter.split_once(op).map(|(p, v)| (p.trim(), v.trim(), equal)))?;
        let path = path.strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let value = match value.trim_matches(['"', '\'']) {
            text if text.len() < value.len() => Value::from(text),
            text => serde_json::from_str(text).ok()?,
        };
        return Some(Step::Filter { path, equal, value });
    }
    match inside.trim_matches(['"', '\'']) {
        text if text.len() < inside.len() => Some(Step::Field(text.to_owned())),
        text => text.parse().ok().map(Step::Index),
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Index(at), Value::Array(list)) => {
                let length = i64::try_from(list.len()).unwrap_or_default();
                let at = if *at < 0 { length + at } else { *at };
                usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
            }
            (Self::Filter { path, equal, value: wanted }, Value::Array(list)) => list
                .iter()
                .filter(|item| {
                    let found = path.iter().try_fold(*item, |v, key| v.get(key));
                    found.is_some_and(|f| (f == wanted) == *equal)
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::JsonPath;

    #[test]
    fn the_columns_of_our_crds() {
        let object = json!({"status": {"conditions": [{"type": "A", "status": "x"}, {"type": "Ready", "status": "True"}]}});
        let path = JsonPath::parse(".status.conditions[?(@.type==\"Ready\")].status").unwrap();
        assert_eq!(path.find(&object), [&json!("True")]);
        let dotted = JsonPath::parse(".metadata.labels['a.b/c']").unwrap();
        assert_eq!(dotted.find(&json!({"metadata": {"labels": {"a.b/c": 1}}})), [&json!(1)]);
        assert!(JsonPath::parse("..a").is_none());
    }
}
