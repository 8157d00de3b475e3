//! What a module says about itself (`describe`).

use serde::{Deserialize, Serialize};

use crate::object::Gvk;
use crate::projection::{FieldPathError, Mask};

/// The manifest of one module version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Module name, a DNS label.
    pub name: String,
    /// Version of the module, semver.
    pub version: String,
    /// One sentence for people.
    pub description: String,
    /// The kinds it maps.
    pub maps: Vec<Projection>,
    /// The kinds whose mappings it refines.
    pub refines: Vec<Projection>,
    /// The kinds it may read beside them.
    pub reads: Vec<Projection>,
    /// JSON schema of its config, as text.
    pub config_schema: Option<String>,
    /// Whether `report` is to be called.
    pub reports: bool,
}

impl Manifest {
    /// All projections: what the host has to watch for this module.
    pub fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.maps.iter().chain(&self.refines).chain(&self.reads)
    }
}

/// A kind, and the paths of it that a module is given. Changes outside them do not wake it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Projection {
    /// The kind.
    pub kind: Gvk,
    /// Paths as `spec.nodeName`. See [`crate::projection::FieldPath`].
    pub fields: Vec<String>,
    /// Paths by whose values objects are listed.
    pub list_by: Vec<String>,
}

impl Projection {
    /// What is kept of an object for it.
    ///
    /// # Errors
    /// The first text that is no field path.
    pub fn mask(&self) -> Result<Mask, FieldPathError> {
        Mask::new(self.fields.iter().map(String::as_str))?.listed_by(self.list_by.iter().map(String::as_str))
    }
}
