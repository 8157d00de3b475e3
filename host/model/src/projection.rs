//! Projection: what is kept of an object is the union of the field paths that modules asked for.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::selector::{Labels, field_label};
use crate::text::quoted;

/// Most steps of a path: no object of Kubernetes is that deep, and masks are walked step by step.
const STEPS: usize = 32;
/// Most bytes of a path.
const BYTES: usize = 1024;

/// A path into an object: names joined by dots, `[*]` after a name for "of each element of this list", and a name in
/// brackets and quotes where it holds dots: `spec.containers[*].ports`, `metadata.annotations["isthmus.dev/network"]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    Each,
}

impl FieldPath {
    /// Whether it is of one value at most: it has no `[*]`.
    pub fn is_of_one(&self) -> bool {
        !self.0.contains(&Step::Each)
    }

    /// The value there; `None` where there is none, and where the path is of many values.
    pub fn of<'v>(&self, whole: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(whole, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Each => None,
        })
    }
}

/// Text that is no field path.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{text:?} is not a field path: {why} (expected as in `spec.containers[*].ports` or `metadata.annotations[\"a.b/c\"]`)"
)]
pub struct FieldPathError {
    text: String,
    why: &'static str,
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        let fail = |why| FieldPathError { text: quoted(text), why };
        if text.len() > BYTES {
            return Err(fail("more than 1024 bytes"));
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if steps.len() == STEPS {
                return Err(fail("more than 32 steps"));
            }
            if let Some(tail) = rest.strip_prefix("[*]") {
                steps.push(Step::Each);
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("[\"") {
                let (name, tail) = tail.split_once("\"]").ok_or_else(|| fail("a [\" without its \"]"))?;
                steps.push(Step::Field(name.into()));
                rest = tail;
            } else {
                let name = if steps.is_empty() {
                    rest
                } else {
                    rest.strip_prefix('.').ok_or_else(|| fail("expected a dot"))?
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                let (name, tail) = name.split_at(end);
                if name.is_empty() {
                    return Err(fail("an empty name"));
                }
                steps.push(Step::Field(name.into()));
                rest = tail;
            }
        }
        match steps.first() {
            Some(Step::Field(_)) => Ok(Self(steps)),
            _ => Err(fail("it must begin with a name")),
        }
    }
}

/// What to keep of an object: what modules are given of it, and the values that it is listed by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    kept: Tree,
    /// By their texts.
    listed_by: BTreeMap<String, FieldPath>,
}

/// Many paths as one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tree {
    /// Everything below here is kept.
    whole: bool,
    fields: BTreeMap<String, Tree>,
    each: Option<Box<Tree>>,
}

/// Kept of every object, whatever modules ask for: its name and life.
const ALWAYS: [&str; 6] = [
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.deletionTimestamp",
];

impl Mask {
    /// The mask of these paths, and of kind, name, namespace, uid and deletion timestamp, which every module is given.
    ///
    /// # Errors
    /// The first text that is no field path.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, FieldPathError> {
        let mut kept = Tree::default();
        for path in ALWAYS.into_iter().chain(paths) {
            kept.add(&path.parse::<FieldPath>()?.0);
        }
        Ok(Self { kept, listed_by: BTreeMap::new() })
    }

    /// Keeps the values of these paths, too, to list objects by.
    ///
    /// # Errors
    /// The first text that is no field path.
    pub fn listed_by<'a>(mut self, paths: impl IntoIterator<Item = &'a str>) -> Result<Self, FieldPathError> {
        for path in paths {
            self.listed_by.insert(path.into(), path.parse()?);
        }
        Ok(self)
    }

    /// Makes this mask keep what `other` keeps, too.
    pub fn merge(&mut self, other: &Self) {
        self.kept.merge(&other.kept);
        self.listed_by.extend(other.listed_by.iter().map(|(text, path)| (text.clone(), path.clone())));
    }

    /// Whether this mask keeps everything that `other` keeps.
    pub fn covers(&self, other: &Self) -> bool {
        self.kept.covers(&other.kept) && other.listed_by.keys().all(|path| self.listed_by.contains_key(path))
    }

    /// What modules are given of `value`; `None` when nothing is left. A field that is absent or null stays absent.
    pub fn apply(&self, value: &Value) -> Option<Value> {
        self.kept.apply(value)
    }

    /// What `value` is chosen by: its labels, and among them the values of fields that it is listed by.
    pub fn labels(&self, value: &Value, mut own: Labels) -> Labels {
        let found = |(text, path): (&String, &FieldPath)| field_label(text, path.of(value)?);
        own.extend(self.listed_by.iter().filter_map(found));
        own
    }
}

