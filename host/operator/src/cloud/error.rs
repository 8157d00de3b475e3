//! Why a call to the cloud did not do what was asked, and what that means for a retry.

use isthmus_model::kinds::Kind;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::octavia::ApiVersion;
use thiserror::Error;

/// Why a call to the cloud did not do what was asked.
#[derive(Debug, Error)]
pub enum CloudError {
    /// The service's answer, or none.
    #[error(transparent)]
    Service(#[from] isthmus_openstack::Error),
    /// The resource that was to be changed is not there any more.
    #[error(transparent)]
    Gone(isthmus_openstack::Error),
    /// A field that the service has no place for.
    #[error("{kind} {name:?}: {message}")]
    Field {
        /// Kind of the entry.
        kind: Kind,
        /// Local name of the entry.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A load balancer that takes no changes for a long time now.
    #[error(
        "load balancer {load_balancer} takes no changes: {part} has been in the works for a minute or more"
    )]
    Busy {
        /// Its id.
        load_balancer: String,
        /// The part of it that is PENDING.
        part: String,
    },
    /// A load balancer that Octavia gave up.
    #[error("load balancer {load_balancer} is in ERROR: Octavia takes no changes of it")]
    Failed {
        /// Its id.
        load_balancer: String,
    },
    /// What was made with a load balancer is not known yet.
    #[error("load balancer {load_balancer} was made, and what was made with it could not be listed: {why}")]
    Unseen {
        /// Its id.
        load_balancer: String,
        /// What the list said.
        why: String,
    },
    /// A trunk on which every VLAN id is taken.
    #[error("trunk {trunk} has no free VLAN id: its subports have all {ids} of them")]
    TrunkFull {
        /// Its id.
        trunk: String,
        /// How many there are.
        ids: usize,
    },
    /// A port that may send from no more addresses.
    #[error(
        "port {port} may send from no more addresses of Pods than it does: {why}; Neutron's max_allowed_address_pair says how many"
    )]
    AddressesFull {
        /// Its id.
        port: String,
        /// What Neutron said.
        why: String,
    },
    /// Who did it for several was given up under way.
    #[error("{what} was given up under way: it is looked for before it is tried again")]
    GivenUp {
        /// What was under way.
        what: String,
    },
    /// A load balancer that Octavia gave up, and that is not ours alone to delete and make again.
    #[error(
        "load balancer {load_balancer} is in ERROR, and {part} is not of this cluster: it is not deleted and made again; take that away, or let the operator fail it over (role load-balancer_admin)"
    )]
    Shared {
        /// Its id.
        load_balancer: String,
        /// What is somebody else's.
        part: String,
    },
    /// The plan was made from what is no more.
    #[error("{kind} {name:?}: {message}")]
    Outdated {
        /// Kind of the entry.
        kind: Kind,
        /// Local name of the entry.
        name: String,
        /// What is no more.
        message: String,
    },
    /// What a certificate holds is not at hand: it was read for a plan that is no more.
    #[error("certificate {name:?}: what it holds has to be read anew")]
    Unread {
        /// Local name of the entry.
        name: String,
    },
    /// What a VIF's interface needs to know is not to be seen.
    #[error("VIF {name:?}: {message}")]
    Vif {
        /// Local name of the entry.
        name: String,
        /// What is missing.
        message: String,
    },
    /// Nothing of the kind is made before it is known what there is (invariant 4).
    #[error("what there is of kind {0} could not be listed yet: nothing of it is made or changed before")]
    NotListed(Kind),
    /// The cloud has no such service.
    #[error("the catalog of this cloud has no service for a {0}")]
    NoService(Kind),
    /// Octavia is older than what was asked of it.
    #[error(
        "{kind} {name:?}: {what} came with version {since} of Octavia's API, and this cloud has {version}"
    )]
    TooOld {
        /// Kind of the entry.
        kind: Kind,
        /// Local name of the entry.
        name: String,
        /// What was asked for, in the words of the contract.
        what: &'static str,
        /// The first version that has it.
        since: ApiVersion,
        /// The version that there is.
        version: ApiVersion,
    },
    /// A floating IP that somebody else uses.
    #[error("floating IP {address} {whose}: that is not taken away from there; free it, or name another one")]
    Taken {
        /// Its address.
        address: String,
        /// By whom.
        whose: String,
    },
    /// There is no driver for the kind.
    #[error("this version of Isthmus makes no {0}: use a module that does without, or a later version")]
    Unsupported(Kind),
}

impl CloudError {
    /// Whether the service can't do it at all (501).
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Service(error) if error.unsupported())
    }

    /// What it means for a retry.
    pub fn class(&self) -> RetryClass {
        match self {
            Self::Service(error) | Self::Gone(error) => error.class,
            Self::Unseen { .. } | Self::GivenUp { .. } => RetryClass::Unknown,
            Self::Taken { .. } => RetryClass::Conflict,
            Self::TrunkFull { .. } | Self::AddressesFull { .. } => RetryClass::Quota,
            Self::Busy { .. }
            | Self::Failed { .. }
            | Self::Shared { .. }
            | Self::Outdated { .. }
            | Self::NotListed(_)
            | Self::Unread { .. }
            | Self::Vif { .. } => RetryClass::Transient,
            Self::Field { .. } | Self::TooOld { .. } | Self::Unsupported(_) | Self::NoService(_) => {
                RetryClass::Invalid
            }
        }
    }
}
