//! Whether `isthmus-world` answers as the real server does.
//!
//! A stream of random requests, which its seed decides, is sent to both; each pair of answers is compared after what must differ
//! (uids, versions, times, made-up names and addresses) is replaced by the order in which it appeared ([`normal`]). The first
//! difference of a stream ends it: what comes after would differ too.
//!
//! What the model leaves out is not generated: see the page of `isthmus_world::kubernetes`. Nor is what the real server answers one
//! way now and another way then: two things at once that do not fit a type, empty labels of a custom resource, whatever its controllers have a
//! hand in, such as a Pod that goes and is on no node. Left out of the comparison: the version of a list, for others write into the real server too; descriptions of table columns;
//! the order of several causes; the ConfigMap `kube-root-ca.crt`, which a controller of the real one makes.
//!
//! Streams run side by side, each in a namespace or in networks of its own and, of OpenStack, with a model of its own. Seeds are the
//! same each time; `CONFORMANCE_FIRST=1000` takes others, `CONFORMANCE_SEED` one alone. What the clouds choose themselves (addresses,
//! MACs, segments) is compared by the order in which it appeared, so requests name addresses out of the allocation pools only.
#![warn(missing_docs)]

pub mod kubernetes;
pub mod normal;
pub mod openstack;
pub mod random;
pub mod side;
