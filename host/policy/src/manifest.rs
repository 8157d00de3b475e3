//! Holds a manifest against the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_model::manifest::{Manifest, Projection};
use isthmus_model::object::Gvk;
use isthmus_model::projection::FieldPath;
use isthmus_model::text::{is_dns_label, quoted};

use crate::bindings::isthmus::mapping::types;
use crate::module::World;

/// Most bytes of the texts of a manifest.
const VERSION: usize = 64;
const DESCRIPTION: usize = 1024;
const CONFIG_SCHEMA: usize = 256 << 10;
/// Most kinds that a module maps, refines and reads together: each is a watch of the whole cluster.
const KINDS: usize = 32;
/// Most field paths of a manifest.
const FIELDS: usize = 512;

/// The manifest in the host's terms, or what is wrong with it.
pub(crate) fn accept(found: types::Manifest, world: World) -> Result<Manifest, String> {
    let manifest = Manifest {
        name: found.name,
        version: found.version,
        description: found.description,
        maps: projections(found.maps),
        refines: projections(found.refines),
        reads: projections(found.reads),
        config_schema: found.config_schema,
        reports: found.reports,
    };
    if !is_dns_label(&manifest.name) {
        return Err(format!(
            "name {:?} is not a DNS label (a-z, 0-9 and -, at most 63 characters)",
            quoted(&manifest.name)
        ));
    }
    at_most("bytes of `version`", manifest.version.len(), VERSION)?;
    at_most("bytes of `description`", manifest.description.len(), DESCRIPTION)?;
    at_most(
        "bytes of `config-schema`",
        manifest.config_schema.as_ref().map_or(0, String::len),
        CONFIG_SCHEMA,
    )?;
    semver::Version::parse(&manifest.version)
        .map_err(|error| format!("version {:?} is not semver: {error}", manifest.version))?;
    subjects("maps", &manifest.maps, world.maps())?;
    subjects("refines", &manifest.refines, world.refines())?;
    if manifest.reports && !world.maps() {
        return Err("it reports, but is no mapper".into());
    }
    at_most("kinds in `maps`, `refines` and `reads`", manifest.projections().count(), KINDS)?;
    let fields = |p: &Projection| p.fields.len() + p.list_by.len();
    at_most("fields", manifest.projections().map(fields).sum(), FIELDS)?;
    for projection in manifest.projections() {
        check(projection)?;
    }
    Ok(manifest)
}

/// A kind that a module may read.
#[derive(Clone, Debug)]
pub(crate) struct Readable {
    pub(crate) kind: Arc<Gvk>,
    /// Fields that it may list the kind by.
    pub(crate) list_by: Arc<BTreeSet<String>>,
}

/// All kinds that the manifest names.
pub(crate) fn readable(manifest: &Manifest) -> Arc<[Readable]> {
    let mut kinds: BTreeMap<&Gvk, BTreeSet<String>> = BTreeMap::new();
    for projection in manifest.projections() {
        kinds.entry(&projection.kind).or_default().extend(projection.list_by.iter().cloned());
    }
    let one =
        |(kind, list_by): (&Gvk, _)| Readable { kind: Arc::new(kind.clone()), list_by: Arc::new(list_by) };
    kinds.into_iter().map(one).collect()
}

fn projections(found: Vec<types::Projection>) -> Vec<Projection> {
    let projection = |p: types::Projection| Projection {
        kind: Gvk::new(&p.kind.group, &p.kind.version, &p.kind.kind),
        fields: p.fields,
        list_by: p.list_by,
    };
    found.into_iter().map(projection).collect()
}

fn subjects(list: &str, projections: &[Projection], can: bool) -> Result<(), String> {
    match (projections.is_empty(), can) {
        (true, true) => Err(format!("`{list}` is empty, but the module exports the function for it")),
        (false, false) => {
            Err(format!("`{list}` names kinds, but the module does not export the function for it"))
        }
        _ => Ok(()),
    }
}

fn at_most(what: &str, found: usize, limit: usize) -> Result<(), String> {
    if found > limit { Err(format!("it has {found} {what}; at most {limit} are allowed")) } else { Ok(()) }
}

fn check(projection: &Projection) -> Result<(), String> {
    let kind = &projection.kind;
    let group = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let word = |text: &str| (1..=63).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric());
    if kind.group.len() > 253 || !kind.group.chars().all(group) || !word(&kind.version) || !word(&kind.kind) {
        let kind = quoted(&kind.to_string());
        return Err(format!(
            "a kind needs a group (or none), a version and a name of Kubernetes' form: {kind:?}"
        ));
    }
    if let Some(why) = withheld(kind) {
        return Err(format!("it names {kind}, which no module is given: {why}"));
    }
    let parse = |path: &String| path.parse::<FieldPath>().map_err(|error| format!("of {kind}: {error}"));
    projection.fields.iter().try_for_each(|path| parse(path).map(drop))?;
    projection.list_by.iter().try_for_each(|path| match parse(path)?.is_of_one() {
        true => Ok(()),
        false => Err(format!("of {kind}: objects are listed by one value each, {path:?} may be many")),
    })
}

