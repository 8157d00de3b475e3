//! `Table`: what `kubectl get` prints.

mod builtin;
mod duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::jsonpath::JsonPath;
use super::registry::{Behaviour, Resource};
use super::store::meta;
use duration::since;

/// What each row shows of its object beside the cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    #[default]
    Metadata,
    Object,
    None,
}

impl Include {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "Object" => Self::Object,
            "None" => Self::None,
            _ => Self::Metadata,
        }
    }
}

/// The columns of a kind.
#[derive(Debug)]
pub(crate) enum Columns {
    BuiltIn(Behaviour),
    /// `additionalPrinterColumns`, after the name.
    Printer(Vec<Column>),
}

/// A printer column.
#[derive(Debug)]
pub(crate) struct Column {
    definition: Value,
    kind: String,
    path: Option<JsonPath>,
}

impl Columns {
    /// Of a version in a CustomResourceDefinition.
    pub(crate) fn of_version(version: &Value) -> Self {
        let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
        let Some(columns) = columns.filter(|c| !c.is_empty()) else {
            return Self::Printer(vec![Column {
                definition: definition("Age", "date", 0, CREATED),
                kind: "date".to_owned(),
                path: JsonPath::parse(".metadata.creationTimestamp"),
            }]);
        };
        let column = |raw: &Value| {
            let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default();
            let priority = raw.get("priority").and_then(Value::as_i64).unwrap_or_default();
            let description = match text("description") {
                "" => format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath")),
                text => text.to_owned(),
            };
            let mut shown = definition(text("name"), text("type"), priority, &description);
            if let Some(map) = shown.as_object_mut() {
                map.insert("format".to_owned(), text("format").into());
            }
            Column {
                definition: shown,
                kind: text("type").to_owned(),
                path: JsonPath::parse(text("jsonPath")),
            }
        };
        Self::Printer(columns.iter().map(column).collect())
    }
}

const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

fn definition(name: &str, kind: &str, priority: i64, description: &str) -> Value {
    let format = if name == "Name" && priority == 0 { "name" } else { "" };
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}

/// Columns and rows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Value>,
    rows: Vec<Value>,
}

/// Objects of a kind as a table.
pub(crate) fn of(resource: &Resource, objects: &[&Value], include: &Include, now: Timestamp) -> Table {
    let columns = match &*resource.columns {
        Columns::BuiltIn(behaviour) => builtin::columns(*behaviour, &resource.names.kind)
            .iter()
            .map(|(name, kind, priority)| {
                let description = if *name == "Name" && *priority == 0 { NAME } else { "" };
                definition(name, kind, *priority, description)
            })
            .collect(),
        Columns::Printer(printer) => {
            let mut all = vec![definition("Name", "string", 0, NAME)];
            all.extend(printer.iter().map(|c| c.definition.clone()));
            all
        }
    };
    let row = |object: &&Value| {
        let (cells, conditions) = match &*resource.columns {
            Columns::BuiltIn(behaviour) => builtin::cells(*behaviour, object, now),
            Columns::Printer(printer) => (printed(printer, object, now), Vec::new()),
        };
        let mut row = Map::new();
        row.insert("cells".to_owned(), cells.into());
        if !conditions.is_empty() {
            row.insert("conditions".to_owned(), conditions.into());
        }
        match include {
            Include::Metadata => row.insert("object".to_owned(), partial(object)),
            Include::Object => row.insert("object".to_owned(), (*object).clone()),
            Include::None => row.insert("object".to_owned(), Value::Null),
        };
        Value::Object(row)
    };
    Table { columns, rows: objects.iter().map(row).collect() }
}

fn printed(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![meta(object, "name").cloned().unwrap_or_default()];
    for column in columns {
        let found = column.path.as_ref().map(|p| p.find(object)).unwrap_or_default();
        let cell = match (found.as_slice(), &*column.kind) {
            ([], _) => Value::Null,
            ([value, ..], "integer") => value.as_f64().map_or(Value::Null, |_| (*value).clone()),
            ([value, ..], "number" | "boolean") => (*value).clone(),
            ([value, ..], "date") => value.as_str().map_or(Value::Null, |t| since(t, now).into()),
            (values, _) => {
                let shown: Vec<_> = values.iter().filter(|v| !v.is_null()).map(|v| text(v)).collect();
                if shown.is_empty() { Value::Null } else { shown.join(" ").into() }
            }
        };
        cells.push(cell);
    }
    cells
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The table as an object.
pub(crate) fn whole(table: Table, metadata: Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": table.columns, "rows": table.rows,
    })
}

/// An object's metadata alone.
pub(crate) fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}
