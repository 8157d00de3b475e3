//! `isthmus dev`: a Kubernetes API, an OpenStack and the operator in one process, over real HTTP. Nothing is needed for it, and
//! nothing of it is kept.

mod apply;
mod cloud;
mod cluster;
mod contents;
mod folder;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use isthmus_cli::global::{Kube, Output};
use isthmus_cli::stop::stop;
use isthmus_kubernetes::Client;
use isthmus_operator::Options;
use isthmus_operator::resync::ResyncOptions;
use isthmus_world::World;
use isthmus_world::kubernetes::{self, ApiServer};
use serde::Serialize;
use tokio::process::Command;
use tokio::sync::watch;

use self::folder::Folder;
use crate::args::DevArgs;
use crate::operator::timing;
use crate::output::print;

/// Of the lease: nobody else stands for election here.
const LEASE_SECONDS: u64 = 20;

/// What runs, and how to get at it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    kubernetes: String,
    openstack: String,
    metrics: String,
    kubeconfig: PathBuf,
    clouds: PathBuf,
    environment: PathBuf,
    ready_ms: u128,
}

pub(crate) async fn run(kube: &Kube, args: &DevArgs, output: Output) -> anyhow::Result<()> {
    let begun = Instant::now();
    let modules = cluster::modules(args.modules.as_deref())?;
    let folder = Folder::open(args.folder.as_deref())?;
    let stopped = stop()?;
    let api = ApiServer::start(kubernetes::Options { listen: args.kubernetes, ..Default::default() });
    let api =
        api.await.with_context(|| format!("--kubernetes {}: serving the Kubernetes API", args.kubernetes))?;
    let world = cloud::start(cloud::options()).await?;
    let running = write(&folder, &api, &world, args.http)?;
    let client = Client::connect(Some(&running.kubeconfig)).await?;
    cluster::prepare(&client, &kube.operator_namespace, &modules).await?;
    if !args.empty {
        cluster::populate(&client).await?;
    }
    let (end, ended) = watch::channel(false);
    let mut operator = tokio::spawn(operate(kube, args.http, &folder.path, client.clone(), &world, ended)?);
    let work = async {
        cluster::ready(&client, if args.empty { 0 } else { contents::MAPPED }).await?;
        let running = Running { ready_ms: begun.elapsed().as_millis(), ..running };
        told(&running, args, output)?;
        match args.command.split_first() {
            Some((program, arguments)) => command(program, arguments, &running).await,
            None => {
                let mut stopped = stopped.clone();
                // The sender lives as long as the process.
                let _ = stopped.wait_for(|stopped| *stopped).await;
                Ok(())
            }
        }
    };
    let result = tokio::select! {
        done = work => done,
        ended = &mut operator => {
            ended.context("the operator ended abnormally")??;
            Ok(())
        }
    };
    end.send_replace(true);
    if !operator.is_finished() {
        operator.await.context("the operator ended abnormally")??;
    }
    result
}

/// The operator, as `isthmus operator` runs it.
fn operate(
    kube: &Kube,
    http: SocketAddr,
    folder: &Path,
    client: Client,
    world: &World,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
    let mut cloud = cloud::config(world)?;
    let timing = timing(LEASE_SECONDS, &mut cloud)?;
    let options = Options {
        namespace: kube.operator_namespace.clone(),
        identity: "isthmus-dev".into(),
        timing,
        http: Some(http),
        cache_dir: Some(folder.join("modules")),
        parallel: 16,
        resync: ResyncOptions { every: Duration::from_secs(60), max_orphans: 20 },
        agent_wait: isthmus_operator::AGENT_WAIT,
    };
    Ok(isthmus_operator::run(options, client, cloud, stop))
}

/// A command with the environment of the world; its failure is ours.
async fn command(program: &str, arguments: &[String], running: &Running) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .envs(variables(running))
        .status()
        .await
        .with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

fn variables(running: &Running) -> [(&'static str, String); 3] {
    [
        ("KUBECONFIG", running.kubeconfig.display().to_string()),
        ("OS_CLIENT_CONFIG_FILE", running.clouds.display().to_string()),
        ("OS_CLOUD", "demo".into()),
    ]
}

/// Files for clients. They hold passwords of a cloud that is not there any more when this ends, and are read by us alone all the
/// same.
fn write(folder: &Folder, api: &ApiServer, world: &World, http: SocketAddr) -> anyhow::Result<Running> {
    let mut running = Running {
        kubernetes: api.url().to_owned(),
        openstack: format!("{}/v3", world.url()),
        metrics: format!("http://{http}/metrics"),
        kubeconfig: folder.write("kubeconfig", &api.kubeconfig())?,
        clouds: folder.write("clouds.yaml", &cloud::clouds_yaml(world))?,
        environment: PathBuf::new(),
        ready_ms: 0,
    };
    // A shell has variables of another cloud, perhaps.
    let others = "unset ${!OS_@}\n";
    let exports = variables(&running).map(|(name, value)| format!("export {name}='{value}'\n"));
    running.environment = folder.write("env", &(others.to_owned() + &exports.concat()))?;
    Ok(running)
}

/// With a command, only what is asked for is printed: its own output.
fn told(running: &Running, args: &DevArgs, output: Output) -> anyhow::Result<()> {
    if !args.command.is_empty() {
        return Ok(());
    }
    print(running, output, |running| {
        let Running { kubernetes, openstack, metrics, ready_ms, .. } = running;
        let source = format!("source {}", running.environment.display());
        let shown = match args.empty {
            true => "kubectl get policymodules",
            false => "kubectl get pods,services,routes,cloudmappings -n shop",
        };
        format!(
            "Kubernetes  {kubernetes}\nOpenStack   {openstack}\nmetrics     {metrics}\nready in {ready_ms} ms\n\n\
             In another terminal:\n  {source}\n  {shown}\n  isthmus tree route/web -n shop\n  isthmus tree namespace/office\n  \
             openstack port list        # the client is `pip install python-openstackclient python-octaviaclient`\n  \
             openstack loadbalancer status show \"$(openstack loadbalancer list -f value -c id)\"\n\n\
             Ctrl-C ends it. Nothing is kept.\n"
        )
    })
}
