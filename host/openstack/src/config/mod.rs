//! Which cloud, who we are in it, and how to talk to it: clouds.yaml, secure.yaml and `OS_*` variables.
//!
//! The rules are those of openstacksdk's `openstack.config` (which openstackclient uses):
//! <https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html>. Three differences, each on the side
//! of not being surprised in production: a configuration file that does not parse is an error instead of being skipped;
//! `OS_REGION_NAME` chooses the region of a named cloud too (openstackclient does, openstacksdk does not); built-in
//! vendor profiles do not exist, only those of `clouds-public.yaml`.

mod files;
mod identity;
mod providers;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::catalog::Interface;
use crate::tls::TlsConfig;

pub use identity::{AuthConfig, AuthMethod, Domain, Project, Scope, User};
pub use providers::{ALGORITHMS, PROTOCOLS, ProviderAbilities};
pub use sources::Sources;

/// Everything needed to open a [`crate::Session`].
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Name of the cloud in clouds.yaml; `envvars` for one from `OS_*` variables.
    pub name: String,
    /// Where and as whom to sign in.
    pub auth: AuthConfig,
    /// Region of the endpoints; without one the first that the catalog has.
    pub region: Option<String>,
    /// Interface of the endpoints.
    pub interface: Interface,
    /// What differs for one service, by service type with dashes (`network`, `load-balancer`).
    pub services: BTreeMap<String, ServiceOptions>,
    /// Certificates.
    pub tls: TlsConfig,
    /// Longest time from sending a request to the end of its answer; `api_timeout`, default 10 s.
    pub request_timeout: Duration,
    /// Longest time to connect; default 3 s.
    pub connect_timeout: Duration,
    /// What is said of load-balancer providers (`load_balancer_providers`).
    pub providers: Vec<ProviderAbilities>,
}

