//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use isthmus_cli::agent::NodeArgs;
use isthmus_cli::global::Global;

/// Isthmus maps Kubernetes objects to OpenStack networking through WebAssembly modules.
#[derive(Debug, Parser)]
#[command(name = "isthmus", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator: map objects, make cloud resources, clean up after them.
    ///
    /// OpenStack is configured as for the openstack client: clouds.yaml and secure.yaml in the working folder,
    /// ~/.config/openstack or /etc/openstack, and OS_* variables. The credential needs the roles `member` and, to bind
    /// ports to nodes, `service`.
    Operator(Box<OperatorArgs>),

    /// Run the agent of a node: plug this node's Pods into their ports, as isthmus-cni asks.
    ///
    /// It runs as root in the node's network namespace, and sees the node's /run and /proc. It needs no access to OpenStack.
    Node(Box<NodeArgs>),

    /// Print the CustomResourceDefinitions, for `kubectl apply -f -`: YAML documents, or a List as JSON or YAML.
    Crds(CrdsArgs),

    /// Run a module on an object from a file, and print the cloud resources that it asks for. Needs no cluster and no cloud.
    ///
    /// Where the module asks for none, the outcome is printed in place of them: not-mapped, waiting or invalid, with the reason and
    /// the field. The exit code is 0 for a list, not-mapped and waiting; it is 1 for invalid, and where a call fails.
    Render(RenderArgs),

    /// Make, build, check and load modules.
    #[command(subcommand)]
    Module(ModuleCommand),

    /// Show what a version of a module would change, for everything that lives in the cluster now. Nothing is written.
    ///
    /// Both versions, the one that serves and the one in the file, are run on the cluster's objects as they are. The exit code is 1
    /// where an object that is mapped now would not be. Where OpenStack is configured as for the operator, modules are told what
    /// the cloud can do; else a module that asks for it may decide otherwise in the operator.
    Plan(PlanArgs),

    /// Show what an object became: its module, and its cloud resources with ids and states.
    ///
    /// With --retained it shows what the cloud has that is no object's any more: resources that lost our mark, because their module
    /// said `on-removal: retain`.
    Tree(TreeArgs),

    /// Show why an object is mapped as it is: what was read, what changed last, and what it waits for.
    Why(WhyArgs),

    /// Show whether a connection between two Pods passes the security groups of their ports, and by which rule, or why by none.
    ///
    /// It looks at what Neutron has, so that rules count whoever made them. Of each rule that does not let the connection pass it says
    /// what differs, and of each group which NetworkPolicy (or other object) it was made for.
    WhyDenied(WhyDeniedArgs),

    /// Check that what the operator needs is there, in the cluster and in the cloud, and say how to get what is not.
    ///
    /// Run it with the operator's own kubeconfig and OpenStack settings: it looks at what these may do. The exit code is 1 where a
    /// check failed.
    Doctor(DoctorArgs),

    /// Take down everything that the operator made, so that nothing of ours holds up the end of namespaces and definitions.
    ///
    /// Without --yes it only shows what that is. It needs that no operator runs, OpenStack settings as the operator's, and a kubeconfig
    /// that may write CloudMappings (a cluster administrator's). All that modules asked for is deleted from the cloud, in the order
    /// that the operator keeps, then CloudMappings and PolicyModules. What a module said to retain stays (`isthmus tree --retained`).
    /// What fails is told with what to do, and holds up nothing else; the command can be run again at any time. The exit code is 1
    /// where it is refused, or something is left.
    ///
    /// Definitions, rights, Deployment and DaemonSet stay: `kubectl delete -f deploy/` removes them.
    Uninstall(UninstallArgs),

    /// Run a Kubernetes API, an OpenStack and the operator with its modules in this one process, to try things out.
    ///
    /// No cluster, no cloud and no root are needed: both are small models behind real HTTP, for kubectl and the openstack client as
    /// they are. What they do not model they refuse with 501 and its name. Nothing is kept. With a COMMAND, that is run once all is
    /// ready, with KUBECONFIG and OS_* set, and all ends with it.
    Dev(Box<DevArgs>),

    /// Print a script that completes commands and options, for a shell: `source <(isthmus completion bash)`.
    Completion(CompletionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// Name of the cloud in clouds.yaml; default: OS_CLOUD, or the OS_* variables.
    #[arg(long)]
    pub(crate) os_cloud: Option<String>,

    /// What tells this process from other operators; default: host name and a random part.
    #[arg(long)]
    pub(crate) identity: Option<String>,

    /// Seconds that the lease holds without renewal: how long a take-over takes after a crash. A request to the cloud may take
    /// less than half of it.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(10..=3600))]
    pub(crate) lease_seconds: u64,

    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:9440")]
    pub(crate) http: SocketAddr,

    /// Folder for compiled modules, made with mode 0700; default: none, modules are compiled at each start.
    #[arg(long)]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Objects worked on at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: u16,

    /// Seconds between two comparisons of everything with the cloud.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) resync_seconds: u64,

    /// Most cloud resources without an owner that one resync deletes; where there are more, none is.
    #[arg(long, default_value_t = 50)]
    pub(crate) max_orphans: u32,

    /// Seconds that the port of a deleted Pod is kept for a node whose agent does not say that it has let go of it. A Pod that
    /// still runs there then shares its address with the next one.
    #[arg(long, default_value_t = isthmus_operator::AGENT_WAIT.as_secs())]
    pub(crate) agent_wait_seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct CrdsArgs {}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// The module: a WebAssembly component, raw or gzip.
    pub(crate) module: PathBuf,

    /// The object to map: a YAML or JSON file.
    #[arg(long)]
    pub(crate) subject: PathBuf,

    /// Other objects that the module may read: a file, or a folder of .yaml and .json files.
    #[arg(long)]
    pub(crate) snapshot: Option<PathBuf>,

    /// The module's config: a YAML or JSON file, or the text itself.
    #[arg(long, default_value = "{}")]
    pub(crate) config: String,

    /// A refiner to be called after it, with its config (as for --config) behind an equal sign where it has one; may be given
    /// more than once, in order. One that does not refine the object's kind is not called, as in the operator.
    #[arg(long, value_name = "FILE[=CONFIG]")]
    pub(crate) refiner: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// Make a crate for a module of your own: it builds, tests and loads as it is.
    New(NewArgs),
    /// Build the crate of a module, and make a component of it.
    Build(BuildArgs),
    /// Load a module as the operator would, and print what it says about itself.
    Check(CheckArgs),
    /// Put a module into ConfigMaps of the cluster, from which the operator loads it.
    ///
    /// Its PolicyModule's source is made to name them, where it names others. Then those of the version before that are no parts of
    /// this one are removed.
    Load(LoadArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Its name: a-z, 0-9 and -.
    pub(crate) name: String,

    /// The kind that it maps, as `example.com/v1/Widget`, or `v1/Pod`.
    #[arg(long, value_name = "GROUP/VERSION/KIND")]
    pub(crate) kind: String,

    /// Folder to make; default: one of its name here.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,

    /// Folder of the SDK, `plugins/sdk` of Isthmus; default: the nearest above the working folder.
    #[arg(long)]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The crate's folder.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,

    /// File to write; default: NAME.wasm in the crate's folder.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The module: a WebAssembly component, raw or gzip.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The module: a WebAssembly component, raw or gzip.
    pub(crate) file: PathBuf,

    /// Name of the PolicyModule and the ConfigMap; default: the name that the module gives itself.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Print the ConfigMaps in place of writing them, for `kubectl apply -f -`.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The module: a WebAssembly component, raw or gzip.
    pub(crate) file: PathBuf,

    /// Name of the PolicyModule; default: the name that the module gives itself.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The module's config: a YAML or JSON file, or the text itself; default: that of the PolicyModule.
    #[arg(long)]
    pub(crate) config: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The object, as `pod/web-0`, `netpol/web` or `route.route.openshift.io/web`: as kubectl names it.
    pub(crate) object: String,

    /// Its namespace, where objects of its kind have one.
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct WhyDeniedArgs {
    /// The Pod that connects, as `web-0`, or `shop/web-0` for one of another namespace.
    pub(crate) from: String,

    /// The Pod that it connects to.
    pub(crate) to: String,

    /// The port, as `8080` or `53/udp`.
    pub(crate) port: String,

    /// Namespace of Pods that are named without one.
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,

    /// Name of the cloud in clouds.yaml; default: OS_CLOUD, or the OS_* variables.
    #[arg(long)]
    pub(crate) os_cloud: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Name of the cloud in clouds.yaml; default: OS_CLOUD, or the OS_* variables.
    #[arg(long)]
    pub(crate) os_cloud: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,

    /// Leave everything in the cloud as it is, and remove CloudMappings and PolicyModules alone: what there is in the cloud is nobody's
    /// then, and is listed. It needs no access to OpenStack.
    #[arg(long)]
    pub(crate) keep: bool,

    /// Take their network from Pods that run, unless with --keep; and go on where no operator has ever led in the operators' namespace.
    #[arg(long)]
    pub(crate) force: bool,

    /// Give up when nothing more went for so many seconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    pub(crate) wait_seconds: u64,

    /// Name of the cloud in clouds.yaml; default: OS_CLOUD, or the OS_* variables.
    #[arg(long)]
    pub(crate) os_cloud: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Begin with modules, networks and nothing else; default: with a small shop of Pods, Services and Routes, and an office.
    #[arg(long)]
    pub(crate) empty: bool,

    /// Folder of the modules that come with Isthmus; default: `modules` beside this executable or its folder.
    #[arg(long)]
    pub(crate) modules: Option<PathBuf>,

    /// Folder for kubeconfig, clouds.yaml and env, made with mode 0700, of one `isthmus dev` at a time; default: ~/.cache/isthmus/dev.
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,

    /// Address of the Kubernetes API; port 0 takes any.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) kubernetes: SocketAddr,

    /// Address of the operator's /healthz, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:9440")]
    pub(crate) http: SocketAddr,

    /// Run this once all is ready, and end with it.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(crate) struct TreeArgs {
    /// The object, as `pod/web-0`, `netpol/web` or `route.route.openshift.io/web`: as kubectl names it.
    #[arg(group = "what")]
    pub(crate) object: Option<String>,

    /// List what this cluster let go of in the project of the operator's credential: what it was made for, and the id by which a module
    /// can take it up again.
    #[arg(long, group = "what")]
    pub(crate) retained: bool,

    /// Name of the cloud in clouds.yaml, for --retained; default: OS_CLOUD, or the OS_* variables.
    #[arg(long, requires = "retained")]
    pub(crate) os_cloud: Option<String>,

    /// Its namespace, where objects of its kind have one.
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The container's arguments in the manifests of `deploy/` are those of this command line.
    #[test]
    fn manifests_start_what_there_is() {
        for (text, name) in [
            (include_str!("../../../deploy/operator.yaml"), "operator"),
            (include_str!("../../../deploy/agent.yaml"), "node"),
        ] {
            let parts = text.split("\n---\n").map(|part| serde_saphyr::from_str::<Value>(part).unwrap());
            let containers =
                parts.filter_map(|part| part.pointer("/spec/template/spec/containers/0/args").cloned());
            let arguments: Vec<String> =
                containers.flat_map(|all| serde_json::from_value::<Vec<String>>(all).unwrap()).collect();
            assert!(arguments.iter().any(|argument| argument == name), "{name}: {arguments:?}");
            // Its own name the agent has from the environment.
            let own: &[&str] = if name == "node" { &["--node", "node1"] } else { &[] };
            let arguments = arguments.iter().map(String::as_str).chain(own.iter().copied());
            Cli::try_parse_from(std::iter::once("isthmus").chain(arguments))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
