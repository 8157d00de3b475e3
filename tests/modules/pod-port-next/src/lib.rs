//! Another build of `pod-port`: it says that it is a later version, and tags every port `release=next`.

use isthmus_sdk::prelude::*;

// The source, not the crate: that one exports a module of its own, and a component has one.
#[allow(unreachable_pub, dead_code, reason = "public in the crate that it is from")]
#[path = "../../../../plugins/pod-port/src/mapping.rs"]
mod mapping;

use mapping::PodPort;

struct Next;

impl Module for Next {
    type Config = <PodPort as Module>::Config;

    fn manifest() -> Manifest {
        Manifest { version: "0.2.0".into(), ..PodPort::manifest() }
    }
}

impl Mapper for Next {
    fn map(subject: &str, config: Self::Config) -> Result<Vec<Desired>, Outcome> {
        let mut list = PodPort::map(subject, config)?;
        for desired in &mut list {
            if let Resource::Port(_) = desired.resource {
                desired.tags.push("release=next".into());
            }
        }
        Ok(list)
    }
}

isthmus_sdk::export_mapper!(Next);
