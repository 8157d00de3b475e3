//! The world of `isthmus dev` with an operator that a test starts and stops: a Kubernetes API and an OpenStack in the test's process, the
//! operator and the commands in their own.

#[path = "../../src/dev/apply.rs"]
mod apply;
#[path = "../../src/dev/cloud.rs"]
mod cloud;
#[path = "../../src/dev/contents.rs"]
pub(crate) mod contents;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule, PolicyModuleStatus, crds};
use isthmus_kubernetes::watch::{self, Event};
use isthmus_openstack::{CloudConfig, Metrics, Neutron, Octavia, Session, Sources};
use isthmus_world::World;
use isthmus_world::kubernetes::{ApiServer, Options};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Longest wait for anything: most takes a second or two.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    pub(crate) api: ApiServer,
    pub(crate) world: World,
    /// Name of the cloud in clouds.yaml that the operator is a user of.
    pub(crate) user: &'static str,
    pub(crate) client: Client,
    /// The cloud as the operator sees it.
    pub(crate) neutron: Neutron,
}

/// The next thing that a watch tells, which goes on.
async fn next<K>(events: &mut mpsc::Receiver<Event<K>>, what: &str) -> Event<K> {
    match events.recv().await {
        Some(Event::Malformed { reason, .. } | Event::Unavailable(reason)) => panic!("{what}: {reason}"),
        Some(event) => event,
        None => panic!("{what}: the watch has ended"),
    }
}

/// Whether a CloudMapping has these words in a condition.
pub(crate) fn has_words(mapping: &CloudMapping, words: &str) -> bool {
    let mut conditions = mapping.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.message.contains(words))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Path of a component that `cargo xtask plugins` has built.
pub(crate) fn module(name: &str) -> String {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/modules");
    let folder = std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, PathBuf::from);
    folder.join(format!("{name}.wasm")).display().to_string()
}

