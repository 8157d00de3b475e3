//! The body of `POST /v3/auth/tokens`.

use serde_json::{Value, json};

use crate::config::{AuthConfig, AuthMethod, Domain, Project, Scope, User};

/// Path of the token resource below [`base`].
pub(crate) const TOKENS: &str = "/v3/auth/tokens";

/// What [`TOKENS`] is below: `auth_url`, which may or may not name the API version, without it.
pub(crate) fn base(auth_url: &str) -> &str {
    let base = auth_url.trim_end_matches('/');
    base.strip_suffix("/v3").unwrap_or(base)
}

/// The request body: identity and scope. Holds the secret.
pub(crate) fn body(auth: &AuthConfig) -> Value {
    let (name, identity) = match &auth.method {
        AuthMethod::Password { user: who, password } => {
            let mut user = user(who);
            insert(&mut user, "password", json!(password.expose()));
            ("password", json!({ "user": user }))
        }
        AuthMethod::ApplicationCredential { id, secret } => {
            ("application_credential", json!({ "id": id, "secret": secret.expose() }))
        }
        AuthMethod::NamedApplicationCredential { name, user: who, secret } => {
            ("application_credential", json!({ "name": name, "user": user(who), "secret": secret.expose() }))
        }
        AuthMethod::Token { token } => ("token", json!({ "id": token.expose() })),
    };
    let mut inner = json!({ "identity": { "methods": [name], name: identity } });
    if let Some(scope) = scope(&auth.scope) {
        insert(&mut inner, "scope", scope);
    }
    json!({ "auth": inner })
}

fn scope(scope: &Scope) -> Option<Value> {
    Some(match scope {
        Scope::None => return None,
        Scope::Project(Project::Id(id)) => json!({ "project": { "id": id } }),
        Scope::Project(Project::Name(name, of)) => {
            json!({ "project": { "name": name, "domain": domain(of) } })
        }
        Scope::Domain(of) => json!({ "domain": domain(of) }),
        Scope::System => json!({ "system": { "all": true } }),
        Scope::Trust(id) => json!({ "OS-TRUST:trust": { "id": id } }),
    })
}

fn user(user: &User) -> Value {
    match user {
        User::Id(id) => json!({ "id": id }),
        User::Name(name, of) => json!({ "name": name, "domain": domain(of) }),
    }
}

fn domain(domain: &Domain) -> Value {
    match domain {
        Domain::Id(id) => json!({ "id": id }),
        Domain::Name(name) => json!({ "name": name }),
    }
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn of(method: AuthMethod, scope: Scope) -> Value {
        body(&AuthConfig { auth_url: "http://k".into(), method, scope })
    }

    #[test]
    fn bodies_of_the_identity_api() {
        let user = User::Name("u".into(), Domain::Id("default".into()));
        let secret = || Secret::new("s");
        assert_eq!(
            of(
                AuthMethod::Password { user: user.clone(), password: secret() },
                Scope::Project(Project::Name("p".into(), Domain::Name("D".into())))
            ),
            json!({"auth": {
                "identity": {"methods": ["password"],
                    "password": {"user": {"name": "u", "domain": {"id": "default"}, "password": "s"}}},
                "scope": {"project": {"name": "p", "domain": {"name": "D"}}}}})
        );
        assert_eq!(
            of(AuthMethod::ApplicationCredential { id: "i".into(), secret: secret() }, Scope::None),
            json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"id": "i", "secret": "s"}}}})
        );
        assert_eq!(
            of(
                AuthMethod::NamedApplicationCredential {
                    name: "n".into(),
                    user: User::Id("7".into()),
                    secret: secret()
                },
                Scope::None
            ),
            json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"name": "n", "user": {"id": "7"}, "secret": "s"}}}})
        );
        assert_eq!(
            of(AuthMethod::Token { token: secret() }, Scope::Project(Project::Id("p".into()))),
            json!({"auth": {"identity": {"methods": ["token"], "token": {"id": "s"}}, "scope": {"project": {"id": "p"}}}})
        );
        let scope_of = |s| of(AuthMethod::Token { token: secret() }, s)["auth"]["scope"].take();
        assert_eq!(scope_of(Scope::System), json!({"system": {"all": true}}));
        assert_eq!(scope_of(Scope::Domain(Domain::Id("d".into()))), json!({"domain": {"id": "d"}}));
        assert_eq!(scope_of(Scope::Trust("t".into())), json!({"OS-TRUST:trust": {"id": "t"}}));
    }

    #[test]
    fn version_in_the_auth_url_or_not() {
        for url in
            ["http://k/identity", "http://k/identity/", "http://k/identity/v3", "http://k/identity/v3/"]
        {
            assert_eq!(base(url), "http://k/identity");
        }
    }
}
