//! Servers and clients on the tenant network: namespaces on Neutron ports, as the lab's command `pod` makes them.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{
    Port, PortCreate, SecurityGroup, SecurityGroupCreate, SecurityGroupRule, SecurityGroupRuleCreate,
};
use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::lab::{Lab, cloud, node, run};

/// Name of the security group that lets everything in.
pub const OPEN_GROUP: &str = "e2e-open-to-all";

/// What a namespace tries to reach.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// Whose.
    pub address: IpAddr,
    /// At which port.
    pub port: u16,
}

/// A namespace on a port of its own. It goes with the test.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub address: String,
    /// Its IPv6 address, where its network has such.
    pub six: Option<String>,
    /// Id of its port.
    pub port: String,
}

impl Lab {
    /// Makes a namespace on a new port of the network `pods`, which lets everything in.
    ///
    /// # Errors
    /// Neutron's, or the command's.
    pub async fn peer(&self, name: &str) -> Result<Peer> {
        let groups = Some(vec![self.open_group().await?]);
        self.peer_on(&cloud("isthmus")?, self.network().await?, groups, name).await
    }

    /// Makes a namespace on a new port of the external network: a client from outside.
    ///
    /// # Errors
    /// As of [`Lab::peer`].
    pub async fn outsider(&self, name: &str) -> Result<Peer> {
        self.peer_on(&self.admin, self.external().await?, None, name).await
    }

    async fn peer_on(
        &self,
        neutron: &Neutron,
        network_id: String,
        security_groups: Option<Vec<String>>,
        name: &str,
    ) -> Result<Peer> {
        let body = PortCreate {
            network_id,
            name: Some(format!("peer-{name}")),
            device_owner: Some(crate::cloud::OWNER.into()),
            security_groups,
            binding_host_id: Some(node().into()),
            ..PortCreate::default()
        };
        let port: Port = neutron.create::<Port>(&body).await?;
        run(Command::new("pod").args(["up", name, &port.id])).await?;
        let all = || port.fixed_ips.iter().map(|ip| ip.ip_address.clone());
        let address = all().find(|ip| ip.contains('.')).context("an IPv4 address")?;
        let six = all().find(|ip| ip.contains(':'));
        Ok(Peer { name: name.into(), address, six, port: port.id })
    }

    /// Puts a namespace of this name on a port, where it answers to TCP and UDP at these ports.
    ///
    /// # Errors
    /// The command's.
    pub async fn answers(&self, name: &str, port: &str, at: &[u16]) -> Result<()> {
        run(Command::new("pod").args(["up", name, port])).await?;
        let ports = at.iter().map(u16::to_string);
        run(Command::new("pod").args(["answer", name]).args(ports)).await.map(drop)
    }

    /// Which of these answer to a namespace, in their order.
    ///
    /// # Errors
    /// The command's.
    pub async fn reaches(name: &str, targets: &[Target]) -> Result<Vec<bool>> {
        let mut command = Command::new("pod");
        command.args(["reach", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("its input")?;
        input.write_all(&serde_json::to_vec(targets)?).await?;
        drop(input);
        let done = child.wait_with_output().await?;
        ensure!(done.status.success(), "pod reach {name}: {}", done.status);
        Ok(serde_json::from_slice(&done.stdout)?)
    }

    /// Id of a security group that lets everything in. It stays: nothing is in the way of others.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn open_group(&self) -> Result<String> {
        let neutron = cloud("isthmus")?;
        if let Some(found) = self.demo.list::<SecurityGroup>(&[("name", OPEN_GROUP)]).await?.pop() {
            return Ok(found.id);
        }
        let group = SecurityGroupCreate { name: OPEN_GROUP.into(), ..SecurityGroupCreate::default() };
        let group: SecurityGroup = neutron.create(&group).await?;
        for version in ["IPv4", "IPv6"] {
            let rule = SecurityGroupRuleCreate {
                security_group_id: group.id.clone(),
                direction: "ingress".into(),
                ethertype: Some(version.into()),
                ..SecurityGroupRuleCreate::default()
            };
            neutron.create::<SecurityGroupRule>(&rule).await?;
        }
        Ok(group.id)
    }

    /// Makes one that answers over HTTP on port 8080, with its own name and the path that it was asked for.
    ///
    /// # Errors
    /// As of [`Lab::peer`].
    pub async fn server(&self, name: &str) -> Result<Peer> {
        let peer = self.peer(name).await?;
        peer.serves().await?;
        Ok(peer)
    }

    /// As [`Lab::server`], over TLS, with the certificate and the key in a file.
    ///
    /// # Errors
    /// As of [`Lab::peer`].
    pub async fn tls_server(&self, name: &str, identity: &Path) -> Result<Peer> {
        let peer = self.peer(name).await?;
        run(Command::new("pod").args(["serve", name, "8080"]).arg(identity)).await?;
        Ok(peer)
    }

    /// Takes away all of them.
    pub(crate) async fn clear_peers(&self) -> Result<()> {
        for line in run(Command::new("pod").arg("list")).await?.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            run(Command::new("pod").args(["down", name])).await?;
        }
        Ok(())
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Name of the server; empty where the load balancer answered itself.
    pub name: String,
    /// Where a redirect leads.
    pub location: String,
}

impl Peer {
    /// Answers from now on over HTTP on port 8080, as [`Lab::server`] says.
    ///
    /// # Errors
    /// The command's.
    pub async fn serves(&self) -> Result<()> {
        run(Command::new("pod").args(["serve", &self.name, "8080"])).await.map(drop)
    }

    /// Asks `address` for a path of a host.
    ///
    /// # Errors
    /// No answer.
    pub async fn ask(&self, address: &str, host: &str, path: &str) -> Result<Answer> {
        self.curl(&["-H", &format!("Host: {host}"), &format!("http://{address}{path}")]).await
    }

    /// Asks `address` for a path of a host over TLS. The certificate that is shown must be this one, or one that it signed, and
    /// be for that host.
    ///
    /// # Errors
    /// No answer, or another certificate.
    pub async fn ask_tls(&self, address: &str, host: &str, path: &str, trusted: &Path) -> Result<Answer> {
        let (name, port) = host.split_once(':').unwrap_or((host, "443"));
        let (resolve, url) = (format!("{name}:{port}:{address}"), format!("https://{host}{path}"));
        let trusted = trusted.to_str().context("a path of text")?;
        self.curl(&["--resolve", &resolve, "--cacert", trusted, &url]).await
    }

    async fn curl(&self, arguments: &[&str]) -> Result<Answer> {
        let curl = ["exec", &self.name, "curl", "-sSm", "5", "-w", "\n%{http_code} %{redirect_url}"];
        let said = run(Command::new("pod").args(curl).args(arguments)).await?;
        let (body, tail) = said.rsplit_once('\n').context("no status")?;
        let (status, location) = tail.split_once(' ').context("no status")?;
        let status = status.parse().context("a number")?;
        ensure!(status != 0, "no answer");
        let name = serde_json::from_str::<Value>(body).ok();
        let name =
            name.and_then(|v| v.get("name").and_then(Value::as_str).map(Into::into)).unwrap_or_default();
        Ok(Answer { status, name, location: location.trim().into() })
    }
}
