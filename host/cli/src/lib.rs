//! What both programs of this package share: `isthmus`, and `isthmus-node`, the agent that `isthmus node` becomes.
#![warn(missing_docs)]

pub mod agent;
pub mod global;
pub mod logs;
pub mod stop;
