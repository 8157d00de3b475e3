//! `isthmus module check` and `isthmus module load`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use isthmus_cli::global::{Kube, Output};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{ModuleSource, PolicyModule};
use isthmus_kubernetes::names::LABEL_POLICY_MODULE;
use isthmus_model::manifest::{Manifest, Projection};
use isthmus_model::text::is_dns_label;
use isthmus_operator::modules::keep::packed;
use isthmus_operator::modules::source;
use isthmus_policy::{Engine, EngineOptions, Module, short_digest, unpack};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{CheckArgs, LoadArgs};
use crate::output::{objects, print};

/// Field manager of what this command writes: what tells its ConfigMaps from those of others.
const FIELD_MANAGER: &str = "isthmus-cli";

/// A DNS label has 63; the rest is for numbers of parts and the prefix of kept versions.
pub(crate) const LONGEST_NAME: usize = 40;

/// An engine for one command.
pub(crate) fn engine() -> anyhow::Result<Engine> {
    Ok(Engine::new(EngineOptions { calls_at_once: 2, ..EngineOptions::default() })?)
}

/// Loads a module from a file, as the operator would; the module, and the bytes of the file.
pub(crate) fn open(engine: &Engine, file: &Path) -> anyhow::Result<(Arc<Module>, Vec<u8>)> {
    let named = || format!("reading {}", file.display());
    // Others may never end: a pipe, a device.
    ensure!(std::fs::metadata(file).with_context(named)?.is_file(), "{} is no file", file.display());
    let bytes = std::fs::read(file).with_context(named)?;
    let module = engine.load(&bytes, None).with_context(|| file.display().to_string())?;
    Ok((module, bytes))
}

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    sha256: &'a str,
    bytes: usize,
    packed: usize,
    manifest: &'a Manifest,
}

pub(crate) fn check(args: &CheckArgs, output: Output) -> anyhow::Result<()> {
    let (module, bytes) = open(&engine()?, &args.file)?;
    let checked = Checked {
        file: args.file.display().to_string(),
        sha256: module.digest(),
        bytes: unpack(&bytes)?.len(),
        packed: packed(&bytes).len(),
        manifest: module.manifest(),
    };
    print(&checked, output, |checked| {
        let m = checked.manifest;
        let mut text = format!("{} {}: {}\n", m.name, m.version, m.description);
        text += &format!(
            "sha256   {}\nsize     {} bytes, {} packed\n",
            checked.sha256, checked.bytes, checked.packed
        );
        for (label, projections) in [("maps", &m.maps), ("refines", &m.refines), ("reads", &m.reads)] {
            projections.iter().for_each(|p| text += &described(label, p));
        }
        text += &format!("reports  {}\n", if m.reports { "yes" } else { "no" });
        text += &config(m.config_schema.as_deref());
        text
    })
}

fn described(label: &str, projection: &Projection) -> String {
    format!("{label:<8} {} ({})\n", projection.kind, projection.fields.join(", "))
}

/// The fields of a config, by its JSON schema.
fn config(schema: Option<&str>) -> String {
    let schema: Option<Value> = schema.and_then(|text| serde_json::from_str(text).ok());
    let Some(fields) = schema.as_ref().and_then(|s| s.get("properties")?.as_object()) else {
        return "config   the module has no schema of its config\n".into();
    };
    let line = |(name, field): (&String, &Value)| {
        let text = |key| field.get(key).and_then(Value::as_str).unwrap_or_default();
        format!("config   {name} ({}): {}\n", text("type"), text("description"))
    };
    fields.iter().map(line).collect()
}

/// What was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Loaded<'a> {
    name: &'a str,
    version: &'a str,
    sha256: &'a str,
    namespace: &'a str,
    config_maps: Vec<String>,
    #[serde(flatten)]
    changed: Changed,
}

/// What had to be done beside writing the ConfigMaps, where another number of them was there.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    /// ConfigMaps that the PolicyModule's source named before; absent: those that were written.
    source_before: Option<Vec<String>>,
    /// ConfigMaps of the version before that are no parts of this one.
    removed: Vec<String>,
}

pub(crate) async fn load(kube: &Kube, args: &LoadArgs, output: Output) -> anyhow::Result<()> {
    let (module, bytes) = open(&engine()?, &args.file)?;
    let (manifest, namespace) = (module.manifest(), &kube.operator_namespace);
    let name = args.name.as_deref().unwrap_or(&manifest.name);
    // Parts of a large module are named NAME-1 and so on, and a label has the name as its value.
    ensure!(
        is_dns_label(name) && name.len() <= LONGEST_NAME,
        "--name {name:?}: expected a-z, 0-9 and - (not first or last), at most {LONGEST_NAME} characters"
    );
    let mut maps = source::write(name, &packed(&bytes), module.digest());
    maps.iter_mut().for_each(|map| map.metadata.namespace = Some(namespace.clone()));
    if args.dry_run {
        return objects(&maps, output);
    }
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let changed = write(&client, namespace, name, &maps).await?;
    let loaded = Loaded {
        name,
        version: &manifest.version,
        sha256: module.digest(),
        namespace,
        config_maps: names_of(&maps),
        changed,
    };
    print(&loaded, output, told)
}

