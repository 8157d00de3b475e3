//! Where configuration comes from: variables and folders, as values, so that tests need no process state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Environment variables and the folders that are searched.
#[derive(Clone)]
pub struct Sources {
    env: BTreeMap<String, String>,
    folders: Vec<PathBuf>,
}

impl std::fmt::Debug for Sources {
    /// Names only: values of `OS_*` variables are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("env", &self.env.keys()).field("folders", &self.folders).finish()
    }
}

/// Variables that only choose; alone they define no cloud.
const SELECTORS: [&str; 5] =
    ["OS_CLOUD", "OS_REGION_NAME", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE", "OS_CLOUD_NAME"];

/// Variables that say something of a cloud that clouds.yaml names, too, and come before what stands there; the later before the
/// earlier. Others (`OS_USERNAME`, `OS_AUTH_URL`) say nothing of it. As openstackclient 10.5 has it.
const BESIDE: [(&str, &str); 11] = [
    ("OS_TENANT_NAME", "project_name"),
    ("OS_PROJECT_NAME", "project_name"),
    ("OS_PROJECT_ID", "project_id"),
    ("OS_PROJECT_DOMAIN_NAME", "project_domain_name"),
    ("OS_PROJECT_DOMAIN_ID", "project_domain_id"),
    ("OS_USER_DOMAIN_NAME", "user_domain_name"),
    ("OS_USER_DOMAIN_ID", "user_domain_id"),
    ("OS_INTERFACE", "interface"),
    ("OS_CACERT", "cacert"),
    ("OS_CERT", "cert"),
    ("OS_KEY", "key"),
];

impl Sources {
    /// This process's environment and working folder.
    pub fn from_process() -> Self {
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        // A working folder that was removed holds no clouds.yaml either.
        Self::new(env, &std::env::current_dir().unwrap_or_default())
    }

    /// These variables, searched from `working` folder on: the working folder, the user's configuration folder, the
    /// system's.
    pub fn new(env: BTreeMap<String, String>, working: &Path) -> Self {
        let var = |key: &str| env.get(key).filter(|v| !v.is_empty()).map(PathBuf::from);
        // A snap's HOME is not the user's.
        let home = var("SNAP_REAL_HOME").or_else(|| var("HOME"));
        let mut folders = vec![working.to_owned()];
        folders.extend(var("XDG_CONFIG_HOME").map(|d| d.join("openstack")));
        folders.extend(home.map(|d| d.join(".config/openstack")));
        let site = var("XDG_CONFIG_DIRS").unwrap_or_else(|| PathBuf::from("/etc/xdg"));
        folders.extend(std::env::split_paths(&site).map(|d| d.join("openstack")));
        folders.push(PathBuf::from("/etc/openstack"));
        Self { env, folders }
    }

    pub(super) fn var(&self, key: &str) -> Option<&str> {
        self.env.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The files `stem.{yaml,yml,json}` in the order they are tried; the one that `variable` names first.
    pub(super) fn candidates(&self, variable: Option<&str>, stem: &str) -> Vec<PathBuf> {
        let named = variable.and_then(|v| self.var(v)).map(PathBuf::from);
        let searched = self
            .folders
            .iter()
            .flat_map(|d| ["yaml", "yml", "json"].map(|suffix| d.join(format!("{stem}.{suffix}"))));
        named.into_iter().chain(searched).collect()
    }

    /// The cloud that the `OS_*` variables define, if they do: `OS_AUTH_URL` becomes `auth_url`.
    pub(super) fn env_cloud(&self) -> Option<Map<String, Value>> {
        // The three prefixes belong to test tools; openstacksdk leaves them out too.
        let relevant = |key: &str| {
            key.starts_with("OS_") && !["OS_TEST", "OS_STD", "OS_LOG"].iter().any(|p| key.starts_with(p))
        };
        let vars = || self.env.iter().filter(|(key, _)| relevant(key));
        if vars().all(|(key, _)| SELECTORS.contains(&key.as_str())) {
            return None;
        }
        let setting = |(key, value): (&String, &String)| {
            (key.strip_prefix("OS_").unwrap_or(key).to_lowercase(), Value::String(value.clone()))
        };
        Some(vars().map(setting).collect())
    }

    /// What variables say of a cloud of clouds.yaml.
    pub(super) fn beside(&self) -> impl Iterator<Item = (String, Value)> {
        let setting = |(key, setting): (&str, &str)| Some((setting.to_owned(), self.var(key)?.into()));
        BESIDE.into_iter().filter_map(setting)
    }

    /// `~` as the home folder.
    pub(super) fn expand(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.var("HOME")) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            _ => PathBuf::from(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn search_order() {
        let show = |sources: &Sources| {
            sources
                .candidates(Some("OS_CLIENT_CONFIG_FILE"), "clouds")
                .iter()
                .map(|p| p.display().to_string())
                .filter(|p| !p.ends_with("yml") && !p.ends_with("json"))
                .collect::<Vec<_>>()
        };
        let plain = Sources::new(env(&[("HOME", "/home/u")]), Path::new("/cwd"));
        assert_eq!(
            show(&plain),
            [
                "/cwd/clouds.yaml",
                "/home/u/.config/openstack/clouds.yaml",
                "/etc/xdg/openstack/clouds.yaml",
                "/etc/openstack/clouds.yaml"
            ]
        );
        let set = Sources::new(
            env(&[
                ("HOME", "/home/u"),
                ("XDG_CONFIG_HOME", "/x"),
                ("XDG_CONFIG_DIRS", "/a:/b"),
                ("OS_CLIENT_CONFIG_FILE", "/my.yaml"),
            ]),
            Path::new("/cwd"),
        );
        assert_eq!(
            show(&set),
            [
                "/my.yaml",
                "/cwd/clouds.yaml",
                "/x/openstack/clouds.yaml",
                "/home/u/.config/openstack/clouds.yaml",
                "/a/openstack/clouds.yaml",
                "/b/openstack/clouds.yaml",
                "/etc/openstack/clouds.yaml"
            ]
        );
        assert_eq!(set.expand("~/ca.pem"), Path::new("/home/u/ca.pem"));
    }

    #[test]
    fn selectors_alone_define_no_cloud() {
        let cloud = |pairs: &[(&str, &str)]| Sources::new(env(pairs), Path::new("/")).env_cloud();
        assert_eq!(
            cloud(&[("OS_CLOUD", "a"), ("OS_REGION_NAME", "b"), ("OS_LOG_X", "c"), ("PATH", "d")]),
            None
        );
        let settings = cloud(&[("OS_AUTH_URL", "http://k"), ("OS_CLOUD", "a")]).unwrap();
        assert_eq!(settings.get("auth_url"), Some(&Value::from("http://k")));
    }

    #[test]
    fn debug_shows_no_value() {
        let sources = Sources::new(env(&[("OS_PASSWORD", "hunter2")]), Path::new("/"));
        let text = format!("{sources:?}");
        assert!(text.contains("OS_PASSWORD") && !text.contains("hunter2"), "{text}");
    }
}
