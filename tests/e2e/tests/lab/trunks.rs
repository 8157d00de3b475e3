//! Pods of a node that is a virtual machine: their ports are subports of the node's trunk, in a real Neutron.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, Sample, condition, on_lab, until};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::neutron::Trunk;
use kube::api::ListParams;

const PODS: usize = 12;
/// VLAN id of a user's own subport.
const THEIRS: u16 = 100;

/// VLAN ids by port, as Neutron has them.
fn on(trunk: &Trunk) -> BTreeMap<String, u16> {
    trunk.sub_ports.iter().map(|sub| (sub.port_id.clone(), sub.segmentation_id)).collect()
}

/// VLAN ids by port, as the node is told.
fn told(mappings: &[CloudMapping]) -> Result<BTreeMap<String, u16>> {
    let vifs = mappings.iter().flat_map(|m| m.status.iter().flat_map(|status| &status.vifs));
    let id = |vif: &isthmus_kubernetes::crd::VifStatus| {
        ensure!(vif.binding.as_deref() == Some("vlan"), "bound by {:?}", vif.binding);
        let id = vif.segmentation_id.context("no segmentationId")?;
        Ok((vif.port_id.clone(), u16::try_from(id)?))
    };
    vifs.map(id).collect()
}

/// All Pods are ready, each on the trunk at the VLAN id that its mapping says, and what was there before is there still.
async fn all_on_trunk(
    lab: &Lab,
    namespace: &str,
    others: &BTreeMap<String, u16>,
) -> Result<BTreeMap<String, u16>> {
    let told = told(&lab.all_ready(namespace, PODS).await?)?;
    let ids: BTreeSet<u16> = told.values().copied().collect();
    ensure!(told.len() == PODS && ids.len() == PODS, "{told:?}");
    let mut expected = told.clone();
    expected.extend(others.clone());
    let found = on(&lab.trunk().await?);
    ensure!(found == expected, "the trunk has {found:?}, expected {expected:?}");
    Ok(told)
}

/// The node is found by its address; several Pods are put on the trunk in one call; what is done is not done again; one that is
/// taken off behind our back comes back with the VLAN id that its Pod sends with; and a user's subport is left alone.
#[tokio::test]
async fn pods_of_a_virtual_machine_are_subports_of_its_trunk() -> Result<()> {
    on_lab("trunk", async |lab| {
        let parent = lab.machine().await?;
        let trunk = lab.make_trunk(&parent).await?;
        let theirs = lab.make_port(&lab.demo, "e2e-theirs", &[]).await?;
        lab.put_on_trunk(&trunk.id, &theirs.id, THEIRS).await?;
        let others = BTreeMap::from([(theirs.id.clone(), THEIRS)]);
        let address = parent.fixed_ips.first().context("an address")?;
        lab.node_is_at(&address.ip_address).await?;
        lab.bound_by("vlan", None).await?;

        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, PODS).await?;
        let made = all_on_trunk(lab, &namespace, &others).await?;
        let seen = operator.quiet().await?;
        let (ports, trunks) = (seen.calls("POST", "ports"), seen.calls("PUT", "trunks"));
        ensure!(ports == PODS as u64, "{ports} ports were made");
        ensure!(trunks < PODS as u64, "{trunks} calls for {PODS} Pods: none waited for another's");

        let _operator = lab.restarted(operator).await?;
        let (lost, _) = made.first_key_value().context("one")?;
        lab.demo.remove_subports(&trunk.id, &[lost]).await?;
        until("it is back at its VLAN id", async || {
            let found = all_on_trunk(lab, &namespace, &others).await?;
            ensure!(found == made, "{found:?} where {made:?} was");
            Ok(())
        })
        .await?;

        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        let left = on(&lab.trunk().await?);
        ensure!(left == others, "left: {left:?}");
        Ok(())
    })
    .await
}

/// A node without a trunk says so at its Pods, and they come to it once it is named.
#[tokio::test]
async fn a_node_whose_trunk_is_not_found_says_so() -> Result<()> {
    on_lab("trunk-missing", async |lab| {
        let parent = lab.machine().await?;
        lab.bound_by("vlan", Some(&parent.id)).await?;
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 1).await?;
        until("the Pod says what it waits for", async || {
            let mapping = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items.pop();
            let mapping = mapping.context("no CloudMapping yet")?;
            let said = condition(&mapping, "Ready").context("no condition Ready")?.message.clone();
            ensure!(said.contains(&parent.id) && said.contains("parent of no trunk"), "{said}");
            Ok(())
        })
        .await?;
        let trunk = lab.make_trunk(&parent).await?;
        let mappings = lab.all_ready(&namespace, 1).await?;
        ensure!(told(&mappings)? == on(&lab.trunk().await?), "{:?}", trunk.id);
        Ok(())
    })
    .await
}

/// A label that comes when Pods are there moves none of them: their interfaces are on the ports as they were made.
#[tokio::test]
async fn a_port_that_was_bound_to_its_node_stays_so() -> Result<()> {
    on_lab("trunk-late", async |lab| {
        let parent = lab.machine().await?;
        lab.make_trunk(&parent).await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 1).await?;
        lab.all_ready(&namespace, 1).await?;
        let labelled = operator.cost(lab.bound_by("vlan", Some(&parent.id))).await?.of(Sample::cloud_writes);
        ensure!(labelled == 0, "{labelled} writes");
        let _operator = lab.restarted(operator).await?;
        ensure!(on(&lab.trunk().await?).is_empty(), "nothing is put on the trunk");
        Ok(())
    })
    .await
}

/// A Pod that comes before its Node is mapped once that is there, as the Node says.
#[tokio::test]
async fn a_pod_waits_for_its_node() -> Result<()> {
    on_lab("trunk-node", async |lab| {
        let parent = lab.machine().await?;
        lab.make_trunk(&parent).await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.no_node().await?;
        let writes = operator.cost(async { lab.pods(&namespace, 1).await.map(drop) }).await?;
        ensure!(writes.of(Sample::cloud_writes) == 0, "nothing is made for a node that is not there");
        lab.bound_by("vlan", Some(&parent.id)).await?;
        let mappings = lab.all_ready(&namespace, 1).await?;
        let found = on(&lab.trunk().await?);
        ensure!(told(&mappings)? == found && found.len() == 1, "{found:?}");
        Ok(())
    })
    .await
}

/// A kill after each write of the life of a nested Pod leads to the same end.
#[tokio::test]
async fn killed_at_every_write_of_a_subport_the_end_is_the_same() -> Result<()> {
    on_lab("trunk-kills", async |lab| {
        let parent = lab.machine().await?;
        lab.make_trunk(&parent).await?;
        lab.bound_by("vlan", Some(&parent.id)).await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        operator.kill().await?;
        lab.pods(&namespace, 1).await?;
        let made = async || {
            let mappings = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            ensure!(mappings.iter().all(isthmus_e2e::ready) && mappings.len() == 1, "not ready");
            let found = on(&lab.trunk().await?);
            ensure!(told(&mappings)? == found && found.len() == 1, "{found:?}");
            ensure!(lab.ports().await?.len() == 1, "one port");
            Ok(())
        };
        let gone = async || {
            let left = on(&lab.trunk().await?);
            ensure!(left.is_empty(), "left: {left:?}");
            Ok(())
        };
        lab.killed_all_along(&namespace, made, gone).await
    })
    .await
}
