//! `isthmus uninstall` and `isthmus tree --retained`, where an operator has worked and is gone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::names::FINALIZER;
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{Port, PortCreate, SecurityGroup};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use stage::Stage;
use stage::contents::MAPPED;

/// The example, mapped, and no operator.
async fn left_alone() -> Stage {
    let stage = Stage::start().await;
    stage.populate().await;
    let operator = stage.operator(&[]);
    stage.ready(MAPPED).await;
    let (plan, said) = stage.fails(&["uninstall"]).await;
    assert!(plan.contains("REFUSED: operator ") && plan.contains("--replicas=0"), "{plan}");
    assert!(said.contains("it would be refused"), "{said}");
    let (_, said) = stage.fails(&["uninstall", "--yes"]).await;
    assert!(said.contains("nothing was done: operator ") && said.contains(" leads"), "{said}");
    stage.stop(operator).await;
    assert_eq!(stage.mappings().await.len(), MAPPED);
    stage
}

async fn ports(stage: &Stage) -> Vec<Port> {
    stage.neutron.list(&[]).await.unwrap()
}

fn is_ours(port: &Port, cluster: &str) -> bool {
    Mark::of(&port.description, &port.tags).is_some_and(|mark| mark.cluster == cluster)
}

/// A port of somebody else's, who marks it as ours are of another cluster.
async fn strangers(stage: &Stage, network: &str, groups: Vec<String>) -> Port {
    let mark = Mark { cluster: "other".into(), subject: "s".into(), name: "port".into() };
    let body = PortCreate {
        network_id: network.into(),
        description: Some(mark.description()),
        device_owner: Some("isthmus:pod".into()),
        security_groups: Some(groups),
        ..PortCreate::default()
    };
    stage.neutron.create::<Port>(&body).await.unwrap()
}

