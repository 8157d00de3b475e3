//! Whether `isthmus-world` answers as the real server does.
//!
//! A stream of random requests, which its seed decides, is sent to both; each pair of answers is compared after what must differ
//! (ids, times, made-up names and addresses) is replaced by the order in which it appeared. The first difference of a stream ends
//! it: what comes after would differ too. What the model leaves out (it answers 501) is not generated.
#![warn(missing_docs)]

pub mod openstack;
pub mod random;
