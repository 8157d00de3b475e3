//! A module in ConfigMaps: one, or several parts where it is larger than a ConfigMap may be (1 MiB).

use std::collections::BTreeMap;

use isthmus_kubernetes::crd::ModuleSource;
use isthmus_kubernetes::names::{ANNOTATION_PART, ANNOTATION_SHA256, LABEL_POLICY_MODULE};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use thiserror::Error;

/// Key of the bytes in a ConfigMap.
pub const KEY: &str = "module.wasm";
/// Most bytes of one part: an object of etcd has 1.5 MiB, and a ConfigMap 1 MiB with all its names.
pub const PART: usize = 900 * 1024;

/// Why there are no bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    /// A ConfigMap that is not there.
    #[error("ConfigMap {0} is not there")]
    Missing(String),
    /// A ConfigMap that is there, and that nobody said to be a module.
    #[error("ConfigMap {0} lacks the label {LABEL_POLICY_MODULE}, with the PolicyModule's name as value")]
    Unlabelled(String),
    /// A ConfigMap without the bytes.
    #[error("ConfigMap {map} has no {wanted} in its binaryData; it has [{found}]")]
    NoKey {
        /// Which one.
        map: String,
        /// What was looked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// Parts that do not fit together.
    #[error("the parts do not fit together: {0}")]
    Parts(String),
}

/// The bytes of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// The component or its gzip.
    pub bytes: Vec<u8>,
    /// The sha256 that the ConfigMaps name, of the unpacked component.
    pub sha256: Option<String>,
}

/// Reads a source from the ConfigMaps that there are, by name.
///
/// # Errors
/// What is missing.
pub fn read(source: &ModuleSource, maps: &BTreeMap<String, ConfigMap>) -> Result<Bytes, SourceError> {
    let mut parts = Vec::new();
    for named in &source.config_maps {
        let map = maps.get(&named.name).ok_or_else(|| SourceError::Missing(named.name.clone()))?;
        parts.push((part_of(map)?, map));
    }
    if parts.iter().any(|((_, of), _)| *of != parts.len()) && parts.len() > 1 {
        let said: Vec<String> =
            parts.iter().map(|((n, of), map)| format!("{} is {n}/{of}", map.name_any())).collect();
        return Err(SourceError::Parts(format!("{} are named, but {}", parts.len(), said.join(", "))));
    }
    if let [((_, of), map)] = parts.as_slice()
        && *of != 1
    {
        return Err(SourceError::Parts(format!("{} is one of {of} parts; name all of them", map.name_any())));
    }
    parts.sort_by_key(|((n, _), _)| *n);
    if parts.iter().enumerate().any(|(at, ((n, _), _))| *n != at + 1) {
        return Err(SourceError::Parts("a number is there twice, another not at all".into()));
    }
    let mut sums: Vec<&String> =
        parts.iter().filter_map(|(_, map)| map.annotations().get(ANNOTATION_SHA256)).collect();
    sums.dedup();
    if sums.len() > 1 {
        return Err(SourceError::Parts("they are of different versions (their sha256 differ)".into()));
    }
    let mut bytes = Vec::new();
    for (_, map) in &parts {
        bytes.extend_from_slice(&content(map, source.key.as_deref())?.0);
    }
    Ok(Bytes { bytes, sha256: sums.first().map(|s| (*s).clone()) })
}

/// `2/3`, or 1 of 1 where nothing is said.
fn part_of(map: &ConfigMap) -> Result<(usize, usize), SourceError> {
    let Some(text) = map.annotations().get(ANNOTATION_PART) else { return Ok((1, 1)) };
    let parsed =
        text.split_once('/').and_then(|(n, of)| Some((n.trim().parse().ok()?, of.trim().parse().ok()?)));
    match parsed {
        Some((n, of)) if (1..=of).contains(&n) => Ok((n, of)),
        _ => {
            let why = format!("{ANNOTATION_PART} of {} is {text:?}, expected as in \"2/3\"", map.name_any());
            Err(SourceError::Parts(why))
        }
    }
}

