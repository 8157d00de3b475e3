//! The Kubernetes side: a stage of our own in the lab's cluster, Pods on it, and what became of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule, crds};
use isthmus_world::kubernetes::{ApiServer, Options};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::objects;
use crate::operator::{Operator, WRITTEN};

/// The operator's namespace.
pub(crate) const NAMESPACE: &str = "isthmus-bench";
/// The namespace of the Pods.
pub(crate) const PODS: &str = "isthmus-bench-pods";
/// The PolicyModule and its ConfigMap: a name that is nobody else's, since it is taken away in the end. Those of other modules begin
/// with it.
pub(crate) const MODULE: &str = "isthmus-bench";
/// Requests in flight while Pods are made.
const PARALLEL: usize = 32;
const LIMIT: Duration = Duration::from_secs(60);

/// The lab's cluster, or one in this process.
pub(crate) struct Cluster {
    client: kube::Client,
    /// That of this process.
    own: Option<Arc<ApiServer>>,
    /// The Node that Pods are bound to. It has no kubelet.
    node: String,
}

/// The mappings of our Pods, counted by a watch. It ends when this is dropped.
pub(crate) struct Mappings {
    counts: watch::Receiver<Counts>,
    watching: JoinHandle<()>,
}

/// Writes that the API server has served.
struct Served {
    all: u64,
    deletes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: usize,
    ready: usize,
}

impl Drop for Mappings {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Mappings {
    /// Waits until so many are ready, and there are no others.
    pub(crate) async fn ready(&mut self, wanted: usize, limit: Duration) -> Result<()> {
        self.until(limit, |counts| counts.ready == wanted && counts.all == wanted).await
    }

    /// Waits until none is left.
    pub(crate) async fn gone(&mut self, limit: Duration) -> Result<()> {
        self.until(limit, |counts| counts.all == 0).await
    }

    async fn until(&mut self, limit: Duration, wanted: impl Fn(&Counts) -> bool) -> Result<()> {
        let waited = timeout(limit, self.counts.wait_for(|counts| wanted(counts))).await;
        match waited.map(|found| found.map(drop)) {
            Ok(found) => found.context("the watch of CloudMappings ended"),
            Err(_) => bail!("not within {limit:?}: {:?}", *self.counts.borrow()),
        }
    }
}

impl Cluster {
    /// The cluster of KUBECONFIG, and the Node that Pods are bound to.
    pub(crate) async fn connect(node: &str) -> Result<Self> {
        Ok(Self { client: Client::connect(None).await?.kube(), own: None, node: node.into() })
    }

    /// A cluster in this process; its kubeconfig is written to `kubeconfig`.
    pub(crate) async fn embedded(kubeconfig: &Path, node: &str) -> Result<Self> {
        let api = ApiServer::start(Options::default()).await.context("starting the in-process Kubernetes")?;
        std::fs::write(kubeconfig, api.kubeconfig())?;
        let client = Client::connect(Some(kubeconfig)).await?.kube();
        Ok(Self { client, own: Some(Arc::new(api)), node: node.into() })
    }

    /// The client.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn pods<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), PODS)
    }