fn of(mappings: &[CloudMapping], kind: &str) -> CloudMapping {
    mappings.iter().find(|m| m.spec.subject.kind == kind).unwrap().clone()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The record of one Pod is lost: its CloudMapping goes without the finalizer.
async fn lose(stage: &Stage, mapping: &CloudMapping) {
    assert!(mapping.finalizers().iter().any(|f| f == FINALIZER));
    let api: Api<CloudMapping> = Api::namespaced(stage.client.kube(), &mapping.namespace().unwrap());
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch(&mapping.name_any(), &PatchParams::default(), &none).await.unwrap();
    api.delete(&mapping.name_any(), &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_we_made_goes_and_nothing_else() {
    let stage = left_alone().await;
    let cluster = stage.client.cluster_id().await.unwrap();
    let mappings = stage.mappings().await;
    let own: Vec<Port> = ports(&stage).await.into_iter().filter(|port| is_ours(port, &cluster)).collect();
    let groups: Vec<SecurityGroup> = stage.neutron.list(&[]).await.unwrap();
    let group = groups.iter().find(|group| Mark::of(&group.description, &group.tags).is_some()).unwrap();
    let network = &own.iter().find(|port| port.name.contains("/shop/")).unwrap().network_id;
    let free = strangers(&stage, network, Vec::new()).await;
    let user = strangers(&stage, network, vec![group.id.clone()]).await;

    let pods: Vec<&CloudMapping> = mappings.iter().filter(|m| m.spec.subject.kind == "Pod").collect();
    lose(&stage, pods[0]).await;
    stage.attach(pods[1], "True").await;
    let (plan, _) = stage.fails(&["uninstall", "-o", "json"]).await;
    let plan = json_of(&plan);
    assert_eq!((&plan["mode"], &plan["cloudMappings"]), (&json!("drain"), &json!(MAPPED - 1)), "{plan}");
    assert_eq!((&plan["ownerless"], &plan["policyModules"]), (&json!(1), &json!(5)), "{plan}");
    assert_eq!((&plan["resources"]["load-balancer"], &plan["resources"]["port"]), (&json!(2), &json!(6)));
    let (_, said) = stage.fails(&["uninstall", "--yes"]).await;
    let subject = &pods[1].spec.subject;
    let named = format!("plugged into Pods, as their nodes' agents say: Pod {}", subject.name);
    let with_namespace = named.replace("Pod ", &format!("Pod {}/", subject.namespace.as_deref().unwrap()));
    assert!(said.contains("1 of the ports") && said.contains(&with_namespace), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert_eq!(stage.mappings().await.len(), MAPPED - 1, "nothing was done");

    // Somebody uses a group of ours: that is left, and told, and all else goes.
    let most = ["uninstall", "--yes", "--force", "--wait-seconds", "30"];
    let (done, said) = stage.fails(&[&most[..], &["-o", "json"]].concat()).await;
    let done = json_of(&done);
    let left = done["left"].as_array().unwrap();
    assert!(said.contains("things are left") && left.len() == 2, "{done}");
    let object = left[0]["object"].as_str().unwrap();
    assert!(object.starts_with("CloudMapping ") && object.ends_with(')'), "{done}");
    assert!(left[0]["found"].as_str().unwrap().contains("in use"), "{done}");
    assert!(left[1]["object"].as_str().unwrap().contains("PolicyModules"), "{done}");
    assert_eq!((stage.mappings().await.len(), stage.modules().await), (1, 5));
    assert!(!ports(&stage).await.iter().any(|port| is_ours(port, &cluster)));

    stage.neutron.delete::<Port>(&user.id).await.unwrap();
    let done = stage.prints(&most).await;
    assert!(done.starts_with("1 CloudMappings and 5 PolicyModules are gone\n"), "{done}");
    assert!(done.contains("kubectl delete -f deploy/"), "{done}");
    assert_eq!((stage.mappings().await.len(), stage.modules().await), (0, 0));
    let groups: Vec<SecurityGroup> = stage.neutron.list(&[]).await.unwrap();
    assert!(!groups.iter().any(|group| Mark::of(&group.description, &group.tags).is_some()));
    assert!(ports(&stage).await.iter().any(|port| port.id == free.id), "it is of another cluster");
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.kube(), "isthmus-system");
    let maps = maps.list(&ListParams::default()).await.unwrap().items;
    let named = |part: &str| maps.iter().filter(|map| map.name_any().starts_with(part)).count();
    assert_eq!((named("isthmus-kept-"), named("pod-port")), (0, 1), "what users loaded is theirs");

    let again = stage.prints(&["uninstall"]).await;
    assert!(again.contains("is left to take down"), "{again}");
    stage.prints(&["uninstall", "--yes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_stays_as_it_is_and_is_listed() {
    let stage = left_alone().await;
    let mappings = stage.mappings().await;
    stage.attach(&of(&mappings, "Pod"), "True").await;
    let before = ports(&stage).await;
    let plan = json_of(&stage.prints(&["uninstall", "--keep", "-o", "json"]).await);
    assert_eq!((&plan["mode"], &plan["cloudMappings"]), (&json!("keep"), &json!(MAPPED)), "{plan}");
    let done = json_of(&stage.prints(&["uninstall", "--keep", "--yes", "-o", "json"]).await);
    assert_eq!((&done["left"], &done["cloudMappings"]), (&json!([]), &json!(MAPPED)), "{done}");
    assert_eq!((&done["resources"], &done["policyModules"]), (&json!({}), &json!(5)), "{done}");
    let kept = done["kept"].as_array().unwrap();
    let web = kept.iter().find(|kept| kept["madeFor"] == "Pod shop/web-0").unwrap();
    assert!(web["kind"] == "port" && before.iter().any(|port| port.id == web["id"].as_str().unwrap()));
    assert_eq!((stage.mappings().await.len(), stage.modules().await), (0, 0));
    assert_eq!(ports(&stage).await, before);
    let again = stage.prints(&["uninstall", "--keep", "--yes"]).await;
    assert!(again.starts_with("0 CloudMappings and 0 PolicyModules are gone\n"), "{again}");
}

/// Nobody has led there, or not under this name.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_operator_has_led_it_is_done_by_force() {
    let stage = Stage::start().await;
    for mode in [&["--keep"][..], &[]] {
        stage.load("faults", json!({})).await;
        let command = [&["uninstall", "--yes"][..], mode].concat();
        let (_, said) = stage.fails(&command).await;
        assert!(said.contains("has no lease of an operator") && said.contains("`--force`"), "{said}");
        assert_eq!(stage.modules().await, 1, "nothing was done");
        let done = stage.prints(&[&command[..], &["--force"]].concat()).await;
        assert!(done.starts_with("0 CloudMappings and 1 PolicyModules are gone\n"), "{done}");
        let lease: Api<Lease> = Api::namespaced(stage.client.kube(), "isthmus-system");
        lease.delete(isthmus_operator::LEASE, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_module_retains_is_listed_and_nothing_touches_it() {
    let stage = Stage::start().await;
    let pods = json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": ["pods"]});
    stage.load("faults", json!({"pods": pods, "fault": "retain-balanced", "only": "kept"})).await;
    stage.node_and_namespace("node1", "shop").await;
    for name in ["kept-0", "kept-1", "gone-0"] {
        let spec = json!({"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none"}]});
        let metadata = json!({"name": name, "namespace": "shop"});
        stage.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    }
    let operator = stage.operator(&["--resync-seconds", "1"]);
    stage.ready(3).await;
    assert_eq!(stage.prints(&["tree", "--retained"]).await, "nothing is retained\n");
    let before = ports(&stage).await;
    let api: Api<Pod> = Api::namespaced(stage.client.kube(), "shop");
    for name in ["kept-0", "gone-0"] {
        api.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    stage.until("their mappings are gone", |all| all.len() == 1).await;

    let all = json_of(&stage.prints(&["tree", "--retained", "-o", "json"]).await);
    let [group, found, below @ ..] = all.as_array().unwrap().as_slice() else { panic!("{all}") };
    let entries: Vec<&Value> = below.iter().map(|found| &found["entry"]).collect();
    assert_eq!(entries, ["balancer", "listener", "pool"], "{all}");
    assert_eq!((&group["kind"], &group["entry"]), (&json!("address-group"), &json!("peers")), "{group}");
    assert_eq!(group["madeFor"], json!("Pod shop/kept-0"), "{group}");
    assert_eq!((&found["kind"], &found["madeFor"]), (&json!("port"), &json!("Pod shop/kept-0")), "{found}");
    assert_eq!((&found["entry"], &found["existing"]), (&json!("port"), &found["id"]), "{found}");
    let port = before.iter().find(|port| port.id == found["id"].as_str().unwrap()).unwrap();
    assert_eq!(found["addresses"], json!([port.fixed_ips[0].ip_address]));
    let text = stage.prints(&["tree", "--retained"]).await;
    assert!(text.starts_with("KIND ") && text.contains("Pod shop/kept-0"), "{text}");

    // Neither a resync nor the end of everything.
    stage.stop(operator).await;
    let done = json_of(&stage.prints(&["uninstall", "--yes", "-o", "json"]).await);
    assert_eq!((&done["retained"], &done["resources"], &done["left"]), (&json!(5), &json!({}), &json!([])));
    let all = json_of(&stage.prints(&["tree", "--retained", "-o", "json"]).await);
    assert_eq!(all.as_array().unwrap().len(), 10, "{all}");
    let (_, said) = stage.fails(&["tree"]).await;
    assert!(said.contains("--retained"), "{said}");
}
