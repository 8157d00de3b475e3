//! clouds.yaml, secure.yaml and clouds-public.yaml: found, read, laid over one another.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{ConfigError, Sources};

/// The clouds of clouds.yaml, with secure.yaml laid over them. Each is the first file that exists, on its own.
pub(super) fn clouds(sources: &Sources) -> Result<Map<String, Value>, ConfigError> {
    let mut config = first(&sources.candidates(Some("OS_CLIENT_CONFIG_FILE"), "clouds"))?;
    let secure = first(&sources.candidates(Some("OS_CLIENT_SECURE_FILE"), "secure"))?;
    merge(&mut config, secure);
    match config.remove("clouds") {
        Some(Value::Object(clouds)) => Ok(clouds),
        _ => Ok(Map::new()),
    }
}

/// `settings` over the vendor profile that they name (`profile`, formerly `cloud`).
pub(super) fn with_profile(
    sources: &Sources,
    name: &str,
    mut settings: Map<String, Value>,
) -> Result<Map<String, Value>, ConfigError> {
    let older = settings.remove("cloud");
    let Some(Value::String(profile)) = settings.remove("profile").or(older) else {
        return Ok(settings);
    };
    let mut vendors = first(&sources.candidates(None, "clouds-public"))?;
    let found = vendors.get_mut("public-clouds").and_then(|v| v.get_mut(&profile)).map(Value::take);
    let Some(Value::Object(mut merged)) = found else {
        tracing::warn!(
            cloud = name,
            profile,
            "vendor profile is not in clouds-public.yaml and has no effect"
        );
        return Ok(settings);
    };
    merge(&mut merged, settings);
    Ok(merged)
}

/// Lays `over` over `under`: mappings are merged, anything else is replaced.
pub(super) fn merge(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// The first file that exists and may be read; empty if there is none.
fn first(candidates: &[PathBuf]) -> Result<Map<String, Value>, ConfigError> {
    for path in candidates {
        match std::fs::read_to_string(path) {
            Ok(text) => return parse(path, &text),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                tracing::warn!(path = %path.display(), "may not be read, the next file is tried");
            }
            Err(source) => return Err(ConfigError::Read { path: path.clone(), source }),
        }
    }
    Ok(Map::new())
}

fn parse(path: &Path, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let error = |reason: String| ConfigError::Parse { path: path.to_owned(), reason };
    let value: Value = if path.extension().is_some_and(|e| e == "json") {
        serde_json::from_str(text).map_err(|e| error(e.to_string()))?
    } else {
        // The location alone: the message quotes the lines around it, where a password may be.
        serde_saphyr::from_str_with_options(text, scalars()).map_err(|e| {
            error(match e.location() {
                Some(at) => format!("not YAML at line {}, column {}", at.line(), at.column()),
                None => "not YAML".to_owned(),
            })
        })?
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(error("it is empty or no mapping".to_owned())),
    }
}

/// How plain scalars are read: `n` and `no` are names here, `007` is a password, and only `true` is true. (Settings
/// that are true or false take `no` as a text too.)
fn scalars() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    }
}
