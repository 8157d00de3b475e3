//! Who may see and change what (`neutron.conf.policies`).

use serde_json::Value;

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, text};
use crate::call::Caller;

/// What only services and administrators see of a port.
const BINDING: [&str; 4] = ["binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details"];

/// Whether somebody may know of an object of a kind that projects share nothing else of.
pub(crate) fn sees(caller: &Caller, object: &Object) -> bool {
    let shared =
        ["shared", "router:external"].iter().any(|name| object.get(*name) == Some(&Value::Bool(true)));
    caller.admin || caller.service || shared || text(object, "project_id") == caller.project
}

impl Neutron {
    /// Whether somebody may know of an object.
    pub(super) fn shows(&self, kind: Kind, object: &Object, caller: &Caller) -> bool {
        if caller.admin || text(object, "project_id") == caller.project {
            return true;
        }
        match kind {
            Kind::Network => sees(caller, object),
            Kind::Subnet => {
                let network = self.find(Kind::Network, text(object, "network_id"));
                caller.service || network.is_some_and(|n| n.get("shared") == Some(&Value::Bool(true)))
            }
            Kind::Port | Kind::SecurityGroup | Kind::SecurityGroupRule => caller.service,
            Kind::SubnetPool => sees(caller, object) && !caller.service,
            Kind::AddressGroup | Kind::Router | Kind::FloatingIp | Kind::Trunk => false,
        }
    }

    /// An object that the caller may know of.
    pub(super) fn visible(&self, kind: Kind, id: &str, caller: &Caller) -> Result<&Object> {
        let found = self.get(kind, id)?;
        if self.shows(kind, found, caller) { Ok(found) } else { Err(Fault::not_found(kind, id)) }
    }

    /// An object that the caller may change or delete.
    pub(super) fn writable(&self, kind: Kind, id: &str, caller: &Caller, verb: &str) -> Result<&Object> {
        let found = self.visible(kind, id, caller)?;
        let own = text(found, "project_id") == caller.project;
        let owner = text(found, "device_owner");
        // Ports of servers are their service's to delete.
        let servers = kind == Kind::Port && verb == "delete" && owner.starts_with("compute:");
        if caller.admin || (kind == Kind::Port && caller.service) || (own && !servers) {
            return Ok(found);
        }
        Err(Fault::forbidden(format_args!("rule:{verb}_{}", kind.singular())))
    }
}

/// Takes away what the caller must not see.
pub(super) fn cut(kind: Kind, shown: &mut Object, caller: &Caller) {
    if kind == Kind::Port && !caller.admin && !caller.service {
        BINDING.iter().for_each(|name| drop(shown.remove(*name)));
    }
}
