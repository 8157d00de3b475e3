//! Pods whose interfaces lie on that of their node, a virtual machine: the node's port may send from their addresses, in a real Neutron.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, condition, on_lab, port_id, until};
use isthmus_openstack::neutron::{AllowedAddressPair, Port, PortUpdate};
use kube::api::ListParams;

/// Neutron lets a port send from ten addresses more, and each Pod has two.
const PODS: usize = 3;
const MOST: usize = 5;
/// What a user lets the node send from.
const THEIRS: &str = "10.100.255.200";

type Pairs = BTreeSet<(String, String)>;

/// Addresses with their MAC addresses.
fn pairs(port: &Port) -> Pairs {
    let pair = |pair: &AllowedAddressPair| {
        (pair.ip_address.clone(), pair.mac_address.clone().unwrap_or_default().to_lowercase())
    };
    port.allowed_address_pairs.iter().map(pair).collect()
}

async fn set_pairs(lab: &Lab, port: &Port, pairs: Vec<AllowedAddressPair>) -> Result<()> {
    let body = PortUpdate { allowed_address_pairs: Some(pairs), ..PortUpdate::default() };
    lab.demo.update::<Port>(&port.id, &body, None).await?;
    Ok(())
}

/// The node's port, from which a user lets it send already.
async fn node_port(lab: &Lab) -> Result<(Port, Pairs)> {
    let machine = lab.machine().await?;
    set_pairs(lab, &machine, vec![AllowedAddressPair { ip_address: THEIRS.into(), mac_address: None }])
        .await?;
    let machine: Port = lab.demo.get(&machine.id).await?;
    let theirs = pairs(&machine);
    Ok((machine, theirs))
}

/// All Pods are ready, and the node's port may send from their addresses, and from those of before.
async fn all_allowed(
    lab: &Lab,
    namespace: &str,
    count: usize,
    binding: &str,
    (machine, theirs): &(Port, Pairs),
) -> Result<Pairs> {
    let mut expected = theirs.clone();
    for mapping in lab.all_ready(namespace, count).await? {
        let vif = mapping.status.as_ref().and_then(|status| status.vifs.first()).context("a VIF")?;
        ensure!(vif.binding.as_deref() == Some(binding), "bound by {:?}", vif.binding);
        let port: Port = lab.demo.get(&port_id(&mapping).context("a port")?).await?;
        let mac = if binding == "macvlan" { &port.mac_address } else { &machine.mac_address };
        let own = port.fixed_ips.iter().map(|ip| (ip.ip_address.clone(), mac.to_lowercase()));
        expected.extend(own);
    }
    let found = pairs(&lab.demo.get::<Port>(&machine.id).await?);
    ensure!(found == expected, "the node may send from {found:?}, expected {expected:?}");
    Ok(found)
}

