//! The module's config.

use isthmus_sdk::prelude::*;
use serde::Deserialize;

use crate::cidr;

/// The module's config; its schema is `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the PolicyModule whose mapping are the groups that all Pods share.
    #[serde(default = "policy_module")]
    pub(crate) policy_module: String,
    /// CIDRs that may always come in, whatever policies say: kubelets.
    #[serde(default)]
    pub(crate) allow_from: Vec<String>,
    /// Ids or names of security groups whose ports may always come in.
    #[serde(default)]
    pub(crate) allow_from_groups: Vec<String>,
    /// Ids or names of groups that a Pod with policies carries beside theirs.
    #[serde(default)]
    pub(crate) keep_groups: Vec<String>,
    /// Ids or names of what a Pod with policies carries where none of them isolates it for ingress. None: its
    /// Namespace's, else a group that lets everything in.
    pub(crate) ingress_open_groups: Option<Vec<String>>,
    /// The same for egress.
    pub(crate) egress_open_groups: Option<Vec<String>>,
}

fn policy_module() -> String {
    "networkpolicy-securitygroup".into()
}

impl Config {
    /// What the types of the fields do not say.
    pub(crate) fn check(&self) -> Result<(), Outcome> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if !(1..=253).contains(&self.policy_module.len()) || !self.policy_module.chars().all(fits) {
            let message = "there is no object of such a name in Kubernetes";
            return Err(invalid_field(message, "config.policyModule"));
        }
        for (i, text) in self.allow_from.iter().enumerate() {
            cidr::parse(text).or_invalid(
                &format!("expected a CIDR as 10.0.0.0/8 or fd00::/8, found {text:?}"),
                &format!("config.allowFrom[{i}]"),
            )?;
        }
        let lists = [
            ("allowFromGroups", Some(&self.allow_from_groups)),
            ("keepGroups", Some(&self.keep_groups)),
            ("ingressOpenGroups", self.ingress_open_groups.as_ref()),
            ("egressOpenGroups", self.egress_open_groups.as_ref()),
        ];
        for (field, list) in lists {
            let wrong = |name: &String| !(1..=255).contains(&name.len());
            if let Some(i) = list.and_then(|names| names.iter().position(wrong)) {
                return Err(invalid_field(
                    "an id or a name has 1 to 255 bytes",
                    &format!("config.{field}[{i}]"),
                ));
            }
        }
        Ok(())
    }
}
