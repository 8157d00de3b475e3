//! Floating IPs of Services on the real Neutron: their own, and those that a user gives.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{Lab, Operator, condition, on_lab, ready, until, until_within};
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{FloatingIp, Port, PortCreate};
use isthmus_openstack::octavia::LoadBalancer;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// What a load balancer may take, and the changes of it.
const SLOW: Duration = Duration::from_secs(120);

/// The Service `web` of a namespace is there, of type LoadBalancer; and an operator.
async fn begun(lab: &Lab, provider: &str) -> Result<(String, Operator)> {
    lab.load_services_outside(provider).await?;
    let namespace = lab.namespace().await?;
    let operator = lab.operator(&["--resync-seconds", "2"]).await?;
    web(lab, &namespace).await?;
    Ok((namespace, operator))
}

async fn web(lab: &Lab, namespace: &str) -> Result<()> {
    lab.web(namespace, &[("TCP", 80)], &["10.100.9.1".to_owned()]).await
}

/// Changes the Service.
async fn edit(lab: &Lab, namespace: &str, patch: Value) -> Result<()> {
    lab.service_api(namespace).patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Asks for this address.
async fn ask(lab: &Lab, namespace: &str, address: &str) -> Result<()> {
    edit(lab, namespace, json!({"spec": {"loadBalancerIP": address}})).await
}

fn typed(kind: &str) -> Value {
    json!({"spec": {"type": kind}})
}

fn is_ours(ip: &FloatingIp) -> bool {
    Mark::of(&ip.description, &ip.tags).is_some()
}

/// The address that the Service says.
async fn said(lab: &Lab, namespace: &str) -> Result<Option<String>> {
    let status = lab.service_api(namespace).get("web").await?.status.unwrap_or_default();
    let ingress = status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default();
    Ok(ingress.into_iter().find_map(|ingress| ingress.ip))
}

/// One look at the floating IP that leads to the VIP of the only load balancer, and that the Service says.
async fn leading(lab: &Lab, namespace: &str) -> Result<FloatingIp> {
    let (balancers, all) = (lab.balancers().await?, lab.floating_ips().await?);
    let [balancer] = balancers.as_slice() else { bail!("{balancers:?}") };
    let led: Vec<&FloatingIp> =
        all.iter().filter(|ip| ip.port_id.as_ref() == Some(&balancer.vip_port_id)).collect();
    let [ip] = led.as_slice() else { bail!("{all:?} and the VIP's port {}", balancer.vip_port_id) };
    let said = said(lab, namespace).await?;
    ensure!(said.as_ref() == Some(&ip.floating_ip_address), "the Service says {said:?}, not {ip:?}");
    Ok((*ip).clone())
}

/// Waits until the only floating IP of ours leads to the VIP.
async fn own_leads(lab: &Lab, namespace: &str) -> Result<FloatingIp> {
    until_within(SLOW, "a floating IP of ours leads to the VIP", async || {
        let ip = leading(lab, namespace).await?;
        let ours = lab.floating_ips().await?.into_iter().filter(is_ours).count();
        ensure!(is_ours(&ip) && ours == 1, "{ours} of ours, {ip:?}");
        Ok(ip)
    })
    .await
}

/// Waits until this floating IP of a user's leads to the VIP, and none of ours is there.
async fn lent(lab: &Lab, namespace: &str, user: &FloatingIp) -> Result<()> {
    until_within(SLOW, "the user's floating IP leads to the VIP", async || {
        let ip = leading(lab, namespace).await?;
        ensure!(ip.id == user.id, "{ip:?}");
        is_as_given(&ip)?;
        let ours = lab.floating_ips().await?.into_iter().filter(is_ours).count();
        ensure!(ours == 0, "{ours} of ours");
        Ok(())
    })
    .await
}

/// Nothing of a user's floating IP is changed, but where it leads.
fn is_as_given(ip: &FloatingIp) -> Result<()> {
    ensure!(ip.description == "a user's" && ip.tags.is_empty(), "{ip:?}");
    Ok(())
}

/// Waits until a user's floating IP leads nowhere, and is there as it was.
async fn given_back(lab: &Lab, user: &FloatingIp) -> Result<()> {
    until_within(SLOW, "the user's floating IP is given back", async || {
        let all = lab.floating_ips().await?;
        let ip = all.iter().find(|ip| ip.id == user.id).context("it is gone")?;
        ensure!(ip.port_id.is_none(), "{ip:?}");
        is_as_given(ip)
    })
    .await
}

/// A stranger deletes the load balancer; waits until another one is there.
async fn rebuilt(lab: &Lab) -> Result<()> {
    let old = one_balancer(lab).await?;
    lab.octavia().delete_cascade(&old.id).await?;
    another(lab, &old).await.map(drop)
}

async fn one_balancer(lab: &Lab) -> Result<LoadBalancer> {
    let mut all = lab.balancers().await?;
    ensure!(all.len() == 1, "{all:?}");
    all.pop().context("there is a load balancer")
}

/// Waits until another load balancer than this one is there, and none beside.
async fn another(lab: &Lab, old: &LoadBalancer) -> Result<LoadBalancer> {
    until_within(SLOW, "another load balancer is there", async || {
        let now = one_balancer(lab).await?;
        ensure!(now.id != old.id && now.provisioning_status == "ACTIVE", "{now:?}");
        Ok(now)
    })
    .await
}

/// The Service is deleted, and nothing of it is left.
async fn gone(lab: &Lab, namespace: &str) -> Result<()> {
    lab.service_api(namespace).delete("web", &DeleteParams::default()).await?;
    until_within(SLOW, "nothing of the Service is left", async || {
        let mappings = lab.mapping_api(namespace).list(&ListParams::default()).await?.items.len();
        let balancers = lab.balancers().await?.len();
        ensure!(mappings == 0 && balancers == 0, "{mappings} mappings, {balancers} load balancers");
        Ok(())
    })
    .await?;
    lab.nothing_made_is_left().await
}

/// A port of somebody else's on the network of Pods.
async fn port_of_a_stranger(lab: &Lab) -> Result<Port> {
    let body = PortCreate {
        network_id: lab.network().await?,
        name: Some("stranger".into()),
        device_owner: Some("isthmus:pod".into()),
        ..PortCreate::default()
    };
    Ok(lab.demo.create::<Port>(&body).await?)
}

/// It comes with the type, stays when the load balancer is built anew, costs nothing at rest, and goes with the type.
#[tokio::test]
async fn a_service_has_a_floating_ip_of_its_own() -> Result<()> {
    on_lab("floating-own", async |lab| {
        let (namespace, operator) = begun(lab, "noop").await?;
        let first = own_leads(lab, &namespace).await?;
        ensure!(first.floating_ip_address.starts_with("172.24.4."), "{first:?}");
        operator.rests().await?;
        rebuilt(lab).await?;
        let again = own_leads(lab, &namespace).await?;
        ensure!(again.id == first.id, "{again:?}, not {first:?}");

        edit(lab, &namespace, typed("ClusterIP")).await?;
        until_within(SLOW, "it goes with the type", async || {
            let all = lab.floating_ips().await?;
            ensure!(all.is_empty(), "{all:?}");
            Ok(())
        })
        .await?;
        edit(lab, &namespace, typed("LoadBalancer")).await?;
        own_leads(lab, &namespace).await?;
        gone(lab, &namespace).await
    })
    .await
}

/// A load balancer in ERROR is made anew, with the port and the address of its VIP and with the floating IP that leads there: ours, and one
/// that a user gives.
#[tokio::test]
async fn a_load_balancer_in_error_is_rebuilt_with_both_its_addresses() -> Result<()> {
    on_lab("floating-error", async |lab| {
        let (namespace, operator) = begun(lab, "noop").await?;
        let user = lab.floating_ip().await?;
        let mut floating = own_leads(lab, &namespace).await?;
        for given in [false, true] {
            if given {
                ask(lab, &namespace, &user.floating_ip_address).await?;
                lent(lab, &namespace, &user).await?;
                floating = leading(lab, &namespace).await?;
            }
            operator.quiet().await?;
            let broken = one_balancer(lab).await?;
            lab.break_balancers().await?;
            let now = another(lab, &broken).await?;
            let kept = (&now.vip_address, &now.vip_port_id) == (&broken.vip_address, &broken.vip_port_id);
            ensure!(kept, "{now:?}, not with the VIP of {broken:?}");
            until_within(SLOW, "the same floating IP leads there", async || {
                let now = leading(lab, &namespace).await?;
                let same =
                    (&now.id, &now.floating_ip_address) == (&floating.id, &floating.floating_ip_address);
                ensure!(same && now.port_id == floating.port_id, "{now:?}, not {floating:?}");
                Ok(())
            })
            .await?;
        }
        gone(lab, &namespace).await?;
        given_back(lab, &user).await
    })
    .await
}

/// Who asks for the address that the Service has already keeps it, and it is theirs from then on: it outlives the Service.
#[tokio::test]
async fn ones_own_address_that_is_asked_for_is_kept() -> Result<()> {
    on_lab("floating-pinned", async |lab| {
        let (namespace, _operator) = begun(lab, "noop").await?;
        let own = own_leads(lab, &namespace).await?;
        ask(lab, &namespace, &own.floating_ip_address).await?;
        until_within(SLOW, "the same floating IP leads to the VIP, and is not ours", async || {
            let ip = leading(lab, &namespace).await?;
            ensure!(ip.id == own.id && !is_ours(&ip), "{ip:?}");
            Ok(())
        })
        .await?;
        gone(lab, &namespace).await?;
        let left = lab.floating_ips().await?;
        ensure!(left.len() == 1 && left[0].id == own.id && left[0].port_id.is_none(), "{left:?}");
        Ok(())
    })
    .await
}

/// The provider `ovn` makes the VIP's port anew with each load balancer: the floating IP follows.
#[tokio::test]
async fn by_ovn_the_floating_ip_follows_the_vip() -> Result<()> {
    on_lab("floating-ovn", async |lab| {
        let (namespace, operator) = begun(lab, "ovn").await?;
        let first = own_leads(lab, &namespace).await?;
        operator.rests().await?;
        rebuilt(lab).await?;
        let again = own_leads(lab, &namespace).await?;
        let moved = again.id == first.id && again.port_id != first.port_id;
        ensure!(moved, "{again:?}, not {first:?} with another port");
        let provider = json!({"metadata": {"annotations": {"isthmus.dev/lb-provider": "noop"}}});
        edit(lab, &namespace, provider).await?;
        until_within(SLOW, "another provider has the same floating IP", async || {
            let all = lab.balancers().await?;
            ensure!(all.len() == 1 && all.iter().all(|lb| lb.provider == "noop"), "{all:?}");
            Ok(())
        })
        .await?;
        ensure!(own_leads(lab, &namespace).await?.id == first.id, "the address stays");
        operator.rests().await?;
        gone(lab, &namespace).await
    })
    .await
}

/// Who is outside comes to all that are behind, at the Service's own floating IP and at a user's.
async fn answers_outside(name: &str, provider: &str) -> Result<()> {
    on_lab(name, async |lab| {
        lab.load_services_outside(provider).await?;
        let namespace = lab.namespace().await?;
        let (one, two) = (lab.server("one").await?, lab.server("two").await?);
        let client = lab.outsider("outside").await?;
        let _operator = lab.operator(&[]).await?;
        lab.web(&namespace, &[("TCP", 80)], &[one.address, two.address]).await?;
        let answered = async |address: &str| {
            for server in ["one", "two"] {
                until_within(SLOW, &format!("{server} answers at {address}"), async || {
                    let answer = client.ask(address, "web", "/").await?;
                    ensure!(answer.status == 200 && answer.name == server, "{answer:?}");
                    Ok(())
                })
                .await?;
            }
            anyhow::Ok(())
        };
        answered(&own_leads(lab, &namespace).await?.floating_ip_address).await?;
        let user = lab.floating_ip().await?;
        ask(lab, &namespace, &user.floating_ip_address).await?;
        lent(lab, &namespace, &user).await?;
        answered(&user.floating_ip_address).await?;
        gone(lab, &namespace).await
    })
    .await
}

#[tokio::test]
async fn by_ovn_who_is_outside_is_answered() -> Result<()> {
    answers_outside("floating-traffic-ovn", "ovn").await
}

#[tokio::test]
async fn by_amphora_who_is_outside_is_answered() -> Result<()> {
    answers_outside("floating-traffic-amphora", "amphora").await
}

/// Edits of the type and of the address move the association, and nothing else of what is the user's.
#[tokio::test]
async fn a_floating_ip_that_a_user_gives_is_lent_and_given_back() -> Result<()> {
    on_lab("floating-lent", async |lab| {
        let (namespace, operator) = begun(lab, "noop").await?;
        let (one, two) = (lab.floating_ip().await?, lab.floating_ip().await?);
        own_leads(lab, &namespace).await?;
        // From ours to a user's, to another one's, and back to one of ours.
        ask(lab, &namespace, &one.floating_ip_address).await?;
        lent(lab, &namespace, &one).await?;
        operator.rests().await?;
        ask(lab, &namespace, &two.floating_ip_address).await?;
        lent(lab, &namespace, &two).await?;
        given_back(lab, &one).await?;
        ask(lab, &namespace, "").await?;
        own_leads(lab, &namespace).await?;
        given_back(lab, &two).await?;

        ask(lab, &namespace, &one.floating_ip_address).await?;
        lent(lab, &namespace, &one).await?;
        edit(lab, &namespace, typed("ClusterIP")).await?;
        given_back(lab, &one).await?;
        edit(lab, &namespace, typed("LoadBalancer")).await?;
        lent(lab, &namespace, &one).await?;
        rebuilt(lab).await?;
        lent(lab, &namespace, &one).await?;
        lab.lead(&one.id, None).await?;
        lent(lab, &namespace, &one).await?;
        gone(lab, &namespace).await?;
        given_back(lab, &one).await?;
        given_back(lab, &two).await
    })
    .await
}

#[tokio::test]
async fn by_ovn_a_floating_ip_that_a_user_gives_follows_the_vip() -> Result<()> {
    on_lab("floating-lent-ovn", async |lab| {
        let (namespace, operator) = begun(lab, "ovn").await?;
        let user = lab.floating_ip().await?;
        ask(lab, &namespace, &user.floating_ip_address).await?;
        lent(lab, &namespace, &user).await?;
        operator.rests().await?;
        rebuilt(lab).await?;
        lent(lab, &namespace, &user).await?;
        gone(lab, &namespace).await?;
        given_back(lab, &user).await
    })
    .await
}

/// What leads to a port of somebody else's stays there, and the CloudMapping says so; so does what a user leads to a VIP by hand.
#[tokio::test]
async fn where_somebody_else_leads_a_floating_ip_it_stays() -> Result<()> {
    on_lab("floating-taken", async |lab| {
        lab.load_services_outside("noop").await?;
        let user = lab.floating_ip().await?;
        let port = port_of_a_stranger(lab).await?;
        lab.lead(&user.id, Some(&port.id)).await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        web(lab, &namespace).await?;
        ask(lab, &namespace, &user.floating_ip_address).await?;
        until_within(SLOW, "the CloudMapping says whose port it is", async || {
            let status = lab.service_api(&namespace).get("web").await?.status.unwrap_or_default();
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            let said = all.iter().find_map(|m| condition(m, "Realized")).context("no condition Realized")?;
            let told = said.message.contains(&port.id) && said.message.contains("stranger");
            ensure!(told && status.load_balancer.and_then(|lb| lb.ingress).is_none(), "{said:?}");
            Ok(())
        })
        .await?;
        operator.resyncs(&operator.metrics().await?, 2).await?;
        let leads = |ip: &FloatingIp| ip.id == user.id && ip.port_id.as_ref() == Some(&port.id);
        ensure!(lab.floating_ips().await?.iter().any(leads), "it leads to where it led");
        lab.lead(&user.id, None).await?;
        lent(lab, &namespace, &user).await?;

        // Not asked for by the Service any more: by hand it may lead there all the same.
        let internal = json!({"metadata": {"annotations": {"isthmus.dev/lb-internal": "true"}},
                              "spec": {"loadBalancerIP": null}});
        edit(lab, &namespace, internal).await?;
        given_back(lab, &user).await?;
        let vip = lab.balancers().await?.pop().context("a load balancer")?.vip_port_id;
        lab.lead(&user.id, Some(&vip)).await?;
        operator.resyncs(&operator.metrics().await?, 3).await?;
        operator.rests().await?;
        let leads = |ip: &FloatingIp| ip.id == user.id && ip.port_id.as_ref() == Some(&vip);
        ensure!(lab.floating_ips().await?.iter().any(leads), "what a user made stays");
        gone(lab, &namespace).await
    })
    .await
}

/// A gateway that says 502 says nothing of what the service behind it did: what it may have made is recorded still, and is undone when
/// something else is asked for before the next try.
#[tokio::test]
async fn what_a_gateway_lost_the_answer_of_is_given_back() -> Result<()> {
    on_lab("floating-gateway", async |lab| {
        lab.load_services_outside("noop").await?;
        let namespace = lab.namespace().await?;
        let (gate, operator) = lab.operator_behind_gate().await?;
        let (one, two) = (lab.floating_ip().await?, lab.floating_ip().await?);
        web(lab, &namespace).await?;
        edit(lab, &namespace, json!({"metadata": {"annotations": {"isthmus.dev/lb-internal": "true"}}}))
            .await?;
        until_within(SLOW, "the load balancer is there", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            ensure!(all.len() == 1 && all.iter().all(ready), "not ready");
            Ok(())
        })
        .await?;
        operator.quiet().await?;
        // Internal until now: the next write is the association.
        gate.garble();
        let outside = json!({"metadata": {"annotations": {"isthmus.dev/lb-internal": null}},
                             "spec": {"loadBalancerIP": one.floating_ip_address}});
        edit(lab, &namespace, outside).await?;
        until_within(SLOW, "the answer is lost", async || {
            ensure!(gate.has_garbled(), "no write yet");
            Ok(())
        })
        .await?;
        ask(lab, &namespace, &two.floating_ip_address).await?;
        until_within(SLOW, "the other one leads to the VIP", async || {
            let vip = lab.balancers().await?.pop().context("no load balancer")?.vip_port_id;
            let all = lab.floating_ips().await?;
            let leads = |ip: &FloatingIp| ip.id == two.id && ip.port_id.as_ref() == Some(&vip);
            ensure!(all.iter().any(leads), "{all:?}");
            Ok(())
        })
        .await?;
        given_back(lab, &one).await?;
        gone(lab, &namespace).await
    })
    .await
}

