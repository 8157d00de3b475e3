//! Generated from `wit/`: the records once (with the first world), and what each world exports.
#![allow(unsafe_code, reason = "the canonical ABI passes pointers; this module is generated whole")]
#![allow(missing_docs, reason = "the traits and modules around what is in the WIT text have none")]
#![allow(unreachable_pub, clippy::all, reason = "generated")]

/// World `mapper`, and all records.
pub mod mapper {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "mapper",
        pub_export_macro: true,
        export_macro_name: "export_mapper_world",
        additional_derives: [PartialEq, Eq],
    });
}

/// Where the host's bindings have the same records: for [`crate::convert`].
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use mapper::isthmus;

/// World `refiner`.
pub mod refiner {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "refiner",
        pub_export_macro: true,
        export_macro_name: "export_refiner_world",
        with: {
            "isthmus:mapping/values@0.1.0": crate::bindings::mapper::isthmus::mapping::values,
            "isthmus:mapping/networking@0.1.0": crate::bindings::mapper::isthmus::mapping::networking,
            "isthmus:mapping/load-balancing@0.1.0": crate::bindings::mapper::isthmus::mapping::load_balancing,
            "isthmus:mapping/types@0.1.0": crate::bindings::mapper::isthmus::mapping::types,
            "isthmus:mapping/snapshot@0.1.0": crate::bindings::mapper::isthmus::mapping::snapshot,
            "isthmus:mapping/log@0.1.0": crate::bindings::mapper::isthmus::mapping::log,
        },
    });
}

/// World `mapper-refiner`.
pub mod mapper_refiner {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "mapper-refiner",
        pub_export_macro: true,
        export_macro_name: "export_mapper_refiner_world",
        with: {
            "isthmus:mapping/values@0.1.0": crate::bindings::mapper::isthmus::mapping::values,
            "isthmus:mapping/networking@0.1.0": crate::bindings::mapper::isthmus::mapping::networking,
            "isthmus:mapping/load-balancing@0.1.0": crate::bindings::mapper::isthmus::mapping::load_balancing,
            "isthmus:mapping/types@0.1.0": crate::bindings::mapper::isthmus::mapping::types,
            "isthmus:mapping/snapshot@0.1.0": crate::bindings::mapper::isthmus::mapping::snapshot,
            "isthmus:mapping/log@0.1.0": crate::bindings::mapper::isthmus::mapping::log,
        },
    });
}
