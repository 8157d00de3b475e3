//! The netlink calls of the driver `bridge`, by the agent's own code, and nothing else: no plugin, no socket, no look at who has what,
//! no file.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use isthmus_node::attachments::Link;
use isthmus_node::binding::{Bridge, Driver, Host, Pod};
use isthmus_node::netlink::netns::Netns;
use isthmus_node::netlink::{host_name, inside, links};
use isthmus_node_tests::Namespace;
use nix::sys::resource::UsageWho;

use super::Cost;
use super::contender::used;
use super::node::{BARE, vif};

/// Whose network is made and deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Path of the Pod's network namespace.
    netns: String,
}

/// The process. It ends with its standard input.
pub(crate) struct Bare {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Bare {
    /// Starts it, for a Pod.
    pub(crate) fn start(netns: &Namespace) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bare", &netns.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("its input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        Ok(Self { child, input, output })
    }

    /// What a verb takes in there.
    pub(crate) fn call(&mut self, verb: &str) -> Result<Cost> {
        writeln!(self.input, "{verb}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the process with the bare calls has ended: {:?}", self.child.try_wait()?);
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the verbs that standard input has.
pub(crate) fn serve(arguments: &Arguments) -> Result<()> {
    // As the agent's: its calls wait for the kernel, not for each other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = runtime.block_on(async { Host::new() })?;
    let driver = Bridge::new(host.clone(), "br0");
    let name = host_name("bare", "eth0");
    let mut link = Link {
        driver: "bridge".into(),
        host: name,
        interface: "eth0".into(),
        nested: false,
        device: None,
        vif: vif(BARE),
    };
    for verb in std::io::stdin().lock().lines() {
        let (before, began) = (used(UsageWho::RUSAGE_SELF)?, Instant::now());
        match verb?.as_str() {
            "ADD" => runtime.block_on(add(&driver, &arguments.netns, &mut link))?,
            _ => runtime.block_on(del(&host, &link))?,
        }
        let wall = began.elapsed().as_secs_f64() * 1e6;
        let cpu = used(UsageWho::RUSAGE_SELF)?.saturating_sub(before).as_secs_f64() * 1e6;
        println!("{}", serde_json::to_string(&Cost { wall, cpu })?);
    }
    Ok(())
}

async fn add(driver: &Bridge, netns: &str, link: &mut Link) -> Result<()> {
    let netns = Netns::open(netns)?;
    let inside = netns.connect(false)?;
    driver.bind(Pod { netns: &netns, inside: &inside }, link).await?;
    inside::configure(&inside, &link.interface, &link.vif, true)?;
    Ok(())
}

/// Until it is gone: the agent answers in between.
async fn del(host: &Host, link: &Link) -> Result<()> {
    links::bury(&host.netlink, &link.host).await?;
    Ok(links::delete_dead(&host.netlink).await?)
}
