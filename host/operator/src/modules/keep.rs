//! The last good version of each module, in ConfigMaps of our own: a new leader has it although the source may be gone or
//! changed meanwhile.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::names::{ANNOTATION_SHA256, FIELD_MANAGER, LABEL_POLICY_MODULE};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};

use super::source;

/// Label of these ConfigMaps; its value is the PolicyModule's name. Not the label of sources: nobody shall load from them.
pub const LABEL_KEPT: &str = "isthmus.dev/kept-module";
/// Label of these ConfigMaps: which version they hold, as [`Which`] writes it.
const LABEL_WHICH: &str = "isthmus.dev/kept-version";
/// Where the config is kept beside the bytes.
const CONFIG: &str = "config.json";

/// Which version of a module is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The last good one.
    Current,
    /// The one before it: it is called where that one fails.
    Previous,
}

impl Which {
    fn label(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }

    fn selector(self, name: &str) -> String {
        format!("{LABEL_KEPT}={name},{LABEL_WHICH}={}", self.label())
    }

    /// Name of the ConfigMap, or of one of its parts, counted from 1. The module's name comes last: of no two modules it is the same.
    fn config_map(self, name: &str, part: Option<usize>) -> String {
        let part = part.map(|part| format!("-{part}")).unwrap_or_default();
        format!("isthmus-kept-{}{part}.{name}", self.label())
    }
}

/// A kept version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The component, or its gzip.
    pub bytes: Vec<u8>,
    /// sha256 of the component.
    pub digest: String,
    /// Its config, JSON text.
    pub config: String,
}

/// Reads what is kept of a module. Parts that do not fit together (a write that was cut) are nothing.
///
/// # Errors
/// The API server's.
pub async fn load(
    client: &Client,
    namespace: &str,
    name: &str,
    which: Which,
) -> Result<Option<Kept>, isthmus_kubernetes::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.kube(), namespace);
    let parameters = ListParams::default().labels(&which.selector(name));
    let found = client.read(&format!("read what is kept of {name}"), maps.list(&parameters)).await?;
    let maps: BTreeMap<String, ConfigMap> = found.items.into_iter().map(|m| (m.name_any(), m)).collect();
    let config_maps =
        maps.keys().map(|n| isthmus_kubernetes::crd::ConfigMapRef { name: n.clone() }).collect();
    let source = isthmus_kubernetes::crd::ModuleSource { config_maps, key: None };
    let config =
        maps.values().find_map(|m| m.data.as_ref()?.get(CONFIG).cloned()).unwrap_or_else(|| "{}".into());
    let read = source::read(&source, &maps).ok();
    Ok(read.and_then(|read| Some(Kept { bytes: read.bytes, digest: read.sha256?, config })))
}

/// Keeps a version in place of what was kept before.
///
/// # Errors
/// The API server's. What was kept before may be cut then; the next swap or start keeps anew.
pub async fn store(
    client: &Client,
    namespace: &str,
    name: &str,
    which: Which,
    kept: &Kept,
) -> Result<(), isthmus_kubernetes::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.kube(), namespace);
    let mut written = Vec::new();
    let parts = source::write(name, &packed(&kept.bytes), &kept.digest);
    let several = parts.len() > 1;
    for (mut map, at) in parts.into_iter().zip(1..) {
        map.metadata.name = Some(which.config_map(name, several.then_some(at)));
        map.labels_mut().remove(LABEL_POLICY_MODULE);
        map.labels_mut().insert(LABEL_KEPT.into(), name.into());
        map.labels_mut().insert(LABEL_WHICH.into(), which.label().into());
        map.annotations_mut().insert(ANNOTATION_SHA256.into(), kept.digest.clone());
        map.data = Some(BTreeMap::from([(CONFIG.to_owned(), kept.config.clone())]));
        let part = map.name_any();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("keep module {name} in ConfigMap {part}");
        client
            .write("apply", "configmaps", &what, maps.patch(&part, &parameters, &Patch::Apply(&map)))
            .await?;
        written.push(part);
    }
    let parameters = ListParams::default().labels(&which.selector(name));
    let all = client.read(&format!("list what is kept of {name}"), maps.list(&parameters)).await?;
    for old in all.items.into_iter().map(|m| m.name_any()).filter(|n| !written.contains(n)) {
        remove_one(client, &maps, &old).await?;
    }
    Ok(())
}

/// Removes what is kept of a module.
///
/// # Errors
/// The API server's.
pub async fn remove(client: &Client, namespace: &str, name: &str) -> Result<(), isthmus_kubernetes::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.kube(), namespace);
    let parameters = ListParams::default().labels(&format!("{LABEL_KEPT}={name}"));
    let all = client.read(&format!("list what is kept of {name}"), maps.list(&parameters)).await?;
    for old in all.items {
        remove_one(client, &maps, &old.name_any()).await?;
    }
    Ok(())
}

async fn remove_one(
    client: &Client,
    maps: &Api<ConfigMap>,
    name: &str,
) -> Result<(), isthmus_kubernetes::Error> {
    let parameters = DeleteParams::default();
    let call = maps.delete(name, &parameters);
    match client.write("delete", "configmaps", &format!("delete ConfigMap {name}"), call).await {
        Err(error) if error.kind != isthmus_kubernetes::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// gzip of the bytes, or the bytes themselves where they are gzip already.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(packed) => packed,
        // Writing to memory does not fail; the bytes as they are load as well.
        Err(_) => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A module's name may have dots, and end in a number.
    #[test]
    fn no_two_modules_are_kept_under_one_name() {
        let mut seen = BTreeSet::new();
        for name in ["foo", "foo-1", "foo.previous", "previous.foo", "1.foo", "current-1.foo"] {
            for which in [Which::Current, Which::Previous] {
                for part in [None, Some(1), Some(2)] {
                    let kept = which.config_map(name, part);
                    assert!(seen.insert(kept.clone()), "{kept} twice");
                }
            }
        }
    }
}
