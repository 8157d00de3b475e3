//! The lab as a test finds and leaves it.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::crds;
use isthmus_openstack::{CloudConfig, Metrics, Neutron, Session, Sources};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::process::Command;

use crate::cluster::gone;
use crate::operator::Operator;
use crate::parts::part_of_lab;
use crate::wait::LIMIT;

/// Where the operator runs and modules are loaded from.
pub const OPERATOR_NAMESPACE: &str = "isthmus-system";
/// The manifests that clusters are given.
pub const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
/// The policy of `deploy/admission.yaml`, which some tests apply.
const ADMISSION: &str = "isthmus-cloudmappings";
/// The variable that names a lab.
pub(crate) const LAB_NAME: &str = "ISTHMUS_LAB_NAME";
/// Label of the namespaces that tests make.
const OURS: &str = "isthmus.dev/e2e";
/// What clients of the lab talk to, and the part that serves it.
const SERVERS: [(&str, &str); 5] = [
    ("etcd", "127.0.0.1:2379"),
    ("apiserver", "10.200.0.1:6443"),
    ("keystone", "127.0.0.1:5000"),
    ("neutron", "127.0.0.1:9696"),
    ("octavia", "127.0.0.1:9876"),
];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The lab in the hands of one test.
#[derive(Clone)]
pub struct Lab {
    /// Kubernetes, as its administrator.
    pub kube: kube::Client,
    /// Neutron as a plain member of the operator's project: what the tests look with.
    pub demo: Neutron,
    /// Neutron as its administrator, in a project of its own.
    pub admin: Neutron,
    /// What names this cluster in the marks.
    pub cluster: String,
    name: String,
    log: PathBuf,
}

/// Runs a test on a lab without anything that an earlier one left, and leaves none either, however it ends. A failure
/// comes with the end of the operator's log.
///
/// # Errors
/// The test's, or that the lab is not there.
pub async fn on_lab(name: &str, test: impl AsyncFnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::enter(name).await?;
    let tested =
        test(&lab).await.with_context(|| format!("operator's log ({})\n{}", lab.log.display(), lab.tail()));
    let left = lab.clear().await.context("cleaning up");
    tested.and(left)
}

/// What tells this lab from others of the machine; nothing for the first one. `tests/lab/lib.sh` says what is called after it.
pub fn suffix() -> String {
    std::env::var(LAB_NAME).unwrap_or_default()
}

/// The node that Pods are bound to: its name is that of the lab's chassis.
pub fn node() -> &'static str {
    static NODE: LazyLock<String> = LazyLock::new(|| match &*suffix() {
        "" => "node1".into(),
        name => format!("{name}-node1"),
    });
    &NODE
}

/// A variable that `cargo xtask test` sets.
pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name} is not set: `cargo xtask test` runs these tests in the lab"))
}

impl Lab {
    async fn enter(name: &str) -> Result<Self> {
        variable("ISTHMUS_LAB")?;
        for (part, address) in SERVERS {
            if tokio::net::TcpStream::connect(address).await.is_err() {
                // A test that failed may have left it stopped.
                part_of_lab("start", part, &[]).await?;
            }
        }
        let kube = kube::Client::try_default().await?;
        let system = Api::<Namespace>::all(kube.clone()).get("kube-system").await?;
        let folder = files();
        std::fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{name}.log"));
        std::fs::write(&log, "")?;
        let (demo, admin) = (cloud("demo")?, cloud("admin")?);
        let cluster = system.uid().context("kube-system has a uid")?;
        let lab = Self { kube, demo, admin, cluster, name: name.into(), log };
        lab.prepare().await?;
        lab.clear().await?;
        Ok(lab)
    }