/// What differs for one service (`network_endpoint_override`, `network_interface`, `network_region_name`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Base URL to use instead of the catalog's.
    pub endpoint_override: Option<String>,
    /// Interface instead of the cloud's.
    pub interface: Option<Interface>,
    /// Region instead of the cloud's.
    pub region: Option<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that exists cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no YAML or JSON, or no mapping.
    #[error("{path} is no configuration of clouds: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// The file and `OS_CLOUD_NAME` define the same cloud.
    #[error("clouds.yaml and the OS_* variables both define a cloud named {0:?}; rename one (OS_CLOUD_NAME)")]
    NameTaken(String),
    /// No cloud was asked for, and there is none or more than one.
    #[error("no cloud chosen: set OS_CLOUD to one of [{0}], or OS_AUTH_URL and the other OS_* variables")]
    NoCloud(String),
    /// A cloud of clouds.yaml is wanted, and no clouds.yaml defines one.
    #[error(
        "no clouds.yaml with a cloud in it: looked for {0}; make one, or set OS_AUTH_URL and the other OS_* variables"
    )]
    NoClouds(String),
    /// The cloud asked for is not there.
    #[error("no cloud {name:?} in clouds.yaml, which has [{known}]")]
    UnknownCloud {
        /// The cloud asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The region asked for is not one of the cloud's.
    #[error("cloud {cloud:?} has no region {region:?}; it has [{known}]")]
    UnknownRegion {
        /// The cloud.
        cloud: String,
        /// The region asked for.
        region: String,
        /// Those there are.
        known: String,
    },
    /// A setting is missing.
    #[error("cloud {cloud:?} has no {what}")]
    Missing {
        /// The cloud.
        cloud: String,
        /// What is missing.
        what: &'static str,
    },
    /// A setting has a value that it cannot have.
    #[error("cloud {cloud:?}: {key}: {reason}")]
    Bad {
        /// The cloud.
        cloud: String,
        /// The setting.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key file cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The HTTP client cannot be built.
    #[error("no HTTP client: {0} (a system without certificate authorities needs `cacert`)")]
    Client(String),
}

impl CloudConfig {
    /// A configuration with defaults for everything but the sign-in.
    pub fn new(name: impl Into<String>, auth: AuthConfig) -> Self {
        Self {
            name: name.into(),
            auth,
            region: None,
            interface: Interface::Public,
            services: BTreeMap::new(),
            tls: TlsConfig::default(),
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            providers: Vec::new(),
        }
    }

    /// The cloud `cloud`, or without a name: `OS_CLOUD`, else the one of the `OS_*` variables, else the only one of
    /// clouds.yaml.
    ///
    /// # Errors
    /// No such cloud, or what is configured for it cannot be used. No error holds a secret.
    pub fn load(sources: &Sources, cloud: Option<&str>) -> Result<Self, ConfigError> {
        let clouds = files::clouds(sources)?;
        let env_name = sources.var("OS_CLOUD_NAME").unwrap_or("envvars");
        if clouds.contains_key(env_name) {
            return Err(ConfigError::NameTaken(env_name.to_owned()));
        }
        let from_env = sources.env_cloud();
        let none = || {
            let searched = sources.candidates(Some("OS_CLIENT_CONFIG_FILE"), "clouds");
            let yaml = searched.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml"));
            ConfigError::NoClouds(yaml.map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))
        };
        let known = || clouds.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let name = match cloud.or(sources.var("OS_CLOUD")) {
            Some(name) => name.to_owned(),
            None if from_env.is_some() => env_name.to_owned(),
            None => match (clouds.len(), clouds.keys().next()) {
                (1, Some(only)) => only.clone(),
                (0, _) => return Err(none()),
                _ => return Err(ConfigError::NoCloud(known())),
            },
        };
        let from_file = name != env_name;
        let settings = match from_env {
            Some(settings) if !from_file => settings,
            _ => match clouds.get(&name).cloned() {
                Some(Value::Object(settings)) => files::with_profile(sources, &name, settings)?,
                Some(_) => return Err(bad(&name, "clouds", "is no mapping")),
                None if clouds.is_empty() => return Err(none()),
                None => return Err(ConfigError::UnknownCloud { known: known(), name }),
            },
        };
        let region = if from_file { sources.var("OS_REGION_NAME") } else { None };
        let (settings, region) = choose_region(&name, settings, region)?;
        let mut settings = Settings::new(&name, settings)?;
        if from_file {
            settings.top.extend(sources.beside());
        }
        Self::from_settings(sources, name, &settings, region)
    }

    fn from_settings(
        sources: &Sources,
        name: String,
        settings: &Settings,
        region: Option<String>,
    ) -> Result<Self, ConfigError> {
        let auth = identity::read(&name, settings)?;
        let mut config = Self::new(name, auth);
        config.region = region;
        if let Some(interface) = settings.top("interface").or(settings.top("endpoint_type")) {
            config.interface = parse(&config.name, "interface", interface)?;
        }
        // "insecure" is openstackclient's older spelling and wins.
        let insecure = settings.bool(&config.name, "insecure")?.unwrap_or(false);
        config.tls = TlsConfig {
            verify: !insecure && settings.bool(&config.name, "verify")?.unwrap_or(true),
            cacert: settings.top("cacert").map(|p| sources.expand(p)),
            cert: settings.top("cert").map(|p| sources.expand(p)),
            key: settings.top("key").map(|p| sources.expand(p)),
        };
        if let Some(seconds) = settings.number(&config.name, "api_timeout")? {
            config.request_timeout = Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|d| !d.is_zero())
                .ok_or_else(|| bad(&config.name, "api_timeout", "is no positive number of seconds"))?;
        }
        config.services = service_options(&config.name, settings)?;
        config.providers = providers::read(&config.name, settings)?;
        Ok(config)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(auth_url: &str) -> Self {
        let method = AuthMethod::Token { token: crate::Secret::new("t") };
        Self::new("test", AuthConfig { auth_url: auth_url.into(), method, scope: Scope::None })
    }
}

/// Settings of one cloud, keys with underscores, scalars as text.
struct Settings {
    top: Map<String, Value>,
    auth: Map<String, Value>,
}

impl Settings {
    fn new(cloud: &str, settings: Map<String, Value>) -> Result<Self, ConfigError> {
        let mut top = normalised(settings);
        let auth = match top.remove("auth") {
            Some(Value::Object(auth)) => auth,
            _ => Map::new(),
        };
        // `password: 1e5` is a number to YAML, and its text is lost.
        if let Some((key, _)) = auth.iter().find(|(_, v)| v.is_number()) {
            return Err(bad(cloud, key, "looks like a number; put it in quotes"));
        }
        Ok(Self { top, auth })
    }

    fn top(&self, key: &str) -> Option<&str> {
        text(&self.top, key)
    }

    fn auth(&self, key: &str) -> Option<&str> {
        text(&self.auth, key)
    }

    fn number(&self, cloud: &str, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.top.get(key).and_then(Value::as_f64) {
            Some(number) => Ok(Some(number)),
            None => self.top(key).map(|text| parse(cloud, key, text)).transpose(),
        }
    }