fn told(loaded: &Loaded<'_>) -> String {
    let Loaded { name, version, sha256, namespace, config_maps, changed } = loaded;
    let (digest, count) = (short_digest(sha256), config_maps.len());
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!(
        "{name}: version {version} ({digest}) is in {count} ConfigMap{plural} of namespace {namespace}\n"
    );
    if let Some(before) = &changed.source_before {
        text += &format!(
            "PolicyModule {name}: its spec.source names {} now, and no longer {}; where you keep it in a file, change it there too\n",
            config_maps.join(", "),
            before.join(", ")
        );
    }
    for part in &changed.removed {
        text += &format!("removed ConfigMap {part}: a part of an earlier version\n");
    }
    text + &format!("kubectl get policymodule {name} shows whether it serves\n")
}

/// Writes the ConfigMaps of a module from a file. `name`: of the PolicyModule; default: the module's.
pub(crate) async fn put(
    client: &Client,
    namespace: &str,
    name: Option<&str>,
    file: &Path,
) -> anyhow::Result<()> {
    let (module, bytes) = open(&engine()?, file)?;
    let name = name.unwrap_or(&module.manifest().name);
    let mut maps = source::write(name, &packed(&bytes), module.digest());
    maps.iter_mut().for_each(|map| map.metadata.namespace = Some(namespace.into()));
    write(client, namespace, name, &maps).await.map(drop)
}

fn names_of(maps: &[ConfigMap]) -> Vec<String> {
    maps.iter().map(ResourceExt::name_any).collect()
}

/// Writes the ConfigMaps, has the PolicyModule name them, and removes parts of an earlier version that had more, or one. In this
/// order there is a whole version at any time.
async fn write(client: &Client, namespace: &str, name: &str, maps: &[ConfigMap]) -> anyhow::Result<Changed> {
    let api: Api<ConfigMap> = Api::namespaced(client.kube(), namespace);
    let modules: Api<PolicyModule> = Api::all(client.kube());
    for map in maps {
        let found = client.read("read a ConfigMap", api.get_opt(&map.name_any())).await?;
        found.map_or(Ok(()), |found| is_for(&found, name))?;
    }
    // Without one, the operator makes it of what is there.
    let module = client.read(&format!("read PolicyModule {name}"), modules.get_opt(name)).await?;
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    for map in maps {
        let part = map.name_any();
        let what = format!("write ConfigMap {namespace}/{part}");
        client.write("apply", "configmaps", &what, api.patch(&part, &parameters, &Patch::Apply(map))).await?;
    }
    let written = names_of(maps);
    let before = module.map(|module| module.spec.source).filter(|source| !is_of(source, &written));
    if let Some(before) = &before {
        name_parts(client, name, before, &written).await?;
    }
    let removed = remove_stale(client, &api, namespace, name, &written).await?;
    Ok(Changed { source_before: before.as_ref().map(named), removed })
}

fn named(source: &ModuleSource) -> Vec<String> {
    source.config_maps.iter().map(|map| map.name.clone()).collect()
}

/// Whether a source is read from these ConfigMaps, in whatever order, and from what we write into them.
fn is_of(source: &ModuleSource, parts: &[String]) -> bool {
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    source.key.as_deref().is_none_or(|key| key == source::KEY)
        && sorted(named(source)) == sorted(parts.to_vec())
}

/// Has the source of a PolicyModule name these parts.
async fn name_parts(
    client: &Client,
    name: &str,
    before: &ModuleSource,
    parts: &[String],
) -> anyhow::Result<()> {
    let api: Api<PolicyModule> = Api::all(client.kube());
    let config_maps: Vec<Value> = parts.iter().map(|part| json!({"name": part})).collect();
    // What a merge shall take away has to be said.
    let source = json!({"configMaps": config_maps, "key": Value::Null});
    let patch = Patch::Merge(json!({"spec": {"source": source}}));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let what = format!("name the parts of PolicyModule {name}");
    let patched = client.write("patch", "policymodules", &what, api.patch(name, &parameters, &patch)).await;
    patched.map(drop).with_context(|| {
        format!(
            "the version is written, but PolicyModule {name} does not take it: its spec.source.configMaps name {}, and have to name {}, \
             without a key; no ConfigMap was removed",
            named(before).join(", "),
            parts.join(", ")
        )
    })
}

/// Removes ConfigMaps of earlier calls that are no parts any more; their names.
async fn remove_stale(
    client: &Client,
    api: &Api<ConfigMap>,
    namespace: &str,
    name: &str,
    written: &[String],
) -> anyhow::Result<Vec<String>> {
    let labelled = ListParams::default().labels(&format!("{LABEL_POLICY_MODULE}={name}"));
    let there = client.read("list ConfigMaps", api.list(&labelled)).await?;
    let mut removed = Vec::new();
    for old in there.items.iter().filter(|map| is_ours(map, name)).map(ResourceExt::name_any) {
        if !written.contains(&old) {
            let what = format!("delete ConfigMap {namespace}/{old}");
            let parameters = DeleteParams::default();
            client.write("delete", "configmaps", &what, api.delete(&old, &parameters)).await?;
            removed.push(old);
        }
    }
    Ok(removed)
}

