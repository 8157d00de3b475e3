//! Holds a manifest against the contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_model::manifest::{Manifest, Projection};
use isthmus_model::object::Gvk;
use isthmus_model::projection::FieldPath;

use crate::bindings::isthmus::mapping::types;
use crate::module::World;

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
            manifest.name
        ));
    }
    semver::Version::parse(&manifest.version)
        .map_err(|error| format!("version {:?} is not semver: {error}", manifest.version))?;
    subjects("maps", &manifest.maps, world.maps())?;
    subjects("refines", &manifest.refines, world.refines())?;
    if manifest.reports && !world.maps() {
        return Err("it reports, but is no mapper".into());
    }
    for projection in manifest.projections() {
        check(projection)?;
    }
    Ok(manifest)
}

/// All kinds that the manifest names: those that the module may read.
pub(crate) fn kinds(manifest: &Manifest) -> Arc<[Arc<Gvk>]> {
    let kinds: BTreeSet<&Gvk> = manifest.projections().map(|p| &p.kind).collect();
    kinds.into_iter().map(|kind| Arc::new(kind.clone())).collect()
}

fn projections(found: Vec<types::Projection>) -> Vec<Projection> {
    let projection = |p: types::Projection| Projection {
        kind: Gvk::new(&p.kind.group, &p.kind.version, &p.kind.kind),
        fields: p.fields,
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

fn check(projection: &Projection) -> Result<(), String> {
    let kind = &projection.kind;
    if kind.version.is_empty() || kind.kind.is_empty() {
        return Err(format!("a kind needs a version and a name: {kind:?}"));
    }
    let bad = projection.fields.iter().find_map(|path| path.parse::<FieldPath>().err());
    bad.map_or(Ok(()), |error| Err(format!("of {kind}: {error}")))
}

fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
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
            maps: vec![types::Projection { kind, fields: vec!["spec.nodeName".into()] }],
            refines: vec![],
            reads: vec![],
            config_schema: None,
            reports: true,
        }
    }

    #[test]
    fn says_what_is_wrong() {
        type Spoil = fn(&mut types::Manifest);
        let table: [(Spoil, World, &str); 7] = [
            (|m| m.name = "Pod Port".into(), World::Mapper, "DNS label"),
            (|m| m.version = "v1".into(), World::Mapper, "semver"),
            (|m| m.maps.clear(), World::Mapper, "`maps` is empty"),
            (|m| m.refines = m.maps.clone(), World::Mapper, "does not export"),
            (|_| {}, World::MapperRefiner, "`refines` is empty"),
            (|m| m.maps[0].fields = vec!["a..b".into()], World::Mapper, "of v1/Pod: \"a..b\""),
            (|m| m.maps[0].kind.kind.clear(), World::Mapper, "a kind needs"),
        ];
        assert!(accept(good(), World::Mapper).is_ok());
        for (spoil, world, part) in table {
            let mut manifest = good();
            spoil(&mut manifest);
            let error = accept(manifest, world).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