    /// Definitions, the operator's namespace, and the node's object.
    async fn prepare(&self) -> Result<()> {
        let parameters = PatchParams::apply("e2e").force();
        for crd in crds() {
            self.define(&crd).await?;
        }
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}});
        let namespaces: Api<Namespace> = Api::all(self.kube.clone());
        namespaces.patch(OPERATOR_NAMESPACE, &parameters, &Patch::Apply(namespace)).await?;
        self.node().await
    }

    /// Makes a definition, and waits until objects of its kind can be made.
    ///
    /// # Errors
    /// The API server's, or not in time.
    pub async fn define(&self, crd: &CustomResourceDefinition) -> Result<()> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.kube.clone());
        let name = crd.name_any();
        definitions.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(crd)).await?;
        let established = await_condition(definitions, &name, is_crd_established());
        tokio::time::timeout(LIMIT, established).await??;
        Ok(())
    }

    /// Makes the node's object where it is missing.
    ///
    /// # Errors
    /// The API server's.
    pub async fn node(&self) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node()}});
        let nodes: Api<Node> = Api::all(self.kube.clone());
        nodes.patch(node(), &PatchParams::apply("e2e").force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Takes away what tests leave: modules, Pods, mappings, namespaces, the lease, ports, quotas. No operator runs now.
    async fn clear(&self) -> Result<()> {
        // Else nobody but an operator may write what is taken away here.
        let now = DeleteParams::default();
        gone(Api::<ValidatingAdmissionPolicyBinding>::all(self.kube.clone()).delete(ADMISSION, &now).await)?;
        gone(Api::<ValidatingAdmissionPolicy>::all(self.kube.clone()).delete(ADMISSION, &now).await)?;
        self.clear_modules().await?;
        self.clear_widgets().await?;
        let leases: Api<Lease> = Api::namespaced(self.kube.clone(), OPERATOR_NAMESPACE);
        leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        let namespaces: Api<Namespace> = Api::all(self.kube.clone());
        let ours = namespaces.list(&ListParams::default().labels(OURS)).await?;
        for name in ours.iter().map(ResourceExt::name_any) {
            // Its content goes with it; nothing waits for that but what is looked at below.
            self.delete_pods(&name).await?;
            crate::cluster::gone(namespaces.delete(&name, &DeleteParams::default()).await)?;
        }
        // One that an operator wrote just before its end may come after the first list.
        let stripped = async {
            while self.strip_mappings().await? > 0 {}
            anyhow::Ok(())
        };
        tokio::time::timeout(2 * LIMIT, stripped).await.context("CloudMappings are left")??;
        self.clear_cloud().await
    }

    /// A namespace of the test's own.
    ///
    /// # Errors
    /// The API server's.
    pub async fn namespace(&self) -> Result<String> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{}-{number}", self.name, std::process::id());
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
                            "metadata": {"name": name, "labels": {OURS: "true"}}});
        let namespaces: Api<Namespace> = Api::all(self.kube.clone());
        namespaces.patch(&name, &PatchParams::apply("e2e"), &Patch::Apply(object)).await?;
        self.service_account(&name).await?;
        Ok(name)
    }

    /// Starts an operator with these flags and waits until it leads.
    ///
    /// # Errors
    /// It does not start.
    pub async fn operator(&self, flags: &[&str]) -> Result<Operator> {
        let mut operator = self.start(flags)?;
        operator.leads().await?;
        Ok(operator)
    }

    /// Another operator in place of this one: it begins with what there is, and neither its start nor two resyncs write anything.
    ///
    /// # Errors
    /// They do, or it does not start.
    pub async fn restarted(&self, operator: Operator) -> Result<Operator> {
        operator.stop(LIMIT).await?;
        let operator = self.operator(&["--resync-seconds", "2"]).await?;
        operator.resyncs(&operator.metrics().await?, 2).await?;
        let all = operator.quiet().await?;
        let writes = (all.cloud_writes(), all.balancer_writes());
        ensure!(writes == (0, 0), "{writes:?} writes by a restart and two resyncs");
        Ok(operator)
    }

    /// As [`Lab::operator`], without waiting. Its identity is the same throughout a test: one that follows another after a
    /// crash need not wait for the lease.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start(&self, flags: &[&str]) -> Result<Operator> {
        self.operator_as(&format!("e2e-{}", std::process::id()), flags)
    }

    /// Starts an operator under an identity, and does not wait.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn operator_as(&self, identity: &str, flags: &[&str]) -> Result<Operator> {
        Operator::spawn(identity, flags, self.log.clone(), &[])
    }

    /// Starts an operator for which these variables name other files, and does not wait.
    pub(crate) fn operator_in(&self, files: &[(&str, &Path)], flags: &[&str]) -> Result<Operator> {
        let identity = format!("e2e-{}", std::process::id());
        Operator::spawn(&identity, flags, self.log.clone(), files)
    }

    /// Starts an operator with this `clouds.yaml`, and waits until it leads.
    pub(crate) async fn operator_with_clouds(&self, clouds: &Path) -> Result<Operator> {
        let mut operator = self.operator_in(&[("OS_CLIENT_CONFIG_FILE", clouds)], &[])?;
        operator.leads().await?;
        Ok(operator)
    }

    /// Starts an operator with the rights that `deploy/rbac.yaml` gives it and these flags, and waits until it leads.
    ///
    /// # Errors
    /// The manifests are refused, or it does not lead.
    pub async fn operator_with_its_rights(&self, flags: &[&str]) -> Result<Operator> {
        let (rights, account) = (format!("{DEPLOY}/rbac.yaml"), "isthmus");
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &rights]).await?;
        let token = self.kubectl(&["create", "token", account, "-n", OPERATOR_NAMESPACE]).await?;
        let view = self.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).await?;
        let mut config: serde_json::Value = serde_json::from_str(&view)?;
        let user = config.pointer_mut("/users/0/user").context("the kubeconfig has a user")?;
        *user = json!({"token": token.trim()});
        let path = private(&self.log.with_extension("kubeconfig"), &config.to_string())?;
        let mut operator = self.operator_in(&[("KUBECONFIG", &path)], flags)?;
        operator.leads().await?;
        Ok(operator)
    }

    /// Runs `isthmus` with these arguments; its standard output.
    ///
    /// # Errors
    /// It fails: what it said.
    pub async fn isthmus(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(variable("ISTHMUS_BIN")?).args(arguments)).await
    }

    /// Runs `kubectl` with these arguments; its standard output.
    ///
    /// # Errors
    /// It fails: what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("kubectl").args(arguments)).await
    }

    /// A folder for what a test needs in files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.log.with_extension("files")
    }

    /// Whether the operator's log has this text.
    pub fn logged(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(text))
    }

    /// Whether a line of the operator's log has all of these.
    pub fn logged_in_one(&self, texts: &[&str]) -> bool {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().any(|line| texts.iter().all(|text| line.contains(text)))
    }

    /// The ConfigMaps of the operator's namespace.
    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.kube.clone(), OPERATOR_NAMESPACE)
    }

    /// The end of the operator's log.
    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(25);
        lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}

/// Where tests leave logs and files, for who looks into a failure: of each lab its own.
pub fn files() -> PathBuf {
    std::env::temp_dir().join("isthmus-e2e").join(format!("lab-{}", suffix()))
}

/// A client of the lab's cloud as this user.
///
/// # Errors
/// The lab's clouds.yaml does not say who that is.
pub fn cloud(user: &str) -> Result<Neutron> {
    let config = CloudConfig::load(&Sources::from_process(), Some(user))?;
    Ok(Neutron::new(Session::new(config, Metrics::default())?))
}

/// Writes a file that only its owner reads.
pub(crate) fn private(path: &Path, text: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that was there has the mode that it had.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    Ok(path.to_owned())
}

pub(crate) async fn run(command: &mut Command) -> Result<String> {
    let done = command.kill_on_drop(true).output().await.with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}: {said}", done.status);
    Ok(String::from_utf8(done.stdout)?)
}
