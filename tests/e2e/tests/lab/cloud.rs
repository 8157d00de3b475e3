//! What goes wrong between the operator and the cloud: crashes, a cloud that is away, ports of others, quotas.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{
    Barrier, Lab, OPERATOR_NAMESPACE, Operator, Refused, Sample, cloud, condition, on_lab, pods_config,
    port_id, ready, until, until_within,
};
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{Port, PortUpdate};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::json;

/// Kills that count: an operator that does nothing has nothing to lose.
const CAUGHT: u32 = 3;

/// Ten kills at random moments while Pods come, and more until so many of them came while something was in the works; three while
/// they go.
#[tokio::test]
async fn killed_at_ten_random_moments_no_port_is_made_twice_or_leaked() -> Result<()> {
    let seed = RandomState::new();
    on_lab("random-kills", async |lab| {
        let namespace = lab.namespace().await?;
        lab.load_pod_port().await?;
        let (mut pods, mut caught, mut round) = (Vec::new(), 0, 0);
        while round < 10 || caught < CAUGHT {
            ensure!(round < 40, "{caught} of {round} kills came while anything was in the works");
            let operator = lab.start(&[])?;
            let mut operator = Some(operator);
            for at in 0..5 {
                pods.push(lab.pod(&namespace, &format!("p-{round}-{at}"), json!({})).await?);
            }
            caught += u32::from(crash(&seed, round, &mut operator).await?);
            round += 1;
        }
        // A create that was on its way when its operator died may end after the next one has listed what is there: the
        // listing soon after finds the second port, and at most one survives.
        let operator = lab.operator(&[]).await?;
        let mappings = lab.all_ready(&namespace, pods.len()).await?;
        operator.resyncs(&Sample::default(), 1).await?;
        let ports = until("each Pod has one port", async || lab.one_port_each(&namespace).await).await?;
        let recorded: BTreeSet<_> = mappings.iter().filter_map(port_id).collect();
        ensure!(recorded == ports.into_iter().map(|p| p.id).collect(), "what is recorded is what there is");

        let mut operator = Some(operator);
        lab.delete_pods(&namespace).await?;
        for round in round..round + 3 {
            crash(&seed, round, &mut operator).await?;
            operator = Some(lab.start(&[])?);
        }
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Kills an operator at a random moment of its first 800 ms as the leader, or of its start. Answers whether it had something in the
/// works.
async fn crash(seed: &RandomState, round: u64, operator: &mut Option<Operator>) -> Result<bool> {
    let mut operator = operator.take().context("an operator")?;
    let random = seed.hash_one(round);
    if !random.is_multiple_of(4) {
        operator.leads().await?;
    }
    tokio::time::sleep(Duration::from_millis((random >> 8) % 800)).await;
    let at_work = operator.metrics().await.is_ok_and(|now| now.sum("isthmus_reconciles_in_flight", &[]) > 0);
    operator.kill().await?;
    Ok(at_work)
}

/// The port is there, and the CloudMapping does not say so: the status can't be written, and the operator dies.
#[tokio::test]
async fn killed_between_port_create_and_status_write_the_port_is_adopted() -> Result<()> {
    on_lab("adopt", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let sentinel = lab.pod(&namespace, "sentinel", json!({})).await?;
        lab.pod_ready(&sentinel).await?;
        let barrier = Barrier::raise(lab, &namespace, Refused::Status).await?;
        let made = made_without_a_record(lab, &namespace, operator).await;
        barrier.lower().await?;
        let made = made?;

        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        let mappings = lab.all_ready(&namespace, 4).await?;
        operator.resyncs(&operator.metrics().await?, 2).await?;
        let recorded: BTreeSet<_> = mappings.iter().filter_map(port_id).collect();
        ensure!(recorded == made.iter().map(|p| p.id.clone()).collect(), "they are adopted");
        ensure!(lab.ports().await?.len() == 4, "and no other is made");
        let posts = operator.metrics().await?.calls("POST", "ports");
        ensure!(posts == 0, "{posts} creates after the crash");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// A gateway lost the answer: whether the port is there is looked for by its mark, before another one is made.
#[tokio::test]
async fn a_port_whose_creation_was_not_answered_is_found_and_taken_up() -> Result<()> {
    on_lab("answer-lost", async |lab| {
        lab.load_pod_port().await?;
        let namespace = lab.namespace().await?;
        let (gate, operator) = lab.operator_behind_gate().await?;
        gate.garble();
        lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await?;
        ensure!(gate.has_garbled(), "no answer was lost");
        let numbers = operator.quiet().await?;
        let (lost, posts) = (numbers.reconciles("CloudAnswerLost"), numbers.calls("POST", "ports"));
        ensure!((lost, posts) == (1, 1), "{lost} answers were lost of {posts} creates");
        ensure!(lab.one_port_each(&namespace).await?.len() == 1);
        // Gone before it is looked for, it goes too.
        gate.garble();
        lab.pod(&namespace, "q", json!({})).await?;
        until("the answer is lost", async || {
            ensure!(gate.has_garbled(), "no write yet");
            Ok(())
        })
        .await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Three Pods come behind the barrier: their ports are made, and the operator dies before it can say so.
async fn made_without_a_record(lab: &Lab, namespace: &str, operator: Operator) -> Result<Vec<Port>> {
    let pods = lab.pods(namespace, 3).await?;
    let made = lab.ports_left("the ports are made", 4).await?;
    operator.kill().await?;
    for pod in &pods {
        ensure!(port_id(&lab.mapping(pod).await?).is_none(), "nothing is recorded");
    }
    Ok(made)
}

/// Invariant 1: while its CloudMapping can't be stored, nothing is made in the cloud for a Pod.
#[tokio::test]
async fn nothing_is_made_before_its_cloudmapping_is_stored() -> Result<()> {
    on_lab("write-ahead", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let barrier = Barrier::raise(lab, &namespace, Refused::Create).await?;
        let pods = lab.pods(&namespace, 3).await?;
        let tried = until("each was tried twice", async || {
            let numbers = operator.metrics().await?;
            let refused = numbers.reconciles("KubernetesRefused") + numbers.reconciles("KubernetesForbidden");
            ensure!(refused >= 6, "{refused} were refused");
            Ok(numbers)
        })
        .await;
        barrier.lower().await?;
        let created = tried?.calls("POST", "ports");
        ensure!(created == 0, "{created} ports were made without a CloudMapping");
        lab.all_ready(&namespace, pods.len()).await?;
        let created = operator.metrics().await?.calls("POST", "ports");
        ensure!(created == 3, "{created} creates for 3 Pods");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Pods come and go while Neutron is away for 20 s.
#[tokio::test]
async fn neutron_is_down_for_twenty_seconds() -> Result<()> {
    on_lab("neutron-down", async |lab| {
        let (namespace, operator, pods) = lab.with_pods(&["--resync-seconds", "5"], 5).await?;
        let before: BTreeSet<String> = lab.ports().await?.into_iter().map(|p| p.id).collect();

        lab.kill_part("neutron").await?;
        let down = tokio::time::Instant::now();
        let new = lab.pod(&namespace, "new", json!({})).await?;
        lab.delete_pod(&namespace, "p-0").await?;
        ensure!(lab.pod_api(&namespace).get_opt("p-0").await?.is_none(), "the Pod is gone at once");
        for pod in [&new, &pods[0]] {
            until(&format!("the mapping of {} says that the cloud is away", pod.name_any()), async || {
                let mapping = lab.mapping(pod).await?;
                let realized = condition(&mapping, "Realized").context("no condition Realized")?;
                ensure!(realized.status == "False" && realized.reason == "CloudUnavailable", "{realized:?}");
                ensure!(!ready(&mapping), "it is Ready");
                Ok(())
            })
            .await?;
        }
        tokio::time::sleep_until(down + Duration::from_secs(20)).await;
        for pod in &pods[1..] {
            ensure!(ready(&lab.mapping(pod).await?), "those that were mapped stay as they are");
        }
        lab.start_part("neutron").await?;

        let limit = Duration::from_secs(90);
        until_within(limit, "the new Pod is mapped and the deleted one's port is gone", async || {
            ensure!(ready(&lab.mapping(&new).await?), "new is not Ready");
            ensure!(lab.mapping(&pods[0]).await.is_err(), "p-0 has its mapping");
            let after: BTreeSet<String> = lab.ports().await?.into_iter().map(|p| p.id).collect();
            let kept = after.intersection(&before).count();
            ensure!(after.len() == 5 && kept == 4, "{} ports, {kept} of them from before", after.len());
            Ok(())
        })
        .await?;
        ensure!(operator.metrics().await?.sum("isthmus_leading", &[]) == 1, "the same operator");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

#[tokio::test]
async fn a_port_deleted_behind_our_back_is_made_again() -> Result<()> {
    on_lab("behind", async |lab| {
        let (namespace, operator, pods) = lab.with_pods(&["--resync-seconds", "2"], 2).await?;
        let (gone, kept) = (port_id(&lab.mapping(&pods[0]).await?), port_id(&lab.mapping(&pods[1]).await?));
        lab.demo.delete::<Port>(gone.as_deref().context("a port")?).await?;
        until("there is another port", async || {
            let mapping = lab.mapping(&pods[0]).await?;
            let id = port_id(&mapping).context("no port")?;
            ensure!(ready(&mapping) && Some(&id) != gone.as_ref(), "{:?}", mapping.status);
            ensure!(lab.port(&id).await?.is_some(), "it is not in the cloud");
            Ok(())
        })
        .await?;
        lab.one_port_each(&namespace).await?;
        ensure!(port_id(&lab.mapping(&pods[1]).await?) == kept, "the other one is not touched");
        let posts = operator.metrics().await?.calls("POST", "ports");
        ensure!(posts == 3, "two Pods and one port again: {posts} creates");
        changed_behind_our_back(lab, &operator, &kept.context("a port")?).await
    })
    .await
}

/// What somebody changed of a port is as it was after one write.
async fn changed_behind_our_back(lab: &Lab, operator: &Operator, id: &str) -> Result<()> {
    let made = lab.port(id).await?.context("the port")?;
    ensure!(!made.security_groups.is_empty(), "it has groups");
    let before = operator.metrics().await?.cloud_writes();
    let changed = PortUpdate { security_groups: Some(Vec::new()), ..PortUpdate::default() };
    lab.demo.update::<Port>(id, &changed, None).await?;
    until("it is as it was", async || {
        let now = lab.port(id).await?.context("the port")?;
        ensure!(now.security_groups == made.security_groups, "{:?}", now.security_groups);
        Ok(())
    })
    .await?;
    operator.resyncs(&operator.metrics().await?, 2).await?;
    let writes = operator.metrics().await?.cloud_writes() - before;
    ensure!(writes == 1, "{writes} writes");
    Ok(())
}

/// Of a similar name; with our tags of another cluster; with half a mark; with our whole mark, but in another project,
/// which the operator's credential can see and delete: none is ever changed, adopted or collected.
#[tokio::test]
async fn ports_of_somebody_else_are_never_touched() -> Result<()> {
    on_lab("strangers", async |lab| {
        let namespace = lab.namespace().await?;
        lab.load_pod_port().await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let uid = pod.uid().context("uid")?;
        let mark = |cluster: &str, subject: &str| {
            Mark { cluster: cluster.into(), subject: subject.into(), name: "port".into() }.tags()
        };
        let name = format!("pod/{namespace}/p/port");
        let nobody = "00000000-0000-4000-8000-000000000000";
        let strangers = [
            lab.make_port(&lab.demo, &name, &[]).await?,
            lab.make_port(&lab.demo, &name, &mark("another-cluster", &uid)).await?,
            lab.make_port(&lab.demo, &name, &[Mark::cluster_tag(&lab.cluster)]).await?,
            lab.make_port(&lab.admin, &name, &mark(&lab.cluster, &uid)).await?,
            lab.make_port(&lab.admin, &name, &mark(&lab.cluster, nobody)).await?,
        ];
        // The operator's own user sees them all: else they would be untouched for another reason.
        let ours = cloud("isthmus")?;
        for port in &strangers {
            ours.get::<Port>(&port.id).await.with_context(|| format!("{} as the operator", port.id))?;
        }
        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        let own = port_id(&lab.pod_ready(&pod).await?).context("a port")?;
        ensure!(strangers.iter().all(|p| p.id != own), "none is adopted");
        operator.resyncs(&operator.metrics().await?, 4).await?;
        untouched(lab, &strangers).await?;
        lab.delete_pods(&namespace).await?;
        until("our port is gone", async || {
            ensure!(lab.port(&own).await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        operator.resyncs(&operator.metrics().await?, 3).await?;
        untouched(lab, &strangers).await?;
        let numbers = operator.metrics().await?;
        let writes =
            (numbers.calls("POST", "ports"), numbers.calls("DELETE", "ports"), numbers.cloud_writes());
        ensure!(writes == (1, 1, 2), "one port made and deleted: {writes:?}");
        Ok(())
    })
    .await
}

async fn untouched(lab: &Lab, strangers: &[Port]) -> Result<()> {
    for port in strangers {
        let now = lab.admin.get::<Port>(&port.id).await?;
        ensure!(
            now.revision_number == port.revision_number && now.tags == port.tags,
            "{now:?}, was {port:?}"
        );
    }
    Ok(())
}

/// A create that the cloud was still at when its operator was killed comes through after the next operator listed everything, and after
/// its Pod has gone: it is seen before the CloudMapping is let go, and goes with it. (Without any CloudMapping nothing would be
/// collected.)
#[tokio::test]
async fn what_a_killed_operator_left_under_way_goes_with_its_pod() -> Result<()> {
    on_lab("under-way", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        operator.kill().await?;
        let (gate, operator) = lab.operator_behind_gate().await?;
        lab.loaded("pod-port").await?;
        gate.hold();
        lab.pods(&namespace, 1).await?;
        until("the port is being made", async || {
            ensure!(gate.holds(), "no write yet");
            Ok(())
        })
        .await?;
        operator.kill().await?;
        lab.delete_pods(&namespace).await?;
        let operator = lab.operator(&[]).await?;
        operator.quiet().await?;
        ensure!(lab.ports().await?.is_empty(), "it is not made yet");
        gate.let_through();
        until("the port is made", async || {
            ensure!(lab.ports().await?.len() == 1, "not yet");
            Ok(())
        })
        .await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// A port with our whole mark, of a subject that nobody knows, goes after two resyncs saw it; nothing else does.
#[tokio::test]
async fn an_orphan_of_ours_is_collected() -> Result<()> {
    on_lab("orphan", async |lab| {
        let namespace = lab.namespace().await?;
        lab.load_pod_port().await?;
        lab.pods(&namespace, 2).await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        lab.all_ready(&namespace, 2).await?;
        let mark = Mark {
            cluster: lab.cluster.clone(),
            subject: "00000000-0000-4000-8000-000000000000".into(),
            name: "port".into(),
        };
        let since = operator.metrics().await?;
        let orphan = lab.make_port(&lab.demo, "orphan", &mark.tags()).await?;
        until("the orphan is gone", async || {
            ensure!(lab.port(&orphan.id).await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        let numbers = operator.metrics().await?;
        let lists = numbers.calls("GET", "ports") - since.calls("GET", "ports");
        ensure!(lists >= 2, "it was seen by {lists} resyncs");
        // Neutron's answer comes after the port is gone, and is counted then.
        until("one is counted", async || {
            let counted = operator.metrics().await?.sum("isthmus_orphans_collected_total", &[]);
            ensure!(counted == 1, "{counted}");
            Ok(())
        })
        .await?;
        lab.one_port_each(&namespace).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn with_a_quota_of_three_ports_three_of_five_pods_are_mapped() -> Result<()> {
    on_lab("quota", async |lab| {
        // Neutron itself lets creates that come together go beyond a quota.
        let (namespace, operator) = lab.with_pod_port(&["--parallel", "1"]).await?;
        let quotas = lab.admin.quotas(&lab.project().await?).await?;
        let used = quotas.get("port").context("a quota of ports")?.used;
        let limit = used + 3;
        lab.quota(Some(("port", limit))).await?;
        lab.pods(&namespace, 5).await?;
        let numbers = format!("port quota {limit}, used {limit}");
        until("three are mapped, and two say why not", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            let mapped = all.iter().filter(|m| ready(m)).count();
            let refused: Vec<_> = all
                .iter()
                .filter_map(|m| condition(m, "Realized"))
                .filter(|c| c.reason == "OverQuota" && c.status == "False")
                .map(|c| &c.message)
                .collect();
            ensure!(mapped == 3 && refused.len() == 2, "{mapped} mapped, {refused:?}");
            ensure!(
                refused.iter().all(|message| message.contains(&numbers)),
                "no {numbers:?} in {refused:?}"
            );
            Ok(())
        })
        .await?;
        ensure!(lab.ports().await?.len() == 3, "three ports");
        let log = operator.log()?;
        let named = |line: &&str| line.contains("refused") && line.contains("req-") && line.contains("Pod");
        ensure!(
            log.lines().filter(named).count() >= 2,
            "each refusal has its request's id in the log:\n{log}"
        );
        until("both Pods have an Event that says so", async || {
            let events: Api<Event> = Api::namespaced(lab.kube.clone(), &namespace);
            let told = events.list(&ListParams::default()).await?.items;
            let told = told.iter().filter(|e| e.reason.as_deref() == Some("OverQuota")).count();
            ensure!(told == 2, "{told} Events");
            Ok(())
        })
        .await?;
        lab.quota(Some(("port", limit + 2))).await?;
        lab.all_ready(&namespace, 5).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Neither a restart nor the resyncs after it write anything where nothing changed: to the cloud, or to Kubernetes.
#[tokio::test]
async fn a_restart_of_an_unchanged_cluster_writes_nothing() -> Result<()> {
    on_lab("restart", async |lab| {
        let namespace = lab.namespace().await?;
        lab.policy_module("pod-port", json!({"config": pods_config(&["site=lab"])})).await?;
        lab.load("pod-port", "pod-port").await?;
        lab.load("tag-by-team", "tag-by-team").await?;
        let operator = lab.operator(&[]).await?;
        lab.loaded("tag-by-team").await?;
        lab.pods(&namespace, 10).await?;
        lab.pod(&namespace, "host", json!({"hostNetwork": true})).await?;
        lab.all_ready(&namespace, 10).await?;
        operator.quiet().await?;
        let ended = operator.stop(Duration::from_secs(20)).await?;
        ensure!(ended.success(), "{ended}");
        let (before, ports) = (versions(lab, &namespace).await?, lab.ports().await?);

        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        let numbers = operator.metrics().await?;
        operator.resyncs(&numbers, 3).await?;
        let numbers = operator.metrics().await?;
        ensure!(numbers.reconciles("done") >= 30, "all were looked at: {}", numbers.reconciles("done"));
        ensure!(numbers.cloud_writes() == 0, "{} writes to the cloud", numbers.cloud_writes());
        ensure!(lab.ports().await? == ports, "the ports are as they were");
        let after = versions(lab, &namespace).await?;
        let changed: Vec<_> =
            after.iter().filter(|(key, version)| before.get(*key) != Some(version)).collect();
        ensure!(changed.is_empty() && before.len() == after.len(), "written: {changed:?}");
        Ok(())
    })
    .await
}

/// Resource versions of everything that the operator could write: it changes with every write.
async fn versions(lab: &Lab, namespace: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (group, version, kind, namespace) in [
        ("isthmus.dev", "v1alpha1", "CloudMapping", Some(namespace)),
        ("isthmus.dev", "v1alpha1", "PolicyModule", None),
        ("", "v1", "ConfigMap", Some(OPERATOR_NAMESPACE)),
        ("", "v1", "Pod", Some(namespace)),
        ("events.k8s.io", "v1", "Event", Some(namespace)),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(lab.kube.clone(), namespace, &resource),
            None => Api::all_with(lab.kube.clone(), &resource),
        };
        for object in api.list(&ListParams::default()).await? {
            all.insert(
                format!("{kind} {}", object.name_any()),
                object.resource_version().unwrap_or_default(),
            );
        }
    }
    Ok(all)
}
