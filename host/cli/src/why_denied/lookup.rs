//! Pods, their ports, and the groups of these, as the cluster and Neutron have them now.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use isthmus_cli::global::Kube;
use isthmus_kubernetes::crd::{CloudMapping, CloudMappingStatus};
use isthmus_kubernetes::{Client, ErrorKind};
use isthmus_model::mark::Mark;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{AddressGroup, Port, SecurityGroup};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use super::firewall::Firewall;
use crate::cluster::cloud_session;

/// A Pod, as a connection's end.
pub(super) struct End {
    /// With its namespace.
    pub(super) name: String,
    /// Of its first interface.
    pub(super) port: Port,
}

/// Both clients, and what was noted on the way.
pub(super) struct Lookup {
    client: Client,
    neutron: Neutron,
    mappings: Vec<CloudMapping>,
    pub(super) notes: Vec<String>,
}

impl Lookup {
    pub(super) async fn connect(kube: &Kube, os_cloud: Option<&str>) -> anyhow::Result<Self> {
        let client = Client::connect(kube.kubeconfig.as_deref()).await?;
        let neutron = Neutron::new(cloud_session(os_cloud)?);
        let mappings = client.all("list CloudMappings").await?;
        Ok(Self { client, neutron, mappings, notes: Vec::new() })
    }

    /// A Pod by `NAMESPACE/NAME`, or by its name in `namespace`.
    pub(super) async fn pod(&mut self, text: &str, namespace: &str) -> anyhow::Result<End> {
        let bare = ["pod/", "pods/"].iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
        let (namespace, name) = bare.split_once('/').unwrap_or((namespace, bare));
        let shown = format!("{namespace}/{name}");
        let pods: Api<Pod> = Api::namespaced(self.client.kube(), namespace);
        let pod = match self.client.read("read the Pod", pods.get(name)).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                bail!("there is no Pod {name} in namespace {namespace} (-n NAMESPACE, or NAMESPACE/NAME)")
            }
            answer => answer?,
        };
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            bail!("Pod {shown} is on its host's network: it has no port, and no policy holds for it");
        }
        // Its name may have been another's, whose port is still there.
        let uid = pod.uid().unwrap_or_default();
        let mapping = self.mappings.iter().find(|m| m.spec.subject.uid == uid).with_context(|| {
            format!("Pod {shown} has no CloudMapping: `isthmus why pod/{name} -n {namespace}` says why")
        })?;
        let status = mapping.status.clone().unwrap_or_default();
        self.port(shown, &status).await
    }

    async fn port(&mut self, name: String, status: &CloudMappingStatus) -> anyhow::Result<End> {
        let vif = status.vifs.first().with_context(|| format!("Pod {name} has no interface yet"))?;
        let port = self.neutron.get::<Port>(&vif.port_id).await;
        let port = port.with_context(|| format!("the port of Pod {name}"))?;
        let not_so = status.conditions.iter().filter(|c| c.type_ == "Ready" && c.status == "False");
        let not_so = not_so.map(|c| format!("{name} is not as it should be: {}: {}", c.reason, c.message));
        self.notes.extend(not_so);
        if port.admin_state_up == Some(false) {
            self.notes.push(format!("the port of {name} is switched off: nothing passes"));
        } else if port.status == "DOWN" {
            self.notes.push(format!("the port of {name} is DOWN: nothing is behind it"));
        }
        let others: Vec<&str> = status.vifs.iter().skip(1).map(|vif| &*vif.interface).collect();
        if !others.is_empty() {
            let (first, others) = (&vif.interface, others.join(", "));
            self.notes.push(format!("of {name} only {first} was looked at, and not {others}"));
        }
        if port.fixed_ips.len() > 2 {
            self.notes.push(format!("{name} has several addresses of a version: the first was looked at"));
        }
        Ok(End { name, port })
    }

    /// The groups of these ports with all that their rules name.
    pub(super) async fn firewall(&mut self, ports: [&Port; 2]) -> anyhow::Result<Firewall> {
        let ids: BTreeSet<&String> = ports.iter().flat_map(|port| &port.security_groups).collect();
        let mut firewall = Firewall::default();
        for id in ids {
            let found = self.neutron.get::<SecurityGroup>(id).await;
            let Some(group) = self.seen(found, "group", id)? else { continue };
            for rule in &group.security_group_rules {
                if let Some(id) = &rule.remote_address_group_id
                    && !firewall.addresses.contains_key(id)
                {
                    let found = self.neutron.get::<AddressGroup>(id).await;
                    let Some(addresses) = self.seen(found, "address group", id)? else { continue };
                    let owner = self.owner(&[], &addresses.description);
                    firewall.owners.extend(owner.map(|owner| (id.clone(), owner)));
                    firewall.addresses.insert(id.clone(), addresses);
                }
            }
            let owner = self.owner(&group.tags, &group.description);
            firewall.owners.extend(owner.map(|owner| (id.clone(), owner)));
            if group.stateful == Some(false) {
                self.notes.push(format!("group {id} is stateless: answers need a rule of their own as well"));
            }
            firewall.groups.insert(id.clone(), group);
        }
        Ok(firewall)
    }

    /// What this credential can't see is noted.
    fn seen<T>(
        &mut self,
        found: Result<T, isthmus_openstack::Error>,
        what: &str,
        id: &str,
    ) -> anyhow::Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.class, RetryClass::NotFound | RetryClass::Forbidden) => {
                let note = "can't be seen with this credential: what it lets pass is not known";
                self.notes.push(format!("{what} {id} {note}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The object that something was made for, by its mark.
    fn owner(&self, tags: &[String], description: &str) -> Option<String> {
        let mark = Mark::of(description, tags)?;
        let subject = &self.mappings.iter().find(|m| m.spec.subject.uid == mark.subject)?.spec.subject;
        Some(subject.subject().key.to_string())
    }
}