    fn bool(&self, cloud: &str, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.top.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "" => Ok(None),
                "true" | "yes" | "on" | "1" => Ok(Some(true)),
                "false" | "no" | "off" | "0" => Ok(Some(false)),
                _ => Err(bad(cloud, key, "is neither true nor false")),
            },
            Some(_) => Err(bad(cloud, key, "is neither true nor false")),
        }
    }
}

/// An empty string counts as not set: openrc files export `OS_PROJECT_ID=""`.
fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|s| !s.is_empty())
}

/// `-` to `_` in keys, whole numbers to text: a password of digits is a password.
fn normalised(map: Map<String, Value>) -> Map<String, Value> {
    let value = |value| match value {
        Value::Object(inner) => Value::Object(normalised(inner)),
        Value::Number(number) if !number.is_f64() => Value::String(number.to_string()),
        other => other,
    };
    map.into_iter().map(|(k, v)| (k.replace('-', "_"), value(v))).collect()
}

/// The region to use, and the settings with what that region overrides.
///
/// `regions` is a list of names, or of `{name, values}`; without it `region_name` may be one name, a list, or names
/// joined by commas. Without `wanted` the first is taken.
fn choose_region(
    cloud: &str,
    mut settings: Map<String, Value>,
    wanted: Option<&str>,
) -> Result<(Map<String, Value>, Option<String>), ConfigError> {
    let declared = settings.remove("regions").filter(|v| !v.is_null());
    let single = settings.remove("region_name").or_else(|| settings.remove("region-name"));
    let entries = match declared.or(single) {
        Some(Value::Array(entries)) => entries,
        Some(Value::String(names)) => {
            names.split(',').filter(|n| !n.is_empty()).map(|n| Value::String(n.to_owned())).collect()
        }
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(bad(cloud, "regions", "is no list of regions")),
    };
    let mut regions = Vec::new();
    for entry in entries {
        regions.push(match entry {
            Value::String(name) => (name, Map::new()),
            Value::Object(mut region) => match (region.remove("name"), region.remove("values")) {
                (Some(Value::String(name)), Some(Value::Object(values))) => (name, values),
                (Some(Value::String(name)), None | Some(Value::Null)) => (name, Map::new()),
                _ => return Err(bad(cloud, "regions", "has an entry without name or with other values")),
            },
            _ => return Err(bad(cloud, "regions", "has an entry that is no name")),
        });
    }
    if regions.is_empty() {
        return Ok((settings, wanted.map(str::to_owned)));
    }
    let at = match wanted {
        None => 0,
        Some(wanted) => regions.iter().position(|(name, _)| name == wanted).ok_or_else(|| {
            let known: Vec<_> = regions.iter().map(|(name, _)| name.as_str()).collect();
            ConfigError::UnknownRegion {
                cloud: cloud.to_owned(),
                region: wanted.to_owned(),
                known: known.join(", "),
            }
        })?,
    };
    let (name, values) = regions.swap_remove(at);
    files::merge(&mut settings, values);
    // For a template in the auth_url.
    settings.insert("region_name".to_owned(), Value::String(name.clone()));
    Ok((settings, Some(name)))
}

fn service_options(
    cloud: &str,
    settings: &Settings,
) -> Result<BTreeMap<String, ServiceOptions>, ConfigError> {
    let mut services = BTreeMap::<String, ServiceOptions>::new();
    for key in settings.top.keys() {
        let Some(value) = settings.top(key) else { continue };
        let service = |suffix| key.strip_suffix(suffix).map(|s| s.replace('_', "-"));
        if let Some(service) = service("_endpoint_override") {
            services.entry(service).or_default().endpoint_override = Some(value.to_owned());
        } else if let Some(service) = service("_interface").or_else(|| service("_endpoint_type")) {
            services.entry(service).or_default().interface = Some(parse(cloud, key, value)?);
        } else if let Some(service) = service("_region_name") {
            services.entry(service).or_default().region = Some(value.to_owned());
        }
    }
    Ok(services)
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    cloud: &str,
    key: &str,
    value: &str,
) -> Result<T, ConfigError> {
    value.parse().map_err(|e: T::Err| bad(cloud, key, e))
}

fn bad(cloud: &str, key: &str, reason: impl std::fmt::Display) -> ConfigError {
    ConfigError::Bad { cloud: cloud.to_owned(), key: key.to_owned(), reason: reason.to_string() }
}
