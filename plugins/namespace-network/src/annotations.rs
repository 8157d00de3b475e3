//! What a Namespace says for itself.

use isthmus_sdk::objects::Map;
use isthmus_sdk::prelude::*;

use crate::config::Isolation;

const NETWORK: &str = "isthmus.dev/network";
const SUBNETS: &str = "isthmus.dev/subnets";
const MAKE_SUBNETS: &str = "isthmus.dev/make-subnets";
const ROUTER: &str = "isthmus.dev/router";
const SECURITY_GROUPS: &str = "isthmus.dev/security-groups";
const ISOLATION: &str = "isthmus.dev/isolation";
const PROJECT: &str = "isthmus.dev/project";
/// The predecessor's.
const KURYR_PROJECT: &str = "openstack.org/kuryr-project";

/// All that are read.
pub(crate) const NAMES: [&str; 8] =
    [NETWORK, SUBNETS, MAKE_SUBNETS, ROUTER, SECURITY_GROUPS, ISOLATION, PROJECT, KURYR_PROJECT];

/// The annotations of one Namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes<'a> {
    /// Id or name of a network that is there.
    pub(crate) network: Option<&'a str>,
    /// Ids or names of subnets of it.
    pub(crate) subnets: Vec<&'a str>,
    /// Whether subnets are made on the network that is there.
    pub(crate) make_subnets: bool,
    /// `Some("")`: no router.
    pub(crate) router: Option<&'a str>,
    /// Whether groups that are there are named, or none at all is wanted.
    pub(crate) own_groups: bool,
    pub(crate) isolation: Option<Isolation>,
}

impl<'a> Wishes<'a> {
    /// Reads them, and refuses what can't be meant.
    pub(crate) fn of(annotations: &'a Map<'_>) -> Result<Self, Outcome> {
        let text = |name: &str| annotations.get(name).map(|value| value.trim());
        let set = |name: &str| text(name).filter(|value| !value.is_empty());
        let subnets = set(SUBNETS).into_iter().flat_map(|names| names.split(','));
        let wishes = Self {
            network: set(NETWORK),
            subnets: subnets.map(str::trim).filter(|name| !name.is_empty()).collect(),
            make_subnets: match set(MAKE_SUBNETS) {
                None | Some("false") => false,
                Some("true") => true,
                Some(other) => return Err(refused(MAKE_SUBNETS, &format!("true or false, not {other:?}"))),
            },
            router: text(ROUTER),
            own_groups: annotations.contains_key(SECURITY_GROUPS),
            isolation: match set(ISOLATION) {
                None => None,
                Some("open") => Some(Isolation::Open),
                Some("isolated") => Some(Isolation::Isolated),
                Some(other) => return Err(refused(ISOLATION, &format!("open or isolated, not {other:?}"))),
            },
        };
        // The host would refuse the list as a breach of the contract, which tells nobody what to change.
        if let Some(name) = [PROJECT, KURYR_PROJECT].into_iter().find(|name| set(name).is_some()) {
            let why = "networks are made in the operator's own project, and in no other: take the annotation away (a network of another \
                       project that is shared with it can be named in isthmus.dev/network)";
            return Err(refused(name, why));
        }
        wishes.check()?;
        Ok(wishes)
    }

    fn check(&self) -> Result<(), Outcome> {
        if self.network.is_none() && !self.subnets.is_empty() {
            return Err(refused(SUBNETS, &format!("a subnet is of a network: name that too, in {NETWORK}")));
        }
        if self.network.is_none() && self.make_subnets {
            return Err(refused(
                MAKE_SUBNETS,
                &format!("it is for a network that is there: name that in {NETWORK}"),
            ));
        }
        if self.make_subnets && !self.subnets.is_empty() {
            return Err(refused(MAKE_SUBNETS, &format!("either subnets are made, or {SUBNETS} names them")));
        }
        let names = [(NETWORK, self.network), (ROUTER, self.router)];
        let subnets = self.subnets.iter().map(|subnet| (SUBNETS, Some(*subnet)));
        let long = |name: Option<&str>| name.is_some_and(|name| name.len() > 255);
        match names.into_iter().chain(subnets).find(|(_, name)| long(*name)) {
            Some((annotation, _)) => Err(refused(annotation, "an id or a name has at most 255 bytes")),
            None => Ok(()),
        }
    }

    /// Whether the network is ours to make.
    pub(crate) fn makes_network(&self) -> bool {
        self.network.is_none()
    }

    /// Whether the subnets are.
    pub(crate) fn makes_subnets(&self) -> bool {
        self.network.is_none() || self.make_subnets
    }
}

fn refused(annotation: &str, why: &str) -> Outcome {
    invalid_field(why, &format!("metadata.annotations[\"{annotation}\"]"))
}