/// Why a kind, of whatever version, is given to no module.
pub fn withheld(kind: &Gvk) -> Option<&'static str> {
    match (&*kind.group, &*kind.kind) {
        ("", "Secret") => Some(
            "a Secret is readable only where it is granted by name, and this version has no such grant \
             (a certificate names its Secret: the host reads it)",
        ),
        ("isthmus.dev", "CloudMapping") => {
            Some("the host writes it after every call, so that each call would cause the next")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::isthmus::mapping::values;

    fn good() -> types::Manifest {
        let kind = values::Kind { group: String::new(), version: "v1".into(), kind: "Pod".into() };
        types::Manifest {
            name: "pod-port".into(),
            version: "1.2.3".into(),
            description: String::new(),
            maps: vec![types::Projection { kind, fields: vec!["spec.nodeName".into()], list_by: vec![] }],
            refines: vec![],
            reads: vec![],
            config_schema: None,
            reports: true,
        }
    }

    #[test]
    fn says_what_is_wrong() {
        type Spoil = fn(&mut types::Manifest);
        let table: [(Spoil, World, &str); 20] = [
            (|m| m.name = "Pod Port".into(), World::Mapper, "DNS label"),
            (|m| m.version = "v1".into(), World::Mapper, "semver"),
            (|m| m.maps.clear(), World::Mapper, "`maps` is empty"),
            (|m| m.refines = m.maps.clone(), World::Mapper, "does not export"),
            (|_| {}, World::MapperRefiner, "`refines` is empty"),
            (|m| m.maps[0].fields = vec!["a..b".into()], World::Mapper, "of v1/Pod: \"a..b\""),
            (|m| m.maps[0].list_by = vec!["a.".into()], World::Mapper, "of v1/Pod: \"a.\""),
            (|m| m.maps[0].list_by = vec!["a[*].b".into()], World::Mapper, "\"a[*].b\" may be many"),
            (|m| m.maps[0].kind.kind.clear(), World::Mapper, "a kind needs"),
            (|m| m.maps[0].kind.version = "../v1".into(), World::Mapper, "a kind needs"),
            (|m| m.maps[0].kind.group = "x".repeat(1 << 20), World::Mapper, "a kind needs"),
            (|m| m.name = "x".repeat(1 << 20), World::Mapper, "DNS label"),
            (|m| m.version = format!("1.2.3-{}", "x".repeat(64)), World::Mapper, "70 bytes of `version`"),
            (|m| m.description = "x".repeat(1025), World::Mapper, "1025 bytes of `description`"),
            (|m| m.config_schema = Some("x".repeat((256 << 10) + 1)), World::Mapper, "`config-schema`"),
            (|m| m.reads = vec![m.maps[0].clone(); 32], World::Mapper, "33 kinds"),
            (|m| m.maps[0].fields = vec!["a".into(); 513], World::Mapper, "513 fields"),
            (|m| m.maps[0].fields = vec!["a.".repeat(100_000)], World::Mapper, "more than 1024 bytes"),
            (|m| m.maps[0].fields = vec!["a[*].".repeat(20)], World::Mapper, "more than 32 steps"),
            (|m| m.maps[0].kind.kind = "Secret".into(), World::Mapper, "granted by name"),
        ];
        assert!(accept(good(), World::Mapper).is_ok());
        for (spoil, world, part) in table {
            let mut manifest = good();
            spoil(&mut manifest);
            let error = accept(manifest, world).unwrap_err();
            assert!(error.contains(part) && error.len() < 400, "{error}");
        }
    }

    #[test]
    fn some_kinds_are_given_to_nobody() {
        let kind = |group: &str, version: &str, kind: &str| types::Projection {
            kind: values::Kind { group: group.into(), version: version.into(), kind: kind.into() },
            fields: vec![],
            list_by: vec![],
        };
        let spoilt = |place: fn(&mut types::Manifest, types::Projection), of: types::Projection| {
            let mut manifest = good();
            manifest.refines = manifest.maps.clone();
            place(&mut manifest, of);
            accept(manifest, World::MapperRefiner)
        };
        for of in [kind("", "v1", "Secret"), kind("isthmus.dev", "v1alpha1", "CloudMapping")] {
            let places: [fn(&mut types::Manifest, types::Projection); 3] =
                [|m, of| m.maps.push(of), |m, of| m.refines.push(of), |m, of| m.reads.push(of)];
            for place in places {
                let error = spoilt(place, of.clone()).unwrap_err();
                assert!(error.contains("which no module is given"), "{error}");
            }
        }
        for of in [kind("example.org", "v1", "Secret"), kind("isthmus.dev", "v1alpha1", "PolicyModule")] {
            assert!(spoilt(|m, of| m.reads.push(of), of).is_ok());
        }
    }
}
