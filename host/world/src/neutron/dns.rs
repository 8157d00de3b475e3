//! Names of ports in DNS. The lab's Neutron has none, so nobody compares this with a real one: a name is kept and shown, and no more.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object};

/// The extension.
pub(super) const ALIAS: &str = "dns-integration";
const NAME: &str = "dns_name";

impl Neutron {
    /// What is asked for besides the name of a port, and the name where there is one. Without the extension it is an attribute like
    /// any other that nobody knows.
    pub(super) fn dns_name<'a>(&self, kind: Kind, asked: &'a Object) -> Result<(Cow<'a, Object>, Object)> {
        let Some(name) = asked.get(NAME).filter(|_| self.names && kind == Kind::Port) else {
            return Ok((Cow::Borrowed(asked), Object::new()));
        };
        let Value::String(name) = name else {
            return Err(Fault::attribute(NAME, format_args!("'{name}' is not a valid string")));
        };
        let mut rest = asked.clone();
        rest.remove(NAME);
        Ok((Cow::Owned(rest), [(NAME.to_owned(), json!(name))].into_iter().collect()))
    }
}