/// That a ConfigMap which is there is not another module's, nor anything else.
fn is_for(found: &ConfigMap, name: &str) -> anyhow::Result<()> {
    let part = found.name_any();
    match found.labels().get(LABEL_POLICY_MODULE) {
        Some(owner) if owner == name => Ok(()),
        Some(owner) => bail!(
            "ConfigMap {part} holds module {owner}: it is not written over; load this one by another --name"
        ),
        None => bail!(
            "ConfigMap {part} is there and holds no module (label {LABEL_POLICY_MODULE}): it is not written over; \
             load this one by another --name"
        ),
    }
}

/// Whether an earlier call wrote it: it has the name of a part, and we applied it. Others may use the label too, and what they
/// wrote is not ours to delete.
fn is_ours(map: &ConfigMap, name: &str) -> bool {
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|n| n.to_string() == text);
    let of_name = |part: &str| {
        part == name || part.strip_prefix(name).and_then(|p| p.strip_prefix('-')).is_some_and(is_number)
    };
    of_name(&map.name_any())
        && map.managed_fields().iter().any(|f| f.manager.as_deref() == Some(FIELD_MANAGER))
}

#[cfg(test)]
mod tests {
    use isthmus_kubernetes::crd::ConfigMapRef;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    /// `foo` in several parts has one that is called as module `foo-1`.
    #[test]
    fn what_is_another_modules_is_not_written_over() {
        let map = |owner: Option<&str>| {
            let mut map = ConfigMap::default();
            map.metadata.name = Some("foo-1".into());
            owner
                .into_iter()
                .for_each(|owner| drop(map.labels_mut().insert(LABEL_POLICY_MODULE.into(), owner.into())));
            map
        };
        assert!(is_for(&map(Some("foo")), "foo").is_ok());
        let refused = |owner| is_for(&map(owner), "foo").unwrap_err().to_string();
        assert!(refused(Some("foo-1")).contains("holds module foo-1"));
        assert!(refused(None).contains("holds no module"));
    }

    #[test]
    fn only_parts_that_we_wrote_are_ours() {
        let table = [
            ("pod-port", "isthmus-cli", true),
            ("pod-port-2", "isthmus-cli", true),
            ("pod-port-next", "isthmus-cli", false),
            ("pod-port-02", "isthmus-cli", false),
            ("my-copy", "isthmus-cli", false),
            ("pod-port", "kubectl", false),
            ("pod-port-2", "argocd-controller", false),
        ];
        for (name, manager, ours) in table {
            let mut map = ConfigMap::default();
            map.metadata.name = Some(name.into());
            let entry = ManagedFieldsEntry { manager: Some(manager.into()), ..ManagedFieldsEntry::default() };
            map.managed_fields_mut().push(entry);
            assert_eq!(is_ours(&map, "pod-port"), ours, "{name} of {manager}");
        }
        assert!(!is_ours(&ConfigMap::default(), "pod-port"));
    }

    #[test]
    fn a_source_is_of_the_parts_that_it_names_in_any_order() {
        let source = |names: &[&str], key: Option<&str>| ModuleSource {
            config_maps: names.iter().map(|name| ConfigMapRef { name: (*name).into() }).collect(),
            key: key.map(str::to_owned),
        };
        let parts = ["big-1".to_owned(), "big-2".to_owned()];
        assert!(is_of(&source(&["big-2", "big-1"], None), &parts));
        assert!(is_of(&source(&["big-1", "big-2"], Some(source::KEY)), &parts));
        for other in [
            source(&["big"], None),
            source(&["big-1"], None),
            source(&["big-1", "big-2", "big-3"], None),
            source(&["big-1", "big-2"], Some("my.wasm")),
        ] {
            assert!(!is_of(&other, &parts), "{other:?}");
        }
    }

    #[test]
    fn the_fields_of_a_config_are_told() {
        let schema = r#"{"properties": {"network": {"type": "string", "description": "Its name."}}}"#;
        assert_eq!(config(Some(schema)), "config   network (string): Its name.\n");
        assert!(config(Some("no JSON")).contains("no schema") && config(None).contains("no schema"));
    }

    #[test]
    fn what_was_removed_is_told() {
        let loaded = Loaded {
            name: "big",
            version: "0.2.0",
            sha256: "0123456789abcdef",
            namespace: "isthmus-system",
            config_maps: vec!["big".into()],
            changed: Changed {
                source_before: Some(vec!["big-1".into(), "big-2".into()]),
                removed: vec!["big-1".into(), "big-2".into()],
            },
        };
        let text = told(&loaded);
        assert!(text.contains("(0123456789ab) is in 1 ConfigMap of namespace isthmus-system"), "{text}");
        assert!(
            text.contains("removed ConfigMap big-1") && text.contains("removed ConfigMap big-2"),
            "{text}"
        );
        assert!(text.contains("its spec.source names big now, and no longer big-1, big-2"), "{text}");
    }
}
