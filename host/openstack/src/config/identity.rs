//! Where and as whom to sign in, from the settings of a cloud.

use super::{ConfigError, Settings, bad};
use crate::Secret;

/// Where and as whom to sign in.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Base URL of Keystone, with or without `/v3`.
    pub auth_url: String,
    /// Who we are.
    pub method: AuthMethod,
    /// What the token is for.
    pub scope: Scope,
}

/// How we show who we are.
#[derive(Debug, Clone)]
pub enum AuthMethod {
    /// User and password.
    Password {
        /// The user.
        user: User,
        /// Its password.
        password: Secret,
    },
    /// Application credential by id: needs no user, and brings its own scope.
    ApplicationCredential {
        /// Id of the credential.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// Application credential by name within a user.
    NamedApplicationCredential {
        /// Name of the credential.
        name: String,
        /// Its user.
        user: User,
        /// Its secret.
        secret: Secret,
    },
    /// A token obtained elsewhere; it is exchanged, and lives no longer than the first.
    Token {
        /// The token.
        token: Secret,
    },
}

/// A user, by id or by name within a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By id.
    Id(String),
    /// By name.
    Name(String, Domain),
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// A project, by id or by name within a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Project {
    /// By id.
    Id(String),
    /// By name.
    Name(String, Domain),
}

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Whatever the credential or the user's default project gives.
    None,
    /// A project.
    Project(Project),
    /// A domain.
    Domain(Domain),
    /// The whole system.
    System,
    /// What a trust delegates, by its id.
    Trust(String),
}

pub(super) fn read(cloud: &str, settings: &Settings) -> Result<AuthConfig, ConfigError> {
    let read = Reader { cloud, settings };
    let auth_url = read.expand(read.either("auth_url").ok_or_else(|| read.missing("auth_url"))?);
    if auth_url.trim_end_matches('/').ends_with("/v2.0") {
        return Err(bad(cloud, "auth_url", "the Identity API v2.0 is not supported, v3 is"));
    }
    let method = read.method()?;
    let scope = match method {
        // Keystone refuses a scope next to an application credential, which has its own.
        AuthMethod::ApplicationCredential { .. } | AuthMethod::NamedApplicationCredential { .. } => {
            Scope::None
        }
        _ => read.scope(),
    };
    Ok(AuthConfig { auth_url, method, scope })
}

struct Reader<'a> {
    cloud: &'a str,
    settings: &'a Settings,
}

impl<'a> Reader<'a> {
    /// The first of `keys` that is set; outside of `auth` wins (a variable or a region's override).
    fn scope_key(&self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| self.settings.top(key).or(self.settings.auth(key)))
    }

    /// A setting inside or outside of `auth`; inside wins.
    fn either(&self, key: &str) -> Option<&'a str> {
        self.settings.auth(key).or(self.settings.top(key))
    }

    fn need(&self, key: &'static str) -> Result<&'a str, ConfigError> {
        self.either(key).ok_or_else(|| self.missing(key))
    }

    fn missing(&self, what: &'static str) -> ConfigError {
        ConfigError::Missing { cloud: self.cloud.to_owned(), what }
    }

    /// `{region_name}` and the like in an auth_url are replaced by settings of the cloud.
    fn expand(&self, template: &str) -> String {
        self.settings.top.keys().fold(template.to_owned(), |url, key| match self.settings.top(key) {
            Some(value) => url.replace(&format!("{{{key}}}"), value),
            None => url,
        })
    }

    fn method(&self) -> Result<AuthMethod, ConfigError> {
        let token = self.scope_key(&["token", "auth_token"]);
        let stated = self.settings.top("auth_type").or(self.settings.top("auth_plugin"));
        let has_credential = ["application_credential_id", "application_credential_name"]
            .iter()
            .any(|k| self.either(k).is_some());
        let inferred = if has_credential {
            "v3applicationcredential"
        } else if token.is_some() && self.either("password").is_none() {
            "token"
        } else {
            "password"
        };
        match stated.unwrap_or(inferred) {
            "password" | "v3password" => {
                let password = Secret::new(self.need("password")?);
                Ok(AuthMethod::Password { user: self.user()?, password })
            }
            "v3applicationcredential" | "v3application_credential" => {
                let secret = Secret::new(self.need("application_credential_secret")?);
                match self.either("application_credential_id") {
                    Some(id) => Ok(AuthMethod::ApplicationCredential { id: id.to_owned(), secret }),
                    None => {
                        let name = self.need("application_credential_name")?.to_owned();
                        Ok(AuthMethod::NamedApplicationCredential { name, user: self.user()?, secret })
                    }
                }
            }
            "token" | "v3token" => {
                let token = Secret::new(token.ok_or_else(|| self.missing("token"))?);
                Ok(AuthMethod::Token { token })
            }
            other => Err(bad(
                self.cloud,
                "auth_type",
                format!("{other:?} is not supported; password, v3applicationcredential and token are"),
            )),
        }
    }

    fn user(&self) -> Result<User, ConfigError> {
        if let Some(id) = self.either("user_id") {
            return Ok(User::Id(id.to_owned()));
        }
        // keystoneauth knows the user as "user-name" too.
        let name = self.either("username").or(self.either("user_name"));
        let name = name.ok_or_else(|| self.missing("username or user_id"))?;
        Ok(User::Name(name.to_owned(), self.domain("user_domain_id", "user_domain_name")))
    }

    fn scope(&self) -> Scope {
        if let Some(trust) = self.either("trust_id") {
            Scope::Trust(trust.to_owned())
        } else if self.either("system_scope").is_some() {
            Scope::System
        } else if let Some(id) = self.project_id() {
            Scope::Project(Project::Id(id.to_owned()))
        } else if let Some(name) = self.project_name() {
            let domain = self.domain("project_domain_id", "project_domain_name");
            Scope::Project(Project::Name(name.to_owned(), domain))
        } else if let Some(id) = self.scope_key(&["domain_id"]) {
            Scope::Domain(Domain::Id(id.to_owned()))
        } else if let Some(name) = self.scope_key(&["domain_name"]) {
            Scope::Domain(Domain::Name(name.to_owned()))
        } else {
            Scope::None
        }
    }

    fn project_id(&self) -> Option<&'a str> {
        self.scope_key(&["project_id", "tenant_id"])
    }

    fn project_name(&self) -> Option<&'a str> {
        self.scope_key(&["project_name", "tenant_name"])
    }

    /// The domain of a user or project: its own setting, else, with a project scope, the one for both
    /// (`domain_id`, `domain_name`), else openstackclient's default domain.
    fn domain(&self, id: &str, name: &str) -> Domain {
        let shared = self.project_id().or(self.project_name()).is_some();
        let shared = |key| if shared { self.scope_key(&[key]) } else { None };
        if let Some(id) = self.scope_key(&[id]).or_else(|| shared("domain_id")) {
            Domain::Id(id.to_owned())
        } else if let Some(name) = self.scope_key(&[name]).or_else(|| shared("domain_name")) {
            Domain::Name(name.to_owned())
        } else {
            Domain::Id(self.settings.top("default_domain").unwrap_or("default").to_owned())
        }
    }
}
