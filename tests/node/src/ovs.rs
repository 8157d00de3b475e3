//! An Open vSwitch of its own in a namespace, with the userspace datapath.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::namespace::Namespace;
use crate::until;

/// Database and switch; they end with this.
pub struct Ovs {
    folder: PathBuf,
    server: Child,
    switch: Child,
}

impl Ovs {
    /// With a bridge `br-int`, on which ports learn addresses as on any switch.
    ///
    /// # Errors
    /// It is not installed (package openvswitch-switch), or does not start.
    pub fn start(host: &Namespace, folder: &Path) -> Result<Self> {
        Self::start_program(host, folder, "ovs-vswitchd", "")
    }

    /// As [`Self::start`], with a switch that has DPDK (package openvswitch-switch-dpdk), without huge pages or network cards.
    ///
    /// # Errors
    /// As there.
    pub fn start_dpdk(host: &Namespace, folder: &Path, program: &str) -> Result<Self> {
        let settings = "other_config:dpdk-init=true other_config:per-port-memory=true other_config:pmd-cpu-mask=0x1 \
            other_config:dpdk-extra=--legacy-mem+--no-huge+--no-pci+--no-shconf+-m+256";
        Self::start_program(host, folder, program, settings)
    }

    /// `settings`: those of the database's one row that the switch reads as it starts.
    fn start_program(host: &Namespace, folder: &Path, program: &str, settings: &str) -> Result<Self> {
        let folder = folder.join("ovs");
        std::fs::create_dir_all(&folder)?;
        let (file, socket) = (folder.join("conf.db"), folder.join("db.sock"));
        let created = Command::new("ovsdb-tool")
            .arg("create")
            .arg(&file)
            .arg("/usr/share/openvswitch/vswitch.ovsschema")
            .status()
            .context("ovsdb-tool: install the package openvswitch-switch")?;
        if !created.success() {
            bail!("ovsdb-tool cannot make a database");
        }
        let server = serve(&folder)?;
        let set = |line: &str| vsctl(&socket, line);
        set("--no-wait init")?;
        if !settings.is_empty() {
            set(&format!("--no-wait set Open_vSwitch . {settings}"))?;
        }
        let switch = host
            .command(program)
            .arg(format!("unix:{}", socket.display()))
            .arg("--disable-system")
            .arg(format!("--unixctl={}", folder.join("switch.ctl").display()))
            .args(QUIET)
            .env("OVS_RUNDIR", &folder)
            .stdin(Stdio::null())
            .spawn()?;
        let ovs = Self { folder, server, switch };
        ovs.vsctl("add-br br-int -- set Bridge br-int datapath_type=netdev")?;
        Ok(ovs)
    }

    /// The database's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("db.sock")
    }

    /// `ovs-vsctl`; its output.
    ///
    /// # Errors
    /// It fails.
    pub fn vsctl(&self, line: &str) -> Result<String> {
        vsctl(&self.socket(), line)
    }

    /// Ports of `br-int`.
    ///
    /// # Errors
    /// `ovs-vsctl` fails.
    pub fn ports(&self) -> Result<Vec<String>> {
        Ok(self.vsctl("list-ports br-int")?.split_whitespace().map(String::from).collect())
    }

    /// Does what OVN does: says that the flows of a Neutron port are in place, once it is there; its link's name.
    ///
    /// # Errors
    /// It does not come.
    pub fn install(&self, port: &str) -> Result<String> {
        let mut name = String::new();
        until("the port is in br-int", || {
            name = self.vsctl(&format!("--columns=name find Interface external_ids:iface-id={port}"))?;
            Ok(!name.is_empty())
        })?;
        // not for the switch: it has nothing to do about it
        self.vsctl(&format!("--no-wait set Interface {name} external_ids:ovn-installed=true"))?;
        Ok(name)
    }

    /// Stops the switch, so that nothing but the database is left.
    ///
    /// # Errors
    /// It had ended.
    pub fn kill_switch(&mut self) -> Result<()> {
        self.switch.kill()?;
        self.switch.wait()?;
        Ok(())
    }

    /// Starts the database again.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_database(&mut self) -> Result<()> {
        self.server = serve(&self.folder)?;
        Ok(())
    }

    /// Stops the database, as a crash would.
    ///
    /// # Errors
    /// It had ended.
    pub fn kill_database(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server.wait()?;
        std::fs::remove_file(self.socket())?;
        Ok(())
    }
}

fn vsctl(socket: &Path, line: &str) -> Result<String> {
    // a word's spaces are written as +
    let done = Command::new("ovs-vsctl")
        .arg(format!("--db=unix:{}", socket.display()))
        .args(["--timeout=10", "--bare"])
        .args(line.split_whitespace().map(|word| word.replace('+', " ")))
        .output()?;
    if !done.status.success() {
        bail!("ovs-vsctl {line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

const QUIET: [&str; 3] = ["-vconsole:off", "-vsyslog:off", "-vfile:off"];

/// The database; it listens when this returns.
fn serve(folder: &Path) -> Result<Child> {
    let socket = folder.join("db.sock");
    let server = Command::new("ovsdb-server")
        .arg(folder.join("conf.db"))
        .arg(format!("--remote=punix:{}", socket.display()))
        .arg(format!("--unixctl={}", folder.join("db.ctl").display()))
        .args(QUIET)
        .stdin(Stdio::null())
        .spawn()?;
    until("ovsdb-server listens", || Ok(socket.exists()))?;
    Ok(server)
}

impl Drop for Ovs {
    fn drop(&mut self) {
        for child in [&mut self.switch, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