/// By either binding: several Pods cost one write of the node's port where they come together, nothing is done twice, what is taken
/// off behind our back comes back, what others let the node send from stays, and nothing of ours is left.
async fn beside(binding: &str) -> Result<()> {
    on_lab("beside", async |lab| {
        let node = node_port(lab).await?;
        let (machine, theirs) = &node;
        let address = machine.fixed_ips.first().context("an address")?;
        lab.node_is_at(&address.ip_address).await?;
        lab.bound_by(binding, None).await?;

        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, PODS).await?;
        all_allowed(lab, &namespace, PODS, binding, &node).await?;
        let seen = operator.quiet().await?;
        let (made, changed) = (seen.calls("POST", "ports"), seen.calls("PUT", "ports"));
        ensure!(made == PODS as u64 && changed <= PODS as u64, "{made} ports made, {changed} changes");

        let _operator = lab.restarted(operator).await?;
        let now: Port = lab.demo.get(&machine.id).await?;
        let mut fewer = now.allowed_address_pairs;
        let lost = fewer.iter().position(|pair| pair.ip_address != THEIRS).context("one of ours")?;
        fewer.remove(lost);
        set_pairs(lab, machine, fewer).await?;
        until("it is back", async || all_allowed(lab, &namespace, PODS, binding, &node).await.map(drop))
            .await?;

        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        let left = pairs(&lab.demo.get::<Port>(&machine.id).await?);
        ensure!(left == *theirs, "left: {left:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn by_macvlan_a_node_may_send_from_what_its_pods_have() -> Result<()> {
    beside("macvlan").await
}

#[tokio::test]
async fn by_ipvlan_a_node_may_send_from_the_addresses_of_its_pods() -> Result<()> {
    beside("ipvlan").await
}

/// Neutron's limit holds up who is too many, with what it says, and nobody else.
#[tokio::test]
async fn where_a_node_may_send_from_no_more_the_pod_says_so() -> Result<()> {
    on_lab("beside-full", async |lab| {
        let machine = lab.machine().await?;
        lab.bound_by("macvlan", Some(&machine.id)).await?;
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, MOST + 1).await?;
        until("all but one are ready, and that one says why", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            let (ready, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(isthmus_e2e::ready);
            ensure!((ready.len(), waiting.len()) == (MOST, 1), "{} ready", ready.len());
            let said = waiting.first().and_then(|m| condition(m, "Ready")).context("a condition")?;
            ensure!(said.message.contains("max_allowed_address_pair"), "{}: {}", said.reason, said.message);
            Ok(())
        })
        .await?;
        let mappings = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
        let one = mappings.iter().find(|m| isthmus_e2e::ready(m)).context("a ready one")?;
        let name = one.spec.subject.name.clone();
        lab.delete_pod(&namespace, &name).await?;
        lab.all_ready(&namespace, MOST).await?;
        Ok(())
    })
    .await
}

/// A kill after each write of the life of such a Pod leads to the same end.
#[tokio::test]
async fn killed_at_every_write_of_allowed_addresses_the_end_is_the_same() -> Result<()> {
    on_lab("beside-kills", async |lab| {
        let node = node_port(lab).await?;
        lab.bound_by("macvlan", Some(&node.0.id)).await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        operator.kill().await?;
        lab.pods(&namespace, 1).await?;
        let made = async || {
            all_allowed(lab, &namespace, 1, "macvlan", &node).await?;
            ensure!(lab.ports().await?.len() == 1, "one port");
            Ok(())
        };
        let gone = async || {
            let left = pairs(&lab.demo.get::<Port>(&node.0.id).await?);
            ensure!(left == node.1, "left: {left:?}");
            Ok(())
        };
        lab.killed_all_along(&namespace, made, gone).await
    })
    .await
}

/// A pair is ours by the record alone: what others let their own ports send from stays, though it be a Pod's address; and what a port
/// that is gone was allowed goes without it.
#[tokio::test]
async fn only_what_is_recorded_is_put_on_and_taken_off() -> Result<()> {
    on_lab("beside-others", async |lab| {
        let node = node_port(lab).await?;
        lab.bound_by("macvlan", Some(&node.0.id)).await?;
        let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "2"]).await?;
        lab.pods(&namespace, 1).await?;
        all_allowed(lab, &namespace, 1, "macvlan", &node).await?;
        let first = lab.ports().await?.pop().context("the Pod's port")?;
        let address = first.fixed_ips.first().context("its address")?.ip_address.clone();
        let standby = lab.make_port(&lab.demo, "e2e-standby", &[]).await?;
        set_pairs(lab, &standby, vec![AllowedAddressPair { ip_address: address, mac_address: None }]).await?;
        let theirs = pairs(&lab.demo.get::<Port>(&standby.id).await?);

        lab.demo.delete::<Port>(&first.id).await?;
        until("another port is there in its place, and the node may send from that alone", async || {
            let port = lab.ports().await?.pop().context("no port")?;
            ensure!(port.id != first.id, "the first one is there");
            all_allowed(lab, &namespace, 1, "macvlan", &node).await.map(drop)
        })
        .await?;
        let seen = operator.metrics().await?;
        operator.resyncs(&seen, 2).await?;
        let operator = lab.restarted(operator).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        operator.quiet().await?;
        ensure!(pairs(&lab.demo.get::<Port>(&standby.id).await?) == theirs, "the pair of somebody else");
        let left = pairs(&lab.demo.get::<Port>(&node.0.id).await?);
        ensure!(left == node.1, "left: {left:?}");
        Ok(())
    })
    .await
}

/// Neutron refuses pairs of a port that it does not filter.
#[tokio::test]
async fn a_node_that_is_not_filtered_needs_no_pairs() -> Result<()> {
    on_lab("beside-open", async |lab| {
        let machine = lab.machine().await?;
        let open = PortUpdate {
            port_security_enabled: Some(false),
            security_groups: Some(Vec::new()),
            ..PortUpdate::default()
        };
        lab.demo.update::<Port>(&machine.id, &open, None).await?;
        lab.bound_by("macvlan", Some(&machine.id)).await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 2).await?;
        lab.all_ready(&namespace, 2).await?;
        let _operator = lab.restarted(operator).await?;
        ensure!(pairs(&lab.demo.get::<Port>(&machine.id).await?).is_empty(), "pairs");
        Ok(())
    })
    .await
}
