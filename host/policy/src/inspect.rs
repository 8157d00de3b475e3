//! What bytes are, before they are compiled: unpacked, measured, and held against the contract.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;

use isthmus_model::text::{one_line, quoted};
use semver::Version;
use sha2::{Digest, Sha256};
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload};

use crate::engine::EngineOptions;
use crate::error::{ERROR_TEXT, LoadError};
use crate::limits::MAX_COMPONENT_BYTES;
use crate::module::World;

const PACKAGE: &str = "isthmus:mapping/";
/// Versions of the contract that this host speaks.
pub const CONTRACT_VERSION: &str = "0.1.x";
const IMPORTS: &str = "isthmus:mapping/snapshot and isthmus:mapping/log (and type-only interfaces)";
/// Interfaces of the package. The other ones have types only.
const INTERFACES: [&str; 6] = ["values", "networking", "load-balancing", "types", "snapshot", "log"];

/// The component's bytes: unpacked, if they are gzip. At most [`MAX_COMPONENT_BYTES`] of them, as [`crate::Engine::load`] takes
/// them with default options.
///
/// # Errors
/// gzip that does not unpack, or more bytes.
pub fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    unpack_within(bytes, MAX_COMPONENT_BYTES)
}

pub(crate) fn unpack_within(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, LoadError> {
    let too_large = |found| LoadError::TooLarge { what: "the module", found, limit };
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return if bytes.len() > limit { Err(too_large(bytes.len())) } else { Ok(bytes.into()) };
    }
    let mut unpacked = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(bytes)
        .take(one_more)
        .read_to_end(&mut unpacked)
        .map_err(|error| LoadError::Gzip(error.to_string()))?;
    if unpacked.len() > limit { Err(too_large(unpacked.len())) } else { Ok(unpacked.into()) }
}

/// sha256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    isthmus_model::hash::hex(&Sha256::digest(bytes))
}

/// Refuses all that is no component of a world of the contract, and says which world it is.
pub(crate) fn inspect(component: &[u8], options: &EngineOptions) -> Result<World, LoadError> {
    let mut found = Found::default();
    for payload in Parser::new(0).parse_all(component) {
        found.see(payload.map_err(not_wasm)?, options)?;
    }
    check_imports(&found.imports)?;
    world(&found.exports)
}

#[derive(Default)]
struct Found {
    /// Whether the outermost header was seen.
    begun: bool,
    code: usize,
    imports: Vec<String>,
    exports: BTreeSet<String>,
}

impl Found {
    fn see(&mut self, payload: Payload<'_>, options: &EngineOptions) -> Result<(), LoadError> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if !self.begun => {
                return Err(LoadError::CoreModule);
            }
            Payload::Version { .. } => self.begun = true,
            Payload::ComponentSection { .. } => return Err(LoadError::NestedComponent),
            Payload::CodeSectionStart { range, .. } => {
                self.code += range.len();
                limited("the code of the module", self.code, options.max_code_bytes)?;
            }
            Payload::CodeSectionEntry(body) => {
                limited("a function of the module", body.range().len(), options.max_function_bytes)?;
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import.map_err(not_wasm)?;
                    // A type that a world uses is imported by the world, too: there is nothing behind it.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        self.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.map_err(not_wasm)?;
                    match export.kind {
                        ComponentExternalKind::Type => {}
                        ComponentExternalKind::Func => drop(self.exports.insert(export.name.name.to_owned())),
                        other => drop(self.exports.insert(format!("{} ({other:?})", export.name.name))),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn not_wasm(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::NotWasm(one_line(&error.to_string(), ERROR_TEXT).0)
}

fn limited(what: &'static str, found: usize, limit: usize) -> Result<(), LoadError> {
    if found > limit { Err(LoadError::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn check_imports(imports: &[String]) -> Result<(), LoadError> {
    let wasi: Vec<String> = imports.iter().filter(|name| name.starts_with("wasi:")).cloned().collect();
    if !wasi.is_empty() {
        return Err(LoadError::Wasi(wasi));
    }
    let mut others = Vec::new();
    for name in imports {
        let ours = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@'));
        match ours.map(|(interface, version)| (interface, version, Version::parse(version))) {
            Some((interface, text, version)) => {
                if !version.is_ok_and(|v| (v.major, v.minor) == (0, 1)) {
                    return Err(LoadError::ContractVersion {
                        found: quoted(text),
                        expected: CONTRACT_VERSION,
                    });
                }
                if !INTERFACES.contains(&interface) {
                    others.push(name.clone());
                }
            }
            None => others.push(name.clone()),
        }
    }
    if others.is_empty() { Ok(()) } else { Err(LoadError::Imports { found: others, expected: IMPORTS }) }
}

fn world(exports: &BTreeSet<String>) -> Result<World, LoadError> {
    let fits = |world: &World| exports.iter().map(String::as_str).eq(world.exports().iter().copied());
    World::ALL.into_iter().find(fits).ok_or_else(|| LoadError::World {
        found: exports.iter().cloned().collect(),
        expected: "`mapper` [describe, map, report], `refiner` [describe, refine] or \
                   `mapper-refiner` [describe, map, refine, report]",
    })
}
