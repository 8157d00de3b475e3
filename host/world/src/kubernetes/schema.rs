//! Types of objects, of built-in kinds and of CRDs alike: what is kept, what is defaulted, how lists merge.

mod clean;
mod parse;
mod structural;
mod validate;

pub(crate) use clean::{Unknown, clean, plain_numbers};
pub(crate) use parse::{Definitions, parse};
pub(crate) use structural::{default, prune, prune_nulls};
pub(crate) use validate::{validate, validate_status};

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::cel::Program;

/// The type of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Type {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

/// How the elements of a list are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    /// By these fields.
    Map(Vec<String>),
}

/// When Go writes a field of a struct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not when it is zero.
    #[default]
    OmitEmpty,
    /// When it is set, zero or not.
    Pointer,
    /// Always.
    Always,
}

/// A property of an object.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) schema: Arc<Schema>,
    pub(crate) presence: Presence,
    /// In protobuf; 0 where it has none.
    pub(crate) number: u64,
}

/// A type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Type,
    pub(crate) format: String,
    pub(crate) nullable: bool,
    /// Properties that are not named are kept.
    pub(crate) preserve: bool,
    pub(crate) properties: BTreeMap<String, Field>,
    pub(crate) additional: Option<Arc<Schema>>,
    pub(crate) items: Option<Arc<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) list: ListType,
    /// A map that is owned as a whole.
    pub(crate) atomic: bool,
    /// Key of a list in a strategic merge patch.
    pub(crate) merge_key: Option<String>,
    /// A list that a strategic merge patch adds to.
    pub(crate) merge: bool,
    pub(crate) retain_keys: bool,
    pub(crate) rules: Rules,
}

/// What a value must be, beside its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) required: Vec<String>,
    pub(crate) any_of: Vec<Value>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    /// `x-kubernetes-validations`.
    pub(crate) cel: Vec<CelRule>,
}

/// A rule in the Common Expression Language.
#[derive(Clone, Debug)]
pub(crate) struct CelRule {
    pub(crate) program: Program,
    /// What is said where it does not hold.
    pub(crate) message: String,
    /// What it is called where it fails: its message, or its text.
    pub(crate) name: String,
}

impl Schema {
    /// The type of a property or of a map's value. `None`: it is not known.
    pub(crate) fn property(&self, name: &str) -> Option<&Arc<Schema>> {
        self.properties.get(name).map(|f| &f.schema).or(self.additional.as_ref())
    }

    /// Whether it or anything below it has rules in CEL.
    pub(crate) fn has_rules(&self) -> bool {
        let below = self.properties.values().map(|f| &f.schema).chain(&self.additional).chain(&self.items);
        !self.rules.cel.is_empty() || below.into_iter().any(|s| s.has_rules())
    }

    /// Whether the property is a named one, as opposed to a map's key.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }
}
