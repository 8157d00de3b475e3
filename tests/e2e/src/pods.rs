//! Servers and clients on the tenant network: namespaces on Neutron ports, as the lab's command `pod` makes them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{
    Port, PortCreate, SecurityGroup, SecurityGroupCreate, SecurityGroupRule, SecurityGroupRuleCreate,
};
use serde_json::Value;
use tokio::process::Command;

use crate::lab::{Lab, cloud, node, run};

/// A namespace on a port of its own. It goes with the test.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub address: String,
}

impl Lab {
    /// Makes a namespace on a new port of the network `pods`, which lets everything in.
    ///
    /// # Errors
    /// Neutron's, or the command's.
    pub async fn peer(&self, name: &str) -> Result<Peer> {
        let neutron = cloud("isthmus")?;
        let body = PortCreate {
            network_id: self.network().await?,
            name: Some(format!("peer-{name}")),
            device_owner: Some(crate::cloud::OWNER.into()),
            security_groups: Some(vec![self.open_group(&neutron).await?]),
            binding_host_id: Some(node().into()),
            ..PortCreate::default()
        };
        let port: Port = neutron.create::<Port>(&body).await?;
        let v4 = port.fixed_ips.iter().map(|ip| ip.ip_address.clone()).find(|ip| ip.contains('.'));
        run(Command::new("pod").args(["up", name, &port.id])).await?;
        Ok(Peer { name: name.into(), address: v4.context("an IPv4 address")? })
    }

    /// Id of a security group that lets everything in. It stays: nothing is in the way of others.
    async fn open_group(&self, neutron: &Neutron) -> Result<String> {
        const NAME: &str = "e2e-open";
        if let Some(found) = self.demo.list::<SecurityGroup>(&[("name", NAME)]).await?.pop() {
            return Ok(found.id);
        }
        let group = SecurityGroupCreate { name: NAME.into(), ..SecurityGroupCreate::default() };
        let group: SecurityGroup = neutron.create(&group).await?;
        let rule = SecurityGroupRuleCreate {
            security_group_id: group.id.clone(),
            direction: "ingress".into(),
            ethertype: Some("IPv4".into()),
            ..SecurityGroupRuleCreate::default()
        };
        neutron.create::<SecurityGroupRule>(&rule).await?;
        Ok(group.id)
    }

    /// Makes one that answers over HTTP on port 8080, with its own name and the path that it was asked for.
    ///
    /// # Errors
    /// As of [`Lab::peer`].
    pub async fn server(&self, name: &str) -> Result<Peer> {
        let peer = self.peer(name).await?;
        run(Command::new("pod").args(["serve", name, "8080"])).await?;
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
        let (resolve, url) = (format!("{host}:443:{address}"), format!("https://{host}{path}"));
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
