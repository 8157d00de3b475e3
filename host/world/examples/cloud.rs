//! A cloud to talk to: prints what a client needs, and runs until it is stopped.
//!
//! Run it in a terminal of its own, paste what it prints into another one, and use the `openstack` client there. An argument says who
//! one is: `admin`, `member`, `stranger`; else the operator.
#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use isthmus_world::{As, Options, World};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let who = match std::env::args().nth(1).as_deref() {
        Some("admin") => As::Admin,
        Some("member") => As::Member,
        Some("stranger") => As::Stranger,
        _ => As::Service,
    };
    let world = World::start(Options { plug_bound_ports: true, ..Options::default() }).await?;
    for (name, value) in world.environment_as(who) {
        println!("export {name}={value}");
    }
    tokio::signal::ctrl_c().await
}