    async fn apply<K>(&self, api: Api<K>, name: &str, object: impl Serialize + std::fmt::Debug) -> Result<()>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let parameters = PatchParams::apply("isthmus-bench").force();
        let applied = api.patch(name, &parameters, &Patch::Apply(object)).await;
        applied.map(drop).with_context(|| format!("applying {name}"))
    }

    /// Definitions, namespaces and a node. Refuses a cluster in which others have Pods or modules.
    pub(crate) async fn prepare(&self) -> Result<()> {
        for crd in crds() {
            let name = crd.name_any();
            self.apply(self.all::<CustomResourceDefinition>(), &name, &crd).await?;
            timeout(LIMIT, await_condition(self.all(), &name, is_crd_established())).await??;
        }
        self.answers_for::<CloudMapping>().await?;
        self.answers_for::<PolicyModule>().await?;
        self.clean_up().await.context("cleaning up after an earlier run")?;
        let none = |found: usize, what: &str| -> Result<()> {
            ensure!(
                found == 0,
                "the cluster has {found} {what} of others: an operator would work on them too"
            );
            Ok(())
        };
        let any = ListParams::default();
        none(self.all::<PolicyModule>().list_metadata(&any).await?.items.len(), "PolicyModules")?;
        none(self.all::<CloudMapping>().list_metadata(&any).await?.items.len(), "CloudMappings")?;
        none(self.all::<Pod>().list_metadata(&any).await?.items.len(), "Pods")?;
        for name in [NAMESPACE, PODS] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.apply(self.all::<Namespace>(), name, object).await?;
        }
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}});
        self.apply(self.all::<Node>(), &self.node, node).await?;
        // A Pod is refused until its namespace has the account.
        let account = |found: Option<&ServiceAccount>| found.is_some();
        timeout(LIMIT, await_condition(self.pods(), "default", account)).await??;
        Ok(())
    }

    /// Gives the module's config, as a user does.
    pub(crate) async fn configure(&self) -> Result<()> {
        let config = json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": ["pods"]});
        objects::policy_module(&self.client, MODULE, config).await
    }

    /// Puts a module's bytes into its ConfigMap.
    pub(crate) async fn load(&self, bytes: Vec<u8>) -> Result<()> {
        objects::source(&self.client, MODULE, bytes).await
    }

    /// Watches the mappings of our Pods from now on.
    pub(crate) fn watch(&self) -> Mappings {
        let (sender, counts) = watch::channel(Counts::default());
        let mappings = self.pods::<CloudMapping>();
        let watching = tokio::spawn(async move {
            let mut ready: HashMap<String, bool> = HashMap::new();
            let mut events = watcher(mappings, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init) => ready.clear(),
                    Ok(watcher::Event::Apply(m) | watcher::Event::InitApply(m)) => {
                        let _before = ready.insert(m.name_any(), m.is_ready());
                    }
                    Ok(watcher::Event::Delete(m)) => {
                        let _before = ready.remove(&m.name_any());
                    }
                    // It is tried again by the next poll.
                    Ok(watcher::Event::InitDone) | Err(_) => {}
                }
                let count = ready.values().filter(|ready| **ready).count();
                sender.send_replace(Counts { all: ready.len(), ready: count });
            }
        });
        Mappings { counts, watching }
    }

    /// Makes the Pods of these numbers, bound to our node. Nothing will run them.
    pub(crate) async fn create_pods(&self, numbers: std::ops::Range<usize>) -> Result<()> {
        self.create_labelled_pods(numbers, |_| json!({})).await
    }

    /// As [`Self::create_pods`], each with labels.
    pub(crate) async fn create_labelled_pods(
        &self,
        numbers: std::ops::Range<usize>,
        labels: impl Fn(usize) -> Value,
    ) -> Result<()> {
        let api = self.pods::<Pod>();
        // The node has no kubelet: its controllers would evict what does not tolerate that.
        let tolerations = json!([{"operator": "Exists"}]);
        let pod = |number: usize| -> Result<Pod> {
            let spec = json!({"nodeName": self.node, "automountServiceAccountToken": false, "tolerations": tolerations,
                              "terminationGracePeriodSeconds": 0,
                              "containers": [{"name": "main", "image": "none.invalid/none"}]});
            Ok(serde_json::from_value(
                json!({"metadata": {"name": format!("pod-{number:05}"), "labels": labels(number)}, "spec": spec}),
            )?)
        };
        let creates = stream::iter(numbers).map(|number| {
            let api = &api;
            let pod = pod(number);
            async move {
                api.create(&PostParams::default(), &pod?).await?;
                anyhow::Ok(())
            }
        });
        creates.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await.map(drop)
    }

    /// Deletes all of our Pods, one by one: a collection is deleted one after the other, and given up after a minute.
    pub(crate) async fn delete_pods(&self) -> Result<()> {
        let (pods, now) = (self.pods::<Pod>(), DeleteParams::default().grace_period(0));
        loop {
            let some = pods.list_metadata(&ListParams::default().limit(500)).await?.items;
            if some.is_empty() {
                return Ok(());
            }
            let deletes = stream::iter(some.iter().map(ResourceExt::name_any)).map(|name| {
                let (pods, now) = (&pods, &now);
                async move {
                    match pods.delete(&name, now).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                        other => other.map(drop),
                    }
                }
            });
            deletes.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await.context("deleting the Pods")?;
        }
    }

    /// Waits until a kind of ours can be asked for: a definition is established a moment before that.
    async fn answers_for<K>(&self) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let begun = Instant::now();
        loop {
            match self.all::<K>().list_metadata(&ListParams::default().limit(1)).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 && begun.elapsed() < LIMIT => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("the API server does not serve {}", K::plural(&())));
                }
            }
        }
    }

    /// Writes that the API server has served so far to objects that only an operator writes: ours, and Events. Those of
    /// the garbage collector are among them.
    pub(crate) async fn writes(&self) -> Result<u64> {
        Ok(self.served().await?.all)
    }

    /// As [`Self::writes`], less what the garbage collector has deleted: what an operator wrote, which sent so many deletes itself.
    pub(crate) async fn writes_of(&self, operator: &Operator) -> Result<u64> {
        let (served, own) = (self.served().await?, operator.numbers().await?.kubernetes_deletes());
        Ok(served.all - served.deletes.saturating_sub(own))
    }

    async fn served(&self) -> Result<Served> {
        if let Some(server) = &self.own {
            let of = |method| WRITTEN.into_iter().map(|kind| server.requests(method, kind)).sum::<u64>();
            let deletes = of("DELETE");
            return Ok(Served {
                all: ["POST", "PUT", "PATCH"].map(of).into_iter().sum::<u64>() + deletes,
                deletes,
            });
        }
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await.context("the API server's /metrics")?;
        let of = |verb: &str| {
            let ours = |line: &&str| {
                let has = |label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
                line.starts_with("apiserver_request_total{")
                    && (has("group", "isthmus.dev") || has("group", "events.k8s.io"))
                    && has("verb", verb)
            };
            let counts =
                text.lines().filter(ours).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count, written as a float"
            )]
            let count = counts.sum::<f64>() as u64;
            count
        };
        let deletes = of("DELETE");
        Ok(Served {
            all: ["POST", "PUT", "PATCH", "APPLY"].map(of).into_iter().sum::<u64>() + deletes,
            deletes,
        })
    }

    /// Takes away everything that [`Self::prepare`] and a run made, whether or not an operator is there to do its part.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        self.delete_pods().await?;
        for mapping in self.pods::<CloudMapping>().list_metadata(&ListParams::default()).await? {
            self.remove(self.pods::<CloudMapping>(), &mapping.name_any()).await?;
        }
        for module in self.all::<PolicyModule>().list_metadata(&ListParams::default()).await? {
            if module.name_any().starts_with(MODULE) {
                self.remove(self.all::<PolicyModule>(), &module.name_any()).await?;
            }
        }
        self.remove(self.all::<Node>(), &self.node).await?;
        for name in [PODS, NAMESPACE] {
            self.remove(self.all::<Namespace>(), name).await?;
        }
        for name in [PODS, NAMESPACE] {
            let gone = |found: Option<&Namespace>| found.is_none();
            timeout(LIMIT * 2, await_condition(self.all(), name, gone))
                .await
                .with_context(|| format!("namespace {name} is still there"))??;
        }
        Ok(())
    }

    /// Deletes an object without waiting for who holds a finalizer of it. Fine if it is gone.
    async fn remove<K>(&self, api: Api<K>, name: &str) -> Result<()>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        missing_is_fine(api.patch(name, &PatchParams::default(), &none).await)?;
        missing_is_fine(api.delete(name, &DeleteParams::default()).await)
    }
}

fn missing_is_fine<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(Into::into),
    }
}

/// The module with an empty custom section at its end: another digest, the same behaviour.
pub(crate) fn another_build(module: &Path) -> Result<Vec<u8>> {
    let mut bytes = read_module(module)?;
    // id 0 (custom), length of what follows, length of the name, the name
    bytes.extend_from_slice(b"\x00\x06\x05bench");
    Ok(bytes)
}

/// The module's bytes.
pub(crate) fn read_module(module: &Path) -> Result<Vec<u8>> {
    std::fs::read(module)
        .with_context(|| format!("reading {}: `cargo xtask plugins` makes it", module.display()))
}
