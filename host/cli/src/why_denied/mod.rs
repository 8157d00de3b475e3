//! `isthmus why-denied`: whether a connection between two Pods passes the security groups of their ports, and which rules let it or
//! fail to. It looks at what Neutron has, whatever module or person made it.

mod firewall;
#[cfg(test)]
mod firewall_tests;
mod lookup;
mod told;

use anyhow::{bail, ensure};
use isthmus_cli::global::{Kube, Output};
use serde::Serialize;

use crate::args::WhyDeniedArgs;
use crate::output::print;
use firewall::{Connection, Way};
use lookup::Lookup;

/// What is asked, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    from: String,
    to: String,
    protocol: String,
    port: u16,
    /// Whether every way passes.
    allowed: bool,
    /// One for each IP version that both have.
    ways: Vec<Way>,
    /// What else may be in the way, or what this could not look at.
    notes: Vec<String>,
}

pub(crate) async fn run(kube: &Kube, args: &WhyDeniedArgs, output: Output) -> anyhow::Result<()> {
    let (port, protocol) = service(&args.port)?;
    let mut lookup = Lookup::connect(kube, args.os_cloud.as_deref()).await?;
    let from = lookup.pod(&args.from, &args.namespace).await?;
    let to = lookup.pod(&args.to, &args.namespace).await?;
    let firewall = lookup.firewall([&from.port, &to.port]).await?;
    let connection = Connection { protocol, port };
    let ways = firewall.ways(&from.port, &to.port, &connection);
    ensure!(!ways.is_empty(), "{} and {} have no IP version in common", from.name, to.name);
    let verdict = Verdict {
        allowed: ways.iter().all(|way| way.allowed),
        from: from.name,
        to: to.name,
        protocol: connection.protocol,
        port,
        ways,
        notes: lookup.notes,
    };
    print(&verdict, output, told::told)
}

/// `8080` or `53/udp`.
fn service(text: &str) -> anyhow::Result<(u16, String)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let number: Option<u16> = number.parse().ok().filter(|number| *number > 0);
    match number.filter(|_| ["tcp", "udp", "sctp"].contains(&&*protocol)) {
        Some(number) => Ok((number, protocol)),
        None => bail!(
            "{text:?} is no port: expected a number, with a protocol unless it is TCP: 8080, 53/udp, 3868/sctp"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_with_a_protocol() {
        assert_eq!(service("8080").unwrap(), (8080, "tcp".into()));
        assert_eq!(service("53/UDP").unwrap(), (53, "udp".into()));
        for wrong in ["http", "0", "70000", "80/icmp", "80/", ""] {
            let said = service(wrong).unwrap_err().to_string();
            assert!(said.contains("expected a number"), "{said}");
        }
    }
}