impl Stage {
    /// With the definitions, and nothing else.
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// As [`Self::start`], in a cloud with other options.
    pub(crate) async fn with(change: impl FnOnce(&mut isthmus_world::Options)) -> Self {
        let mut options = cloud::options();
        change(&mut options);
        let folder = tempfile::tempdir().unwrap();
        let api = ApiServer::start(Options::default()).await.unwrap();
        let world = cloud::start(options).await.unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
        std::fs::write(folder.path().join("clouds.yaml"), cloud::clouds_yaml(&world)).unwrap();
        let client = Client::connect(Some(&kubeconfig)).await.unwrap();
        let session = Session::new(cloud::config(&world).unwrap(), Metrics::default()).unwrap();
        let neutron = Neutron::new(session);
        let stage = Self { folder, api, world, user: "isthmus", client, neutron };
        for definition in crds() {
            stage.apply(serde_json::to_value(definition).unwrap()).await;
        }
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "isthmus-system"}});
        stage.apply(namespace).await;
        stage
    }

    /// As `isthmus dev` begins: its modules, its example.
    pub(crate) async fn populate(&self) {
        for text in contents::CONFIGS.into_iter().chain([contents::EXAMPLE]) {
            self.apply_all(text).await;
        }
        for name in contents::MODULES {
            self.prints(&["module", "load", &module(name)]).await;
        }
    }

    /// The Node and the Namespace of Pods.
    pub(crate) async fn node_and_namespace(&self, node: &str, namespace: &str) {
        for (kind, name) in [("Node", node), ("Namespace", namespace)] {
            self.apply(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})).await;
        }
    }

    pub(crate) async fn apply(&self, object: Value) {
        apply::apply(&self.client, object).await.unwrap();
    }

    pub(crate) async fn apply_all(&self, documents: &str) {
        apply::apply_all(&self.client, documents).await.unwrap();
    }

    /// A PolicyModule of this config, from the file of its name.
    pub(crate) async fn load(&self, name: &str, config: Value) {
        let spec = json!({"source": {"configMaps": [{"name": name}]}, "config": config});
        let object = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
                            "metadata": {"name": name}, "spec": spec});
        self.apply(object).await;
        self.bytes(name).await;
    }

    /// Loads `service-loadbalancer` with this beside what its config has to say, and makes a Service for it: `shop/web`, without
    /// endpoints.
    pub(crate) async fn balanced(&self, more: Value) {
        let mut config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.load("service-loadbalancer", config).await;
        self.node_and_namespace("node1", "shop").await;
        let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
        let metadata = json!({"name": "web", "namespace": "shop"});
        self.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
    }

    /// The file of a PolicyModule that is there.
    pub(crate) async fn bytes(&self, name: &str) {
        self.prints(&["module", "load", &module(name), "--name", name]).await;
    }

    /// Something more in the operator's project of the cloud; its id.
    pub(crate) async fn make(&self, collection: &'static str, body: Value) -> String {
        cloud::make(self.neutron.session(), collection, body).await.unwrap()
    }

    pub(crate) fn clouds(&self) -> PathBuf {
        self.folder.path().join("clouds.yaml")
    }

    /// Octavia as the operator sees it.
    pub(crate) fn octavia(&self) -> Octavia {
        let variables =
            BTreeMap::from([("OS_CLIENT_CONFIG_FILE".into(), self.clouds().display().to_string())]);
        let sources = Sources::new(variables, Path::new("/nonexistent"));
        let config = CloudConfig::load(&sources, Some(self.user)).unwrap();
        Octavia::new(Session::new(config, Metrics::default()).unwrap())
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
        command.args(arguments).kill_on_drop(true).env("ISTHMUS_LOG", "warn").env("OS_CLOUD", self.user);
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command.env("OS_CLIENT_CONFIG_FILE", self.clouds());
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    /// What a command prints that ends well.
    pub(crate) async fn prints(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        let said = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{said}", text(&output.stdout));
        text(&output.stdout)
    }

    /// What a command prints, and says of it, that fails.
    pub(crate) async fn fails(&self, arguments: &[&str]) -> (String, String) {
        let output = self.output(arguments).await;
        assert!(!output.status.success(), "{arguments:?} is fine? {}", text(&output.stdout));
        (text(&output.stdout), text(&output.stderr))
    }

    /// Starts an operator.
    pub(crate) fn operator(&self, flags: &[&str]) -> Child {
        let base = ["operator", "--http", "127.0.0.1:0", "--lease-seconds", "10"];
        self.command(&[&base[..], flags].concat()).spawn().unwrap()
    }

    /// Ends an operator: it gives its lease back.
    pub(crate) async fn stop(&self, mut operator: Child) {
        let id = operator.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(operator.wait().await.unwrap().success());
    }

    pub(crate) async fn mappings(&self) -> Vec<CloudMapping> {
        self.client.all("list CloudMappings").await.unwrap()
    }

    pub(crate) async fn modules(&self) -> usize {
        self.client.all::<PolicyModule>("list PolicyModules").await.unwrap().len()
    }

    /// Waits until the CloudMappings are so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&[&CloudMapping]) -> bool) {
        let mut events = watch::mappings(&self.client, None);
        let (mut all, mut synced) = (BTreeMap::new(), false);
        let come = async {
            loop {
                match next(&mut events, what).await {
                    Event::Applied(mapping) => drop(all.insert(mapping.uid(), mapping)),
                    Event::Deleted(gone) => drop(all.remove(&Some(gone.uid))),
                    Event::Synced => synced = true,
                    _ => {}
                }
                if synced && is_so(&all.values().map(|mapping| &**mapping).collect::<Vec<_>>()) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(LIMIT, come).await.is_ok();
        assert!(in_time, "not in time: {what}: {:#?}", self.mappings().await);
    }

    /// Waits until a PolicyModule says so in its condition `Loaded`.
    pub(crate) async fn says(&self, name: &str, reason: &str) {
        let is_so = |module: &PolicyModule| {
            let mut conditions = module.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|c| c.type_ == "Loaded" && c.reason == reason)
        };
        self.until_module(name, reason, is_so).await;
    }

    /// Waits until the version of this digest serves, as the present spec of its PolicyModule says.
    pub(crate) async fn serves(&self, name: &str, digest: &str) {
        let is_so = |module: &PolicyModule| {
            let status = module.status.as_ref();
            let is_current = |s: &PolicyModuleStatus| s.observed_generation == module.metadata.generation;
            let serves = status.is_some_and(|s| s.digest.as_deref() == Some(digest) && is_current(s));
            serves && module.is_loaded()
        };
        self.until_module(name, digest, is_so).await;
    }

    /// Waits until a PolicyModule is so.
    async fn until_module(&self, name: &str, what: &str, is_so: impl Fn(&PolicyModule) -> bool) {
        let mut events = watch::modules(&self.client);
        let mut last = None;
        let come = async {
            loop {
                let Event::Applied(module) = next(&mut events, name).await else { continue };
                if module.name_any() != name {
                    continue;
                }
                if is_so(&module) {
                    return;
                }
                last = Some(module);
            }
        };
        let in_time = tokio::time::timeout(LIMIT, come).await.is_ok();
        assert!(in_time, "not in time: {name} is {what}: {last:#?}");
    }

    /// Waits until there are so many CloudMappings, all ready.
    pub(crate) async fn ready(&self, count: usize) {
        self.until("all is mapped", |all| all.len() == count && all.iter().all(|m| m.is_ready())).await;
    }

    /// Says, as the agent of its node does, whether the interfaces of a Pod are plugged in.
    pub(crate) async fn attach(&self, mapping: &CloudMapping, status: &str) {
        let mut conditions = json!(mapping.status.as_ref().unwrap().conditions);
        let all = conditions.as_array_mut().unwrap();
        all.retain(|condition| condition["type"] != "Attached");
        all.push(json!({"type": "Attached", "status": status, "reason": "Test", "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}));
        let (namespace, name) = (mapping.metadata.namespace.clone(), mapping.metadata.name.clone());
        let api: Api<CloudMapping> = Api::namespaced(self.client.kube(), &namespace.unwrap());
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        api.patch_status(&name.unwrap(), &PatchParams::default(), &patch).await.unwrap();
    }
}
