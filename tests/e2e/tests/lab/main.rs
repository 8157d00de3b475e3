//! Every end-to-end test in one program, which is linked once: a module is a suite. `cargo xtask test` runs suites side by
//! side, each on a lab of its own.

mod balancers;
mod beside;
mod cli;
mod cloud;
mod dev;
mod docs;
mod existing;
mod explain;
mod families;
mod faults;
mod floating;
mod hostile;
mod itself;
mod kubernetes;
mod mappings;
mod modules;
mod namespaces;
mod operators;
mod packets;
mod pods;
mod policies;
mod rights;
mod routes;
mod served;
mod services;
mod sharing;
mod sources;
mod swaps;
mod tls;
mod tokens;
mod traffic;
mod trunks;
mod uninstall;