impl Tree {
    fn add(&mut self, steps: &[Step]) {
        match steps.split_first() {
            None => self.whole = true,
            Some((Step::Field(name), rest)) => self.fields.entry(name.clone()).or_default().add(rest),
            Some((Step::Each, rest)) => self.each.get_or_insert_default().add(rest),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        for (name, mask) in &other.fields {
            self.fields.entry(name.clone()).or_default().merge(mask);
        }
        if let Some(mask) = &other.each {
            self.each.get_or_insert_default().merge(mask);
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.whole
            || (!other.whole
                && other
                    .fields
                    .iter()
                    .all(|(name, mask)| self.fields.get(name).is_some_and(|own| own.covers(mask)))
                && other.each.iter().all(|mask| self.each.as_ref().is_some_and(|own| own.covers(mask))))
    }

    fn apply(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Null => None,
            _ if self.whole => Some(value.clone()),
            Value::Object(map) => {
                let kept: Map<String, Value> = self
                    .fields
                    .iter()
                    .filter_map(|(name, mask)| Some((name.clone(), mask.apply(map.get(name)?)?)))
                    .collect();
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            // An element of which nothing is kept leaves an empty object: positions and counts stay true.
            Value::Array(items) => self.each.as_ref().map(|mask| {
                Value::Array(
                    items
                        .iter()
                        .map(|v| mask.apply(v).unwrap_or_else(|| Value::Object(Map::new())))
                        .collect(),
                )
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "a", "namespace": "b", "uid": "u", "labels": {"x": "y"},
                         "annotations": {"isthmus.dev/network": "n", "other": "o"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}, {"image": "j"}]},
            "status": null,
        })
    }

    #[test]
    fn keeps_what_was_asked_for() {
        let mask = Mask::new([
            "spec.containers[*].name",
            "metadata.annotations[\"isthmus.dev/network\"]",
            "status.phase",
        ])
        .unwrap();
        assert_eq!(
            mask.apply(&pod()).unwrap(),
            json!({"metadata": {"name": "a", "namespace": "b", "uid": "u", "annotations": {"isthmus.dev/network": "n"}},
                   "spec": {"containers": [{"name": "c"}, {}]}})
        );
    }

    #[test]
    fn a_path_is_of_one_value() {
        let at = |path: &str| path.parse::<FieldPath>().unwrap().of(&pod()).cloned();
        assert_eq!(at("metadata.annotations[\"isthmus.dev/network\"]"), Some("n".into()));
        for none in ["spec.absent.name", "spec.containers[*].name", "spec.nodeName.x"] {
            assert_eq!(at(none), None);
        }
    }

    #[test]
    fn an_object_is_listed_by_what_its_fields_say() {
        let mask = |paths: &[&str]| Mask::new([]).unwrap().listed_by(paths.iter().copied()).unwrap();
        let both = mask(&["spec.nodeName", "spec.containers", "status.phase"]);
        let own = [("app".to_owned(), "web".to_owned())];
        let found: Vec<(String, String)> = both.labels(&pod(), own.clone().into()).into_iter().collect();
        let [(key, value), label] = found.as_slice() else {
            panic!("neither a list nor what is absent: {found:?}")
        };
        assert_eq!((value.as_str(), std::slice::from_ref(label)), ("n1", &own[..]), "{key}");
        let one = mask(&["spec.nodeName"]);
        assert!(both.covers(&one) && !one.covers(&both), "what is listed by more has to be read again");
        let mut merged = one.clone();
        merged.merge(&both);
        assert_eq!(merged, both);
    }

    #[test]
    fn a_wider_mask_covers_a_narrower_one() {
        let narrow = Mask::new(["spec.containers[*].name"]).unwrap();
        let wide = Mask::new(["spec"]).unwrap();
        assert!(wide.covers(&narrow) && !narrow.covers(&wide) && narrow.covers(&narrow));
        let mut merged = narrow.clone();
        merged.merge(&wide);
        assert!(merged.covers(&wide) && merged.apply(&pod()) == wide.apply(&pod()));
    }

    #[test]
    fn a_path_has_an_end() {
        let deep = |steps: usize| vec!["a"; steps].join(".");
        assert!(Mask::new([deep(STEPS).as_str()]).is_ok());
        for text in [deep(STEPS + 1), deep(100_000), "a[*]".repeat(100_000), "a".repeat(BYTES + 1)] {
            let error = text.parse::<FieldPath>().unwrap_err().to_string();
            assert!(error.contains("more than") && error.len() < 300, "{error}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["", "[*].a", "a..b", "a.", "a[\"b", "a[0]"] {
            assert!(text.parse::<FieldPath>().is_err(), "{text}");
        }
    }
}