/// The bytes under the key that is asked for, else under [`KEY`], else under the only key.
fn content<'a>(map: &'a ConfigMap, key: Option<&str>) -> Result<&'a ByteString, SourceError> {
    let data = map.binary_data.as_ref();
    let all = || data.into_iter().flatten();
    let found = match key {
        Some(key) => data.and_then(|d| d.get(key)),
        None => data.and_then(|d| d.get(KEY)).or_else(|| match all().collect::<Vec<_>>().as_slice() {
            [(_, only)] => Some(*only),
            _ => None,
        }),
    };
    found.ok_or_else(|| SourceError::NoKey {
        map: map.name_any(),
        wanted: key.unwrap_or(KEY).into(),
        found: all().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// ConfigMaps that hold a module's bytes: one, or several parts. `name` is the PolicyModule's; `sha256` that of the unpacked
/// component.
pub fn write(name: &str, bytes: &[u8], sha256: &str) -> Vec<ConfigMap> {
    let parts: Vec<&[u8]> = bytes.chunks(PART).collect();
    let of = parts.len();
    let map = |(at, part): (usize, &&[u8])| {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(if of == 1 { name.to_owned() } else { format!("{name}-{}", at + 1) });
        map.labels_mut().insert(LABEL_POLICY_MODULE.into(), name.into());
        map.annotations_mut().insert(ANNOTATION_SHA256.into(), sha256.into());
        if of > 1 {
            map.annotations_mut().insert(ANNOTATION_PART.into(), format!("{}/{of}", at + 1));
        }
        map.binary_data = Some(BTreeMap::from([(KEY.to_owned(), ByteString(part.to_vec()))]));
        map
    };
    parts.iter().enumerate().map(map).collect()
}

#[cfg(test)]
mod tests {
    use isthmus_kubernetes::crd::ConfigMapRef;

    use super::*;

    fn source(names: &[&str]) -> ModuleSource {
        let config_maps = names.iter().map(|n| ConfigMapRef { name: (*n).into() }).collect();
        ModuleSource { config_maps, key: None }
    }

    fn by_name(maps: Vec<ConfigMap>) -> BTreeMap<String, ConfigMap> {
        maps.into_iter().map(|m| (m.name_any(), m)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes: Vec<u8> = (0..PART * 2 + 7).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let maps = by_name(write("big", &bytes, "s"));
        assert_eq!(maps.keys().collect::<Vec<_>>(), ["big-1", "big-2", "big-3"]);
        let read = read(&source(&["big-2", "big-1", "big-3"]), &maps).unwrap();
        assert!(read.bytes == bytes && read.sha256.as_deref() == Some("s"));
    }

    #[test]
    fn says_what_is_missing() {
        let mut maps = by_name(write("big", &vec![1; PART + 1], "s"));
        let text =
            |names: &[&str], maps: &BTreeMap<_, _>| read(&source(names), maps).unwrap_err().to_string();
        assert!(text(&["other"], &maps).contains("ConfigMap other is not there"));
        assert!(text(&["big-1"], &maps).contains("big-1 is one of 2 parts"));
        assert!(text(&["big-1", "big-1"], &maps).contains("twice"));
        maps.get_mut("big-2").unwrap().annotations_mut().insert(ANNOTATION_SHA256.into(), "t".into());
        assert!(text(&["big-1", "big-2"], &maps).contains("different versions"));
        maps.get_mut("big-1").unwrap().annotations_mut().insert(ANNOTATION_PART.into(), "x".into());
        assert!(text(&["big-1", "big-2"], &maps).contains("expected as in"));
        let mut empty = by_name(write("one", b"x", "s"));
        empty.get_mut("one").unwrap().binary_data = None;
        assert!(text(&["one"], &empty).contains("has no module.wasm"));
    }
}
