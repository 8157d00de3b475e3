//! Random requests to Keystone, as users make them.

use serde_json::{Value, json};

use super::compare::Stream;
use super::side::{Request, Service, Who};
use crate::random::Random;

/// Looks up, and is refused.
#[derive(Default)]
pub struct Identity;

impl Stream for Identity {
    fn next(&mut self, random: &mut Random) -> Request {
        let who = random.of(&Who::ALL);
        let nobody = "11111111111111111111111111111111";
        let path = match random.below(7) {
            0 => "/v3/auth/projects".to_owned(),
            1 => format!("/v3/projects/#project-of-{who:?}"),
            2 => format!("/v3/projects/{nobody}"),
            3 => "/v3/projects?name=demo".to_owned(),
            4 => "/v3/users?name=nobody".to_owned(),
            5 => "/v3/roles?name=nobody".to_owned(),
            _ => format!("/v3/users/{nobody}"),
        };
        Request { who, service: Service::Identity, method: "GET", path, body: Value::Null, revision: None }
    }

    fn answered(&mut self, _: &Request, _: u16, _: &Value) {}

    fn cleaning(&self) -> Vec<Request> {
        Vec::new()
    }
}

/// Sign-ins that are refused.
pub fn sign_ins() -> Vec<Request> {
    let password = |name: &str, password: &str| json!({"methods": ["password"], "password": {"user": {"name": name, "password": password, "domain": {"id": "default"}}}});
    let scope = |project: &str| json!({"project": {"name": project, "domain": {"id": "default"}}});
    [
        json!({"auth": {"identity": password("isthmus", "wrong"), "scope": scope("demo")}}),
        json!({"auth": {"identity": password("nobody", "wrong"), "scope": scope("demo")}}),
        json!({"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": scope("demo")}}),
    ]
    .into_iter()
    .map(|body| Request {
        who: Who::Operator,
        service: Service::Identity,
        method: "POST",
        path: "/v3/auth/tokens".to_owned(),
        body,
        revision: None,
    })
    .collect()
}
