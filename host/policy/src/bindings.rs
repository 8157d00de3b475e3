//! The records of the contract, generated from `wit/`. All worlds share them, so a mapper's list goes to refiners as it is.
#![allow(unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    interfaces: "
        import isthmus:mapping/types@0.1.0;
        import isthmus:mapping/snapshot@0.1.0;
        import isthmus:mapping/log@0.1.0;
    ",
    additional_derives: [PartialEq, Eq, Clone],
});
