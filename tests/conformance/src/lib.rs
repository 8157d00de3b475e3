//! Whether `isthmus-world` answers as the real server does.
//!
//! A stream of random requests, which its seed decides, is sent to both; each pair of answers is compared after what must differ
//! (uids, versions, times, made-up names and addresses) is replaced by the order in which it appeared ([`normal`]). The first
//! difference of a stream ends it: what comes after would differ too.
//!
//! What the model leaves out (it answers 501) is not generated. Left out of the comparison: the version of a list, for others write
//! into the real server too; descriptions of table columns; the ConfigMap `kube-root-ca.crt`, which a controller of the real one makes.
#![warn(missing_docs)]

pub mod kubernetes;
pub mod normal;
pub mod openstack;
pub mod random;
pub mod side;