/// A kill after each write, and a record that is lost, lead to the same end, and to nothing left behind.
#[tokio::test]
async fn a_crash_or_a_lost_record_leaves_no_association() -> Result<()> {
    on_lab("floating-kills", async |lab| {
        lab.load_services_outside("noop").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        lab.loaded("service-loadbalancer").await?;
        operator.kill().await?;
        let (one, two) = (lab.floating_ip().await?, lab.floating_ip().await?);
        let leads = async |user: &FloatingIp| {
            ensure!(leading(lab, &namespace).await?.id == user.id, "another one leads there");
            Ok(())
        };
        web(lab, &namespace).await?;
        ask(lab, &namespace, &one.floating_ip_address).await?;
        let (kills, operator) = lab.killed_at_each_write(async || leads(&one).await).await?;
        ensure!(kills >= 3, "killed {kills} times: port, load balancer, association");
        operator.kill().await?;
        ask(lab, &namespace, &two.floating_ip_address).await?;
        let (kills, operator) = lab.killed_at_each_write(async || leads(&two).await).await?;
        ensure!(kills >= 2, "killed {kills} times: off one, onto the other");
        given_back(lab, &one).await?;
        operator.kill().await?;

        let mappings = lab.mapping_api(&namespace);
        let lost = Patch::Merge(json!({"status": {"resources": []}}));
        for mapping in mappings.list(&ListParams::default()).await?.items {
            mappings.patch_status(&mapping.name_any(), &PatchParams::default(), &lost).await?;
        }
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        until("it is recorded again", async || {
            let all = mappings.list(&ListParams::default()).await?.items;
            let mut resources = all.iter().filter_map(|m| m.status.as_ref()).flat_map(|s| &s.resources);
            let found = resources.any(|r| r.id.as_ref().is_some_and(|id| id.starts_with(&two.id)));
            ensure!(found, "{all:?}");
            Ok(())
        })
        .await?;
        operator.rests().await?;
        leads(&two).await?;
        operator.kill().await?;

        lab.service_api(&namespace).delete("web", &DeleteParams::default()).await?;
        let ends = async || {
            let left = mappings.list(&ListParams::default()).await?.items.len();
            ensure!(left == 0, "{left} mappings");
            Ok(())
        };
        let (kills, _operator) = lab.killed_at_each_write(ends).await?;
        ensure!(kills >= 2, "killed {kills} times at the deletion");
        given_back(lab, &one).await?;
        given_back(lab, &two).await?;
        lab.nothing_made_is_left().await
    })
    .await
}
