//! Who there is: projects, users, and the roles they have there.

use serde_json::{Value, json};

use crate::Options;

/// The only domain.
pub(super) const DOMAIN: &str = "default";
/// Id of the project that a world is made for; Keystone's ids are 32 hex digits.
pub(crate) const PROJECT: &str = "5f3a0000000000000000000000000001";
/// Id of somebody else's project.
pub(crate) const OTHER_PROJECT: &str = "5f3a0000000000000000000000000011";
const ADMIN_PROJECT: &str = "5f3a0000000000000000000000000021";

/// A user of the cloud; all have the password of [`Options`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// The user of [`Options`]: member of the project with the role `service`, which is what may bind a port to a host.
    Service,
    /// `demo`: a plain member of the same project.
    Member,
    /// `admin`, in the project `admin`.
    Admin,
    /// `stranger`: a member of the project `other`.
    Stranger,
}

/// A project.
#[derive(Debug, Clone)]
pub(super) struct Project {
    pub(super) id: &'static str,
    pub(super) name: String,
}

/// A user with its one project.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: &'static str,
    pub(super) name: String,
    pub(super) project: &'static str,
    pub(super) roles: &'static [&'static str],
}

const ROLES: &[(&str, &str)] = &[
    ("5f3a00000000000000000000000000a1", "admin"),
    ("5f3a00000000000000000000000000a2", "member"),
    ("5f3a00000000000000000000000000a3", "reader"),
    ("5f3a00000000000000000000000000a4", "service"),
    ("5f3a00000000000000000000000000a5", "load-balancer_member"),
];

impl As {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Service, Self::Member, Self::Admin, Self::Stranger];

    pub(super) fn user(self, options: &Options) -> User {
        let named = |id, name: &str, project, roles| User { id, name: name.to_owned(), project, roles };
        match self {
            Self::Service => {
                let roles: &[&str] = &["member", "service", "reader", "load-balancer_member"];
                named("5f3a0000000000000000000000000002", &options.user, PROJECT, roles)
            }
            Self::Member => {
                let roles: &[&str] = &["member", "reader", "load-balancer_member"];
                named("5f3a0000000000000000000000000003", "demo", PROJECT, roles)
            }
            Self::Admin => {
                let roles: &[&str] = &["admin", "member", "reader"];
                named("5f3a0000000000000000000000000022", "admin", ADMIN_PROJECT, roles)
            }
            Self::Stranger => {
                let roles: &[&str] = &["member", "reader", "load-balancer_member"];
                named("5f3a0000000000000000000000000012", "stranger", OTHER_PROJECT, roles)
            }
        }
    }
}

pub(super) fn users(options: &Options) -> Vec<User> {
    As::ALL.into_iter().map(|who| who.user(options)).collect()
}

pub(super) fn projects(options: &Options) -> Vec<Project> {
    let named = |id, name: &str| Project { id, name: name.to_owned() };
    vec![named(PROJECT, &options.project), named(OTHER_PROJECT, "other"), named(ADMIN_PROJECT, "admin")]
}

impl Project {
    pub(super) fn shown(&self, url: &str) -> Value {
        json!({"id": self.id, "name": self.name, "domain_id": DOMAIN, "parent_id": DOMAIN, "description": "", "enabled": true,
               "is_domain": false, "tags": [], "options": {}, "links": {"self": format!("{url}/v3/projects/{}", self.id)}})
    }
}

impl User {
    pub(super) fn shown(&self, url: &str) -> Value {
        json!({"id": self.id, "name": self.name, "domain_id": DOMAIN, "enabled": true, "options": {}, "password_expires_at": null,
               "links": {"self": format!("{url}/v3/users/{}", self.id)}})
    }

    /// Its roles, as a token has them.
    pub(super) fn roles(&self) -> Value {
        let all = ROLES.iter().filter(|(_, name)| self.roles.contains(name));
        all.map(|(id, name)| json!({"id": id, "name": name})).collect()
    }
}

pub(super) fn roles(url: &str) -> Vec<Value> {
    let shown = |(id, name): &(&str, &str)| {
        json!({"id": id, "name": name, "domain_id": null, "description": null, "options": {},
               "links": {"self": format!("{url}/v3/roles/{id}")}})
    };
    ROLES.iter().map(shown).collect()
}
